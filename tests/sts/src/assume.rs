//! `AssumeRole` and `AssumeRoleWithWebIdentity`: what is asked for, checked by the API reference and the trust policy.

use std::collections::BTreeMap;

use crate::form::Form;
use crate::journal::Event;
use crate::{Refusal, Role, legal};

/// The parameters of an `AssumeRole` besides lists.
const KNOWN: &[&str] = &[
    "Action",
    "Version",
    "RoleArn",
    "RoleSessionName",
    "DurationSeconds",
    "ExternalId",
    "Policy",
    "SourceIdentity",
    "WebIdentityToken",
];
/// The shortest session.
const SHORTEST: u32 = 900;
/// The longest session of a role assumed by a role.
const CHAINED: u32 = 3600;

/// Reads the request into the journal, so that what is refused is on record as well, and then checks it.
///
/// # Errors
/// For what is malformed.
pub(crate) fn read(form: &Form, event: &mut Event) -> Result<(), Refusal> {
    let text = |name: &str| form.get(name).map(str::to_owned);
    event.role_arn = text("RoleArn");
    event.session_name = text("RoleSessionName");
    event.source_identity = text("SourceIdentity");
    event.external_id = text("ExternalId");
    event.policy = text("Policy");
    event.policy_arns = list(form, "PolicyArns", "arn").into_iter().map(|(_, arn)| arn).collect();
    event.tags = tags(form)?;
    event.duration_seconds = form
        .get("DurationSeconds")
        .map(str::parse)
        .transpose()
        .map_err(|_| Refusal::invalid("DurationSeconds is not a number"))?;
    for (name, _) in form.iter() {
        let listed = ["Tags.member.", "PolicyArns.member.", "TransitiveTagKeys.member."]
            .iter()
            .any(|list| name.starts_with(list));
        if !listed && !KNOWN.contains(&name) {
            return Err(Refusal::invalid(format!("parameter {name} is not known")));
        }
    }
    legal::name("roleSessionName", form.require("RoleSessionName")?)?;
    if let Some(identity) = &event.source_identity {
        legal::name("sourceIdentity", identity)?;
    }
    if let Some(id) = &event.external_id {
        legal::external_id(id)?;
    }
    if let Some(policy) = &event.policy {
        legal::policy(policy)?;
    }
    if event.policy_arns.len() > 10 {
        return Err(Refusal::invalid("more than 10 policy ARNs"));
    }
    for (key, value) in &event.tags {
        legal::tag(key, value)?;
    }
    Ok(())
}

/// The length of the session, where `caller` may assume `role` in the way they ask.
///
/// # Errors
/// When the trust policy says no, or the session would be too long.
pub(crate) fn allow(role: Option<&Role>, caller: &str, event: &Event) -> Result<u32, Refusal> {
    let arn = event.role_arn.as_deref().unwrap_or_default();
    let no = || {
        Refusal::denied(format!(
            "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        ))
    };
    let role = role.ok_or_else(no)?;
    let trusted = role.trusts.is_empty() || role.trusts.iter().any(|trusted| trusted == caller);
    let agreed = role.external_id.is_none() || role.external_id == event.external_id;
    let tagged = role.tags.iter().all(|key| event.tags.contains_key(key));
    let named = !role.source_identity || event.source_identity.is_some();
    if !(trusted && agreed && tagged && named) {
        return Err(no());
    }
    let seconds = event.duration_seconds.unwrap_or(3600);
    if seconds < SHORTEST {
        return Err(Refusal::invalid(format!("DurationSeconds {seconds} is below {SHORTEST}")));
    }
    if seconds > role.max_session_seconds {
        return Err(Refusal::invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    if caller.contains(":assumed-role/") && seconds > CHAINED {
        return Err(Refusal::invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    Ok(seconds)
}

fn tags(form: &Form) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for (number, key) in list(form, "Tags", "Key") {
        let value = form.require(&format!("Tags.member.{number}.Value"))?;
        if tags.keys().any(|known: &String| known.eq_ignore_ascii_case(&key)) {
            return Err(Refusal::invalid(format!("Duplicate tag keys found: {key}")));
        }
        tags.insert(key, value.to_owned());
    }
    if tags.len() > 50 {
        return Err(Refusal::invalid("more than 50 tags"));
    }
    Ok(tags)
}

/// `NAME.member.1.FIELD`, `NAME.member.2.FIELD`, … until one is missing.
fn list(form: &Form, name: &str, field: &str) -> Vec<(usize, String)> {
    (1..)
        .map_while(|number| {
            form.get(&format!("{name}.member.{number}.{field}")).map(|value| (number, value.to_owned()))
        })
        .collect()
}
