//! The configuration once it is checked and its files are read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::Hold;
use reqwest::Url;

use crate::NotifyError;
use crate::approvers::Approvers;
use crate::config::{Format, NotifyConfig, TlsFiles, WebhookConfig, base_url, webhook_url};
use crate::matter::{EventKind, Happening};
use crate::secret::{Secret, content};
use crate::token::TokenKey;

/// The key of links and buttons, unless `linksKeyFile` names another.
const LINKS_KEY: &str = "links.key";
/// The path of the pages that show where held requests stand.
pub(crate) const HOLD_PAGE: &str = "/hold/";
/// How long such a page is there, from the beginning of the hold on: no hold waits for so long.
const HOLD_PAGE_FOR: Duration = Duration::from_secs(24 * 3600);

/// Who is told what, and who may answer: all that [`Notifier`](crate::Notifier) and [`Server`](crate::Server) need.
#[derive(Debug)]
pub struct Notify {
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) approvers: Approvers,
    pub(crate) tokens: TokenKey,
    pub(crate) links_for: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) base: Option<Url>,
    pub(crate) slack: Option<Slack>,
    pub(crate) inbound: Option<Secret>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) tls: Option<TlsFiles>,
}

/// One place that is told.
pub(crate) struct Webhook {
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) secret: Option<Secret>,
    pub(crate) format: Format,
    pub(crate) approver: Option<String>,
    pub(crate) certificate_authority: Option<PathBuf>,
    events: Option<BTreeSet<EventKind>>,
}

/// A Slack app whose buttons decide.
#[derive(Debug)]
pub(crate) struct Slack {
    pub(crate) secret: Secret,
    pub(crate) team: Option<String>,
    pub(crate) response_hosts: BTreeSet<String>,
}

impl Notify {
    /// Checks `config` and reads the files that it names. The key of links is kept in `state_dir`, and made there on
    /// first use, unless the configuration names another.
    ///
    /// # Errors
    /// [`NotifyError`], which names the setting or file.
    pub fn load(config: &NotifyConfig, state_dir: &Path) -> Result<Self, NotifyError> {
        config.check()?;
        let key = match &config.links_key_file {
            Some(path) => Secret::read_key(path)?,
            None => Secret::load_or_create(&state_dir.join(LINKS_KEY))?,
        };
        let slack = config.slack.as_ref().map(|slack| {
            let secret = Secret::read(&slack.signing_secret_file)?;
            Ok(Slack { secret, team: slack.team.clone(), response_hosts: slack.response_hosts.clone() })
        });
        let inbound = config.inbound.as_ref().map(|inbound| Secret::read(&inbound.secret_file));
        Ok(Self {
            webhooks: config.webhooks.iter().map(Webhook::load).collect::<Result<_, _>>()?,
            approvers: Approvers::load(&config.approvers)?,
            tokens: TokenKey::new(key),
            links_for: config.links_for,
            retry_for: config.retry_for,
            base: config.base_url.as_deref().map(base_url).transpose()?,
            slack: slack.transpose()?,
            inbound: inbound.transpose()?,
            listen: config.listen,
            tls: config.tls.clone(),
        })
    }

    /// The URLs of the pages that show where held requests stand, unless there are none: they need `notify.listen` and
    /// `notify.baseUrl`. Such a page shows what waits and its state to whoever has its URL, and decides nothing.
    pub fn hold_pages(self: &Arc<Self>) -> Option<impl Fn(&Hold) -> String + Send + Sync + use<>> {
        let base = self.base.as_ref().filter(|_| self.listen.is_some())?;
        let (base, notify) = (base.as_str().trim_end_matches('/').to_owned(), Arc::clone(self));
        Some(move |hold: &Hold| {
            let until = hold.created_at.checked_add(HOLD_PAGE_FOR).unwrap_or(Timestamp::MAX);
            format!("{base}{HOLD_PAGE}{}", notify.tokens.page(&hold.id, until))
        })
    }

