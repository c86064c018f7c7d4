//! Asking for access and deciding about it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use portcullis_access::{Attempt, Grant, Request, RequestState, Selection, format_duration};
use portcullis_identity::Subject;

use crate::cli::{DecideArgs, ExtendArgs, ListArgs, RequestArgs, RevokeArgs};
use crate::control::{Ask, ask};
use crate::print::{self, Format};

pub(crate) fn whoami(socket: &Path, format: Format) -> Result<()> {
    let subject: Subject = ask(socket, &Ask::WhoAmI)?;
    print::data(format, &subject, |subject| {
        let groups: Vec<&str> = subject.groups.iter().map(String::as_str).collect();
        let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(", ") };
        format!("{} ({} {}), groups: {groups}", subject.name, subject.issuer, subject.id)
    })
}

pub(crate) fn request(args: RequestArgs, socket: &Path, format: Format) -> Result<()> {
    let RequestArgs { from, role, target, duration, reason } = args;
    let seconds = duration.map(|duration| duration.as_secs());
    let asked = match (from, role, seconds) {
        (Some(id), ..) => {
            let denial = id.parse().with_context(|| format!("--from {id}"))?;
            Ask::RequestFrom { denial, seconds, reason }
        }
        (None, Some(role), Some(seconds)) => {
            let role = role.parse().with_context(|| format!("--role {role}"))?;
            Ask::Request { role, target, seconds, reason }
        }
        (None, ..) => bail!("name a role and a duration with --role and --for, or a denial with --from"),
    };
    let request: Request = ask(socket, &asked)?;
    print::data(format, &request, told)
}

pub(crate) fn requests(args: &ListArgs, socket: &Path, format: Format) -> Result<()> {
    let requests: Vec<Request> = ask(socket, &Ask::Requests { all: args.all })?;
    print::data(format, &requests, |requests| {
        if requests.is_empty() {
            return "No requests are waiting.".to_owned();
        }
        let rows: Vec<Vec<String>> = requests.iter().map(row_of_request).collect();
        let headings = ["REQUEST", "STATE", "WHO", "ROLE", "TARGET", "FOR", "ASKED", "REASON"];
        let table = print::table(&headings, &rows);
        let (headings, rows) = table.split_once('\n').unwrap_or((&table, ""));
        let with_attempts = rows.lines().zip(requests).map(|(row, request)| match &request.denied {
            Some(attempt) => format!("{row}\n{}", told_attempt(attempt)),
            None => row.to_owned(),
        });
        [headings.to_owned()].into_iter().chain(with_attempts).collect::<Vec<_>>().join("\n")
    })
}

pub(crate) fn approve(args: DecideArgs, socket: &Path, format: Format) -> Result<()> {
    let DecideArgs { id, comment } = args;
    let id = id.parse().with_context(|| format!("request {id:?}"))?;
    let request: Request = ask(socket, &Ask::Approve { id, comment })?;
    print::data(format, &request, told)
}

pub(crate) fn deny(args: DecideArgs, socket: &Path, format: Format) -> Result<()> {
    let DecideArgs { id, comment } = args;
    let id = id.parse().with_context(|| format!("request {id:?}"))?;
    let request: Request = ask(socket, &Ask::Deny { id, comment })?;
    print::data(format, &request, told)
}

pub(crate) fn revoke(args: RevokeArgs, socket: &Path, format: Format) -> Result<()> {
    let RevokeArgs { id, subject, role, target, all: _, reason } = args;
    let Some(id) = id else {
        // With --all clap lets nothing else be there, and what selects nothing selects everything.
        let role = role.map(|role| role.parse().with_context(|| format!("--role {role}"))).transpose()?;
        return revoke_all(Selection { subject, role, target }, reason, socket, format);
    };
    let id = id.parse().with_context(|| format!("grant {id:?}"))?;
    let grant: Grant = ask(socket, &Ask::Revoke { id, reason })?;
    print::data(format, &grant, |grant| {
        format!(
            "Grant {} of {} (role {}) is revoked; its running streams are cut.",
            grant.id, grant.subject, grant.role
        )
    })
}

