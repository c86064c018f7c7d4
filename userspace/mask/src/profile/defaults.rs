//! What is masked unless a policy leaves it out.

use std::sync::Arc;

use crate::names::Names;
use crate::path::{FieldPath, Step};
use crate::policy::{Defaults, HelmReleases, Part};
use crate::rules::{Mark, Rules, What};

use super::Entry;

/// Annotations that hold a copy of the whole object as JSON text.
const JSON_COPIES: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kapp.k14s.io/original",
    "kopf.zalando.org/last-handled-configuration",
];

/// Annotations that hold a compressed copy of the whole object.
const PACKED_COPIES: [&str; 2] = ["objectset.rio.cattle.io/applied", "banzaicloud.com/last-applied"];

/// What secrets are called.
const NAMES: [&str; 25] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*_pass",
    "*-pass",
    "*.pass",
    "pass",
    "*_pwd",
    "*-pwd",
    "*secret*",
    "*token*",
    "*credential*",
    "*apikey*",
    "*api-key*",
    "*api_key*",
    "*accesskey*",
    "*access-key*",
    "*access_key*",
    "*privatekey*",
    "*private-key*",
    "*private_key*",
    "*connectionstring*",
    "*connection-string*",
    "*connection_string*",
    "*htpasswd*",
];

/// What only says where a secret is, or what it is called.
const NOT_NAMES: [&str; 12] = [
    "*_file",
    "*-file",
    "*_path",
    "*-path",
    "*_name",
    "*-name",
    "*secretname",
    "*auth-secret",
    "*tls-secret",
    "*_ttl",
    "*-expiry",
    "*_expiry",
];

/// Files that are secrets, as keys of ConfigMaps.
const FILES: [&str; 10] = [
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "id_rsa*",
    "id_ed25519*",
    "*kubeconfig*",
    "*dockerconfig*",
    "*.pgpass",
];

/// Where containers stand in a pod's template, wherever that stands.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The parts of the defaults that are not left out.
pub(super) fn entries(defaults: &Defaults) -> Vec<Entry> {
    let parts = [
        (Part::Secrets, secrets(defaults)),
        (Part::ConfigMaps, config_maps(defaults)),
        (Part::Tokens, tokens(defaults)),
        (Part::CertificateRequests, certificate_requests(defaults)),
        (Part::Annotations, annotations(defaults)),
        (Part::Environment, environment(defaults)),
        (Part::Errors, errors()),
    ];
    let mut entries: Vec<Entry> = parts
        .into_iter()
        .filter(|(part, _)| !defaults.leave_out.contains(part))
        .flat_map(|(_, entries)| entries)
        .collect();
    entries.push(copies(defaults));
    entries.extend(scanned());
    entries.extend(bytes());
    entries
}

/// What is masked inside of Helm releases, if they are opened: what a user gave, and what came of it.
pub(super) fn release(defaults: &Defaults) -> Option<Rules> {
    if defaults.helm_releases == HelmReleases::Mask {
        return None;
    }
    let what = What::MaskInside(defaults.how);
    let fields: [&[&str]; 5] =
        [&["config"], &["chart", "values"], &["manifest"], &["hooks", "manifest"], &["info", "notes"]];
    let marks = fields.map(|fields| Mark { path: path(fields.iter().map(|name| field(name))), what });
    Some(Rules::new(marks.into(), None).expect("five paths make a small automaton"))
}

/// Secrets in every shape they come in.
fn secrets(defaults: &Defaults) -> Vec<Entry> {
    let mut marks = Vec::new();
    if defaults.helm_releases == HelmReleases::Open {
        let what = What::Helm(defaults.how);
        marks.push(Mark { path: path([Step::Deep, field("data"), field("release")]), what });
    }
    for name in ["data", "stringData"] {
        marks
            .push(Mark { path: path([Step::Deep, field(name), field("*")]), what: What::Mask(defaults.how) });
    }
    vec![entry("", "secrets", marks)]
}

fn config_maps(defaults: &Defaults) -> Vec<Entry> {
    let names = names(defaults, &FILES, &[]);
    let release = match defaults.helm_releases {
        HelmReleases::Mask => What::Mask(defaults.how),
        HelmReleases::Open => What::Helm(defaults.how),
    };
    let marks = vec![
        Mark { path: path([field("data"), field("release")]), what: release },
        Mark { path: path([field("data"), any_of(&names)]), what: What::Mask(defaults.how) },
        Mark { path: path([field("binaryData"), any_of(&names)]), what: What::Mask(defaults.how) },
        Mark { path: path([field("data"), field("*")]), what: What::Scan },
    ];
    vec![entry("", "configmaps", marks)]
}

fn tokens(defaults: &Defaults) -> Vec<Entry> {
    let token =
        |place| vec![Mark { path: path([field(place), field("token")]), what: What::Mask(defaults.how) }];
    vec![
        entry("", "serviceaccounts/token", token("status")),
        entry("authentication.k8s.io", "tokenreviews", token("spec")),
    ]
}

fn certificate_requests(defaults: &Defaults) -> Vec<Entry> {
    let marks = [("spec", "request"), ("status", "certificate")].map(|(place, name)| Mark {
        path: path([field(place), field(name)]),
        what: What::Mask(defaults.how),
    });
    vec![entry("certificates.k8s.io", "certificatesigningrequests", marks.into())]
}

