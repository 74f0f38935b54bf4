//! One ring: its descriptor, its mapped queues, and `io_uring_enter(2)`.
//!
//! # Safety
//! Joins the queues to the memory that the kernel provides, and passes on the one promise that the
//! kernel cannot check: that what a submission names stays valid until its final completion.
//!
//! Tests: nops_complete_under_every_combination_of_flags, entries_of_128_bytes, a_registered_index_is_used_on_its_thread_only
#![allow(unsafe_code, reason = "gives the kernel addresses of the caller")]

use core::ffi::c_void;
use core::ptr::NonNull;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::mmap::Mapping;
use crate::program_side::InMemory;
use crate::queue::{CompletionQueue, CqParts, Layout, SqParts, SubmissionQueue};
use crate::uapi::cqe::{Cqe, Cqe32};
use crate::uapi::flags::{enter, feat, mmap_offset, setup};
use crate::uapi::register::{GetEventsArg, RsrcUpdate, Timespec, register_op};
use crate::uapi::setup::Params;
use crate::uapi::sqe::{Sqe, Sqe128};
use crate::uapi::{address, index};
use crate::{Errno, Push128Error, SqFull, fork, syscall, thread};

/// A ring of `io_uring(7)`.
///
/// Dropping it unmaps the queues and closes the descriptor. **That is not a barrier**: the kernel may
/// go on using the memory of requests in flight. Reap every final completion first, or [`leak`] the
/// ring and the memory.
///
/// In a forked child the queues are not mapped: a ring of the parent may only be dropped there, which
/// closes the child's copy of the descriptor and does nothing else. [`is_alive`] tells.
///
/// [`leak`]: Uring::leak
/// [`is_alive`]: Uring::is_alive
#[derive(Debug)]
pub struct Uring {
    sq: SubmissionQueue,
    cq: CompletionQueue,
    params: Params,
    registered: RegisteredIndex,
    epoch: u32,
    // Unmapped before the descriptor is closed: fields are dropped in this order.
    #[expect(dead_code, reason = "owns the memory under the queues")]
    maps: Maps,
    fd: OwnedFd,
}

/// The ring's index in the table of one thread.
#[derive(Debug)]
struct RegisteredIndex {
    owner: u64,
    index: RawFd,
}

/// The memory under the queues.
#[derive(Debug)]
struct Maps {
    /// Shared with the other side, where that is in this program.
    rings: Arc<Mapping>,
    /// The CQ ring, where it has a mapping of its own (before Linux 5.4).
    completions: Option<Mapping>,
    entries: Mapping,
}

impl Uring {
    /// Makes a ring. `params` says what is wanted: `flags`, `cq_entries` (with `CQSIZE`),
    /// `sq_thread_cpu`, `sq_thread_idle`, `wq_fd`; its other fields are ignored.
    ///
    /// # Errors
    /// Those of `io_uring_setup(2)` and `mmap(2)`: among them `EINVAL` (`entries` is 0 or too large,
    /// or a flag is unknown), `ENOSYS`, `EPERM`, `EMFILE`, `ENOMEM`. Also `EINVAL` for `NO_MMAP` and
    /// `REGISTERED_FD_ONLY`, which need memory of the caller, and `EPROTO` if the kernel describes
    /// queues that do not fit their mapping.
    pub fn new(entries: u32, params: Params) -> Result<Uring, Errno> {
        if params.flags & (setup::NO_MMAP | setup::REGISTERED_FD_ONLY) != 0 {
            return Err(Errno::INVAL);
        }
        let epoch = fork::arm()?;
        let mut params = Params {
            cq_entries: params.cq_entries,
            flags: params.flags,
            sq_thread_cpu: params.sq_thread_cpu,
            sq_thread_idle: params.sq_thread_idle,
            wq_fd: params.wq_fd,
            ..Params::default()
        };
        let fd = syscall::setup(entries, &mut params)?;
        let maps = Maps::new(fd.as_fd(), &params)?;
        Uring::of(params, epoch, maps, fd)
    }

