//! Operations on nothing in particular, and the way to all others.
//!
//! # Safety
//! Two blocks: the escape hatch passes its contract on.
//!
//! Tests: a_raw_entry_runs_and_gives_back_what_it_kept
#![allow(unsafe_code, reason = "the escape hatch for any submission entry")]

use std::io;
use std::ops::BitOr;
use std::time::Duration;

use safer_ring_backend::payload::{self, PipeEnds, PollEvents, Raw, Sleep, Unit};
use safer_ring_backend::sys::{Sqe, Sqe128, setup};
use safer_ring_backend::{Mode, Operation};

use crate::{Fd, RingOf};

/// Events to wait for, and events that are there: poll(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// There is something to read (`POLLIN`).
    pub const READABLE: Self = Self(1);
    /// There is out-of-band data (`POLLPRI`).
    pub const PRIORITY: Self = Self(2);
    /// Writing does not wait (`POLLOUT`).
    pub const WRITABLE: Self = Self(4);
    /// An error is pending (`POLLERR`); always reported.
    pub const ERROR: Self = Self(8);
    /// The other side is gone (`POLLHUP`); always reported.
    pub const HANG_UP: Self = Self(16);

    /// From the bits of poll(2).
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits of poll(2).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a pipe behaves: pipe2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PipeOptions {
    /// A stream of bytes.
    #[default]
    Stream,
    /// Each write is read as one packet (`O_DIRECT`).
    Packets,
}

impl<M: Mode> RingOf<M> {
    /// Goes through the kernel and does nothing: to measure, or to prove that the ring works.
    ///
    /// # Errors
    /// None that a kernel has been seen to give.
    ///
    /// # Dropping
    /// Nothing happens.
    #[inline]
    pub fn nop(&self) -> Operation<M, Unit> {
        self.start(payload::nop::<M>())
    }

    /// Waits until the descriptor is ready: poll(2), once. Gives the events that are there
    /// ([`Interest::from_bits`]).
    ///
    /// # Errors
    /// `EBADF`; readiness of regular files is immediate.
    ///
    /// # Dropping
    /// Cancels.
    pub fn poll(&self, fd: &Fd<M>, interest: Interest) -> Operation<M, PollEvents> {
        self.start(payload::poll(fd, interest.0))
    }

    /// Ends after `duration` of the monotonic clock, not before; on a shared ring that is 50 microseconds at least, and those that
    /// are due soon after the first end with it. The ring keeps all of its timers in one heap and asks the kernel for the
    /// next one only.
    ///
    /// # Errors
    /// `Failure::Forked` in a child process. A timer cannot be a member of a chain (`Failure::Exhausted`).
    ///
    /// # Dropping
    /// Ends it without a system call.
    pub fn timeout(&self, duration: Duration) -> Operation<M, Sleep> {
        self.start(payload::timeout::<M>(duration))
    }

    /// Makes a pipe: the end to read from, the end to write to, both close-on-exec. Kernel 6.16, before that a
    /// plain system call.
    ///
    /// # Errors
    /// Those of pipe(2): `EMFILE`.
    ///
    /// # Dropping
    /// Ends that still arrive are closed.
    pub fn pipe(&self, options: PipeOptions) -> Operation<M, PipeEnds<M>> {
        const O_DIRECT: u32 = 0o40_000;
        let flags = match options {
            PipeOptions::Stream => 0,
            PipeOptions::Packets => O_DIRECT,
        };
        self.start(payload::pipe::<M>(flags))
    }

    /// Runs any submission entry: for opcodes and flags that this library has no method for.
    ///
    /// `user_data`, the link flags and `IOSQE_CQE_SKIP_SUCCESS` are the library's, which sets them as it needs them. `keep`
    /// owns what the entry points to, and comes back in the output with all completions ([`RawOutput`](crate::RawOutput)).
    ///
    /// ```
    /// # use safer_ring::{Ring, sys};
    /// # pollster::block_on(async {
    /// let ring = Ring::new(8)?;
    /// let entry = sys::Sqe { opcode: sys::opcode::NOP, ..sys::Sqe::default() };
    /// // SAFETY: the entry points to nothing and names no descriptor.
    /// let output = unsafe { ring.raw(entry, None, ()) }.await;
    /// assert_eq!(output.result?, 0);
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// In the output: what the kernel says.
    ///
    /// # Dropping
    /// Cancels; `keep` is dropped after the last completion.
    ///
    /// # Safety
    /// Until the last completion:
    /// * all memory that `entry` points to is owned by `keep`, stays where it is when `keep` moves, and is touched by
    ///   nobody else; what the kernel may write into `keep` itself is valid for its type;
    /// * a descriptor number in `entry` is that of `fd`; any other is kept open by the caller;
    /// * a descriptor or a provided buffer in a completion that nobody takes is lost.
    pub unsafe fn raw<T: Send + 'static>(
        &self,
        entry: Sqe,
        fd: Option<&Fd<M>>,
        keep: T,
    ) -> Operation<M, Raw<T>> {
        // SAFETY: the caller's contract is the same.
        self.start(unsafe { payload::raw(entry, fd, keep) })
    }

    /// [`Ring::raw`](crate::RingOf::raw) of an entry of 128 bytes, as commands to NVMe devices have, for a ring made with
    /// [`Builder::wide_entries`](crate::Builder::wide_entries). Kernel 5.19.
    ///
    /// # Errors
    /// In the output: what the kernel says; `InvalidInput` if the ring's entries have 64 bytes.
    ///
    /// # Dropping
    /// As there.
    ///
    /// # Safety
    /// As there, for both halves of the entry.
    pub unsafe fn raw_wide<T: Send + 'static>(
        &self,
        entry: Sqe128,
        fd: Option<&Fd<M>>,
        keep: T,
    ) -> Operation<M, Raw<T>> {
        if !self.features().has_setup_flag(setup::SQE128) {
            let text = "an entry of 128 bytes needs a ring built with `wide_entries`";
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return self.try_start(Err(payload::raw_refused(error, keep)));
        }
        // SAFETY: the caller's contract is the same.
        self.start(unsafe { payload::raw_wide(entry, fd, keep) })
    }
}
