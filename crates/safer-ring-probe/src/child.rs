//! A child process for each probe: what it does to its limits, its descriptors and its contexts ends with it, and if it hangs
//! or is killed, the report says so.
//!
//! # Safety
//! `fork(2)`. The child runs the probe on its one thread: system calls, memory of its own, and the allocator, which the C
//! library hands over usable to a child. It takes no other lock, does not unwind out, and ends with `_exit(2)`.
//!
//! Tests: a_child_tells_what_it_saw, a_child_that_hangs_or_dies_is_told
#![allow(unsafe_code, reason = "fork(2)")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use safer_ring_sys::Errno;

/// How a child came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// What it has said.
    Said(String),
    /// A signal ended it.
    Killed(i32),
    /// It took too long, and was ended.
    Late,
    /// It ended without a word.
    Silent,
}

/// Runs `probe` in a child, for at most `limit`.
///
/// # Errors
/// Those of `pipe2(2)` and `fork(2)`.
pub(crate) fn run(limit: Duration, probe: impl FnOnce() -> String) -> Result<Ended, Errno> {
    let (read, write) = pipe()?;
    // SAFETY: the child runs only what the head of this file says.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(Errno::last());
    }
    if child == 0 {
        drop(read);
        let said = catch_unwind(AssertUnwindSafe(probe))
            .unwrap_or_else(|_| "Uthe probe panicked".to_owned());
        let _ = File::from(write).write_all(said.as_bytes());
        // SAFETY: ends this process at once, with nothing of the parent's run a second time.
        unsafe { libc::_exit(0) };
    }
    drop(write);
    Ok(listen(child, read, limit))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two numbers.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(Errno::last());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let read = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let write = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((read, write))
}

fn listen(child: libc::pid_t, read: OwnedFd, limit: Duration) -> Ended {
    let late = !ready(&read, limit);
    if late {
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    let mut said = Vec::new();
    if !late {
        let _ = File::from(read).read_to_end(&mut said);
    }
    let mut status = 0;
    // SAFETY: waits for the child that this process has made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if late {
        return Ended::Late;
    }
    if libc::WIFSIGNALED(status) {
        return Ended::Killed(libc::WTERMSIG(status));
    }
    match String::from_utf8(said) {
        Ok(said) if !said.is_empty() => Ended::Said(said),
        _ => Ended::Silent,
    }
}

/// Waits until the child says something or ends.
fn ready(read: &OwnedFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd` that lives during the call.
        match unsafe { libc::poll(&raw mut poll, 1, left) } {
            0 => return false,
            1.. => return true,
            // A signal.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_tells_what_it_saw() {
        let own = std::process::id();
        let ended = run(Duration::from_secs(10), || format!("{}", std::process::id())).unwrap();
        let Ended::Said(said) = ended else { panic!("{ended:?}") };
        assert_ne!(said, own.to_string());
    }

    #[test]
    fn a_child_that_hangs_or_dies_is_told() {
        let late = run(Duration::from_millis(20), || {
            loop {
                // SAFETY: sleeps until a signal.
                unsafe { libc::pause() };
            }
        });
        assert_eq!(late, Ok(Ended::Late));
        let killed = run(Duration::from_secs(10), || {
            // SAFETY: ends this child.
            unsafe { libc::raise(libc::SIGKILL) };
            String::new()
        });
        assert_eq!(killed, Ok(Ended::Killed(libc::SIGKILL)));
        assert_eq!(run(Duration::from_secs(10), String::new), Ok(Ended::Silent));
    }
}
