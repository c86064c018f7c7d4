//! How the story is told: headings, what was typed, what came of it, and whether that is what should have come.

use std::io::Write;

use anyhow::{Result, ensure};
use e2e::Output;

/// A line of the story; when standard output is gone nobody listens any more.
pub(super) fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

/// The heading of a scene.
pub(super) fn scene(what: &str) {
    say(&format!("\n==> {what}"));
}

/// What somebody types.
pub(super) fn typed(who: &str, program: &str, args: &[&str]) {
    let words: Vec<String> = [program].iter().chain(args).map(|word| quote(word)).collect();
    say(&format!("  {who}$ {}", words.join(" ")));
}

/// What a program prints.
pub(super) fn printed(text: &str) {
    for line in text.trim_end().lines() {
        say(format!("      {line}").trim_end());
    }
}

/// Ends a story that goes another way.
pub(super) fn expect(output: &Output, code: i32, contains: &str) -> Result<()> {
    let all = output.all();
    ensure!(
        output.code == code && all.contains(contains),
        "the story went wrong: expected exit code {code} and {contains:?}, got {} and:\n{all}",
        output.code
    );
    Ok(())
}

/// The first id of this kind (`r-`, `g-` …) in what a program printed.
pub(super) fn id_in<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.into_iter().find(|word| word.starts_with(kind))
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_sentences() {
        let said = "denied (role debug, grant g-12ab): portcullis request --from d-7f3a9c --reason \"…\"";
        assert_eq!(id_in(said, "d-"), Some("d-7f3a9c"));
        assert_eq!(id_in(said, "g-"), Some("g-12ab"));
        assert_eq!(id_in(said, "h-"), None);
    }

    #[test]
    fn what_is_typed_can_be_typed_again() {
        assert_eq!(quote("name=checkout"), "name=checkout");
        assert_eq!(quote("it's, I see"), r"'it'\''s, I see'");
        assert_eq!(quote(""), "''");
    }
}
