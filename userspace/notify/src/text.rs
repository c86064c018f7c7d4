//! Words that an engineer wrote, made safe for where an approver reads them: a page, a Slack message, a log.
//!
//! Someone decides by what they read, so nobody may write what looks like our own words, a link, a mention, or text
//! in another order than it has.

/// `text` with every character that is not seen, or that moves others about, spelt out; line ends and tabs too,
/// unless it has `lines`.
pub(crate) fn visible(text: &str, lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if lines => shown.push(c),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// At most `most` characters of `text`; what is cut is marked by an ellipsis.
pub(crate) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Text between tags, or in a quoted attribute.
pub(crate) fn html(text: &str, lines: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text, lines).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A code span of Slack's mrkdwn, in which nothing is markup, of at most `most` characters as sent. Inside, only a
/// backtick could end it; links and mentions need `<`. Blanks at its ends could keep it from being one.
pub(crate) fn code(text: &str, most: usize) -> String {
    format!("`{}`", mrkdwn(visible(text, false).trim(), most.saturating_sub(2)))
}

/// As [`code`], with lines.
pub(crate) fn code_block(text: &str, most: usize) -> String {
    format!("```\n{}\n```", mrkdwn(&visible(text, true), most.saturating_sub(8)))
}

fn mrkdwn(text: &str, most: usize) -> String {
    // An empty span, or one of blanks, would be two backticks: open to what follows.
    if text.trim().is_empty() {
        return "-".to_owned();
    }
    let (mut escaped, mut length) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        let mut alone = [0; 4];
        let spelt = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            // Looks the same, ends nothing.
            '`' => "\u{2cb}",
            c => c.encode_utf8(&mut alone),
        };
        // Slack counts characters.
        length += spelt.chars().count();
        if length >= most {
            escaped.push('…');
            break;
        }
        escaped.push_str(spelt);
    }
    escaped
}

/// Controls, and what Unicode calls default ignorable or bidirectional: zero-width characters, marks, isolates,
/// overrides, variation selectors, tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_seen_is_spelt_out() {
        assert_eq!(
            visible("a\u{202e}b\u{200b}c\nd\te\u{1b}[2J", false),
            "a\\u{202e}b\\u{200b}c\\u{a}d\\u{9}e\\u{1b}[2J"
        );
        assert_eq!(visible("a\nb\tc\rd", true), "a\nb\tc\\u{d}d");
        assert_eq!(visible("Zoë – ökonomisch 日本", false), "Zoë – ökonomisch 日本");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(short("äöü", 3), "äöü");
        assert_eq!(short("äöüß", 3), "äö…");
    }

    #[test]
    fn nothing_leaves_a_code_span() {
        assert_eq!(
            code("a`*b* <!channel> & <https://x|y>", 200),
            "`aˋ*b* &lt;!channel&gt; &amp; &lt;https://x|y&gt;`"
        );
        assert_eq!(code("", 50), "`-`");
        assert_eq!(code_block("-a\n+```\n+*b*", 100), "```\n-a\n+ˋˋˋ\n+*b*\n```");
        assert_eq!(code("<<<<", 12), "`&lt;&lt;…`");
    }

    proptest! {
        #[test]
        fn html_holds_no_markup(text in "\\PC*|[<>&\"'a\n\u{202e}]*") {
            let escaped = html(&text, true);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            for (at, _) in escaped.match_indices('&') {
                let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(known.iter().any(|entity| escaped[at..].starts_with(entity)));
            }
        }

        #[test]
        fn code_holds_no_markup_and_fits(text in "\\PC*|[<>&`a\n \u{202e}]*", most in 20usize..80) {
            for (escaped, fence, lines) in [(code(&text, most), 1, 0), (code_block(&text, most), 6, 2)] {
                let ticks = escaped.matches('`').count();
                prop_assert_eq!(ticks, if fence == 1 { 2 } else { fence });
                prop_assert!(!escaped.contains(['<', '>']));
                prop_assert!(escaped.chars().count() <= most);
                prop_assert!(lines > 0 || !escaped.contains('\n'));
                for (at, _) in escaped.match_indices('&') {
                    prop_assert!(["&amp;", "&lt;", "&gt;"].iter().any(|entity| escaped[at..].starts_with(entity)));
                }
            }
        }
    }
}
