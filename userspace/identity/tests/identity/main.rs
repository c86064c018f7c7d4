//! Identity from outside: real HTTP against an issuer and an STS of the tests' own, with a clock that the tests set.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::needless_pass_by_value, reason = "`json!(…)` reads best as an argument")]

mod bearer;
mod eks;
mod issuer;
mod keys;
mod logins;
mod resources;
mod rig;
mod sources;
mod sts;
