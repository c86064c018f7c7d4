//! What a policy file says is masked, kept and told.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use portcullis_mask::{MaskPolicy, Profile, Rules};
use serde_json::{Value, json};

use support::{mask_by, masked_by, placeholder, placeholder_base64, profile, rules, rules_of, shows};

#[test]
fn fields_of_any_resource_are_masked_by_path() {
    let profile = profile(
        r#"
rules:
- groups: [example.test]
  resources: [widgets]
  mask: ["spec.connection", "spec.users[*].pin", "**.apiKey", "spec.headers[name=*auth*].value", "spec[odd.name]"]
"#,
    );
    let rules = rules_of(&profile, "widgets.example.test");
    let [x, number] = [placeholder(b"hunter2"), placeholder(b"1234")];
    let document = r#"{"kind":"Widget","spec":{"connection":{"url":"X","opts":["X",{"a":"X","b":null,"c":""}]},"users":[{"name":"a","pin":NUMBER},{"pin":"X"}],"deep":[{"er":{"apikey":"X"}}],"headers":[{"name":"Authorization","value":"X"},{"name":"accept","value":"text"}],"odd.name":"X","odd":{"name":"a"}},"status":{"apiKey":"X"}}"#;
    assert_eq!(
        masked_by(&rules, &document.replace('X', "hunter2").replace("NUMBER", "1234")),
        document.replace('X', &x).replace("NUMBER", &format!("\"{number}\""))
    );
    let other = rules_of(&profile, "widgets.other.test");
    let untouched = r#"{"kind":"Widget","spec":{"connection":"hunter2"}}"#;
    assert_eq!(masked_by(&other, untouched), untouched);
}

