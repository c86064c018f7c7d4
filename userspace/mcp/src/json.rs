//! JSON that can be read in one way only (RFC 8259, sections 4 and 6): no key twice, no number that readers round
//! differently, no nesting that exhausts one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::fault::quoted;

/// Deepest nesting of arrays and objects in a message; what serde_json itself takes is a little more.
pub(crate) const MAX_DEPTH: usize = 100;
/// From here on, not every integer is a double: 2^53.
const INTEGERS_END: f64 = 9_007_199_254_740_992.0;
/// The envelope, and the result or parameters in it.
const PROTOCOL_DEPTH: usize = 2;

/// Whose message it is, and so what is ambiguous in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Nothing in it may mean one thing here and another where it is acted upon. Some servers match keys without
    /// regard to case, so that two keys which differ in nothing else are one key twice.
    Client,
    /// Data of all kinds passes, and only the protocol's own keys have to be clear.
    Server,
}

/// Reads through all of `text`, which has to be one value and nothing behind it.
///
/// # Errors
/// What is wrong, and at which line and column.
pub(crate) fn check(text: &[u8], from: From) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Strict { depth: 0, from }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Reads an object. Derived readers would also take an array, element by element.
///
/// # Errors
/// Where it is none, or its members are not those of `T`.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    match text.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(text),
        _ => Err(serde_json::Error::custom("it is no object")),
    }
}

/// The JSON of `value` with the keys of all objects sorted and no white space: equal values have equal bytes.
pub(crate) fn canonical(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

/// `key` as it compares where case does not count, in any script: also the letters that have two lower cases, or an
/// upper case that is another letter's.
pub(crate) fn folded<'k>(key: impl Into<Cow<'k, str>>) -> Cow<'k, str> {
    let key = key.into();
    // What most keys are is what they fold to.
    match key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        true => key,
        false => key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect(),
    }
}

/// A key, where it stands unless it is spelled with escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Checks one value, `depth` levels down.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
    from: From,
}

impl Strict {
    fn down<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    /// Whether keys of an object at this depth are compared without regard to case.
    fn folds(self) -> bool {
        self.from == From::Client || self.depth < PROTOCOL_DEPTH
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if self.from == From::Client && number.abs() >= INTEGERS_END {
            return Err(E::custom("a number that does not fit 64 bits, which readers round differently"));
        }
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inner = self.down()?;
        while elements.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.down()?;
        let mut seen = HashSet::new();
        while let Some(Key(key)) = members.next_key()? {
            let same = if self.folds() { folded(key.clone()) } else { key.clone() };
            if !seen.insert(same) {
                return Err(A::Error::custom(format_args!("the key {} is there twice", quoted(&key))));
            }
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str, from: From) -> String {
        check(text.as_bytes(), from).map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, "the key \"a\" is there twice at line 1 column 10"),
            (r#"[{"x":{"b":1,"c":2,"b":3}}]"#, "the key \"b\" is there twice"),
            (r#"{"a":1,"\u0061":1}"#, "the key \"a\" is there twice"),
            (r#"{"name":1,"Name":1}"#, "the key \"Name\" is there twice"),
            (r#"{"x":{"y":{"paſs":1,"PASS":2}}}"#, "the key \"PASS\" is there twice"),
            ("{\"uri\":1}\0", "trailing characters"),
            (r#"{} {}"#, "trailing characters"),
            ("\u{feff}{}", "expected value"),
            (r#"{"a":"\ud800"}"#, "hex escape"),
            (r#"{"a":1,}"#, "trailing comma"),
            (r#"{"a":NaN}"#, "expected value"),
            ("12345678901234567890123", "does not fit 64 bits"),
            ("-1e300", "does not fit 64 bits"),
            ("1e400", "out of range"),
        ] {
            let said = refusal(text, From::Client);
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(check(b"{\"a\":\"\xff\"}", From::Client).is_err());
        for text in ["18446744073709551615", "-9223372036854775808", "1.5e10", r#"[{"a":1},{"a":1}]"#] {
            assert_eq!(refusal(text, From::Client), "accepted", "{text}");
        }
    }

    #[test]
    fn data_of_a_server_may_have_what_the_protocol_may_not() {
        assert_eq!(
            refusal(r#"{"result":{"structuredContent":{"a":1,"A":1e300}}}"#, From::Server),
            "accepted"
        );
        for text in [
            r#"{"result":1,"Result":2}"#,
            r#"{"result":{"tools":[],"Tools":[]}}"#,
            r#"{"result":{"structuredContent":{"a":{"b":1,"b":2}}}}"#,
        ] {
            assert!(refusal(text, From::Server).contains("is there twice"), "{text}");
        }
    }

    #[test]
    fn depth_is_limited() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(refusal(&nested(MAX_DEPTH), From::Server), "accepted");
            assert!(refusal(&nested(MAX_DEPTH + 1), From::Client).contains("nested more than 100 levels"));
            assert!(refusal(&nested(1_000_000), From::Client).contains("nested more than 100 levels"));
            assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH)).is_ok(), "what passes can be read");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e15..1e15_f64).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\é]{0,4}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_taken(value in value()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(refusal(&text, From::Client), "accepted");
            }
        }

        #[test]
        fn what_is_taken_is_what_serde_json_takes(text in "[\\[\\]{}\":,a1\\\\ .e-]{0,24}") {
            prop_assert!(check(text.as_bytes(), From::Client).is_err()
                || serde_json::from_str::<Value>(&text).is_ok());
        }

        #[test]
        fn canonical_json_does_not_depend_on_the_order_of_keys(value in value()) {
            fn reversed(value: &Value) -> Value {
                match value {
                    Value::Object(members) => {
                        members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect()
                    }
                    Value::Array(elements) => elements.iter().map(reversed).collect(),
                    other => other.clone(),
                }
            }
            let text = canonical(value.clone());
            prop_assert_eq!(&canonical(reversed(&value)), &text);
            prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        }
    }
}
