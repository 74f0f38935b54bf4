//! The other side of the queues where there is no io_uring: epoll(7), Linux AIO, and threads.
//!
//! The driver sees what it sees of a kernel's ring: entries go in, and are taken by `enter`; completions come out, one
//! for each. So everything above is the same code, and what a drop, a cancellation or a chain means is too.
//!
//! * **Sockets, pipes and the like**: each operation is tried at once, in a form that does not wait. One that would
//!   wait stands in its descriptor's queue, and epoll tells when to try again: one event for each time that the
//!   descriptor is armed, and arming looks at the level, so a change in between is not missed.
//! * **Files**: tried with `RWF_NOWAIT`; what is not in memory goes to a thread. With `O_DIRECT`, and for flushes: Linux AIO.
//! * **Names** (open, rename, statx and the like) go to a thread.
//! * **Cancelling** takes an operation out of a queue: exact. What a thread or the disk has begun runs to its end, and
//!   the request to cancel says so (`EALREADY`), as the kernel's ring does.
//!
//! # Safety
//! What was submitted leads to lent memory and open descriptors (contract of `Backend::submit`) until its completion
//! is posted: by `Engine::end`, which takes the operation out of all places first.
//!
//! Tests: it_says_what_it_is, an_entry_for_the_kernel_is_refused
#![allow(unsafe_code, reason = "runs operations on lent memory")]

mod alarms;
mod attempt;
mod blocking;
mod class;
mod disk;
mod hear;
mod poller;
mod pool;
mod post;
mod steps;
mod vectors;
mod waits;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use safer_ring_sys::{Errno, OtherSide};

use crate::backend::{Helped, Submission, Wait};
use crate::config::FallbackParts;
use alarms::{Alarm, Alarms};
use attempt::IN;
use disk::Disk;
use poller::{Event, own};
use pool::{Inbox, Pool};
pub(crate) use post::Post;
use waits::{Entry, NONE, Waits};

pub(crate) use attempt::is_stream;
pub use class::Class;
pub(crate) use poller::Poller;

const RDHUP: u32 = 0x2000;
const ERR: u32 = 0x8;
const HUP: u32 = 0x10;
/// Turns that end without a look at the poller, while operations end at once.
const SKIPS: u32 = 16;

/// What `enter` will take.
#[derive(Debug)]
enum Queued {
    Operation(Submission),
    Cancel { user_data: u64, target: u64 },
    Timer { user_data: u64, after: Duration },
    Watch { user_data: u64, fd: RawFd },
}

/// The other side of one ring.
pub(crate) struct Engine {
    post: Post,
    poller: Poller,
    queued: Vec<Queued>,
    waits: Waits,
    /// Members of a chain whose last has not come yet.
    chain: Vec<u32>,
    /// Members of chains whose turn it is.
    due: Vec<u32>,
    pool: Arc<Pool>,
    inbox: Arc<Inbox>,
    disk: Disk,
    /// Whether `RWF_NOWAIT` may be tried.
    nowait: bool,
    alarms: Alarms,
    /// The wake descriptor's poll, and whether the poller has it.
    wake: Option<u64>,
    wake_known: bool,
    skipped: u32,
    helped: Helped,
    scratch: Scratch,
}

/// Empty between two uses.
#[derive(Default)]
struct Scratch {
    events: Vec<Event>,
    results: Vec<(u64, i32)>,
    names: Vec<u64>,
    alarms: Vec<Alarm>,
}

// SAFETY: the pointers in submissions lead to lent memory, valid from any thread (contract of `Backend::submit`).
unsafe impl Send for Engine {}

impl Engine {
    pub(crate) fn new(
        other: OtherSide,
        poller: Poller,
        parts: FallbackParts,
    ) -> Result<Self, Errno> {
        let inbox = Inbox::new()?;
        poller.add_own(inbox.bell.as_fd(), own::POOL)?;
        Ok(Self {
            post: Post::new(other),
            poller,
            queued: Vec::new(),
            waits: Waits::default(),
            chain: Vec::new(),
            due: Vec::new(),
            pool: Pool::get()?,
            inbox,
            disk: Disk::new(parts.aio),
            nowait: parts.nowait,
            alarms: Alarms::default(),
            wake: None,
            wake_known: false,
            skipped: 0,
            helped: Helped::default(),
            scratch: Scratch::default(),
        })
    }

    /// # Safety
    /// As `Backend::submit`.
    pub(crate) unsafe fn submit(&mut self, submission: &Submission) {
        self.queued.push(Queued::Operation(*submission));
    }

    pub(crate) fn cancel(&mut self, user_data: u64, target: u64) {
        self.queued.push(Queued::Cancel { user_data, target });
    }

    pub(crate) fn timer(&mut self, user_data: u64, after: Duration) {
        self.queued.push(Queued::Timer { user_data, after });
    }

    pub(crate) fn watch(&mut self, user_data: u64, fd: RawFd) {
        self.queued.push(Queued::Watch { user_data, fd });
    }

