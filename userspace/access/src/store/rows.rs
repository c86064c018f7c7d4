//! A change as rows, for whichever database: the object as JSON beside the few columns that queries need.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Event};
use crate::{Grant, Hold, HoldState, Request, RequestState};

/// Why a row cannot be written or read: never the row itself.
pub(super) type BadRow = serde_json::Error;

/// All rows that a change writes.
pub(super) struct Rows {
    pub(super) new_request: Option<RequestRow>,
    pub(super) new_grant: Option<GrantRow>,
    pub(super) new_hold: Option<HoldRow>,
    pub(super) requests: Vec<RequestRow>,
    /// Ids of requests that become revoked.
    pub(super) revoked: Vec<String>,
    pub(super) grants: Vec<GrantRow>,
    pub(super) holds: Vec<HoldRow>,
    /// A token's id, when it expires, and before when others have to have expired to be forgotten.
    pub(super) token: Option<(String, i64, i64)>,
    pub(super) events: Vec<EventRow>,
}

pub(super) struct RequestRow {
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) created_at: i64,
    pub(super) body: String,
}

pub(super) struct GrantRow {
    pub(super) id: String,
    pub(super) starts_at: i64,
    pub(super) ended_at: Option<i64>,
    pub(super) body: String,
}

pub(super) struct HoldRow {
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) created_at: i64,
    pub(super) decided_at: Option<i64>,
    pub(super) body: String,
}

pub(super) struct EventRow {
    pub(super) at: i64,
    pub(super) body: String,
}

impl Rows {
    pub(super) fn of(change: &Change) -> Result<Self, BadRow> {
        let written_at = change.events.iter().map(|event| event.at).max().unwrap_or(Timestamp::MIN);
        let forgotten = crate::state::before(written_at, super::TOKEN_KEPT).as_millisecond();
        let token = change.token.as_ref();
        Ok(Self {
            new_request: change.new_request.as_ref().map(RequestRow::of).transpose()?,
            new_grant: change.new_grant.as_ref().map(GrantRow::of).transpose()?,
            new_hold: change.new_hold.as_ref().map(HoldRow::of).transpose()?,
            requests: change.requests.iter().map(RequestRow::of).collect::<Result<_, _>>()?,
            revoked: change.revoked.iter().map(ToString::to_string).collect(),
            grants: change.grants.iter().map(GrantRow::of).collect::<Result<_, _>>()?,
            holds: change.holds.iter().map(HoldRow::of).collect::<Result<_, _>>()?,
            token: token.map(|token| (token.id.clone(), token.expires_at.as_millisecond(), forgotten)),
            events: change.events.iter().map(EventRow::of).collect::<Result<_, _>>()?,
        })
    }

    /// How many there are, for judging how long writing them may take.
    pub(super) fn len(&self) -> usize {
        self.requests.len() + self.revoked.len() + self.grants.len() + self.holds.len() + self.events.len()
    }
}

impl RequestRow {
    fn of(request: &Request) -> Result<Self, BadRow> {
        Ok(Self {
            id: request.id.to_string(),
            state: request.state.as_str(),
            created_at: request.created_at.as_millisecond(),
            body: json(request)?,
        })
    }
}

impl GrantRow {
    fn of(grant: &Grant) -> Result<Self, BadRow> {
        Ok(Self {
            id: grant.id.to_string(),
            starts_at: grant.starts_at.as_millisecond(),
            ended_at: grant.ended.as_ref().and_then(|ended| ended.at()).map(Timestamp::as_millisecond),
            body: json(grant)?,
        })
    }
}

impl HoldRow {
    fn of(hold: &Hold) -> Result<Self, BadRow> {
        Ok(Self {
            id: hold.id.to_string(),
            state: hold.state.as_str(),
            created_at: hold.created_at.as_millisecond(),
            decided_at: hold.decided_at.map(Timestamp::as_millisecond),
            body: json(hold)?,
        })
    }
}

impl EventRow {
    fn of(event: &Event) -> Result<Self, BadRow> {
        Ok(Self { at: event.at.as_millisecond(), body: json(event)? })
    }
}

/// A request from its columns: the state of a revoked one changes there alone.
pub(super) fn request(state: &str, body: &str) -> Result<Request, BadRow> {
    let request: Request = object(body)?;
    let state = match state {
        "revoked" => RequestState::Revoked,
        _ => request.state,
    };
    Ok(Request { state, ..request })
}

/// An event from its columns.
pub(super) fn event(seq: i64, body: &str) -> Result<Event, BadRow> {
    Ok(Event { seq: seq.cast_unsigned(), ..object(body)? })
}

/// An object from its JSON.
pub(super) fn object<T: DeserializeOwned>(body: &str) -> Result<T, BadRow> {
    serde_json::from_str(body)
}

fn json<T: Serialize>(object: &T) -> Result<String, BadRow> {
    serde_json::to_string(object)
}

/// States in which a hold is still to be acted upon, for `IN (…)`.
pub(super) const OPEN_HOLDS: [&str; 2] = [HoldState::Pending.as_str(), HoldState::Approved.as_str()];
