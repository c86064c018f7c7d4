//! The masker against a model that masks parsed values: arbitrary documents, spellings, duplicate keys and chunks.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value};

use support::{mask, placeholder, placeholder_base64, shows};

const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A document as it is written: keys may repeat, text may be JSON or base64.
#[derive(Debug, Clone)]
enum Doc {
    Null,
    Word(&'static str),
    Text(String),
    Base64(String),
    Json(Box<Doc>),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
}

fn doc() -> impl Strategy<Value = Doc> {
    let leaf = prop_oneof![
        Just(Doc::Null),
        prop::sample::select(vec!["0", "-1.5e3", "123456789", "true", "false"]).prop_map(Doc::Word),
        "[a-zA-Zäß€😀\"\\\\/<\n\u{1}\u{2028}]{0,12}".prop_map(Doc::Text),
        "[a-zä\u{0}]{0,40}".prop_map(Doc::Base64),
    ];
    let key = prop_oneof![
        6 => prop::sample::select(vec!["data", "stringData", "metadata", "annotations", APPLIED, "items", "object", "rows", "DATA"])
            .prop_map(str::to_owned),
        1 => "[a-zé\"\n]{0,5}",
    ];
    leaf.prop_recursive(7, 60, 6, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((key.clone(), inner.clone()), 0..6).prop_map(Doc::Object),
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Doc::Array),
            1 => inner.prop_map(|doc| Doc::Json(Box::new(doc))),
        ]
    })
}

/// A small generator of arbitrary choices, so that one seed spells a whole document.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.roll(3) {
            out.push_str(["", " ", "\n", "\t\r", "                    "][self.roll(5) as usize]);
        }
    }
}

impl Doc {
    /// Makes every text one of its kind, and long enough to be looked for.
    fn number(&mut self, next: &mut u32) {
        match self {
            Self::Null | Self::Word(_) => {}
            Self::Text(text) | Self::Base64(text) => {
                if !text.is_empty() {
                    *next += 1;
                    text.push_str(&format!("-secret-{next:04}-"));
                }
            }
            Self::Json(doc) => doc.number(next),
            Self::Array(docs) => docs.iter_mut().for_each(|doc| doc.number(next)),
            Self::Object(fields) => fields.iter_mut().for_each(|(_, doc)| doc.number(next)),
        }
    }

    fn write(&self, dice: &mut Dice, out: &mut String) {
        dice.space(out);
        match self {
            Self::Null => out.push_str("null"),
            Self::Word(word) => out.push_str(word),
            Self::Text(text) => write_string(text, dice, out),
            Self::Base64(text) => write_string(&STANDARD.encode(text), dice, out),
            Self::Json(doc) => {
                let mut text = String::new();
                doc.write(dice, &mut text);
                write_string(&text, dice, out);
            }
            Self::Array(docs) => {
                out.push('[');
                for (at, doc) in docs.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    doc.write(dice, out);
                }
                dice.space(out);
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (at, (key, doc)) in fields.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    dice.space(out);
                    write_string(key, dice, out);
                    dice.space(out);
                    out.push(':');
                    doc.write(dice, out);
                }
                dice.space(out);
                out.push('}');
            }
        }
        dice.space(out);
    }

    /// The texts that must not show in the output.
    fn planted(&self, masked: bool, place: Place, out: &mut Vec<String>) {
        match self {
            Self::Null | Self::Word(_) => {}
            Self::Text(text) | Self::Base64(text) if masked => out.push(text.clone()),
            Self::Text(_) | Self::Base64(_) => {}
            // JSON in a string counts where it is read as JSON; where it is masked, it is masked whole.
            Self::Json(doc) if masked => doc.planted(true, Place::Kept, out),
            Self::Json(doc) if place == Place::Applied => {
                let is_object = matches!(**doc, Self::Object(_));
                doc.planted(!is_object, Place::Object, out);
            }
            Self::Json(_) => {}
            Self::Array(docs) => {
                docs.iter().for_each(|doc| doc.planted(masked || place == Place::Applied, place, out));
            }
            Self::Object(fields) => {
                for (key, doc) in fields {
                    let place = place.under(key);
                    let text = place == Place::Applied && !matches!(doc, Self::Json(_));
                    doc.planted(masked || place == Place::Values || text, place, out);
                }
            }
        }
    }
}

fn write_string(text: &str, dice: &mut Dice, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let short = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '/' if dice.roll(2) == 0 => Some("\\/"),
            _ => None,
        };
        match short {
            Some(short) if dice.roll(4) > 0 => out.push_str(short),
            _ if character < ' ' || short.is_some() || dice.roll(12) == 0 => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let escape =
                        if dice.roll(2) == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                    out.push_str(&escape);
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Where a value stands, as the model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    Metadata,
    Annotations,
    Applied,
    Values,
    Kept,
}

impl Place {
    fn under(self, key: &str) -> Self {
        match (self, key.to_ascii_lowercase().as_str()) {
            (Self::Object, "data" | "stringdata") => Self::Values,
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Object, _) => Self::Object,
            (Self::Metadata, "annotations") => Self::Annotations,
            (Self::Annotations, APPLIED) => Self::Applied,
            (Self::Values, _) => Self::Values,
            _ => Self::Kept,
        }
    }
}

/// Stands for the placeholder of what is no string: its digest is over bytes that the model does not see.
const SOME: &str = "SOME PLACEHOLDER";

