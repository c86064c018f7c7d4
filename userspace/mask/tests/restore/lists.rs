//! Elements of lists: by their names, by their places, and by neither.

use portcullis_mask::{Profile, Why, Write};
use serde_json::{Value, json};

use crate::support::{placeholder, placeholder_base64};
use crate::{ALL, masked_by, refused, restored, restored_by};

/// An object with lists of what is masked: named, unnamed, and texts.
fn lists() -> String {
    json!({
        "metadata": {"resourceVersion": "41"},
        "named": [{"name": "a", "data": {"k": "YQ=="}}, {"name": "b", "data": {"k": "Yg=="}}],
        "unnamed": [{"data": {"k": "YQ=="}}, {"data": {"k": "Yg=="}}],
        "twice": [{"name": "t", "data": {"k": "YQ=="}}, {"name": "t", "data": {"k": "Yg=="}}],
    })
    .to_string()
}

#[test]
fn an_element_is_known_by_its_name() {
    let (a, b) = (placeholder_base64(b"a"), placeholder_base64(b"b"));
    let element = |name: &str, mask: &str| json!({"name": name, "data": {"k": mask}});
    let body = |list: &str, elements: &[Value]| json!({list: elements}).to_string();
    for write in ALL.into_iter().filter(|write| *write != Write::JsonPatch) {
        for elements in [
            vec![element("a", &a), element("b", &b)],
            vec![element("b", &b), element("a", &a)],
            vec![element("new", "bmV3"), element("b", &b)],
        ] {
            restored(write, &body("named", &elements), &lists());
        }
        for elements in [
            vec![element("a", &b), element("b", &a)],
            vec![element("c", &a)],
            vec![json!({"data": {"k": a}})],
            vec![element("a", &a), element("a", &a)],
        ] {
            if write == Write::Update && elements.len() == 2 && elements[1]["name"] == "a" {
                // The first of two is at its place; the second is not.
                assert_eq!(refused(write, &body("named", &elements), &lists()).0, "named[1].data.k");
            }
            refused(write, &body("named", &elements), &lists());
        }
    }
}

#[test]
fn an_element_without_a_name_is_known_by_its_index_where_lists_are_replaced() {
    let (a, b) = (placeholder_base64(b"a"), placeholder_base64(b"b"));
    let body = |list: &str, first: &Value, second: &Value| json!({list: [first, second]}).to_string();
    let unnamed = |mask: &str| json!({"data": {"k": mask}});
    let twice = |mask: &str| json!({"name": "t", "data": {"k": mask}});
    restored(Write::MergePatch, &body("unnamed", &unnamed(&a), &unnamed(&b)), &lists());
    restored(Write::MergePatch, &body("twice", &twice(&a), &twice(&b)), &lists());
    for write in [Write::StrategicPatch, Write::Apply] {
        refused(write, &body("unnamed", &unnamed(&a), &unnamed(&b)), &lists());
        refused(write, &body("twice", &twice(&a), &twice(&b)), &lists());
    }
    refused(Write::MergePatch, &body("unnamed", &unnamed(&b), &unnamed(&a)), &lists());
    refused(
        Write::MergePatch,
        &body("unnamed", &json!({"name": "x", "data": {"k": a}}), &unnamed(&b)),
        &lists(),
    );
}

