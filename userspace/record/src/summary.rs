//! One line about a session, computed from its frames.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;

use crate::event::{Action, Event, SessionStarted};
use crate::frame::{DataHead, KIND_DATA, KIND_EVENT};
use crate::recording::Recording;
use crate::safe::Safe;
use crate::walk::{Frame, Step, Walk};
use crate::{RecordError, SessionId};

/// What a session was, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// Its name.
    pub id: SessionId,
    /// Whether it is over.
    pub state: State,
    /// Who began it, where and when; `None` if that frame is damaged or of a later version.
    pub start: Option<SessionStarted>,
    /// When something last happened in it; `None` if nothing in it can be read.
    pub last_at: Option<Timestamp>,
    /// Requests that were made.
    pub requests: u64,
    /// Requests that were denied or refused.
    pub denied: u64,
    /// Bytes of bodies and streams that were recorded.
    pub bytes: u64,
    /// Whether something is wrong with it, apart from a torn end. Bytes of data are not looked at: `verify` does.
    pub damaged: bool,
}

/// Whether a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is being recorded.
    Live,
    /// It was closed properly.
    Ended,
    /// It was not closed, and nobody writes it: the recorder died, or could not write.
    Incomplete,
}

/// Which sessions to list. Sessions whose beginning cannot be read pass `subject` and `target`: better one too many.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Name or id of the person.
    pub subject: Option<String>,
    /// The protected endpoint set.
    pub target: Option<String>,
    /// Begun at or after this.
    pub since: Option<Timestamp>,
    /// Begun before this.
    pub until: Option<Timestamp>,
    /// Only those with a request that was denied or refused.
    pub denied: bool,
}

impl SessionSummary {
    pub(crate) fn of(recording: &Recording) -> Result<Self, RecordError> {
        let mut summary = Self {
            id: recording.id().clone(),
            state: State::Incomplete,
            start: None,
            last_at: None,
            requests: 0,
            denied: 0,
            bytes: 0,
            damaged: false,
        };
        // Looked at before the frames: a session that ends meanwhile is then live or ended, never incomplete.
        let live = recording.is_live()?;
        for step in Walk::new(recording.dir(), recording.id(), true)? {
            match step? {
                Step::Frame(frame) => summary.add(&frame),
                Step::Damage(damage) => summary.damaged |= !damage.is_torn_tail(),
            }
        }
        if live && summary.state != State::Ended {
            summary.state = State::Live;
        }
        Ok(summary)
    }

    /// From its first to its last event.
    pub fn duration(&self) -> Option<SignedDuration> {
        Some(self.last_at?.duration_since(self.start.as_ref()?.started_at))
    }

    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        let start = self.start.as_ref();
        let is = |wanted: &Option<String>, actual: fn(&SessionStarted) -> [&str; 2]| match (wanted, start) {
            (Some(wanted), Some(start)) => actual(start).contains(&wanted.as_str()),
            _ => true,
        };
        is(&filter.subject, |start| [&start.subject.name, &start.subject.id])
            && is(&filter.target, |start| [start.target.as_str(); 2])
            && start.is_none_or(|start| filter.since.is_none_or(|since| start.started_at >= since))
            && start.is_none_or(|start| filter.until.is_none_or(|until| start.started_at < until))
            && (!filter.denied || self.denied > 0)
    }

    fn add(&mut self, frame: &Frame) {
        if frame.header.kind == KIND_DATA {
            self.bytes += u64::from(frame.header.length).saturating_sub(DataHead::LEN as u64);
        }
        let event = (frame.header.kind == KIND_EVENT).then(|| serde_json::from_slice(&frame.payload));
        match event {
            Some(Ok(Event::SessionEnded { .. })) => {
                self.state = State::Ended;
                return; // it lingered until then
            }
            Some(Ok(Event::SessionStarted(start))) => self.start = Some(*start),
            Some(Ok(Event::RequestDecided { request, decision, .. })) => {
                // Requests are numbered from 1 without gaps.
                self.requests = self.requests.max(request.into());
                self.denied += u64::from(decision == Action::Deny);
            }
            Some(Ok(Event::Refused { request, .. })) => {
                self.requests =
                    request.map_or(self.requests + 1, |request| self.requests.max(request.into()));
                self.denied += 1;
            }
            Some(Err(_)) => self.damaged = true,
            _ => {}
        }
        self.last_at = Some(frame.at());
    }
}

/// Prints a table of sessions that is safe to look at.
///
/// # Errors
/// Those of `out`.
pub fn render_list(sessions: &[SessionSummary], out: &mut impl Write) -> io::Result<()> {
    // Names are e-mail addresses as often as not.
    let widest = |of: fn(&SessionStarted) -> &str| {
        let widths = sessions
            .iter()
            .filter_map(|session| session.start.as_ref())
            .map(|start| of(start).chars().count());
        widths.max().unwrap_or(0).clamp(7, 40)
    };
    let subjects = widest(|start| &start.subject.name);
    let targets = widest(|start| &start.target);
    writeln!(
        out,
        "{:25}  {:10}  {:>9}  {:subjects$}  {:targets$}  {:>8}  {:>6}  {:>10}  COMMAND",
        "SESSION", "STATE", "DURATION", "SUBJECT", "TARGET", "REQUESTS", "DENIED", "BYTES"
    )?;
    for session in sessions {
        let start = session.start.as_ref();
        let (subject, target, command) = match start {
            Some(start) => (
                Safe(&start.subject.name).to_string(),
                Safe(&start.target).to_string(),
                Safe(&start.attestation.process.argv.join(" ")).to_string(),
            ),
            None => ("?".to_owned(), "?".to_owned(), "?".to_owned()),
        };
        let state = match (session.damaged, session.state) {
            (true, _) => "damaged",
            (false, State::Live) => "live",
            (false, State::Ended) => "ended",
            (false, State::Incomplete) => "incomplete",
        };
        writeln!(
            out,
            "{:25}  {state:10}  {:>9}  {subject:subjects$}  {target:targets$}  {:>8}  {:>6}  {:>10}  {command}",
            session.id,
            session.duration().map_or_else(|| "?".to_owned(), readable),
            session.requests,
            session.denied,
            session.bytes,
        )?;
    }
    Ok(())
}

/// A duration as precise as anyone wants to read it.
pub(crate) fn readable(duration: SignedDuration) -> String {
    if duration < SignedDuration::from_secs(1) {
        return format!("{:.1}ms", duration.as_secs_f64() * 1000.0);
    }
    if duration < SignedDuration::from_secs(60) {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    let rounded = duration.round(Unit::Second).unwrap_or(duration);
    format!("{rounded:#}")
}
