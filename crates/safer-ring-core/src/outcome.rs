//! What the table tells its driver.

use core::task::Waker;

use crate::{Key, Op, Tag};

/// `IORING_CQE_F_MORE`: this completion is not the last one of its operation.
pub(crate) const F_MORE: u32 = 1 << 1;
/// `IORING_CQE_F_NOTIF`: the notification that the kernel has let go of a buffer it sent from.
/// It carries no result of its own.
pub(crate) const F_NOTIF: u32 = 1 << 3;

/// `-ERESTART_RESTARTBLOCK` to `-ERESTARTSYS`: numbers that no program should see.
pub(crate) const RESTARTS: core::ops::RangeInclusive<i32> = -516..=-512;
/// `-ENOENT`.
pub(crate) const ENOENT: i32 = -2;
/// `-EINTR`.
pub(crate) const EINTR: i32 = -4;
/// `-EAGAIN`.
pub(crate) const EAGAIN: i32 = -11;
/// `-ETIME`: what a timer completes with.
pub(crate) const ETIME: i32 = -62;
/// `-ECANCELED`.
pub(crate) const ECANCELED: i32 = -125;

/// In place of events to poll for: the other bits are milliseconds to wait. The descriptor says that it is ready, and is not:
/// one of a Unix datagram socket without a peer says nothing of its receiver's queue, which is full.
pub const PAUSE: u32 = 1 << 31;

/// The result of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// What the system call would have returned, or a negated `errno`.
    pub res: i32,
    /// The flags of the completion entry (`IORING_CQE_F_*`); 0 where no kernel was involved.
    pub flags: u32,
}

/// The next thing to give to the kernel: one submission entry.
#[derive(Debug)]
pub enum Staged<'a, R> {
    /// An operation, in flight from now on.
    Operation {
        /// Its name.
        key: Key,
        /// The `user_data` of the entry.
        user_data: u64,
        /// What to do.
        op: &'a Op,
        /// What it works on. Valid until the final completion has been given to the table.
        resources: &'a R,
        /// The next entry starts only after this one succeeded (`IOSQE_IO_LINK`). It is the next
        /// thing staged, and both must be submitted in one call.
        link: bool,
        /// Submit a one-shot poll for these events in place of the operation; with [`PAUSE`] among them, a timer of so
        /// many milliseconds, which completes with `-ETIME`.
        poll_first: Option<u32>,
    },
    /// A request to cancel (`IORING_OP_ASYNC_CANCEL`).
    Cancel {
        /// The `user_data` of the entry.
        user_data: u64,
        /// The `user_data` of what is to be cancelled.
        target: u64,
    },
}

/// What a completion (or the passing of time) calls for.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[must_use = "an outcome may carry a waker or resources"]
pub enum Outcome<R> {
    /// An operation is done and its owner lives: fire the waker once the table is no longer
    /// borrowed. For members of a [`Group`](crate::Group) it is the group's, after the last one.
    Wake(Option<Waker>),
    /// An operation whose owner is gone is done: adopt what the kernel made (a descriptor, see
    /// [`Op::creates_descriptor`]), then drop the resources.
    Release {
        /// The name it had; the slot may be free by now.
        key: Key,
        /// What it did.
        op: Op,
        /// What it worked on.
        resources: R,
        /// How it ended.
        completion: Completion,
    },
    /// One result of several; the operation stays in flight.
    More {
        /// Its name; [`Table::state`](crate::Table::state) tells whether the owner lives.
        key: Key,
        /// This result.
        completion: Completion,
    },
    /// Nothing was done (`-EINTR`, `-EAGAIN` on a descriptor that does not block, or an
    /// `-ECANCELED` that nobody asked for), or the poll or pause that goes first is over: the
    /// operation is queued again. A member of a chain is, once those behind it are back. What interrupts it many times
    /// in a row is its result.
    Requeued,
    /// A request to cancel has been answered.
    CancelDone,
    /// A completion of the driver's own.
    Internal {
        /// Which kind.
        tag: Tag,
        /// The name the driver gave it.
        key: Key,
    },
    /// A waker that is no longer needed, from [`Table::expire`](crate::Table::expire) only. Drop
    /// it where a future may be dropped: it can be the last owner of a task.
    Retired(Waker),
    /// Late, doubled or unknown; counted in [`Stats::stale`].
    Ignored,
}

/// The answer to [`Table::poll`](crate::Table::poll).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// Done: [`Table::take`](crate::Table::take) has the result.
    Ready,
    /// Not done; the waker is stored.
    Pending,
    /// No operation with an owner has this name.
    Unknown,
}

/// The answer to [`Table::orphan`](crate::Table::orphan).
#[derive(Debug)]
#[must_use = "it may carry resources"]
pub enum Orphaned<R> {
    /// It was not to finish ([`OnDrop::Finish`](crate::OnDrop::Finish)) and the kernel has nothing
    /// of it: here are the resources, and the slot is free.
    NotSubmitted(R),
    /// It goes on without its owner, in the kernel or still in the queue, and ends in
    /// [`Outcome::Release`].
    Running {
        /// Whether a request to cancel is on its way.
        cancelled: bool,
    },
    /// It was done, and nobody had taken the result.
    Finished(Op, R, Completion),
    /// No operation with an owner has this name.
    Unknown,
}

/// What happened since the table was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Operations and timers accepted.
    pub inserted: u64,
    /// Operations and timers that reached their final completion, cancelled ones included.
    pub completed: u64,
    /// Entries given to the kernel, requests to cancel included.
    pub staged: u64,
    /// Those of them that ended with `-ECANCELED`.
    pub cancelled: u64,
    /// Operations for which a cancellation was asked.
    pub cancel_requested: u64,
    /// Those of them that completed otherwise: the request came too late.
    pub cancel_races: u64,
    /// Operations that went on after their owner had gone.
    pub orphaned: u64,
    /// Completions that matched nothing.
    pub stale: u64,
    /// Times an operation was put back (see [`Outcome::Requeued`]).
    pub requeued: u64,
}
