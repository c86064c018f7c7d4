//! Detectors over text: what each finds, what it leaves alone, and that cuts and pauses make no difference. All values are
//! invented.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use portcullis_mask::{
    BodyMasker, DetectorConfig, Detectors, Format, MaskError, MaskPolicy, Pattern, Personal, Profile,
    TextMasker, filter,
};
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
    // The last is known for a call only if no pause comes before its parenthesis.
    for line in LEFT.lines().chain(["password=read(prompt)"]) {
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

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

/// Masks `text` in pieces, with a pause after those whose turn says so.
fn with_pauses(detectors: &Arc<Detectors>, text: &[u8], pieces: &[(usize, bool)]) -> Vec<u8> {
    let mut masker = TextMasker::new(Arc::clone(detectors), &key());
    let (mut out, mut rest, mut pieces) = (Vec::new(), text, pieces.iter().cycle());
    while !rest.is_empty() {
        let (size, pause) = pieces.next().unwrap();
        let (piece, after) = rest.split_at(rest.len().min(*size));
        masker.push(piece, &mut out);
        if *pause {
            masker.flush(&mut out);
            assert!(!masker.holds());
        }
        rest = after;
    }
    masker.finish(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn pauses_change_nothing_that_is_no_secret(
        // What could be an id of a key when it paused is taken for one.
        line in prop::sample::select(LEFT.lines().filter(|line| !line.contains("AKIA")).collect::<Vec<_>>()),
        pieces in prop::collection::vec((1_usize..20, any::<bool>()), 1..8),
    ) {
        let detectors = Arc::new(Detectors::default());
        let paused = with_pauses(&detectors, line.as_bytes(), &pieces);
        prop_assert_eq!(String::from_utf8_lossy(&paused), line);
    }

    #[test]
    fn what_comes_after_a_pause_is_masked(cut in 1_usize..40) {
        let detectors = Arc::new(Detectors::default());
        let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        let text = format!("token is {token} ok");
        let paused = with_pauses(&detectors, text.as_bytes(), &[("token is ".len() + cut, true), (usize::MAX, false)]);
        let wanted = format!("token is {}{} ok", &token[..cut], placeholder(token.as_bytes()));
        prop_assert_eq!(String::from_utf8_lossy(&paused), wanted);
    }
}

#[test]
fn a_pause_inside_a_sure_secret_gives_its_placeholder_and_nothing_more_of_it() {
    let detectors = Arc::new(Detectors::default());
    let mut masker = TextMasker::new(Arc::clone(&detectors), &key());
    let mut out = Vec::new();
    masker.push(b"token is ghp_0123456789abcdefghijABCDEFGHIJ012345", &mut out);
    assert_eq!(out, b"token is ");
    assert!(masker.holds());
    masker.flush(&mut out);
    assert!(!masker.holds());
    let wanted = format!("token is {}", placeholder(b"ghp_0123456789abcdefghijABCDEFGHIJ012345"));
    assert_eq!(String::from_utf8_lossy(&out), wanted);
    masker.push(b"6789 and on\n", &mut out);
    masker.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), wanted + " and on\n");
}

#[test]
fn a_line_without_a_secret_is_given_at_once() {
    let mut masker = TextMasker::new(Arc::new(Detectors::default()), &key());
    for line in LEFT.lines().map(|line| format!("{line}\n")) {
        let mut out = Vec::new();
        masker.push(line.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), line);
    }
}

#[test]
fn a_key_of_any_length_is_masked_to_its_end() {
    let detectors = Arc::new(Detectors::default());
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n";
    let block = format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----", line.repeat(5000));
    let token = format!("password={}", "x1".repeat(100_000));
    assert_eq!(masked(&detectors, &format!("a {block} b")), format!("a {} b", placeholder(block.as_bytes())));
    let cut = mask(&detectors, format!("a {block} b").as_bytes(), &[1000, 1, 70_000]);
    assert_eq!(String::from_utf8(cut).unwrap(), format!("a {} b", placeholder(block.as_bytes())));
    let value = &token.as_bytes()["password=".len()..];
    assert_eq!(masked(&detectors, &token), format!("password={}", placeholder(value)));
    let called = format!("{token}(x)");
    assert_eq!(masked(&detectors, &called), format!("password={}(x)", placeholder(value)));
}

