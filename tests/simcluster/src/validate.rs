//! The checks of object content that clients meet: names, required fields, what may not change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::kinds::Resource;
use crate::object;
use crate::schema::{Shape, Type, schema};
use crate::status::Status;

type Cause = (&'static str, String, String);

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Checks an object that is to be stored in place of `old` (`None` on create).
///
/// # Errors
/// 422 with every cause.
pub(crate) fn validate(resource: &Resource, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let mut causes: Vec<Cause> = Vec::new();
    let name = object::name(new);
    if old.is_none() && !is_subdomain(name) {
        let value = if name.is_empty() { "metadata.name" } else { "" };
        causes.push(if value.is_empty() {
            invalid("metadata.name", name, NAME_RULE)
        } else {
            required("metadata.name", "name or generateName is required")
        });
    }
    if resource.plural != "events" {
        missing_fields(new, schema().get(resource.schema), "", &mut causes);
    }
    match resource.plural {
        "secrets" => check_secret(old, new, &mut causes),
        "configmaps" => check_immutable(old, new, &["data", "binaryData"], &mut causes),
        "pods" => check_pod(old, new, &mut causes),
        "deployments" => check_deployment(old, new, &mut causes),
        "services" => check_service(new, &mut causes),
        _ => {}
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource, name, &causes)) }
}

fn check_secret(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in new["data"].as_object().into_iter().flatten() {
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            causes.push(invalid(
                &format!("data[{key}]"),
                key,
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
        if BASE64.decode(value.as_str().unwrap_or_default()).is_err() {
            causes.push(invalid(&format!("data[{key}]"), "", "illegal base64 data"));
        }
    }
    let wanted: &[&str] = match new["type"].as_str() {
        Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
        Some("kubernetes.io/ssh-auth") => &["ssh-privatekey"],
        Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
        _ => &[],
    };
    for key in wanted.iter().filter(|key| new["data"].get(**key).is_none()) {
        causes.push(required(&format!("data[{key}]"), ""));
    }
    if old.is_some_and(|old| old["type"] != new["type"]) {
        causes.push(invalid("type", new["type"].as_str().unwrap_or_default(), "field is immutable"));
    }
    check_immutable(old, new, &["data"], causes);
}

fn check_immutable(old: Option<&Value>, new: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    let Some(old) = old.filter(|old| old["immutable"] == json!(true)) else { return };
    if new["immutable"] != json!(true) {
        causes.push(forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields.iter().filter(|field| old[**field] != new[**field]) {
        causes.push(forbidden(field, "field is immutable when `immutable` is set"));
    }
}

fn check_pod(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    if new["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.push(required("spec.containers", ""));
    }
    // What may change in place is left out of the comparison.
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            for key in [
                "activeDeadlineSeconds",
                "terminationGracePeriodSeconds",
                "tolerations",
                "ephemeralContainers",
            ] {
                spec.shift_remove(key);
            }
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    if old.is_some_and(|old| fixed(old) != fixed(new)) {
        causes.push(forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
             negative)",
        ));
    }
}

fn check_service(new: &Value, causes: &mut Vec<Cause>) {
    let portless = new["spec"]["ports"].as_array().is_none_or(Vec::is_empty);
    if portless && new["spec"]["clusterIP"] != "None" && new["spec"]["type"] != "ExternalName" {
        causes.push(required("spec.ports", ""));
    }
}

fn check_deployment(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    let selector = &new["spec"]["selector"]["matchLabels"];
    let labels = &new["spec"]["template"]["metadata"]["labels"];
    let selected =
        selector.as_object().into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    if selector.is_null() {
        causes.push(required("spec.selector", ""));
    } else if !selected {
        let message = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", &labels.to_string(), message));
    }
    if old.is_some_and(|old| old["spec"]["selector"] != new["spec"]["selector"]) {
        causes.push(invalid("spec.selector", &selector.to_string(), "field is immutable"));
    }
}

/// Fields that their type requires: strings and numbers that an object leaves out.
fn missing_fields(value: &Value, object_type: &Type, path: &str, causes: &mut Vec<Cause>) {
    for field in object_type.json_fields() {
        let at = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        match (value.get(field.name), field.object()) {
            (None, None) if field.required && !path.starts_with("status") && !path.is_empty() => {
                causes.push(required(&at, ""));
            }
            (Some(inner), Some(inner_type)) if field.name != "status" => match (field.shape, inner) {
                (Shape::One, inner) => missing_fields(inner, inner_type, &at, causes),
                (Shape::List, Value::Array(list)) => {
                    for (index, element) in list.iter().enumerate() {
                        missing_fields(element, inner_type, &format!("{at}[{index}]"), causes);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// RFC 1123 subdomain of at most 253 letters.
pub(crate) fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits =
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        fits && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn invalid(field: &str, value: &str, why: &str) -> Cause {
    ("FieldValueInvalid", field.to_owned(), format!("Invalid value: {value:?}: {why}"))
}

fn required(field: &str, why: &str) -> Cause {
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    ("FieldValueRequired", field.to_owned(), format!("Required value{why}"))
}

fn forbidden(field: &str, why: &str) -> Cause {
    ("FieldValueForbidden", field.to_owned(), format!("Forbidden: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_worded_as_captured() {
        let secret = json!({"metadata": {"name": "Bad_Name"}, "type": "kubernetes.io/tls", "data": {"tls.key": "eA=="}});
        let refusal = validate(Resource::core("secrets"), None, &secret).unwrap_err();
        assert!(refusal.message.starts_with(
            "Secret \"Bad_Name\" is invalid: [metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"
        ));
        assert!(refusal.message.ends_with("data[tls.crt]: Required value]"));
        let old =
            json!({"metadata": {"name": "b"}, "type": "Opaque", "immutable": true, "data": {"a": "eA=="}});
        let mut new = old.clone();
        new["data"]["a"] = json!("eQ==");
        assert_eq!(
            validate(Resource::core("secrets"), Some(&old), &new).unwrap_err().message,
            "Secret \"b\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
        );
    }

    #[test]
    fn containers_need_their_required_fields() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"image": "x"}]}});
        let refusal = validate(Resource::core("pods"), None, &pod).unwrap_err();
        assert_eq!(refusal.message, "Pod \"p\" is invalid: spec.containers[0].name: Required value");
    }
}