    /// See [`Uring::in_memory`].
    pub(crate) fn over(memory: InMemory, fd: OwnedFd) -> Result<Uring, Errno> {
        let InMemory { params, rings, entries } = memory;
        Uring::of(params, fork::arm()?, Maps { rings, completions: None, entries }, fd)
    }

    fn of(params: Params, epoch: u32, maps: Maps, fd: OwnedFd) -> Result<Uring, Errno> {
        let (sq, cq) = maps.queues(&params).ok_or(Errno::PROTO)?;
        let registered = RegisteredIndex { owner: thread::NOBODY, index: -1 };
        Ok(Uring { sq, cq, params, registered, epoch, maps, fd })
    }

    /// What the kernel answered.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Bits of [`feat`].
    #[must_use]
    pub fn features(&self) -> u32 {
        self.params.features
    }

    /// Bits of [`setup`].
    #[must_use]
    pub fn setup_flags(&self) -> u32 {
        self.params.flags
    }

    /// Entries of the SQ.
    #[must_use]
    pub fn sq_entries(&self) -> u32 {
        self.params.sq_entries
    }

    /// Entries of the CQ.
    #[must_use]
    pub fn cq_entries(&self) -> u32 {
        self.params.cq_entries
    }

    /// Whether this is the process that made the ring, not a forked child. No system call.
    #[inline]
    #[must_use]
    pub fn is_alive(&self) -> bool {
        fork::current() == self.epoch
    }

    /// Free entries of the SQ. With `SQPOLL` a request can complete before its entry is free again;
    /// [`enter`](Uring::enter) with `SQ_WAIT` waits for room.
    #[inline]
    #[must_use]
    pub fn sq_room(&self) -> u32 {
        self.sq.room()
    }

    /// Whether [`sq_room`](Uring::sq_room) is not 0. Seldom reads what the kernel shares.
    #[inline(always)]
    pub fn sq_has_room(&mut self) -> bool {
        self.sq.has_room()
    }

    /// Entries pushed and not yet consumed by the kernel.
    #[inline]
    #[must_use]
    pub fn sq_pending(&self) -> u32 {
        self.sq.pending()
    }

    /// Copies an entry into the SQ; [`enter`](Uring::enter) gives it to the kernel.
    ///
    /// # Errors
    /// [`SqFull`]: the kernel has not seen the entry and the queue is as before.
    ///
    /// # Safety
    /// From now on the entry is the kernel's, even if `enter` fails. Until its final completion (the
    /// one without `F_MORE`), and while the entry is in the queue:
    /// * every address in it stays valid for what the operation does there, and nobody else uses
    ///   memory that the kernel writes, or writes to memory that it reads;
    /// * its descriptor stays open, and registered files and buffers it names stay registered;
    /// * for a ring with `SQPOLL` this also holds for arguments that are only read.
    #[inline]
    pub unsafe fn push(&mut self, sqe: &Sqe) -> Result<(), SqFull> {
        // SAFETY: the caller's promise.
        unsafe { self.sq.push(sqe) }
    }

    /// [`push`](Uring::push) into a queue that has room: [`sq_has_room`](Uring::sq_has_room) was true, and nothing was
    /// pushed since. Gives the entry, for changes before it is published; what it names then is the same promise.
    ///
    /// # Safety
    /// As [`push`](Uring::push), there is room, and the ring was made without `SQE128`.
    #[inline(always)]
    pub unsafe fn push_in_room(&mut self, sqe: &Sqe) -> &mut Sqe {
        // SAFETY: the caller's promise.
        unsafe { self.sq.push_in_room(sqe) }
    }

    /// Takes the place of an entry in a ring of [`in_memory`](Uring::in_memory) and writes nothing: what it stands for, the
    /// other side knows.
    ///
    /// # Errors
    /// [`SqFull`].
    #[inline]
    pub fn push_place(&mut self) -> Result<(), SqFull> {
        self.sq.push_place()
    }

