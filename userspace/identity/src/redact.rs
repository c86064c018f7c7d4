//! Secrets leave command lines here, before a command line can reach a record or a log.
//!
//! People pass passwords as arguments. What is recognised: flags named after a secret (`--token`,
//! `--docker-password=…`, `--from-literal pw=…`), HTTP headers and bodies (`-H 'Authorization: …'`,
//! `--data …`), assignments to names that smell of one (`API_TOKEN=…`), the payload of a Secret patch, and
//! values that look like a credential wherever they stand (JWT, EKS token, PEM, `user:password@` in a URL).
//! Too much is redacted rather than too little: this is a record of what was done, not a shell history.

use serde_json::Value;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Words that make the name of a flag, variable or header a secret's.
const SECRET_WORDS: &[&str] = &[
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "credential",
    "privatekey",
    "authorization",
];
/// Flags whose name contains such a word and whose value is still harmless.
const HARMLESS_ENDINGS: &[&str] = &["file", "stdin", "path", "name", "ttl"];
/// Flags that carry an HTTP body.
const BODY_FLAGS: &[&str] =
    &["data", "dataraw", "databinary", "dataascii", "dataurlencode", "json", "form", "formstring"];
/// Flags whose value is `user:password`.
const USERINFO_FLAGS: &[&str] = &["user", "proxyuser"];

/// `argv` with every recognised secret replaced by [`REDACTED`].
#[must_use]
pub fn redact(argv: Vec<String>) -> Vec<String> {
    let curl = argv.first().is_some_and(|program| program.rsplit('/').next() == Some("curl"));
    let mut pending = None;
    argv.into_iter().map(|arg| redact_word(arg, curl, &mut pending)).collect()
}

/// What the flag before this word says about it.
#[derive(Clone, Copy)]
enum Next {
    /// The whole word is secret.
    Secret,
    /// `key=secret`; the key may stay.
    Literal,
    /// `Header: secret`, the header's name may stay.
    Header,
    /// `user:secret`.
    UserInfo,
    /// Nothing special: look at the word itself.
    Plain,
}

fn redact_word(arg: String, curl: bool, pending: &mut Option<Next>) -> String {
    if let Some(next) = pending.take() {
        return value(&arg, next);
    }
    if is_credential(&arg) {
        return REDACTED.to_owned();
    }
    if let Some(redacted) = in_json(&arg) {
        return redacted;
    }
    // A script in one argument (`sh -c '…'`) is a command line in itself.
    if arg.contains(char::is_whitespace) && !mentions_secret_payload(&arg) {
        return redact_script(&arg, curl);
    }
    let Some(next) = flag(&arg, curl) else {
        return value(&arg, Next::Plain);
    };
    match arg.split_once('=') {
        Some((name, rest)) if arg.starts_with("--") => format!("{name}={}", value(rest, next)),
        _ if arg.len() > 2 && !arg.starts_with("--") => format!("{}{}", &arg[..2], value(&arg[2..], next)),
        _ => {
            *pending = Some(next);
            arg
        }
    }
}

/// JSON in one argument, as the arguments of a tool are, without what stands under the name of a secret; nothing where it
/// is no object, or is redacted whole.
fn in_json(arg: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(arg).ok().filter(Value::is_object)?;
    (!mentions_secret_payload(arg)).then(|| {
        redact_value(&mut value);
        value.to_string()
    })
}

