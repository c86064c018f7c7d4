//! Sets of bytes, written the way people write them: `A-Za-z0-9_-`.

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alphabet([u64; 4]);

/// What tokens of most makers are spelled in.
pub(crate) const ALNUM: Alphabet = Alphabet::of(b"A-Za-z0-9");
pub(crate) const HEX: Alphabet = Alphabet::of(b"a-f0-9");
pub(crate) const BASE64: Alphabet = Alphabet::of(b"A-Za-z0-9+/=");
pub(crate) const BASE64_URL: Alphabet = Alphabet::of(b"A-Za-z0-9_-");

impl Alphabet {
    /// The set that `ranges` spells: single bytes and ranges `a-z`; a `-` that is first or last is itself.
    pub(crate) const fn of(mut ranges: &[u8]) -> Self {
        let mut bits = [0; 4];
        loop {
            let (first, last, rest) = match ranges {
                [first, b'-', last, rest @ ..] => (*first, *last, rest),
                [byte, rest @ ..] => (*byte, *byte, rest),
                [] => return Self(bits),
            };
            let mut byte = first as usize;
            while byte <= last as usize {
                bits[byte >> 6] |= 1 << (byte & 63);
                byte += 1;
            }
            ranges = rest;
        }
    }

    #[inline]
    pub(crate) const fn contains(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_bytes() {
        let spelled = |ranges: &[u8]| -> Vec<u8> {
            let alphabet = Alphabet::of(ranges);
            (0..=255).filter(|&byte| alphabet.contains(byte)).collect()
        };
        assert_eq!(spelled(b"c-a"), b"");
        assert_eq!(spelled(b"a-cx"), b"abcx");
        assert_eq!(spelled(b"_a-"), b"-_a");
        assert_eq!(spelled(b"-a"), b"-a");
        assert_eq!(spelled(b"\xfe-\xff"), b"\xfe\xff");
    }
}
