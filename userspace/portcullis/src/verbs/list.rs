//! Lists of requests, held requests and grants, for people to decide by.

use jiff::Timestamp;
use portcullis_access::{Attempt, Decided, Grant, Hold, Operation, Request, format_duration};

use crate::print;

/// Held requests first, since somebody sits and waits.
pub(super) fn waiting(waiting: &[Decided]) -> String {
    if waiting.is_empty() {
        return "No requests are waiting.".to_owned();
    }
    let holds: Vec<&Hold> = waiting
        .iter()
        .filter_map(|one| match one {
            Decided::Hold(hold) => Some(&**hold),
            Decided::Request(_) => None,
        })
        .collect();
    let requests: Vec<&Request> = waiting
        .iter()
        .filter_map(|one| match one {
            Decided::Request(request) => Some(&**request),
            Decided::Hold(_) => None,
        })
        .collect();
    let held = (!holds.is_empty()).then(|| held(&holds));
    let asked = (!requests.is_empty()).then(|| asked(&requests));
    held.into_iter().chain(asked).collect::<Vec<_>>().join("\n\n")
}

pub(super) fn grants(grants: &[Grant]) -> String {
    let rows: Vec<Vec<String>> = grants.iter().map(row_of_grant).collect();
    print::table(&["GRANT", "STATE", "WHO", "ROLE", "TARGET", "ENDS", "APPROVED BY", "REASON"], &rows)
}

fn held(holds: &[&Hold]) -> String {
    let headings = ["HELD", "STATE", "WHO", "ROLE", "TARGET", "WAITS UNTIL"];
    let rows = holds.iter().map(|hold| {
        let Hold { id, state, subject, role, target, expires_at, .. } = hold;
        vec![
            id.to_string(),
            state.to_string(),
            subject.to_string(),
            role.to_string(),
            target.clone(),
            moment(*expires_at),
        ]
    });
    let below = holds.iter().map(|hold| {
        let diff = hold.diff.iter().flat_map(|diff| diff.lines());
        let diff: String = diff.map(|line| format!("\n    {}", plain(line))).collect();
        format!("{}{diff}", tried("wants: ", &hold.operation, &hold.command))
    });
    with_details(&headings, &rows.collect::<Vec<_>>(), below)
}

fn asked(requests: &[&Request]) -> String {
    let headings = ["REQUEST", "STATE", "WHO", "ROLE", "TARGET", "FOR", "ASKED", "REASON"];
    let rows: Vec<Vec<String>> = requests.iter().map(|request| row_of_request(request)).collect();
    let below = requests.iter().map(|request| {
        let begins = request.starts_at.map(|at| format!("    begins: {}", moment(at)));
        let denied = request
            .denied
            .as_ref()
            .map(|Attempt { operation, command, .. }| tried("denied:", operation, command));
        let unmasks = request.unmasks.iter().map(|unmask| format!("    UNMASKS {}", plain(unmask)));
        unmasks.chain(begins).chain(denied).collect::<Vec<_>>().join("\n")
    });
    with_details(&headings, &rows, below)
}

/// A table with lines of its own below each row.
fn with_details(headings: &[&str], rows: &[Vec<String>], below: impl Iterator<Item = String>) -> String {
    let table = print::table(headings, rows);
    let (headings, rows) = table.split_once('\n').unwrap_or((&table, ""));
    let rows = rows.lines().zip(below).map(|(row, below)| match below.as_str() {
        "" => row.to_owned(),
        below => format!("{row}\n{below}"),
    });
    [headings.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// What was tried. The command line is the client's own words: each is escaped, and quoted where a reader could take
/// it for two.
fn tried(what: &str, operation: &Operation, command: &[String]) -> String {
    let word = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+…".contains(c);
        if !word.is_empty() && word.chars().all(plain) { word.clone() } else { format!("{word:?}") }
    };
    let command: Vec<String> = command.iter().map(word).collect();
    format!("    {what} {operation}\n    typed:  {}", command.join(" "))
}

/// A line of a diff, in which nothing can move the cursor.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
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
        None if Timestamp::now() < grant.starts_at => format!("begins {}", moment(grant.starts_at)),
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
        if grant.emergency { "nobody (emergency)".to_owned() } else { approved_by.join(", ") },
        grant.reason.escape_debug().to_string(),
    ]
}

/// To the second, in UTC: approvers and logs may be in other time zones.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
