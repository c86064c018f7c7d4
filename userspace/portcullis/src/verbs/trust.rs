//! Making kubeconfigs trust the gate, and other clients.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use portcullis_tls::Endpoint;
use portcullis_tls::trust::{self, Report, State};

use crate::cli::{TrustArgs, TrustVerb};
use crate::control::{Ask, TrustAnchor, ask};
use crate::print::{self, Format};

pub(crate) fn run(verb: &TrustVerb, socket: &Path, format: Format) -> Result<()> {
    let anchor: TrustAnchor = ask(socket, &Ask::Trust)?;
    let (TrustVerb::Install(args) | TrustVerb::Check(args) | TrustVerb::Remove(args)) = verb else {
        return print::data(format, &anchor, |anchor| anchor.certificate_pem.trim_end().to_owned());
    };
    let endpoints = anchor
        .endpoints
        .iter()
        .map(|(host, port)| Ok(Endpoint { host: host.parse()?, port: *port }))
        .collect::<Result<Vec<_>>>()?;
    let (pem, now) = (&anchor.certificate_pem, Timestamp::now());
    let mut trusted = true;
    for kubeconfig in kubeconfigs(args)? {
        let report = match verb {
            TrustVerb::Install(_) => trust::install(&kubeconfig, pem, &endpoints, now),
            TrustVerb::Check(_) => trust::check(&kubeconfig, pem, &endpoints, now),
            TrustVerb::Remove(_) => trust::remove(&kubeconfig, pem, now),
            TrustVerb::Print => unreachable!("printed above"),
        }?;
        trusted &= report.all_trusted();
        print::data(format, &report, told)?;
    }
    let wanted = !matches!(verb, TrustVerb::Remove(_));
    ensure!(trusted || !wanted, "not every cluster that is a target trusts the gate");
    Ok(())
}

fn told(report: &Report) -> String {
    let mut lines = vec![report.kubeconfig.display().to_string()];
    for cluster in &report.clusters {
        let state = match &cluster.state {
            State::Installed => "trusts the gate from now on".to_owned(),
            State::Present => "trusts the gate".to_owned(),
            State::Outdated => "has an outdated CA of the gate: run `portcullis trust install`".to_owned(),
            State::Missing => "does not trust the gate".to_owned(),
            State::Removed => "trusts the gate no more".to_owned(),
            State::NotATarget => "is no target; left alone".to_owned(),
            State::Insecure => {
                "skips verification (insecure-skip-tls-verify) and needs no CA; left alone".to_owned()
            }
            State::PlainHttp => "is reached without TLS; left alone".to_owned(),
            State::SharedFile { file, reason } => {
                format!("left alone: its CA file {} {reason}", file.display())
            }
        };
        lines.push(format!("  cluster {} ({}): {state}", cluster.name, cluster.server));
    }
    lines.extend(report.backups.iter().map(|backup| format!("  backup: {}", backup.display())));
    lines.join("\n")
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
