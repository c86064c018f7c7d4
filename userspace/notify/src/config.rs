//! The `notify` section of the configuration, as it is written, and what can be said of it without opening a file.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portcullis_access::parse_duration;
use reqwest::Url;
use serde::{Deserialize, Deserializer, de::Error};

use crate::NotifyError;
use crate::matter::EventKind;
use crate::text;

/// A link that lives longer than this is a standing permission.
const LONGEST_LINK: Duration = Duration::from_secs(24 * 3600);

/// Who is told what, and who may answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifyConfig {
    /// Where links, buttons, programs and pages are answered; plain HTTP on loopback only.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The certificate shown there; needed off loopback.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// What links and the addresses of pages begin with.
    #[serde(default)]
    pub base_url: Option<String>,
    /// How long a link is good, from the event on.
    #[serde(default = "a_quarter", deserialize_with = "duration")]
    pub links_for: Duration,
    /// The key that signs links and buttons, shared by bastions; default: one of this bastion's own.
    #[serde(default)]
    pub links_key_file: Option<PathBuf>,
    /// How long one message is tried before it is given up.
    #[serde(default = "an_hour", deserialize_with = "duration")]
    pub retry_for: Duration,
    /// Who is told.
    #[serde(default)]
    pub webhooks: Vec<WebhookConfig>,
    /// Buttons in Slack.
    #[serde(default)]
    pub slack: Option<SlackConfig>,
    /// Decisions by programs.
    #[serde(default)]
    pub inbound: Option<InboundConfig>,
    /// Who may decide by link, button or program, and who they are.
    #[serde(default)]
    pub approvers: Vec<ApproverConfig>,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, and the intermediate ones after it.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// One place that is told.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// What the log calls it. Its place in the events is kept by this name.
    pub name: String,
    /// Its URL; or:
    #[serde(default)]
    pub url: Option<String>,
    /// A file with its URL, where that is a secret, as Slack's are.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// The secret that signs what it is sent.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// What its messages look like.
    pub format: Format,
    /// What it is told; default: everything.
    #[serde(default)]
    pub events: Option<BTreeSet<EventKind>>,
    /// The approver who alone reads it: messages carry that person's own links.
    #[serde(default)]
    pub approver: Option<String>,
    /// The CA of its certificate; default: those of the system.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
}

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own JSON.
    Generic,
    /// Slack's Block Kit.
    Slack,
}

/// A Slack app whose buttons decide.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlackConfig {
    /// The app's signing secret.
    pub signing_secret_file: PathBuf,
    /// The workspace whose members press buttons (`T…`): user ids mean nothing in another.
    #[serde(default)]
    pub team: Option<String>,
    /// Where Slack wants answers; default: Slack's own hosts.
    #[serde(default = "slacks_own")]
    pub response_hosts: BTreeSet<String>,
}

/// Programs that decide for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InboundConfig {
    /// Signs for every approver without a secret of their own.
    pub secret_file: PathBuf,
}

/// Someone who may decide other than by the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproverConfig {
    /// What they are called, here and in the trail.
    pub name: String,
    /// Who vouches for the id, as in the subjects of this issuer.
    pub issuer: String,
    /// Their id there.
    pub id: String,
    /// Their groups: what they can approve.
    pub groups: BTreeSet<String>,
    /// Their Slack user id (`U…` or `W…`).
    #[serde(default)]
    pub slack: Option<String>,
    /// A secret that signs for them alone, and instead of that of `inbound`.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
}

impl NotifyConfig {
    /// Everything that can be wrong without looking at a file.
    ///
    /// # Errors
    /// [`NotifyError::Config`], for the first thing that is.
    pub fn check(&self) -> Result<(), NotifyError> {
        self.check_approvers()?;
        self.check_webhooks()?;
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && self.tls.is_none()
        {
            return Err(NotifyError::config(
                "listen",
                format!("{listen} is not loopback, and links are secrets: give tls, or listen on 127.0.0.1"),
            ));
        }
        if let Some(base) = &self.base_url {
            base_url(base)?;
        }
        if self.links_for > LONGEST_LINK {
            return Err(NotifyError::config("linksFor", "a link is good for 24h at most"));
        }
        if let Some(team) = self.slack.as_ref().and_then(|slack| slack.team.as_ref())
            && !is_slack_id(team, &['T', 'E'])
        {
            return Err(NotifyError::config("slack.team", format!("{team:?} is no id of a workspace (T…)")));
        }
        let links = self.webhooks.iter().any(|webhook| webhook.approver.is_some());
        if links && self.base_url.is_none() {
            return Err(NotifyError::config(
                "baseUrl",
                "a webhook with `approver` carries links: say what they begin with",
            ));
        }
        let needs = [
            (links, "links"),
            (self.slack.is_some(), "Slack's buttons"),
            (self.inbound.is_some() || self.approvers.iter().any(|a| a.secret_file.is_some()), "programs"),
        ];
        match needs.iter().find(|(needed, _)| *needed) {
            Some((_, what)) if self.listen.is_none() => {
                Err(NotifyError::config("listen", format!("{what} need an address where they are answered")))
            }
            Some((_, what)) if self.approvers.is_empty() => Err(NotifyError::config(
                "approvers",
                format!("{what} without approvers: nobody could decide"),
            )),
            _ => Ok(()),
        }
    }

