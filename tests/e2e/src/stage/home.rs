//! The homes of people, with the kubeconfig that an engineer has.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::config::Target;
use crate::people::Person;

/// Makes a home with the kubeconfig an engineer has: the clusters' own endpoints and CAs, a context of each target's
/// name, and no credential that a cluster takes.
pub(super) fn make(home: &Path, person: Person, targets: &[Target], user: &Value) -> Result<()> {
    fs::create_dir_all(home.join(".kube"))?;
    let mut kubeconfig = String::from("apiVersion: v1\nkind: Config\nclusters:\n");
    for Target { name, endpoint, certificate_authority, .. } in targets {
        let ca = STANDARD.encode(fs::read(certificate_authority)?);
        kubeconfig.push_str(&format!(
            "- name: {name}\n  cluster:\n    server: {endpoint}\n    certificate-authority-data: {ca}\n"
        ));
    }
    kubeconfig.push_str(&format!("users:\n- name: me\n  user: {user}\ncontexts:\n"));
    for Target { name, .. } in targets {
        kubeconfig.push_str(&format!(
            "- name: {name}\n  context:\n    cluster: {name}\n    user: me\n    namespace: demo\n"
        ));
    }
    kubeconfig.push_str(&format!("current-context: {}\n", targets[0].name));
    let file = home.join(".kube/config");
    fs::write(&file, kubeconfig)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    for path in [home, &home.join(".kube"), &file] {
        chown(path, Some(person.uid), Some(person.uid))?;
    }
    Ok(())
}
