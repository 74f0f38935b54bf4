//! The bytes of a stream: each depends on the stream and on its offset, so that a byte that is missing, doubled or from
//! elsewhere is seen.

use std::fmt;

use crate::num::count;

const WORD: usize = 8;
/// How far around the right place a wrong byte is looked for.
const REACH: u64 = 1 << 18;
/// Fewer bytes than this could match by chance.
const TELLING: usize = 6;

fn word(stream: u64, index: u64) -> [u8; WORD] {
    // The finalizer of splitmix64: neighbours share nothing.
    let mut z = stream ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// The bytes of a stream from an offset on, a piece of a word at a time.
fn pieces(stream: u64, offset: u64) -> impl Iterator<Item = ([u8; WORD], usize)> {
    let skip = usize::try_from(offset % 8).unwrap_or(0);
    let first = offset / 8;
    (0..).map(move |n: u64| (word(stream, first + n), if n == 0 { skip } else { 0 }))
}

/// Writes what belongs at `offset` of `stream`.
pub(crate) fn fill(bytes: &mut [u8], stream: u64, offset: u64) {
    let mut rest = bytes;
    for (word, skip) in pieces(stream, offset) {
        let source = word.get(skip..).unwrap_or_default();
        let len = source.len().min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        now.copy_from_slice(source.get(..len).unwrap_or_default());
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

/// Whether the bytes are those that belong at `offset` of `stream`.
pub(crate) fn matches(bytes: &[u8], stream: u64, offset: u64) -> bool {
    first_wrong(bytes, stream, offset).is_none()
}

fn first_wrong(bytes: &[u8], stream: u64, offset: u64) -> Option<usize> {
    let mut done = 0;
    for (word, skip) in pieces(stream, offset) {
        let rest = bytes.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let source = word.get(skip..).unwrap_or_default();
        if let Some(at) = source.iter().zip(rest).position(|(right, got)| right != got) {
            return Some(done + at);
        }
        done += source.len().min(rest.len());
    }
    None
}

/// What is wrong with the bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Where the first wrong byte should have been in the stream.
    pub(crate) offset: u64,
    expected: [u8; WORD],
    got: [u8; WORD],
    pub(crate) kind: Kind,
}

/// What became of the bytes, as far as those that came instead tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many bytes are missing: what came belongs behind them.
    Lost(u64),
    /// What came had come before, so many bytes earlier.
    Repeated(u64),
    /// It belongs nowhere near.
    Foreign,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, got, kind } = self;
        write!(f, "offset {offset}: expected {expected:02x?}, got {got:02x?}: ")?;
        match kind {
            Kind::Lost(n) => write!(f, "{n} bytes are missing"),
            Kind::Repeated(n) => write!(f, "these came already, {n} bytes earlier"),
            Kind::Foreign => f.write_str("these belong nowhere near"),
        }
    }
}

/// Checks that the bytes are those that belong at `offset` of `stream`.
pub(crate) fn check(bytes: &[u8], stream: u64, offset: u64) -> Result<(), Wrong> {
    match first_wrong(bytes, stream, offset) {
        None => Ok(()),
        Some(at) => Err(explain(bytes.get(at..).unwrap_or_default(), stream, offset + count(at))),
    }
}

#[cold]
fn explain(bytes: &[u8], stream: u64, offset: u64) -> Wrong {
    let mut expected = [0; WORD];
    fill(&mut expected, stream, offset);
    let mut got = [0; WORD];
    got.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let sample = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    let mut kind = Kind::Foreign;
    if sample.len() >= TELLING {
        for distance in 1..REACH {
            if matches(sample, stream, offset + distance) {
                kind = Kind::Lost(distance);
                break;
            }
            if distance <= offset && matches(sample, stream, offset - distance) {
                kind = Kind::Repeated(distance);
                break;
            }
        }
    }
    Wrong { offset, expected, got, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stream: u64, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fill(&mut bytes, stream, offset);
        bytes
    }

    #[test]
    fn any_way_to_cut_a_stream_gives_the_same_bytes() {
        let whole = piece(7, 0, 100);
        for from in 0..40 {
            for len in 0..60 {
                let bytes = piece(7, from, len);
                let from = usize::try_from(from).unwrap();
                assert_eq!(bytes, whole[from..from + len]);
                assert_eq!(check(&bytes, 7, count(from)), Ok(()));
            }
        }
        assert_ne!(whole, piece(8, 0, 100));
    }

    #[test]
    fn a_loss_and_a_repetition_are_told_apart() {
        let kind = |bytes: &[u8], at| check(bytes, 7, at).unwrap_err().kind;
        assert_eq!(kind(&piece(7, 1037, 20), 1000), Kind::Lost(37));
        assert_eq!(kind(&piece(7, 990, 20), 1000), Kind::Repeated(10));
        assert_eq!(kind(&piece(9, 1000, 20), 1000), Kind::Foreign);
        let mut late = piece(7, 0, 50);
        late.extend(piece(7, 51, 30));
        let wrong = check(&late, 7, 0).unwrap_err();
        assert_eq!((wrong.offset, wrong.kind), (50, Kind::Lost(1)));
    }

    #[test]
    fn a_single_wrong_byte_is_found_wherever_it_is() {
        for at in 0..33 {
            let mut bytes = piece(1, 5, 33);
            bytes[at] ^= 1;
            assert_eq!(check(&bytes, 1, 5).unwrap_err().offset, 5 + count(at));
        }
    }
}