fn model(value: Value, place: Place, base64: bool) -> Value {
    match (place, value) {
        (Place::Values, Value::Object(fields)) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, model_value(value, base64))).collect())
        }
        (Place::Values, Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| model(item, place, base64)).collect())
        }
        (Place::Values, scalar) => model_value(scalar, base64),
        (Place::Applied, Value::String(text)) => {
            Value::String(match serde_json::from_str::<Map<_, _>>(&text) {
                _ if text.is_empty() => text,
                Err(_) => placeholder(text.as_bytes()),
                // Compared as values, like everything else.
                Ok(object) => format!("JSON {}", model(Value::Object(object), Place::Object, false)),
            })
        }
        (Place::Applied, Value::Null) => Value::Null,
        (Place::Applied, _) => SOME.into(),
        (Place::Kept, value) => value,
        (_, Value::Object(fields)) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| {
                    let value = model(value, place.under(&key), key.eq_ignore_ascii_case("data"));
                    (key, value)
                })
                .collect(),
        ),
        (_, Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| model(item, place, base64)).collect())
        }
        (_, scalar) => scalar,
    }
}

fn model_value(value: Value, base64: bool) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::String(text) if !base64 => placeholder(text.as_bytes()).into(),
        Value::String(text) => match STANDARD.decode(&text) {
            Ok(bytes) => placeholder_base64(&bytes).into(),
            Err(_) => SOME.into(),
        },
        _ => SOME.into(),
    }
}

/// Compares what came out with what the model says.
fn agrees(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(expected), Value::String(actual)) => {
            if expected == SOME {
                return actual.starts_with("portcullis-masked:")
                    || actual.starts_with("cG9ydGN1bGxpcy1tYXNrZWQ6");
            }
            match expected.strip_prefix("JSON ") {
                Some(json) => match (serde_json::from_str(json), serde_json::from_str(actual)) {
                    (Ok(expected), Ok(actual)) => agrees(&expected, &actual),
                    _ => false,
                },
                None => expected == actual,
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| agrees(expected, actual))
        }
        (Value::Object(expected), Value::Object(actual)) => {
            expected.keys().eq(actual.keys())
                && expected.iter().all(|(key, expected)| agrees(expected, &actual[key]))
        }
        (expected, actual) => expected == actual,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn masks_as_the_model_does_and_shows_nothing(
        mut doc in doc(),
        seed in 1..u64::MAX,
        sizes in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..100], 1..20),
    ) {
        doc.number(&mut 0);
        let mut body = String::new();
        doc.write(&mut Dice(seed), &mut body);

        let (whole, outcome) = mask(body.as_bytes(), &[usize::MAX]);
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
        let (cut, outcome) = mask(body.as_bytes(), &sizes);
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
        prop_assert_eq!(&whole, &cut, "chunks make no difference");

        let parsed: Value = serde_json::from_str(&body).unwrap();
        let actual: Value = serde_json::from_slice(&whole).unwrap();
        let expected = model(parsed, Place::Object, false);
        prop_assert!(agrees(&expected, &actual), "\n{}\nexpected {}\nactual {}", body, expected, actual);

        let mut planted = Vec::new();
        doc.planted(false, Place::Object, &mut planted);
        for secret in planted {
            // Escapes may hide what stands before the number.
            let tail = secret.find("-secret-").map_or(secret.as_str(), |at| &secret[at..]);
            prop_assert!(tail.is_empty() || !shows(&whole, tail.as_bytes()), "{} shows in {}", secret, String::from_utf8_lossy(&whole));
        }
    }

    #[test]
    fn what_is_not_masked_comes_out_byte_for_byte(mut doc in doc(), seed in 1..u64::MAX, size in 1_usize..50) {
        doc.number(&mut 0);
        let mut body = r#"{"metadata":{"anything":"#.to_owned();
        doc.write(&mut Dice(seed), &mut body);
        body.push_str("}}");
        let (out, outcome) = mask(body.as_bytes(), &[size]);
        prop_assert!(outcome.is_ok());
        prop_assert_eq!(String::from_utf8(out).unwrap(), body);
    }

    #[test]
    fn damaged_documents_never_show_what_is_masked(mut doc in doc(), seed in 1..u64::MAX, at in any::<prop::sample::Index>(), byte in any::<u8>(), size in 1_usize..50) {
        doc.number(&mut 0);
        let mut body = String::new();
        doc.write(&mut Dice(seed), &mut body);
        let mut secret = r#"{"data":{"a":"HIDDEN-VALUE","b":["HIDDEN-VALUE",{"c":"HIDDEN-VALUE"}]},"x":"#.as_bytes().to_vec();
        secret.extend_from_slice(body.as_bytes());
        secret.push(b'}');
        // Damage behind the keys that say what is secret.
        let at = 14 + at.index(secret.len() - 14);
        secret[at] = byte;
        let (whole, whole_outcome) = mask(&secret, &[usize::MAX]);
        let (cut, cut_outcome) = mask(&secret, &[size]);
        prop_assert_eq!(whole_outcome.is_ok(), cut_outcome.is_ok());
        if whole_outcome.is_ok() {
            prop_assert_eq!(&whole, &cut);
        }
        // Damage at the closing quotes of a value can make a key of what follows, never of what was masked before it.
        prop_assert!(!shows(&cut, b"HIDDEN-VALUE"), "{}", String::from_utf8_lossy(&cut));
    }
}
