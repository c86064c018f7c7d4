//! Which resources are masked, and by which rules: what a policy says, and behind that what is masked by default.

mod defaults;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::path::{FieldPath, Step};
use crate::placeholder::{Form, Mask};
use crate::policy::{MaskPolicy, PolicyError, PolicyRule};
use crate::rules::{Mark, What};
use crate::{Rules, RulesError};

/// Requests whose answers are no objects: streams, and what a pod or node behind the API server says.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// The fields of resources that hold bytes, and so base64 in JSON.
const BYTES: [(&str, &str, &[&str]); 3] = [
    ("", "secrets", &["data"]),
    ("", "configmaps", &["binaryData"]),
    ("certificates.k8s.io", "certificatesigningrequests", &["request", "certificate"]),
];

/// For every group, or every resource.
const ANY: &str = "*";

/// Which resources are masked, and how.
#[derive(Debug, Clone)]
pub struct Profile {
    /// By group and resource, each as some entry names it or [`ANY`].
    rules: HashMap<String, HashMap<String, Option<Arc<Rules>>>>,
    unknown: Arc<Rules>,
}

/// What becomes of the objects of some resources.
struct Entry {
    groups: Vec<String>,
    /// With a subresource, if it is about that alone.
    resources: Vec<String>,
    /// Resources that it is not about although `resources` says so.
    but: &'static [&'static str],
    marks: Vec<Mark>,
}

impl Profile {
    /// The profile of a policy.
    ///
    /// # Errors
    /// When rules of it do not go together, or do nothing.
    pub fn new(policy: &MaskPolicy) -> Result<Self, PolicyError> {
        let mut entries = Vec::new();
        for (number, rule) in policy.rules.iter().enumerate() {
            if rule.mask.is_empty() && rule.keep.is_empty() {
                return Err(PolicyError::Idle(number));
            }
            entries.push(Entry::of(rule));
        }
        entries.extend(defaults::entries(&policy.defaults));
        let release = defaults::release(&policy.defaults).map(Arc::new);
        Self::compile(&entries, release)
    }

    /// The rules for responses about a resource (`resource` in plural and lower case and `subresource`, if there is one, as
    /// in the request's path), or none where nothing of it is masked.
    pub fn for_request(&self, group: &str, resource: &str, subresource: &str) -> Option<Arc<Rules>> {
        if STREAMS.contains(&subresource) {
            return None;
        }
        let resources = self.rules.get(group).or_else(|| self.rules.get(ANY))?;
        let whole = (!subresource.is_empty()).then(|| resources.get(&format!("{resource}/{subresource}")));
        let found = whole.flatten().or_else(|| resources.get(resource)).or_else(|| resources.get(ANY));
        found?.clone()
    }

    /// The rules for a document of which nothing is known: as if it were a Secret, and with all that is masked anywhere.
    pub fn for_unknown(&self) -> Arc<Rules> {
        Arc::clone(&self.unknown)
    }

    fn compile(entries: &[Entry], release: Option<Arc<Rules>>) -> Result<Self, PolicyError> {
        let groups: BTreeSet<&str> =
            entries.iter().flat_map(|entry| &entry.groups).map(String::as_str).collect();
        let resources: BTreeSet<&str> =
            entries.iter().flat_map(|entry| &entry.resources).map(String::as_str).collect();
        let bytes_in = BYTES.map(|(group, resource, _)| (group, resource));
        let groups: BTreeSet<&str> =
            groups.into_iter().chain(bytes_in.map(|(group, _)| group)).chain([ANY]).collect();
        let resources: BTreeSet<&str> =
            resources.into_iter().chain(bytes_in.map(|(_, resource)| resource)).chain([ANY]).collect();
        // Most places are alike: they have the rules for everything.
        let mut known = HashMap::new();
        let mut rules: HashMap<String, HashMap<String, _>> = HashMap::new();
        for group in groups {
            for &resource in &resources {
                let about =
                    |(number, entry): (usize, &Entry)| entry.is_about(group, resource).then_some(number);
                let alike: (Vec<usize>, _) =
                    (entries.iter().enumerate().filter_map(about).collect(), bytes(group, resource));
                if !known.contains_key(&alike) {
                    let marks = alike.0.iter().flat_map(|entry| &entries[*entry].marks);
                    let marks = marks.map(|mark| fitted(mark, group, resource)).collect();
                    let compiled = compiled(marks, release.clone()).map_err(|source| PolicyError::Rules {
                        resource: format!("{resource} of group {group:?}"),
                        source,
                    })?;
                    known.insert(alike.clone(), compiled);
                }
                rules.entry(group.to_owned()).or_default().insert(resource.to_owned(), known[&alike].clone());
            }
        }
        let unknown = unknown(entries);
        let unknown = Rules::new(unknown, release)
            .map_err(|source| PolicyError::Rules { resource: "all resources together".to_owned(), source })?;
        Ok(Self { rules, unknown: Arc::new(unknown) })
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::new(&MaskPolicy::default()).expect("a test makes the default profile")
    }
}

