//! Detectors over what terminals show: sessions of real programs, whole and in pieces, with secrets and without. All values
//! are invented.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::sync::Arc;

use portcullis_mask::{Detectors, TerminalMasker};
use proptest::prelude::*;

use support::{key, placeholder};

const BASH: &[u8] = include_bytes!("fixtures/terminal/bash");
const LESS: &[u8] = include_bytes!("fixtures/terminal/less");
const TOP: &[u8] = include_bytes!("fixtures/terminal/top");
const VIM: &[u8] = include_bytes!("fixtures/terminal/vim");
/// A file with secrets, shown at 80 columns; one of them is broken at the edge.
const BASH_SECRETS: &[u8] = include_bytes!("fixtures/terminal/bash-secrets");
const LESS_SECRETS: &[u8] = include_bytes!("fixtures/terminal/less-secrets");
const VIM_SECRETS: &[u8] = include_bytes!("fixtures/terminal/vim-secrets");

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// Parts of the secrets in those sessions.
const PARTS: [&str; 7] = [
    "123456789abcdefg",
    "ghijABCDEFGHIJ012345",
    "geheim99",
    "bqaHdm6s",
    "Hdv25c2KzZrXRLAU4piCVUer5I3",
    "O9magSnf",
    "YIHissXu48FjokDakOZxxvpOYh",
];

fn detectors() -> Arc<Detectors> {
    Arc::new(Detectors::default())
}

/// Masks `output` in pieces, with a pause after those whose turn says so.
fn mask(output: &[u8], width: u16, pieces: &[(usize, bool)]) -> Vec<u8> {
    let mut masker = TerminalMasker::new(detectors(), &key());
    masker.resize(width);
    let (mut out, mut rest, mut pieces) = (Vec::new(), output, pieces.iter().cycle());
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

fn masked(output: &str) -> String {
    String::from_utf8(mask(output.as_bytes(), 0, &[(usize::MAX, false)])).unwrap()
}

#[test]
fn a_session_without_secrets_stays_as_it_is() {
    for (name, session) in [("bash", BASH), ("less", LESS), ("top", TOP), ("vim", VIM)] {
        for width in [0, 80] {
            for size in [usize::MAX, 1, 7, 4096] {
                assert!(
                    mask(session, width, &[(size, false)]) == session,
                    "{name} at {width}, {size} bytes at a time"
                );
            }
        }
    }
}

#[test]
fn no_secret_of_a_session_shows() {
    for (name, session) in [("bash", BASH_SECRETS), ("less", LESS_SECRETS), ("vim", VIM_SECRETS)] {
        for size in [usize::MAX, 1, 100] {
            let masked = String::from_utf8(mask(session, 80, &[(size, false)])).unwrap();
            for part in PARTS {
                assert!(!masked.contains(part), "{name}: {part} in {masked:?}");
            }
            assert!(masked.contains(" there"), "{masked:?}");
            // On the alternate screen what stands for a secret is as long as it.
            assert_eq!(masked.len() == session.len(), name != "bash");
        }
    }
}

#[test]
fn colours_and_the_like_do_not_hide_a_secret() {
    let (first, second) = TOKEN.split_at(13);
    let told = placeholder(TOKEN.as_bytes());
    for inside in ["\x1b[1;31m", "\x1b[K", "\x1b[?25l", "\x1b(B", "\x1b>", "\x0f"] {
        let output = format!("\x1b[32mtoken: {first}{inside}{second}\x1b[0m\r\n");
        // `ESC ( B` and shifts are no text either.
        assert_eq!(masked(&output), format!("\x1b[32mtoken: {told}{inside}\x1b[0m\r\n"), "{output:?}");
    }
    // What moves the cursor ends a word.
    let moved = format!("x{first}\x1b[5;1H{TOKEN}\x1b[2J");
    assert_eq!(masked(&moved), format!("x{first}\x1b[5;1H{told}\x1b[2J"));
    // Titles are text.
    assert_eq!(masked(&format!("\x1b]0;{TOKEN}\x07$ ")), format!("\x1b]0;{told}\x07$ "));
    // A column is white space.
    let column = "password:\x1b[20GTr0ub4dor\r\n";
    assert_eq!(masked(column), format!("password:\x1b[20G{}\r\n", placeholder(b"Tr0ub4dor")));
}

#[test]
fn a_line_broken_at_the_edge_does_not_hide_a_secret() {
    let output = format!("{:>50}{}", "token ", TOKEN);
    let told = placeholder(TOKEN.as_bytes());
    for broken in ["\r\n", " \r", " \x08", "\x1b[7;1H", "\x1b[m \x08"] {
        let output = format!("\r{}{broken}{}\r\nend", &output[..80], &output[80..]);
        for size in [usize::MAX, 1] {
            let at_80 = String::from_utf8(mask(output.as_bytes(), 80, &[(size, false)])).unwrap();
            assert_eq!(at_80, format!("\r{:>50}{told}{broken}\r\nend", "token "), "{output:?}");
        }
    }
}

#[test]
fn what_waits_at_the_edge_survives_a_resize() {
    let edge = format!("\r{}", "x".repeat(20));
    // A space at the edge may break the line, and so may a sequence after it that is not over.
    for waiting in [" ", " \x1b[3"] {
        for width in [0, 30] {
            for after in ["1m$ ls\r\n", "1mx", ""] {
                let mut masker = TerminalMasker::new(detectors(), &key());
                let mut out = Vec::new();
                masker.resize(20);
                masker.push(format!("{edge}{waiting}").as_bytes(), &mut out);
                assert!(masker.holds());
                masker.resize(width);
                masker.push(after.as_bytes(), &mut out);
                masker.finish(&mut out);
                assert_eq!(String::from_utf8_lossy(&out), format!("{edge}{waiting}{after}"));
            }
        }
    }
}

#[test]
fn on_the_alternate_screen_nothing_moves() {
    let told = placeholder(TOKEN.as_bytes());
    let output = format!("\x1b[?1049h{TOKEN} \x1b[mghp_{}\x1b[7m!\x1b[?1049l{TOKEN} ", "ab0".repeat(20));
    let masked = masked(&output);
    let (screen, after) = masked.split_once("\x1b[?1049l").unwrap();
    assert_eq!(after, format!("{told} "));
    assert_eq!(screen.len() + "\x1b[?1049l".len() + TOKEN.len() + 1, output.len());
    assert!(screen.starts_with(&format!("\x1b[?1049h{} \x1b[m", &told[..40])), "{screen:?}");
    assert!(screen.ends_with("**********************\x1b[7m!"), "{screen:?}");
}

#[test]
fn a_pause_gives_what_is_held_and_no_more_of_a_secret() {
    let mut masker = TerminalMasker::new(detectors(), &key());
    let mut out = Vec::new();
    masker.push(b"$ echo ghp_\x1b[1m0123", &mut out);
    assert_eq!(out, b"$ echo ");
    assert!(masker.holds());
    masker.flush(&mut out);
    assert_eq!(out, b"$ echo ghp_\x1b[1m0123");
    masker.push(&TOKEN.as_bytes()[8..], &mut out);
    masker.push(b"\r\n", &mut out);
    let wanted = format!("$ echo ghp_\x1b[1m0123{}\r\n", placeholder(TOKEN.as_bytes()));
    assert_eq!(String::from_utf8_lossy(&out), wanted);
    assert!(!masker.holds());
}

#[test]
fn after_a_pause_in_a_secret_its_controls_pass_and_the_rest_of_it_does_not() {
    let told = placeholder(TOKEN.as_bytes());
    for (before, shown, after) in [("", told.as_str(), ""), ("\x1b[?1049h", &told[..40], "***")] {
        let mut masker = TerminalMasker::new(detectors(), &key());
        let mut out = Vec::new();
        masker.push(format!("{before}{TOKEN}").as_bytes(), &mut out);
        masker.flush(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{before}{shown}"));
        masker.push(b"\x1b[1ma\x1b[2mbc\x1b[m", &mut out);
        assert!(!masker.holds());
        masker.push(b" d", &mut out);
        masker.finish(&mut out);
        let (first, rest) = after.split_at(after.len() / 3);
        let wanted = format!("{before}{shown}\x1b[1m{first}\x1b[2m{rest}\x1b[m d");
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }
}

fn session() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![BASH, LESS, TOP, VIM])
}

