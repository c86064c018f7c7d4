//! What is masked in a Secret and what is not, case by case.

mod support;

use support::{mask, masked, placeholder, placeholder_base64};

const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[test]
fn data_becomes_base64_and_string_data_plain() {
    let (plain, base64) = (placeholder(b"hunter2"), placeholder_base64(b"hunter2"));
    assert_eq!(
        masked(r#"{"data":{"pw":"aHVudGVyMg=="},"stringData":{"pw":"hunter2"},"type":"Opaque"}"#),
        format!(r#"{{"data":{{"pw":"{base64}"}},"stringData":{{"pw":"{plain}"}},"type":"Opaque"}}"#)
    );
}

#[test]
fn values_are_compared_by_what_they_say() {
    let plain = placeholder("h\"ü\u{1f600}\u{fffd}\u{fffd}x".as_bytes());
    for spelling in [r#"h\"ü😀\ud800\udc00x"#, r#"\u0068\u0022\u00fc\uD83D\uDE00\udc00\ud800\u0078"#] {
        let expected = if spelling.starts_with('h') {
            // A pair stands for one character, halves for U+FFFD each.
            placeholder("h\"ü\u{1f600}\u{10000}x".as_bytes())
        } else {
            plain.clone()
        };
        assert_eq!(
            masked(&format!(r#"{{"stringData":{{"a":"{spelling}"}}}}"#)),
            format!(r#"{{"stringData":{{"a":"{expected}"}}}}"#)
        );
    }
    assert_eq!(
        masked(r#"{"data":{"a":"\u0061HVudGVyMg\u003d=","b":"aHVu\ndGVyMg=="}}"#),
        format!(r#"{{"data":{{"a":"{0}","b":"{0}"}}}}"#, placeholder_base64(b"hunter2"))
    );
}

#[test]
fn null_and_empty_stay_everything_else_is_withheld() {
    assert_eq!(
        masked(
            r#"{"data":{"a":null,"b":"","c":12,"d":true,"e":{"f":["x"]},"g":["x", 1]},"stringData":null}"#
        ),
        format!(
            r#"{{"data":{{"a":null,"b":"","c":"{}","d":"{}","e":"{}","g":"{}"}},"stringData":null}}"#,
            placeholder_base64(b"12"),
            placeholder_base64(b"true"),
            placeholder_base64(br#"{"f":["x"]}"#),
            placeholder_base64(br#"["x", 1]"#),
        )
    );
    let hunter = placeholder_base64(b"hunter2");
    assert_eq!(
        masked(r#"{"data":"aHVudGVyMg=="} {"data":["aHVudGVyMg==",{"x":"aHVudGVyMg=="},null]} {"data":{}}"#),
        format!(r#"{{"data":"{hunter}"}} {{"data":["{hunter}",{{"x":"{hunter}"}},null]}} {{"data":{{}}}}"#)
    );
}

#[test]
fn keys_are_known_in_every_spelling_and_as_often_as_they_come() {
    let hunter = placeholder_base64(b"hunter2");
    for key in ["data", r"d\u0061ta", r"\u0064\u0061\u0074\u0061", "Data", "DATA"] {
        for sizes in [&[usize::MAX][..], &[1]] {
            let body = format!(r#"{{"data":{{}},"{key}":{{"a":"aHVudGVyMg==","a":"aHVudGVyMg=="}}}}"#);
            let (out, outcome) = mask(body.as_bytes(), sizes);
            outcome.unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!(r#"{{"data":{{}},"{key}":{{"a":"{hunter}","a":"{hunter}"}}}}"#)
            );
        }
    }
}

#[test]
fn objects_are_found_wherever_the_api_puts_them() {
    let (value, hunter) = ("aHVudGVyMg==", placeholder_base64(b"hunter2"));
    for shape in [
        r#"{"data":{"a":"X"},"kind":"Status"}"#,
        r#"{"kind":"SecretList","items":[{"data":{"a":"X"}},{"data":{"a":"X"}}]}"#,
        r#"{"kind":"List","items":[{"kind":"List","items":[{"data":{"a":"X"}}]}]}"#,
        r#"{"kind":"Table","rows":[{"cells":["data",1],"object":{"data":{"a":"X"}}}]}"#,
        r#"{"type":"ADDED","object":{"kind":"Table","rows":[{"object":{"data":{"a":"X"}}}]}}"#,
        r#"{"some":{"thing":[[{"data":{"a":"X"}}]]}}"#,
        r#"[{"data":{"a":"X"}}]"#,
    ] {
        assert_eq!(masked(&shape.replace('X', value)), shape.replace('X', &hunter));
    }
}

#[test]
fn metadata_passes_but_for_copies() {
    for body in [
        r#"{"metadata":{"labels":{"data":"x"},"annotations":{"data":"x","stringData":"{\"data\":{\"a\":\"b\"}}"}}}"#,
        r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:data":{"data":{"x":"y"}}}}],"data":{"x":"y"}}}"#,
        r#"{"kind":"Status","message":"data","details":{"causes":[{"field":"data[x]"}]},"code":404}"#,
    ] {
        assert_eq!(masked(body), body);
    }
}

#[test]
fn copies_in_annotations_are_masked() {
    let annotated = |key: &str, text: &str| {
        let text = serde_json::to_string(text).unwrap();
        format!(r#"{{"metadata":{{"annotations":{{"{key}":{text}}}}}}}"#)
    };
    let list = r#"{"kind":"List","items":[{"stringData":{"a":"hunter2","b":""},"data":{"c":"aHVudGVyMg=="}}],"x":"é\n"} "#;
    let masked_list = list
        .replace("hunter2", &placeholder(b"hunter2"))
        .replace("aHVudGVyMg==", &placeholder_base64(b"hunter2"));
    for key in [APPLIED, "kapp.k14s.io/original", "kopf.zalando.org/last-handled-configuration"] {
        assert_eq!(masked(&annotated(key, list)), annotated(key, &masked_list));
        // A copy in a copy.
        let (nested, masked_nested) = (annotated(APPLIED, list), annotated(APPLIED, &masked_list));
        assert_eq!(masked(&annotated(key, &nested)), annotated(key, &masked_nested));
        assert_eq!(masked(&annotated(key, "")), annotated(key, ""));
        for opaque in ["{", "hunter2", "\"hunter2\"", "[\"hunter2\"]", "{}{}", "{} x", "nul", " "] {
            let expected = annotated(key, &placeholder(opaque.as_bytes()));
            assert_eq!(masked(&annotated(key, opaque)), expected, "{opaque}");
        }
    }
    for key in ["objectset.rio.cattle.io/applied", "banzaicloud.com/last-applied"] {
        assert_eq!(masked(&annotated(key, "H4sIAAAA")), annotated(key, &placeholder(b"H4sIAAAA")));
    }
    assert_eq!(
        masked(&format!(r#"{{"metadata":{{"annotations":{{"{APPLIED}":{{"data":{{"a":"b"}}}}}}}}}}"#)),
        annotated(APPLIED, &placeholder(br#"{"data":{"a":"b"}}"#)),
    );
}

#[test]
fn copies_too_long_or_too_deep_are_masked_whole() {
    let annotated = |text: &str| {
        let text = serde_json::to_string(text).unwrap();
        format!(r#"{{"metadata":{{"annotations":{{"{APPLIED}":{text}}}}}}}"#)
    };
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(256 * 1024 - 8));
    assert_eq!(masked(&annotated(&long)), annotated(&long), "256 KiB are read");
    let longer = long.replacen('y', "yy", 1);
    assert_eq!(masked(&annotated(&longer)), annotated(&placeholder(longer.as_bytes())));

    let deep = (0..4).fold(r#"{"data":{"a":"aHVudGVyMg=="}}"#.to_owned(), |inner, _| annotated(&inner));
    let expected = (0..3)
        .fold(annotated(&placeholder(br#"{"data":{"a":"aHVudGVyMg=="}}"#)), |inner, _| annotated(&inner));
    assert_eq!(masked(&deep), expected);
}

#[test]
fn the_spelling_of_a_copy_is_that_of_the_api_server() {
    let body = format!(
        r#"{{"metadata":{{"annotations":{{"{APPLIED}":"{{\"a\":\"\u003cb\u003e \u0026 \u2028é\\n\\\"\"}}\n"}}}}}}"#
    );
    assert_eq!(masked(&body), body);
}

#[test]
fn a_masked_value_in_progress_is_never_given() {
    let head = br#"{"data":{"a":"#;
    for body in [&br#"{"data":{"a":"aHVudGVyMg"#[..], br#"{"data":{"a":12"#, br#"{"data":{"a":{"x":"hunter2"#]
    {
        for sizes in [&[usize::MAX][..], &[1], &[3]] {
            let (out, outcome) = mask(body, sizes);
            assert!(outcome.is_err());
            assert_eq!(out, head);
        }
    }
}
