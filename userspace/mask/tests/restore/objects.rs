//! Fields of objects in each kind of write, and what the version has to say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{RestoreError, Why, Write};
use serde_json::{Value, json};

use crate::support::{placeholder, placeholder_base64};
use crate::{ALL, LAST_APPLIED, live, live_with, masked, refused, restored, try_restore};

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
