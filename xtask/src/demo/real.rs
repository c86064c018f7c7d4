//! `--kubeconfig`: a real cluster in the place of the simulated one.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Kubectl, Upstream, output};
use serde_json::{Value, json};

use super::LIMIT;
use super::narration::say;

/// A private folder for the CA and the credential of a real cluster; gone when the demo is.
pub(super) struct Copies(PathBuf);

impl Copies {
    /// Makes it, empty.
    pub(super) fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("portcullis-demo-upstream-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Reads endpoint, CA and credential of a kubeconfig's current context, with kubectl's own reading of it.
    pub(super) fn of_cluster(&self, kubectl: &Kubectl, file: &Path) -> Result<Upstream> {
        let mut command = Command::new(&kubectl.path);
        command
            .args(["config", "view", "--raw", "--minify", "--flatten", "-o", "json", "--kubeconfig"])
            .arg(file);
        let shown = output(&mut command, LIMIT)?;
        ensure!(shown.code == 0, "kubectl cannot read {}: {}", file.display(), shown.stderr);
        let view: Value = serde_json::from_str(&shown.stdout).context("kubectl config view")?;
        let cluster = &view["clusters"][0]["cluster"];
        let user = &view["users"][0]["user"];
        let endpoint = cluster["server"].as_str().context("the cluster has no server")?.to_owned();
        let certificate_authority = self.keep_decoded("ca.crt", &cluster["certificate-authority-data"])?;
        let credential = if let Some(token) = user["token"].as_str() {
            json!({ "bearerTokenFile": self.keep("token", token.as_bytes())? })
        } else if user.get("client-certificate-data").is_some() {
            json!({ "clientCertificate": {
                "certFile": self.keep_decoded("client.crt", &user["client-certificate-data"])?,
                "keyFile": self.keep_decoded("client.key", &user["client-key-data"])?,
            } })
        } else {
            bail!("the user of {} has neither a token nor a client certificate", file.display());
        };
        Ok(Upstream { endpoint, certificate_authority, credential })
    }

    fn keep_decoded(&self, name: &str, encoded: &Value) -> Result<PathBuf> {
        use base64::Engine;
        let encoded = encoded.as_str().with_context(|| format!("the kubeconfig has no {name}"))?;
        self.keep(name, &base64::engine::general_purpose::STANDARD.decode(encoded)?)
    }

    fn keep(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        Ok(path)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say(&format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}
