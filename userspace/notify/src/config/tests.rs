//! What a configuration can say, and what is wrong with one.

use super::*;

const WHOLE: &str = "
listen: 127.0.0.1:8447
baseUrl: https://bastion.example.com/
linksFor: 15m
webhooks:
- {name: sec-channel, urlFile: /run/url, secretFile: /run/secret, format: slack, events: [requested, held, emergency]}
- {name: bob-dm, url: 'https://hooks.example.com/secret-path', secretFile: /run/secret, format: generic, approver: bob}
slack: {signingSecretFile: /run/slack}
inbound: {secretFile: /run/inbound}
approvers:
- {name: bob, issuer: unix, id: '1002', groups: [leads], slack: U024BE7LH}
- {name: carol, issuer: unix, id: '1003', groups: [leads], secretFile: /run/carol}
";

fn check(text: &str) -> Result<(), String> {
    let config: NotifyConfig = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())
}

#[test]
fn the_documented_form_is_accepted() {
    assert_eq!(check(WHOLE), Ok(()));
    assert_eq!(
        check("webhooks: [{name: a, url: 'http://127.0.0.1:1/', secretFile: /s, format: generic}]"),
        Ok(())
    );
    assert_eq!(check("{}"), Ok(()));
}

#[test]
fn what_cannot_be_is_named() {
    for (from, to, problem) in [
        ("127.0.0.1:8447", "0.0.0.0:8447", "notify.listen: 0.0.0.0:8447 is not loopback"),
        ("listen: 127.0.0.1:8447", "", "notify.listen: links need an address"),
        ("baseUrl: https://bastion.example.com/", "", "notify.baseUrl: a webhook with `approver`"),
        ("https://bastion", "http://bastion", "notify.baseUrl: must begin with https://"),
        ("example.com/\n", "example.com/?a=b\n", "notify.baseUrl: a query or fragment"),
        ("linksFor: 15m", "linksFor: 25h", "notify.linksFor: a link is good for 24h at most"),
        ("https://hooks", "http://hooks", "notify.webhooks[1].url: must begin with https://"),
        ("https://hooks", "https://u:p@hooks", "notify.webhooks[1].url: must not hold a user name"),
        ("url: 'https", "urlFile: /x, url: 'https", "notify.webhooks[1].url: give either"),
        ("urlFile: /run/url, ", "", "notify.webhooks[0].url: give either"),
        ("name: bob-dm", "name: sec-channel", "notify.webhooks[1].name: \"sec-channel\" names another"),
        ("name: bob-dm", "name: Bob DM", "notify.webhooks[1].name: needs"),
        ("approver: bob", "approver: eve", "notify.webhooks[1].approver: \"eve\" is not among"),
        (
            "secretFile: /run/secret, format: generic",
            "format: generic",
            "notify.webhooks[1].secretFile: a generic",
        ),
        ("[requested, held, emergency]", "[]", "notify.webhooks[0].events: is empty"),
        ("[requested, held, emergency]", "[pressed]", "unknown variant `pressed`"),
        ("name: carol", "name: BOB", "notify.approvers[1].name: is another approver's too"),
        ("'1003'", "'1002'", "notify.approvers[1].id: is another approver's too"),
        (
            "secretFile: /run/carol",
            "slack: U024BE7LH",
            "notify.approvers[1].slack: is another approver's too",
        ),
        ("U024BE7LH", "bob", "notify.approvers[0].slack: \"bob\" is no id"),
        ("name: carol", "name: \"car\\u202eol\"", "notify.approvers[1].name: needs"),
        ("name: carol", "name: ''", "notify.approvers[1].name: needs"),
        ("slack: {", "slack: {team: acme, ", "notify.slack.team: \"acme\""),
        ("inbound: {", "inbound: {x: 1, ", "unknown field `x`"),
        ("linksFor", "linkFor", "unknown field `linkFor`"),
    ] {
        let text = WHOLE.replace(from, to);
        assert_ne!(text, WHOLE, "{from}");
        let error = check(&text).unwrap_err();
        assert!(error.contains(problem), "{to}: {error}");
        // What the YAML reader itself says may quote the file.
        assert!(!error.starts_with("notify.") || !error.contains("secret-path"), "{error}");
    }
    let nobody = "{listen: '127.0.0.1:1', slack: {signingSecretFile: /x}}";
    assert!(check(nobody).unwrap_err().contains("notify.approvers: Slack's buttons without approvers"));
}

#[test]
fn debug_output_hides_urls() {
    let config: NotifyConfig = serde_saphyr::from_str(WHOLE).unwrap();
    assert!(!format!("{config:?}").contains("secret-path"));
}

#[test]
fn loopback_is_what_cannot_leave_the_host() {
    for (url, is) in [
        ("http://localhost:1/", true),
        ("http://127.9.0.1/", true),
        ("http://[::1]:9/", true),
        ("http://0x7f.1/", true),
        ("http://localhost.example.com/", false),
        ("http://127.0.0.1.nip.io/", false),
        ("http://10.0.0.1/", false),
        ("http://0.0.0.0/", false),
        ("http://[::ffff:127.0.0.1]/", false),
    ] {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), is, "{url}");
    }
}
