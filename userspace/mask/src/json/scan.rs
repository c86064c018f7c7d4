//! Scans that look at many bytes at a time.

use wide::u8x16;

const ONES: u64 = u64::MAX / 0xff;
const BLOCK: usize = 64;
/// Most strings are no longer than this.
const SHORT: usize = 32;

/// A stretch of a string that means just what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain {
    /// Bytes before the next quote, backslash or control character (or the end of input).
    pub(super) length: usize,
    /// None of them is outside of ASCII.
    pub(super) ascii: bool,
}

impl Plain {
    fn and(self, next: Self) -> Self {
        Self { length: self.length + next.length, ascii: self.ascii & next.ascii }
    }
}

/// Where the quote is that ends a string whose inside begins `input`, if all before it is plain and ASCII; nothing also
/// where too little of `input` is left to see it at once.
#[inline]
pub(super) fn quote(input: &[u8]) -> Option<usize> {
    let marks = marks(input.first_chunk::<SHORT>()?);
    let at = if marks != 0 { marks.trailing_zeros() as usize } else { SHORT + mark(&input[SHORT..])? };
    (input[at] == b'"').then_some(at)
}

/// Where the first mark is in the whole blocks of `input`.
fn mark(input: &[u8]) -> Option<usize> {
    let blocks = input.as_chunks().0;
    let block = blocks.iter().position(has_mark)?;
    Some(block * BLOCK + marks(&blocks[block]).trailing_zeros() as usize)
}

/// A bit for each byte that ends a plain stretch or is outside of ASCII.
#[inline]
fn marks<const N: usize>(bytes: &[u8; N]) -> u64 {
    lanes(bytes)
        .zip((0..).step_by(16))
        .fold(0, |marks, (lane, at)| marks | u64::from(lane.to_bitmask()) << at)
}

fn has_mark(bytes: &[u8; BLOCK]) -> bool {
    lanes(bytes).fold(u8x16::ZERO, |all, lane| all | lane).any()
}

/// 16 bytes at a time, of which those have their high bit set that are marks.
#[inline]
fn lanes(bytes: &[u8]) -> impl Iterator<Item = u8x16> {
    bytes.as_chunks().0.iter().map(|&lane| {
        let lane = u8x16::new(lane);
        lane | stops(lane)
    })
}

/// All bits of each byte that ends a plain stretch.
#[inline]
fn stops(lane: u8x16) -> u8x16 {
    let [quote, backslash, control] = [u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(b' ' - 1)];
    lane.simd_eq(quote) | lane.simd_eq(backslash) | lane.simd_eq(lane.min(control))
}

/// Measures the plain stretch at the start of `input`.
#[inline]
pub(super) fn plain(input: &[u8]) -> Plain {
    let mut plain = Plain { length: 0, ascii: true };
    for &bytes in input.as_chunks().0 {
        let lane = u8x16::new(bytes);
        let (stops, high) = (stops(lane).to_bitmask(), lane.to_bitmask());
        if stops != 0 {
            let length = stops.trailing_zeros();
            return plain.and(Plain { length: length as usize, ascii: high.trailing_zeros() >= length });
        }
        plain = plain.and(Plain { length: bytes.len(), ascii: high == 0 });
    }
    let rest = &input[plain.length..];
    let rest = &rest[..rest.iter().position(|&byte| is_stop(byte)).unwrap_or(rest.len())];
    plain.and(Plain { length: rest.len(), ascii: rest.is_ascii() })
}

/// How many bytes of white space `input` begins with.
#[inline]
pub(super) fn whitespace(input: &[u8]) -> usize {
    let mut length = 0;
    while let Some(&byte) = input.get(length) {
        match byte {
            b' ' => {
                length += 1;
                // Indentation comes in long runs of spaces.
                while let Some(word) = input[length..].first_chunk::<8>()
                    && u64::from_le_bytes(*word) == ONES * b' ' as u64
                {
                    length += 8;
                }
            }
            b'\n' | b'\r' | b'\t' => length += 1,
            _ => break,
        }
    }
    length
}

fn is_stop(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..b' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain_bytewise(input: &[u8]) -> Plain {
        let length = input.iter().position(|&byte| is_stop(byte)).unwrap_or(input.len());
        Plain { length, ascii: input[..length].is_ascii() }
    }

    #[test]
    fn every_byte_at_every_place() {
        for at in 0..100 {
            for byte in 0..=255 {
                let mut input = vec![b'a'; 100];
                input[at] = byte;
                assert_eq!(plain(&input), plain_bytewise(&input), "byte {byte} at {at}");
            }
        }
    }

    /// The same, byte by byte.
    fn quote_bytewise(input: &[u8]) -> Option<usize> {
        let at = input.iter().position(|&byte| is_stop(byte) || !byte.is_ascii())?;
        (input[at] == b'"').then_some(at)
    }

    #[test]
    fn every_quote_at_every_place() {
        for at in 0..300 {
            for byte in [b'"', b'\\', b'\n', 0, 0x1f, 0x7f, 0x80, 0xff] {
                let mut input = vec![b'a'; 400];
                (input[at], input[301]) = (byte, b'"');
                assert_eq!(quote(&input), quote_bytewise(&input), "byte {byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_quote_is_found_in_whole_blocks(
            input in prop::collection::vec(prop_oneof![40 => Just(b'a'), 1 => any::<u8>(), 1 => Just(b'"')], 0..300),
        ) {
            let blocks = input.len().checked_sub(SHORT).map_or(0, |rest| SHORT + rest / BLOCK * BLOCK);
            prop_assert_eq!(quote(&input), quote_bytewise(&input[..blocks]));
        }

        #[test]
        fn agrees_with_the_bytewise_scan(input in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(plain(&input), plain_bytewise(&input));
        }

        #[test]
        fn whitespace_is_all_of_it(space in "[ \n\r\t]{0,50}", rest in "[^ \n\r\t]{0,3}") {
            let input = format!("{space}{rest}");
            prop_assert_eq!(whitespace(input.as_bytes()), space.len());
        }
    }
}
