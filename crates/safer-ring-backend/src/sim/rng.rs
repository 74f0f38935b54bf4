//! The one source of chance of a world: SplitMix64.

/// A generator.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `limit`; 0 if that is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// An index of something with `len` places.
    pub(super) fn index(&mut self, len: usize) -> usize {
        super::narrow(self.below(super::wide(len)))
    }

    /// Whether something happens that does so `per_mille` times in a thousand. What never happens draws nothing.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let at = self.index(all.len());
        all.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_again_and_never_is_never() {
        let (mut one, mut other) = (Rng::new(7), Rng::new(7));
        for _ in 0..100 {
            assert_eq!(one.next(), other.next());
            assert!(one.below(10) < 10);
            other.below(10);
        }
        let before = one.clone().next();
        assert!(!one.chance(0));
        assert_eq!((one.below(0), one.index(0)), (0, 0), "an empty choice");
        let mut same = Rng::new(1);
        assert!((0..50).all(|_| same.chance(1000)));
        assert_ne!(one.next(), before);
    }
}
