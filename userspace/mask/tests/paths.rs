//! Policies against a model that looks for the strongest rule of each value by itself: arbitrary paths and documents.

mod support;

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value};

use support::{mask_by, profile, rules_of};

const HIDDEN: &str = "portcullis-masked:hidden";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Keep,
    Fixed,
    Drop,
}

/// A path as it is written, and what becomes of what is there.
type Rule = (Vec<&'static str>, What);

fn rule() -> impl Strategy<Value = Rule> {
    let step = prop::sample::select(vec!["a", "b", "ab", "a*", "*b", "*", "**", "metadata"]);
    let last = prop::sample::select(vec!["a", "b", "ab", "a*", "*b", "*"]);
    let what = prop::sample::select(vec![What::Keep, What::Fixed, What::Fixed, What::Drop]);
    (prop::collection::vec(step, 0..3), last, what).prop_map(|(mut steps, last, what)| {
        steps.push(last);
        (steps, what)
    })
}

fn policy(rules: &[Rule]) -> String {
    let mut policy = "defaults: {leaveOut: [secrets, annotations, environment, configMaps, tokens, certificateRequests, errors]}\nrules:\n".to_owned();
    for (steps, what) in rules {
        let path = steps.join(".");
        let _ = match what {
            What::Keep => writeln!(policy, "- {{resources: [things], keep: [\"{path}\"]}}"),
            What::Fixed => writeln!(policy, "- {{resources: [things], mask: [\"{path}\"], how: fixed}}"),
            What::Drop => writeln!(policy, "- {{resources: [things], mask: [\"{path}\"], how: drop}}"),
        };
    }
    policy
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::from("")),
        Just(Value::from("text \" \\ é")),
        Just(Value::from(12)),
        Just(Value::from(true)),
    ];
    let key = prop::sample::select(vec!["a", "b", "ab", "A", "aB", "c", "metadata", "items"]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((key.clone(), inner.clone()), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

fn is(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.to_lowercase(), name.to_lowercase());
    match glob.split_once('*') {
        None => glob == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

/// Whether a path leads from an object exactly through these names.
fn leads(steps: &[&str], names: &[String]) -> bool {
    match (steps, names) {
        ([], []) => true,
        (["**", steps @ ..], names) => {
            leads(steps, names)
                || names.split_first().is_some_and(|(name, rest)| {
                    name != "metadata"
                        && leads(&["**"].into_iter().chain(steps.iter().copied()).collect::<Vec<_>>(), rest)
                })
        }
        ([step, steps @ ..], [name, names @ ..]) => is(step, name) && leads(steps, names),
        _ => false,
    }
}

/// The rules that lead to a place, whose names began at each object that a list holds as well.
fn strongest(
    rules: &[Rule],
    begins: &[usize],
    names: &[String],
    wanted: impl Fn(&Rule) -> bool,
) -> Option<usize> {
    (0..rules.len()).find(|rule| {
        wanted(&rules[*rule]) && begins.iter().any(|begin| leads(&rules[*rule].0, &names[*begin..]))
    })
}

fn model(
    value: &Value,
    rules: &[Rule],
    base: Option<usize>,
    begins: &[usize],
    names: &mut Vec<String>,
) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| model(item, rules, base, begins, names)).collect(),
        Value::Object(fields) => {
            let mut masked = Map::new();
            for (name, value) in fields {
                names.push(name.clone());
                let reached = strongest(rules, begins, names, |_| true);
                let base = base.into_iter().chain(reached).min();
                let mut begins = begins.to_vec();
                // A list may stand where a document does.
                let is_list = name == "items" && begins.contains(&(names.len() - 1));
                if is_list {
                    begins.push(names.len());
                }
                if is_list || base.is_none_or(|base| rules[base].1 != What::Drop) {
                    masked.insert(name.clone(), model(value, rules, base, &begins, names));
                }
                names.pop();
            }
            masked.into()
        }
        Value::Null => Value::Null,
        Value::String(text) if text.is_empty() => value.clone(),
        scalar => {
            names.push("anything".to_owned());
            let every = |(steps, _): &Rule| steps.last() == Some(&"*");
            let every = strongest(rules, begins, names, every);
            names.pop();
            let hides = |rule: &usize| rules[*rule].1 != What::Keep;
            let mark = match base {
                Some(base) => every.filter(hides).into_iter().chain([base]).min(),
                None => every,
            };
            match mark.map(|mark| rules[mark].1) {
                None | Some(What::Keep) => scalar.clone(),
                Some(What::Fixed | What::Drop) => HIDDEN.into(),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_first_rule_that_reaches_a_value_decides(
        rules in prop::collection::vec(rule(), 1..5),
        documents in prop::collection::vec(document(), 8),
        pretty in any::<bool>(),
        size in 1_usize..40,
    ) {
        let compiled = profile(&policy(&rules));
        let Some(compiled) = compiled.for_request("", "things", "").map(|_| rules_of(&compiled, "things")) else {
            return Ok(());
        };
        for document in documents {
            let body = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
            let (out, outcome) = mask_by(&compiled, body.as_bytes(), &[usize::MAX]);
            prop_assert!(outcome.is_ok(), "{:?}", outcome);
            prop_assert_eq!(&mask_by(&compiled, body.as_bytes(), &[size]).0, &out, "chunks make no difference");
            let actual: Value = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
            let expected = model(&document, &rules, None, &[0], &mut Vec::new());
            prop_assert_eq!(actual, expected, "{} by {}", body, policy(&rules));
            let drops = rules.iter().any(|(_, what)| *what == What::Drop);
            if !pretty && !drops && !String::from_utf8_lossy(&out).contains(HIDDEN) {
                prop_assert_eq!(String::from_utf8(out).unwrap(), body, "nothing masked, nothing changed");
            }
        }
    }
}
