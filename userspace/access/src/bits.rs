//! Sets of role numbers. A thousand roles are two cache lines, which is what makes a decision fast.

/// A set of small numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn insert(&mut self, n: u32) {
        let n = n as usize;
        if self.0.len() <= n / 64 {
            self.0.resize(n / 64 + 1, 0);
        }
        self.0[n / 64] |= 1 << (n % 64);
    }

    pub(crate) fn contains(&self, n: u32) -> bool {
        let n = n as usize;
        self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    pub(crate) fn add(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// The numbers that are in both, ascending.
    pub(crate) fn both<'a>(&'a self, other: &'a Bits) -> impl Iterator<Item = u32> + 'a {
        let words = (0..).zip(self.0.iter().zip(&other.0).map(|(a, b)| a & b));
        words.flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                word &= word.checked_sub(1)?; // clears the lowest bit; nothing is left of 0
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bits(set: &BTreeSet<u32>) -> Bits {
        let mut bits = Bits::default();
        set.iter().for_each(|&n| bits.insert(n));
        bits
    }

    proptest! {
        #[test]
        fn they_are_sets(a in prop::collection::btree_set(0..300u32, 0..40), b in prop::collection::btree_set(0..300u32, 0..40)) {
            let common: Vec<u32> = a.intersection(&b).copied().collect();
            prop_assert_eq!(bits(&a).both(&bits(&b)).collect::<Vec<_>>(), common);
            let mut all = bits(&a);
            all.add(&bits(&b));
            for n in 0..400 {
                prop_assert_eq!(all.contains(n), a.contains(&n) || b.contains(&n));
            }
        }
    }
}
