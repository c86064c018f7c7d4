//! The session's evidence: what a client process did through the gate, written as it happens and readable for ever.
//!
//! One [`Session`] is all connections of one process. Its recording is a directory of append-only segments made of
//! checksummed frames: events as JSON, and the bytes of bodies and streams with their timing. [`Recorder`] is the
//! writing side: when it returns an error, the request must be refused. [`Recordings`] is the reading side, which
//! needs no recorder: list, show, play, export, verify.
//!
//! The format, and what survives what, is in `docs/recordings.md`.

mod batch;
mod clock;
mod config;
mod conversation;
mod damage;
mod error;
mod event;
mod export;
mod frame;
mod health;
mod id;
mod log;
mod play;
mod recorder;
mod recording;
mod redact;
mod safe;
mod segment;
mod session;
mod stream;
mod summary;
mod sync;
mod transcript;
mod verify;
mod walk;

pub use clock::{Clock, SystemClock};
pub use config::{Fsync, RecordConfig};
pub use damage::{Damage, DamageKind};
pub use error::RecordError;
pub use event::{Action, Channel, EndReason, Event, McpCall, SessionStarted, StreamKind};
pub use export::Format;
pub use id::SessionId;
pub use play::PlayOptions;
pub use recorder::Recorder;
pub use recording::{Recording, Recordings};
pub use redact::redact_query;
pub use safe::Safe;
pub use session::{Item, Session, SessionHandle, SessionStart};
pub use stream::Stream;
pub use summary::{Filter, SessionSummary, State, render_list};
pub use verify::{Verdict, Verification};
pub use walk::{Body, Entry, Found};
