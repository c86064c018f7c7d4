//! Masks that come back are restored where they stood, byte for byte, and nowhere else.

mod support;

use std::fs;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use portcullis_mask::{
    JsonMasker, MaskKey, PlaceholderGuard, Profile, RestoreError, Restored, Rules, Why, Write,
    packs_placeholder, restore,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use support::{key, placeholder, placeholder_base64};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ALL: [Write; 5] =
    [Write::Update, Write::MergePatch, Write::StrategicPatch, Write::JsonPatch, Write::Apply];

static RULES: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Profile::default().for_request("", "secrets", "").expect("Secrets are masked"));

/// What the client is shown.
fn masked(body: &str) -> String {
    masked_by(&RULES, body)
}

fn masked_by(rules: &Arc<Rules>, body: &str) -> String {
    let (mut masker, mut out) = (JsonMasker::new(Arc::clone(rules), &key()), Vec::new());
    masker.push(body.as_bytes(), &mut out).and_then(|()| masker.finish(&mut out)).expect("it is JSON");
    String::from_utf8_lossy(&out).into_owned()
}

fn try_restore(write: Write, body: &str, live: &str) -> Result<Option<Restored>, RestoreError> {
    restore(write, body.as_bytes(), live.as_bytes(), &RULES, &key())
}

/// The same by other rules; the body, or what is said.
fn restored_by(rules: &Arc<Rules>, write: Write, body: &str, live: &str) -> Result<String, String> {
    match restore(write, body.as_bytes(), live.as_bytes(), rules, &key()) {
        Ok(Some(restored)) => Ok(String::from_utf8_lossy(&restored.body).into_owned()),
        Ok(None) => Err("nothing to restore".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The restored body and the fields restored in it.
fn restored(write: Write, body: &str, live: &str) -> (String, Vec<String>) {
    let restored = try_restore(write, body, live).unwrap_or_else(|error| panic!("{write:?} {body}: {error}"));
    let restored = restored.unwrap_or_else(|| panic!("{write:?} {body}: nothing restored"));
    (String::from_utf8_lossy(&restored.body).into_owned(), restored.paths)
}

/// The field that cannot be restored, and why.
fn refused(write: Write, body: &str, live: &str) -> (String, Why) {
    match try_restore(write, body, live) {
        Err(RestoreError::Field { path, why }) => (path, why),
        Err(other) => panic!("{write:?} {body}: {other}"),
        Ok(_) => panic!("{write:?} {body}: not refused"),
    }
}

fn live() -> String {
    live_with(&json!({"note": "plain"}))
}

fn live_with(annotations: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db", "namespace": "demo", "resourceVersion": "41", "labels": {"app": "db"},
            "annotations": annotations,
        },
        "data": {"a/b": "c2xhc2g=", "password": "aHVudGVyMg==", "username": "YWRtaW4="},
        "type": "Opaque",
    })
    .to_string()
}

