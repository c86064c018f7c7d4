//! What a held write would change, for whoever is to agree to it: the object as it is beside what a server-side dry run
//! says that it would become, masked like any answer. The approver decides on the request; this helps to read it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use portcullis_access::Operation;
use portcullis_mask::{BodyMasker, Rules};
use serde_json::Value;
use similar::TextDiff;

use crate::Proxy;
use crate::classify::{Classified, Shape};
use crate::decide::{Decided, masked};
use crate::mcp::{Call, Changed};
use crate::{inquiry, record};

/// How long looking may take; the request waits without a diff then.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a diff that an approver is shown.
const LONGEST: usize = 16 * 1024;
/// What only the server writes, and only obscures what changes.
const NOISE: [&str; 3] = ["managedFields", "resourceVersion", "generation"];

/// The diff, where the request is a write to one object and the API offers a dry run of it; what the server would answer
/// instead where it would refuse.
pub(crate) async fn of(proxy: &Proxy, decided: &Decided) -> Option<String> {
    if let Shape::Call(call) = &decided.classified.shape {
        return call_of(proxy, decided, call);
    }
    let verb = previewed(decided)?;
    let looking = async {
        let rules = masked(proxy, &decided.classified.operation);
        let before = match verb {
            "create" => String::new(),
            _ => live(proxy, decided, rules.clone()).await?,
        };
        let after = match verb {
            "delete" => String::new(),
            _ => dry_run(proxy, decided, rules).await?,
        };
        Ok(diff(&before, &after))
    };
    match tokio::time::timeout(TIMEOUT, looking).await {
        Ok(Ok(diff)) => Some(diff),
        Ok(Err(Unseen::Refused(said))) => Some(cut(format!("The server would refuse it: {said}\n"))),
        Ok(Err(Unseen::Because(why))) => {
            tracing::info!(why, "a held request has no diff");
            None
        }
        Err(_) => None,
    }
}

/// What a call brings, and how its tool has changed since it was agreed to: both masked like any answer.
fn call_of(proxy: &Proxy, decided: &Decided, call: &Call) -> Option<String> {
    let mut text = String::new();
    if let Some(Changed { tool, pinned, now }) = &call.changed {
        text = format!("The definition of tool {tool:?} has changed:\n{}\n", pinned.diff(now));
    }
    if let Some(arguments) = decided.classified.facts.arguments.as_deref() {
        text.push_str(&format!("arguments: {:#}\n", record::shown(proxy, arguments)));
    }
    (!text.is_empty()).then(|| cut(text))
}

/// Why there is nothing to see.
enum Unseen {
    /// What the server said.
    Refused(String),
    Because(String),
}

/// Whether the API server itself serves a group and so takes a dry run for one. What stands behind an aggregated API
/// might not know the word, and write.
fn knows_dry_run(api_group: &str) -> bool {
    let built_in = ["", "apps", "autoscaling", "batch", "policy"].contains(&api_group);
    built_in || api_group.ends_with(".k8s.io") && !api_group.ends_with("metrics.k8s.io")
}

/// The verb, if it writes one object by itself. Of subresources only those are objects; the others act (`exec`,
/// `eviction`, `binding`) or hand out credentials (`token`).
fn previewed(decided: &Decided) -> Option<&str> {
    let Classified { operation, facts, upgrade, .. } = &decided.classified;
    match operation {
        Operation::Resource { verb, api_group, subresource, name, .. } => {
            let writes = match verb.as_str() {
                "create" => subresource.is_empty() && knows_dry_run(api_group),
                "update" | "patch" => !name.is_empty() && knows_dry_run(api_group),
                "delete" => !name.is_empty(),
                _ => false,
            };
            let object = matches!(subresource.as_str(), "" | "status" | "scale" | "ephemeralcontainers");
            (writes && object && upgrade.is_none() && !facts.dry_run).then_some(verb)
        }
        _ => None,
    }
}