impl Entry {
    fn of(rule: &PolicyRule) -> Self {
        let keep = rule.keep.iter().map(|path| Mark { path: path.clone(), what: What::Keep });
        let what = What::MaskInside(Mask { form: Form::Plain, how: rule.how });
        let mask = rule.mask.iter().map(|path| Mark { path: path.clone(), what });
        Self {
            groups: rule.groups.clone(),
            resources: rule.resources.iter().map(|resource| resource.0.clone()).collect(),
            but: &[],
            marks: keep.chain(mask).collect(),
        }
    }

    /// Whether it is about a resource. An entry about a resource is about its subresources too.
    fn is_about(&self, group: &str, resource: &str) -> bool {
        let whole = resource.split('/').next().unwrap_or(resource);
        let is = |names: &[String], name: &str| names.iter().any(|known| known == ANY || known == name);
        let named = is(&self.resources, resource) || is(&self.resources, whole);
        is(&self.groups, group) && named && !self.but.contains(&whole)
    }
}

fn compiled(marks: Vec<Mark>, release: Option<Arc<Rules>>) -> Result<Option<Arc<Rules>>, RulesError> {
    let nothing = marks.iter().all(|mark| mark.what == What::Keep);
    if nothing { Ok(None) } else { Ok(Some(Arc::new(Rules::new(marks, release)?))) }
}

/// The marks for a document that may be any object. What is kept in anything but Secrets might be secret in them.
fn unknown(entries: &[Entry]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for entry in entries {
        let of_secrets = entry.is_about("", "secrets");
        let resource = entry.resources.first().map_or(ANY, String::as_str);
        let resource = if of_secrets { "secrets" } else { resource };
        let group = entry.groups.first().map_or(ANY, String::as_str);
        let counts = |mark: &&Mark| of_secrets || mark.what != What::Keep;
        marks.extend(entry.marks.iter().filter(counts).map(|mark| fitted(mark, group, resource)));
    }
    // What is only scanned in one resource may be masked in another.
    marks.sort_by_key(|mark| mark.what == What::Scan);
    marks
}

fn bytes(group: &str, resource: &str) -> &'static [&'static str] {
    let resource = resource.split('/').next().unwrap_or(resource);
    let found = BYTES.iter().find(|(of, named, _)| *of == group && *named == resource);
    found.map_or(&[], |(_, _, fields)| fields)
}

/// A mark with the form that values at its path have in a resource.
fn fitted(mark: &Mark, group: &str, resource: &str) -> Mark {
    let mut mark = mark.clone();
    if let What::MaskInside(mask) = &mut mark.what
        && goes_through(&mark.path, bytes(group, resource))
    {
        mask.form = Form::Base64;
    }
    mark
}

fn goes_through(path: &FieldPath, fields: &[&str]) -> bool {
    let mut names = path.steps().iter().filter_map(|step| match step {
        Step::Field(names) => Some(names),
        _ => None,
    });
    names.any(|names| fields.iter().any(|field| names.contain(field.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_no_objects() {
        let profile = Profile::default();
        for (resource, subresource) in [("pods", "log"), ("pods", "exec"), ("services", "proxy")] {
            assert!(profile.for_request("", resource, subresource).is_none(), "{resource}/{subresource}");
        }
        for (group, resource, subresource) in [
            ("", "secrets", ""),
            ("", "pods", "status"),
            ("apps", "deployments", "scale"),
            ("example.test", "widgets", ""),
        ] {
            assert!(profile.for_request(group, resource, subresource).is_some(), "{group}/{resource}");
        }
    }

    #[test]
    fn what_is_alike_is_compiled_once() {
        let profile = Profile::default();
        let pods = profile.for_request("", "pods", "").unwrap();
        let widgets = profile.for_request("example.test", "widgets", "status").unwrap();
        assert!(Arc::ptr_eq(&pods, &widgets));
        let secrets = profile.for_request("", "secrets", "").unwrap();
        assert!(!Arc::ptr_eq(&pods, &secrets));
        let foreign = profile.for_request("example.test", "secrets", "").unwrap();
        assert!(Arc::ptr_eq(&pods, &foreign), "only the core group's are Secrets");
    }
}
