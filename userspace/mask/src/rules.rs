//! What is masked: for each resource a small automaton over keys, compiled once.
//!
//! Where a value stands decides, never its `kind`: that key may come after the data, and whoever writes an object writes
//! its kind too. Arrays are transparent (an element stands where its array stands), so that objects, the `items` of
//! lists, the `rows[].object` of Tables and the `object` of watch events need no rules of their own.

use std::sync::Arc;

use crate::Detectors;
use crate::placeholder::Form;

/// Annotations that hold a copy of the whole object as JSON text.
const JSON_COPIES: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kapp.k14s.io/original",
    "kopf.zalando.org/last-handled-configuration",
];

/// Annotations that hold a compressed copy of the whole object.
const PACKED_COPIES: [&str; 2] = ["objectset.rio.cattle.io/applied", "banzaicloud.com/last-applied"];

/// Which resources are masked, and how. The default: Secrets.
#[derive(Debug, Clone)]
pub struct Profile {
    secrets: Arc<Rules>,
    detectors: Arc<Detectors>,
}

impl Profile {
    /// The rules for responses about a resource (`resource` in plural and lower case, as in the request's path), or none
    /// where nothing of it is masked.
    pub fn for_resource(&self, group: &str, resource: &str) -> Option<Arc<Rules>> {
        (group.is_empty() && resource == "secrets").then(|| Arc::clone(&self.secrets))
    }

    /// The rules for a document of which nothing is known: as if it were of the most secret resource.
    pub fn for_unknown(&self) -> Arc<Rules> {
        Arc::clone(&self.secrets)
    }

    /// What is looked for in streams and logs.
    pub fn detectors(&self) -> Arc<Detectors> {
        Arc::clone(&self.detectors)
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self { secrets: Arc::new(Rules::secrets()), detectors: Arc::default() }
    }
}

/// What is masked in the objects of one resource.
#[derive(Debug)]
pub struct Rules {
    nodes: Vec<Node>,
}

/// A kind of place in a document.
#[derive(Debug)]
struct Node {
    keys: Vec<(&'static str, Action)>,
    /// For keys that are not listed.
    other: Action,
    /// For a string, number or boolean that stands where an object was expected.
    scalar: Action,
}

/// A [`Node`] of some [`Rules`].
pub(crate) type NodeId = usize;

/// Where a document begins.
pub(crate) const ROOT: NodeId = 0;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It passes, with all that is in it.
    Keep,
    /// The keys in it decide.
    Enter(NodeId),
    /// It is replaced by its placeholder. Null stays null, an empty string stays empty.
    Mask(Form),
    /// A string holding a JSON object, to be masked by the rules from the root on; replaced whole if it is not.
    Json,
}

impl Rules {
    /// Secrets in every shape they come in: `data` and `stringData`, and the copies that tools keep in annotations.
    fn secrets() -> Self {
        const METADATA: NodeId = 1;
        const ANNOTATIONS: NodeId = 2;
        const DATA: NodeId = 3;
        const STRING_DATA: NodeId = 4;
        let object = Node {
            keys: vec![
                ("data", Action::Enter(DATA)),
                ("stringData", Action::Enter(STRING_DATA)),
                ("metadata", Action::Enter(METADATA)),
            ],
            other: Action::Enter(ROOT),
            scalar: Action::Keep,
        };
        let metadata = Node {
            keys: vec![("annotations", Action::Enter(ANNOTATIONS))],
            other: Action::Keep,
            scalar: Action::Keep,
        };
        let json = JSON_COPIES.map(|key| (key, Action::Json));
        let packed = PACKED_COPIES.map(|key| (key, Action::Mask(Form::Plain)));
        let annotations = Node {
            keys: json.into_iter().chain(packed).collect(),
            other: Action::Keep,
            scalar: Action::Keep,
        };
        let values = |form| Node { keys: vec![], other: Action::Mask(form), scalar: Action::Mask(form) };
        Self { nodes: vec![object, metadata, annotations, values(Form::Base64), values(Form::Plain)] }
    }

    /// Whether the keys of an object at this place make a difference.
    #[inline]
    pub(crate) fn reads_keys(&self, node: NodeId) -> bool {
        !self.nodes[node].keys.is_empty()
    }

    /// What becomes of the value under `key`. Case is ignored, as lenient decoders (encoding/json of Go among them)
    /// ignore it: `Data` in an applied manifest holds a secret as well.
    #[inline]
    pub(crate) fn under_key(&self, node: NodeId, key: &[u8]) -> Action {
        let node = &self.nodes[node];
        let found = node.keys.iter().find(|(name, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(node.other, |(_, action)| *action)
    }

    /// What becomes of a value that is neither object nor array.
    #[inline]
    pub(crate) fn for_scalar(&self, node: NodeId) -> Action {
        self.nodes[node].scalar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_core_secrets_are_masked() {
        let profile = Profile::default();
        assert!(profile.for_resource("", "secrets").is_some());
        for (group, resource) in [("", "configmaps"), ("example.test", "secrets"), ("", "pods"), ("", "")] {
            assert!(profile.for_resource(group, resource).is_none(), "{group}/{resource}");
        }
    }
}