fn redact_value(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Null | Value::Bool(_) => {}
                    value if is_secret_name(&normal(name)) => *value = REDACTED.into(),
                    value => redact_value(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact_value),
        Value::String(text) => *text = plain(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The words of a script, each redacted as an argument, the white space between them as it was.
fn redact_script(script: &str, curl: bool) -> String {
    let curl = curl || script.contains("curl");
    let mut pending = None;
    let mut out = String::with_capacity(script.len());
    for piece in script.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        if !word.is_empty() {
            let bare = word.trim_start_matches(['\'', '"']);
            out.push_str(&word[..word.len() - bare.len()]);
            let lead =
                names_secret_header(bare) || matches!(bare.to_ascii_lowercase().as_str(), "bearer" | "basic");
            out.push_str(&redact_word(bare.to_owned(), curl, &mut pending));
            if lead {
                pending = Some(if bare.ends_with(':') { Next::Header } else { Next::Secret });
            }
        }
        out.push_str(&piece[word.len()..]);
    }
    out
}

/// What a flag announces about its value; `None` when `arg` is not a flag that matters.
fn flag(arg: &str, curl: bool) -> Option<Next> {
    if let Some(long) = arg.strip_prefix("--") {
        let name = normal(long.split('=').next()?);
        return if name == "fromliteral" {
            Some(Next::Literal)
        } else if name == "header" {
            Some(Next::Header)
        } else if USERINFO_FLAGS.contains(&name.as_str()) {
            Some(Next::UserInfo)
        } else if BODY_FLAGS.contains(&name.as_str()) || is_secret_name(&name) {
            Some(Next::Secret)
        } else {
            long.contains('=').then_some(Next::Plain)
        };
    }
    match arg.as_bytes() {
        [b'-', b'H', ..] => Some(Next::Header),
        [b'-', b'd' | b'F' | b'b', ..] if curl => Some(Next::Secret),
        [b'-', b'u' | b'U', ..] if curl => Some(Next::UserInfo),
        _ => None,
    }
}

fn value(text: &str, next: Next) -> String {
    match next {
        Next::Secret => REDACTED.to_owned(),
        Next::Literal => match text.split_once('=') {
            Some((key, _)) => format!("{key}={REDACTED}"),
            None => REDACTED.to_owned(),
        },
        Next::Header => match text.split_once(':') {
            Some((name, rest)) if is_secret_header(name) || is_credential(rest) => {
                format!("{name}: {REDACTED}")
            }
            Some(_) => text.to_owned(),
            None => REDACTED.to_owned(),
        },
        Next::UserInfo => match text.split_once(':') {
            Some((user, _)) if !is_credential(user) => format!("{user}:{REDACTED}"),
            _ if is_credential(text) => REDACTED.to_owned(),
            _ => text.to_owned(),
        },
        Next::Plain => plain(text),
    }
}

fn plain(text: &str) -> String {
    if is_credential(text) || mentions_secret_payload(text) {
        return REDACTED.to_owned();
    }
    // `a=b,API_TOKEN=x`: from the first secret on, since the secret itself may hold commas.
    let mut start = 0;
    for segment in text.split_inclusive(',') {
        if let Some((name, _)) = segment.split_once('=')
            && is_secret_name(&normal(name))
        {
            return format!("{}={REDACTED}", &text[..start + name.len()]);
        }
        start += segment.len();
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((userinfo, host)) = rest.split_once('@')
        && let Some((user, _)) = userinfo.split_once(':')
    {
        return format!("{scheme}://{user}:{REDACTED}@{host}");
    }
    text.to_owned()
}

fn is_secret_name(normal: &str) -> bool {
    SECRET_WORDS.iter().any(|word| normal.contains(word))
        && !HARMLESS_ENDINGS.iter().any(|ending| normal.ends_with(ending))
}

fn is_secret_header(name: &str) -> bool {
    let name = normal(name);
    is_secret_name(&name) || name.ends_with("cookie") || name.ends_with("key")
}

/// `Authorization:` and its like, as a word of a script.
fn names_secret_header(word: &str) -> bool {
    word.strip_suffix(':').is_some_and(is_secret_header)
}

/// The JSON or YAML of a Secret, as in `kubectl patch secret -p '{"stringData":…}'`.
fn mentions_secret_payload(text: &str) -> bool {
    text.contains("stringData")
        || text.contains("\"data\"")
        || text.contains("\"/data/")
        || (text.contains("data:") && text.contains(['{', '\n']))
}

/// A value that holds a credential, wherever in it that stands: a JWT (RFC 7519: three base64url parts of which the first
/// opens with `{"`), an EKS token, a PEM block.
fn is_credential(text: &str) -> bool {
    let jwt = text.find("eyJ").is_some_and(|at| text[at..].matches('.').count() >= 2);
    jwt || text.contains("k8s-aws-v1.") || text.contains("-----BEGIN ")
}

/// A name in lower case and without separators: `API_KEY`, `api-key` and `apiKey` are one.
fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "hunter2,Zz";

    /// Each line is a command line; `§` stands for the secret.
    const COMMANDS: &[&[&str]] = &[
        &["agent", "call", "--arguments", "{\"password\":\"§\",\"user\":\"eve\"}"],
        &["agent", "call", "{\"steps\": [{\"api_key\": \"§\"}], \"env\": \"TOKEN=§\"}"],
        &["kubectl", "--token=§", "get", "pods"],
        &["kubectl", "--token", "§", "get", "pods"],
        &["kubectl", "config", "set-credentials", "x", "--password", "§"],
        &["kubectl", "create", "secret", "generic", "db", "--from-literal=pw=§"],
        &["kubectl", "create", "secret", "generic", "db", "--from-literal", "pw=§"],
        &["kubectl", "create", "secret", "docker-registry", "r", "--docker-password=§"],
        &["kubectl", "patch", "secret", "db", "-p", "{\"stringData\":{\"pw\":\"§\"}}"],
        &["kubectl", "patch", "secret", "db", "-p", "{\"data\": {\"pw\": \"§\"}}"],
        &["kubectl", "patch", "secret", "db", "--patch={\"data\":{\"pw\":\"§\"}}"],
        &[
            "kubectl",
            "patch",
            "secret",
            "db",
            "--type=json",
            "-p",
            "[{\"path\":\"/data/pw\",\"value\":\"§\"}]",
        ],
        &["kubectl", "set", "env", "deploy/web", "API_TOKEN=§"],
        &["kubectl", "run", "x", "--image=y", "--env=DB_PASSWORD=§"],
        &["kubectl", "run", "x", "--image=y", "--env", "DB_PASSWORD=§"],
        &["kubectl", "exec", "x", "--", "sh", "-c", "app --password '§' --go"],
        &["kubectl", "exec", "x", "--", "sh", "-c", "curl -H 'Authorization: Bearer §' http://x"],
        &["helm", "upgrade", "a", "b", "--set", "image=x,db.password=§"],
        &["helm", "upgrade", "a", "b", "--set-string=image=x,db.password=§"],
        &["curl", "-H", "Authorization: Bearer §", "https://x"],
        &["curl", "-HAuthorization: Bearer §", "https://x"],
        &["/usr/bin/curl", "--header=X-Api-Key: §", "https://x"],
        &["curl", "-u", "alice:§", "https://x"],
        &["curl", "--user", "alice:§", "https://x"],
        &["curl", "--data-raw", "{\"password\":\"§\"}", "https://x"],
        &["curl", "-d", "§", "https://x"],
        &["curl", "--oauth2-bearer-token", "§", "https://x"],
        &["git", "clone", "https://alice:§@host/x"],
    ];

    fn argv(command: &[&str], secret: &str) -> Vec<String> {
        command.iter().map(|arg| arg.replace('§', secret)).collect()
    }

    #[test]
    fn no_known_form_keeps_its_secret() {
        for command in COMMANDS {
            let redacted = redact(argv(command, SECRET));
            assert_eq!(redacted.len(), command.len());
            assert!(!redacted.join(" ").contains(SECRET), "{redacted:?}");
            assert!(!redacted.join(" ").contains("Zz"), "{redacted:?}");
            assert!(redacted.join(" ").contains(REDACTED), "{redacted:?}");
        }
    }

    #[test]
    fn the_rest_of_the_line_stays_readable() {
        let table: &[(&[&str], &[&str])] = &[
            (
                &["kubectl", "create", "secret", "generic", "db", "--from-literal=pw=x", "-n", "prod"],
                &[
                    "kubectl",
                    "create",
                    "secret",
                    "generic",
                    "db",
                    "--from-literal=pw=[redacted]",
                    "-n",
                    "prod",
                ],
            ),
            (
                &["curl", "-H", "Authorization: Bearer x", "-H", "Accept: text/plain", "https://h/p"],
                &["curl", "-H", "Authorization: [redacted]", "-H", "Accept: text/plain", "https://h/p"],
            ),
            (
                &["kubectl", "--user", "prod-admin", "get", "secrets"],
                &["kubectl", "--user", "prod-admin", "get", "secrets"],
            ),
            (&["kubectl", "cp", "web:/data/dump", "."], &["kubectl", "cp", "web:/data/dump", "."]),
            (&["x", "--password-file", "/etc/pw"], &["x", "--password-file", "/etc/pw"]),
            (&["x", "https://bob:pw@h/x"], &["x", "https://bob:[redacted]@h/x"]),
            (
                &["kubectl", "exec", "-it", "x", "--", "sh", "-c", "ls -l /tmp"],
                &["kubectl", "exec", "-it", "x", "--", "sh", "-c", "ls -l /tmp"],
            ),
            (
                &["kubectl", "get", "pods", "-l", "app=web,tier=front"],
                &["kubectl", "get", "pods", "-l", "app=web,tier=front"],
            ),
        ];
        for (command, expected) in table {
            assert_eq!(&redact(argv(command, "")), expected);
        }
    }

    #[test]
    fn tokens_do_not_survive_wherever_they_stand() {
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        let eks = "k8s-aws-v1.aHR0cHM6Ly9zdHMuYW1hem9uYXdzLmNvbS8";
        for token in [jwt, eks, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."] {
            let secret = token.split('.').nth(1).unwrap();
            for argv in [
                vec!["kubectl".to_owned(), "--token".to_owned(), token.to_owned()],
                vec!["curl".to_owned(), format!("https://x/?access_token={token}")],
                vec!["curl".to_owned(), format!("https://x/?t={token}&y=z")],
                vec!["curl".to_owned(), "-H".to_owned(), format!("X-Forwarded-Access: {token}")],
                vec!["curl".to_owned(), "-u".to_owned(), token.to_owned()],
                vec!["curl".to_owned(), "-u".to_owned(), format!("{token}:x")],
                vec!["x".to_owned(), format!("JWT={token}")],
                vec!["x".to_owned(), format!("{{\"t\":\"{token}\"}}")],
                vec!["sh".to_owned(), "-c".to_owned(), format!("T='{token}'; kubectl --token=$T get pods")],
                vec!["sh".to_owned(), "-c".to_owned(), format!("kubectl get --raw /x?t={token}|cat")],
            ] {
                let redacted = redact(argv).join(" ");
                assert!(!redacted.contains(secret), "{redacted}");
            }
        }
    }

    #[test]
    fn tokens_are_known_by_their_look() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        assert_eq!(redact(vec!["x".into(), jwt.into()]), ["x", REDACTED]);
        assert_eq!(redact(vec!["x".into(), "k8s-aws-v1.aHR0cHM6Ly".into()]), ["x", REDACTED]);
        assert_eq!(redact(vec!["-----BEGIN PRIVATE KEY-----\nx".into()]), [REDACTED]);
    }

    proptest! {
        #[test]
        fn every_secret_goes_and_nothing_panics(
            command in prop::sample::select(COMMANDS), secret in "[a-zA-Z0-9_%+./=,-]{8,40}",
        ) {
            let redacted = redact(argv(command, &secret));
            prop_assert!(!redacted.join(" ").contains(&secret), "{redacted:?}");
        }

        #[test]
        fn any_command_line_is_taken(argv in prop::collection::vec("\\PC{0,30}", 0..8)) {
            prop_assert_eq!(redact(argv.clone()).len(), argv.len());
        }
    }
}
