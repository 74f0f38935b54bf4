//! A part of a buffer. Arithmetic only; lending it is in `impls.rs`.

use std::fmt;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};

use crate::traits::{IoBuf, IoBufMut};

/// End of a slice that was given none: as far as the operation can go.
const OPEN: usize = usize::MAX;

/// A part of a buffer, made by [`IoBuf::slice`]: a read fills only this part, a write sends only this part.
///
/// It dereferences to the initialised part of its range.
#[derive(Clone, PartialEq, Eq)]
pub struct Slice<B> {
    base: B,
    /// At most the initialised length of `base`.
    begin: usize,
    /// `begin..=base.len_max()`, or `OPEN`.
    end: usize,
}

/// What stays with the caller while a [`Slice`] is lent: the bounds, and the lengths of the whole.
#[derive(Debug)]
pub struct SliceRest<R> {
    pub(crate) rest: R,
    pub(crate) begin: usize,
    pub(crate) asked_begin: usize,
    pub(crate) end: usize,
    pub(crate) init: usize,
    pub(crate) capacity: usize,
}

/// The range as `(begin, end)` if it is within `init` (its start) and `max` (its end); an absent end is `None`.
fn bounds(
    range: &impl RangeBounds<usize>,
    init: usize,
    max: usize,
) -> Option<(usize, Option<usize>)> {
    let begin = match range.start_bound() {
        Bound::Included(&begin) => begin,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => Some(last.checked_add(1)?),
        Bound::Excluded(&end) => Some(end),
        Bound::Unbounded => None,
    };
    let within = begin <= init && end.is_none_or(|end| begin <= end && end <= max);
    within.then_some((begin, end))
}

#[cold]
#[track_caller]
fn out_of_bounds(range: &impl RangeBounds<usize>, init: usize, max: usize) -> ! {
    panic!(
        "slice {:?}, {:?} is out of bounds: its start may be at most {init}, its end at most {max}",
        range.start_bound(),
        range.end_bound()
    )
}

impl<B: IoBuf> Slice<B> {
    #[inline]
    pub(crate) fn try_of(base: B, range: impl RangeBounds<usize>) -> Result<Slice<B>, B> {
        match bounds(&range, base.len_init(), base.len_max()) {
            Some((begin, end)) => Ok(Slice { base, begin, end: end.unwrap_or(OPEN) }),
            None => Err(base),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn of(base: B, range: impl RangeBounds<usize>) -> Slice<B> {
        let (init, max) = (base.len_init(), base.len_max());
        match bounds(&range, init, max) {
            Some((begin, end)) => Slice { base, begin, end: end.unwrap_or(OPEN) },
            None => out_of_bounds(&range, init, max),
        }
    }

    /// Makes the slice again from parts of one.
    #[inline]
    pub(crate) fn from_parts(base: B, begin: usize, end: usize) -> Slice<B> {
        Slice { base, begin, end }
    }

    /// Buffer, begin, end (`usize::MAX` if it is open).
    #[inline]
    pub(crate) fn into_parts(self) -> (B, usize, usize) {
        (self.base, self.begin, self.end)
    }

    /// Where the slice begins in the buffer, in bytes.
    #[inline]
    #[must_use]
    pub fn begin(&self) -> usize {
        self.begin
    }

    /// Where the slice ends in the buffer, in bytes: at most [`len_max`](IoBuf::len_max) of the buffer.
    #[inline]
    #[must_use]
    pub fn end(&self) -> usize {
        self.end.min(self.base.len_max())
    }

    /// The whole buffer.
    #[inline]
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.base
    }

    /// Gives the whole buffer back.
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> B {
        self.base
    }

    /// A part of this part, with bounds relative to it. The result is a slice of the same buffer: slices do not nest.
    ///
    /// # Panics
    ///
    /// If the range is out of bounds; see [`IoBuf::slice`].
    #[inline]
    #[track_caller]
    #[must_use]
    pub fn slice(self, range: impl RangeBounds<usize>) -> Slice<B> {
        let (init, max) = (self.len_init(), self.len_max());
        match bounds(&range, init, max) {
            Some((begin, end)) => self.within(begin, end),
            None => out_of_bounds(&range, init, max),
        }
    }

    /// As [`slice`](Slice::slice), for a range that may be out of bounds.
    ///
    /// # Errors
    ///
    /// The slice itself, if the range is out of bounds.
    #[inline]
    pub fn try_slice(self, range: impl RangeBounds<usize>) -> Result<Slice<B>, Slice<B>> {
        match bounds(&range, self.len_init(), self.len_max()) {
            Some((begin, end)) => Ok(self.within(begin, end)),
            None => Err(self),
        }
    }

    /// The bounds are checked: neither sum exceeds `base.len_max()`.
    #[inline]
    fn within(self, begin: usize, end: Option<usize>) -> Slice<B> {
        let end = end.map_or(self.end, |end| self.begin + end);
        Slice { begin: self.begin + begin, end, base: self.base }
    }

    /// The initialised part of the range.
    #[inline]
    pub(crate) fn init(&self) -> &[u8] {
        let whole = self.base.as_init();
        whole.get(self.begin..self.end.min(whole.len())).unwrap_or_default()
    }
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.init()
    }
}

impl<B: IoBufMut> DerefMut for Slice<B> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let whole = self.base.as_init_mut();
        let end = self.end.min(whole.len());
        whole.get_mut(self.begin..end).unwrap_or_default()
    }
}

impl<B: IoBuf> AsRef<[u8]> for Slice<B> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<B: IoBufMut> AsMut<[u8]> for Slice<B> {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl<B: IoBuf> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("begin", &self.begin)
            .field("end", &self.end())
            .field("len", &self.init().len())
            .finish_non_exhaustive()
    }
}
