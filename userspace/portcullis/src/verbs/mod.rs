//! The verbs of the command line, one module for each family.

mod access;
mod doctor;
mod gate;
mod list;
mod login;
mod mask;
mod policy;
mod sessions;
mod trust;

use anyhow::Result;

use crate::cli::{Cli, Verb};
use crate::daemon;

/// Runs what the command line says.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let Cli { config, socket, output, verb } = cli;
    match verb {
        Verb::Run => daemon::run(&config, &socket),
        Verb::Gate(verb) => gate::run(&verb, &config, output),
        Verb::Trust(verb) => trust::run(&verb, &socket, output),
        Verb::Login(args) => login::login(args, &socket, output),
        Verb::Logout => login::logout(&socket, output),
        Verb::Whoami => login::whoami(&socket, output),
        Verb::Request(args) => access::request(args, &socket, output),
        Verb::Requests(args) => access::requests(&args, &socket, output),
        Verb::Approve(args) => access::approve(args, &socket, output),
        Verb::Deny(args) => access::deny(args, &socket, output),
        Verb::Revoke(args) => access::revoke(args, &socket, output),
        Verb::Extend(args) => access::extend(args, &socket, output),
        Verb::Grants(args) => access::grants(&args, &socket, output),
        Verb::Sessions(verb) => sessions::run(&verb, &config, output),
        Verb::Policy(verb) => policy::run(&verb, &config, &socket, output),
        Verb::Mask(args) => mask::run(&args),
        Verb::Doctor => doctor::run(&config, output),
    }
}
