//! Making kubeconfigs trust the gate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use portcullis_tls::{Endpoint, trust};

use crate::cli::{TrustArgs, TrustVerb};
use crate::control::{Ask, TrustAnchor, ask};
use crate::print::{self, Format};

pub(crate) fn run(verb: &TrustVerb, socket: &Path, format: Format) -> Result<()> {
    let anchor: TrustAnchor = ask(socket, &Ask::Trust)?;
    let endpoints = anchor.endpoints.iter().map(|text| text.parse()).collect::<Result<Vec<Endpoint>, _>>()?;
    let (TrustVerb::Install(args) | TrustVerb::Check(args) | TrustVerb::Remove(args)) = verb;
    let mut trusted = true;
    for kubeconfig in kubeconfigs(args)? {
        let report = match verb {
            TrustVerb::Install(_) => trust::install(&kubeconfig, &anchor.certificate_pem, &endpoints),
            TrustVerb::Check(_) => trust::check(&kubeconfig, &anchor.certificate_pem, &endpoints),
            TrustVerb::Remove(_) => trust::remove(&kubeconfig, &anchor.certificate_pem, &endpoints),
        }?;
        trusted &= report.is_trusted();
        print::data(format, &report, ToString::to_string)?;
    }
    if matches!(verb, TrustVerb::Check(_)) {
        ensure!(trusted, "not trusted yet: run `portcullis trust install`");
    }
    Ok(())
}

/// The file named, else those of `$KUBECONFIG` that exist, else the usual one: as kubectl finds them.
fn kubeconfigs(args: &TrustArgs) -> Result<Vec<PathBuf>> {
    if let Some(named) = &args.kubeconfig {
        return Ok(vec![named.clone()]);
    }
    let listed: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map(|list| std::env::split_paths(&list).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    if !listed.is_empty() {
        return Ok(listed);
    }
    let home = std::env::var_os("HOME").context("neither KUBECONFIG nor HOME is set: use --kubeconfig")?;
    let usual = Path::new(&home).join(".kube/config");
    if !usual.is_file() {
        bail!("no kubeconfig at {}: use --kubeconfig", usual.display());
    }
    Ok(vec![usual])
}
