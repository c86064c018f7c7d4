//! `policy explain`: what each role says about a request; or, live, what would be decided now.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use portcullis_access::{
    ApprovalTerms, Decision, Explanation, Facts, Operation, Query, Snapshot, Verdict, decide, format_duration,
};
use portcullis_identity::{Method, Subject};
use serde::Serialize;

use super::Policy;
use crate::cli::ExplainArgs;
use crate::control::{Ask, Explained, ask};
use crate::print::{self, Format};

/// The answer, with the question as it was understood.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    subject: Subject,
    target: String,
    operation: Operation,
    roles: Vec<Explanation>,
    /// What is decided for somebody who holds none of the roles.
    without_grants: Decision,
    #[serde(skip)]
    in_words: String,
}

/// Asks the daemon, for the caller.
pub(super) fn live(args: &ExplainArgs, socket: &Path, format: Format) -> Result<()> {
    let ask_live = Ask::Explain { target: args.target.clone(), operation: operation(args)? };
    let explained: Explained = ask(socket, &ask_live)?;
    print::data(format, &explained, |explained| explained.message.clone())
}

/// Asks the role files.
pub(super) fn offline(args: &ExplainArgs, config: &Path, format: Format) -> Result<()> {
    let policy = Policy::read(&args.roles, config)?;
    let (target, operation) = (args.target.clone(), operation(args)?);
    policy.must_know(&target)?;
    let subject = subject(args, &policy)?;
    let now = Timestamp::now();
    let nothing_held = Snapshot::supposing(&policy.roles, &policy.discovery, &subject, &target, &[], now)?;
    let query = Query { subject: &subject, target: &target, operation: &operation, facts: Facts::NONE };
    let without_grants = decide(&nothing_held, &query, now);
    let in_words = match &without_grants {
        Decision::Allow(_) => "allowed: it is open to everybody identified.".to_owned(),
        Decision::Review(_) => "held".to_owned(),
        Decision::Deny(denied) => denied.message(&query, None),
    };
    let roles = policy.roles.explain(&subject, &target, &operation);
    let answer = Answer { subject, target, operation, roles, without_grants, in_words };
    print::data(format, &answer, told)
}

fn operation(args: &ExplainArgs) -> Result<Operation> {
    let name = args.name.as_deref().unwrap_or("");
    Ok(Operation::spelled(&args.verb, &args.what, &args.namespace, name)?)
}

/// The person as the command line describes them, with the groups of the configuration's mapping where it says none.
fn subject(args: &ExplainArgs, policy: &Policy) -> Result<Subject> {
    let name = args.subject.clone().context("whose request is it? --subject NAME")?;
    let groups = match &args.groups {
        Some(groups) => groups.clone(),
        None => {
            let mapped = policy.users.iter().filter(|user| user.name == name);
            mapped.flat_map(|user| user.groups.clone()).collect()
        }
    };
    let groups = groups.into_iter().filter(|group| !group.is_empty()).collect();
    let issuer = "policy-explain".to_owned();
    Ok(Subject { issuer, id: name.clone(), name, groups, method: Method::Unix, account: None })
}

fn told(answer: &Answer) -> String {
    let Answer { subject, target, operation, .. } = answer;
    let groups: Vec<&str> = subject.groups.iter().map(String::as_str).collect();
    let groups =
        if groups.is_empty() { "in no group".to_owned() } else { format!("in {}", groups.join(", ")) };
    let rows: Vec<Vec<String>> = answer.roles.iter().map(row).collect();
    let table = print::table(&["ROLE", "MAY ASK", "A GRANT OF IT WOULD", "APPROVALS", "UP TO"], &rows);
    format!(
        "{subject} ({groups}): {operation} of target {target}\n\n{table}\n\nWithout a grant: {}",
        answer.in_words
    )
}

fn row(said: &Explanation) -> Vec<String> {
    vec![
        said.role.to_string(),
        if said.eligible { "yes" } else { "no" }.to_owned(),
        verdict(&said.verdict),
        approvals(&said.approval),
        format_duration(said.max_duration),
    ]
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(by) => format!("allow it: rule {}, {}", by.rule + 1, by.at),
        Verdict::Deny(by) => {
            let because = by.reason.as_ref().map_or(String::new(), |why| format!(": {}", why.escape_debug()));
            format!("deny it: rule {}, {}{because}", by.rule + 1, by.at)
        }
        Verdict::OnlyInNamespaces { namespaces } => {
            format!("allow it in namespace {} only", namespaces.join(", "))
        }
        Verdict::Nothing => "say nothing".to_owned(),
        Verdict::OtherTargets => "say nothing: not on this target".to_owned(),
    }
}

fn approvals(terms: &ApprovalTerms) -> String {
    let groups: Vec<&str> = terms.groups.iter().map(String::as_str).collect();
    match terms.required {
        0 => "none".to_owned(),
        required => format!("{required} of {}", groups.join(", ")),
    }
}
