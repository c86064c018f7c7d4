//! Checking policy, asking what it means, and how requests are read.

mod explain;
mod test;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use portcullis_access::{DiscoveryPolicy, RoleSet, load_roles};
use portcullis_identity::MappedUser;
use serde::Serialize;

use crate::cli::{PolicyVerb, RolesArgs};
use crate::config::Config;
use crate::daemon;
use crate::print::{self, Format};

pub(crate) fn run(verb: &PolicyVerb, config: &Path, socket: &Path, format: Format) -> Result<()> {
    match verb {
        PolicyVerb::Check => check(config, format),
        PolicyVerb::Explain(args) if args.live => explain::live(args, socket, format),
        PolicyVerb::Explain(args) => explain::offline(args, config, format),
        PolicyVerb::Test(args) => test::run(args, config, format),
        PolicyVerb::Classify => classify(),
    }
}

/// Roles and what else a decision depends on, read for asking questions: from the configuration, or from a folder of
/// roles alone, where there is no configuration (a team's CI).
struct Policy {
    roles: Arc<RoleSet>,
    discovery: DiscoveryPolicy,
    /// The configured targets; without a configuration any will do.
    targets: Option<BTreeSet<String>>,
    users: Vec<MappedUser>,
}

impl Policy {
    fn read(args: &RolesArgs, config: &Path) -> Result<Self> {
        if let Some(dir) = &args.roles {
            let roles = Arc::new(load_roles(dir)?);
            return Ok(Self {
                roles,
                discovery: DiscoveryPolicy::default(),
                targets: None,
                users: Vec::new(),
            });
        }
        let config = Config::read(config)?;
        Ok(Self {
            roles: Arc::new(load_roles(&config.roles)?),
            discovery: config.access.discovery,
            targets: Some(config.access.targets),
            users: config.identity.unix.users,
        })
    }

    fn must_know(&self, target: &str) -> Result<()> {
        let known = self.targets.as_ref().is_none_or(|targets| targets.contains(target));
        ensure!(known, "there is no target {target:?} in the configuration");
        Ok(())
    }
}

/// What a check found to be in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    targets: Vec<String>,
    roles: Vec<String>,
}

fn check(path: &Path, format: Format) -> Result<()> {
    let config = Config::read(path)?;
    daemon::identities(&config)?;
    let roles = load_roles(&config.roles)?;
    let checked = Checked {
        targets: config.targets.keys().cloned().collect(),
        roles: roles.iter().map(|role| role.name.to_string()).collect(),
    };
    print::data(format, &checked, |checked| {
        format!("In order: targets {}; roles {}", checked.targets.join(", "), checked.roles.join(", "))
    })
}

/// A filter over JSON lines, so that other tools can compare their reading with ours.
fn classify() -> Result<()> {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let read = portcullis_kube::classify_line(&line).with_context(|| format!("line {}", number + 1))?;
        print::stdout(&read)?;
    }
    Ok(())
}
