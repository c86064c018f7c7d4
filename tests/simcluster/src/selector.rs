//! Label and field selectors of lists, watches and collection deletes.

use serde_json::Value;

use crate::kinds::Resource;
use crate::object;
use crate::request::{Query, RequestInfo};
use crate::status::Status;

/// Which objects of a resource a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    namespace: String,
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for a selector that does not parse, or a field that objects of the resource cannot be selected by.
    pub(crate) fn new(resource: &Resource, info: &RequestInfo, query: &Query) -> Result<Selector, Status> {
        let labels = parse(query.get("labelSelector").unwrap_or_default())?;
        let mut fields = parse(query.get("fieldSelector").unwrap_or_default())?;
        for requirement in &fields {
            if !is_selectable(resource, &requirement.key) {
                return Err(Status::bad_request(format!("field label not supported: {}", requirement.key)));
            }
        }
        if !info.name.is_empty() {
            fields.push(Requirement {
                key: "metadata.name".to_owned(),
                test: Test::In(vec![info.name.clone()]),
            });
        }
        let namespace = if resource.namespaced { info.namespace.clone() } else { String::new() };
        Ok(Selector { namespace, labels, fields })
    }

    /// The namespace to look in, empty for all.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || object::namespace(object) == self.namespace)
            && self
                .labels
                .iter()
                .all(|wanted| wanted.test.holds(object["metadata"]["labels"][&wanted.key].as_str()))
            && self.fields.iter().all(|wanted| {
                let found = field(object, &wanted.key);
                wanted.test.holds(Some(found.as_deref().unwrap_or_default()))
            })
    }

    /// Whether the selection leaves out objects of the namespace.
    pub(crate) fn is_narrow(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

impl Test {
    fn holds(&self, found: Option<&str>) -> bool {
        match (self, found) {
            (Test::In(values), Some(found)) => values.iter().any(|value| value == found),
            (Test::NotIn(values), Some(found)) => values.iter().all(|value| value != found),
            (Test::In(_), None) | (Test::Exists, None) | (Test::Absent, Some(_)) => false,
            (Test::NotIn(_), None) | (Test::Exists, Some(_)) | (Test::Absent, None) => true,
        }
    }
}

fn field(object: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(object, |value, key| value.get(key))?;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        // Events are selected by `source`, which means its component.
        Value::Object(map) => map.get("component")?.as_str().map(str::to_owned),
        _ => None,
    }
}

fn is_selectable(resource: &Resource, field: &str) -> bool {
    let own: &[&str] = match resource.plural {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "secrets" => &["type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "services" => &["spec.clusterIP", "spec.type"],
        _ => &[],
    };
    matches!(field, "metadata.name" | "metadata.namespace") || own.contains(&field)
}

fn parse(text: &str) -> Result<Vec<Requirement>, Status> {
    split(text).into_iter().map(|part| parse_one(part.trim())).collect()
}

/// Splits at commas that are not inside `( )`.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn parse_one(text: &str) -> Result<Requirement, Status> {
    let made = |key: &str, test| Ok(Requirement { key: key.trim().to_owned(), test });
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(operator) {
            let values = vec![value.trim().to_owned()];
            return made(key, if negated { Test::NotIn(values) } else { Test::In(values) });
        }
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|head| head.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => made(key, Test::In(values)),
            [key, "notin"] => made(key, Test::NotIn(values)),
            _ => Err(Status::bad_request(format!("unable to parse requirement: {text}"))),
        };
    }
    match text.strip_prefix('!') {
        Some(key) => made(key, Test::Absent),
        None if !text.contains(char::is_whitespace) => made(text, Test::Exists),
        None => Err(Status::bad_request(format!("unable to parse requirement: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(query: &str) -> Result<bool, Status> {
        let object = json!({"metadata": {"name": "web", "namespace": "demo", "labels": {"app": "web", "tier": "front"}},
            "status": {"phase": "Running"}});
        let mut info = RequestInfo::default();
        info.namespace.push_str("demo");
        Ok(Selector::new(Resource::core("pods"), &info, &Query::parse(query))?.matches(&object))
    }

    #[test]
    fn labels_and_fields() {
        for (query, wanted) in [
            ("labelSelector=app%3Dweb,tier!%3Dback", true),
            ("labelSelector=app+in+(a,web),!gone,tier", true),
            ("labelSelector=app+notin+(web)", false),
            ("labelSelector=gone", false),
            ("fieldSelector=status.phase%3DRunning", true),
            ("fieldSelector=metadata.name!%3Dweb", false),
        ] {
            assert_eq!(selects(query).expect("parses"), wanted, "{query}");
        }
        assert_eq!(
            selects("fieldSelector=spec.nope%3Dx").unwrap_err().message,
            "field label not supported: spec.nope"
        );
    }
}