#[test]
fn what_is_longer_than_is_looked_at_is_masked() {
    let detectors = Arc::new(Detectors::default());
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let header = format!(r#"{{"alg":"RS256","x5c":["{}"]}}"#, line.repeat(50));
    let token = "cRGGHXRhw2HmEnm_J0pX375u8wKSJj4yLXH7QhP7VSs";
    let key = |header: usize| {
        let comment = "a comment, ".repeat(header / 11);
        let key = format!("Comment: {comment}\n\n{line}\n{line}\nAQ==");
        format!("«-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----» end")
    };
    for text in [
        format!("dial postgres://shop:«{}@db/x» failed", "hunter2-".repeat(150)),
        format!("dial postgres://{}:«hunter2»@db/x failed", "shop".repeat(100)),
        format!("id_token «{}.eyJzdWIiOiJyb2JvdCJ9.{token}» for robot", URL_SAFE_NO_PAD.encode(header)),
        format!("password{}={}«hunter2» end", " ".repeat(100), " ".repeat(100)),
        format!("Authorization: Bearer{}«{token}» end", " ".repeat(100)),
        key(300),
        key(1500),
    ] {
        let (plain, wanted) = read(&text);
        assert_eq!(masked(&detectors, &plain), wanted);
        assert_eq!(String::from_utf8_lossy(&mask(&detectors, plain.as_bytes(), &[1])), wanted);
    }
    // What is as long and no header of a token.
    let blob = format!("{} ", URL_SAFE_NO_PAD.encode(format!(r#"{{"a":"{}"}}"#, line.repeat(50))));
    assert_eq!(masked(&detectors, &blob), blob);
}

#[test]
fn keys_in_logs_with_time_stamps_and_broken_off() {
    let detectors = Arc::new(Detectors::default());
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let stamp = "2026-11-22T22:25:08.123456789Z ";
    let stamped = format!(
        "-----BEGIN EC PRIVATE KEY-----\n{stamp}Proc-Type: 4,ENCRYPTED\n{stamp}DEK-Info: AES-128-CBC,0123456789ABCDEF\n{stamp}\n{stamp}{line}\n{stamp}{line}\n{stamp}AQ==\n{stamp}-----END EC PRIVATE KEY-----"
    );
    let text = |key: &str| format!("{stamp}x\n{stamp}{key}\n{stamp}done\n");
    assert_eq!(masked(&detectors, &text(&stamped)), text(&placeholder(stamped.as_bytes())));

    let broken = format!("-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\n");
    assert_eq!(
        masked(&detectors, &format!("{broken}{{}}")),
        format!("{}{{}}", placeholder(broken.as_bytes()))
    );
}

/// A log as it is asked for by `tailLines` and `limitBytes`, in pieces of `size`.
fn excerpt(text: impl AsRef<[u8]>, cut_off: bool, size: usize) -> Vec<u8> {
    let mut masker = TextMasker::of_log(Arc::default(), &key(), cut_off);
    let mut out = Vec::new();
    for piece in text.as_ref().chunks(size) {
        masker.push(piece, &mut out);
    }
    masker.finish(&mut out);
    out
}

proptest! {
    #[test]
    fn any_cut_of_a_log_gives_the_same(text in text(), size in 1..40_usize, cut_off in any::<bool>()) {
        prop_assert_eq!(excerpt(&text, cut_off, size), excerpt(&text, cut_off, usize::MAX));
    }
}

fn shown(text: &str, cut_off: bool, size: usize) -> String {
    String::from_utf8(excerpt(text, cut_off, size)).unwrap()
}

#[test]
fn a_log_may_begin_inside_of_a_key() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let key = format!("{line}\n2026-11-22T22:25:08Z {line}\nAQ==\n-----END PRIVATE KEY-----");
    let certificate = format!("{line}\n{line}\n-----END CERTIFICATE-----\nstarted\n");
    for size in [1, 7, 1000] {
        let masked = placeholder(key.as_bytes());
        assert_eq!(
            shown(&format!("{key}\nstarted {line}\n"), false, size),
            format!("{masked}\nstarted {line}\n")
        );
        assert_eq!(
            shown(&format!("{line}\n{line}"), false, size),
            placeholder(format!("{line}\n{line}").as_bytes())
        );
        for other in
            [certificate.as_str(), "started\n", "3f2504e04f8911d39a0c0305e82c3301 is the id\n", "", "\n\nx"]
        {
            assert_eq!(shown(other, false, size), other);
        }
    }
    let mut masker = TextMasker::of_log(Arc::default(), &support::key(), false);
    let mut out = Vec::new();
    masker.push(format!("{line}\n").as_bytes(), &mut out);
    assert!(out.is_empty() && masker.holds());
    masker.flush(&mut out);
    assert!(out.starts_with(b"portcullis-masked:"), "what cannot be told after a pause is hidden");
}

#[test]
fn a_log_may_end_inside_of_a_secret() {
    for (text, plain) in [
        ("started\ncloning with ghp_01234567", "started\ncloning with "),
        ("notify xoxb-0123", "notify "),
        ("postgres://shop:hunt", "postgres://shop:"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", ""),
    ] {
        for size in [1, 1000] {
            let secret = &text.as_bytes()[plain.len()..];
            assert_eq!(shown(text, true, size), format!("{plain}{}", placeholder(secret)), "{text}");
        }
    }
    assert_eq!(shown("started\nready.\n", true, 1000), "started\nready.\n");
}

#[test]
fn configurations_say_what_is_wrong_with_them() {
    let config = |yaml: &str| serde_json::from_str::<DetectorConfig>(yaml).unwrap();
    let off = Detectors::new(&config(r#"{"off":["github"]}"#)).unwrap();
    let line = "ghp_0123456789abcdefghijABCDEFGHIJ012345 npm_0123456789abcdefghijABCDEFGHIJ012345";
    let wanted = format!("{} {}", &line[..40], placeholder(&line.as_bytes()[41..]));
    assert_eq!(masked(&Arc::new(off), line), wanted);

    for (wrong, says) in [
        (r#"{"off":["gitbub"]}"#, "no detector is called \"gitbub\"; there are aws-access-key"),
        (
            r#"{"patterns":[{"name":"x","prefix":"ab","charset":"a-z","least":3}]}"#,
            "pattern \"x\": the prefix",
        ),
        (
            r#"{"patterns":[{"name":"x","prefix":"abc","charset":"","least":3}]}"#,
            "pattern \"x\": the charset",
        ),
        (r#"{"patterns":[{"name":"x","prefix":"abc","charset":"a-z","least":0}]}"#, "pattern \"x\": least"),
        (
            r#"{"patterns":[{"name":"x","prefix":"abc","charset":"a-z","least":9,"most":8}]}"#,
            "pattern \"x\": most",
        ),
        (
            r#"{"patterns":[{"name":"x","prefix":"abc","charset":"a-z","least":9,"most":9999}]}"#,
            "pattern \"x\": most",
        ),
    ] {
        let error = Detectors::new(&config(wrong)).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    assert!(serde_json::from_str::<DetectorConfig>(r#"{"of":[]}"#).is_err());
}

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

fn log_masker(content_type: &str, coding: &str) -> Result<BodyMasker, MaskError> {
    BodyMasker::for_log(content_type, coding, Profile::default().for_unknown(), &key(), false)
}

#[test]
fn a_log_is_masked_in_passing() {
    let mut masker = log_masker("text/plain; charset=utf-8", "").unwrap();
    let mut out = Vec::new();
    masker.push(format!("one\ntoken {TOKEN}\nthree ghp_").as_bytes(), &mut out).unwrap();
    let wanted = format!("one\ntoken {}\nthree ", placeholder(TOKEN.as_bytes()));
    assert_eq!(String::from_utf8_lossy(&out), wanted, "no line waits for the next");
    assert!(masker.holds());
    masker.flush(&mut out).unwrap();
    assert!(!masker.holds());
    masker.push(b"\n", &mut out).unwrap();
    masker.finish(&mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), wanted + "ghp_\n");
}

#[test]
fn a_packed_log_can_be_read_as_far_as_it_came() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let mut masker = log_masker("text/plain", "gzip").unwrap();
    let mut reader = GzDecoder::new(Vec::new());
    let mut out = Vec::new();
    for (comes, pauses, shown) in [
        ("one\n".to_owned(), false, "one\n".to_owned()),
        (format!("{TOKEN}\ntwo ghp_"), false, format!("{}\ntwo ", placeholder(TOKEN.as_bytes()))),
        (String::new(), true, "ghp_".to_owned()),
        ("\n".to_owned(), false, "\n".to_owned()),
    ] {
        packer.write_all(comes.as_bytes()).unwrap();
        packer.flush().unwrap();
        masker.push(&std::mem::take(packer.get_mut()), &mut out).unwrap();
        assert_eq!(masker.holds(), pauses || comes.ends_with("ghp_"));
        if pauses {
            masker.flush(&mut out).unwrap();
        }
        reader.write_all(&std::mem::take(&mut out)).unwrap();
        reader.flush().unwrap();
        assert_eq!(String::from_utf8(std::mem::take(reader.get_mut())).unwrap(), shown);
    }
    packer.try_finish().unwrap();
    masker.push(packer.get_ref(), &mut out).unwrap();
    masker.finish(&mut out).unwrap();
    reader.write_all(&out).unwrap();
    reader.try_finish().unwrap();
}

#[test]
fn an_error_instead_of_a_log_is_masked_as_an_object() {
    let mut masker = log_masker("application/json", "").unwrap();
    let mut out = Vec::new();
    let body = br#"{"kind":"Status","apiVersion":"v1","data":{"a":"aGk="}}"#;
    masker.push(body, &mut out).unwrap();
    masker.finish(&mut out).unwrap();
    assert!(!String::from_utf8_lossy(&out).contains("aGk="));
    assert!(matches!(log_masker("text/html", ""), Err(MaskError::Type(_))));
    assert!(matches!(log_masker("text/plain", "br"), Err(MaskError::Coding(_))));
    assert!(!BodyMasker::reads("text/plain") && BodyMasker::reads_log("text/plain"));
}

#[test]
fn a_policy_says_which_detectors_run() {
    let policy = |detectors: &str| {
        let head = "apiVersion: portcullis.dev/v1alpha1\nkind: MaskPolicy\n";
        serde_saphyr::from_str::<MaskPolicy>(&format!("{head}detectors: {detectors}\n"))
    };
    let profile = Profile::new(&policy("{off: [github], personal: [ssn]}").unwrap()).unwrap();
    let text = format!("{TOKEN} 123-45-6789");
    let wanted = format!("{TOKEN} {}", placeholder(b"123-45-6789"));
    assert_eq!(masked(&profile.detectors(), &text), wanted);
    let mut out = Vec::new();
    let body = format!(r#"{{"metadata":{{"annotations":{{"a":"{text}"}}}}}}"#);
    filter(body.as_bytes(), &mut out, Format::Json, &profile, &key()).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), body.replace(&text, &wanted));

    let error = Profile::new(&policy("{off: [gitbub]}").unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("detectors: no detector is called \"gitbub\""), "{error}");
    assert!(policy("{on: [github]}").is_err());
}

#[test]
fn a_filter_masks_text() {
    let mut out = Vec::new();
    let format: Format = "text".parse().unwrap();
    filter(format!("a {TOKEN}").as_bytes(), &mut out, format, &Profile::default(), &key()).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), format!("a {}", placeholder(TOKEN.as_bytes())));
}

/// The inputs that fuzzing starts from (the first byte is the size of the slices).
#[test]
fn the_corpora_of_fuzzing_give_the_same_in_any_cut() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/mask_text");
    let mut seen = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        let (size, text) = input.split_first().unwrap();
        let whole = mask(&everything(), text, &[usize::MAX]);
        assert_eq!(mask(&everything(), text, &[usize::from(*size).max(1)]), whole);
        seen += 1;
    }
    assert!(seen > 0);
}

/// Work that grows with the square of what comes would let one line keep a core busy.
#[test]
fn candidates_in_a_row_cost_no_more_than_their_number() {
    for part in [
        "eyJa.",
        "://a:b",
        "token=",
        "Bearer ey",
        "AB12 ",
        "a@b.",
        "BADGE#1-",
        "-----BEGIN ",
        "\\\\",
        "4111 ",
    ] {
        let text = part.repeat(200_000 / part.len());
        let start = std::time::Instant::now();
        mask(&everything(), text.as_bytes(), &[usize::MAX]);
        // Unoptimised, on a busy machine: squares would take minutes.
        assert!(start.elapsed().as_secs() < 30, "{part}: {:?}", start.elapsed());
    }
}
