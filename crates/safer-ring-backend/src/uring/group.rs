//! The buffers that multishot receives pick from: one group for a kernel ring, made when it is first needed.
//!
//! They are buffers of a pool. One lies here as raw parts while the kernel may pick it; the completion that names it makes
//! it whole again, with what was received, and another one takes its place. Few are lent at first; more each time that
//! receives find none, and fewer when less comes at a time.
//!
//! # Safety
//! A lent buffer is touched by nobody until a completion names it. Should receives be in flight that the driver cannot
//! see the end of, it asks for [`Buffers::leak`] before it goes.
//!
//! Tests: a_stream_of_receives_is_one_submission, buffers_that_run_out_end_no_stream
#![allow(unsafe_code, reason = "lends buffers to a kernel that picks among them")]

use safer_ring_buf::{BufferPool, IoBuf, IoBufMut, Lease, PooledBuffer};
use safer_ring_sys::{BufRing, Cqe, Errno, Uring};

use super::other::Other;
use super::setup::steadily;
use super::source::Source;

/// Size of each buffer, in bytes.
const SIZE: usize = 16 * 1024;
/// Most buffers of a group: those that the kernel may pick, and those that have been received into and are in use.
const COUNT: u16 = 1024;
/// Buffers that are lent at first.
const FIRST: usize = 32;
/// Enters after which it is looked whether fewer buffers would do.
const WHILE: u32 = 256;
/// The number of the only group: one that raw entries will not happen to use.
const GROUP: u16 = 0x5afe;

type Lent = (Lease, <PooledBuffer as IoBuf>::Rest);

/// The group of a kernel ring, if there is one.
#[derive(Default)]
pub(super) enum Buffers {
    /// Nobody has asked for it yet.
    #[default]
    Unknown,
    There(Box<Group>),
    /// The kernel does not have such groups, or not for this ring; none is lent any more.
    Never,
    /// The kernel has refused to pick from it.
    Refused(Box<Group>),
}

impl Buffers {
    /// The number of the group, which is made if the ring may have one.
    pub(super) fn number(
        &mut self,
        ring: (&Uring, Option<&Other>),
        may: bool,
    ) -> Result<u16, Errno> {
        if matches!(self, Buffers::Unknown) {
            let group = if may { Group::register(ring).ok() } else { None };
            *self = group.map_or(Buffers::Never, |group| Buffers::There(Box::new(group)));
        }
        let Buffers::There(group) = self else { return Err(Errno::OPNOTSUPP) };
        if group.lent() == 0 {
            // All were in use; some may have come back.
            group.fill();
        }
        if group.lent() == 0 { Err(Errno::NOBUFS) } else { Ok(GROUP) }
    }

    /// The buffer that a completion names, with the bytes that it says; nothing if it names none that is lent.
    /// `enters` as in [`Backend::take_picked`](crate::backend::Backend::take_picked).
    pub(super) fn take(&mut self, flags: u32, count: usize, enters: u64) -> Option<PooledBuffer> {
        match self {
            Buffers::There(group) | Buffers::Refused(group) => {
                group.count(enters);
                group.take(flags, count)
            }
            Buffers::Unknown | Buffers::Never => None,
        }
    }

    /// A receive has ended with this error; `enters` as in [`Buffers::take`].
    pub(super) fn failed(&mut self, errno: Errno, enters: u64) {
        match (errno, std::mem::take(self)) {
            (Errno::NOBUFS, Buffers::There(mut group)) => {
                group.grow(enters);
                *self = Buffers::There(group);
            }
            (Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS, Buffers::There(group)) => {
                *self = Buffers::Refused(group);
            }
            (_, same) => *self = same,
        }
    }

    /// The kernel may go on to use the memory when the ring is gone.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(self, Buffers::Never));
    }
}

/// How many buffers were picked between two enters.
#[derive(Debug, Default)]
struct Burst {
    enters: u64,
    picked: usize,
    /// The most of some time.
    most: usize,
    /// Enters after which buffers were picked, in that time.
    times: u32,
}

impl Burst {
    /// Counts one that was picked after so many enters. Gives the most that were picked after one, once in a while.
    #[inline]
    fn count(&mut self, enters: u64) -> Option<usize> {
        let most = if enters == self.enters { None } else { self.begin(enters) };
        self.picked += 1;
        most
    }

    fn begin(&mut self, enters: u64) -> Option<usize> {
        self.enters = enters;
        self.most = self.most.max(std::mem::take(&mut self.picked));
        self.times += 1;
        (self.times == WHILE).then(|| {
            self.times = 0;
            std::mem::take(&mut self.most)
        })
    }
}

