//! Children of the process.

use std::io;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::here;
use crate::{Fd, Interest, Local};

/// Waits until a child has ended, and gives how. The child is reaped by [`Child::try_wait`], so that it is the same as
/// [`Child::wait`] to everybody else, but that standard input stays open: take it out of the child, and drop it, if the
/// child waits for its end.
///
/// The ring polls a descriptor of the child (pidfd_open(2)), so that no other child can be meant, no signal is needed, and
/// nothing is reaped but this one, when this future is polled. Kernel 5.3.
///
/// ```
/// # use safer_ring::{Runtime, runtime};
/// # fn main() -> std::io::Result<()> {
/// let mut child = std::process::Command::new("true").spawn()?;
/// let status = Runtime::new()?.block_on(runtime::process::wait(&mut child))?;
/// assert!(status.success());
/// # Ok(()) }
/// ```
///
/// # Errors
/// `ECHILD` when somebody else has reaped it, also the kernel, where `SIGCHLD` is ignored. `EMFILE` and its like for the
/// descriptor.
///
/// # Dropping
/// The child goes on, and can be waited for again.
///
/// # Panics
/// Outside of a runtime.
pub async fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    loop {
        // Also says whether it is still ours: a number that was not reaped names no other process.
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let fd: Fd<Local> = Fd::new(pidfd_open(pid, PidfdFlags::empty())?);
        here().ring().poll(&fd, Interest::READABLE).await?;
    }
}
