//! What a backend must provide. Required behaviour:
//!
//! * `room` is the number of operations that `submit` takes before `enter` must run.
//! * `submit` queues one operation, or answers it at once ([`Submitted::Done`]). It never blocks on
//!   another operation. After `Queued` the operation is the kernel's, whatever `enter` returns.
//! * `cancel` queues the cancellation of one operation; like `submit` it takes one place of `room`.
//! * Each queued operation yields completions with its own `user_data`; exactly one of them, the
//!   last, comes without `IORING_CQE_F_MORE`. Each queued cancellation yields exactly one.
//! * Nothing is written to an operation's memory after its last completion was reaped.
//! * `enter` hands over what is queued and waits as told. `Err` says nothing about what was taken:
//!   what was not stays queued and goes with the next `enter`.
//! * `pop` copies a completion out and gives its place back to the kernel before it returns. What the kernel keeps for
//!   lack of room in the queue, `refill` fetches.
//! * After `hush` completions need not be announced to whoever sleeps in a poller. After `listen` each one is, but for
//!   those that were there already, of which its answer tells.
//! * `retract` takes back everything that is queued and provably never seen by the kernel.
//!
//! # Safety
//! This file declares the unsafe trait; it runs nothing.
#![allow(unsafe_code, reason = "declares the unsafe trait")]

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::time::Duration;

use safer_ring_buf::{PoolMemory, PooledBuffer};
use safer_ring_core::Op;
use safer_ring_sys::{Cqe, Cqe32, Errno};

use crate::clock;
use crate::engine::Class;

/// One operation in plain words: what a submission entry is made of.
#[derive(Clone, Copy, Debug)]
pub struct Submission {
    /// The name under which the completions come back.
    pub user_data: u64,
    /// What to do.
    pub op: Op,
    /// The descriptor to do it on; -1 for none, `AT_FDCWD` for paths.
    pub fd: RawFd,
    /// The second descriptor (splice, tee); -1 for none.
    pub other: RawFd,
    /// The lent memory.
    pub ptr: *mut u8,
    /// Bytes of it that are initialised: what a write sends.
    pub init: usize,
    /// Bytes of it that may be written: what a read fills.
    pub capacity: usize,
    /// The next operation runs only if this one succeeds in full (`IOSQE_IO_LINK`).
    pub link: bool,
    /// Bytes of a send that a plain call has sent: the entry is for the rest. 0 but where
    /// [`Backend::continues_sends`].
    pub begun: u32,
    /// Wait for these poll events in place of the operation, or, with [`PAUSE`](safer_ring_core::PAUSE), so many milliseconds.
    pub poll_first: Option<u32>,
    /// What is known of `fd`; lives as long as that stays open.
    pub class: Option<NonNull<Class>>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Submitted {
    /// It is the kernel's now; its completion follows.
    Queued,
    /// It was answered at once, with this result; no completion follows.
    Done(i32),
}

/// Operations that a backend had run by others, which it would not have waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Helped {
    /// By threads.
    pub threads: u64,
    /// By Linux AIO.
    pub aio: u64,
}

/// What is registered with a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Operations that named registered memory.
    pub buffers: u64,
    /// Files that are registered now.
    pub files: u64,
}

/// How long `enter` waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Not at all, and nothing was in flight before: only what is handed over now can complete.
    Fresh,
    /// Until one is there.
    One,
    /// Until one is there or the time is over.
    For(Duration),
}

/// [`Backend::pause`] by the clock of this machine.
pub(crate) fn wait_outside(pause: Duration) {
    if pause.is_zero() {
        std::thread::yield_now();
    } else {
        std::thread::sleep(pause);
    }
}

/// A queue of operations and completions.
///
/// # Safety
/// An implementation keeps every rule of the module's list. In particular it writes to a
/// submission's memory only between `submit` and the last completion of that `user_data`.
pub unsafe trait Backend {
    /// Operations that fit before the next [`Backend::enter`].
    fn room(&self) -> u32;

    /// Whether [`Backend::room`] is not 0.
    fn has_room(&mut self) -> bool {
        self.room() > 0
    }

    /// Queues one operation. There is room.
    ///
    /// # Safety
    /// [`Backend::room`] was not 0. The memory at `ptr`, all memory that it or `op` points to, and both descriptors stay valid and
    /// unused by anyone else until the last completion of `user_data` has been reaped, even if
    /// `enter` fails and even if the backend is dropped.
    unsafe fn submit(&mut self, submission: &Submission) -> Submitted;