pub(super) struct Group {
    ring: Source,
    /// By the number that a completion names.
    lent: Vec<Option<Lent>>,
    /// Numbers without a buffer.
    free: Vec<u16>,
    pool: BufferPool,
    /// How many are to be lent at a time; fewer, down to half of it, before more are.
    wanted: usize,
    burst: Burst,
    /// After so many enters were the last receives that found none.
    grown: u64,
    /// Empty: the place for buffers between the pool and the kernel.
    spare: Vec<PooledBuffer>,
}

impl Group {
    fn register((uring, other): (&Uring, Option<&Other>)) -> Result<Self, Errno> {
        if let Some(shelf) = other.and_then(|other| other.shelf(GROUP)) {
            return Ok(Self::of(Source::World(shelf)));
        }
        let ring = BufRing::new(COUNT)?;
        // SAFETY: `Group` keeps the memory of the ring and of each buffer in it, until the ring of the kernel is closed and
        // no receive is in flight any more: the last two fields of a driver that go are its backend, and this with it; or for
        // ever (`Buffers::leak`). A buffer in the ring is raw parts in `lent`, and no other reference to it exists.
        steadily(|| unsafe { uring.register_buf_ring(&ring.description(GROUP)) })?;
        Ok(Self::of(Source::Kernel(ring)))
    }

    fn of(ring: Source) -> Self {
        let lent = std::iter::repeat_with(|| None).take(usize::from(COUNT)).collect();
        let free = (0..COUNT).rev().collect();
        let pool = BufferPool::new(usize::from(COUNT), SIZE);
        let mut group = Self {
            ring,
            lent,
            free,
            pool,
            wanted: FIRST,
            burst: Burst::default(),
            grown: 0,
            spare: Vec::new(),
        };
        group.fill();
        group
    }

    /// Buffers that the kernel may pick, as far as anybody knows.
    fn lent(&self) -> usize {
        self.lent.len() - self.free.len()
    }

    /// Lends as many buffers as there are to be, if the pool has them.
    fn fill(&mut self) {
        let missing = self.wanted.saturating_sub(self.lent());
        self.pool.take_many(missing, &mut self.spare);
        for buffer in self.spare.drain(..) {
            let Some(bid) = self.free.pop() else { break };
            let (lease, rest) = buffer.lend();
            let len = super::transfer(lease.capacity());
            // SAFETY: a number is in `free` until its buffer is pushed, and again when a completion has named it, so at most
            // `COUNT` of them are in the ring, which has so many entries. The memory is that of the lease, which stays in
            // `lent` until then.
            unsafe { self.ring.push(lease.ptr(), len, bid) };
            if let Some(place) = self.lent.get_mut(usize::from(bid)) {
                *place = Some((lease, rest));
            }
        }
        self.ring.publish();
    }

    /// Lends fewer when fewer are picked at a time: the kernel takes them in turn, and those that are used often are in the
    /// caches.
    #[inline]
    fn count(&mut self, enters: u64) {
        if let Some(most) = self.burst.count(enters) {
            // Half of them are there at least, before more are lent.
            self.wanted = self.wanted.min((2 * most).next_power_of_two()).max(FIRST);
        }
    }

    /// Receives have found no buffer: more are lent from now on. All that found none after one enter lacked the same ones.
    fn grow(&mut self, enters: u64) {
        if self.grown != enters {
            self.grown = enters;
            self.wanted = (2 * self.wanted).min(self.lent.len());
        }
        self.fill();
    }

    fn take(&mut self, flags: u32, count: usize) -> Option<PooledBuffer> {
        let bid = Cqe { flags, ..Cqe::default() }.buffer_id()?;
        let (lease, rest) = self.lent.get_mut(usize::from(bid))?.take()?;
        self.free.push(bid);
        // SAFETY: both come from one `lend`. The kernel has given the buffer up by naming it (io_uring_enter(2),
        // IORING_CQE_F_BUFFER), and has filled its first `count` bytes; what exceeds the capacity is cut.
        let buffer = unsafe { PooledBuffer::reclaim_filled(lease, rest, count) };
        if self.lent() <= self.wanted / 2 {
            self.fill();
        }
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_at_a_time_is_told_once_in_a_while() {
        let mut burst = Burst::default();
        for enter in 1..=3 * u64::from(WHILE) {
            let told = burst.count(enter);
            assert_eq!(told, enter.is_multiple_of(WHILE.into()).then_some(10), "{enter}");
            for _ in 0..9 {
                assert_eq!(burst.count(enter), None);
            }
        }
    }
}
