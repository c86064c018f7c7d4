//! Where a detector has to look: three-byte grams, case ignored, found at a few bytes a nanosecond.
//!
//! Each detector names a gram that every secret of its kind shows. One multiplication and one look into a table of 8 KiB
//! tell of nearly every position that it has none; nothing there depends on the byte before.

const BITS: u32 = 13;
/// Bytes of a gram.
pub(crate) const LENGTH: usize = 3;

/// A gram, case folded.
type Gram = u32;

/// Finds grams.
#[derive(Debug)]
pub(crate) struct Grams {
    /// By hash: nothing, or one more than a place in `buckets`.
    slots: Box<[u8; 1 << BITS]>,
    buckets: Vec<Vec<(Gram, u16)>>,
}

impl Grams {
    /// Finds the grams of `all`, each with what is to be told of it.
    pub(crate) fn new(all: impl IntoIterator<Item = ([u8; LENGTH], u16)>) -> Self {
        let mut grams = Self { slots: Box::new([0; 1 << BITS]), buckets: Vec::new() };
        for ([a, b, c], detector) in all {
            let gram = folded(u32::from_le_bytes([a, b, c, 0]));
            let slot = &mut grams.slots[hash(gram)];
            // Out of buckets, the last one takes them all: slower, never wrong.
            if *slot == 0 && grams.buckets.len() < 255 {
                grams.buckets.push(Vec::new());
            }
            if *slot == 0 {
                *slot = u8::try_from(grams.buckets.len()).unwrap_or(u8::MAX);
            }
            grams.buckets[usize::from(*slot) - 1].push((gram, detector));
        }
        grams
    }

    /// The first position from `from` on where a gram may be, if any is complete.
    #[inline]
    pub(crate) fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        // Six grams begin in the first six of eight bytes.
        while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word) | 0x2020_2020_2020_2020;
            let slot = |shift: u32| self.slots[hash((word >> shift) as u32 & 0xff_ffff)];
            if slot(0) | slot(8) | slot(16) | slot(24) | slot(32) | slot(40) != 0 {
                for step in 0..6 {
                    if slot(8 * step) != 0 {
                        return Some(at + step as usize);
                    }
                }
            }
            at += 6;
        }
        let rest = bytes.get(at..)?;
        let found = rest.windows(LENGTH).position(|gram| self.slots[hash(read(gram))] != 0);
        found.map(|found| at + found)
    }

    /// What was to be told of the gram at `at`.
    pub(crate) fn at(&self, bytes: &[u8], at: usize) -> impl Iterator<Item = u16> {
        let gram = read(&bytes[at..at + LENGTH]);
        let slot = usize::from(self.slots[hash(gram)]);
        let bucket = slot.checked_sub(1).map(|bucket| self.buckets[bucket].iter());
        bucket.into_iter().flatten().filter(move |(is, _)| *is == gram).map(|(_, detector)| *detector)
    }
}

#[inline]
fn read(gram: &[u8]) -> Gram {
    folded(u32::from_le_bytes([gram[0], gram[1], gram[2], 0]))
}

/// Letters without their case; other bytes may fall together, which costs a look and nothing else.
#[inline]
const fn folded(gram: u32) -> Gram {
    gram | 0x0020_2020
}

#[inline]
const fn hash(gram: Gram) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(grams: &Grams, bytes: &[u8]) -> Vec<(usize, u16)> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = grams.find(bytes, from) {
            found.extend(grams.at(bytes, at).map(|detector| (at, detector)));
            from = at + 1;
        }
        found
    }

    proptest! {
        #[test]
        fn every_gram_is_found(text in "[a-cA-C:/ ]{0,60}") {
            let wanted: [&[u8; 3]; 4] = [b"abc", b"ABA", b"://", b"cc "];
            let grams = Grams::new(wanted.iter().zip(0..).map(|(gram, told)| (**gram, told)));
            let plain: Vec<(usize, u16)> = text
                .as_bytes()
                .windows(3)
                .enumerate()
                .flat_map(|(at, window)| {
                    let told = (0..).zip(wanted).filter(|(_, gram)| window.eq_ignore_ascii_case(*gram));
                    told.map(move |(told, _)| (at, told)).collect::<Vec<_>>()
                })
                .collect();
            prop_assert_eq!(all(&grams, text.as_bytes()), plain);
        }
    }

    #[test]
    fn more_grams_than_buckets() {
        let grams = Grams::new((0..2000_u16).map(|told| {
            let [a, b] = told.to_be_bytes();
            ([b'a' + a, b'a' + (b >> 4), b'a' + (b & 15)], told)
        }));
        for told in 0..2000_u16 {
            let [a, b] = told.to_be_bytes();
            assert_eq!(all(&grams, &[b'a' + a, b'a' + (b >> 4), b'a' + (b & 15)]), [(0, told)]);
        }
    }
}
