//! Just-in-time access: roles, requests, approvals, grants, and the decision about one request.
//!
//! [`Role`]s come from files ([`load_roles`]) and say what may be asked for. [`Access`] keeps requests and
//! grants in a [`Store`] and publishes an immutable [`Snapshot`] of what is live. [`decide`] reads nothing but
//! that snapshot: no lock, no clock, no database. What no live grant allows is denied, a deny rule wins over
//! every grant, and a snapshot that the store has not confirmed lately decides nothing any more.

mod access;
mod approval;
mod bits;
mod clock;
mod command;
mod condition;
mod config;
mod decide;
mod denials;
mod discovery;
mod duration;
mod error;
mod explain;
mod filter;
mod grant;
mod hold;
mod holding;
mod id;
mod index;
mod lifecycle;
mod load;
mod manifest;
mod mcp;
mod message;
mod operation;
mod pattern;
mod permissions;
mod person;
mod policy_test;
mod revoking;
mod role;
mod rule;
mod snapshot;
mod spelling;
mod state;
mod store;
#[cfg(test)]
mod testing;
mod unmask;
mod verbs;
mod visible;

pub use access::{Access, Decided, GrantFilter, NewRequest, RequestFilter, Selection, Wakes};
pub use approval::{ApprovalTerms, Ask, AutoApproval, Emergency, ReasonPattern, ReasonTerms};
pub use clock::{Clock, SystemClock, parse_moment};
pub use condition::Condition;
pub use config::{AccessConfig, PostgresConfig, StoreConfig};
pub use decide::{Allowed, Decision, Denied, DenyReason, Review, RuleRef, decide};
pub use denials::{Attempt, Denial, Denials};
pub use discovery::{DISCOVERY_ROLE, DiscoveryPolicy};
pub use duration::{format_duration, parse_duration};
pub use error::AccessError;
pub use explain::{ConditionAt, Explanation, Outcome, RuleAt, Verdict};
pub use filter::Filter;
pub use grant::{Approval, Ended, Grant, Request, RequestState};
pub use hold::{Hold, HoldState, NewHold};
pub use id::{Decidable, DenialId, GrantId, HoldId, RequestId, RoleName};
pub use load::{load_roles, parse_roles, read_yaml};
pub use mcp::McpItem;
pub use operation::{Caller, Facts, Operation, Query};
pub use pattern::Pattern;
pub use permissions::{PathPermission, Permission, Permissions};
pub use person::Person;
pub use policy_test::{PolicyTest, parse_policy_tests};
pub use role::{Eligible, MaskLevel, Obligations, PresentAs, RecordLevel, ReviewTerms, Role, RoleSet};
pub use rule::{Action, Rule};
pub use snapshot::Snapshot;
pub use store::{Applied, Change, Event, EventAction, Live, PostgresStore, SqliteStore, Store, Token};
pub use unmask::Unmask;
