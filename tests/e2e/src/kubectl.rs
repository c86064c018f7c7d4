//! The kubectls on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One installed kubectl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubectl {
    /// `1.27` …
    pub version: String,
    /// The program.
    pub path: PathBuf,
}

/// Where Google's SDK keeps several versions side by side.
const SDK: &str = "/usr/lib/google-cloud-sdk/bin";

/// Every kubectl found, oldest first: `kubectl.1.*` in `$PORTCULLIS_KUBECTL_DIR` or the SDK's folder, else the one in
/// PATH.
///
/// # Errors
/// When there is none: the tests are about real kubectl and do not skip silently.
pub fn installed() -> Result<Vec<Kubectl>> {
    let dir = std::env::var("PORTCULLIS_KUBECTL_DIR").unwrap_or_else(|_| SDK.to_owned());
    let mut found = side_by_side(Path::new(&dir));
    if found.is_empty() {
        found.extend(in_path()?);
    }
    if found.is_empty() {
        bail!("no kubectl found: install one, or name a folder of kubectl.1.* in PORTCULLIS_KUBECTL_DIR");
    }
    Ok(found)
}

fn side_by_side(dir: &Path) -> Vec<Kubectl> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<(u32, Kubectl)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let minor = name.strip_prefix("kubectl.1.")?.parse().ok()?;
            Some((minor, Kubectl { version: format!("1.{minor}"), path: entry.path() }))
        })
        .collect();
    found.sort_by_key(|(minor, _)| *minor);
    found.into_iter().map(|(_, kubectl)| kubectl).collect()
}

fn in_path() -> Result<Option<Kubectl>> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file());
    Ok(found.map(|path| Kubectl { version: "installed".to_owned(), path }))
}
