//! Everything that can be wrong with roles, requests and the store.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::{
    Decidable, DenialId, Ended, Grant, GrantId, HoldId, HoldState, Operation, RequestId, RequestState,
    RoleName, format_duration,
};

/// What was refused or failed, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A role file is wrong at a place.
    #[error("{file}:{line}: {field}: {message}")]
    Manifest {
        /// The file as it was named.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// Path of the field, such as `spec.rules[0].verbs`.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The role directory or a file in it cannot be read.
    #[error("cannot read roles from {}: {source}", path.display())]
    RolesUnreadable {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two roles have one name.
    #[error("role {name} is defined twice: in {first} and in {second}")]
    DuplicateRole {
        /// The name.
        name: RoleName,
        /// `file:line` of one definition.
        first: String,
        /// `file:line` of the other.
        second: String,
    },
    /// A discovery path that is no path pattern.
    #[error("discovery: {0}")]
    BadPath(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: write 90s, 30m, 4h or 1h30m")]
    BadDuration(String),
    /// Not a moment.
    #[error("{0:?} is no moment: write 2026-03-02T09:00, or 2026-03-02T09:00:00Z")]
    BadMoment(String),
    /// Not an operation as people write one.
    #[error("{text:?} is no request: {why}")]
    BadOperation {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a role name.
    #[error("{0:?} is not a role name: lower-case letters, digits, `-` and `.`, at most 63 of them")]
    BadRoleName(String),
    /// Not a request id.
    #[error("{0:?} is not a request id; those look like r-7f3a9c")]
    BadRequestId(String),
    /// Not a grant id.
    #[error("{0:?} is not a grant id; those look like g-41d0e2")]
    BadGrantId(String),
    /// Not the id of a hold.
    #[error("{0:?} is not the id of a held request; those look like h-7f3a9c")]
    BadHoldId(String),
    /// Neither the id of a request nor of a hold.
    #[error("{0:?} is neither a request nor a held request; those look like r-7f3a9c and h-7f3a9c")]
    BadDecidable(String),
    /// There is no such hold.
    #[error("no request is held as {0}")]
    NoSuchHold(HoldId),
    /// The hold was decided before.
    #[error("held request {id} no longer waits: it is {state}")]
    NotHeld {
        /// The hold.
        id: HoldId,
        /// What it is now.
        state: HoldState,
    },
    /// The hold was not approved, so there is nothing to spend.
    #[error("held request {id} may not go on: it is {state}")]
    NotSpendable {
        /// The hold.
        id: HoldId,
        /// What it is now.
        state: HoldState,
    },
    /// Not in a group that the hold's rule names.
    #[error("{who} may not decide about {id}: {approvers} may")]
    NotReviewer {
        /// Who tried.
        who: String,
        /// The hold.
        id: HoldId,
        /// Who may.
        approvers: String,
    },
    /// One person has too many requests waiting.
    #[error("{who} already has {held} requests held for approval; wait until one of them is decided")]
    TooManyHeld {
        /// Who.
        who: String,
        /// How many.
        held: usize,
    },
    /// All people together have too many requests waiting.
    #[error("{0} requests are held for approval already, and no more can be; try again later")]
    HoldsFull(usize),
    /// A link or button that was used before.
    #[error("this approval link or button was used already; each works once")]
    AlreadyUsed,
    /// A link or button whose time is over.
    #[error("this approval link or button was good until {0:.0}; decide with `portcullis approve` or `deny`")]
    NoLongerGood(Timestamp),
    /// Not the id of a link or button.
    #[error("the id of a single-use approval must have 1 to 128 characters")]
    BadToken,
    /// A start that is over, or too far ahead.
    #[error(
        "a grant can be asked for ahead of time to begin until {latest:.0}, and not before now: not at {at:.0}"
    )]
    BadStart {
        /// What was asked for.
        at: Timestamp,
        /// The latest possible.
        latest: Timestamp,
    },
    /// Not the id of a denial.
    #[error("{0:?} is not the id of a denial; those look like d-7f3a9c")]
    BadDenialId(String),
    /// A reason or comment that cannot be shown as it is.
    #[error("the {what} must be one line of 1 to 500 characters without control characters")]
    BadText {
        /// `reason` or `comment`.
        what: &'static str,
    },

    /// There is no such role.
    #[error("there is no role {0}")]
    NoSuchRole(RoleName),
    /// There is no such target, or the role does not cover it.
    #[error("role {role} does not cover a target {target:?}")]
    TargetNotCovered {
        /// The role.
        role: RoleName,
        /// What was asked for.
        target: String,
    },
    /// The role covers several targets, or none, and the request names none.
    #[error("role {role} covers {}: name one", if targets.is_empty() { "no target".to_owned() } else { format!("the targets {}", targets.join(", ")) })]
    TargetNeeded {
        /// The role.
        role: RoleName,
        /// The targets that it covers.
        targets: Vec<String>,
    },
    /// The requester is in none of the role's eligible groups.
    #[error("{who} may not ask for role {role}: it is for {eligible}")]
    NotEligible {
        /// The requester.
        who: String,
        /// The role.
        role: RoleName,
        /// Whom it is for.
        eligible: String,
    },
    /// Longer than the role allows.
    #[error("role {role} is granted for at most {}, not {}", format_duration(*longest), format_duration(*asked))]
    TooLong {
        /// The role.
        role: RoleName,
        /// What was asked for.
        asked: Duration,
        /// The role's longest duration.
        longest: Duration,
    },
    /// The requester may not take the role without approval.
    #[error("{who} may not break the glass for role {role}: {}", if groups.is_empty() { "it has no emergency terms".to_owned() } else { format!("members of {groups} may") })]
    NoEmergency {
        /// The requester.
        who: String,
        /// The role.
        role: RoleName,
        /// Who may, with commas between.
        groups: String,
    },
    /// The reason is not what the role asks for.
    #[error("role {role} wants a reason that matches {pattern}, such as the number of a ticket")]
    ReasonUnfit {
        /// The role.
        role: RoleName,
        /// The regular expression.
        pattern: String,
    },
    /// No such denial of this person is remembered.
    #[error(
        "no denial {id} of yours is remembered: denials are for {}, until the daemon restarts. Run the refused command again for a new id, or name what you need: portcullis request --role ROLE --target TARGET --for DURATION --reason \"…\"",
        format_duration(*kept)
    )]
    NoSuchDenial {
        /// What was asked for.
        id: DenialId,
        /// How long denials are remembered.
        kept: Duration,
    },
    /// The role would not help against the denial any more.
    #[error(
        "role {role} has changed and does not cover what was denied ({operation}); run the refused command again to read what does"
    )]
    NoLongerCovers {
        /// The role.
        role: RoleName,
        /// What was denied.
        operation: Box<Operation>,
    },
    /// The requester has too many requests and grants open.
    #[error("{who} already has {open} requests and grants open; withdraw or revoke some")]
    TooManyOpen {
        /// The requester.
        who: String,
        /// How many.
        open: usize,
    },

    /// There is no such request.
    #[error("there is no request {0}")]
    NoSuchRequest(RequestId),
    /// The request was decided before.
    #[error("request {id} is no longer pending: it is {state}")]
    NotPending {
        /// The request.
        id: RequestId,
        /// What it is now.
        state: RequestState,
    },
    /// Nobody approves their own request.
    #[error("{who} asked for {id} and cannot approve it: someone else has to")]
    SelfApproval {
        /// Requester and would-be approver.
        who: String,
        /// The request, or the held request.
        id: Decidable,
    },
    /// One approver counts once.
    #[error("{who} has approved {id} already; it needs another person")]
    AlreadyApproved {
        /// The approver.
        who: String,
        /// The request, or the held request.
        id: Decidable,
    },
    /// Not in an approver group of the role.
    #[error("{who} may not decide requests for role {role}: its approvers are {approvers}")]
    NotApprover {
        /// Who tried.
        who: String,
        /// The role.
        role: RoleName,
        /// The approver groups.
        approvers: String,
    },

    /// There is no such grant.
    #[error("there is no grant {0}")]
    NoSuchGrant(GrantId),
    /// The grant has ended.
    #[error("grant {id} has ended: {ended}")]
    GrantEnded {
        /// The grant.
        id: GrantId,
        /// How.
        ended: Box<Ended>,
    },
    /// The grant is still to begin.
    #[error("grant {id} begins at {at:.0}")]
    NotBegun {
        /// The grant.
        id: GrantId,
        /// When.
        at: Timestamp,
    },
    /// Neither holder nor approver nor administrator.
    #[error("{who} may not revoke {id}: its holder, the approvers of role {role} and administrators may")]
    MayNotRevoke {
        /// Who tried.
        who: String,
        /// The grant.
        id: GrantId,
        /// Its role.
        role: RoleName,
    },
    /// One of several grants may not be revoked by this person, so none was.
    #[error(
        "nothing was revoked: {who} may not revoke {}; the holder of a grant, the approvers of its role and administrators may",
        grants.iter().map(|grant| format!("{} of {} (role {})", grant.id, grant.subject, grant.role)).collect::<Vec<_>>().join(", ")
    )]
    MayNotRevokeAll {
        /// Who tried.
        who: String,
        /// The grants that they may not revoke.
        grants: Vec<Grant>,
    },
    /// Only administrators end everything.
    #[error("{who} may not revoke every grant: only members of adminGroups may")]
    NotAdmin {
        /// Who tried.
        who: String,
    },
    /// No live grant is selected: more likely a mistyped name than the wish to do nothing.
    #[error("nothing was revoked: no live grant is {selection}")]
    NothingSelected {
        /// Which grants were meant, in words.
        selection: String,
    },
    /// Only the holder extends a grant.
    #[error("{who} does not hold grant {id}: only its holder can ask to extend it")]
    NotHolder {
        /// Who tried.
        who: String,
        /// The grant.
        id: GrantId,
    },

    /// The store cannot be opened or used.
    #[error("the grant store {store} {what}")]
    Store {
        /// The database file, or the server and database.
        store: String,
        /// What is wrong, with the database's own words.
        what: String,
    },
    /// Other writers changed the store each time we tried.
    #[error("the grant store changed under us too often; try again")]
    Contended,
}
