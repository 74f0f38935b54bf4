//! One context of Linux AIO: `io_setup(2)`, `io_submit(2)`, `io_getevents(2)`, `io_cancel(2)`, `io_destroy(2)`.
//!
//! The kernel shows the events of a context in a ring of memory, too, whose layout libraries have guessed and which some
//! kernels do not have. It is not read here: it is no documented interface, and what a call costs is little (see
//! `DESIGN.md`).
//!
//! # Safety
//! System calls, one of which gives the kernel addresses to work on. The promise that they stay valid is passed on to the
//! caller, as [`Uring::push`](crate::Uring::push) does.
//!
//! Tests: direct_reads_overwrites_and_syncs_complete_and_are_counted, destroying_waits_for_direct_reads, fork_drop_leak_and_failure
#![allow(unsafe_code, reason = "system calls")]

use core::ffi::c_void;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr;

use crate::uapi::aio::{IoEvent, Iocb};
use crate::uapi::register::Timespec;
use crate::uapi::widen;
use crate::{Errno, fork};

/// A context of Linux AIO: commands go in, events come out. Any thread may use it, several at a time.
///
/// **Dropping it waits, uninterruptibly, until all that is in flight has ended**: `io_destroy(2)` ends polls, but disk I/O
/// cannot be cancelled. Who must not wait calls [`leak`], or drops on a thread of its own. Who frees memory of commands
/// afterwards calls [`destroy`], which tells whether the kernel has let go of it: a filter can forbid `io_destroy(2)`.
///
/// In a forked child there is no such context: the parent's belongs to the parent, and a context of the child may even have
/// the same number. So every call answers `EINVAL` there without asking the kernel, and dropping does nothing.
/// [`is_alive`] tells. The head of the kernel's ring is not handed down to the child (`MADV_DONTFORK`), which would share
/// it with the parent.
///
/// [`leak`]: AioContext::leak
/// [`destroy`]: AioContext::destroy
/// [`is_alive`]: AioContext::is_alive
#[derive(Debug)]
pub struct AioContext {
    /// `aio_context_t`: the address of the kernel's ring in this process.
    id: usize,
    epoch: u32,
}

impl AioContext {
    /// `io_setup(2)`: makes a context for `nr_events` commands at a time. The kernel rounds up generously, so that more may
    /// fit; `nr_events` is what it takes from the limit of the system, `fs.aio-max-nr` (65536 by default).
    ///
    /// # Errors
    /// `EAGAIN`: less than `nr_events` is left of `fs.aio-max-nr`, which all processes and containers share. `EINVAL`:
    /// `nr_events` is 0, or above 4,194,304. `ENOSYS`: no AIO in this kernel (`CONFIG_AIO`), or a seccomp filter hides it;
    /// `EPERM`: a filter forbids it. `ENOMEM`. Also those of `madvise(2)` and [`fork::arm`].
    pub fn setup(nr_events: u32) -> Result<AioContext, Errno> {
        let epoch = fork::arm()?;
        let mut id: usize = 0;
        // SAFETY: the kernel reads and writes one word, which must be 0 before, and keeps no pointer to it.
        checked(unsafe { libc::syscall(libc::SYS_io_setup, nr_events, &raw mut id) })?;
        let context = AioContext { id, epoch };
        let start = ptr::without_provenance_mut::<c_void>(id);
        // The first page has the indices, and is all that every kernel maps. The length is rounded up to it.
        // SAFETY: advice on the first page of the mapping that `io_setup` has made at this address.
        if unsafe { libc::madvise(start, 1, libc::MADV_DONTFORK) } != 0 {
            return Err(Errno::last());
        }
        Ok(context)
    }

    /// Whether this is the process that made the context, not a forked child. No system call.
    #[inline]
    #[must_use]
    pub fn is_alive(&self) -> bool {
        fork::current() == self.epoch
    }

    /// `io_submit(2)`: hands commands over, in order, until one is refused. Gives how many were taken: at least one, unless
    /// `iocbs` is empty. The refusal of a later one shows when it is submitted again, as the first.
    ///
    /// The structures are copied, and so are the arrays of `iovec`: they may be changed or freed afterwards.
    ///
    /// It can block: in buffered I/O without [`rwf::NOWAIT`], in writes that extend a file, for a full queue of the
    /// device, on pipes and sockets.
    ///
    /// [`rwf::NOWAIT`]: crate::rwf::NOWAIT
    ///
    /// # Errors
    /// Of the first command; nothing was taken then. `EAGAIN`: the context is full, fetch events first. `EBADF`: not open,
    /// or not open for this. `EINVAL`: unknown command, a field that must be 0, a file that cannot do this; also in a
    /// forked child. `EOPNOTSUPP`: a flag that this kernel or file does not know. `EFAULT`, `EOVERFLOW`, `ENOMEM`,
    /// `EPERM`: see `io_submit(2)`.
    ///
    /// # Safety
    /// * Each pointer is valid for reads and writes of an [`Iocb`] during the call.
    /// * For each command that is taken: until its event has been fetched, or [`destroy`](AioContext::destroy) has
    ///   returned `Ok`, every address in it stays valid for what the command does there. Nobody else uses memory that the
    ///   kernel writes, or writes to memory that it reads.
    /// * Each descriptor stays open during the call. (The kernel holds the file itself until the command has ended.)
    #[inline]
    pub unsafe fn submit(&self, iocbs: &[*mut Iocb]) -> Result<usize, Errno> {
        self.check()?;
        // SAFETY: the kernel reads as many pointers as it is told; what is behind them is the caller's promise.
        let result =
            unsafe { libc::syscall(libc::SYS_io_submit, self.id, iocbs.len(), iocbs.as_ptr()) };
        checked(result)
    }

