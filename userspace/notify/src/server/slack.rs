//! Buttons pressed in Slack.
//!
//! Slack's signature over the raw body says that Slack sent it, and so which user pressed. The button's own token says
//! what was asked there, so that no app of the same workspace can make up a question. Two approvers may press the same
//! button where two are required, so a press is used up for one token *and* one person.

use std::collections::BTreeSet;

use http::{HeaderName, Request, StatusCode};
use hyper::body::Incoming;
use portcullis_identity::{Method, Subject};
use reqwest::{Client, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::reply::{self, Answer, text};
use super::{Desk, body, only};
use crate::NotifyError;
use crate::blocks;
use crate::config::is_loopback;
use crate::matter::Word;
use crate::notify::Slack;
use crate::sign::{SignatureError, hex, verify_slack};
use crate::transport::{client_for, root_cause};

const SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
const TIME: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
/// Slack sends the whole message back, percent-encoded.
const LONGEST_CALLBACK: usize = 256 * 1024;

/// What Slack sends when a button is pressed, as far as it is looked at.
#[derive(Deserialize)]
struct Callback {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    team: Option<Team>,
    #[serde(default)]
    actions: Vec<Action>,
    response_url: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    value: Option<String>,
}

/// Posts answers to where Slack wants them.
pub(super) struct Replies {
    client: Client,
    hosts: BTreeSet<String>,
}

impl Desk {
    pub(super) async fn slack(&self, slack: &Slack, request: Request<Incoming>) -> Answer {
        let (head, sent) = request.into_parts();
        let body = match body(Request::from_parts(head.clone(), sent), LONGEST_CALLBACK).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let verified = match (only(&head, &TIME), only(&head, &SIGNATURE)) {
            (Some(time), Some(code)) => verify_slack(&slack.secret, time, code, self.clock.now(), &body),
            (None, _) => Err(SignatureError::Missing("X-Slack-Request-Timestamp")),
            (_, None) => Err(SignatureError::Missing("X-Slack-Signature")),
        };
        if let Err(error) = verified {
            tracing::warn!(%error, "a callback that is not Slack's was refused");
            return text(StatusCode::UNAUTHORIZED, &error.to_string());
        }
        let Some(callback) = Callback::read(&body) else {
            return text(StatusCode::BAD_REQUEST, "the body is no payload of a pressed button");
        };
        // A button that opens a link is reported too, and has no value.
        let [Action { value: Some(value) }] = callback.actions.as_slice() else {
            return reply::with(StatusCode::OK, "text/plain; charset=utf-8", String::new());
        };
        let words = match self.press(slack, &callback, value).await {
            Ok(words) | Err(words) => words,
        };
        if let (Some(replies), Some(url)) = (&self.replies, &callback.response_url) {
            replies.post(url, &words);
        }
        reply::json(StatusCode::OK, &blocks::ephemeral(&words))
    }

    /// What became of it, or why nothing did; both are for the one who pressed.
    async fn press(&self, slack: &Slack, callback: &Callback, value: &str) -> Result<String, String> {
        let by =
            self.presser(slack, callback).inspect_err(|why| tracing::warn!(why, "a press was refused"))?;
        let token = self.notify.tokens.button(value, self.clock.now()).map_err(|error| {
            tracing::warn!(by = by.name, %error, "a press was refused");
            error.to_string()
        })?;
        let person = Sha256::digest(format!("{}\0{}\0{}", token.id, by.issuer, by.id));
        let word = Word {
            by: &by,
            what: &token.what,
            verdict: token.verdict,
            comment: "",
            token_id: &format!("button:{}", hex(&person)),
            expires: token.expires_at(),
        };
        self.decide(word, "slack").await
    }

    fn presser(&self, slack: &Slack, callback: &Callback) -> Result<Subject, String> {
        let user = &callback.user;
        // Channels can be shared with other workspaces, whose user ids are their own.
        let team = user.team_id.as_ref().or(callback.team.as_ref().map(|team| &team.id));
        if slack.team.is_some() && team != slack.team.as_ref() {
            return Err(format!("Slack user {} is of another workspace than notify.slack.team", user.id));
        }
        let known = self.notify.approvers.on_slack(&user.id);
        let known = known.ok_or_else(|| {
            format!("Slack user {} is no approver: notify.approvers lists nobody with this id", user.id)
        })?;
        Ok(known.subject(Method::Webhook))
    }
}

impl Callback {
    fn read(body: &[u8]) -> Option<Self> {
        let mut payloads = form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
        let payload = payloads.next().filter(|_| payloads.next().is_none())?;
        serde_json::from_str(&payload.1).ok().filter(|callback: &Self| callback.kind == "block_actions")
    }
}

impl Replies {
    pub(super) fn new(hosts: &BTreeSet<String>) -> Result<Self, NotifyError> {
        let local = hosts.iter().any(|host| host == "localhost" || host == "127.0.0.1");
        let like = if local { "http://127.0.0.1" } else { "https://hooks.slack.com" };
        let like = Url::parse(like).unwrap_or_else(|_| unreachable!("a fixed URL"));
        let client = client_for(&like).build().map_err(|error| NotifyError::Client {
            webhook: "notify.slack".to_owned(),
            problem: root_cause(&error),
        })?;
        Ok(Self { client, hosts: hosts.clone() })
    }

    /// Answers later: Slack shows nothing of the answer to the press itself.
    fn post(&self, url: &str, words: &str) {
        let Some(url) = self.allowed(url) else {
            tracing::warn!(
                "an answer to Slack was not sent: its response_url is not of notify.slack.responseHosts"
            );
            return;
        };
        let sent = self.client.post(url).json(&blocks::ephemeral(words)).send();
        tokio::spawn(async move {
            match sent.await {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => {
                    tracing::warn!(status = answer.status().as_u16(), "Slack did not take an answer");
                }
                Err(error) => tracing::warn!(why = root_cause(&error), "an answer did not reach Slack"),
            }
        });
    }

    pub(super) fn allowed(&self, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        let secure = url.scheme() == "https" || is_loopback(&url);
        let known = url.host_str().is_some_and(|host| self.hosts.contains(host));
        (secure && known).then_some(url)
    }
}