    /// [`push`](Uring::push) of an entry of 128 bytes, in a ring with `SQE128` or `SQE_MIXED`.
    ///
    /// # Errors
    /// [`Push128Error`]: the kernel has not seen the entry and the queue is as before.
    ///
    /// # Safety
    /// As [`push`](Uring::push).
    pub unsafe fn push128(&mut self, sqe: &Sqe128) -> Result<(), Push128Error> {
        // SAFETY: the caller's promise.
        unsafe { self.sq.push128(sqe) }
    }

    /// Takes back the entry that was pushed last, if the kernel has not consumed it: after an `enter` that
    /// will never succeed. `None` when there is none, and with `SQPOLL`, where the kernel may be reading.
    ///
    /// Entries of 64 bytes only.
    pub fn take_back(&mut self) -> Option<Sqe> {
        if self.params.flags & setup::SQPOLL != 0 {
            return None;
        }
        self.sq.take_back()
    }

    /// Makes pushed entries visible to the kernel. [`enter`](Uring::enter) does it too; alone it is
    /// of use for a ring with `SQPOLL`.
    #[inline]
    pub fn publish(&mut self) {
        self.sq.publish();
    }

    /// The flags of the SQ ring, bits of [`sq_ring`](crate::sq_ring).
    #[inline]
    #[must_use]
    pub fn sq_flags(&self) -> u32 {
        self.sq.flags()
    }

    /// Whether the SQ thread sleeps; with the fence that this question needs after
    /// [`publish`](Uring::publish).
    #[inline]
    #[must_use]
    pub fn needs_wakeup(&self) -> bool {
        self.sq.needs_wakeup()
    }

    /// Entries that the kernel refused to read because their index was invalid.
    #[must_use]
    pub fn sq_dropped(&self) -> u32 {
        self.sq.dropped()
    }

    /// `io_uring_enter(2)`: submits everything pending, and with `GETEVENTS` in `flags` waits for
    /// `min_complete` completions, at most for `wait` (with `ABS_TIMER`: until `wait`). Returns the
    /// number of entries consumed. Does not try again.
    ///
    /// With `SQPOLL` it wakes the SQ thread if that sleeps with entries to take, and makes no system
    /// call where none is needed; the result is then the number of entries visible to the thread.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`. Nothing was consumed then. `ETIME`: `wait` has passed, and
    /// nothing was submitted by this call. `EOPNOTSUPP`: `wait` is given and the kernel lacks
    /// `FEAT_EXT_ARG` (Linux 5.11).
    #[inline(always)]
    pub fn enter(
        &mut self,
        min_complete: u32,
        flags: u32,
        wait: Option<&Timespec>,
    ) -> Result<u32, Errno> {
        match wait {
            None => self.enter_raw(min_complete, flags, core::ptr::null(), 0),
            Some(wait) => self.enter_wait(min_complete, flags, Some(wait), 0),
        }
    }

    /// [`enter`](Uring::enter) that is content with fewer completions, but at least one, after
    /// `min_wait_usec` microseconds. Linux 6.12.
    ///
    /// # Errors
    /// As [`enter`](Uring::enter); `EOPNOTSUPP` also without `FEAT_MIN_TIMEOUT`.
    pub fn enter_min_wait(
        &mut self,
        min_complete: u32,
        flags: u32,
        wait: Option<&Timespec>,
        min_wait_usec: u32,
    ) -> Result<u32, Errno> {
        if self.params.features & feat::MIN_TIMEOUT == 0 {
            return Err(Errno::OPNOTSUPP);
        }
        self.enter_wait(min_complete, flags, wait, min_wait_usec)
    }

    #[inline(never)]
    fn enter_wait(
        &mut self,
        min_complete: u32,
        flags: u32,
        wait: Option<&Timespec>,
        min_wait_usec: u32,
    ) -> Result<u32, Errno> {
        if self.params.features & feat::EXT_ARG == 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let ts = wait.map_or(0, |wait| address(core::ptr::from_ref(wait)));
        let arg = GetEventsArg { sigmask: 0, sigmask_sz: 0, min_wait_usec, ts };
        let size = size_of::<GetEventsArg>();
        self.enter_raw(min_complete, flags | enter::EXT_ARG, (&raw const arg).cast(), size)
    }