    /// `io_getevents(2)`: fetches up to `events.len()` events, and waits until there are `min`. Gives the part of `events`
    /// that was filled.
    ///
    /// With a zero timeout it does not wait. After the timeout it gives what there is, perhaps nothing. Without one it
    /// waits as long as it takes: for ever, if fewer than `min` commands are in flight.
    ///
    /// # Errors
    /// `EINTR`: a signal came before the first event. `EINVAL`: `min` is above `events.len()`; the timeout is
    /// negative (with which the kernel would never return) or has 1,000,000,000 ns or more; or this is a forked child.
    #[inline]
    pub fn getevents<'e>(
        &self,
        min: usize,
        events: &'e mut [MaybeUninit<IoEvent>],
        timeout: Option<Timespec>,
    ) -> Result<&'e mut [IoEvent], Errno> {
        self.check()?;
        let timeout = match &timeout {
            Some(limit) if limit.tv_sec < 0 || !(0..1_000_000_000).contains(&limit.tv_nsec) => {
                return Err(Errno::INVAL);
            }
            Some(limit) => ptr::from_ref(limit),
            None => ptr::null(),
        };
        let (room, into) = (events.len(), events.as_mut_ptr());
        // SAFETY: the kernel writes at most `room` events, which `events` has, reads one timespec or none, and keeps no
        // pointer.
        let result =
            unsafe { libc::syscall(libc::SYS_io_getevents, self.id, min, room, into, timeout) };
        let count = checked(result)?;
        let filled = events.get_mut(..count).ok_or(Errno::PROTO)?;
        let first = filled.as_mut_ptr().cast::<IoEvent>();
        // SAFETY: the kernel has written the first `count` events, each of them whole; `MaybeUninit` has their layout.
        Ok(unsafe { core::slice::from_raw_parts_mut(first, count) })
    }

    /// `io_cancel(2)`: ends a command that was submitted from this address. Polls can be ended, disk I/O cannot. What ends
    /// has its event like everything else, with the result 0 or, of a poll that was faster, its events.
    ///
    /// The kernel compares the address and reads `aio_key` there (`EFAULT` where nothing is mapped). So the [`Iocb`]
    /// must still have its place, though not its contents.
    ///
    /// # Errors
    /// `EINVAL`: no such command in flight, or none that can be cancelled; also in a forked child. `EAGAIN`: not cancelled.
    pub fn cancel(&self, iocb: *const Iocb) -> Result<(), Errno> {
        self.check()?;
        let mut unused = MaybeUninit::<IoEvent>::uninit();
        let (iocb, into) = (iocb.addr(), unused.as_mut_ptr());
        // SAFETY: the kernel compares the number `iocb`, reads four bytes there, with a check, and may write one event.
        let result = unsafe { libc::syscall(libc::SYS_io_cancel, self.id, iocb, into) };
        match checked(result) {
            // What success looks like since Linux 3.10: the event comes the usual way.
            Ok(_) | Err(Errno::INPROGRESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// `io_destroy(2)`: ends polls, waits for everything else, frees the context. Events that were not fetched are lost.
    /// gVisor gives up what it has not begun.
    /// Once it has returned `Ok`, the kernel no longer uses memory of any command.
    ///
    /// The wait cannot be interrupted or limited. The context's share of `fs.aio-max-nr` comes back a little later.
    ///
    /// # Errors
    /// `EINVAL` in a forked child, where nothing was done; also if other code has destroyed or unmapped the context.
    /// `EPERM` or `ENOSYS` of a filter. What is in flight may go on then.
    pub fn destroy(self) -> Result<(), Errno> {
        ManuallyDrop::new(self).end()
    }

    /// Gives the context up without waiting: it, its share of `fs.aio-max-nr`, and what is in flight stay until the process
    /// ends. The end of the process waits for disk I/O, as [`destroy`](AioContext::destroy) does.
    pub fn leak(self) {
        let _ = ManuallyDrop::new(self);
    }

    fn check(&self) -> Result<(), Errno> {
        if self.is_alive() { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Called once.
    fn end(&self) -> Result<(), Errno> {
        self.check()?;
        // SAFETY: a number; the kernel looks it up among the contexts of this process and unmaps its own ring, to which
        // this crate keeps no pointer.
        checked(unsafe { libc::syscall(libc::SYS_io_destroy, self.id) }).map(drop)
    }
}

impl Drop for AioContext {
    fn drop(&mut self) {
        // Nobody to tell. Who depends on it calls `destroy`.
        let _ = self.end();
    }
}

/// The result of `syscall(3)`, with its error fetched from `errno(3)`.
fn checked(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

const _: () = assert!(widen(usize::MAX) == u64::MAX, "`aio_context_t` is one word");
