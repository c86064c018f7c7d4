//! Texts of which only passages are masked, those that detectors found: the rest can be edited, and the masks in it come
//! back. Whether a value found here is the right one shows when the outcome is masked again.

use std::collections::HashMap;

use crate::{guard, placeholder};

/// What was `sent` with live values in place of the masks in it, if each is one that is in `shown`, the masked form of
/// `live`.
pub(super) fn restored(sent: &str, shown: &str, live: &str) -> Option<String> {
    let values = values(shown, live)?;
    let (first, rest) = split(sent)?;
    let mut out = first.to_owned();
    for (mask, after) in rest {
        out.push_str(values.get(mask)?);
        out.push_str(after);
    }
    // In base64, for one, there may be others.
    (!guard::carries(&out)).then_some(out)
}

/// The value behind each mask.
fn values<'t>(shown: &'t str, live: &'t str) -> Option<HashMap<&'t str, &'t str>> {
    let (first, masked) = split(shown)?;
    let mut left = live.strip_prefix(first)?;
    let mut values = HashMap::new();
    for (number, (mask, after)) in masked.iter().enumerate() {
        let is_last = number + 1 == masked.len();
        let end = if is_last { left.strip_suffix(after)?.len() } else { left.find(after)? };
        let value = &left[..end];
        if *values.entry(*mask).or_insert(value) != value {
            return None;
        }
        left = &left[end + after.len()..];
    }
    Some(values)
}

/// The text before the first mask, and each mask with the text after it. Nothing for a text with a mask that does not say
/// by a digest what it stands for.
fn split(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let mut starts = text.match_indices(placeholder::PREFIX_TEXT).map(|(at, _)| at).collect::<Vec<_>>();
    let first = &text[..starts.first().copied().unwrap_or(text.len())];
    starts.push(text.len());
    let parts = starts.array_windows().map(|[start, end]| {
        let part = &text[*start..*end];
        part.split_at_checked(placeholder::DIGEST_LENGTH).filter(|(mask, _)| placeholder::is_digest(mask))
    });
    Some((first, parts.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn mask(digit: char) -> String {
        format!("{}{}", placeholder::PREFIX_TEXT, String::from(digit).repeat(24))
    }

    #[test]
    fn masks_find_their_values_wherever_the_text_around_them_changes() {
        let live = "url=x\npassword=hunter2\ntoken=abc";
        let shown = format!("url=x\npassword={}\ntoken={}", mask('1'), mask('2'));
        let sent = format!("url=y\ntoken={}\npassword={}\npassword={}", mask('2'), mask('1'), mask('1'));
        let expected = "url=y\ntoken=abc\npassword=hunter2\npassword=hunter2";
        assert_eq!(restored(&sent, &shown, live).as_deref(), Some(expected));
        assert_eq!(restored(&shown, &shown, live).as_deref(), Some(live));
    }

    #[test]
    fn other_masks_have_none() {
        let (live, shown) = ("password=hunter2\n", format!("password={}\n", mask('1')));
        for sent in [mask('2'), mask('1')[..41].to_owned(), format!("{}hidden", placeholder::PREFIX_TEXT)] {
            assert_eq!(restored(&sent, &shown, live), None, "{sent}");
        }
        let encoded = STANDARD.encode(mask('1'));
        assert_eq!(restored(&encoded, &shown, live), None);
        assert_eq!(restored(&format!("{} {encoded}", mask('1')), &shown, live), None);
        assert_eq!(restored(&mask('1'), &shown, "user=hunter2\n"), None, "another text");
        let twice = format!("a={} b={}", mask('1'), mask('1'));
        assert_eq!(restored(&mask('1'), &twice, "a=x b=y"), None, "one mask for two values");
    }
}
