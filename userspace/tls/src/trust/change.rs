//! Collecting the changes to a kubeconfig and to CA files that it names, proving them right, and writing them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::{
    bundle,
    document::{Node, Problem, Value},
    edit::{self, Edit},
    kubeconfig::{CA_DATA, Cluster, Kubeconfig, SERVER, Trust, clusters},
};
use crate::{
    TlsError,
    file::{self, Access},
};

/// Directories whose files belong to the system, whoever owns them.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/etc", "/usr", "/var"];

/// Changes that are not written yet.
pub(super) struct Changes<'a> {
    kubeconfig: &'a Kubeconfig,
    edits: Vec<Edit>,
    /// The bundle that each changed cluster must have afterwards; `None` for no CA of its own.
    bundles: BTreeMap<usize, Option<Vec<u8>>>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// What became of one cluster.
pub(super) enum Rewritten {
    Unchanged,
    Changed,
    Shared { file: PathBuf, reason: String },
}

impl<'a> Changes<'a> {
    pub(super) fn to(kubeconfig: &'a Kubeconfig) -> Self {
        Self { kubeconfig, edits: Vec::new(), bundles: BTreeMap::new(), files: BTreeMap::new() }
    }

    /// Gives a cluster the bundle that `rewrite` makes of its present one; `None` leaves it.
    pub(super) fn rewrite(
        &mut self,
        index: usize,
        cluster: &Cluster<'_>,
        rewrite: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Rewritten, TlsError> {
        if let Trust::File(file) = cluster.trust {
            return self.rewrite_file(file, cluster, rewrite);
        }
        let present = self.kubeconfig.bundle(cluster)?;
        let Some(bundle) = rewrite(&present) else {
            return Ok(Rewritten::Unchanged);
        };
        if matches!(cluster.trust, Trust::Data(_)) && !bundle::is_bundle(&present) {
            return Err(self.problem(cluster.settings, format!("{CA_DATA} holds no certificate in PEM")));
        }
        // A bundle that held nothing but our CA was made by us: before, there was none.
        let bundle = Some(bundle).filter(|bundle| !bundle.is_empty());
        let data = bundle.as_ref().map(|bundle| STANDARD.encode(bundle));
        let edit = edit::set(&self.kubeconfig.source, cluster.settings, CA_DATA, data.as_deref(), SERVER)
            .map_err(|problem| problem.within(&self.kubeconfig.path))?;
        self.edits.extend(edit);
        self.bundles.insert(index, bundle);
        Ok(Rewritten::Changed)
    }

    /// Writes everything, with copies of what was there before. Gives the copies.
    pub(super) fn carry_out(self, now: Timestamp) -> Result<Vec<PathBuf>, TlsError> {
        let mut writes: Vec<(&Path, &[u8])> = Vec::new();
        writes.extend(self.files.iter().map(|(path, content)| (path.as_path(), content.as_slice())));
        let edited = edit::apply(&self.kubeconfig.source, self.edits);
        if !self.bundles.is_empty() {
            prove(self.kubeconfig, &edited, &self.bundles)?;
            // Last: kubectl must not see a kubeconfig whose CA files are not ready.
            writes.push((&self.kubeconfig.path, edited.as_bytes()));
        }
        let backups = writes.iter().map(|(path, _)| back_up(path, now)).collect::<Result<_, _>>()?;
        for (path, content) in writes {
            let metadata = path.metadata().map_err(TlsError::io("read", path))?;
            file::replace(path, content, Access::of(&metadata))?;
        }
        Ok(backups)
    }

    fn rewrite_file(
        &mut self,
        file: &str,
        cluster: &Cluster<'_>,
        rewrite: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Rewritten, TlsError> {
        let path = self.kubeconfig.ca_file(file)?;
        if self.files.contains_key(&path) {
            // Another cluster of this kubeconfig names it too.
            return Ok(Rewritten::Changed);
        }
        let present = self.kubeconfig.bundle(cluster)?;
        let Some(bundle) = rewrite(&present) else {
            return Ok(Rewritten::Unchanged);
        };
        if !bundle::is_bundle(&present) || !bundle::is_bundle(&bundle) {
            let what = format!("{} holds no certificate in PEM but ours", path.display());
            return Err(self.problem(cluster.settings, what));
        }
        let metadata = path.metadata().map_err(TlsError::io("read", &path))?;
        let whose = if metadata.uid() != self.kubeconfig.metadata.uid() {
            "belongs to another user than the kubeconfig"
        } else if SYSTEM_DIRECTORIES.iter().any(|directory| path.starts_with(directory)) {
            "is the system's"
        } else {
            self.files.insert(path, bundle);
            return Ok(Rewritten::Changed);
        };
        let reason = format!(
            "{whose} and may serve others; embed it first: \
             kubectl config set-cluster NAME --embed-certs --certificate-authority={}",
            path.display()
        );
        Ok(Rewritten::Shared { file: path, reason })
    }

    fn problem(&self, node: &Node, what: String) -> TlsError {
        Problem::new(node.line, what).within(&self.kubeconfig.path)
    }
}

/// Holds off kubectl, which takes the same lock file to change a kubeconfig (client-go, tools/clientcmd/config.go).
pub(super) struct Lock(PathBuf);

impl Lock {
    pub(super) fn take(kubeconfig: &Path) -> Result<Self, TlsError> {
        let path = with_suffix(kubeconfig, ".lock");
        match File::create_new(&path) {
            Ok(_) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(TlsError::Locked(path)),
            Err(error) => Err(TlsError::io("lock the kubeconfig by making", path)(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(lock = %self.0.display(), %error, "cannot remove the kubeconfig's lock");
        }
    }
}

/// Reads the edited text again: the changed clusters must have their new bundles, and all else must mean what it meant.
fn prove(
    before: &Kubeconfig,
    edited: &str,
    bundles: &BTreeMap<usize, Option<Vec<u8>>>,
) -> Result<(), TlsError> {
    let bad_at = |line| {
        let what = "this layout cannot be edited safely; add the CA by hand, or have kubectl rewrite the file \
                    (any `kubectl config set …` does)";
        Problem::new(line, what).within(&before.path)
    };
    let unreadable = |problem: Problem| bad_at(problem.line);
    let (Some(old), Some(new)) = (&before.root, Node::parse(edited).map_err(unreadable)?) else {
        return Err(bad_at(1));
    };
    for (index, cluster) in clusters(&new).map_err(unreadable)?.iter().enumerate() {
        let right = match (bundles.get(&index), &cluster.trust) {
            (None, _) | (Some(None), Trust::System) => true,
            (Some(Some(wanted)), Trust::Data(bundle)) => wanted == bundle,
            _ => false,
        };
        if !right {
            return Err(bad_at(cluster.settings.line));
        }
    }
    if without_ca(old, bundles).means(&without_ca(&new, bundles)) { Ok(()) } else { Err(bad_at(old.line)) }
}

/// The document without what was meant to change.
fn without_ca(root: &Node, bundles: &BTreeMap<usize, Option<Vec<u8>>>) -> Node {
    let mut root = root.clone();
    if let Some(Value::Sequence(items)) = root.entry_mut("clusters").map(|list| &mut list.value) {
        let changed = items.iter_mut().enumerate().filter(|(index, _)| bundles.contains_key(index));
        for (_, item) in changed {
            if let Some(Value::Mapping { entries, .. }) =
                item.entry_mut("cluster").map(|node| &mut node.value)
            {
                entries.retain(|(key, _)| key.text() != Some(CA_DATA));
            }
        }
    }
    root
}

/// Copies a file to `<file>.portcullis-<timestamp>.bak`.
fn back_up(path: &Path, now: Timestamp) -> Result<PathBuf, TlsError> {
    let content = std::fs::read(path).map_err(TlsError::io("read", path))?;
    let metadata = path.metadata().map_err(TlsError::io("read", path))?;
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let first = with_suffix(path, &format!(".portcullis-{stamp}.bak"));
    let more = (2..).map(|n| with_suffix(path, &format!(".portcullis-{stamp}.{n}.bak")));
    for backup in std::iter::once(first).chain(more) {
        if file::create(&backup, &content, Access::of(&metadata))? {
            return Ok(backup);
        }
    }
    unreachable!("the numbers do not end")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