async fn live(proxy: &Proxy, decided: &Decided, rules: Option<Arc<Rules>>) -> Result<String, Unseen> {
    let head = &decided.classified.head;
    match ask(proxy, decided, rules, Method::GET, head.uri.path(), Bytes::new()).await {
        // Created by an apply or an update, then.
        Err(Unseen::Refused(said)) if said.contains("not found") => Ok(String::new()),
        other => other,
    }
}

async fn dry_run(proxy: &Proxy, decided: &Decided, rules: Option<Arc<Rules>>) -> Result<String, Unseen> {
    let Classified { head, body, target, .. } = &decided.classified;
    let joint = if target.contains('?') { '&' } else { '?' };
    let target = format!("{target}{joint}dryRun=All");
    ask(proxy, decided, rules, head.method.clone(), &target, body.outgoing()).await
}

/// One object of the target's, as text.
async fn ask(
    proxy: &Proxy,
    decided: &Decided,
    rules: Option<Arc<Rules>>,
    method: Method,
    target: &str,
    body: Bytes,
) -> Result<String, Unseen> {
    let because = |error: &dyn std::fmt::Display| Unseen::Because(error.to_string());
    let answer = inquiry::ask(decided, method, target, body).await.map_err(|error| because(&error))?;
    let status = answer.status;
    if !status.is_success() && decided.classified.body.is_quoted_in(&answer.body) {
        return Err(Unseen::Because("the server quotes restored values".to_owned()));
    }
    let shown = mask(proxy, rules, &answer.coding, &answer.body).map_err(|error| because(&error))?;
    let mut object: Value = serde_json::from_slice(&shown).map_err(|error| because(&error))?;
    if !status.is_success() {
        let said = object["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        let refused = status.is_client_error() && status != StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(if refused { Unseen::Refused(said) } else { Unseen::Because(said) });
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        NOISE.iter().for_each(|noise| drop(metadata.remove(*noise)));
    }
    serde_saphyr::to_string(&object).map_err(|error| because(&error))
}

fn mask(
    proxy: &Proxy,
    rules: Option<Arc<Rules>>,
    coding: &str,
    body: &[u8],
) -> Result<Vec<u8>, portcullis_mask::MaskError> {
    let Some(rules) = rules else { return Ok(body.to_vec()) };
    let mut masker = BodyMasker::new("application/json", coding, rules, &proxy.mask_key)?;
    let mut shown = Vec::with_capacity(body.len());
    masker.push(body, &mut shown)?;
    masker.finish(&mut shown)?;
    Ok(shown)
}

fn diff(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header("as it is", "as it would be").to_string();
    if text.is_empty() { "It would change nothing.\n".to_owned() } else { cut(text) }
}

/// At most [`LONGEST`] characters, in whole lines.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(text[..end].rfind('\n').map_or(end, |line| line + 1));
        text.push_str("… (cut)\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_servers_own_groups_are_asked_for_a_dry_run() {
        assert!(["", "apps", "networking.k8s.io"].iter().all(|group| knows_dry_run(group)));
        assert!(
            !["metrics.k8s.io", "custom.metrics.k8s.io", "example.com"]
                .iter()
                .any(|group| knows_dry_run(group))
        );
    }

    #[test]
    fn a_diff_shows_what_changes_and_no_more_than_can_be_read() {
        let object = |replicas: u32| format!("{{\n  \"kind\": \"Scale\",\n  \"replicas\": {replicas}\n}}\n");
        let shown = diff(&object(1), &object(0));
        assert!(shown.contains("-  \"replicas\": 1\n+  \"replicas\": 0\n"), "{shown}");
        assert_eq!(diff(&object(1), &object(1)), "It would change nothing.\n");
        let long = diff("", &"ä: value\n".repeat(LONGEST));
        assert!(long.chars().count() < LONGEST + 20);
        assert!(long.ends_with("+ä: value\n… (cut)\n"), "{}", &long[long.len() - 40..]);
    }
}
