//! Signals of the process, as something to wait for.
//!
//! A signal handler writes a byte to a pipe, which the ring reads. The handler is that of the `signal-hook` crate, which
//! calls whatever handler was there before, so that several libraries can listen to the same signal.
//!
//! * From the first [`Signal::new`] of a kind on, the signal no longer does what it does by default, also when the
//!   [`Signal`] is dropped: `SIGTERM` does not end the process any more.
//! * Signals are not counted: several that arrive before the task runs can be one.
//! * No thread's signal mask is changed, so children that are started inherit nothing of this. A child that is forked and
//!   does not exec shares the handler and the pipe: a signal to it is seen here too.

use std::fmt;
use std::io;

use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level::{pipe, unregister};

use super::here;
use crate::{Fd, Local};

/// Bytes of the pipe that are taken at a time: each stands for a signal that was delivered.
const AT_ONCE: usize = 64;

/// Which signal: signal(7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// Any signal by its number.
    pub const fn from_raw(signal: i32) -> Self {
        Self(signal)
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// `SIGINT`: the user has pressed ctrl-c.
    pub const fn interrupt() -> Self {
        Self(signal_hook::consts::SIGINT)
    }

    /// `SIGTERM`: somebody asks the process to end.
    pub const fn terminate() -> Self {
        Self(signal_hook::consts::SIGTERM)
    }

    /// `SIGHUP`: the terminal is gone; for servers by custom: read the configuration again.
    pub const fn hangup() -> Self {
        Self(signal_hook::consts::SIGHUP)
    }

    /// `SIGQUIT`: the user has pressed ctrl-\.
    pub const fn quit() -> Self {
        Self(signal_hook::consts::SIGQUIT)
    }

    /// `SIGCHLD`: a child has ended or stopped.
    pub const fn child() -> Self {
        Self(signal_hook::consts::SIGCHLD)
    }

    /// `SIGUSR1`.
    pub const fn user_defined1() -> Self {
        Self(signal_hook::consts::SIGUSR1)
    }

    /// `SIGUSR2`.
    pub const fn user_defined2() -> Self {
        Self(signal_hook::consts::SIGUSR2)
    }

    /// `SIGWINCH`: the terminal has another size.
    pub const fn window_change() -> Self {
        Self(signal_hook::consts::SIGWINCH)
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_hook::low_level::signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// Signals of one kind, from now on.
///
/// ```no_run
/// # use safer_ring::{Runtime, runtime};
/// use safer_ring::runtime::signal::{Signal, SignalKind};
///
/// # fn main() -> std::io::Result<()> {
/// Runtime::new()?.block_on(async {
///     let mut reload = Signal::new(SignalKind::hangup())?;
///     loop {
///         reload.recv().await?;
///         // read the configuration again
///     }
/// })
/// # }
/// ```
///
/// # Dropping
/// Nobody listens any more; the signal is not given back to its default action.
pub struct Signal {
    kind: SignalKind,
    reader: Fd<Local>,
    action: SigId,
    /// What a dropped `recv` has not kept.
    buffer: Vec<u8>,
}

impl Signal {
    /// Listens to a signal. Those that arrive from now on are told, whether or not anybody waits.
    ///
    /// # Errors
    /// `EINVAL` for a number that is no signal, and for those that cannot or must not be caught: `SIGKILL`, `SIGSTOP`,
    /// `SIGILL`, `SIGFPE`, `SIGSEGV`. `EMFILE` and its like, for the pipe.
    pub fn new(kind: SignalKind) -> io::Result<Self> {
        if FORBIDDEN.contains(&kind.0) {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        let (reader, writer) = io::pipe()?;
        let action = pipe::register(kind.0, writer)?;
        Ok(Self { kind, reader: Fd::new(reader), action, buffer: Vec::with_capacity(AT_ONCE) })
    }

    /// Waits for the next signal, or for one that has arrived since the last call.
    ///
    /// # Errors
    /// Those of a read in the ring ([`Failure`](crate::Failure)).
    ///
    /// # Dropping
    /// No signal is lost: the read stays armed for the next call.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn recv(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() == 0 {
            buffer.reserve_exact(AT_ONCE);
        }
        buffer.clear();
        let (count, buffer) = here().ring().read_owned(&self.reader, buffer).await?;
        self.buffer = buffer;
        if count == 0 {
            // The other end is held by the handler, which `drop` alone takes away.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

const EINVAL: i32 = 22;

impl Drop for Signal {
    fn drop(&mut self) {
        unregister(self.action);
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Waits until the user presses ctrl-c (`SIGINT`). It is heard from the first poll on; for more than one, keep a [`Signal`].
///
/// ```no_run
/// # use safer_ring::{Runtime, runtime};
/// # use std::time::{Duration, Instant};
/// # fn main() -> std::io::Result<()> {
/// let runtime = Runtime::new()?;
/// runtime.block_on(runtime::signal::ctrl_c())?;
/// let report = runtime.shutdown(Instant::now() + Duration::from_secs(5));
/// # drop(report); Ok(()) }
/// ```
///
/// # Errors
/// See [`Signal::new`] and [`Signal::recv`].
pub async fn ctrl_c() -> io::Result<()> {
    Signal::new(SignalKind::interrupt())?.recv().await
}
