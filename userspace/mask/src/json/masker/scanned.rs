//! Strings that pass, but for what detectors find in them.
//!
//! Detectors look at a string as it is spelled, and know the escapes of JSON: what they leave stays byte for byte, and no
//! secret begins or ends inside an escape. Nearly every string has nothing that a detector would look at, which one
//! quick search tells.

use std::sync::Arc;

use super::{Held, Masking, Pass};
use crate::detect::Scanner;
use crate::rules::Documents;

impl Pass<'_> {
    /// Gives a scanned string, which ends at `at`.
    pub(super) fn release_scanned(&mut self, begun: bool, at: usize) {
        let quote = at - 1;
        let goes_on = self.masking.scanner.as_ref().is_some_and(|scanner| scanner.goes_beside());
        if begun || goes_on || self.masking.rules.detectors().may_find(&self.chunk[self.from..quote]) {
            self.settle(quote);
            self.masking.end_scanned(self.out);
        }
        self.masking.held = None;
        self.settle(at);
    }
}

impl Masking {
    /// A string to be scanned. What it is called is a part of what it says: `"password": "…"`.
    pub(super) fn scanned(&mut self) -> Held {
        let begun = self.key.known().is_some_and(|key| self.rules.detectors().may_find(key));
        if begun {
            let called = [b"\"", self.key.known().unwrap_or_default(), b"\":\""].concat();
            self.scanner().begin_after(&called);
        }
        Held::Scanned { begun }
    }

    /// Ends a scanned string. In data, of which nobody knows the fields, what stands beside it may belong to it.
    pub(super) fn end_scanned(&mut self, out: &mut Vec<u8>) {
        match self.rules.documents() {
            Documents::Objects => self.scanner().finish(out),
            Documents::Data => self.scanner().finish_beside(out),
        }
    }

    pub(super) fn scanner(&mut self) -> &mut Scanner {
        let Self { scanner, rules, placeholder, .. } = self;
        scanner
            .get_or_insert_with(|| Box::new(Scanner::new(Arc::clone(rules.detectors()), placeholder.clone())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::rules::{Mark, What};
    use crate::{Detectors, JsonMasker, MaskKey, Rules, TextMasker};
    use std::sync::Arc;

    const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

    fn rules() -> Arc<Rules> {
        let mark = Mark { path: "data.*".parse().unwrap(), what: What::Scan };
        Arc::new(Rules::new(vec![mark], None).unwrap())
    }

    fn mask(body: &str, size: usize) -> String {
        mask_by(rules(), body, size)
    }

    fn mask_by(rules: Arc<Rules>, body: &str, size: usize) -> String {
        let mut masker = JsonMasker::new(rules, &MaskKey::from_bytes([7; 32]));
        let mut out = Vec::new();
        for chunk in body.as_bytes().chunks(size) {
            masker.push(chunk, &mut out).unwrap();
        }
        masker.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn placeholder(value: &str) -> String {
        let mut out = Vec::new();
        let mut masker = TextMasker::new(Arc::new(Detectors::default()), &MaskKey::from_bytes([7; 32]));
        masker.push(format!("password={value}").as_bytes(), &mut out);
        masker.finish(&mut out);
        String::from_utf8(out).unwrap().split_off("password=".len())
    }

    #[test]
    fn what_is_not_a_secret_stays_as_it_is_spelled() {
        let body = format!(
            r#"{{"data":{{"a":"x\u0020\/{TOKEN}\n\u003cb>","b":["{TOKEN}",1,{{"c":"\"{TOKEN}\""}}],"n":null}},"kept":"{TOKEN}"}}"#
        );
        let wanted = body
            .replace(TOKEN, &placeholder(TOKEN))
            .replace(&format!(r#""kept":"{}""#, placeholder(TOKEN)), &format!(r#""kept":"{TOKEN}""#));
        for size in [usize::MAX, 1, 7] {
            assert_eq!(mask(&body, size), wanted);
        }
    }

    #[test]
    fn what_a_value_is_called_counts() {
        let body = json!({"data": {"db.password": "hunter2", "password": "", "mode": "hunter2", "api_key": "production"}});
        let wanted =
            body.to_string().replace(r#"rd":"hunter2"#, &format!(r#"rd":"{}"#, placeholder("hunter2")));
        for size in [usize::MAX, 1] {
            assert_eq!(mask(&body.to_string(), size), wanted);
        }
    }

    #[test]
    fn what_something_beside_it_is_called_does_not_count() {
        let kept = Mark { path: "data.list.password".parse().unwrap(), what: What::Keep };
        let scanned = Mark { path: "data.**.*".parse().unwrap(), what: What::Scan };
        let rules = Arc::new(Rules::new(vec![kept, scanned], None).unwrap());
        let body = r#"{"data":{"list":[{"password":{"kept":[1]}},"hunter2",{"x":{"password":""}},"hunter2"]},"kind":"long enough to be read at once"}"#;
        for size in [usize::MAX, 1] {
            assert_eq!(mask_by(Arc::clone(&rules), body, size), body, "in pieces of {size}");
        }
    }

    #[test]
    fn a_secret_ends_with_its_string() {
        for text in [
            "password='abc1 x",
            "password=abc1\\",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B",
            TOKEN,
        ] {
            let body = json!({"data": {"a": text, "b": "x"}}).to_string();
            let masked: Value = serde_json::from_str(&mask(&body, 3)).unwrap();
            assert_eq!(masked["data"]["b"], "x", "{masked}");
            assert!(masked["data"]["a"].as_str().unwrap().contains("portcullis-masked:"), "{masked}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(vec![
                TOKEN,
                "password=",
                "token: ",
                "\"",
                "'",
                "\\",
                "/",
                "\n",
                "<",
                "&",
                "://u:",
                "@h",
                "Bearer ",
                "npm_",
                "-----BEGIN PRIVATE KEY-----",
                "MIIEvQIBADANBgkqhkiG9w0B1",
                "-----END PRIVATE KEY-----",
                " ",
                "é",
                "n",
                "u0041",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
            "[a-zA-Z0-9]{0,12}",
        ];
        prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn it_stays_json(texts in prop::collection::vec(text(), 1..4), size in 1_usize..30) {
            let body = json!({"data": {"a": texts, "password": texts[0]}, "kept": texts}).to_string();
            let masked = mask(&body, size);
            prop_assert_eq!(&masked, &mask(&body, usize::MAX));
            let read: Value = serde_json::from_str(&masked).unwrap();
            prop_assert_eq!(&read["kept"], &json!(texts));
            for (before, after) in texts.iter().zip(read["data"]["a"].as_array().unwrap()) {
                let after = after.as_str().unwrap();
                prop_assert!(before == after || after.contains("portcullis-masked:"));
            }
        }
    }
}