    /// `arg` is null, or a [`GetEventsArg`] of `size` bytes and `flags` has `EXT_ARG`.
    // Always inline: with one caller more or less the compiler changed its mind, at 24 instructions for each call.
    #[inline(always)]
    fn enter_raw(
        &mut self,
        min_complete: u32,
        mut flags: u32,
        arg: *const c_void,
        size: usize,
    ) -> Result<u32, Errno> {
        let to_submit = self.sq.publish_all();
        if self.params.flags & setup::SQPOLL != 0 {
            if to_submit != 0 && self.sq.needs_wakeup() {
                flags |= enter::SQ_WAKEUP;
            }
            if flags & (enter::SQ_WAKEUP | enter::GETEVENTS | enter::SQ_WAIT) == 0 {
                return Ok(to_submit);
            }
        }
        let fd = if thread::is_current(self.registered.owner) {
            flags |= enter::REGISTERED_RING;
            self.registered.index
        } else {
            self.descriptor()
        };
        // SAFETY: every entry went through `push` or `push128`, whose contract covers it; `arg` and
        // what it points to are alive during the call and match `flags` (contract of this function).
        let result = unsafe { syscall::enter(fd, to_submit, min_complete, flags, arg, size) };
        if result < 0 {
            return Err(syscall::failed(result));
        }
        // An `int` of the kernel: it fits.
        let consumed = u32::try_from(result).unwrap_or(u32::MAX);
        self.sq.consumed(consumed);
        Ok(consumed)
    }

    /// Out of line, or both ways to name the ring are prepared for each call.
    #[cold]
    #[inline(never)]
    fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Gives the ring an index in the calling thread's table, which makes [`enter`](Uring::enter) on
    /// this thread cheaper. On other threads `enter` uses the descriptor. Linux 5.18.
    ///
    /// The table holds a reference: a ring that is dropped on another thread lives until this thread
    /// ends.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.18, `EBUSY` if the table is full (16 entries), `EEXIST` if another
    /// thread has registered this ring.
    pub fn register_ring_fd(&mut self) -> Result<(), Errno> {
        if !self.is_alive() {
            // A forked child has a table of its own.
            return Err(Errno::BADF);
        }
        let thread = thread::current();
        if self.registered.owner == thread {
            return Ok(());
        }
        if self.registered.owner != thread::NOBODY {
            return Err(Errno::EXIST);
        }
        let fd = u64::try_from(self.fd.as_raw_fd()).map_err(|_| Errno::BADF)?;
        let mut update = RsrcUpdate { offset: u32::MAX, resv: 0, data: fd };
        let arg = (&raw mut update).cast();
        // SAFETY: one `RsrcUpdate`, which the kernel reads and writes during the call.
        unsafe { self.register_raw(register_op::RING_FDS, arg, 1) }?;
        let index = RawFd::try_from(update.offset).map_err(|_| Errno::OVERFLOW)?;
        self.registered = RegisteredIndex { owner: thread, index };
        Ok(())
    }

    /// The index of [`register_ring_fd`](Uring::register_ring_fd), if it was called by this thread.
    #[must_use]
    pub fn registered_index(&self) -> Option<RawFd> {
        thread::is_current(self.registered.owner).then_some(self.registered.index)
    }

    /// Frees an index in the calling thread's table that belonged to a ring which was dropped on another thread, and
    /// which the table has kept alive.
    ///
    /// # Errors
    /// `EINVAL` if there is no such index.
    pub fn free_ring_index(&self, index: RawFd) -> Result<(), Errno> {
        let offset = u32::try_from(index).map_err(|_| Errno::INVAL)?;
        let mut update = RsrcUpdate { offset, resv: 0, data: 0 };
        let arg = (&raw mut update).cast();
        // SAFETY: one `RsrcUpdate`, which the kernel reads during the call.
        unsafe { self.register_raw(register_op::UNREGISTER_RING_FDS, arg, 1) }.map(drop)
    }

