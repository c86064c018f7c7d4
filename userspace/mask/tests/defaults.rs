//! What is masked without a policy, beyond Secrets.

mod support;

use support::{masked_by, placeholder, placeholder_base64, rules};

/// Masks `X` in a document, and nothing else of it.
fn masks(resource: &str, document: &str) {
    let expected = document.replace('X', &placeholder(b"hunter2"));
    assert_eq!(masked_by(&rules(resource), &document.replace('X', "hunter2")), expected, "{resource}");
}

/// Passes a document as it is.
fn passes(resource: &str, document: &str) {
    assert_eq!(masked_by(&rules(resource), document), document, "{resource}");
}

const TEMPLATE: &str = r#"{"metadata":{"annotations":{"example.test/api-key":"X","note":"plain"}},"spec":{"initContainers":[{"name":"a","env":[{"name":"DB_PASSWORD","value":"X"}]}],"containers":[{"name":"b","image":"b","env":[{"name":"MODE","value":"production"},{"name":"Api_Token","value":"X"},{"name":"PASSWORD_FILE","value":"/run/pw"},{"name":"SECRET","valueFrom":{"secretKeyRef":{"name":"db","key":"dsn"}}}]},{"name":"c","env":null}],"ephemeralContainers":[{"env":[{"name":"TOKEN","value":"X"}]}]}}"#;