#[test]
fn each_kind_of_mask_keeps_what_it_says() {
    for (how, expected) in [
        ("digest", placeholder(b"hunter2hunter2")),
        ("fixed", "portcullis-masked:hidden".to_owned()),
        ("partial", "portcullis-masked:ter2".to_owned()),
        ("length", "**************".to_owned()),
    ] {
        let profile = profile(&format!(
            "rules:\n- resources: [secrets]\n  mask: [\"data.*\", \"stringData.*\"]\n  how: {how}\n- resources: [pods]\n  mask: [spec.a]\n  how: {how}\n"
        ));
        let body = r#"{"data":{"a":"DATA","b":"","c":null},"stringData":{"a":"TEXT"}}"#;
        assert_eq!(
            masked_by(
                &rules_of(&profile, "secrets"),
                &body.replace("DATA", &STANDARD.encode("hunter2hunter2")).replace("TEXT", "hunter2hunter2")
            ),
            body.replace("DATA", &STANDARD.encode(&expected)).replace("TEXT", &expected),
        );
        assert_eq!(
            masked_by(&rules_of(&profile, "pods"), r#"{"spec":{"a":"hunter2hunter2"}}"#),
            format!(r#"{{"spec":{{"a":"{expected}"}}}}"#)
        );
    }
}

#[test]
fn dropped_fields_go_with_their_commas() {
    let profile = profile(
        "rules:\n- resources: [things]\n  mask: [spec.drop, \"spec.all.*\", \"spec.some.d*\", \"spec.list[*].x\", \"spec.env[name=S].value\"]\n  how: drop\n",
    );
    let rules = rules_of(&profile, "things");
    for (body, expected) in [
        (r#"{"drop":1}"#, "{}"),
        (r#"{"drop":"a","b":1}"#, r#"{"b":1}"#),
        (r#"{"a":1,"drop":{"x":[1,{}]}}"#, r#"{"a":1}"#),
        (r#"{"a":1,"drop":null,"b":[2],"drop":[],"drop":"","c":{}}"#, r#"{"a":1,"b":[2],"c":{}}"#),
        (r#"{ "a" : 1 , "drop" : 2 , "b" : 3 }"#, r#"{ "a" : 1 , "b" : 3 }"#),
        (r#"{ "drop" : 2 , "b" : 3 }"#, r#"{  "b" : 3 }"#),
        (r#"{"d\u0072op":1,"dropp":2}"#, r#"{"dropp":2}"#),
        (r#"{"all":{"a":1,"b":{"c":2}},"b":1}"#, r#"{"all":{},"b":1}"#),
        (r#"{"some":{"a":1,"da":2,"b":3,"db":4},"b":1}"#, r#"{"some":{"a":1,"b":3},"b":1}"#),
        (
            r#"{"list":[{"x":1},{"y":1,"x":2},{"x":1,"y":[1, 2]}, 3, [], null]}"#,
            r#"{"list":[{},{"y":1},{"y":[1, 2]}, 3, [], null]}"#,
        ),
        (
            r#"{"env":[{"name":"S","value":"a"},{"name":"T","value":"a"},{"value":"a","name":"T"}]}"#,
            r#"{"env":[{"name":"S"},{"name":"T","value":"a"},{"name":"T"}]}"#,
        ),
    ] {
        let of = |spec: &str| format!(r#"{{"spec":{spec}}} {{"spec":{spec}}}"#);
        assert_eq!(masked_by(&rules, &of(body)), of(expected), "{body}");
    }
    // What is between fields may be long, and so may names be.
    let (space, name) = (" ".repeat(40_000), "n".repeat(40_000));
    let long = format!(r#"{{"spec":{{"a":1,{space}"{name}":{space}2,"drop":3}}}}"#);
    let given = mask_by(&rules, long.as_bytes(), &[usize::MAX]).0;
    assert!(
        given == mask_by(&rules, long.as_bytes(), &[1]).0
            && given == mask_by(&rules, long.as_bytes(), &[777]).0
    );
    let parsed: Value = serde_json::from_slice(&given).unwrap();
    assert_eq!(parsed["spec"].as_object().unwrap().len(), 2);
    let given = masked_by(&rules, &format!(r#"{{"spec":{{"some":{{"{name}":"hunter2","a":1}}}}}}"#));
    assert_eq!(
        given, r#"{"spec":{"some":{"a":1}}}"#,
        "a name too long to be known counts as one that is dropped"
    );
}

#[test]
fn defaults_can_be_changed_and_left_out() {
    let document = r#"{"metadata":{"annotations":{"dsn":"hunter2","token":"hunter2","token-count":"hunter2"}},"spec":{"containers":[{"env":[{"name":"TOKEN","value":"hunter2"}]}]}}"#;
    let masked = |policy: &str| {
        let masked = masked_by(&rules_of(&profile(policy), "pods"), document);
        let value: Value = serde_json::from_str(&masked).unwrap();
        let annotations = value["metadata"]["annotations"].as_object().unwrap();
        let shown = |value: &Value| value == "hunter2";
        let mut names: Vec<&str> =
            annotations.iter().filter(|(_, value)| !shown(value)).map(|(name, _)| name.as_str()).collect();
        if !shown(&value["spec"]["containers"][0]["env"][0]["value"]) {
            names.push("env");
        }
        names.join(" ")
    };
    assert_eq!(masked(""), "token token-count env");
    assert_eq!(masked("defaults: {addNames: [dsn]}"), "dsn token token-count env");
    assert_eq!(masked("defaults: {exceptNames: [\"*-count\"]}"), "token env");
    assert_eq!(masked("defaults: {names: [\"d*\"]}"), "dsn");
    assert_eq!(masked("defaults: {leaveOut: [annotations]}"), "env");
    assert_eq!(masked("defaults: {leaveOut: [environment]}"), "token token-count");
    assert_eq!(masked("defaults: {leaveOut: [annotations, environment, errors]}"), "");
    assert_eq!(
        masked("rules: [{groups: [\"*\"], resources: [\"*\"], keep: [\"metadata.annotations.token\"]}]"),
        "token-count env"
    );
    let fixed =
        masked_by(&rules_of(&profile("defaults: {how: fixed}"), "secrets"), r#"{"stringData":{"a":"b"}}"#);
    assert_eq!(fixed, r#"{"stringData":{"a":"portcullis-masked:hidden"}}"#);
}

#[test]
fn the_first_rule_that_reaches_a_field_decides() {
    let profile = profile(
        "rules:\n- resources: [secrets]\n  keep: [data.username, \"stringData.user*\"]\n- resources: [secrets]\n  mask: [\"data.user*\"]\n  how: fixed\n",
    );
    let body =
        r#"{"data":{"username":"YQ==","userid":"YQ==","pw":"YQ=="},"stringData":{"user":"a","pw":"a"}}"#;
    let expected = format!(
        r#"{{"data":{{"username":"YQ==","userid":"{}","pw":"{}"}},"stringData":{{"user":"a","pw":"{}"}}}}"#,
        STANDARD.encode("portcullis-masked:hidden"),
        placeholder_base64(b"a"),
        placeholder(b"a"),
    );
    assert_eq!(masked_by(&rules_of(&profile, "secrets"), body), expected);
}

#[test]
fn the_stronger_of_a_field_and_of_all_that_is_in_it_decides_a_scalar() {
    let spec = |rules: &str| {
        let profile = profile(&format!("rules: [{rules}]\n"));
        masked_by(&rules_of(&profile, "things"), r#"{"spec":"hunter2"}"#)
    };
    let (all, whole) = (r#"mask: ["spec.*"], how: fixed"#, "keep: [spec]");
    let rule = |what: &str| format!("{{resources: [things], {what}}}");
    let hidden = r#"{"spec":"portcullis-masked:hidden"}"#;
    assert_eq!(spec(&format!("{}, {}", rule(all), rule(whole))), hidden);
    assert_eq!(spec(&format!("{}, {}", rule(whole), rule(all))), r#"{"spec":"hunter2"}"#);
    let (all, whole) = (r#"keep: ["spec.*"]"#, "mask: [spec], how: fixed");
    assert_eq!(spec(&format!("{}, {}", rule(all), rule(whole))), hidden, "no field of it is there to pass");
}

#[test]
fn a_role_opens_paths_and_nothing_else() {
    let open = |resource: &str, path: &str| rules(resource).without(&[path.parse().unwrap()]).unwrap();
    let secret = r#"{"data":{"username":"YQ==","pw":"YQ=="},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"username\":\"YQ==\",\"pw\":\"YQ==\"}}"}}}"#;
    let masked = masked_by(&open("secrets", "data.username"), secret);
    assert_eq!(
        masked,
        secret
            .replace(r#"pw":"YQ=="#, &format!(r#"pw":"{}"#, placeholder_base64(b"a")))
            .replace(r#"pw\":\"YQ=="#, &format!(r#"pw\":\"{}"#, placeholder_base64(b"a")))
    );
    let listed = format!(r#"{{"items":[{secret}]}}"#);
    assert_eq!(masked_by(&open("secrets", "data.username"), &listed), format!(r#"{{"items":[{masked}]}}"#));
    let env = r#"{"spec":{"containers":[{"env":[{"name":"A_TOKEN","value":"a"},{"name":"B_TOKEN","value":"b"},{"value":"a","name":"A_TOKEN"}]}]}}"#;
    let opened = masked_by(&open("pods", "spec.containers[*].env[name=A_TOKEN].value"), env);
    let value: Value = serde_json::from_str(&opened).unwrap();
    let env = &value["spec"]["containers"][0]["env"];
    assert_eq!(env[0]["value"], "a");
    assert_eq!(
        (env[1]["value"].clone(), env[2]["value"].clone()),
        (placeholder(b"b").into(), placeholder(b"a").into())
    );
}

#[test]
fn what_is_wrong_in_a_policy_is_named() {
    let read = |policy: &str| serde_saphyr::from_str::<MaskPolicy>(policy);
    let head = "apiVersion: portcullis.dev/v1alpha1\nkind: MaskPolicy\n";
    for (policy, expected) in [
        ("kind: MaskPolicy\n".to_owned(), "apiVersion"),
        (format!("{head}rulez: []\n"), "unknown field `rulez`"),
        (format!("{head}defaults: {{leaveOut: [pods]}}\n"), "unknown variant `pods`"),
        (format!("{head}rules:\n- resources: [secrets]\n  mask: [data..a]\n"), "a name is missing"),
        (format!("{head}rules:\n- resources: [Secrets]\n  mask: [a]\n"), "is no resource"),
        (
            format!("{head}rules:\n- resources: [secrets]\n  mask: [a]\n  how: blur\n"),
            "unknown variant `blur`",
        ),
        (format!("{head}rules:\n- mask: [a]\n"), "resources"),
    ] {
        let error = read(&policy).unwrap_err().to_string();
        assert!(error.contains(expected), "{policy}: {error}");
    }
    for (rules, expected) in [
        ("rules: [{resources: [secrets]}]", "rules[0]: neither mask nor keep"),
        ("rules: [{resources: [pods], mask: [\"spec[a=b].c\", \"spec[d=e].f\"]}]", "[a=…] and [d=…]"),
    ] {
        let error = Profile::new(&read(&format!("{head}{rules}")).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{rules}: {error}");
    }
    let many: Vec<String> = (0..40).map(|at| format!("\"**.*{at}x*{at}.*y{at}*.z\"")).collect();
    let policy = read(&format!("{head}rules: [{{resources: [pods], mask: [{}]}}]", many.join(", "))).unwrap();
    let error = Profile::new(&policy).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("too many patterns"), "{error}");
}

/// A release as Helm keeps it in a Secret, seen as JSON.
fn release(json: &str) -> String {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(json.as_bytes()).unwrap();
    STANDARD.encode(STANDARD.encode(packer.finish().unwrap()))
}

fn unpacked(release: &str) -> String {
    let packed = STANDARD.decode(STANDARD.decode(release).unwrap()).unwrap();
    let mut json = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut json).unwrap();
    json
}

#[test]
fn helm_releases_are_masked_whole_or_opened() {
    let json = r#"{"name":"shop","info":{"status":"deployed","notes":"X"},"chart":{"metadata":{"name":"shop"},"values":{"db":{"password":"X","ports":["X"]}}},"config":{"password":"X"},"manifest":"X","hooks":[{"name":"h","manifest":"X"}],"version":3,"namespace":"demo"}"#;
    let secret = |release: &str| {
        format!(
            r#"{{"kind":"Secret","data":{{"other":"eA==","release":"{release}"}},"type":"helm.sh/release.v1"}}"#
        )
    };
    let body = secret(&release(&json.replace('X', "hunter2")));

    let whole: Value = serde_json::from_str(&masked_by(&rules("secrets"), &body)).unwrap();
    assert!(whole["data"]["release"].as_str().unwrap().starts_with("cG9ydGN1bGxpcy1tYXNrZWQ6"));

    let rules = rules_of(&profile("defaults: {helmReleases: open}"), "secrets");
    let opened: Value = serde_json::from_str(&masked_by(&rules, &body)).unwrap();
    assert_eq!(opened["data"]["other"], placeholder_base64(b"x"));
    assert_eq!(
        unpacked(opened["data"]["release"].as_str().unwrap()),
        json.replace('X', &placeholder(b"hunter2"))
    );

    // As a ConfigMap keeps it.
    let config_maps = rules_of(&profile("defaults: {helmReleases: open}"), "configmaps");
    let packed = String::from_utf8(STANDARD.decode(release(&json.replace('X', "hunter2"))).unwrap()).unwrap();
    let masked = masked_by(&config_maps, &json!({"data": {"release": packed}}).to_string());
    let value: Value = serde_json::from_str(&masked).unwrap();
    assert_eq!(
        unpacked(&STANDARD.encode(value["data"]["release"].as_str().unwrap())),
        json.replace('X', &placeholder(b"hunter2"))
    );

    // How a release would have been replaced does not count for what comes after it.
    let fixed = rules_of(&profile("defaults: {how: fixed, helmReleases: open}"), "secrets");
    let copy =
        r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"no JSON"}}}"#;
    let masked = masked_by(&fixed, &format!(r#"{{"items":[{body},{copy}]}}"#));
    assert!(
        masked.ends_with(&format!("{}]}}", copy.replace("no JSON", &placeholder(b"no JSON")))),
        "{masked}"
    );

    // What only looks like a release is masked whole.
    for odd in [
        "aHVudGVyMg==".to_owned(),
        release("not JSON"),
        release("{}").replace('=', ""),
        STANDARD.encode("H4sIAAAA"),
        STANDARD.encode("hunter2".repeat(300_000)),
    ] {
        let whole = |rules: &Arc<Rules>| mask_by(rules, secret(&odd).as_bytes(), &[usize::MAX]).0;
        let masked = whole(&rules);
        assert!(masked == whole(&support::rules("secrets")), "{}", &odd[..odd.len().min(40)]);
        assert!(!shows(&masked, b"hunter2"));
    }
}

/// The fuzz target's corpus, by some policies: sliced it is the same as whole.
#[test]
fn the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/mask_json");
    let policies = [
        "",
        "defaults: {how: partial, helmReleases: open}",
        "rules: [{groups: ['*'], resources: ['*'], mask: [data.a, '**.d*', 'spec[kind=a].b', '**.list[name=*a*].value'], how: drop}]",
    ];
    let mut seeds = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let seed = std::fs::read(file.unwrap().path()).unwrap();
        for rules in policies.map(|policy| profile(policy).for_unknown()) {
            let (whole, outcome) = mask_by(&rules, &seed[1..], &[usize::MAX]);
            outcome.unwrap();
            assert_eq!(mask_by(&rules, &seed[1..], &[usize::from(seed[0] & 0x3f).max(1)]).0, whole);
        }
        seeds += 1;
    }
    assert!(seeds > 3);
}