    /// Undoes [`register_ring_fd`](Uring::register_ring_fd), on the thread that called it.
    ///
    /// # Errors
    /// `ENOENT` if the calling thread has not registered this ring.
    pub fn unregister_ring_fd(&mut self) -> Result<(), Errno> {
        // In a forked child the same index means another ring, or none.
        if !thread::is_current(self.registered.owner) || !self.is_alive() {
            return Err(Errno::NOENT);
        }
        self.free_ring_index(self.registered.index)?;
        self.registered = RegisteredIndex { owner: thread::NOBODY, index: -1 };
        Ok(())
    }

    /// Completions that can be reaped now. See [`CompletionQueue::ready`].
    #[inline]
    #[must_use]
    pub fn cq_ready(&self) -> u32 {
        self.cq.ready()
    }

    /// Completions that were lost for want of room; with `FEAT_NODROP` they wait in the kernel
    /// instead, see [`sq_ring::CQ_OVERFLOW`](crate::sq_ring::CQ_OVERFLOW).
    #[must_use]
    pub fn cq_overflowed(&self) -> u32 {
        self.cq.overflowed()
    }

    /// See [`CompletionQueue::set_silent`].
    #[inline]
    pub fn set_silent(&self, silent: bool) -> bool {
        self.cq.set_silent(silent)
    }

    /// The next completion, which stays in the queue.
    #[must_use]
    pub fn peek(&self) -> Option<Cqe> {
        self.cq.peek()
    }

    /// The next completion. The place in the queue is the kernel's again before this returns; see
    /// [`CompletionQueue::pop`](crate::queue::CompletionQueue::pop).
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Cqe> {
        self.cq.pop()
    }

    /// [`pop`](Uring::pop) of a ring without `CQE32` and `CQE_MIXED`, which is all that it is for: see
    /// [`CompletionQueue::pop_small`](crate::queue::CompletionQueue::pop_small).
    #[inline(always)]
    pub fn pop_small(&mut self) -> Option<Cqe> {
        self.cq.pop_small()
    }

    /// [`pop`](Uring::pop) with both halves; the second is zero where there is none.
    pub fn pop32(&mut self) -> Option<Cqe32> {
        self.cq.pop32()
    }

    /// Moves completions into `out` and returns how many. Fillers (`F_SKIP`) are left out, and of a
    /// 32-byte completion the first half is kept.
    #[inline]
    pub fn reap(&mut self, out: &mut [Cqe]) -> usize {
        self.cq.reap(out)
    }

    /// [`reap`](Uring::reap) with both halves; the second is zero where there is none.
    pub fn reap32(&mut self, out: &mut [Cqe32]) -> usize {
        self.cq.reap32(out)
    }

    /// Any operation of `io_uring_register(2)`, on the ring's descriptor. Returns the result.
    ///
    /// # Errors
    /// Those of `io_uring_register(2)`.
    ///
    /// # Safety
    /// `arg` and `nr` are what `op` requires; memory that the kernel goes on using stays valid until
    /// it is unregistered, or the ring and all its requests are gone. `op` is not `RESIZE_RINGS`,
    /// which replaces the memory under the queues.
    pub unsafe fn register_raw(&self, op: u32, arg: *mut c_void, nr: u32) -> Result<u32, Errno> {
        // SAFETY: the caller's promise.
        unsafe { syscall::register(self.fd.as_raw_fd(), op, arg, nr) }
    }

