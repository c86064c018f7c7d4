//! `policy explain`: what each role says about a request; or, live, what would be decided now.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use portcullis_access::{
    ConditionAt, Decision, Explanation, Facts, Operation, Outcome, Query, ReviewTerms, RuleAt, Snapshot,
    Verdict, decide, format_duration, read_yaml,
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
    facts: Facts,
    at: Timestamp,
    roles: Vec<Explanation>,
    /// What is decided for somebody who holds none of the roles.
    without_grants: Decision,
    #[serde(skip)]
    in_words: String,
}

/// Asks the daemon, for the caller.
pub(super) fn live(args: &ExplainArgs, socket: &Path, format: Format) -> Result<()> {
    let (target, operation, command) = (args.target.clone(), operation(args)?, args.command.clone());
    let ask_live = Ask::Explain { target, operation, command, arguments: args.arguments.clone() };
    let explained: Explained = ask(socket, &ask_live)?;
    print::data(format, &explained, |explained| explained.message.clone())
}

/// Asks the role files.
pub(super) fn offline(args: &ExplainArgs, config: &Path, format: Format) -> Result<()> {
    let policy = Policy::read(&args.roles, config)?;
    let (target, operation) = (args.target.clone(), operation(args)?);
    policy.must_know(&target)?;
    let subject = subject(args, &policy)?;
    let at = args.at.unwrap_or_else(Timestamp::now);
    let mut facts: Facts = match &args.facts {
        Some(yaml) => read_yaml("--facts", 0, yaml)?,
        None => Facts::default(),
    };
    if !args.command.is_empty() {
        ensure!(facts.command.is_empty(), "the command is in --facts and behind -- as well");
        facts.command.clone_from(&args.command);
    }
    if let Some(arguments) = &args.arguments {
        ensure!(facts.arguments.is_none(), "the arguments are in --facts and in --arguments as well");
        facts.arguments = Some(Arc::new(arguments.clone().into()));
    }
    let nothing_held = Snapshot::supposing(&policy.roles, &policy.discovery, &subject, &target, &[], at)?;
    let query = Query { subject: &subject, target: &target, operation: &operation, facts: &facts };
    let without_grants = decide(&nothing_held, &query, at);
    let in_words = match &without_grants {
        Decision::Allow(_) => "allowed: it is open to everybody identified.".to_owned(),
        Decision::Review(review) => review.message(&query),
        Decision::Deny(denied) => denied.message(&query, None),
    };
    let roles = policy.roles.explain(&query, at);
    let answer = Answer { subject, target, operation, facts, at, roles, without_grants, in_words };
    print::data(format, &answer, told)
}

fn operation(args: &ExplainArgs) -> Result<Operation> {
    let name = args.name.as_deref().unwrap_or("");
    let operation = Operation::spelled(&args.verb, &args.what, &args.namespace, name)?;
    let of_mcp = matches!(operation, Operation::Mcp { .. });
    ensure!(of_mcp || args.arguments.is_none(), "only an MCP request has --arguments");
    Ok(operation)
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
    let conditions =
        answer.roles.iter().flat_map(|said| said.conditions.iter().map(|at| condition(said, at)));
    let conditions: Vec<String> = conditions.collect();
    let conditions = if conditions.is_empty() {
        String::new()
    } else {
        format!("Conditions:\n{}\n\n", conditions.join("\n"))
    };
    format!(
        "{subject} ({groups}): {operation} of target {target}\n\n{table}\n\n{conditions}Without a grant: {}",
        answer.in_words
    )
}

/// `  pod-admin, rule 3 (roles/pods.yaml:31) is false: time.hour >= 8`
fn condition(said: &Explanation, condition: &ConditionAt) -> String {
    let ConditionAt { rule, at, when, outcome } = condition;
    let outcome = match outcome {
        Outcome::True => "is true".to_owned(),
        Outcome::False => "is false".to_owned(),
        Outcome::Error { message } => format!("cannot be told ({message})"),
    };
    let when = when.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("  {}, rule {} ({at}) {outcome}: {when}", said.role, rule + 1)
}

fn row(said: &Explanation) -> Vec<String> {
    vec![
        said.role.to_string(),
        if said.eligible { "yes" } else { "no" }.to_owned(),
        verdict(&said.verdict),
        approvals(said),
        format_duration(said.max_duration),
    ]
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(by) => format!("allow it: rule {}, {}", by.rule + 1, by.at),
        Verdict::Filter { by, filter } => {
            format!("show of it only objects {filter}: rule {}, {}", by.rule + 1, by.at)
        }
        Verdict::Review { by, terms } => format!("allow it {}", once_agreed(by, terms)),
        Verdict::Hold { by, terms } => {
            format!("not allow it; with another grant, {}", once_agreed(by, terms))
        }
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

/// `once 1 of leads agree within 5m: rule 2, roles/pods.yaml:31`
fn once_agreed(by: &RuleAt, terms: &ReviewTerms) -> String {
    let (groups, wait) = (list(&terms.groups), format_duration(terms.wait));
    format!("once {} of {groups} agree within {wait}: rule {}, {}", terms.required, by.rule + 1, by.at)
}

fn approvals(said: &Explanation) -> String {
    let terms = &said.approval;
    let mut text = match (terms.required, said.auto_approved) {
        (0, _) => "none".to_owned(),
        (_, Some(condition)) => format!("none now: condition {}", condition + 1),
        (required, None) => format!("{required} of {}", list(&terms.groups)),
    };
    if let Some(longest) = said.emergency {
        text.push_str(&format!("; none in an emergency, for {}", format_duration(longest)));
    }
    text
}

fn list(groups: &BTreeSet<String>) -> String {
    groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