#[test]
fn a_json_patch_reaches_elements_that_stay_where_they_are() {
    let a = placeholder_base64(b"a");
    let set = |path: &str| json!({"op": "replace", "path": path, "value": a});
    let patch = |operations: &[Value]| json!(operations).to_string();
    restored(Write::JsonPatch, &patch(&[set("/named/0/data/k")]), &lists());
    let other = json!({"op": "add", "path": "/metadata/labels", "value": {}});
    restored(Write::JsonPatch, &patch(&[other, set("/named/0/data/k")]), &lists());
    let whole =
        |name: &str| json!({"op": "replace", "path": "/named/0", "value": {"name": name, "data": {"k": a}}});
    restored(Write::JsonPatch, &patch(&[whole("a")]), &lists());
    refused(Write::JsonPatch, &patch(&[whole("c")]), &lists());
    for path in
        ["/named/1/data/k", "/named/-1/data/k", "/named/00/data/k", "/named/-/data/k", "/named/a/data/k"]
    {
        refused(Write::JsonPatch, &patch(&[set(path)]), &lists());
    }
    let added = json!({"op": "add", "path": "/named/0", "value": {"name": "a", "data": {"k": a}}});
    assert_eq!(refused(Write::JsonPatch, &patch(&[added]), &lists()).1, Why::NewElement);
    for other in [
        json!({"op": "remove", "path": "/named/0"}),
        json!({"op": "add", "path": "/named", "value": []}),
        json!({"op": "replace", "path": "", "value": {}}),
        json!({"op": "replace", "path": "/named/0/name", "value": "b"}),
    ] {
        for operations in [[other.clone(), set("/named/0/data/k")], [set("/named/0/data/k"), other.clone()]] {
            assert_eq!(
                refused(Write::JsonPatch, &patch(&operations), &lists()).1,
                Why::Moved,
                "{operations:?}"
            );
        }
    }
}

#[test]
fn environment_variables_are_known_by_their_names() {
    let profile = Profile::default();
    let rules = profile.for_request("apps", "deployments", "").unwrap();
    let env = |env: Value| {
        let containers = json!([{"name": "sidecar"}, {"name": "web", "env": env}]);
        json!({"spec": {"template": {"spec": {"containers": containers}}}, "metadata": {"resourceVersion": "41"}})
            .to_string()
    };
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let live = env(json!([
        variable("MODE", "hunter2"),
        variable("DB_PASSWORD", "hunter2"),
        variable("API_TOKEN", "admin"),
    ]));
    let (password, token) = (placeholder(b"hunter2"), placeholder(b"admin"));
    assert!(masked_by(&rules, &live).contains(&password));
    for write in [Write::Update, Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        let body = env(json!([
            variable("NEW", "x"),
            variable("API_TOKEN", &token),
            variable("DB_PASSWORD", &password)
        ]));
        let expected = env(json!([
            variable("NEW", "x"),
            variable("API_TOKEN", "admin"),
            variable("DB_PASSWORD", "hunter2")
        ]));
        assert_eq!(restored_by(&rules, write, &body, &live), Ok(expected));
        for wrong in [
            json!([variable("DB_PASSWORD", &token)]),
            json!([variable("MODE", &password)]),
            json!([variable("OTHER_PASSWORD", &password)]),
            json!([{"value": password}]),
            json!([variable("DB_PASSWORD", &password), variable("DB_PASSWORD", &password)]),
            json!([{"value": "x"}, {"value": password}]),
        ] {
            let refused = restored_by(&rules, write, &env(wrong.clone()), &live).unwrap_err();
            assert!(
                refused.contains("spec.template.spec.containers[1].env["),
                "{write:?} {wrong}: {refused}"
            );
        }
    }
    let patch = |path: &str, value: Value| {
        json!([{"op": "replace", "path": format!("/spec/template/spec/containers/1/env{path}"), "value": value}]).to_string()
    };
    assert!(restored_by(&rules, Write::JsonPatch, &patch("/1/value", json!(password)), &live).is_ok());
    assert!(
        restored_by(&rules, Write::JsonPatch, &patch("/1", variable("DB_PASSWORD", &password)), &live)
            .is_ok()
    );
    for wrong in [
        patch("/0/value", json!(password)),
        patch("/1", variable("MODE", &password)),
        patch("/2/value", json!(password)),
    ] {
        assert!(restored_by(&rules, Write::JsonPatch, &wrong, &live).is_err(), "{wrong}");
    }
}