    /// Takes back what was queued last; gives its name.
    pub(crate) fn retract(&mut self) -> Option<u64> {
        self.queued.pop().map(|queued| match queued {
            Queued::Operation(submission) => submission.user_data,
            Queued::Cancel { user_data, .. }
            | Queued::Timer { user_data, .. }
            | Queued::Watch { user_data, .. } => user_data,
        })
    }

    /// Takes what is queued, then what has ended, as long as asked.
    ///
    /// # Errors
    /// `EINTR` in a wait.
    pub(crate) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        self.take_queue();
        let answered = self.post.has_unread();
        let limit = match wait {
            Wait::One if !answered => None,
            Wait::For(limit) if !answered => Some(limit),
            // Somebody who keeps coming must not keep the others out.
            _ if answered && self.skipped < SKIPS => {
                self.skipped += 1;
                return Ok(());
            }
            _ => Some(Duration::ZERO),
        };
        if limit == Some(Duration::ZERO) && self.is_quiet() {
            return Ok(());
        }
        self.skipped = 0;
        self.look(limit)
    }

    /// Takes in what has ended.
    pub(crate) fn gather(&mut self) {
        if !self.is_quiet() {
            // Without a wait there is no EINTR.
            let _ = self.look(Some(Duration::ZERO));
        }
    }

    pub(crate) fn refill(&mut self) {
        self.post.refill();
    }

    pub(crate) fn helped(&self) -> Helped {
        self.helped
    }

    /// Whether [`Engine::gather`] would find something.
    pub(crate) fn has_news(&self) -> bool {
        self.post.has_unread() || poller::ready_now(raw(self.poller.fd()), IN) != 0
    }

    /// Nothing can happen.
    fn is_quiet(&self) -> bool {
        self.waits.count() == 0 && self.wake.is_none() && self.alarms.is_empty()
    }

    fn take_queue(&mut self) {
        self.post.consume();
        if self.queued.is_empty() {
            return;
        }
        let mut queued = std::mem::take(&mut self.queued);
        let mut looked = false;
        for entry in &queued {
            match *entry {
                Queued::Operation(ref submission) => self.begin(submission),
                Queued::Cancel { user_data, target } => {
                    // What has become ready before is done before.
                    if !std::mem::replace(&mut looked, true) {
                        self.gather();
                    }
                    let answer = self.cancel_now(target);
                    self.post.post(user_data, answer);
                }
                Queued::Timer { user_data, after } => self.begin_timer(user_data, after),
                Queued::Watch { user_data, fd } => self.begin_watch(user_data, fd),
            }
        }
        queued.clear();
        self.queued = queued;
        self.settle();
    }

    #[inline]
    fn begin(&mut self, submission: &Submission) {
        if submission.link || !self.chain.is_empty() {
            self.begin_member(submission);
        } else {
            self.start(submission, NONE);
        }
    }

    /// A member of a chain: the chain starts when its last member is there.
    #[cold]
    fn begin_member(&mut self, submission: &Submission) {
        let index = self.waits.insert(Entry::new(submission, 0, NONE));
        if let Some(before) = self.chain.last().copied().and_then(|last| self.waits.get(last)) {
            before.following = index;
        }
        self.chain.push(index);
        if !submission.link {
            self.due.extend(self.chain.first());
            self.chain.clear();
        }
    }

    fn begin_timer(&mut self, user_data: u64, after: Duration) {
        match self.open_alarms() {
            Ok(()) => self.alarms.set(after, Alarm::Timer(user_data)),
            Err(errno) => self.post.post(user_data, -errno.raw_os_error()),
        }
    }

    fn open_alarms(&mut self) -> Result<(), Errno> {
        let (timer, fresh) = self.alarms.open()?;
        if fresh { self.poller.add_own(timer, own::TIMER) } else { Ok(()) }
    }

    fn begin_watch(&mut self, user_data: u64, fd: RawFd) {
        // SAFETY: open: the driver's own descriptor, or in a test one that the submission keeps open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        match self.poller.arm(borrowed, own::WAKE, IN, &mut self.wake_known) {
            Ok(()) => self.wake = Some(user_data),
            Err(errno) => self.post.post(user_data, -errno.raw_os_error()),
        }
    }

    /// Starts the members of chains whose turn has come, and hands over what waits for the disk.
    fn settle(&mut self) {
        loop {
            while let Some(index) = self.due.pop() {
                if let Some(Entry { submission, following, .. }) = self.waits.remove(index) {
                    self.start(&submission, following);
                }
            }
            if !self.disk.has_queued() {
                return;
            }
            let mut refused = std::mem::take(&mut self.scratch.names);
            self.disk.flush(&mut refused);
            for user_data in refused.drain(..) {
                self.give_to_pool(waits::slot(user_data));
            }
            self.scratch.names = refused;
            if self.due.is_empty() {
                return;
            }
        }
    }
}

fn raw(fd: BorrowedFd<'_>) -> RawFd {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("waiting", &self.waits.count()).finish_non_exhaustive()
    }
}