#[test]
fn an_update_is_the_object_with_the_change() {
    let shown = masked(&live());
    let changed = |text: &str| text.replacen(r#""app":"db""#, r#""app": "db2""#, 1);
    let (body, paths) = restored(Write::Update, &changed(&shown), &live());
    assert_eq!(body, changed(&live()));
    assert_eq!(paths, ["data[a/b]", "data.password", "data.username"]);
}

#[test]
fn one_key_is_changed_and_the_others_stay() {
    let mut object: Value = serde_json::from_str(&masked(&live())).unwrap();
    object["data"]["password"] = json!("bmV3");
    let (body, paths) = restored(Write::Update, &object.to_string(), &live());
    let mut expected: Value = serde_json::from_str(&live()).unwrap();
    expected["data"]["password"] = json!("bmV3");
    assert_eq!(body, expected.to_string());
    assert_eq!(paths, ["data[a/b]", "data.username"]);
}

#[test]
fn patches_say_which_version_they_are_for() {
    let mask = placeholder_base64(b"hunter2");
    let fields = format!(r#"{{"data":{{"new":"bmV3","password":"{mask}"}}}}"#);
    for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        let (body, paths) = restored(write, &fields, &live());
        assert_eq!(
            body,
            r#"{"metadata":{"resourceVersion":"41"},"data":{"new":"bmV3","password":"aHVudGVyMg=="}}"#
        );
        assert_eq!(paths, ["data.password"]);
        for (before, after) in [
            ("{}", r#"{"resourceVersion":"41"}"#),
            (r#"{"name":"db"}"#, r#"{"resourceVersion":"41","name":"db"}"#),
            (r#"{"resourceVersion":null}"#, r#"{"resourceVersion":"41"}"#),
            (r#"{"resourceVersion":""}"#, r#"{"resourceVersion":"41"}"#),
            (r#"{"resourceVersion":"0"}"#, r#"{"resourceVersion":"41"}"#),
            (r#"{ "resourceVersion" : "41" }"#, r#"{ "resourceVersion" : "41" }"#),
        ] {
            let body = |metadata: &str, password: &str| {
                format!(r#"{{"data":{{"password":"{password}"}},"metadata":{metadata}}}"#)
            };
            assert_eq!(
                restored(write, &body(before, &mask), &live()).0,
                body(after, "aHVudGVyMg=="),
                "{write:?}"
            );
        }
    }
    let body = |value: &str, end: &str| {
        format!(r#"[{{"op":"replace","path":"/data/password","value":"{value}"}}{end}]"#)
    };
    assert_eq!(
        restored(Write::JsonPatch, &body(&mask, ""), &live()).0,
        body("aHVudGVyMg==", r#",{"op":"replace","path":"/metadata/resourceVersion","value":"41"}"#)
    );
}

#[test]
fn a_write_for_another_version_is_a_conflict() {
    // The mask is one of an older value: the conflict is what its author needs to hear.
    let mask = placeholder_base64(b"older");
    let body = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "resourceVersion": "40"},
        "data": {"password": mask},
    });
    for write in [Write::Update, Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        let error = try_restore(write, &body.to_string(), &live()).err();
        let stale = RestoreError::Stale { sent: "40".to_owned(), live: "41".to_owned() };
        assert_eq!(error, Some(stale), "{write:?}");
    }
}

#[test]
fn where_no_version_can_be_said_nothing_is_restored() {
    let mask = placeholder_base64(b"hunter2");
    for (metadata, path) in [
        ("null", "metadata"),
        ("[]", "metadata"),
        (r#"{"resourceVersion":41}"#, "metadata.resourceVersion"),
        (r#"{"$patch":"replace"}"#, "metadata[$patch]"),
        (r#"{"$retainKeys":["name"]}"#, "metadata[$retainKeys]"),
    ] {
        let body = format!(r#"{{"data":{{"password":"{mask}"}},"metadata":{metadata}}}"#);
        let expected = (path.to_owned(), Why::NoRoomForVersion);
        assert_eq!(refused(Write::StrategicPatch, &body, &live()), expected);
    }
    let body = format!(r#"{{"$patch":"replace","data":{{"password":"{mask}"}}}}"#);
    assert_eq!(refused(Write::StrategicPatch, &body, &live()).1, Why::NoRoomForVersion);
    let unversioned = live().replacen(r#""resourceVersion":"41""#, r#""uid":"41""#, 1);
    let body = format!(r#"{{"data":{{"password":"{mask}"}}}}"#);
    assert!(matches!(try_restore(Write::MergePatch, &body, &unversioned), Err(RestoreError::Live(_))));
}

#[test]
fn a_mask_elsewhere_is_refused_with_its_place() {
    let (mask, plain) = (placeholder_base64(b"hunter2"), placeholder(b"hunter2"));
    let other = placeholder_base64(b"of another object");
    let admin = placeholder_base64(b"admin");
    let longer = STANDARD.encode(format!("{plain}\n"));
    let shifted = STANDARD.encode(format!("x{plain}"));
    for (body, path, why) in [
        (json!({"data": {"new": mask}}), "data.new", Why::NothingThere),
        (json!({"data": {"username": mask}}), "data.username", Why::AnotherValue),
        (json!({"data": {"username": mask, "password": admin}}), "data.username", Why::AnotherValue),
        (json!({"data": {"password": other}}), "data.password", Why::AnotherValue),
        (json!({"Data": {"password": mask}}), "Data.password", Why::NothingThere),
        (json!({"data": {"Password": mask}}), "data.Password", Why::NothingThere),
        (json!({"data": {"password": plain}}), "data.password", Why::AnotherValue),
        (json!({"data": mask}), "data", Why::NotMasked),
        (json!({"metadata": {"labels": {"app": plain}}}), "metadata.labels.app", Why::NotMasked),
        (json!({"metadata": {"labels": {"new": plain}}}), "metadata.labels.new", Why::NothingThere),
        (json!({"metadata": {"annotations": {"note": mask}}}), "metadata.annotations.note", Why::NotMasked),
        (json!({"stringData": {"username": plain}}), "stringData.username", Why::AnotherValue),
        (json!({"stringData": {"new": plain}}), "stringData.new", Why::NothingThere),
        (json!({"stringData": {"password": mask}}), "stringData.password", Why::AnotherValue),
        (json!({"data": {"password": longer}}), "data.password", Why::WithinText),
        (json!({"data": {"password": shifted}}), "data.password", Why::WithinText),
        (json!({"data": {"password": format!("{mask}{mask}")}}), "data.password", Why::WithinText),
        (
            json!({"stringData": {"password": format!("password={plain}")}}),
            "stringData.password",
            Why::WithinText,
        ),
        (json!({"data": {"password": mask[..40]}}), "data.password", Why::Damaged),
        (
            json!({"stringData": {"password": plain.to_uppercase().replace("PORTCULLIS-MASKED", "portcullis-masked")}}),
            "stringData.password",
            Why::Damaged,
        ),
        (json!({"data": {mask.as_str(): "eA=="}}), &format!("data.{mask}"), Why::InKey),
        (json!({"data": {"password": {"x": mask}}}), "data.password.x", Why::NothingThere),
        (json!({"data": {"password": [mask]}}), "data.password[0]", Why::NothingThere),
        (json!({"$setElementOrder/data": [plain]}), "[$setElementOrder/data][0]", Why::NothingThere),
    ] {
        for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
            let expected = (path.to_owned(), why.clone());
            assert_eq!(refused(write, &body.to_string(), &live()), expected, "{write:?} {body}");
        }
        let mut whole: Value = serde_json::from_str(&masked(&live())).unwrap();
        let whole = whole.as_object_mut().unwrap();
        whole.extend(body.as_object().unwrap().clone());
        assert_eq!(refused(Write::Update, &json!(whole).to_string(), &live()).0, path, "{body}");
    }
}

#[test]
fn escapes_in_a_mask_change_nothing() {
    let mask = placeholder_base64(b"hunter2");
    let escaped: String = mask.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let body = format!(r#"{{"metadata":{{"resourceVersion":"41"}},"d\u0061ta":{{"password":"{escaped}"}}}}"#);
    assert_eq!(
        restored(Write::MergePatch, &body, &live()).0,
        r#"{"metadata":{"resourceVersion":"41"},"d\u0061ta":{"password":"aHVudGVyMg=="}}"#
    );
}

#[test]
fn a_key_twice_is_refused_once_a_mask_is_involved() {
    let mask = placeholder_base64(b"hunter2");
    for (body, path) in [
        (format!(r#"{{"data":{{"password":"{mask}","password":"{mask}"}}}}"#), "data.password"),
        (format!(r#"{{"data":{{"x":"","x":"","password":"{mask}"}}}}"#), "data.x"),
        (format!(r#"{{"data":{{"password":"{mask}"}},"d\u0061ta":{{}}}}"#), "data"),
        (
            format!(r#"{{"metadata":{{"labels":{{"a":1,"a":2}}}},"data":{{"password":"{mask}"}}}}"#),
            "metadata.labels.a",
        ),
    ] {
        assert_eq!(refused(Write::MergePatch, &body, &live()), (path.to_owned(), Why::Duplicate));
    }
    let copy = format!(r#"{{"data":{{"x":"","x":"","password":"{mask}"}}}}"#);
    let body = json!({"metadata": {"annotations": {LAST_APPLIED: copy}}}).to_string();
    let expected = (format!("metadata.annotations[{LAST_APPLIED}].data.x"), Why::Duplicate);
    assert_eq!(refused(Write::MergePatch, &body, &live()), expected);
    let patch = format!(r#"[{{"op":"add","path":"/data/password","value":"{mask}","value":"{mask}"}}]"#);
    assert_eq!(refused(Write::JsonPatch, &patch, &live()), ("[0].value".to_owned(), Why::Duplicate));
    assert!(try_restore(Write::MergePatch, r#"{"a":1,"a":2}"#, &live()).unwrap().is_none());
}

#[test]
fn string_data_is_data_by_another_name() {
    let body = format!(r#"{{"stringData":{{"password":"{}"}}}}"#, placeholder(b"hunter2"));
    let (body, paths) = restored(Write::StrategicPatch, &body, &live());
    assert_eq!(body, r#"{"metadata":{"resourceVersion":"41"},"stringData":{"password":"hunter2"}}"#);
    assert_eq!(paths, ["stringData.password"]);
    let binary = live().replacen("aHVudGVyMg==", "/////w==", 1);
    let body = format!(r#"{{"stringData":{{"password":"{}"}}}}"#, placeholder(&[255; 4]));
    assert_eq!(refused(Write::StrategicPatch, &body, &binary).1, Why::AnotherValue, "it is no text");
    let other = live().replacen("Secret", "Sesame", 1);
    let body = format!(r#"{{"stringData":{{"password":"{}"}}}}"#, placeholder(b"hunter2"));
    assert_eq!(refused(Write::StrategicPatch, &body, &other).1, Why::NothingThere, "only Secrets have it");
}

#[test]
fn an_embedded_copy_is_restored_inside() {
    let applied = json!({"data": {"password": "aHVudGVyMg=="}, "stringData": {"q": "a\"<\\\n"}}).to_string();
    let live = live_with(&json!({LAST_APPLIED: applied}));
    let mut object: Value = serde_json::from_str(&masked(&live)).unwrap();
    let annotation = &mut object["metadata"]["annotations"][LAST_APPLIED];
    // Untouched, it is restored as a whole; with a change, inside.
    for change in ["", " "] {
        *annotation = json!(format!("{change}{}", annotation.as_str().unwrap()));
        let (body, _) = restored(
            Write::MergePatch,
            &json!({"metadata": {"annotations": {LAST_APPLIED: annotation}}}).to_string(),
            &live,
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        let restored = body["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert_eq!(restored, format!("{change}{applied}"));
    }
}

#[test]
fn a_new_copy_is_restored_from_the_object_itself() {
    // What client-side apply of a file saved from `get -o yaml` sends.
    let older = json!({"data": {"password": "b2xkZXI="}}).to_string();
    for live in [live(), live_with(&json!({LAST_APPLIED: older}))] {
        let copy =
            json!({"data": {"new": "bmV3", "password": placeholder_base64(b"hunter2")}}).to_string() + "\n";
        let body =
            json!({"data": {"new": "bmV3"}, "metadata": {"annotations": {LAST_APPLIED: copy}}}).to_string();
        let (body, paths) = restored(Write::StrategicPatch, &body, &live);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body["metadata"]["annotations"][LAST_APPLIED],
            "{\"data\":{\"new\":\"bmV3\",\"password\":\"aHVudGVyMg==\"}}\n"
        );
        assert_eq!(paths, [format!("metadata.annotations[{LAST_APPLIED}].data.password")]);
    }
}

#[test]
fn nothing_is_restored_where_it_could_be_read() {
    let copy = json!({"data": {"password": placeholder_base64(b"hunter2")}}).to_string();
    let body = |key: &str| json!({"metadata": {"annotations": {key: copy}}}).to_string();
    let expected = ("metadata.annotations[example.com/copy].data.password".to_owned(), Why::WouldShow);
    for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        assert_eq!(refused(write, &body("example.com/copy"), &live()), expected);
    }
    let patch = json!([{"op": "add", "path": "/metadata/annotations/example.com~1copy", "value": copy}]);
    assert_eq!(refused(Write::JsonPatch, &patch.to_string(), &live()), expected);
    // Only the object's own annotations hold copies of it.
    let body = json!({"spec": {"copy": body(LAST_APPLIED)}}).to_string();
    assert_eq!(refused(Write::MergePatch, &body, &live()), ("spec.copy".to_owned(), Why::WithinText));
}

#[test]
fn a_json_patch_is_followed_by_its_pointers() {
    let mask = placeholder_base64(b"hunter2");
    let slash = placeholder_base64(b"slash");
    for (op, path, value, field) in [
        ("replace", "/data/a~1b", json!(slash), "data[a/b]"),
        ("add", "/data/password", json!(mask), "data.password"),
        ("add", "/data", json!({"password": mask, "new": "bmV3"}), "data.password"),
        ("add", "/stringData", json!({"password": placeholder(b"hunter2")}), "stringData.password"),
        ("add", "/stringData/password", json!(placeholder(b"hunter2")), "stringData.password"),
        (
            "add",
            &format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1")),
            json!(json!({"data": {"password": mask}}).to_string()),
            &format!("metadata.annotations[{LAST_APPLIED}].data.password"),
        ),
    ] {
        let patch = json!([{"op": op, "path": path, "value": value}]).to_string();
        assert_eq!(restored(Write::JsonPatch, &patch, &live()).1, [field], "{patch}");
    }
    for (op, path, value, why) in [
        ("replace", "/data/a~1b", json!(mask), Why::AnotherValue),
        ("replace", "/data/a/b", json!(slash), Why::NothingThere),
        ("add", "/metadata/labels/app", json!(mask), Why::NotMasked),
        ("add", "/data/-", json!(mask), Why::NothingThere),
        ("test", "/data/password", json!(mask), Why::NothingThere),
        ("copy", "/data/password", json!(mask), Why::NothingThere),
    ] {
        let patch = json!([{"op": op, "path": path, "value": value}]).to_string();
        assert_eq!(refused(Write::JsonPatch, &patch, &live()).1, why, "{patch}");
    }
    for patch in [
        json!([{"op": "add", "path": "data/password", "value": mask}]),
        json!([{"op": "add", "path": "/data/a~2", "value": mask}]),
        json!([{"op": "add", "value": mask}]),
        json!({"op": "add", "path": "/data/password", "value": mask}),
        json!([mask]),
    ] {
        assert!(
            matches!(refused(Write::JsonPatch, &patch.to_string(), &live()).1, Why::NotJson(_)),
            "{patch}"
        );
    }
    let patch = json!([{"op": "remove", "path": format!("/data/{mask}")}]).to_string();
    assert_eq!(refused(Write::JsonPatch, &patch, &live()), ("[0].path".to_owned(), Why::NoField));
}

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
fn an_object_of_another_kind_is_refused() {
    let body = |kind: &Value| json!({"apiVersion": "v1", "kind": kind, "data": {"password": placeholder_base64(b"hunter2")}});
    for kind in [json!("Config"), json!(1), json!(null), json!("")] {
        for write in [Write::Update, Write::Apply, Write::MergePatch] {
            let (path, why) = refused(write, &body(&kind).to_string(), &live());
            assert_eq!(path, "kind", "{why}");
        }
    }
    let mut nameless = body(&json!("Secret"));
    nameless.as_object_mut().unwrap().remove("apiVersion");
    assert_eq!(refused(Write::Update, &nameless.to_string(), &live()).0, "apiVersion");
}

#[test]
fn other_formats_are_refused() {
    let yaml = format!("data:\n  password: {}\n", placeholder_base64(b"hunter2"));
    for write in ALL {
        assert!(matches!(refused(write, &yaml, &live()).1, Why::NotJson(_)));
        for scalar in ["1", " 1", "null", "\"x\""] {
            assert!(!matches!(try_restore(write, scalar, &live()), Ok(Some(_))), "{scalar}");
        }
    }
}

#[test]
fn a_value_that_is_no_text_is_restored_as_what_it_is() {
    let live = live().replacen(r#""aHVudGVyMg==""#, r#"{"a": 1}"#, 1);
    let (body, _) = restored(Write::Update, &masked(&live), &live);
    assert_eq!(body, live);
}

fn policy(defaults: &Value) -> Profile {
    let policy = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "MaskPolicy", "defaults": defaults});
    Profile::new(&serde_json::from_value(policy).expect("a policy")).expect("a profile")
}

/// Packs a document as Helm does in a Secret.
fn packed(document: &Value) -> String {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(document.to_string().as_bytes()).expect("memory takes it");
    STANDARD.encode(STANDARD.encode(packer.finish().expect("memory takes it")))
}

fn unpacked(text: &str) -> Value {
    let packed = STANDARD.decode(text).and_then(|once| STANDARD.decode(once)).expect("base64, twice");
    serde_json::from_reader(GzDecoder::new(&packed[..])).expect("gzip of JSON")
}

#[test]
fn a_helm_release_is_restored_inside() {
    let release = json!({
        "name": "shop", "info": {"status": "deployed"}, "config": {"db": {"password": "hunter2"}},
        "manifest": "kind: Secret\n", "chart": {"values": {"password": "admin"}},
    });
    let with = |text: &str| {
        let mut object: Value = serde_json::from_str(&live()).unwrap();
        object["data"] = json!({"release": text});
        object.to_string()
    };
    let rules = policy(&json!({"helmReleases": "open"})).for_request("", "secrets", "").unwrap();
    let live = with(&packed(&release));
    let shown: Value = serde_json::from_str(&masked_by(&rules, &live)).unwrap();
    let mut shown = unpacked(shown["data"]["release"].as_str().unwrap());
    assert_ne!(shown["config"], release["config"]);
    // What `helm upgrade` does to the release before.
    shown["info"]["status"] = json!("superseded");
    let body = with(&packed(&shown));
    assert!(PlaceholderGuard::find(body.as_bytes()).is_none());
    assert!(packs_placeholder(body.as_bytes()));
    let body = restored_by(&rules, Write::Update, &body, &live).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let mut expected = release;
    expected["info"]["status"] = json!("superseded");
    assert_eq!(unpacked(body["data"]["release"].as_str().unwrap()), expected);
    shown["info"]["status"] = shown["config"]["db"]["password"].clone();
    let refused = restored_by(&rules, Write::Update, &with(&packed(&shown)), &live).unwrap_err();
    assert!(refused.starts_with("data.release.info.status: "), "{refused}");
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

#[test]
fn a_text_can_be_edited_around_its_masks() {
    let rules = Profile::default().for_request("", "configmaps", "").unwrap();
    let config = |text: &str, other: &str| {
        json!({"metadata": {"resourceVersion": "41"}, "data": {"app.conf": text, "other.conf": other}})
            .to_string()
    };
    let text = "url: https://one.example.test\npassword: hunter2-and-more\ncolor: blue\n";
    let live = config(text, "plain\n");
    let shown: Value = serde_json::from_str(&masked_by(&rules, &live)).unwrap();
    let shown = shown["data"]["app.conf"].as_str().unwrap();
    assert!(shown.contains("url: https://one") && !shown.contains("hunter2"), "{shown}");
    for write in [Write::Update, Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        let edit = |text: &str| text.replace("blue", "green").replace("one", "two") + "more: x\n";
        let body = config(&edit(shown), "plain\n");
        assert_eq!(restored_by(&rules, write, &body, &live), Ok(config(&edit(text), "plain\n")));
        // Neither where it would show nor in another text.
        let exposed = config(&shown.replace("password: ", "comment "), "plain\n");
        assert!(restored_by(&rules, write, &exposed, &live).is_err());
        let moved = restored_by(&rules, write, &config(text, shown), &live).unwrap_err();
        assert!(moved.starts_with("data[other.conf]: "), "{moved}");
    }
}

#[test]
fn other_masks_come_back_as_well() {
    for how in ["digest", "fixed", "partial", "length"] {
        let rules = policy(&json!({"how": how})).for_request("", "secrets", "").unwrap();
        let live = live().replacen("aHVudGVyMg==", &STANDARD.encode("a password that is long enough"), 1);
        let shown = masked_by(&rules, &live);
        assert_ne!(shown, live);
        assert_eq!(restored_by(&rules, Write::Update, &shown, &live), Ok(live.clone()), "{how}");
        let moved = shown.replacen("\"password\"", "\"moved\"", 1);
        assert!(
            restored_by(&rules, Write::Update, &moved, &live).unwrap_err().contains("data.moved"),
            "{how}"
        );
    }
}

#[test]
fn a_dropped_field_stays() {
    let rules = policy(&json!({"how": "drop"})).for_request("", "secrets", "").unwrap();
    assert!(rules.leave_no_trace());
    assert!(!RULES.leave_no_trace());
    let shown = masked_by(&rules, &live());
    assert!(!shown.contains("password"), "{shown}");
    let mut body: Value = serde_json::from_str(&shown).unwrap();
    body["data"] = json!({"new": "bmV3", "username": "cm9vdA=="});
    let mut expected: Value = serde_json::from_str(&live()).unwrap();
    expected["data"]["new"] = json!("bmV3");
    expected["data"]["username"] = json!("cm9vdA==");
    let restored = restored_by(&rules, Write::Update, &body.to_string(), &live()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&restored).unwrap(), expected);
    // Patches leave what they do not name.
    for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
        let body = json!({"data": {"new": "bmV3"}}).to_string();
        assert_eq!(restored_by(&rules, write, &body, &live()), Err("nothing to restore".to_owned()));
    }
    let patch = json!([{"op": "replace", "path": "/data", "value": {}}]).to_string();
    let restored = restored_by(&rules, Write::JsonPatch, &patch, &live()).unwrap();
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored[0]["value"], serde_json::from_str::<Value>(&live()).unwrap()["data"]);
}

#[test]
fn a_dropped_field_stays_in_lists() {
    let rules = policy(&json!({"how": "drop"})).for_request("", "pods", "").unwrap();
    let pod = |env: Value, managers: Value| {
        json!({"metadata": {"resourceVersion": "41", "managedFields": managers}, "spec": {"containers": [{"name": "c", "env": env}]}})
            .to_string()
    };
    let whole = json!([{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "MODE", "value": "x"}]);
    let applied = json!([{"operation": "Apply", "fieldsV1": {"f:value": {}}}]);
    let (live, owned) = (pod(whole.clone(), json!([])), pod(whole, applied));
    let body =
        |element: Value| json!({"spec": {"containers": [{"name": "c", "env": [element]}]}}).to_string();
    for write in [Write::Update, Write::MergePatch, Write::StrategicPatch] {
        let restored = restored_by(&rules, write, &body(json!({"name": "DB_PASSWORD"})), &live).unwrap();
        assert!(restored.contains(r#"{"name":"DB_PASSWORD","value":"hunter2"}"#), "{write:?}: {restored}");
        let new = restored_by(&rules, write, &body(json!({"name": "OTHER_PASSWORD"})), &live);
        assert_eq!(new, Err("nothing to restore".to_owned()), "{write:?}");
    }
    let left_out =
        restored_by(&rules, Write::StrategicPatch, &body(json!({"value": "x"})), &live).unwrap_err();
    assert!(left_out.starts_with("spec.containers[0].env[0]: "), "{left_out}");
    let apply =
        |live| restored_by(&rules, Write::Apply, &body(json!({"name": "DB_PASSWORD"})), live).unwrap_err();
    assert_eq!(apply(&live), "nothing to restore");
    assert!(apply(&owned).starts_with("spec.containers[0].env[0].value: "), "{}", apply(&owned));
}

#[test]
fn a_short_mask_comes_back() {
    let rules = policy(&json!({"how": "length"})).for_request("", "secrets", "").unwrap();
    assert!(rules.leave_no_trace());
    let shown = masked_by(&rules, &live());
    assert!(PlaceholderGuard::find(shown.as_bytes()).is_none(), "{shown}");
    assert_eq!(restored_by(&rules, Write::Update, &shown, &live()), Ok(live()));
}

#[test]
fn an_answer_that_quotes_a_restored_value_is_known() {
    let value = "p<w\"d=s3cr\nEt!";
    let live = live().replacen("aHVudGVyMg==", &STANDARD.encode(value), 1);
    let body = json!({"data": {"password": placeholder_base64(value.as_bytes())}}).to_string();
    let restored = try_restore(Write::MergePatch, &body, &live).unwrap().unwrap();
    let base64 = STANDARD.encode(value);
    let status = |message: &str| json!({"kind": "Status", "message": message, "code": 422}).to_string();
    for message in [
        format!("Invalid value: {base64:?}"),
        format!("Invalid value: {:?}", json!({"data": {"password": base64}}).to_string()),
        format!("cut ({{\"data\":{{\"password\":\"{} ...)", &base64[..4]),
        format!("ends with {}", &base64[base64.len() - 4..]),
        format!("decoded: {value:?}"),
        "only s3cr of it".to_owned(),
        base64.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ] {
        assert!(restored.values.are_quoted_in(status(&message).as_bytes()), "{message}");
        assert!(restored.values.are_quoted_in(message.as_bytes()), "{message}");
    }
    for message in ["data[x y]: Invalid value: \"x y\": a valid config key must consist of …", ""] {
        assert!(!restored.values.are_quoted_in(status(message).as_bytes()), "{message}");
    }
}

/// Texts as they are found in Secrets: with quotes, lines, characters that Go escapes, and bytes that are no text.
fn secret() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z0-9]{1,12}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn data() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop::collection::btree_map("[a-zA-Z0-9._-]{1,12}", secret(), 1..6)
        .prop_map(|data| data.into_iter().collect())
}

proptest! {
    #[test]
    fn what_was_shown_comes_back_as_it_was(data in data(), change in "[a-z]{1,8}", applied in any::<bool>()) {
        let encoded: Value = data.iter().map(|(key, value)| (key.clone(), json!(STANDARD.encode(value)))).collect();
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "resourceVersion": "7", "labels": {"l": "LABEL"}},
            "data": encoded,
        });
        if applied {
            object["metadata"]["annotations"] = json!({LAST_APPLIED: json!({"data": encoded}).to_string()});
        }
        let live = object.to_string();
        let changed = |text: &str| text.replacen("\"LABEL\"", &format!("\"{change}\""), 1);
        let shown = changed(&masked(&live));
        match try_restore(Write::Update, &shown, &live).unwrap() {
            Some(restored) => prop_assert_eq!(String::from_utf8(restored.body).unwrap(), changed(&live)),
            None => prop_assert!(data.iter().all(|(_, value)| value.is_empty())),
        }
    }

    #[test]
    fn a_mask_under_another_key_is_never_restored(data in data(), from in any::<prop::sample::Index>(), to in "[a-z]{1,12}") {
        let encoded: Value = data.iter().map(|(key, value)| (key.clone(), json!(STANDARD.encode(value)))).collect();
        let live = json!({"metadata": {"resourceVersion": "7"}, "data": encoded}).to_string();
        let (_, value) = from.get(&data);
        prop_assume!(!value.is_empty());
        prop_assume!(data.iter().all(|(key, other)| *key != to || other != value));
        let body = json!({"data": {to: placeholder_base64(value)}}).to_string();
        for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
            prop_assert!(try_restore(write, &body, &live).is_err());
        }
    }

    #[test]
    fn any_body_is_refused_or_keeps_no_mask(body in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"data\"", "\"password\"", "\"metadata\"", "MASK", "\"x\"", "1",
        "\"op\":\"add\"", "\"path\":\"/data/password\"", "\"value\":",
    ]), 0..16), wrap in any::<bool>()) {
        let mask = format!("\"{}\"", placeholder_base64(b"hunter2"));
        let body = body.concat().replace("MASK", &mask);
        let body = if wrap { format!("{{\"data\":{{\"password\":{mask}}},\"x\":{body}}}") } else { body };
        for write in ALL {
            if let Ok(Some(restored)) = try_restore(write, &body, &live()) {
                prop_assert!(portcullis_mask::PlaceholderGuard::find(&restored.body).is_none());
            }
        }
    }
}

#[test]
fn releases_of_any_length_are_opened() {
    let rules = policy(&json!({"helmReleases": "open"})).for_request("", "secrets", "").unwrap();
    for length in (0..60).chain([1_000, 5_000]) {
        // Digits that do not compress.
        let name: String = (0..length)
            .map(|i: u32| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 64))
            .collect();
        let release = packed(&json!({"name": name, "config": {"password": "hunter2"}}));
        let shown = masked_by(&rules, &json!({"data": {"release": release}}).to_string());
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(unpacked(shown["data"]["release"].as_str().unwrap())["name"], name, "{length}");
    }
}

/// The seeds of the fuzz target `restore`: kind of write, live object, line end, body.
#[test]
fn the_seeds_of_the_fuzz_target_are_restored_or_refused() {
    let rules = Profile::default().for_unknown();
    let key = MaskKey::from_bytes([7; 32]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/restore");
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seed = fs::read(&path).unwrap();
        let end = seed.iter().position(|byte| *byte == b'\n').unwrap();
        let (live, body) = (&seed[1..end], &seed[end + 1..]);
        let restored = restore(ALL[usize::from(seed[0]) % 5], body, live, &rules, &key);
        if path.ends_with("swapped") {
            assert!(matches!(restored, Err(RestoreError::Field { .. })));
        } else {
            let restored = restored.unwrap().unwrap();
            assert!(PlaceholderGuard::find(&restored.body).is_none(), "{}", path.display());
        }
        seeds += 1;
    }
    assert_eq!(seeds, 5);
}