    /// When the answers that a message carries are taken for the last time: a button, which is nothing without its
    /// chat's signature, for as long as there is something to decide; a link for `linksFor` at most.
    pub(crate) fn answers_until(&self, told: &Happening, link: bool) -> Timestamp {
        let end = told.at.checked_add(self.links_for).unwrap_or(Timestamp::MAX);
        match told.matter.deadline {
            Some(deadline) if link => deadline.min(end),
            Some(deadline) => deadline,
            None => end,
        }
    }
}

impl Webhook {
    fn load(config: &WebhookConfig) -> Result<Self, NotifyError> {
        Ok(Self {
            name: config.name.clone(),
            url: url(config)?,
            secret: config.secret_file.as_deref().map(Secret::read).transpose()?,
            format: config.format,
            approver: config.approver.clone(),
            certificate_authority: config.certificate_authority.clone(),
            events: config.events.clone(),
        })
    }

    /// Whether it is told of `kind`.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        kind == EventKind::Emergency || self.events.as_ref().is_none_or(|events| events.contains(&kind))
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows the URL can post there.
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

fn url(config: &WebhookConfig) -> Result<Url, NotifyError> {
    let Some(path) = &config.url_file else {
        let url = config.url.as_deref().unwrap_or_default();
        return webhook_url(url)
            .map_err(|problem| NotifyError::config(format!("webhooks.{}.url", config.name), problem));
    };
    let bad = |problem: &str| NotifyError::SecretUrl { path: path.clone(), problem: problem.to_owned() };
    let content = content(path, 0o007)?;
    let text = std::str::from_utf8(&content).map_err(|_| bad("is not text"))?;
    webhook_url(text).map_err(|problem| bad(&problem))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(dir: &Path, name: &str, content: &str, mode: u32) -> String {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    fn load(dir: &Path, text: &str) -> Result<Notify, String> {
        let config: NotifyConfig = serde_saphyr::from_str(text).unwrap();
        Notify::load(&config, dir).map_err(|error| error.to_string())
    }

    #[test]
    fn secret_urls_are_read_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let secret = write(dir.path(), "secret", "0123456789abcdef", 0o600);
        let url = write(dir.path(), "url", "https://hooks.example.com/services/hush\n", 0o600);
        let text = format!("webhooks: [{{name: a, urlFile: {url}, secretFile: {secret}, format: slack}}]");
        let notify = load(dir.path(), &text).unwrap();
        assert_eq!(notify.webhooks[0].url.as_str(), "https://hooks.example.com/services/hush");
        assert!(!format!("{notify:?}").contains("hush"));
        assert!(dir.path().join("links.key").exists());

        for (content, mode, problem) in [
            ("http://hooks.example.com/hush", 0o600, "must begin with https://"),
            ("hush", 0o600, "is no URL"),
            ("https://hooks.example.com/hush", 0o644, "mode 0644"),
        ] {
            let url = write(dir.path(), "bad", content, mode);
            let text =
                format!("webhooks: [{{name: a, urlFile: {url}, secretFile: {secret}, format: slack}}]");
            let error = load(dir.path(), &text).unwrap_err();
            assert!(error.contains(problem) && error.contains("/bad") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_shared_key_is_used_where_one_is_named_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let key = write(dir.path(), "shared", &"k".repeat(32), 0o440);
        load(dir.path(), &format!("linksKeyFile: {key}")).unwrap();
        assert!(!dir.path().join("links.key").exists());
        let error = load(dir.path(), "linksKeyFile: /nowhere/key").unwrap_err();
        assert!(error.contains("/nowhere/key"), "{error}");
    }

    #[test]
    fn an_emergency_is_told_whatever_the_filter() {
        let dir = tempfile::tempdir().unwrap();
        let text = "webhooks: [{name: a, url: 'https://x.example', format: slack, events: [held]}]";
        let webhook = &load(dir.path(), text).unwrap().webhooks[0];
        assert!(webhook.wants(EventKind::Held) && webhook.wants(EventKind::Emergency));
        assert!(!webhook.wants(EventKind::Requested));
    }
}
