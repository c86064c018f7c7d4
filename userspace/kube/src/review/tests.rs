use proptest::prelude::*;

use super::*;
use crate::classify;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What kubectl 1.33 sent for `kubectl auth can-i get secrets`, `… can-i --list` and `… whoami`.
const CAN_I: &[u8] = b"k8s\x00\n2\n\x17authorization.k8s.io/v1\x12\x17SelfSubjectAccessReview\x12<\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x1e\n\x1c\n\x04demo\x12\x03get\x1a\x00\"\x00*\x07secrets2\x00:\x00\x1a\x08\x08\x00\x12\x00\x1a\x00 \x00\x1a\x00\"\x00";
const LIST: &[u8] = b"k8s\x00\n1\n\x17authorization.k8s.io/v1\x12\x16SelfSubjectRulesReview\x12 \n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x04demo\x1a\x04\x18\x00\"\x00\x1a\x00\"\x00";
const WHOAMI: &[u8] = b"k8s\x00\n-\n\x18authentication.k8s.io/v1\x12\x11SelfSubjectReview\x12\x1a\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x04\n\x00\x12\x00\x1a\x00\"\x00";

fn secrets() -> AccessSpec {
    let asked = ResourceAttributes {
        namespace: "demo".into(),
        verb: "get".into(),
        resource: "secrets".into(),
        ..Default::default()
    };
    AccessSpec { resource_attributes: Some(asked), non_resource_attributes: None }
}

#[test]
fn questions_are_read_as_kubectl_sends_them() {
    let curl = br#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"namespace":"demo","verb":"get","resource":"secrets"}}}"#;
    assert_eq!(read_access_review(PROTOBUF, CAN_I), Ok(secrets()));
    assert_eq!(read_access_review(JSON, curl), Ok(secrets()));
    assert_eq!(read_access_review("", curl), Ok(secrets()));
    assert_eq!(read_access_review(JSON, &access_question(&secrets())), Ok(secrets()), "our own too");
    let path = br#"{"spec":{"nonResourceAttributes":{"path":"/metrics","verb":"get"}}}"#;
    let asked = read_access_review("application/json; charset=utf-8", path).unwrap();
    assert_eq!(asked.non_resource_attributes.unwrap().path, "/metrics");

    let list = br#"{"kind":"SelfSubjectRulesReview","apiVersion":"authorization.k8s.io/v1","metadata":{"creationTimestamp":null},"spec":{"namespace":"demo"},"status":{"resourceRules":null,"nonResourceRules":null,"incomplete":false}}"#;
    assert_eq!(read_rules_review(PROTOBUF, LIST).as_deref(), Ok("demo"));
    assert_eq!(read_rules_review(JSON, list).as_deref(), Ok("demo"));
    let whoami = br#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1beta1","metadata":{"creationTimestamp":null},"status":{"userInfo":{}}}"#;
    assert_eq!(read_subject_review(PROTOBUF, WHOAMI), Ok(()));
    assert_eq!(read_subject_review(JSON, whoami), Ok(()));
}