fn revoke_all(selection: Selection, reason: String, socket: &Path, format: Format) -> Result<()> {
    let grants: Vec<Grant> = ask(socket, &Ask::RevokeAll { selection, reason })?;
    print::data(format, &grants, |grants| {
        if grants.is_empty() {
            return "No grants were live.".to_owned();
        }
        let rows: Vec<Vec<String>> = grants
            .iter()
            .map(|grant| {
                let Grant { id, subject, role, target, .. } = grant;
                vec![id.to_string(), subject.to_string(), role.to_string(), target.clone()]
            })
            .collect();
        let are =
            if rows.len() == 1 { "1 grant is".to_owned() } else { format!("{} grants are", rows.len()) };
        let table = print::table(&["GRANT", "WHO", "ROLE", "TARGET"], &rows);
        format!("{are} revoked; their running streams are cut.\n{table}")
    })
}

pub(crate) fn extend(args: ExtendArgs, socket: &Path, format: Format) -> Result<()> {
    let ExtendArgs { id, duration, reason } = args;
    let id = id.parse().with_context(|| format!("grant {id:?}"))?;
    let request: Request = ask(socket, &Ask::Extend { id, seconds: duration.as_secs(), reason })?;
    print::data(format, &request, told)
}

pub(crate) fn grants(args: &ListArgs, socket: &Path, format: Format) -> Result<()> {
    let grants: Vec<Grant> = ask(socket, &Ask::Grants { all: args.all })?;
    print::data(format, &grants, |grants| {
        if grants.is_empty() {
            return "No grants are live.".to_owned();
        }
        let rows: Vec<Vec<String>> = grants.iter().map(row_of_grant).collect();
        print::table(&["GRANT", "STATE", "WHO", "ROLE", "TARGET", "ENDS", "APPROVED BY", "REASON"], &rows)
    })
}

/// What became of a request, and what comes next.
fn told(request: &Request) -> String {
    let Request { id, role, target, subject, .. } = request;
    let duration = format_duration(request.duration);
    match (request.state, &request.grant) {
        (RequestState::Pending, _) => {
            format!(
                "Request {id}: {subject} asks for role {role} on {target} for {duration}. It waits for approval: portcullis approve {id}"
            )
        }
        (RequestState::Approved, Some(grant)) => {
            format!(
                "Request {id} is approved: {subject} has role {role} on {target} for {duration} from now on (grant {grant})."
            )
        }
        (state, _) => format!("Request {id} of {subject} for role {role} on {target} is {state}."),
    }
}

/// What was denied, below the request that it led to. The command line is the client's own words: each is escaped,
/// and quoted where a reader could take it for two.
fn told_attempt(attempt: &Attempt) -> String {
    let word = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+…".contains(c);
        if !word.is_empty() && word.chars().all(plain) { word.clone() } else { format!("{word:?}") }
    };
    let command: Vec<String> = attempt.command.iter().map(word).collect();
    format!("    denied: {}\n    typed:  {}", attempt.operation, command.join(" "))
}

fn row_of_request(request: &Request) -> Vec<String> {
    vec![
        request.id.to_string(),
        request.state.to_string(),
        request.subject.to_string(),
        request.role.to_string(),
        request.target.clone(),
        format_duration(request.duration),
        moment(request.created_at),
        request.reason.escape_debug().to_string(),
    ]
}

fn row_of_grant(grant: &Grant) -> Vec<String> {
    let state = match &grant.ended {
        Some(ended) => ended.to_string(),
        None if grant.is_scheduled(Timestamp::now()) => format!("scheduled {}", moment(grant.starts_at)),
        None => "live".to_owned(),
    };
    let approved_by: Vec<String> = grant.approved_by.iter().map(ToString::to_string).collect();
    vec![
        grant.id.to_string(),
        state,
        grant.subject.to_string(),
        grant.role.to_string(),
        grant.target.clone(),
        moment(grant.expires_at),
        approved_by.join(", "),
        grant.reason.escape_debug().to_string(),
    ]
}

/// To the second, in UTC: approvers and logs may be in other time zones.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
