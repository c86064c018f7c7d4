//! Tells approvers, and hears from them.
//!
//! Outward, a [`Notifier`] tells webhooks what happens to requests, holds and grants ([`Happening`]): signed, in order,
//! at least once. Inward, a [`Server`] answers the links that such messages carry, the buttons pressed in Slack, and
//! programs that decide for people. Whatever comes in is a claim until a signature vouches for it and a configured
//! approver stands behind it, and even then it is only a [`Word`]: the [`Decider`] says whether it counts, once.

mod approvers;
mod backoff;
mod blocks;
mod config;
mod error;
mod matter;
mod message;
mod notify;
mod secret;
mod sender;
mod server;
mod sign;
#[cfg(test)]
mod testing;
mod text;
mod token;
mod transport;

pub use config::{ApproverConfig, Format, InboundConfig, NotifyConfig, SlackConfig, TlsFiles, WebhookConfig};
pub use error::NotifyError;
pub use matter::{Decider, EventKind, Happening, Matter, Outbox, Page, Verdict, Word};
pub use notify::Notify;
pub use sender::{Counts, Notifier};
pub use server::Server;
pub use sign::{SIGNATURE_HEADER, SignatureError, WINDOW_SECONDS};
pub use token::TokenError;
pub use transport::ID_HEADER;