    /// Queues the cancellation of the operation named `target`, if there is room; the driver makes sure.
    fn cancel(&mut self, user_data: u64, target: u64);

    /// Hands over what is queued, then waits for a completion.
    ///
    /// # Errors
    /// The kernel's answer; see the module's list for what it does and does not mean.
    fn enter(&mut self, wait: Wait) -> Result<(), Errno>;

    /// The next completion. Its place in the queue is the kernel's again before this returns.
    fn pop(&mut self) -> Option<Cqe>;

    /// Whether completions have a second half.
    fn is_wide(&self) -> bool {
        false
    }

    /// [`Backend::pop`] with both halves.
    fn pop_wide(&mut self) -> Option<Cqe32> {
        self.pop().map(|cqe| Cqe32 { cqe, big: [0; 2] })
    }

    /// After `pop` gave nothing: fetches completions that did not fit into the queue. Tells whether there were any.
    fn refill(&mut self) -> bool {
        false
    }

    /// Operations queued and not yet taken by the kernel.
    fn pending(&self) -> u32;

    /// Whether it goes on with a send that a plain call has begun.
    fn continues_sends(&self) -> bool {
        false
    }

    /// Whether they are taken without an `enter`, whenever it suits somebody else (`IORING_SETUP_SQPOLL`).
    fn takes_by_itself(&self) -> bool {
        false
    }

    /// Whether completions wait that `pop` would return.
    fn ready(&self) -> bool;

    /// From now on completions are taken in without being announced.
    fn hush(&mut self) {}

    /// From now on completions are announced. Tells whether some are there already, which may not have been.
    fn listen(&mut self) -> bool {
        self.ready()
    }

    /// Looks at a completion that the table does not know, or that is not an ordinary success. `None` if it is no
    /// completion of the table: one operation can be several entries.
    fn resume(&mut self, cqe: Cqe) -> Option<Cqe> {
        Some(cqe)
    }

    /// Takes in what has ended, where that is the program's own work. Not for a kernel, which posts completions by itself.
    fn gather(&mut self) {}

    /// Whether somebody who hears of this should take something in.
    fn has_news(&self) -> bool {
        self.ready()
    }

    /// The monotonic clock that the operations run by, in nanoseconds.
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    /// The same in milliseconds, cut to 32 bits: cheap, and right to a few of them.
    fn coarse_ms(&self) -> u32 {
        clock::coarse_ms()
    }

    /// Lets time go by where a wait is impossible; none at all is a turn for other threads.
    fn pause(&mut self, pause: Duration) {
        wait_outside(pause);
    }

    /// The number of a group of buffers that receives pick from ([`Op::RecvMulti`]).
    ///
    /// # Errors
    /// `NOBUFS` where all of them are in use, `OPNOTSUPP` where there cannot be one.
    fn buffer_group(&mut self) -> Result<u16, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// The buffer of the group that a completion with these flags names, with so many bytes in it. `enters`: how often the ring has
    /// been entered, as a measure of what comes at a time.
    fn take_picked(&mut self, _flags: u32, _count: usize, _enters: u64) -> Option<PooledBuffer> {
        None
    }

    /// A multishot receive has ended with an error: of too few buffers, or of a kernel that does not know it.
    fn multishot_failed(&mut self, _errno: Errno, _enters: u64) {}

    /// Operations are left behind that may use the buffers of the group.
    fn leak_buffers(&mut self) {}

    /// Registers the memory of a pool: reads and writes with its buffers name it from now on.
    ///
    /// # Errors
    /// `OPNOTSUPP` where there is no such thing; those of io_uring_register(2).
    fn register_memory(&mut self, _memory: &PoolMemory) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    /// Undoes that. Nothing is queued that names it.
    ///
    /// # Errors
    /// `BUSY` while something is queued; those of io_uring_register(2).
    fn unregister_memory(&mut self, _memory: &PoolMemory) -> Result<(), Errno> {
        Ok(())
    }

    /// What is registered, and has been named.
    fn named(&self) -> Named {
        Named::default()
    }

    /// The ring ends: it holds no file any more.
    fn unregister_files(&mut self) {}

    /// Who else has run operations.
    fn helped(&self) -> Helped {
        Helped::default()
    }

    /// Takes back all that the kernel has not seen, giving each `user_data` to `each`; nothing if
    /// that cannot be known.
    fn retract(&mut self, each: &mut dyn FnMut(u64));
}
