//! The pages behind a link: plain HTML, no script, nothing loaded from anywhere, everything escaped.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::reply::{Answer, with};
use crate::matter::{Matter, Verdict};
use crate::text::html;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}\
dt{font-weight:bold}dd{margin:0 0 .5em}dd,pre{overflow-wrap:anywhere;white-space:pre-wrap}\
pre{background:#eee;color:#000;padding:1em}button{font:inherit;padding:.5em 2em}input{font:inherit;width:100%}";

/// After how many seconds the page of what waits looks again.
const LOOK_AGAIN: u32 = 5;

/// Nothing may be loaded, framed or run; the one style is named by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| unreachable!("base64 and fixed words"))
});

/// What is decided, and the button that decides it.
pub(super) fn ask(matter: &Matter, verdict: Verdict, approver: &str, expires: Timestamp) -> Answer {
    let what = html(&matter.id, false);
    let title = match verdict {
        Verdict::Approve => format!("Approve {what}?"),
        Verdict::Deny => format!("Deny {what}?"),
    };
    let facts = list(matter.facts());
    let diff = matter
        .diff
        .as_deref()
        .map(|diff| format!("<h2>What it would change</h2><pre>{}</pre>", html(diff, true)));
    let (approver, button) =
        (html(approver, false), if verdict == Verdict::Approve { "Approve" } else { "Deny" });
    page(
        StatusCode::OK,
        &title,
        &format!(
            "{facts}{}<form method=\"post\">\
             <p><label>Comment (optional)<br><input name=\"comment\" maxlength=\"500\" autocomplete=\"off\"></label></p>\
             <p><button>{button} as {approver}</button></p></form>\
             <p>This link is yours alone, and good once, until {expires:.0}.</p>",
            diff.unwrap_or_default(),
        ),
    )
}

/// Where a held request stands, for whoever waits for it. Neither whose it is nor what stands in it is shown: who opens the
/// page is not known.
pub(super) fn status(matter: &Matter) -> Answer {
    let state = matter.over.as_deref().unwrap_or("pending");
    let groups = matter.approver_groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let until =
        |before: &str| matter.deadline.map(|at| format!("{before} until {at:.0}")).unwrap_or_default();
    let next = match state {
        "pending" => format!(
            "Somebody has to agree to it{}. Go back to your client and continue: it waits there. This page looks again by itself.",
            until("")
        ),
        "approved" => format!("It may go on, once{}. Go back to your client and continue.", until(",")),
        "spent" => "It went on. There is nothing more to do.".to_owned(),
        _ => "It does not go on. Go back to your client and continue: it says why.".to_owned(),
    };
    let facts = [
        ("Operation", matter.operation.clone().unwrap_or_default()),
        ("Target", matter.target.clone()),
        ("Who may agree", format!("members of {groups}")),
    ];
    let refresh = match state {
        "pending" => format!("<meta http-equiv=\"refresh\" content=\"{LOOK_AGAIN}\">"),
        _ => String::new(),
    };
    let title = format!("{} is {}", html(&matter.id, false), html(state, false));
    page_with(StatusCode::OK, &refresh, &title, &format!("{}<p>{next}</p>", list(facts)))
}

/// What became of it.
pub(super) fn done(words: &str) -> Answer {
    page(StatusCode::OK, "Done", &format!("<p>{}</p>", html(words, false)))
}

/// Why not.
pub(super) fn refused(status: StatusCode, words: &str) -> Answer {
    page(status, "Refused", &format!("<p>{}</p>", html(words, false)))
}

/// Pairs of a label and words.
fn list<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts = facts.into_iter();
    let shown = facts.map(|(label, value)| format!("<dt>{label}</dt><dd>{}</dd>", html(&value, false)));
    format!("<dl>{}</dl>", shown.collect::<String>())
}

fn page(status: StatusCode, title: &str, content: &str) -> Answer {
    page_with(status, "", title, content)
}

/// The same with more in its head.
fn page_with(status: StatusCode, head: &str, title: &str, content: &str) -> Answer {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">{head}<title>{title} – Portcullis</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>{content}</body></html>\n"
    );
    let mut answer = with(status, "text/html; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{matter, start};

    fn read(answer: Answer) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn shown(typed: &str) -> String {
        let mut matter = matter("h-7f3a9c");
        matter.who.name = typed.to_owned();
        matter.reason = Some(typed.to_owned());
        matter.operation = Some(typed.to_owned());
        matter.command = vec![typed.to_owned()];
        matter.diff = Some(typed.to_owned());
        matter.target = typed.to_owned();
        read(ask(&matter, Verdict::Approve, typed, start())) + &read(refused(StatusCode::CONFLICT, typed))
    }

    #[test]
    fn an_approver_is_shown_what_they_decide() {
        let mut matter = matter("h-7f3a9c");
        matter.diff = Some("-replicas: 1\n+replicas: 9".into());
        let page = read(ask(&matter, Verdict::Deny, "bob", start()));
        for part in [
            "<h1>Deny h-7f3a9c?</h1>",
            "<dt>Who</dt><dd>alice</dd>",
            "<dt>Target</dt><dd>demo</dd>",
            "<dd>delete pods &quot;web&quot; in namespace &quot;prod&quot;</dd>",
            "<pre>-replicas: 1\n+replicas: 9</pre>",
            "<dd>kubectl delete pod web</dd>",
            "<form method=\"post\">",
            "<button>Deny as bob</button>",
            "2026-01-01T00:00:00Z",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    }

    #[test]
    fn nothing_runs_is_framed_or_kept() {
        let answer = done("approved");
        let header = |name: header::HeaderName| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header(header::CONTENT_SECURITY_POLICY);
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-")
                && policy.contains("frame-ancestors 'none'")
        );
        assert!(!policy.contains("unsafe"));
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
        assert_eq!(header(header::REFERRER_POLICY), "no-referrer");
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(header::X_FRAME_OPTIONS), "DENY");
    }

    proptest! {
        #[test]
        fn what_is_typed_adds_no_markup(typed in "\\PC{1,40}|[<>&\"'/=a \n]{1,200}") {
            let (page, plain) = (shown(&typed), shown("x"));
            for markup in ['<', '>', '"', '\''] {
                prop_assert_eq!(page.matches(markup).count(), plain.matches(markup).count());
            }
            for (at, _) in page.match_indices('&') {
                let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(known.iter().any(|entity| page[at..].starts_with(entity)));
            }
        }
    }
}
