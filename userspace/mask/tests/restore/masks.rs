//! Other masks than a digest in place of a value: packed documents, parts of texts, dropped fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{PlaceholderGuard, Profile, Write, packs_placeholder};
use serde_json::{Value, json};

use crate::support::placeholder_base64;
use crate::{RULES, live, masked_by, packed, policy, restored_by, try_restore, unpacked};

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
