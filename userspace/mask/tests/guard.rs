//! The write-back guard: placeholders are found in whatever form they come back, and nothing else is.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{FoundPlaceholder, PlaceholderGuard};
use proptest::prelude::*;

use support::{masked, placeholder, placeholder_base64};

fn path(body: &str) -> Option<String> {
    PlaceholderGuard::find(body.as_bytes()).unwrap_or_else(|| panic!("not found in {body}")).path
}

#[test]
fn json_bodies_name_the_field() {
    let (plain, base64) = (placeholder(b"x"), placeholder_base64(b"x"));
    for (body, expected) in [
        (format!(r#"{{"data":{{"other":"eA==","password":"{base64}"}}}}"#), "data.password"),
        (
            format!(r#"{{"a":[[1],{{"b":{{}}}}],"stringData":{{"tls.crt":"{plain}"}}}}"#),
            "stringData[tls.crt]",
        ),
        (
            format!(r#"{{"items":[{{"data":{{}}}},{{"data":{{"a":1,"pw":"{base64}"}}}}]}}"#),
            "items[1].data.pw",
        ),
        (format!(r#"[{{"op":"replace","path":"/data/pw","value":"{base64}"}}]"#), "[0].value"),
        (format!(r#"{{"a":{{"b":{{"c":"{plain}"}}}},"d":"{plain}"}}"#), "a.b.c"),
        (
            format!(
                r#"{{"metadata":{{"annotations":{{"k/last":"{{\"data\":{{\"pw\":\"{base64}\"}}}}\n"}}}}}}"#
            ),
            "metadata.annotations[k/last]",
        ),
    ] {
        assert_eq!(path(&body).as_deref(), Some(expected), "{body}");
    }
}

#[test]
fn what_the_masker_gave_is_found_in_what_comes_back() {
    for body in [
        r#"{"data":{"pw":"aHVudGVyMg=="}}"#,
        r#"{"stringData":{"pw":"hunter2"}}"#,
        r#"{"data":{"pw":{}}}"#,
        r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"a\":\"eA==\"}}"}}}"#,
    ] {
        assert_eq!(PlaceholderGuard::find(body.as_bytes()), None, "{body}");
        assert!(PlaceholderGuard::find(masked(body).as_bytes()).is_some(), "{body}");
    }
}

#[test]
fn other_formats_and_spellings_are_searched_too() {
    let (plain, base64) = (placeholder(b"x"), placeholder_base64(b"x"));
    let escaped = |text: &str, form: fn(char) -> String| text.chars().map(form).collect::<String>();
    for body in [
        format!("data:\n  pw: {base64}\n"),
        format!("data:\n  pw: |\n    {}\n    {}\n", &base64[..7], &base64[7..]),
        format!("data:\n  pw: >-\n    {}\r\n    {}\r\n", &base64[..20], &base64[20..]),
        format!("stringData:\n  pw: '{plain}'\n"),
        format!("stringData: {{pw: \"{}\"}}", escaped(&plain, |c| format!("\\x{:02x}", u32::from(c)))),
        format!("stringData: {{pw: \"{}\"}}", escaped(&plain, |c| format!("\\U{:08X}", u32::from(c)))),
        format!(
            "{{\"stringData\":{{\"pw\":\"{}\"}}}}",
            escaped(&plain, |c| format!("\\u{:04x}", u32::from(c)))
        ),
        format!("{{\"data\":{{\"pw\":\"{}\\n{}\"}}}}", &base64[..10], &base64[10..]),
        format!("k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x2a{plain}\x1a"),
        format!("\\{plain}"),
        "a damaged one: portcullis-masked:8453d3".to_owned(),
        "portcullis-masked:".to_owned(),
    ] {
        assert!(PlaceholderGuard::find(body.as_bytes()).is_some(), "{body}");
    }
}

#[test]
fn what_only_looks_like_one_passes() {
    for body in [
        "",
        "{}",
        r#"{"data":{"portcullis":"masked","a":"cG9ydGN1bGxpcy1tYXNr"}}"#,
        "portcullis-masked 8453d30196626cc7316ae4fe",
        "Portcullis-Masked:8453d30196626cc7316ae4fe",
    ] {
        assert_eq!(PlaceholderGuard::find(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn the_place_is_told() {
    let found = PlaceholderGuard::find(format!("{{\"a\":\"{}\"}}", placeholder(b"x")).as_bytes()).unwrap();
    assert_eq!(found, FoundPlaceholder { offset: 23, path: Some("a".to_owned()) });
    assert_eq!(found.to_string(), "a, byte 23");
    let found = PlaceholderGuard::find(format!("{{\"{}\":1}}", placeholder(b"x")).as_bytes()).unwrap();
    assert_eq!(found.to_string(), "byte 19", "in a key of the document itself");
    let found = PlaceholderGuard::find(placeholder(b"x").as_bytes()).unwrap();
    assert_eq!(found.to_string(), "byte 17");
}

proptest! {
    #[test]
    fn found_in_any_text_in_base64_and_any_chunks(
        before in prop::collection::vec(any::<u8>(), 0..10),
        after in prop::collection::vec(any::<u8>(), 0..10),
        size in 1_usize..40,
    ) {
        let text = [&before[..], placeholder(b"x").as_bytes(), &after].concat();
        let body = format!(r#"{{"metadata":{{}},"data":{{"a":"{}"}}}}"#, STANDARD.encode(text));
        let mut guard = PlaceholderGuard::new();
        let found = body.as_bytes().chunks(size).find_map(|chunk| guard.push(chunk));
        prop_assert_eq!(found.unwrap().path.unwrap(), "data.a");
    }

    #[test]
    fn arbitrary_bytes_are_no_trouble(body in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
        let mut guard = PlaceholderGuard::new();
        prop_assert_eq!(body.chunks(size).find_map(|chunk| guard.push(chunk)), None);
        for chunk in placeholder(b"x").as_bytes().chunks(size) {
            if guard.push(chunk).is_some() {
                return Ok(());
            }
        }
        prop_assert!(false, "not found after {:?}", body);
    }
}
