//! Names of slots, and how they travel through the kernel.
//!
//! `user_data` is `index (32 high bits) | generation (28 bits) | tag (4 low bits)`. A tag is never
//! 0, so `user_data` 0 is never valid.
//!
//! # Why a generation
//!
//! A slot is used again as soon as its last operation has left it, but completions that carry its
//! index may still appear: a fault in a kernel or an emulation may report one operation twice, a
//! restart of the driver may meet the rest of an older ring, and a message from another ring
//! carries whatever its sender wrote. Without a generation such a completion would end the
//! operation that lives in the slot *now*, and give its buffer back while the kernel writes to it.
//! The generation changes at each reuse, so the stranger does not match and is ignored.
//!
//! # Why 28 bits are enough
//!
//! A stray completion is mistaken for a current one only if exactly a multiple of 2^28 (268
//! million) operations passed through the same slot since. A slot carries at most one operation at
//! a time, and none is freed before the kernel has reported its last completion (the operation's
//! and its cancel's), so in a correct kernel nothing outlives even one reuse. For a faulty one, a
//! slot at a million operations per second needs more than four minutes to come round, and the
//! stray completion would have to arrive at that very operation. Free slots are used last in,
//! first out for the sake of the caches; the figure above is for the busiest slot.

use core::fmt;

/// What a completion answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Tag {
    /// An operation of the table.
    Operation = 1,
    /// The request to cancel an operation of the table.
    Cancel = 2,
    /// The driver's own timer.
    Timer = 3,
    /// The driver's own wake-up.
    Wake = 4,
}

impl Tag {
    #[inline]
    const fn bits(self) -> u32 {
        match self {
            Tag::Operation => 1,
            Tag::Cancel => 2,
            Tag::Timer => 3,
            Tag::Wake => 4,
        }
    }
}

const TAG_BITS: u32 = 4;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;
/// Added to a stamp, changes its generation and leaves its tag alone, wrap-around included.
pub(crate) const NEXT_GENERATION: u32 = 1 << TAG_BITS;
/// Tag and generation of a slot that was never used.
pub(crate) const FIRST_STAMP: u32 = Tag::Operation.bits();

/// The name of one operation in one table: a slot and the generation of its present use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    /// Generation and [`Tag::Operation`], as in the low half of `user_data`: comparing with a
    /// slot is one instruction.
    stamp: u32,
}

impl Key {
    /// The key of slot `index` in `generation`, of which the low 28 bits count.
    #[inline]
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Key {
        Key { index, stamp: (generation << TAG_BITS) | FIRST_STAMP }
    }

    #[inline]
    pub(crate) const fn from_stamp(index: u32, stamp: u32) -> Key {
        Key { index, stamp }
    }

    /// Generation and tag as the slot stores them.
    #[inline]
    pub(crate) const fn stamp(self) -> u32 {
        self.stamp
    }

    /// The slot.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The use of the slot, in 28 bits.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.stamp >> TAG_BITS
    }

    /// The word that travels through the kernel (`user_data` of `io_uring_enter(2)`).
    #[inline]
    #[must_use]
    pub fn user_data(self, tag: Tag) -> u64 {
        if matches!(tag, Tag::Operation) {
            return self.word();
        }
        (u64::from(self.index) << 32) | u64::from((self.stamp & !TAG_MASK) | tag.bits())
    }

    /// `user_data(Tag::Operation)`, which is what a key is made of.
    #[inline]
    pub(crate) fn word(self) -> u64 {
        (u64::from(self.index) << 32) | u64::from(self.stamp)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}@{})", self.index, self.generation())
    }
}

/// The inverse of [`Key::user_data`]; `None` for a word that no key makes.
#[inline]
#[must_use]
pub fn decode(user_data: u64) -> Option<(Tag, Key)> {
    let (index, low) = halves(user_data);
    let tag = match low & TAG_MASK {
        1 => Tag::Operation,
        2 => Tag::Cancel,
        3 => Tag::Timer,
        4 => Tag::Wake,
        _ => return None,
    };
    Some((tag, Key::from_stamp(index, (low & !TAG_MASK) | FIRST_STAMP)))
}

/// The high and the low half of `user_data`.
#[inline]
#[expect(clippy::as_conversions, reason = "cutting a word in halves is a truncation by intent")]
pub(crate) const fn halves(user_data: u64) -> (u32, u32) {
    ((user_data >> 32) as u32, user_data as u32)
}

/// An index into the vector of slots.
#[inline]
#[expect(clippy::as_conversions, reason = "widening; asserted below for the target")]
pub(crate) const fn position(index: u32) -> usize {
    index as usize
}

const _: () = assert!(usize::BITS >= u32::BITS, "an index must fit into a usize");
