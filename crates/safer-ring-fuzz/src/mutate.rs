//! New inputs from those that are known.

/// Bytes of the longest input.
const LONGEST: usize = 1024;
/// Changes made to an input at a time, at most.
const CHANGES: usize = 8;
const STRIKING: [u8; 8] = [0, 1, 2, 7, 0x40, 0x7f, 0x80, 0xff];

/// Random numbers (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A changed copy of one of the inputs.
pub(crate) fn mutate(known: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let one = |random: &mut Random| known.get(random.below(known.len())).cloned();
    let mut input = one(random).unwrap_or_default();
    for _ in 0..=random.below(CHANGES) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                let new = random.byte();
                input.get_mut(at).into_iter().for_each(|byte| *byte = new);
            }
            2 => {
                let new = STRIKING.get(random.below(STRIKING.len())).copied().unwrap_or_default();
                input.get_mut(at).into_iter().for_each(|byte| *byte = new);
            }
            3 => {
                let new: Vec<u8> = (0..=random.below(16)).map(|_| random.byte()).collect();
                input.splice(at..at, new);
            }
            4 => {
                let end = (at + random.below(32)).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let end = (at + random.below(32)).min(input.len());
                let again = input.get(at..end).unwrap_or_default().to_vec();
                input.splice(at..at, again);
            }
            6 => {
                let other = one(random).unwrap_or_default();
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => input.push(random.byte()),
        }
    }
    input.truncate(LONGEST);
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_inputs_stay_short() {
        let known = [vec![1; LONGEST], Vec::new()];
        let (mut one, mut other) = (Random::new(3), Random::new(3));
        for _ in 0..1000 {
            let input = mutate(&known, &mut one);
            assert_eq!(input, mutate(&known, &mut other));
            assert!(input.len() <= LONGEST);
        }
    }
}