    fn check_approvers(&self) -> Result<(), NotifyError> {
        let mut seen = BTreeSet::new();
        for (number, approver) in self.approvers.iter().enumerate() {
            let bad = |field: &str, problem: String| {
                Err(NotifyError::config(format!("approvers[{number}].{field}"), problem))
            };
            let ApproverConfig { name, issuer, id, slack, .. } = approver;
            for (field, value) in [("name", name), ("issuer", issuer), ("id", id)] {
                if value.trim().is_empty() || *value != text::visible(value, false) || value.len() > 256 {
                    return bad(field, "needs 1 to 256 characters that can be seen".to_owned());
                }
            }
            if let Some(slack) = slack
                && !is_slack_id(slack, &['U', 'W'])
            {
                return bad(
                    "slack",
                    format!("{slack:?} is no id of a Slack user (U024BE7LH, from their profile)"),
                );
            }
            let keys = [
                ("name", Some(name.to_lowercase())),
                ("id", Some(format!("{issuer}\0{id}"))),
                ("slack", slack.clone()),
            ];
            for (field, key) in keys {
                if let Some(key) = key
                    && !seen.insert((field, key))
                {
                    return bad(field, "is another approver's too: one entry a person".to_owned());
                }
            }
        }
        Ok(())
    }

    fn check_webhooks(&self) -> Result<(), NotifyError> {
        let mut seen = BTreeSet::new();
        for (number, webhook) in self.webhooks.iter().enumerate() {
            let bad = |field: &str, problem: String| {
                Err(NotifyError::config(format!("webhooks[{number}].{field}"), problem))
            };
            let name = &webhook.name;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            if !(1..=63).contains(&name.len()) || !name.chars().all(plain) {
                return bad("name", "needs 1 to 63 of a-z, 0-9, - and .".to_owned());
            }
            if !seen.insert(name) {
                return bad("name", format!("{name:?} names another webhook too"));
            }
            match (&webhook.url, &webhook.url_file) {
                (Some(url), None) => {
                    if let Err(problem) = webhook_url(url) {
                        return bad("url", problem);
                    }
                }
                (None, Some(_)) => {}
                _ => return bad("url", "give either url or urlFile".to_owned()),
            }
            if webhook.format == Format::Generic && webhook.secret_file.is_none() {
                return bad(
                    "secretFile",
                    "a generic webhook could not tell our messages from forged ones".to_owned(),
                );
            }
            if webhook.events.as_ref().is_some_and(BTreeSet::is_empty) {
                return bad("events", "is empty: leave it out for everything".to_owned());
            }
            if let Some(approver) = &webhook.approver
                && !self.approvers.iter().any(|listed| listed.name == *approver)
            {
                return bad("approver", format!("{approver:?} is not among notify.approvers"));
            }
        }
        Ok(())
    }
}

/// The URL that links begin with, without a slash at its end.
pub(crate) fn base_url(text: &str) -> Result<Url, NotifyError> {
    let bad = |problem: &str| NotifyError::config("baseUrl", problem);
    let mut url = secure_url(text).map_err(|problem| bad(&problem))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("a query or fragment cannot stand before the rest of a link"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The URL of a webhook. What is wrong is said without showing it.
pub(crate) fn webhook_url(text: &str) -> Result<Url, String> {
    let url = secure_url(text)?;
    if url.fragment().is_some() {
        return Err("has a fragment, which is never sent".to_owned());
    }
    Ok(url)
}

fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("is no URL: {error}"))?;
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
        return Err("must begin with https:// (http:// for loopback only)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(url)
}

/// Whether what is sent there cannot leave this host.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_slack_id(text: &str, kinds: &[char]) -> bool {
    text.starts_with(kinds)
        && (2..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn a_quarter() -> Duration {
    Duration::from_secs(15 * 60)
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

fn slacks_own() -> BTreeSet<String> {
    ["hooks.slack.com", "hooks.slack-gov.com"].map(str::to_owned).into()
}

/// `15m`
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever knows the URL can post there.
        f.debug_struct("WebhookConfig")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("events", &self.events)
            .field("approver", &self.approver)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
