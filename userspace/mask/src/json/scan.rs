//! Scans that look at many bytes at a time.

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES << 7;
const BLOCK: usize = 64;

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

/// Where strings end in a chunk that is read from front to back: most are short, so what is found of a block is kept for
/// the next ones.
pub(super) struct Marks<'c> {
    chunk: &'c [u8],
    /// The block that was looked at last, by its number.
    block: usize,
    /// A bit for each byte of it that ends a plain stretch or is outside of ASCII.
    marks: u64,
}

impl<'c> Marks<'c> {
    pub(super) fn new(chunk: &'c [u8]) -> Self {
        Self { chunk, block: usize::MAX, marks: 0 }
    }

    /// Where the next quote is, if `from` is in a string and all from there to the quote is plain and ASCII.
    #[inline]
    pub(super) fn quote(&mut self, from: usize) -> Option<usize> {
        if from / BLOCK != self.block {
            self.look(from / BLOCK);
        }
        let marks = self.marks >> (from % BLOCK);
        let at = if marks != 0 { from + marks.trailing_zeros() as usize } else { self.beyond()? };
        (self.chunk.get(at) == Some(&b'"')).then_some(at)
    }

    /// The next mark in the blocks after this one, if all before it is ASCII.
    fn beyond(&mut self) -> Option<usize> {
        self.look(self.block + 1);
        if self.marks == 0 {
            let plain = plain_blocks(self.chunk.get(self.block * BLOCK..)?);
            self.look(self.block + plain.length / BLOCK);
            if !plain.ascii {
                return None;
            }
        }
        (self.marks != 0).then(|| self.block * BLOCK + self.marks.trailing_zeros() as usize)
    }

    fn look(&mut self, block: usize) {
        let rest = self.chunk.get(block * BLOCK..).unwrap_or_default();
        self.block = block;
        self.marks = match rest.first_chunk() {
            Some(bytes) => marks(bytes),
            None => {
                // Zeros are marks.
                let mut bytes = [0; BLOCK];
                bytes[..rest.len()].copy_from_slice(rest);
                marks(&bytes)
            }
        };
    }
}

fn marks(bytes: &[u8; BLOCK]) -> u64 {
    let mut is_mark = [0; BLOCK];
    for (mark, &byte) in is_mark.iter_mut().zip(bytes) {
        *mark = u8::from(is_stop(byte) | !byte.is_ascii());
    }
    // Eight bytes of one bit each become a byte of eight bits.
    let words = is_mark.as_chunks::<8>().0.iter().zip((0..).step_by(8));
    words.fold(0, |marks, (word, at)| {
        marks | (u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56) << at
    })
}

/// Measures the plain stretch at the start of `input`.
#[inline]
pub(super) fn plain(input: &[u8]) -> Plain {
    // Most strings end within the first words; long ones are worth wider steps.
    let (start, rest) = input.split_at(input.len().min(4 * 8));
    let mut plain = plain_words(start);
    if plain.length < start.len() || rest.is_empty() {
        return plain;
    }
    plain = plain.and(plain_blocks(rest));
    plain.and(plain_words(&input[plain.length..]))
}

/// Word by word, and byte by byte what is less than a word.
#[inline]
fn plain_words(input: &[u8]) -> Plain {
    let mut high = 0;
    let mut length = 0;
    let (words, tail) = input.as_chunks::<8>();
    for bytes in words {
        let word = u64::from_le_bytes(*bytes);
        let stops = stops(word);
        if stops != 0 {
            let before = stops.trailing_zeros() / 8;
            let mask = (1 << (8 * before)) - 1;
            return Plain { length: length + before as usize, ascii: (high | word & mask) & HIGH_BITS == 0 };
        }
        high |= word;
        length += bytes.len();
    }
    let tail = &tail[..tail.iter().position(|&byte| is_stop(byte)).unwrap_or(tail.len())];
    Plain { length: length + tail.len(), ascii: high & HIGH_BITS == 0 && tail.is_ascii() }
}

/// Whole blocks, as many as there are without anything to stop at. The compiler vectorises the inner loop.
#[inline]
fn plain_blocks(input: &[u8]) -> Plain {
    let mut plain = Plain { length: 0, ascii: true };
    for block in input.as_chunks::<BLOCK>().0 {
        let (mut stop, mut high) = (0, 0);
        for &byte in block {
            stop |= u8::from(is_stop(byte));
            high |= byte;
        }
        if stop != 0 {
            break;
        }
        plain = plain.and(Plain { length: BLOCK, ascii: high.is_ascii() });
    }
    plain
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
    // No short circuits, for the sake of vectorising.
    (byte == b'"') | (byte == b'\\') | (byte < b' ')
}

/// The high bit of each byte that ends a plain stretch. Exact up to and including the lowest one set, which is all that
/// is used: a borrow can only spoil bytes above it (Hacker's Delight, 6-1).
#[inline]
fn stops(word: u64) -> u64 {
    let equal = |byte: u8| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference
    };
    let control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    (equal(b'"') | equal(b'\\') | control) & HIGH_BITS
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

    /// Where the quote is that ends a string from `from` on, if all before it is plain and ASCII.
    fn quote_bytewise(input: &[u8], from: usize) -> Option<usize> {
        let at = from + input[from..].iter().position(|&byte| is_stop(byte) || !byte.is_ascii())?;
        (input[at] == b'"').then_some(at)
    }

    #[test]
    fn every_quote_at_every_place() {
        for length in [300, 320] {
            for at in 0..length {
                for byte in [b'"', b'\\', b'\n', 0, 0x7f, 0x80, 0xff] {
                    let mut input = vec![b'a'; length];
                    input[at] = byte;
                    input[length - 1] = b'"';
                    for from in [0, 1, 63, 64, 130] {
                        let (found, wanted) = (Marks::new(&input).quote(from), quote_bytewise(&input, from));
                        assert_eq!(found, wanted, "byte {byte} at {at}, from {from} of {length}");
                    }
                }
            }
        }
        assert_eq!(Marks::new(b"").quote(0), None);
        assert_eq!(Marks::new(&[b'a'; 128]).quote(128), None);
    }

    proptest! {
        #[test]
        fn quotes_are_found_one_after_the_other(
            input in prop::collection::vec(prop_oneof![8 => Just(b'a'), 2 => Just(b'"'), 1 => any::<u8>()], 0..300),
            steps in prop::collection::vec(0_usize..40, 0..20),
        ) {
            let (mut marks, mut from) = (Marks::new(&input), 0);
            for step in steps {
                from = (from + step).min(input.len());
                prop_assert_eq!(marks.quote(from), quote_bytewise(&input, from));
            }
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
