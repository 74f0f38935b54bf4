//! Operations as plain data.
//!
//! An [`Op`] holds the numbers of a submission and nothing that must be kept alive. The main
//! buffer and the descriptors are in the resources. Further areas inside the lent memory (a path,
//! an address, a `statx` buffer) are opaque words named `aux`, whose meaning the driver knows.

/// The offset that means "at the file's own position" (`-1` in `io_uring_enter(2)`).
pub const CURSOR: u64 = u64::MAX;

/// One operation. The numbers are those of the system call of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Nothing, by way of the kernel.
    Nop,
    /// `pread(2)`, or `read(2)` at [`CURSOR`].
    Read {
        /// Bytes from the start of the file, or [`CURSOR`].
        offset: u64,
    },
    /// `pwrite(2)`, or `write(2)` at [`CURSOR`].
    Write {
        /// Bytes from the start of the file, or [`CURSOR`].
        offset: u64,
    },
    /// `preadv(2)`.
    ReadVectored {
        /// Bytes from the start of the file, or [`CURSOR`].
        offset: u64,
        /// Buffers.
        count: u32,
    },
    /// `pwritev(2)`.
    WriteVectored {
        /// Bytes from the start of the file, or [`CURSOR`].
        offset: u64,
        /// Buffers.
        count: u32,
    },
    /// `recv(2)`.
    Recv {
        /// `MSG_*`.
        flags: u32,
    },
    /// `recv(2)` again and again, each time into a buffer that the kernel picks (`IORING_RECV_MULTISHOT`).
    RecvMulti {
        /// The group that it picks from.
        group: u16,
    },
    /// `send(2)`.
    Send {
        /// `MSG_*`.
        flags: u32,
    },
    /// `recvmsg(2)`.
    RecvMsg {
        /// `MSG_*`.
        flags: u32,
    },
    /// `sendmsg(2)`.
    SendMsg {
        /// `MSG_*`.
        flags: u32,
    },
    /// `accept4(2)`.
    Accept {
        /// `SOCK_*`.
        flags: u32,
        /// Where the length of the peer's address is kept.
        aux: u64,
    },
    /// `connect(2)`.
    Connect {
        /// Bytes of the address.
        len: u32,
    },
    /// `openat(2)`.
    OpenAt {
        /// `O_*`.
        flags: u32,
        /// Permissions of a new file.
        mode: u32,
    },
    /// `openat2(2)`.
    OpenAt2 {
        /// Where the `open_how` is kept.
        aux: u64,
    },
    /// `close(2)`.
    Close {
        /// The descriptor.
        fd: i32,
    },
    /// `statx(2)`.
    Statx {
        /// `AT_*`.
        flags: u32,
        /// `STATX_*`.
        mask: u32,
        /// Where the result is kept.
        aux: u64,
    },
    /// `fsync(2)` or `fdatasync(2)`.
    Fsync {
        /// Data only.
        datasync: bool,
    },
    /// `fallocate(2)`.
    Fallocate {
        /// `FALLOC_FL_*`.
        mode: u32,
        /// Bytes from the start of the file.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// `ftruncate(2)`.
    Ftruncate {
        /// Bytes the file shall have.
        len: u64,
    },
    /// `renameat2(2)`.
    RenameAt {
        /// `RENAME_*`.
        flags: u32,
        /// Where the new path is kept.
        aux: u64,
    },
    /// `unlinkat(2)`.
    UnlinkAt {
        /// `AT_REMOVEDIR` or 0.
        flags: u32,
    },
    /// `mkdirat(2)`.
    MkdirAt {
        /// Permissions.
        mode: u32,
    },
    /// `symlinkat(2)`.
    SymlinkAt {
        /// Where the path of the link is kept.
        aux: u64,
    },
    /// `linkat(2)`.
    LinkAt {
        /// `AT_*`.
        flags: u32,
        /// Where the new path is kept.
        aux: u64,
    },
    /// `splice(2)`.
    Splice {
        /// Offset of the source, or [`CURSOR`].
        offset_in: u64,
        /// Offset of the destination, or [`CURSOR`].
        offset_out: u64,
        /// Bytes.
        len: u32,
        /// `SPLICE_F_*`.
        flags: u32,
    },
    /// `tee(2)`.
    Tee {
        /// Bytes.
        len: u32,
        /// `SPLICE_F_*`.
        flags: u32,
    },
    /// `pipe2(2)`: writes two descriptors into the lent memory.
    Pipe {
        /// `O_*`.
        flags: u32,
    },
    /// `shutdown(2)`.
    Shutdown {
        /// `SHUT_*`.
        how: u32,
    },
    /// `socket(2)`.
    Socket {
        /// `AF_*`.
        domain: u32,
        /// `SOCK_*`.
        kind: u32,
        /// `IPPROTO_*`.
        protocol: u32,
    },
    /// `bind(2)`.
    Bind {
        /// Bytes of the address.
        len: u32,
    },
    /// `listen(2)`.
    Listen {
        /// Connections that may wait.
        backlog: u32,
    },
    /// `poll(2)` for one descriptor, once.
    Poll {
        /// `POLL*`.
        events: u32,
    },
    /// A timer of the table itself. It never reaches the kernel; see
    /// [`Table::insert_deadline`](crate::Table::insert_deadline).
    Timeout,
    /// A submission entry stored in the lent memory. Its results are passed on untouched.
    Raw,
}

