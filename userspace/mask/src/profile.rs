//! Which resources are masked, and by which rules: what a policy says, and behind that what is masked by default.

mod defaults;
mod mcp;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::{MaskPolicy, PolicyError, PolicyRule};
use crate::rules::{Mark, What};
use crate::{Detectors, FieldPath, Rules, RulesError};

/// Requests whose answers are no objects: streams, and what a pod or node behind the API server says.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// For every group, or every resource.
const ANY: &str = "*";

/// Which resources are masked, and how.
#[derive(Debug, Clone)]
pub struct Profile {
    /// By group and resource, each as some entry names it or [`ANY`].
    rules: HashMap<String, HashMap<String, Option<Arc<Rules>>>>,
    unknown: Arc<Rules>,
    /// For messages of MCP servers, and for JSON of which nothing is known but that it is no object of an API server.
    mcp: Arc<Rules>,
    data: Arc<Rules>,
    /// What roles have opened so far.
    opened: Arc<Mutex<Opened>>,
}

/// Rules by what they were made of: the address of rules, which are kept beside them, and the paths that they are without.
type Opened = HashMap<(usize, String), [Arc<Rules>; 2]>;

/// More than there are roles that open something, times what they open it of.
const MOST_OPENED: usize = 1024;

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
        let detectors = Arc::new(Detectors::new(&policy.detectors)?);
        let release = defaults::release(&policy.defaults);
        let release = release.map(|release| Arc::new(release.with_detectors(Arc::clone(&detectors))));
        let for_data = |marks, inside| -> Result<_, PolicyError> {
            let rules = Rules::for_data(marks, inside).map_err(|source| PolicyError::Rules {
                resource: "messages of MCP servers".to_owned(),
                source,
            })?;
            Ok(Arc::new(rules.with_detectors(Arc::clone(&detectors))))
        };
        let data = for_data(mcp::data(&policy.defaults), None)?;
        let mcp = for_data(mcp::message(&policy.defaults), Some(Arc::clone(&data)))?;
        Self::compile(&entries, release.as_ref(), &detectors, mcp, data)
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

    /// Rules of this profile without what a role opens.
    ///
    /// # Errors
    /// As [`Rules::without`].
    pub fn opened(&self, rules: &Arc<Rules>, paths: &[FieldPath]) -> Result<Arc<Rules>, RulesError> {
        let named: Vec<String> = paths.iter().map(ToString::to_string).collect();
        let place = (Arc::as_ptr(rules).addr(), named.join("\n"));
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([_, known]) = opened.get(&place) {
            return Ok(Arc::clone(known));
        }
        if opened.len() == MOST_OPENED {
            opened.clear();
        }
        let made = rules.without(paths)?;
        opened.insert(place, [Arc::clone(rules), Arc::clone(&made)]);
        Ok(made)
    }

    /// The rules for a document of which nothing is known: as if it were a Secret, and with all that is masked anywhere.
    pub fn for_unknown(&self) -> Arc<Rules> {
        Arc::clone(&self.unknown)
    }

    /// The rules for any JSON-RPC message of an MCP server.
    pub fn for_mcp(&self) -> Arc<Rules> {
        Arc::clone(&self.mcp)
    }

    /// The rules for JSON of any shape that is no object of an API server, such as what an MCP server attaches.
    pub fn for_data(&self) -> Arc<Rules> {
        Arc::clone(&self.data)
    }

    /// What is looked for in streams and logs.
    pub fn detectors(&self) -> Arc<Detectors> {
        Arc::clone(self.unknown.detectors())
    }

    /// The profile for documents that are known to be of one resource, or none where nothing of it is masked.
    pub fn about(&self, group: &str, resource: &str, subresource: &str) -> Option<Self> {
        let unknown = self.for_request(group, resource, subresource)?;
        Some(Self { unknown, ..self.clone() })
    }

    fn compile(
        entries: &[Entry],
        release: Option<&Arc<Rules>>,
        detectors: &Arc<Detectors>,
        mcp: Arc<Rules>,
        data: Arc<Rules>,
    ) -> Result<Self, PolicyError> {
        let compiled = |marks| -> Result<_, RulesError> {
            Ok(Rules::new(marks, release.cloned())?.with_detectors(Arc::clone(detectors)))
        };
        let groups = entries.iter().flat_map(|entry| &entry.groups).map(String::as_str);
        let groups: BTreeSet<&str> = groups.chain([ANY]).collect();
        let resources = entries.iter().flat_map(|entry| &entry.resources).map(String::as_str);
        let but = entries.iter().flat_map(|entry| entry.but).copied();
        let resources: BTreeSet<&str> = resources.chain(but).chain([ANY]).collect();
        // Most places are alike: they have the rules for everything.
        let mut known = HashMap::new();
        let mut rules: HashMap<String, HashMap<String, _>> = HashMap::new();
        for group in groups {
            for &resource in &resources {
                let about =
                    |(number, entry): (usize, &Entry)| entry.is_about(group, resource).then_some(number);
                let alike: Vec<usize> = entries.iter().enumerate().filter_map(about).collect();
                if !known.contains_key(&alike) {
                    let marks: Vec<Mark> =
                        alike.iter().flat_map(|entry| &entries[*entry].marks).cloned().collect();
                    let nothing = marks.iter().all(|mark| mark.what == What::Keep);
                    let rules = (!nothing).then(|| compiled(marks)).transpose().map_err(|source| {
                        PolicyError::Rules { resource: format!("{resource} of group {group:?}"), source }
                    })?;
                    known.insert(alike.clone(), rules.map(Arc::new));
                }
                rules.entry(group.to_owned()).or_default().insert(resource.to_owned(), known[&alike].clone());
            }
        }
        let unknown = compiled(unknown(entries))
            .map_err(|source| PolicyError::Rules { resource: "all resources together".to_owned(), source })?;
        Ok(Self { rules, unknown: Arc::new(unknown), mcp, data, opened: Arc::default() })
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
        let what = What::MaskInside(rule.how);
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

/// The marks for a document that may be any object. What is kept in anything but Secrets might be secret in them.
fn unknown(entries: &[Entry]) -> Vec<Mark> {
    let counts = |entry: &Entry, mark: &Mark| mark.what != What::Keep || entry.is_about("", "secrets");
    let of =
        |entry: &Entry| entry.marks.iter().filter(|mark| counts(entry, mark)).cloned().collect::<Vec<_>>();
    let mut marks: Vec<Mark> = entries.iter().flat_map(of).collect();
    // What is only scanned in one resource may be masked in another.
    marks.sort_by_key(|mark| mark.what == What::Scan);
    marks
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
