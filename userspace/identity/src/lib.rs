//! Who is calling, in two steps.
//!
//! First the **process**, as the kernel attests it ([`Attestation`]): uid, gid, pid, cgroup and network
//! namespace taken at `connect(2)`, enriched once from `/proc` ([`Process`]). Then the **person**
//! ([`Subject`]): a [`Source`] turns an attestation, and whatever the client itself presented, into an
//! issuer, a stable id, a name and groups. The source that exists is [`UnixSource`].
//!
//! Nothing here guesses. A process that is gone, a login uid that could have been forged, a uid without a
//! name: each is an error that says so, and the connection is refused.

mod accounts;
mod attestation;
mod error;
mod identities;
mod ids;
mod process;
mod quota;
mod redact;
mod subject;
mod unix;

pub use accounts::{Account, Accounts, Nss};
pub use attestation::{AttestError, Attestation, Attested, Attestor};
pub use error::IdentityError;
pub use identities::{Acceptance, Accepted, Identified, Identities, SourceKind};
pub use ids::{CgroupId, Gid, NetnsCookie, OriginalDst, Pid, Uid};
pub use process::Process;
pub use quota::{Quota, Share};
pub use redact::{REDACTED, redact};
pub use subject::{AccountId, Identifying, Method, Presented, Source, Subject};
pub use unix::{LoginuidTrust, MappedUser, UNIX_ISSUER, UnixConfig, UnixSource};
