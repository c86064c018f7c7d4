//! Why a provider could not be started, or would not do what a person asked of it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Something that did not work; the message says what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Whoever reaches this provider can be anybody.
    #[error(
        "{0} is no loopback address: this provider lets anybody log in as anybody, so it listens there alone"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No thread, or no runtime in it.
    #[error("cannot start the provider's thread: {0}")]
    Thread(io::Error),
    /// Options that make no provider.
    #[error("{0}")]
    Options(String),
    /// The file of people cannot be read.
    #[error("cannot read the people in {}: {source}", path.display())]
    PeopleUnreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file of people is not as it should be.
    #[error("{}: {source}", path.display())]
    People {
        /// The file.
        path: PathBuf,
        /// With line and column.
        source: serde_json::Error,
    },
    /// The cryptographic library failed.
    #[error("cannot {0}: the cryptographic library failed")]
    Crypto(&'static str),
    /// There is no person of this `preferred_username`.
    #[error("there is no person {0:?}")]
    NoSuchPerson(String),
    /// The provider is [out of order](crate::Idp::outage).
    #[error("the provider is out of order")]
    Outage,
    /// What the page says instead.
    #[error("the provider refused: {0}")]
    Refused(String),
}