    /// Forgets the ring: it stays open and mapped until the process ends. For a ring whose requests
    /// cannot be waited for, together with the memory they use.
    pub fn leak(self) {
        core::mem::forget(self);
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Uring {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.is_alive() {
            // Not registered here: nothing to undo. A failure leaves an entry in the thread's table,
            // which the kernel clears when the thread ends.
            let _ = self.unregister_ring_fd();
        }
    }
}

impl Maps {
    fn new(fd: BorrowedFd<'_>, params: &Params) -> Result<Maps, Errno> {
        let words = |at: u32, count: u32, size: usize| index(at) + index(count) * size;
        let cqe =
            if params.flags & setup::CQE32 != 0 { size_of::<Cqe32>() } else { size_of::<Cqe>() };
        let sqe =
            if params.flags & setup::SQE128 != 0 { size_of::<Sqe128>() } else { size_of::<Sqe>() };
        let cq_length = words(params.cq_off.cqes, params.cq_entries, cqe);
        // Without the array the SQ ring is a few words before the completions.
        let sq_length = if params.flags & setup::NO_SQARRAY != 0 {
            0
        } else {
            words(params.sq_off.array, params.sq_entries, size_of::<u32>())
        };
        let entries_length = words(0, params.sq_entries, sqe);
        let single = params.features & feat::SINGLE_MMAP != 0;
        let rings = if single { sq_length.max(cq_length) } else { sq_length };
        Ok(Maps {
            rings: Arc::new(Mapping::of(fd, rings, mmap_offset::SQ_RING)?),
            completions: if single {
                None
            } else {
                Some(Mapping::of(fd, cq_length, mmap_offset::CQ_RING)?)
            },
            entries: Mapping::of(fd, entries_length, mmap_offset::SQES)?,
        })
    }

    /// The queues in these mappings; `None` if they do not lie inside. They must not outlive them.
    fn queues(&self, params: &Params) -> Option<(SubmissionQueue, CompletionQueue)> {
        let (sq, cq) = (&params.sq_off, &params.cq_off);
        let rings: &Mapping = &self.rings;
        let completions = self.completions.as_ref().unwrap_or(rings);
        let layout = |large: u32, mixed: u32| match params.flags {
            flags if flags & large != 0 => Layout::Large,
            flags if flags & mixed != 0 => Layout::Mixed,
            _ => Layout::Small,
        };
        let (sq_layout, cq_layout) =
            (layout(setup::SQE128, setup::SQE_MIXED), layout(setup::CQE32, setup::CQE_MIXED));
        if !params.sq_entries.is_power_of_two() || !params.cq_entries.is_power_of_two() {
            return None;
        }
        let submissions = SqParts {
            head: self.rings.at(sq.head, 1)?,
            tail: self.rings.at(sq.tail, 1)?,
            flags: self.rings.at(sq.flags, 1)?,
            dropped: self.rings.at(sq.dropped, 1)?,
            array: match params.flags & setup::NO_SQARRAY {
                0 => Some(self.rings.at(sq.array, params.sq_entries)?),
                _ => None,
            },
            entries: place::<Sqe, Sqe128>(&self.entries, 0, params.sq_entries, sq_layout)?,
            count: params.sq_entries,
            layout: sq_layout,
            rewind: params.flags & setup::SQ_REWIND != 0,
        };
        let completions = CqParts {
            head: completions.at(cq.head, 1)?,
            tail: completions.at(cq.tail, 1)?,
            overflow: completions.at(cq.overflow, 1)?,
            flags: match cq.flags {
                0 => None,
                at => Some(completions.at(at, 1)?),
            },
            entries: place::<Cqe, Cqe32>(completions, cq.cqes, params.cq_entries, cq_layout)?,
            count: params.cq_entries,
            layout: cq_layout,
        };
        // SAFETY: `at` and `place` gave aligned pointers with the needed length inside mappings that
        // were made for this ring; the counts are powers of two, checked above. `Uring` keeps
        // the mappings as long as the queue, and is the only one to use them.
        let submissions = unsafe { SubmissionQueue::from_raw_parts(submissions) };
        // SAFETY: as above.
        let completions = unsafe { CompletionQueue::from_raw_parts(completions) };
        Some((submissions, completions))
    }
}

/// A pointer to `count` entries of the size of `layout`.
fn place<Small, Large>(
    map: &Mapping,
    offset: u32,
    count: u32,
    layout: Layout,
) -> Option<NonNull<Small>> {
    match layout {
        Layout::Large => map.at::<Large>(offset, count).map(NonNull::cast),
        Layout::Small | Layout::Mixed => map.at::<Small>(offset, count),
    }
}