/// The copies of an object that tools keep in its annotations. They are masked as the object is, and so never left out.
fn copies(defaults: &Defaults) -> Entry {
    let json = JSON_COPIES.map(|name| Mark { path: annotation(field(name)), what: What::Json });
    let packed =
        PACKED_COPIES.map(|name| Mark { path: annotation(field(name)), what: What::Mask(defaults.how) });
    entry("*", "*", json.into_iter().chain(packed).collect())
}

fn annotations(defaults: &Defaults) -> Vec<Entry> {
    let names = names(defaults, &[], &[]);
    vec![entry("*", "*", vec![Mark { path: annotation(any_of(&names)), what: What::Mask(defaults.how) }])]
}

/// What a container is told by environment variables, wherever a pod's template stands.
fn environment(defaults: &Defaults) -> Vec<Entry> {
    let names = names(defaults, &[], &[]);
    let value = |containers| {
        path([
            Step::Deep,
            field(containers),
            field("env"),
            Step::Where("name".into(), Arc::clone(&names)),
            field("value"),
        ])
    };
    let marks = CONTAINERS.map(|containers| Mark { path: value(containers), what: What::Mask(defaults.how) });
    vec![entry("*", "*", marks.into())]
}

/// What the API server quotes when it refuses. Events have messages too, and these say what happened.
fn errors() -> Vec<Entry> {
    let status = Step::Where("kind".into(), Arc::new(Names::of("Status")));
    let marks =
        [path([status, field("message")]), path([field("details"), field("causes"), field("message")])]
            .map(|path| Mark { path, what: What::Quotes });
    vec![Entry { but: &["events"], ..entry("*", "*", marks.into()) }]
}

/// Fields of the type `[]byte`, base64 in JSON.
fn bytes() -> [Entry; 3] {
    let mark = |path| Mark { path, what: What::Bytes };
    let requests = [("spec", "request"), ("status", "certificate")];
    let requests = requests.map(|(place, name)| mark(path([field(place), field(name)])));
    [
        entry("", "secrets", vec![mark(path([Step::Deep, field("data"), field("*")]))]),
        entry("", "configmaps", vec![mark(path([field("binaryData"), field("*")]))]),
        entry("certificates.k8s.io", "certificatesigningrequests", requests.into()),
    ]
}

/// Text that people write and secrets slip into.
fn scanned() -> Vec<Entry> {
    let fields = |names: &[&str]| names.iter().map(|name| field(name)).collect::<Vec<_>>();
    let in_containers = CONTAINERS.iter().flat_map(|containers| {
        let of_each =
            move |rest: &[&str]| path([Step::Deep, field(containers)].into_iter().chain(fields(rest)));
        let deep = move |rest: &[&str]| {
            path([Step::Deep, field(containers), Step::Deep].into_iter().chain(fields(rest)))
        };
        // Probes and hooks have commands and headers of their own.
        [of_each(&["env", "value"]), of_each(&["args"]), deep(&["command"]), deep(&["httpHeaders", "value"])]
    });
    // The last words of a container are often the end of its log.
    let told = path([field("status"), Step::Deep, field("message")]);
    let paths = in_containers.chain([told, annotation(field("*"))]);
    let scan = |path| Mark { path, what: What::Scan };
    // In a Table what an event says stands in a cell.
    let said = [&["message"][..], &["note"], &["rows", "cells"]].map(|names| scan(path(fields(names))));
    vec![
        Entry { groups: vec![String::new(), "events.k8s.io".to_owned()], ..entry("", "events", said.into()) },
        entry("*", "*", paths.map(scan).collect()),
    ]
}

fn entry(group: &str, resource: &str, marks: Vec<Mark>) -> Entry {
    Entry { groups: vec![group.to_owned()], resources: vec![resource.to_owned()], but: &[], marks }
}

/// What secrets are called, and `more`, but for names that only look so, and `but`.
pub(super) fn names(defaults: &Defaults, more: &[&str], but: &[&str]) -> Arc<Names> {
    let built_in = || NAMES.iter().chain(more).copied().collect::<Vec<_>>();
    let mut globs =
        defaults.names.as_ref().map_or_else(built_in, |names| names.iter().map(|glob| &*glob.0).collect());
    globs.extend(defaults.add_names.iter().map(|glob| &*glob.0));
    let except: Vec<&str> = NOT_NAMES
        .iter()
        .chain(but)
        .copied()
        .chain(defaults.except_names.iter().map(|glob| &*glob.0))
        .collect();
    Arc::new(Names::new(&globs, &except))
}

fn annotation(name: Step) -> FieldPath {
    path([Step::Deep, field("metadata"), field("annotations"), name])
}

pub(super) fn path(steps: impl IntoIterator<Item = Step>) -> FieldPath {
    FieldPath::of(steps.into_iter().collect())
}

pub(super) fn field(name: &str) -> Step {
    Step::Field(Arc::new(Names::of(name)))
}

pub(super) fn any_of(names: &Arc<Names>) -> Step {
    Step::Field(Arc::clone(names))
}
