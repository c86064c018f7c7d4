//! Kubeconfigs in many shapes, and a bench to change them on.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use portcullis_tls::{
    Endpoint, TlsError,
    trust::{self, Report, State},
};

use super::{ca, name};

/// The cluster's own CA. Never parsed as a certificate here, only as PEM.
pub const OWN: &str = "-----BEGIN CERTIFICATE-----\nMIIBdummy+/AAA\n-----END CERTIFICATE-----\n";

/// `{CA}` is the cluster's own CA in base64, `{WRAPPED}` the same in lines after four blanks.
pub const SHAPES: [(&str, &str); 22] = [
    (
        "plain",
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\nusers: []\n",
    ),
    (
        "server first",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: {CA}\n",
    ),
    (
        "end of file",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: {CA}",
    ),
    (
        "indented list",
        "clusters:\n  - name: prod\n    cluster:\n      server: https://api.test:6443\n      certificate-authority-data: {CA}\ncontexts: []\n",
    ),
    (
        "double quotes",
        "clusters:\n- name: \"prod\"\n  cluster:\n    \"certificate-authority-data\": \"{CA}\"\n    \"server\": \"https://api.test:6443\"\n",
    ),
    (
        "single quotes",
        "clusters:\n- name: 'prod'\n  cluster:\n    certificate-authority-data: '{CA}'\n    server: 'https://api.test:6443'\n",
    ),
    (
        "comments",
        "# mine\nclusters: # all\n# first\n- cluster:   # prod\n    # CA\n    certificate-authority-data: {CA}   # do not touch\n    server: https://api.test:6443 # here\n\n  name: prod\n# end",
    ),
    (
        "literal",
        "clusters:\n- cluster:\n    certificate-authority-data: |\n    {WRAPPED}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "literal, stripped, last",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: |- # wrapped\n    {WRAPPED}\n\n# end\n",
    ),
    (
        "literal in one line",
        "clusters:\n- cluster:\n    certificate-authority-data: |\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "folded",
        "clusters:\n- cluster:\n    certificate-authority-data: >-\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "value on the next line",
        "clusters:\n- cluster:\n    certificate-authority-data:\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "flow",
        "clusters:\n- {name: prod, cluster: {server: \"https://api.test:6443\", certificate-authority-data: {CA}}}\n",
    ),
    (
        "flow in lines",
        "clusters: [\n  {\n    name: prod, # one\n    cluster: {\n      certificate-authority-data: {CA},\n      server: 'https://api.test:6443',\n    },\n  },\n]\n",
    ),
    (
        "JSON",
        "{\"kind\":\"Config\",\"clusters\":[{\"name\":\"prod\",\"cluster\":{\"server\":\"https://api.test:6443\",\"certificate-authority-data\":\"{CA}\"}}]}",
    ),
    (
        "JSON in lines",
        "{\n  \"clusters\": [\n    {\n      \"name\": \"prod\",\n      \"cluster\": {\n        \"certificate-authority-data\": \"{CA}\",\n        \"server\": \"https://api.test:6443\"\n      }\n    }\n  ]\n}\n",
    ),
    (
        "JSON with tabs",
        "{\n\t\"clusters\": [\n\t\t{\n\t\t\t\"name\": \"prod\",\n\t\t\t\"cluster\": {\n\t\t\t\t\"server\": \"https://api.test:6443\",\n\t\t\t\t\"certificate-authority-data\": \"{CA}\"\n\t\t\t}\n\t\t}\n\t]\n}\n",
    ),
    (
        "document marks",
        "%YAML 1.1\n---\nclusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n...\n",
    ),
    (
        "unknown fields, other scripts",
        "x-mine: [1, {a: ~}]\nclusters:\n- name: prod\n  x: y\n  cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n    extensions: [{name: „Größe“, extension: {日本: 1}}]\n",
    ),
    (
        "anchors elsewhere",
        "clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\nusers:\n- name: a\n  user: &u {token: x}\n- name: b\n  user: *u\n",
    ),
    (
        "other clusters beside it",
        "clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://elsewhere.test:6443\n  name: other\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n- cluster:\n    insecure-skip-tls-verify: true\n    server: https://api.test:6443\n  name: careless\n- cluster:\n    server: http://api.test:6443\n  name: bare\n",
    ),
    (
        "byte order mark",
        "\u{feff}clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
];

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub ca_pem: String,
    pub now: Timestamp,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_pem = ca(&dir.path().join("tls"), &["api.test", "10.0.0.1"]).certificate_pem().to_owned();
        Self { dir, ca_pem, now: Timestamp::now() }
    }

    pub fn write(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join("config");
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn install(&self, path: &Path) -> Result<Report, TlsError> {
        trust::install(path, &self.ca_pem, &targets(), self.now)
    }

    pub fn check(&self, path: &Path) -> Report {
        trust::check(path, &self.ca_pem, &targets(), self.now).unwrap()
    }

    pub fn remove(&self, path: &Path) -> Result<Report, TlsError> {
        trust::remove(path, &self.ca_pem, self.now)
    }

    /// The bundle that should be there after installing beside `own`.
    pub fn bundle(&self, own: &str) -> String {
        if own.is_empty() { self.ca_pem.clone() } else { format!("{own}\n{}", self.ca_pem) }
    }
}

pub fn targets() -> Vec<Endpoint> {
    vec![Endpoint { host: name("api.test"), port: 6443 }, Endpoint { host: name("10.0.0.1"), port: 443 }]
}

pub fn filled(shape: &str, own: &str) -> String {
    let data = STANDARD.encode(own);
    let lines: Vec<_> = data.as_bytes().chunks(28).map(|line| std::str::from_utf8(line).unwrap()).collect();
    shape.replace("{CA}", &data).replace("{WRAPPED}", &format!("  {}", lines.join("\n      ")))
}

pub fn state(report: &Report, cluster: &str) -> State {
    report.clusters.iter().find(|found| found.name == cluster).unwrap().state.clone()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