#[test]
fn environment_and_annotations_of_pods_wherever_their_template_stands() {
    let of = |shape: &str| shape.replace("TEMPLATE", TEMPLATE);
    masks("pods", TEMPLATE);
    masks("pods", &of(r#"{"kind":"PodList","apiVersion":"v1","items":[TEMPLATE,TEMPLATE]}"#));
    masks("pods", &of(r#"{"kind":"Table","rows":[{"cells":["a"],"object":TEMPLATE}]}"#));
    masks("pods", &of(r#"{"type":"ADDED","object":TEMPLATE} {"type":"MODIFIED","object":TEMPLATE}"#));
    masks("podtemplates", &of(r#"{"template":TEMPLATE}"#));
    for workload in [
        "deployments.apps",
        "replicasets.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "jobs.batch",
        "replicationcontrollers",
    ] {
        masks(
            workload,
            &of(r#"{"kind":"Y","metadata":{"annotations":{"auth-token":"X"}},"spec":{"template":TEMPLATE}}"#),
        );
    }
    masks("cronjobs.batch", &of(r#"{"spec":{"jobTemplate":{"spec":{"template":TEMPLATE}}}}"#));
    masks("controllerrevisions.apps", &of(r#"{"data":{"spec":{"template":TEMPLATE}},"revision":1}"#));
    masks(
        "rollouts.argoproj.io",
        &of(r#"{"kind":"Rollout","spec":{"template":TEMPLATE},"status":{"message":"a \"b\": \"c\""}}"#),
    );
}

#[test]
fn a_value_before_its_name_is_masked() {
    let env = |item: &str| format!(r#"{{"spec":{{"containers":[{{"env":[{item}]}}]}}}}"#);
    masks("pods", &env(r#"{"value":"X","name":"MODE"}"#));
    masks("pods", &env(r#"{"value":"X"}"#));
    masks("pods", &env(r#"{"name":"MODE","name":"PASSWORD","value":"X"}"#));
    masks("pods", &env(r#"{"name":"PASSWORD","name":"MODE","value":"X"}"#));
    masks("pods", &env(r#"{"name":null,"value":"X"}"#));
    masks("pods", &env(r#"{"name":["MODE"],"value":"X"}"#));
    masks("pods", &env(&format!(r#"{{"name":"{}","value":"X"}}"#, "a".repeat(1000))));
    masks(
        "pods",
        &env(r#"{"n\u0061me":"P\u0041SSWORD","valu\u0065":"X"},{"name":"MODE","value":"a"},{"value":"X"}"#),
    );
    passes(
        "pods",
        &env(
            r#"{"name":"MODE","value":"a","x":"b"},{"name":"PASSWORD","value":""},{"name":"PASSWORD","value":null}"#,
        ),
    );
}

#[test]
fn copies_are_masked_as_the_object_is() {
    let copy = r#"{"spec":{"containers":[{"env":[{"name":"TOKEN","value":"X"}]}]}}"#;
    let text = serde_json::to_string(&format!("{copy}\n")).unwrap();
    masks(
        "pods",
        &format!(
            r#"{{"metadata":{{"annotations":{{"kubectl.kubernetes.io/last-applied-configuration":{text}}}}}}}"#
        ),
    );
    let text = serde_json::to_string(r#"{"data":{"db-password":"X","color":"blue"}}"#).unwrap();
    masks("configmaps", &format!(r#"{{"metadata":{{"annotations":{{"kapp.k14s.io/original":{text}}}}}}}"#));
}

#[test]
fn config_maps_by_the_names_of_their_keys() {
    masks(
        "configmaps",
        r#"{"kind":"ConfigMap","data":{"db-password":"X","color":"blue","server.key":"X","TOKEN":"X","ca.crt":"c","release":"X"},"metadata":{"name":"a"}}"#,
    );
    let hunter = placeholder_base64(b"hunter2");
    assert_eq!(
        masked_by(
            &rules("configmaps"),
            r#"{"binaryData":{"trust.jks":"aHVudGVyMg==","logo.png":"aHVudGVyMg=="}}"#
        ),
        format!(r#"{{"binaryData":{{"trust.jks":"{hunter}","logo.png":"aHVudGVyMg=="}}}}"#)
    );
    passes(
        "widgets.example.test",
        r#"{"kind":"Widget","data":{"db-password":"hunter2"},"status":{"token":"x"}}"#,
    );
}

#[test]
fn tokens_and_certificates_that_requests_get() {
    masks(
        "serviceaccounts/token",
        r#"{"kind":"TokenRequest","spec":{"audiences":["a"]},"status":{"token":"X","expirationTimestamp":"2026"}}"#,
    );
    masks(
        "tokenreviews.authentication.k8s.io",
        r#"{"kind":"TokenReview","spec":{"token":"X"},"status":{"authenticated":true}}"#,
    );
    let hunter = placeholder_base64(b"hunter2");
    let request = r##"{"kind":"CertificateSigningRequest","spec":{"request":"#","usages":["client auth"]},"status":{"certificate":"#"}}"##;
    assert_eq!(
        masked_by(
            &rules("certificatesigningrequests.certificates.k8s.io/approval"),
            &request.replace('#', "aHVudGVyMg==")
        ),
        request.replace('#', &hunter)
    );
    passes(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        r#"{"webhooks":[{"clientConfig":{"caBundle":"LS0tLS1CRUdJTg=="}}]}"#,
    );
}

#[test]
fn errors_lose_what_they_quote_and_other_messages_nothing() {
    let status = |message: &str| {
        format!(
            r#"{{"kind":"Status","message":{message},"details":{{"causes":[{{"message":{message},"field":"a"}}]}},"code":422}}"#
        )
    };
    let quoting = r#""x: Invalid value: \"hunter2\": no""#;
    let masked = quoting.replace("hunter2", &placeholder(b"hunter2"));
    for resource in ["secrets", "pods", "widgets.example.test", ""] {
        assert_eq!(masked_by(&rules(resource), &status(quoting)), status(&masked), "{resource}");
        assert_eq!(
            masked_by(&rules(resource), &format!(r#"{{"type":"ERROR","object":{}}}"#, status(quoting))),
            format!(r#"{{"type":"ERROR","object":{}}}"#, status(&masked))
        );
    }
    passes("pods", &status(r#""pods \"x\" not found""#));
    passes("widgets.example.test", r#"{"kind":"Widget","message":"a: b \"cd\""}"#);
    passes("events", r#"{"kind":"EventList","items":[{"message":"Failed: image \"cd\""}]}"#);
    // Its kind comes too late to say that it is none.
    assert_eq!(
        masked_by(&rules("pods"), &format!(r#"{{"message":{quoting},"kind":"Status"}}"#)),
        format!(r#"{{"message":{masked},"kind":"Status"}}"#)
    );
}

#[test]
fn annotations_of_any_kind_by_their_names() {
    for resource in ["nodes", "namespaces", "secrets", "widgets.example.test", "events", ""] {
        masks(
            resource,
            r#"{"kind":"Y","metadata":{"name":"password","labels":{"token":"a"},"annotations":{"example.test/Api-Key":"X","vault/token":"X","cert-manager.io/secret-name":"tls","note":"a"},"managedFields":[{"fieldsV1":{"f:metadata":{"f:annotations":{"f:token":{}}}}}]}}"#,
        );
    }
    let long = format!("{}password", "a".repeat(600));
    masks("nodes", &format!(r#"{{"metadata":{{"annotations":{{"{long}":"X"}}}}}}"#));
}

#[test]
fn text_of_pods_and_events_is_scanned() {
    let scanned = |resource: &str, document: &str| {
        let masked = document.replace("hunter2hunter2", &placeholder(b"hunter2hunter2"));
        assert_ne!(document, masked);
        assert_eq!(masked_by(&rules(resource), document), masked, "{resource}");
    };
    let container = r#""containers":[{"command":["sh","-c","export DB_PASSWORD=hunter2hunter2"],"livenessProbe":{"exec":{"command":["login","--password=hunter2hunter2"]}},"readinessProbe":{"httpGet":{"httpHeaders":[{"name":"X","value":"password=hunter2hunter2"}]}},"lifecycle":{"preStop":{"exec":{"command":["password=hunter2hunter2"]}}}}]"#;
    for resource in ["pods", "deployments.apps", "widgets.example.test"] {
        scanned(resource, &format!(r#"{{"spec":{{"template":{{"spec":{{{container}}}}}}}}}"#));
    }
    scanned(
        "pods",
        r#"{"status":{"message":"password=hunter2hunter2","containerStatuses":[{"lastState":{"terminated":{"message":"at start: password=hunter2hunter2"}}}]}}"#,
    );
    for resource in ["events", "events.events.k8s.io"] {
        scanned(
            resource,
            r#"{"items":[{"message":"probe: password=hunter2hunter2","note":"password=hunter2hunter2"}]}"#,
        );
        scanned(resource, r#"{"kind":"Table","rows":[{"cells":["5m","probe: password=hunter2hunter2",1]}]}"#);
    }
}
