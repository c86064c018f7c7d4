//! Links: opened with GET, which shows what is decided, and used with POST, which decides it. What merely looks at
//! links, as mail scanners and chat previews do, decides nothing.

use http::request::Parts;
use http::{HeaderName, Request, StatusCode, header};
use hyper::body::Incoming;
use portcullis_identity::{Method, Subject};

use super::reply::Answer;
use super::{Desk, body, only, page};
use crate::matter::Word;
use crate::token::{Token, TokenError};

const LONGEST_FORM: usize = 8 * 1024;
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a link is not taken.
struct Refused {
    status: StatusCode,
    why: String,
}

impl Desk {
    pub(super) async fn show_link(&self, token: &str) -> Answer {
        let (token, by) = match self.read_link(token) {
            Ok(read) => read,
            Err(refused) => return page::refused(refused.status, &refused.why),
        };
        let matter = match self.describe(&token.what).await {
            Ok(matter) => matter,
            Err(why) => return page::refused(StatusCode::CONFLICT, &why),
        };
        match &matter.over {
            None => page::ask(&matter, token.verdict, &by.name, token.expires_at()),
            Some(state) => {
                let why = format!("{} no longer waits: it is {state}.", matter.id);
                page::refused(StatusCode::CONFLICT, &why)
            }
        }
    }

    pub(super) async fn use_link(&self, token: &str, request: Request<Incoming>) -> Answer {
        let (head, form) = request.into_parts();
        if !self.is_from_our_page(&head) {
            let why =
                "this did not come from the page behind the link: open the link, and press the button there";
            return page::refused(StatusCode::FORBIDDEN, why);
        }
        let (token, by) = match self.read_link(token) {
            Ok(read) => read,
            Err(refused) => return page::refused(refused.status, &refused.why),
        };
        let form = match body(Request::from_parts(head, form), LONGEST_FORM).await {
            Ok(form) => form,
            Err(refused) => return refused,
        };
        let comment = form_urlencoded::parse(&form).find(|(name, _)| name == "comment");
        let comment = comment.map(|(_, value)| value.into_owned()).unwrap_or_default();
        let word = Word {
            by: &by,
            what: &token.what,
            verdict: token.verdict,
            comment: &comment,
            token_id: &format!("link:{}", token.id),
            expires: token.expires_at(),
        };
        match self.decide(word, "link").await {
            Ok(became) => page::done(&became),
            Err(why) => page::refused(StatusCode::CONFLICT, &why),
        }
    }

    fn read_link(&self, text: &str) -> Result<(Token, Subject), Refused> {
        let refused = |status, why: String| {
            tracing::warn!(why, "a link was refused");
            Refused { status, why }
        };
        let (token, approver) = self.notify.tokens.link(text, self.clock.now()).map_err(|error| {
            let status = match error {
                TokenError::Malformed => StatusCode::BAD_REQUEST,
                TokenError::Expired(_) => StatusCode::GONE,
                TokenError::OtherKey | TokenError::Altered | TokenError::OtherUse(_) => StatusCode::FORBIDDEN,
            };
            refused(status, error.to_string())
        })?;
        match self.notify.approvers.named(&approver) {
            Some(known) => Ok((token, known.subject(Method::Link))),
            None => {
                let why = format!("{approver} is no longer among notify.approvers");
                Err(refused(StatusCode::FORBIDDEN, why))
            }
        }
    }

    /// Whether a browser says that its user pressed the button on our own page. Our pages send no referrer, which makes
    /// browsers send `Origin: null` too, so Sec-Fetch-Site decides where there is one, which old browsers lack.
    fn is_from_our_page(&self, head: &Parts) -> bool {
        if head.headers.contains_key(SEC_FETCH_SITE) {
            return only(head, &SEC_FETCH_SITE) == Some("same-origin");
        }
        let ours = self.notify.base.as_ref().map(|base| base.origin().ascii_serialization());
        ours.is_some_and(|ours| only(head, &header::ORIGIN) == Some(ours.as_str()))
    }
}