#[test]
fn what_cannot_be_read_one_way_is_refused() {
    for (content_type, body, error) in [
        ("application/yaml", &b"kind: X"[..], ReviewError::ContentType("application/yaml".into())),
        (PROTOBUF, &CAN_I[1..], ReviewError::Protobuf),
        (PROTOBUF, &CAN_I[..CAN_I.len() - 1], ReviewError::Protobuf),
        (PROTOBUF, b"k8s\0\x0b", ReviewError::Protobuf),
        (PROTOBUF, b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", ReviewError::Protobuf),
        (PROTOBUF, b"k8s\0\x12\x06\x12\x04\x0a\x02\x0a\x00\x12\x00", ReviewError::Protobuf),
        (PROTOBUF, b"k8s\0\x12\x06\x12\x04\x0a\x00\x0a\x00", ReviewError::Protobuf),
        (
            PROTOBUF,
            LIST,
            ReviewError::Kind { found: "SelfSubjectRulesReview".into(), expected: "SelfSubjectAccessReview" },
        ),
        (PROTOBUF, b"k8s\0", ReviewError::Attributes),
        (JSON, b"{}", ReviewError::Attributes),
        (JSON, br#"{"spec":{"resourceAttributes":{},"nonResourceAttributes":{}}}"#, ReviewError::Attributes),
    ] {
        assert_eq!(read_access_review(content_type, body), Err(error), "{}", String::from_utf8_lossy(body));
    }
    for body in [
        &b"{"[..],
        b"[]",
        br#"{"spec":[]}"#,
        br#"{"kind":3}"#,
        br#"{"spec":{"resourceAttributes":["demo","get"]}}"#,
        br#"{"spec":{"resourceAttributes":{"verb":3}}}"#,
    ] {
        assert!(
            matches!(read_access_review(JSON, body), Err(ReviewError::Json(_))),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    assert_eq!(read_rules_review(JSON, b"{}"), Err(ReviewError::NoNamespace));
    assert!(matches!(read_rules_review(JSON, br#"{"spec":{"namespace":1}}"#), Err(ReviewError::Json(_))));
}

#[test]
fn only_a_plain_create_is_a_question_about_oneself() {
    let of = |method: &str, target: &str| SelfReview::of(&classify(method, target).unwrap());
    let access = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(of("POST", access), Some(SelfReview::Access));
    assert_eq!(of("POST", &format!("{access}/?dryRun=All")), Some(SelfReview::Access));
    assert_eq!(of("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"), Some(SelfReview::Rules));
    assert_eq!(
        of("POST", "/apis/authentication.k8s.io/v1beta1/selfsubjectreviews"),
        Some(SelfReview::Subject)
    );
    for (method, target) in [
        ("GET", access),
        ("PUT", access),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x"),
        ("POST", "/apis/authorization.k8s.io/v1/namespaces/demo/selfsubjectaccessreviews"),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("POST", "/apis/authorization.k8s.io/v1/namespaces/demo/localsubjectaccessreviews"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("POST", "/apis/example.com/v1/selfsubjectreviews"),
        ("POST", "/apis/authorization.k8s.io"),
    ] {
        assert_eq!(of(method, target), None, "{method} {target}");
    }
}

#[test]
fn answers_are_those_of_the_api_server() {
    let info = |resource: &str| classify("POST", &format!("/apis/{resource}")).unwrap();
    let text = |answer: Vec<u8>| String::from_utf8(answer).unwrap();
    let user = UserInfo {
        username: "bob".into(),
        uid: "uid-bob".into(),
        groups: ["ops", "oncall", "system:authenticated"].map(String::from).into(),
        extra: BTreeMap::new(),
    };
    let status = json!({"userInfo": user});
    let whoami = info("authentication.k8s.io/v1/selfsubjectreviews");
    assert_eq!(
        text(review_answer(SelfReview::Subject, &whoami, Some("2026-11-22T22:29:50Z"), None, &status)),
        "{\"kind\":\"SelfSubjectReview\",\"apiVersion\":\"authentication.k8s.io/v1\",\"metadata\":{\"creationTimestamp\":\"2026-11-22T22:29:50Z\"},\"status\":{\"userInfo\":{\"username\":\"bob\",\"uid\":\"uid-bob\",\"groups\":[\"ops\",\"oncall\",\"system:authenticated\"]}}}\n"
    );
    let one = |text: &str| vec![text.to_owned()];
    let rules = RulesStatus {
        resource_rules: vec![ResourceRule {
            verbs: one("create"),
            api_groups: one(""),
            resources: one("pods"),
            resource_names: vec![],
        }],
        non_resource_rules: vec![NonResourceRule { verbs: one("get"), non_resource_urls: one("/api") }],
        ..Default::default()
    };
    let list = info("authorization.k8s.io/v1/selfsubjectrulesreviews");
    assert_eq!(
        text(review_answer(SelfReview::Rules, &list, None, None, &rules)),
        "{\"kind\":\"SelfSubjectRulesReview\",\"apiVersion\":\"authorization.k8s.io/v1\",\"metadata\":{},\"spec\":{},\"status\":{\"resourceRules\":[{\"verbs\":[\"create\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}],\"nonResourceRules\":[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/api\"]}],\"incomplete\":false}}\n"
    );
    let can_i = info("authorization.k8s.io/v1/selfsubjectaccessreviews");
    let no = AccessStatus { denied: true, reason: "why".into(), ..Default::default() };
    let answer = review_answer(SelfReview::Access, &can_i, None, Some(&secrets()), &no);
    assert_eq!(read_access_answer(&answer), Ok(no));
    assert_eq!(
        text(answer),
        "{\"kind\":\"SelfSubjectAccessReview\",\"apiVersion\":\"authorization.k8s.io/v1\",\"metadata\":{},\"spec\":{\"resourceAttributes\":{\"namespace\":\"demo\",\"verb\":\"get\",\"resource\":\"secrets\"}},\"status\":{\"allowed\":false,\"denied\":true,\"reason\":\"why\"}}\n"
    );
    assert!(read_access_answer(br#"{"kind":"Status","status":"Failure"}"#).is_err());
}

proptest! {
    #[test]
    fn anything_is_read_without_panicking(mut body in prop::collection::vec(any::<u8>(), 0..80), damaged in any::<prop::sample::Index>()) {
        let _ = read_access_review(PROTOBUF, &[b"k8s\0".as_slice(), &body].concat());
        let mut known = CAN_I.to_vec();
        known[damaged.index(CAN_I.len())] = body.pop().unwrap_or_default();
        let _ = read_access_review(PROTOBUF, &known);
        let _ = read_rules_review(JSON, &body);
    }
}
