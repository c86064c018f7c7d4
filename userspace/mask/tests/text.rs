//! Detectors over text: what each finds, what it leaves alone, and that cuts and pauses make no difference. All values are
//! invented.

mod support;

use std::sync::Arc;

use portcullis_mask::{DetectorConfig, Detectors, Pattern, Personal, TextMasker};
use proptest::prelude::*;

use support::{key, placeholder};

fn everything() -> Arc<Detectors> {
    let personal = vec![Personal::Card, Personal::Iban, Personal::Ssn, Personal::Email];
    let patterns = vec![Pattern {
        name: "badge".to_owned(),
        prefix: "BADGE#".to_owned(),
        charset: "A-F0-9".to_owned(),
        least: 8,
        most: Some(8),
    }];
    Arc::new(Detectors::new(&DetectorConfig { off: vec![], personal, patterns }).unwrap())
}

fn mask(detectors: &Arc<Detectors>, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut masker = TextMasker::new(Arc::clone(detectors), &key());
    let (mut out, mut rest, mut cuts) = (Vec::new(), text, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        masker.push(piece, &mut out);
        rest = after;
    }
    masker.finish(&mut out);
    out
}

fn masked(detectors: &Arc<Detectors>, text: &str) -> String {
    String::from_utf8(mask(detectors, text.as_bytes(), &[usize::MAX])).unwrap()
}

/// `text` with what stands between `«` and `»` replaced by its placeholder; and as it is without those marks.
fn read(text: &str) -> (String, String) {
    let (mut plain, mut wanted, mut rest) = (String::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('«') {
        let (secret, after) = after.split_once('»').unwrap();
        plain.push_str(before);
        plain.push_str(secret);
        wanted.push_str(before);
        wanted.push_str(&placeholder(secret.as_bytes()));
        rest = after;
    }
    (plain + rest, wanted + rest)
}

const FOUND: &str = include_str!("fixtures/detectors/found.txt");
const LEFT: &str = include_str!("fixtures/detectors/left.txt");
const PERSONAL: &str = include_str!("fixtures/detectors/personal.txt");

#[test]
fn what_is_found() {
    let detectors = Arc::new(Detectors::default());
    for line in FOUND.lines().filter(|line| !line.starts_with('#')) {
        let (plain, wanted) = read(line);
        assert_eq!(masked(&detectors, &plain), wanted, "{plain}");
        // Among other lines, and in a string of JSON.
        let among = |line: &str| format!("2026-11-22T22:25:08Z INFO started\n{line}\nnext\n");
        assert_eq!(masked(&detectors, &among(&plain)), among(&wanted));
    }
}

#[test]
fn what_is_left_alone() {
    let detectors = Arc::new(Detectors::default());
    for line in LEFT.lines() {
        assert_eq!(masked(&detectors, line), line);
    }
}

#[test]
fn personal_data_only_if_asked_for() {
    for line in PERSONAL.lines().filter(|line| !line.starts_with('#')) {
        let (plain, wanted) = read(line);
        assert_eq!(masked(&Arc::new(Detectors::default()), &plain), plain);
        assert_eq!(masked(&everything(), &plain), wanted, "{plain}");
    }
}

/// A text of parts that are secrets, nearly, or not at all.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<String> =
        [FOUND, LEFT, PERSONAL].iter().flat_map(|file| file.lines()).map(|line| read(line).0).collect();
    let part = prop_oneof![
        3 => (prop::sample::select(lines), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()).prop_map(
            |(line, from, length, whole)| {
                let bytes = line.into_bytes();
                let from = if whole || bytes.is_empty() { 0 } else { from.index(bytes.len()) };
                let length = if whole { bytes.len() } else { length.index(bytes.len() - from + 1) };
                bytes[from..from + length].to_vec()
            }
        ),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        2 => prop::sample::select(vec!["\n", " ", "\"", "\\n", "\\\"", "\\", "=", ": ", "-----BEGIN RSA PRIVATE KEY-----\n", "-----END RSA PRIVATE KEY-----", "AAAAB3NzaC1yc2EAAAADAQABAAABgQDZ\n", "://u:", "@h/", "password=", "\"token\":\""])
            .prop_map(|part| part.as_bytes().to_vec()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_cut_gives_the_same(text in text(), cuts in prop::collection::vec(1_usize..40, 1..8)) {
        let detectors = everything();
        let whole = mask(&detectors, &text, &[usize::MAX]);
        let whole = String::from_utf8_lossy(&whole).into_owned();
        for cuts in [&cuts[..], &[1]] {
            let cut = mask(&detectors, &text, cuts);
            prop_assert_eq!(String::from_utf8_lossy(&cut), whole.as_str());
        }
    }
}
