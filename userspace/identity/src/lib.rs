//! Who is calling, in two steps.
//!
//! First the **process**, as the kernel attests it ([`Attestation`]): uid, gid, pid, cgroup and network
//! namespace taken at `connect(2)`, enriched once from `/proc` ([`Process`]). Then the **person**
//! ([`Subject`]): [`Identities`] asks the sources that a target accepts ([`Acceptance`]), which turn an attestation, and
//! whatever the client itself presented, into an issuer, a stable id, a name and groups. The sources are the host's
//! accounts ([`UnixSource`]), logins with an OpenID Connect provider ([`Logins`]), JWTs and EKS tokens in requests.
//! Whoever has several accounts is one person ([`PersonConfig`]).
//!
//! Nothing here guesses. A process that is gone, a login uid that could have been forged, a uid without a
//! name, a token that is anybody else's, too old or signed in the wrong way: each is an error that says so, and the
//! connection is refused.

mod acceptance;
mod accounts;
mod attestation;
mod bearer;
mod challenge;
mod clock;
mod duration;
mod eks;
mod error;
mod identities;
mod ids;
mod login;
mod oidc;
mod people;
mod process;
mod quota;
mod redact;
mod secret;
mod subject;
mod unix;
mod web;

pub use acceptance::{Acceptance, Accepted, SourceKind};
pub use accounts::{Account, Accounts, Nss};
pub use attestation::{AttestError, Attestation, Attested, Attestor};
pub use challenge::Challenge;
pub use clock::Clock;
pub use eks::{AWS_ISSUER, ArnMapping, EksConfig, EksRefusal};
pub use error::IdentityError;
pub use identities::{Identified, Identities, IdentityConfig};
pub use ids::{CgroupId, Gid, NetnsCookie, OriginalDst, Pid, Uid};
pub use login::{BrowserLogin, DeviceLogin, LoggedIn, LoggedOut, LoginError, Logins, Polled};
pub use oidc::{AccountRule, Algorithm, BindTo, KeysConfig, KeysError, OidcConfig, TokenRefusal};
pub use people::{PEOPLE_ISSUER, PersonConfig};
pub use process::Process;
pub use quota::{Quota, Share};
pub use redact::{REDACTED, redact};
pub use subject::{AccountId, Identifying, Method, Presented, Source, Subject};
pub use unix::{LoginuidTrust, MappedUser, UNIX_ISSUER, UnixConfig, UnixSource};
pub use web::WebError;
