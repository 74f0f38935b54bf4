//! Choices from the seed: the same seed makes the same choices. What they meet is the kernel's affair.

use std::time::Duration;

use crate::data::Rng;
use crate::num::count;

/// Mixes numbers into the start of an independent sequence.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    let mut state = 0;
    for part in parts {
        state = Rng::new(state ^ part).next();
    }
    state
}

/// A sequence of choices.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Rng);

impl Dice {
    pub(crate) fn new(parts: &[u64]) -> Self {
        Self(Rng::new(mix(parts)))
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.next()
    }

    /// A number less than `limit`, which is less than 2^32; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((self.0.next() >> 32) * limit) >> 32
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the values.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T], otherwise: T) -> T {
        let at = self.below(count(values.len()));
        usize::try_from(at).ok().and_then(|at| values.get(at)).copied().unwrap_or(otherwise)
    }

    /// A number of bytes, at least 1: mostly few, sometimes many.
    pub(crate) fn bytes(&mut self, most: usize) -> usize {
        let class = self.pick(&[16, 16, 512, 512, 4096, 65_536], 16).min(count(most).max(1));
        usize::try_from(1 + self.below(class)).unwrap_or(1)
    }

    /// A short time: from nothing to `most` microseconds, short ones more often.
    pub(crate) fn pause(&mut self, most: u64) -> Duration {
        let class = self.pick(&[10, 100, most], most).min(most);
        Duration::from_nanos(1000 * self.below(class + 1) + self.below(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let draw = |seed| {
            let mut dice = Dice::new(&[seed, 3]);
            (0..100).map(|_| dice.bytes(70_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|n| (1..=65_536).contains(n)));
        assert!((0..1000).all(|seed| Dice::new(&[seed]).bytes(7) <= 7));
    }
}
