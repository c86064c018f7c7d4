//! Text in HTML.

use std::fmt::{self, Write};

use crate::options::Person;

/// Text that shows as itself, in an element as well as in a quoted attribute.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// What becomes of a form for [`people`].
pub(crate) const CONFIRM: &str = "confirm";
pub(crate) const REFUSE: &str = "refuse";

/// The inside of a form that asks who somebody is and whether they agree: `person` and `answer`.
pub(crate) fn people(people: &[Person]) -> String {
    let choices: Vec<String> = people
        .iter()
        .map(|Person { preferred_username, name, email, .. }| {
            format!(
                "<p><label><input type=\"radio\" name=\"person\" value=\"{}\" required> {} ({})</label></p>",
                Text(preferred_username),
                Text(name),
                Text(email),
            )
        })
        .collect();
    format!(
        "{}\n<p><button name=\"answer\" value=\"{CONFIRM}\">Log in</button>\n\
         <button name=\"answer\" value=\"{REFUSE}\" formnovalidate>Refuse</button></p>",
        choices.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(Text("<a href='x'>\"&amp;").to_string(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;amp;");
    }

    proptest! {
        #[test]
        fn nothing_ends_an_element_or_an_attribute(text in "\\PC*") {
            let shown = Text(&text).to_string();
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
            let back = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(back.replace("&amp;", "&"), text);
        }
    }
}