/// What becomes of an operation in the table whose owner is gone, see
/// [`Table::orphan`](crate::Table::orphan).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrop {
    /// It is cancelled, or leaves the queue: nobody is left to see its result.
    Cancel,
    /// It leaves the queue; where the kernel has it, it stays, and costs no system call: what it
    /// takes in (bytes of a stream, a connection) is for the next operation of its kind.
    Keep,
    /// It runs to its end, from the queue as well: its effect was asked for.
    Finish,
}

const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;
const MSG_ERRQUEUE: u32 = 0x2000;

impl Op {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Op::Nop => "nop",
            Op::Read { .. } => "read",
            Op::Write { .. } => "write",
            Op::ReadVectored { .. } => "readv",
            Op::WriteVectored { .. } => "writev",
            Op::Recv { .. } => "recv",
            Op::RecvMulti { .. } => "recv multishot",
            Op::Send { .. } => "send",
            Op::RecvMsg { .. } => "recvmsg",
            Op::SendMsg { .. } => "sendmsg",
            Op::Accept { .. } => "accept",
            Op::Connect { .. } => "connect",
            Op::OpenAt { .. } => "openat",
            Op::OpenAt2 { .. } => "openat2",
            Op::Close { .. } => "close",
            Op::Statx { .. } => "statx",
            Op::Fsync { datasync: false } => "fsync",
            Op::Fsync { datasync: true } => "fdatasync",
            Op::Fallocate { .. } => "fallocate",
            Op::Ftruncate { .. } => "ftruncate",
            Op::RenameAt { .. } => "renameat",
            Op::UnlinkAt { .. } => "unlinkat",
            Op::MkdirAt { .. } => "mkdirat",
            Op::SymlinkAt { .. } => "symlinkat",
            Op::LinkAt { .. } => "linkat",
            Op::Splice { .. } => "splice",
            Op::Tee { .. } => "tee",
            Op::Pipe { .. } => "pipe",
            Op::Shutdown { .. } => "shutdown",
            Op::Socket { .. } => "socket",
            Op::Bind { .. } => "bind",
            Op::Listen { .. } => "listen",
            Op::Poll { .. } => "poll",
            Op::Timeout => "timeout",
            Op::Raw => "raw",
        }
    }

    /// Whether a result of 0 or more is a new descriptor.
    #[inline]
    #[must_use]
    pub fn creates_descriptor(&self) -> bool {
        matches!(
            self,
            Op::Accept { .. } | Op::OpenAt { .. } | Op::OpenAt2 { .. } | Op::Socket { .. }
        )
    }

    /// Whether a result of 0 means two new descriptors in the lent memory.
    #[inline]
    #[must_use]
    pub fn creates_pair(&self) -> bool {
        matches!(self, Op::Pipe { .. })
    }

    /// What becomes of it when its owner is gone.
    #[must_use]
    pub fn on_drop(&self) -> OnDrop {
        match self {
            Op::Read { offset: CURSOR }
            | Op::ReadVectored { offset: CURSOR, .. }
            | Op::RecvMulti { .. }
            | Op::Accept { .. } => OnDrop::Keep,
            // One that waits for more than there is, or takes nothing, is of no use to the next.
            Op::Recv { flags } | Op::RecvMsg { flags } => {
                let special = MSG_OOB | MSG_PEEK | MSG_WAITALL | MSG_ERRQUEUE;
                if flags & special == 0 { OnDrop::Keep } else { OnDrop::Cancel }
            }
            Op::Read { .. }
            | Op::ReadVectored { .. }
            | Op::Connect { .. }
            | Op::OpenAt { .. }
            | Op::OpenAt2 { .. }
            | Op::Statx { .. }
            | Op::Poll { .. }
            | Op::Timeout
            | Op::Raw => OnDrop::Cancel,
            Op::Nop
            | Op::Write { .. }
            | Op::WriteVectored { .. }
            | Op::Send { .. }
            | Op::SendMsg { .. }
            | Op::Close { .. }
            | Op::Fsync { .. }
            | Op::Fallocate { .. }
            | Op::Ftruncate { .. }
            | Op::RenameAt { .. }
            | Op::UnlinkAt { .. }
            | Op::MkdirAt { .. }
            | Op::SymlinkAt { .. }
            | Op::LinkAt { .. }
            | Op::Splice { .. }
            | Op::Tee { .. }
            | Op::Pipe { .. }
            | Op::Shutdown { .. }
            | Op::Socket { .. }
            | Op::Bind { .. }
            | Op::Listen { .. } => OnDrop::Finish,
        }
    }

    /// The events to wait for after `-EAGAIN`, where a descriptor in non-blocking mode makes the
    /// kernel answer so. `None` where waiting would not help, and where the caller asked not to
    /// wait (`MSG_DONTWAIT`, `MSG_ERRQUEUE`).
    #[must_use]
    pub fn poll_events(&self) -> Option<u32> {
        match *self {
            Op::Read { offset: CURSOR } | Op::ReadVectored { offset: CURSOR, .. } => Some(POLLIN),
            Op::Write { offset: CURSOR } | Op::WriteVectored { offset: CURSOR, .. } => {
                Some(POLLOUT)
            }
            Op::Recv { flags } | Op::RecvMsg { flags } => {
                (flags & (MSG_DONTWAIT | MSG_ERRQUEUE) == 0).then_some(POLLIN)
            }
            Op::Send { flags } | Op::SendMsg { flags } => {
                (flags & MSG_DONTWAIT == 0).then_some(POLLOUT)
            }
            Op::RecvMulti { .. } | Op::Accept { .. } => Some(POLLIN),
            _ => None,
        }
    }

    /// How many requests to cancel it may find nothing although the kernel has it: none, unless it may wait for a peer
    /// without an end.
    ///
    /// - Connects, opens (of a FIFO) and splices are with a thread of the kernel, or on their way to it, and soon found. How
    ///   long that is depends on who else wants the processor: up to 257 requests were seen on a busy one.
    /// - Reads and writes may be with a disk too, in no place at all, as may be raw entries: those end by themselves. The
    ///   kernel tries one that it polls for 128 times before it gives it to a thread, and may be between two tries each time.
    #[must_use]
    pub(crate) fn may_be_missed(&self) -> u32 {
        match self {
            Op::Connect { .. }
            | Op::OpenAt { .. }
            | Op::OpenAt2 { .. }
            | Op::Splice { .. }
            | Op::Tee { .. } => 1 << 16,
            Op::Raw => 256,
            _ if self.poll_events().is_some() => 256,
            _ => 0,
        }
    }

    /// Whether the kernel may take it for failed, and end its chain, although its result tells nothing of that: raw entries,
    /// and transfers of messages that wait for all bytes (`MSG_WAITALL`), which may be short or truncated.
    #[must_use]
    pub(crate) fn hides_failure(&self) -> bool {
        match self {
            Op::Raw => true,
            Op::Recv { flags } | Op::RecvMsg { flags } | Op::SendMsg { flags } => {
                flags & MSG_WAITALL != 0
            }
            _ => false,
        }
    }

    /// Whether kernels start the next member of a chain although this one has failed: those from 6.0 on, which note no
    /// failure of system calls that a thread of the kernel makes as they are.
    #[must_use]
    pub(crate) fn fails_unseen(&self) -> bool {
        matches!(
            self,
            Op::Fsync { .. }
                | Op::Fallocate { .. }
                | Op::Ftruncate { .. }
                | Op::RenameAt { .. }
                | Op::UnlinkAt { .. }
                | Op::MkdirAt { .. }
                | Op::SymlinkAt { .. }
                | Op::LinkAt { .. }
                | Op::Statx { .. }
                | Op::Shutdown { .. }
        )
    }

    /// Whether a request to cancel goes to the kernel. Not for `close(2)`: that ends by itself, and an `-ECANCELED` would not tell
    /// whether the descriptor is still open, since a file may say the same when it is closed.
    #[must_use]
    pub(crate) fn can_be_recalled(&self) -> bool {
        !matches!(self, Op::Close { .. })
    }

    /// Whether `-EINTR`, and an `-ECANCELED` that nobody asked for, mean that nothing was done, so
    /// that it may be tried again. The latter is what the kernel answers for an operation whose
    /// submitting thread has ended. Not so for
    /// `connect(2)`, which goes on after it was interrupted (a second try says `EALREADY`), for
    /// `close(2)`, which has closed the descriptor all the same (a second try could close
    /// somebody else's), nor for [`Op::Raw`], whose meaning is not known here.
    #[must_use]
    pub fn restarts(&self) -> bool {
        !matches!(self, Op::Close { .. } | Op::Connect { .. } | Op::Raw | Op::Timeout)
    }
}

const _: () = assert!(size_of::<Op>() <= 32, "an operation is copied on the hot path");
