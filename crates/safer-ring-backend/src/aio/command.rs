//! Commands: what is to be done, with which buffer, on which descriptor.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use safer_ring_buf::{IoBuf, IoBufMut};
use safer_ring_sys::{Errno, Iocb, address, aio_cmd, aio_flag};

use crate::contract::{self, rules};

use super::error::Error;
use super::lent::{Lent, Way};

/// Bits of [`Command::poll`] and of its result, as in `poll(2)`.
pub mod poll_events {
    /// There is something to read.
    pub const IN: u16 = 0x001;
    /// There is something urgent to read.
    pub const PRI: u16 = 0x002;
    /// A write would not block.
    pub const OUT: u16 = 0x004;
    /// An error. Always asked for.
    pub const ERR: u16 = 0x008;
    /// The other side is gone. Always asked for.
    pub const HUP: u16 = 0x010;
    /// The other side will write no more.
    pub const RDHUP: u16 = 0x2000;
}

/// The I/O priority of one read or write, `ioprio_set(2)`. Linux 4.18. A scheduler of the device must know priorities
/// (BFQ, mq-deadline), else it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before all others. The level is 0 (first) to 7. Needs `CAP_SYS_ADMIN` or `CAP_SYS_NICE`, else `EPERM`.
    RealTime(u8),
    /// In turn with the others. The level is 0 (first) to 7; 4 is usual.
    BestEffort(u8),
    /// Only while the device has nothing else to do.
    Idle,
}

impl Priority {
    /// Class in the upper three bits, level in the lower; `None` for a level that does not exist.
    fn encode(self) -> Option<i16> {
        let (class, level) = match self {
            Priority::RealTime(level) => (1, level),
            Priority::BestEffort(level) => (2, level),
            Priority::Idle => (3, 0),
        };
        (level <= 7).then(|| (class << 13) | i16::from(level))
    }
}

/// The buffers of a command or of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buffers<B> {
    /// A sync or a poll has none.
    None,
    /// Of a read or write.
    One(B),
    /// Of a vectored read or write.
    Many(Vec<B>),
}

impl<B> Buffers<B> {
    /// The buffer of a read or write.
    pub fn one(self) -> Option<B> {
        match self {
            Buffers::One(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// The buffers of a vectored read or write, in their order.
    pub fn many(self) -> Option<Vec<B>> {
        match self {
            Buffers::Many(buffers) => Some(buffers),
            _ => None,
        }
    }
}

/// What is submitted: everything but the buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'f> {
    fd: BorrowedFd<'f>,
    pub(super) opcode: u16,
    offset: u64,
    /// Of a poll.
    pub(super) events: u16,
    resfd: Option<BorrowedFd<'f>>,
    rw_flags: u32,
    priority: Option<Priority>,
    pub(super) data: u64,
}

/// A command for a [`Context`](super::Context), with its buffers.
///
/// The descriptor is borrowed until the command has been submitted. After that it may be closed: the kernel holds the open
/// file itself until the command has ended. Reads and writes are at an offset, in bytes; a pipe or socket ignores it.
///
/// Dropping a command that was not submitted drops its buffers; [`into_buffers`](Command::into_buffers) keeps them.
#[must_use = "a command does nothing until it is submitted"]
pub struct Command<'f, B: IoBuf> {
    pub(super) order: Order<'f>,
    pub(super) way: Way<B>,
    pub(super) buffers: Buffers<B>,
}

impl<'f, B: IoBufMut> Command<'f, B> {
    /// `pread(2)`: fills the buffer up to its capacity. The event's result is the number of bytes, 0 at the end of the
    /// file; fewer than asked for are no error.
    pub fn read(fd: &'f impl AsFd, buffer: B, offset: u64) -> Self {
        Self::new(fd.as_fd(), aio_cmd::PREAD, offset, Way::READ, Buffers::One(buffer))
    }

    /// `preadv(2)`: fills the buffers one after the other. At most 1024.
    pub fn read_vectored(fd: &'f impl AsFd, buffers: Vec<B>, offset: u64) -> Self {
        Self::new(fd.as_fd(), aio_cmd::PREADV, offset, Way::READ, Buffers::Many(buffers))
    }
}

impl<'f, B: IoBuf> Command<'f, B> {
    /// `pwrite(2)`: writes the initialised bytes of the buffer. The event's result is the number of bytes; fewer than asked
    /// for are no error. To a pipe or socket without a reader it raises `SIGPIPE`, unless
    /// [`rwf::NOSIGNAL`](super::rwf::NOSIGNAL) is there; Rust programs ignore that signal.
    pub fn write(fd: &'f impl AsFd, buffer: B, offset: u64) -> Self {
        Self::new(fd.as_fd(), aio_cmd::PWRITE, offset, Way::WRITE, Buffers::One(buffer))
    }

    /// `pwritev(2)`: writes the buffers one after the other. At most 1024.
    pub fn write_vectored(fd: &'f impl AsFd, buffers: Vec<B>, offset: u64) -> Self {
        Self::new(fd.as_fd(), aio_cmd::PWRITEV, offset, Way::WRITE, Buffers::Many(buffers))
    }

    /// `fsync(2)`: the data and metadata of the file are on the device when it ends. It covers writes that have ended
    /// before, not those in flight. Linux 4.18; before, and of files that have no such call, `EINVAL`.
    pub fn fsync(fd: &'f impl AsFd) -> Self {
        Self::new(fd.as_fd(), aio_cmd::FSYNC, 0, Way::WRITE, Buffers::None)
    }

