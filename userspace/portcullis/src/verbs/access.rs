//! Asking for access and deciding about it.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use portcullis_access::{Grant, Request, RequestState, format_duration};
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
    let RequestArgs { role, target, duration, reason } = args;
    let role = role.parse().with_context(|| format!("--role {role}"))?;
    let request: Request = ask(socket, &Ask::Request { role, target, seconds: duration.as_secs(), reason })?;
    print::data(format, &request, told)
}

pub(crate) fn requests(args: &ListArgs, socket: &Path, format: Format) -> Result<()> {
    let requests: Vec<Request> = ask(socket, &Ask::Requests { all: args.all })?;
    print::data(format, &requests, |requests| {
        if requests.is_empty() {
            return "No requests are waiting.".to_owned();
        }
        let rows: Vec<Vec<String>> = requests.iter().map(row_of_request).collect();
        print::table(&["REQUEST", "STATE", "WHO", "ROLE", "TARGET", "FOR", "ASKED", "REASON"], &rows)
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
    let RevokeArgs { id, reason } = args;
    let id = id.parse().with_context(|| format!("grant {id:?}"))?;
    let grant: Grant = ask(socket, &Ask::Revoke { id, reason })?;
    print::data(format, &grant, |grant| {
        format!(
            "Grant {} of {} (role {}) is revoked; its running streams are cut.",
            grant.id, grant.subject, grant.role
        )
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
    let state = grant.ended.as_ref().map_or("live".to_owned(), ToString::to_string);
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