fn pieces() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((1_usize..300, any::<bool>()), 1..20)
}

/// Text, controls and secrets, cut anywhere.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            TOKEN, "ghp_", "password=", "hunter2", "\"", " ", "\r\n", "\r", "\x1b[31m", "\x1b[K", "\x1b[2;1H", "\x1b[3C",
            "\x1b[?1049h", "\x1b[?1049l", "\x1b]0;", "\x07", "\x1b\\", "\x1b", "\x1b[", "\x08", "\x0e", "\0", "é", "€",
            "-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0B1", "-----END PRIVATE KEY-----",
            "aaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb",
        ])
        .prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn pieces_and_pauses_change_nothing(session in session(), width in prop::sample::select(vec![0_u16, 80]), pieces in pieces()) {
        prop_assert!(mask(session, width, &pieces) == session);
    }

    #[test]
    fn every_control_passes(
        session in prop::sample::select(vec![BASH_SECRETS, LESS_SECRETS, VIM_SECRETS]),
        pieces in pieces(),
    ) {
        let masked = mask(session, 80, &pieces);
        let escapes = |output: &[u8]| output.iter().filter(|byte| **byte == 0x1b).count();
        prop_assert_eq!(escapes(&masked), escapes(session));
    }

    #[test]
    fn any_cut_gives_the_same(
        output in output(),
        width in prop::sample::select(vec![0_u16, 20]),
        sizes in prop::collection::vec(1_usize..30, 1..6),
    ) {
        let whole = mask(&output, width, &[(usize::MAX, false)]);
        let pieces: Vec<_> = sizes.into_iter().map(|size| (size, false)).collect();
        for pieces in [&pieces[..], &[(1, false)]] {
            let cut = mask(&output, width, pieces);
            prop_assert_eq!(String::from_utf8_lossy(&cut), String::from_utf8_lossy(&whole));
        }
    }
}

/// The inputs that fuzzing starts from (the first byte is the size of the slices, the second the width).
#[test]
fn the_corpora_of_fuzzing_give_the_same_in_any_cut() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/mask_terminal");
    let mut seen = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        let [size, width, output @ ..] = input.as_slice() else { panic!("two bytes and more") };
        let whole = mask(output, u16::from(*width), &[(usize::MAX, false)]);
        assert_eq!(mask(output, u16::from(*width), &[(usize::from(*size).max(1), false)]), whole);
        seen += 1;
    }
    assert!(seen > 0);
}
