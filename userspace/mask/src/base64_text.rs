//! What a base64 text stands for, on its way into a placeholder while the text comes in pieces.
//!
//! Read as Go's `base64.StdEncoding` reads the `[]byte` fields of an object: padding is required, line breaks are
//! skipped, unused bits of the last character do not matter. A text that is not base64 counts as what it is: from
//! the first four characters that do not decode on, its characters stand for themselves.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::placeholder::Placeholder;

const GO: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Characters decoded at a time.
const PIECE: usize = 4096;

/// A base64 text on its way into a [`Placeholder`].
#[derive(Default)]
pub(crate) struct Base64Text {
    /// Characters of a quantum not yet complete.
    quantum: [u8; 4],
    filled: usize,
    reading: Reading,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    Quanta,
    /// Padding was read: the text must be over.
    Padded,
    Raw,
}

impl Base64Text {
    pub(crate) fn push(&mut self, mut text: &[u8], placeholder: &mut Placeholder) {
        while !text.is_empty() {
            if self.reading == Reading::Raw {
                return placeholder.update(text);
            }
            if self.filled == 0 && self.reading == Reading::Quanta {
                text = quanta(text, placeholder);
            }
            let Some((&character, rest)) = text.split_first() else { return };
            text = rest;
            if character != b'\n' && character != b'\r' {
                self.character(character, placeholder);
            }
        }
    }

    pub(crate) fn finish(&self, placeholder: &mut Placeholder) {
        placeholder.update(&self.quantum[..self.filled]);
    }

    fn character(&mut self, character: u8, placeholder: &mut Placeholder) {
        self.quantum[self.filled] = character;
        self.filled += 1;
        if self.reading == Reading::Quanta && self.filled < 4 {
            return;
        }
        let mut decoded = [0; 3];
        match GO.decode_slice(&self.quantum[..self.filled], &mut decoded) {
            Ok(length) => {
                placeholder.update(&decoded[..length]);
                if length < 3 {
                    self.reading = Reading::Padded;
                }
            }
            Err(_) => {
                placeholder.update(&self.quantum[..self.filled]);
                self.reading = Reading::Raw;
            }
        }
        self.filled = 0;
    }
}

/// Takes whole quanta from the start of `text` for as long as they decode; returns what is left.
fn quanta<'t>(mut text: &'t [u8], placeholder: &mut Placeholder) -> &'t [u8] {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    while text.len() >= 4 {
        let mut quanta = whole_quanta(text, text.len().min(PIECE));
        if !placeholder.update_base64(quanta) {
            // It says whether all of it is base64, and no more.
            quanta = whole_quanta(text, quanta.iter().take_while(|byte| is_digit(byte)).count());
            placeholder.update_base64(quanta);
        }
        if quanta.is_empty() {
            break;
        }
        text = &text[quanta.len()..];
    }
    text
}

/// The quanta in the first `length` characters of `text`, without padded ones at the end: these are left to
/// [`Base64Text::character`], which knows that nothing may follow them.
fn whole_quanta(text: &[u8], length: usize) -> &[u8] {
    let mut quanta = &text[..length / 4 * 4];
    while let [before @ .., _, _, _, b'='] = quanta {
        quanta = before;
    }
    quanta
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MaskKey;
    use crate::placeholder::Form;

    fn of_text(pieces: &[&[u8]]) -> Vec<u8> {
        let mut placeholder = Placeholder::new(&MaskKey::from_bytes([1; 32]));
        let mut text = Base64Text::default();
        for piece in pieces {
            text.push(piece, &mut placeholder);
        }
        text.finish(&mut placeholder);
        written(placeholder)
    }

    fn of_bytes(bytes: &[u8]) -> Vec<u8> {
        let mut placeholder = Placeholder::new(&MaskKey::from_bytes([1; 32]));
        placeholder.update(bytes);
        written(placeholder)
    }

    fn written(mut placeholder: Placeholder) -> Vec<u8> {
        let mut out = Vec::new();
        placeholder.write_json(Form::Plain, &mut out);
        out
    }

    #[test]
    fn reads_as_go_does() {
        assert_eq!(of_text(&[b"aHVudGVyMg=="]), of_bytes(b"hunter2"));
        assert_eq!(of_text(&[b"aHVu\r\ndGVy\nMg=\n=\n"]), of_bytes(b"hunter2"), "line breaks are skipped");
        assert_eq!(of_text(&[b"aHVudGVyMh=="]), of_bytes(b"hunter2"), "unused bits do not matter");
    }

    #[test]
    fn what_does_not_decode_stands_for_itself() {
        assert_eq!(of_text(&[b"no"]), of_bytes(b"no"));
        assert_eq!(of_text(&[b"n o!"]), of_bytes(b"n o!"));
        assert_eq!(of_text(&[b"-_-_aHVu"]), of_bytes(b"-_-_aHVu"), "the URL alphabet is another one");
        assert_eq!(of_text(&[b"aHVudGVyMg"]), of_bytes(b"hunterMg"), "padding is required");
        assert_eq!(of_text(&[b"Mg==Mg=="]), of_bytes(b"2Mg=="), "nothing follows padding");
        assert_eq!(of_text(&[b"===="]), of_bytes(b"===="));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(bytes in prop::collection::vec(any::<u8>(), 0..5000), cut in any::<prop::sample::Index>()) {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes).into_bytes();
            let (left, right) = text.split_at(cut.index(text.len() + 1));
            prop_assert_eq!(of_text(&[left, right]), of_bytes(&bytes));
        }

        #[test]
        fn any_cut_of_any_text_gives_the_same(text in "[a-zA-Z0-9+/=\n\r -]{0,40}", cut in any::<prop::sample::Index>()) {
            let (left, right) = text.as_bytes().split_at(cut.index(text.len() + 1));
            let bytewise: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(of_text(&[left, right]), of_text(&[text.as_bytes()]));
            prop_assert_eq!(of_text(&bytewise), of_text(&[text.as_bytes()]));
        }
    }
}
