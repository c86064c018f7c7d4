//! Asking for access and deciding about it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use portcullis_access::{Decided, Grant, Hold, HoldState, Request, RequestState, Selection, format_duration};

use super::list;
use crate::cli::{DecideArgs, ExtendArgs, ListArgs, RequestArgs, RevokeArgs};
use crate::control::{Ask, ask};
use crate::print::{self, Format};

pub(crate) fn request(args: RequestArgs, socket: &Path, format: Format) -> Result<()> {
    let RequestArgs { from, role, target, duration, at: starts_at, reason, emergency } = args;
    let seconds = duration.map(|duration| duration.as_secs());
    let asked = match (from, role, seconds) {
        (Some(id), ..) => {
            let denial = id.parse().with_context(|| format!("--from {id}"))?;
            Ask::RequestFrom { denial, seconds, starts_at, reason, emergency }
        }
        (None, Some(role), Some(seconds)) => {
            let role = role.parse().with_context(|| format!("--role {role}"))?;
            Ask::Request { role, target, seconds, starts_at, reason, emergency }
        }
        (None, ..) => bail!("name a role and a duration with --role and --for, or a denial with --from"),
    };
    let request: Request = ask(socket, &asked)?;
    print::data(format, &request, told)
}

pub(crate) fn requests(args: &ListArgs, socket: &Path, format: Format) -> Result<()> {
    let waiting: Vec<Decided> = ask(socket, &Ask::Requests { all: args.all })?;
    print::data(format, &waiting, |waiting| list::waiting(waiting))
}

pub(crate) fn approve(args: DecideArgs, socket: &Path, format: Format) -> Result<()> {
    let DecideArgs { id, comment } = args;
    let decided: Decided = ask(socket, &Ask::Approve { id: id.parse()?, comment })?;
    print::data(format, &decided, told_decided)
}

pub(crate) fn deny(args: DecideArgs, socket: &Path, format: Format) -> Result<()> {
    let DecideArgs { id, comment } = args;
    let decided: Decided = ask(socket, &Ask::Deny { id: id.parse()?, comment })?;
    print::data(format, &decided, told_decided)
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
        list::grants(grants)
    })
}

fn told_decided(decided: &Decided) -> String {
    match decided {
        Decided::Request(request) => told(request),
        Decided::Hold(hold) => {
            let Hold { id, subject, operation, target, terms, .. } = &**hold;
            let what = format!("{subject}: {operation} of target {target} (held as {id})");
            match hold.state {
                HoldState::Pending => {
                    let missing = terms.required as usize - hold.approvals.len().min(terms.required as usize);
                    format!("{what} waits for {missing} more to agree.")
                }
                HoldState::Approved | HoldState::Spent => format!("{what} goes on, once."),
                state => format!("{what} is {state}."),
            }
        }
    }
}

/// What became of a request, and what comes next; and what its role shows of what is masked.
fn told(request: &Request) -> String {
    let unmasks = request.unmasks.iter().map(|unmask| format!("\nIt UNMASKS {unmask}"));
    unmasks.fold(became(request), |told, unmask| told + &unmask)
}

fn became(request: &Request) -> String {
    let Request { id, role, target, subject, .. } = request;
    let duration = format_duration(request.duration);
    let begins = request.starts_at.map_or("from now on".to_owned(), |at| format!("from {at:.0} on"));
    match (request.state, &request.grant) {
        (RequestState::Pending, _) => {
            format!(
                "Request {id}: {subject} asks for role {role} on {target} for {duration}. It waits for approval: portcullis approve {id}"
            )
        }
        (RequestState::Approved, Some(grant)) if request.emergency => {
            format!(
                "Emergency: {subject} has role {role} on {target} for {duration} {begins} without approval (request {id}, grant {grant}). It is on record, and those who watch are told."
            )
        }
        (RequestState::Approved, Some(grant)) => {
            format!(
                "Request {id} is approved: {subject} has role {role} on {target} for {duration} {begins} (grant {grant})."
            )
        }
        (state, _) => format!("Request {id} of {subject} for role {role} on {target} is {state}."),
    }
}