    /// `fdatasync(2)`: as [`fsync`](Command::fsync), without metadata that is not needed to read the data.
    pub fn fdatasync(fd: &'f impl AsFd) -> Self {
        Self::new(fd.as_fd(), aio_cmd::FDSYNC, 0, Way::WRITE, Buffers::None)
    }

    /// `poll(2)`: ends once, when one of the [`poll_events`] is there; they are the event's result.
    /// [`Context::cancel`](super::Context::cancel) ends it, with `ECANCELED` as the result. Linux 4.19; before, and for a
    /// file without something to wait for, `EINVAL`.
    pub fn poll(fd: &'f impl AsFd, events: u16) -> Self {
        let mut command = Self::new(fd.as_fd(), aio_cmd::POLL, 0, Way::WRITE, Buffers::None);
        command.order.events = events;
        command
    }

    fn new(fd: BorrowedFd<'f>, opcode: u16, offset: u64, way: Way<B>, buffers: Buffers<B>) -> Self {
        let (resfd, rw_flags, priority) = (None, 0, None);
        let order = Order { fd, opcode, offset, events: 0, resfd, rw_flags, priority, data: 0 };
        Command { order, way, buffers }
    }

    /// A number of the caller's, which comes back in [`Event::data`](super::Event::data). 0 by default.
    pub fn data(mut self, data: u64) -> Self {
        self.order.data = data;
        self
    }

    /// The counter of this eventfd goes up by 1 when the event is there: for an epoll or an event loop. It is borrowed
    /// until the submission and may be closed afterwards. What is no eventfd is refused (`EINVAL`).
    pub fn resfd(mut self, eventfd: &'f impl AsFd) -> Self {
        self.order.resfd = Some(eventfd.as_fd());
        self
    }

    /// The flags of a read or write, bits of [`rwf`](super::rwf). One that the kernel or the file does not know is refused
    /// (`EOPNOTSUPP`).
    pub fn flags(mut self, flags: u32) -> Self {
        self.order.rw_flags = flags;
        self
    }

    /// The priority of a read or write; else it is that of the thread that submits.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.order.priority = Some(priority);
        self
    }

    /// The buffers, without the command.
    pub fn into_buffers(self) -> Buffers<B> {
        self.buffers
    }
}

impl<B: IoBuf> fmt::Debug for Command<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("order", &self.order).finish_non_exhaustive()
    }
}

impl<B: IoBuf> Command<'_, B> {
    /// Why the kernel may have refused it with this error.
    pub(super) fn explain(&self, errno: Errno) -> Vec<rules::Cause> {
        let order = &self.order;
        // What this library gives the kernel to read and write is there.
        let there = rules::Pointer::writable(address(order));
        let transfers = !matches!(order.opcode, aio_cmd::FSYNC | aio_cmd::FDSYNC | aio_cmd::POLL);
        let mut iocb = rules::Iocb {
            place: there,
            opcode: order.opcode,
            fildes: number(order.fd.as_raw_fd()),
            buf: if transfers { there.address } else { u64::from(order.events) },
            memory: rules::Memory::Writable,
            offset: i64::try_from(order.offset).unwrap_or(i64::MAX),
            rw_flags: order.rw_flags,
            reqprio: order.priority.and_then(Priority::encode).unwrap_or_default(),
            ..rules::Iocb::default()
        };
        let mut facts = contract::machine();
        facts.context.alive = Some(true);
        facts.files.push(contract::entry(order.fd));
        if order.priority.is_some() {
            iocb.flags |= aio_flag::IOPRIO;
        }
        if let Some(resfd) = order.resfd {
            iocb.flags |= aio_flag::RESFD;
            iocb.resfd = number(resfd.as_raw_fd());
            facts.files.push(contract::entry(resfd));
        }
        let call = rules::IoSubmit { nr: 1, array: there, iocbs: vec![iocb] };
        rules::explain(errno.name().unwrap_or_default(), &rules::Call::IoSubmit(call), &facts)
    }
}

impl Order<'_> {
    /// The kernel's structure, but for `aio_data`.
    ///
    /// # Errors
    /// What the kernel would refuse without a clear reason, or take and ignore.
    pub(super) fn iocb<B: IoBuf>(&self, lent: &Lent<B>) -> Result<Iocb, Error> {
        let transfers = !matches!(self.opcode, aio_cmd::FSYNC | aio_cmd::FDSYNC | aio_cmd::POLL);
        if !transfers && (self.rw_flags != 0 || self.priority.is_some()) {
            return Err(Error::NoTransfer);
        }
        let mut iocb = Iocb {
            aio_rw_flags: self.rw_flags,
            aio_lio_opcode: self.opcode,
            aio_fildes: number(self.fd.as_raw_fd()),
            aio_offset: i64::try_from(self.offset).map_err(|_| Error::Offset)?,
            aio_buf: if transfers { lent.address() } else { u64::from(self.events) },
            aio_nbytes: lent.length(),
            ..Iocb::default()
        };
        if let Some(priority) = self.priority {
            iocb.aio_reqprio = priority.encode().ok_or(Error::Level)?;
            iocb.aio_flags |= aio_flag::IOPRIO;
        }
        if let Some(resfd) = self.resfd {
            iocb.aio_resfd = number(resfd.as_raw_fd());
            iocb.aio_flags |= aio_flag::RESFD;
        }
        Ok(iocb)
    }
}

/// A borrowed descriptor is not negative; another number is no descriptor for the kernel either.
fn number(fd: RawFd) -> u32 {
    u32::try_from(fd).unwrap_or(u32::MAX)
}
