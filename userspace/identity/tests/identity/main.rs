//! Identity from outside: real HTTP against an issuer and an STS of the tests' own, with a clock that the tests set.

mod bearer;
mod eks;
mod issuer;
mod keys;
mod logins;
mod rig;
mod sources;
mod sts;
