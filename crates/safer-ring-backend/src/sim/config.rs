//! How a world behaves.

use std::time::Duration;

/// What a simulated kernel does, and how often.
///
/// A seed and these figures are all that chance depends on. Chances are in thousandths: 0 is never, 1000 always.
///
/// ```
/// use safer_ring_backend::sim::Config;
/// let slow = Config { delay: 1000, ..Config::calm(7) };
/// assert_ne!(slow, Config::calm(7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The start of all choices: those of faults, of times, and of which task runs next.
    pub seed: u64,
    /// Reads, writes, receives and sends that move only a part of what they could.
    pub short: u32,
    /// Operations that end with an error that their manual page has (`EIO`, `ENOSPC`, `EMFILE`, `ECONNRESET`, ...).
    /// Nothing was done then, but for `fsync(2)`: what it should have written never reaches the disk.
    pub errors: u32,
    /// Operations that end with `EINTR`, or with an `ECANCELED` that nobody asked for, and have done nothing. Most are
    /// tried again by the library and not seen by the program.
    pub interrupts: u32,
    /// Operations that do not begin when they are handed over, but up to [`Config::longest_delay`] later, in any order.
    pub delay: u32,
    /// Operations that end, and whose completion comes up to [`Config::longest_delay`] later, in any order.
    pub late: u32,
    /// The longest of these times.
    pub longest_delay: Duration,
    /// Completions that come with another one of an operation that has ended, or of none at all.
    pub strangers: u32,
    /// Calls of `io_uring_enter(2)` that fail with `EAGAIN`, `EBUSY`, `EINTR` or `ENOMEM` and have taken nothing.
    pub refused_enters: u32,
    /// Those that fail and have taken everything.
    pub failed_enters: u32,
    /// Those that take only some of the entries.
    pub partial_enters: u32,
    /// Cancellations that come too late: the operation goes on (`EALREADY`), or ends as if there was none.
    pub late_cancels: u32,
    /// Cancellations that find nothing (`ENOENT`) although the kernel has the operation, as a kernel's may while that is on its
    /// way from one place to another: of transfers that wait for a peer, accepts, connects, opens and splices. The operation
    /// goes on, and the library asks again.
    pub missed_cancels: u32,
    /// Looks at what has ended that are given only one to three of the completions, as `IORING_SETUP_DEFER_TASKRUN` hands
    /// them over in parts: the others come with the next look.
    pub batched: u32,
    /// Completions that the queue has no room for, however large it is: they wait in the kernel
    /// (`IORING_SQ_CQ_OVERFLOW`), and a multishot receive ends with such a one. A queue that is really full does the same
    /// whatever this is.
    pub overflows: u32,
    /// Whether there are multishot receives (`IORING_RECV_MULTISHOT`), as in kernels from 6.0 on: looked at when a ring is
    /// made.
    pub multishot: bool,
    /// Pieces of what arrives that a multishot receive is given no buffer for, although some are lent: it ends with `ENOBUFS`.
    /// Of too few buffers it ends so whatever this is.
    pub no_buffers: u32,
    /// Pieces with which a multishot receive ends (no `IORING_CQE_F_MORE`), although there may come more.
    pub multishot_ends: u32,
    /// Calls that register memory and fail with `ENOMEM`, as beyond `RLIMIT_MEMLOCK`: the pool can be used all the same. How
    /// often one is interrupted, and made again by the library, is [`Config::interrupts`].
    pub refused_registrations: u32,
    /// Reads, writes and syncs of files that take up to [`Config::slowest_disk`].
    pub slow_disk: u32,
    /// The longest of these times.
    pub slowest_disk: Duration,
    /// Bytes that all files together can have; beyond it there is `ENOSPC`.
    pub disk_bytes: u64,
    /// Bytes that a pipe holds, at least 4096.
    pub pipe_bytes: usize,
    /// Bytes that a stream socket holds for its peer, and messages that a datagram socket holds are a 256th of it.
    pub socket_bytes: usize,
    /// Descriptors that may be open, at most 4096; beyond it there is `EMFILE`.
    pub descriptors: usize,
    /// Lines of the trace that are kept, the last ones; the hash of the trace covers all.
    pub trace_lines: usize,
}

impl Config {
    /// A kernel that does what is legal and no more: operations begin and end in any order, are interrupted, move less than
    /// asked; enters fail. A program that uses the library right sees none of it as an error.
    pub fn new(seed: u64) -> Self {
        Self {
            short: 250,
            interrupts: 30,
            delay: 300,
            late: 300,
            strangers: 30,
            refused_enters: 30,
            failed_enters: 30,
            partial_enters: 60,
            late_cancels: 300,
            missed_cancels: 200,
            batched: 200,
            overflows: 20,
            no_buffers: 20,
            multishot_ends: 60,
            refused_registrations: 200,
            slow_disk: 100,
            ..Self::calm(seed)
        }
    }

    /// A kernel without a fault, where each operation that can end does so at once.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            short: 0,
            errors: 0,
            interrupts: 0,
            delay: 0,
            late: 0,
            longest_delay: Duration::from_millis(2),
            strangers: 0,
            refused_enters: 0,
            failed_enters: 0,
            partial_enters: 0,
            late_cancels: 0,
            missed_cancels: 0,
            batched: 0,
            overflows: 0,
            multishot: true,
            no_buffers: 0,
            multishot_ends: 0,
            refused_registrations: 0,
            slow_disk: 0,
            slowest_disk: Duration::from_millis(200),
            disk_bytes: 1 << 30,
            pipe_bytes: 1 << 16,
            socket_bytes: 1 << 16,
            descriptors: 1024,
            trace_lines: 10_000,
        }
    }

    /// [`Config::new`] with errors that the program does see.
    pub fn stormy(seed: u64) -> Self {
        Self { errors: 30, ..Self::new(seed) }
    }
}
