//! How a world behaves.

use std::time::Duration;

/// What a simulated kernel does, and how often.
///
/// A seed and these figures are all that chance depends on. Chances are in thousandths: 0 is never, 1000 always.
///
/// ```
/// # use safer_ring_backend as safer_ring;
/// use safer_ring::sim::Config;
/// let slow = Config { delay: 1000, ..Config::calm(7) };
/// assert_ne!(slow, Config::calm(7));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The start of all choices: those of faults, of times, and of which task runs next.
    pub seed: u64,
    /// Reads, writes, receives and sends that move only a part of what they could.
    pub short: u32,
    /// Operations that end with an error that their manual page has for what their descriptor leads to (`EIO` and `ENOSPC` of
    /// a file, `ENOBUFS` of a send, `EMFILE`, ...). Nothing was done then, but for these:
    ///
    /// * Of what a sync, or a write with `O_DSYNC`, should have brought to the disk, each sector is there or lost for good.
    /// * A write of a file that fails with `EIO` may have changed sectors of it, as one with `O_DIRECT` does.
    /// * A close that fails has closed. It fails for files only.
    /// * Of an accept that fails with `ECONNABORTED`, the connection that waited is reset.
    pub errors: u32,
    /// Operations on streams by IP that find their connection broken: `ECONNRESET`, `ETIMEDOUT`, `EHOSTUNREACH`, of a send also
    /// `EPIPE`, of a shutdown `ENOTCONN`. It is over for the peer too, who is told of a reset, or of silence
    /// (`ETIMEDOUT`); what was sent and not received yet is lost in part.
    pub breaks: u32,
    /// Operations that end with `EINTR`, or with an `ECANCELED` that nobody asked for, and have done nothing. Most are
    /// tried again by the library and not seen by the program.
    pub interrupts: u32,
    /// Operations on pipes and sockets that end with `EAGAIN` and have done nothing, although nobody has asked them not to
    /// wait (liburing issues 274 and 364). The library waits for the descriptor then, and tries again:
    /// for ever, if this is 1000.
    pub not_now: u32,
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
    /// Datagrams by IP that never come: udp(7). 0 in every world that is not asked for it, as are the next two; whoever waits for
    /// one without a time limit waits for ever.
    pub lost_datagrams: u32,
    /// Datagrams by IP that come twice, the second time behind all that has come.
    pub doubled_datagrams: u32,
    /// Datagrams by IP that come before others that were sent earlier and have not been received.
    pub early_datagrams: u32,
    /// Operations on files, directories and their names that take up to [`Config::slowest_disk`] to begin.
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
            not_now: 30,
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
            breaks: 0,
            interrupts: 0,
            not_now: 0,
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
            lost_datagrams: 0,
            doubled_datagrams: 0,
            early_datagrams: 0,
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
        Self { errors: 30, breaks: 10, ..Self::new(seed) }
    }
}
