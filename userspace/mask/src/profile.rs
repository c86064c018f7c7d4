//! Which resources are masked, and by which rules.

use std::sync::Arc;

use crate::Rules;
use crate::names::Names;
use crate::path::{FieldPath, Step};
use crate::placeholder::{Form, How, Mask};
use crate::rules::{Mark, What};

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
}

impl Profile {
    /// The rules for responses about a resource (`resource` in plural and lower case and `subresource`, if there is one, as
    /// in the request's path), or none where nothing of it is masked.
    pub fn for_request(&self, group: &str, resource: &str, _subresource: &str) -> Option<Arc<Rules>> {
        (group.is_empty() && resource == "secrets").then(|| Arc::clone(&self.secrets))
    }

    /// The rules for a document of which nothing is known: as if it were of the most secret resource.
    pub fn for_unknown(&self) -> Arc<Rules> {
        Arc::clone(&self.secrets)
    }
}

impl Default for Profile {
    fn default() -> Self {
        let rules = Rules::new(secrets(), None).expect("a few paths make a small automaton");
        Self { secrets: Arc::new(rules) }
    }
}

/// Secrets in every shape they come in: `data` and `stringData`, and the copies that tools keep in annotations.
fn secrets() -> Vec<Mark> {
    let mask = |form| What::Mask(Mask { form, how: How::Digest });
    let mut marks = vec![
        mark(&[Deep, Named("data"), Named("*")], mask(Form::Base64)),
        mark(&[Deep, Named("stringData"), Named("*")], mask(Form::Plain)),
    ];
    let annotation = |name: &'static str| [Deep, Named("metadata"), Named("annotations"), Named(name)];
    marks.extend(JSON_COPIES.map(|name| mark(&annotation(name), What::Json)));
    marks.extend(PACKED_COPIES.map(|name| mark(&annotation(name), mask(Form::Plain))));
    marks
}

use Part::{Deep, Named};

/// A step of a built-in path.
#[derive(Clone, Copy)]
enum Part {
    Deep,
    Named(&'static str),
}

fn mark(parts: &[Part], what: What) -> Mark {
    let steps = parts.iter().map(|part| match part {
        Deep => Step::Deep,
        Named(name) => Step::Field(Arc::new(Names::of(name))),
    });
    Mark { path: FieldPath::of("built in", steps.collect()), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_core_secrets_are_masked() {
        let profile = Profile::default();
        assert!(profile.for_request("", "secrets", "").is_some());
        for (group, resource) in [("", "configmaps"), ("example.test", "secrets"), ("", "pods"), ("", "")] {
            assert!(profile.for_request(group, resource, "").is_none(), "{group}/{resource}");
        }
    }
}
