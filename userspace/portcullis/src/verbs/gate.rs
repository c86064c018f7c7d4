//! Loading, inspecting and removing the kernel programs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cli::GateVerb;
use crate::config::Config;
use crate::daemon::{resolve, wanted_of};
use crate::print::{self, Format};

pub(crate) fn run(verb: &GateVerb, config: &Path, format: Format) -> Result<()> {
    let config = Config::read(config)?;
    match verb {
        GateVerb::Load => load(&config, format),
        GateVerb::Status => {
            let status = portcullis_intercept::status(&config.gate)?;
            print::data(format, &status, ToString::to_string)
        }
        GateVerb::Unload => {
            let unloaded = portcullis_intercept::unload(&config.gate)?;
            print::stdout(if unloaded {
                "The gate is unloaded: its targets can be reached around it from now on."
            } else {
                "No gate was loaded."
            })
        }
    }
}

/// Names that do not resolve yet (the network may not be up) are guarded as soon as the daemon resolves them.
fn load(config: &Config, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("resolver")?;
    let addresses = runtime.block_on(resolve(&wanted_of(config)));
    let loaded = portcullis_intercept::load(&config.gate, &addresses)?;
    print::data(format, &loaded, ToString::to_string)
}
