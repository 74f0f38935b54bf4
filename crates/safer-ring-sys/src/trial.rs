//! Asks whether the three system calls of `io_uring(7)` may be made: each one apart, without doing anything with it.
//!
//! A seccomp filter may end the process at any of them (`SECCOMP_RET_KILL_PROCESS`, `SECCOMP_RET_TRAP`), so they can be
//! asked in a child, of which the parent learns what became. The child is a copy (fork(2)), not one that shares memory
//! (vfork(2)): before Linux 5.16 the core dump of a process ended every process with the same memory.
//!
//! # Safety
//! System calls, a page shared with the child, and a child that runs nothing but system calls: locks of other threads
//! stay locked in it for ever (fork(2)).
//!
//! Tests: the_calls_may_be_made_here, a_child_gives_the_answers_of_its_parent, a_child_that_hangs_is_ended
#![allow(unsafe_code, reason = "system calls and fork(2)")]

use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::uapi::setup::Params;
use crate::{Errno, register_op};

/// A system call of `io_uring(7)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `io_uring_setup(2)`.
    Setup,
    /// `io_uring_enter(2)`.
    Enter,
    /// `io_uring_register(2)`.
    Register,
}

impl Call {
    /// The name of the system call.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Setup => "io_uring_setup",
            Call::Enter => "io_uring_enter",
            Call::Register => "io_uring_register",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the kernel, or a filter before it, answers to each call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// To a ring of two entries, closed at once. `Ok` is its descriptor.
    pub setup: Result<u32, Errno>,
    /// To the descriptor -1: `EBADF` from a kernel that has io_uring.
    pub enter: Result<u32, Errno>,
    /// To the descriptor -1: `EINVAL` or `EBADF` from a kernel that has io_uring.
    pub register: Result<u32, Errno>,
}

impl Answers {
    /// Asks in this process.
    #[must_use]
    pub fn here() -> Answers {
        let ask = |call| decode(ask(call));
        Answers { setup: ask(Call::Setup), enter: ask(Call::Enter), register: ask(Call::Register) }
    }

    /// The answer to one of them.
    ///
    /// # Errors
    /// That of the call.
    pub fn to(&self, call: Call) -> Result<u32, Errno> {
        match call {
            Call::Setup => self.setup,
            Call::Enter => self.enter,
            Call::Register => self.register,
        }
    }
}

/// What became of a child that asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// It asked all three.
    Answered(Answers),
    /// It was ended by a signal at this call: `SIGSYS` by a filter.
    Killed {
        /// The call it was about to make.
        call: Call,
        /// The signal; 0 if somebody else has waited for the child, and it is not known.
        signal: i32,
    },
    /// It did not come to an end in time, or ended before its first call; it is gone now.
    Silent,
}

/// Waits at most this long between two looks at the child.
const LONGEST_NAP: Duration = Duration::from_millis(5);

/// Asks in a child, for at most `limit`. The child costs a copy of this process's page tables; it is never seen by
/// `wait(2)` in other threads (`__WALL` apart), sends no `SIGCHLD`, and leaves no core dump.
///
/// # Errors
/// Those of `mmap(2)` and `clone(2)`: no child could be made.
pub fn in_child(limit: Duration) -> Result<Child, Errno> {
    ask_in_child(limit, |board| {
        for (at, call) in (1..).zip([Call::Setup, Call::Enter, Call::Register]) {
            board.stage.store(at, Ordering::Relaxed);
            board.answer(call).store(ask(call), Ordering::Relaxed);
        }
        board.stage.store(DONE, Ordering::Relaxed);
    })
}

/// Makes one call and gives its result, or a negative error number. Safe to use between `fork` and `_exit`.
fn ask(call: Call) -> i32 {
    let none = core::ptr::null_mut::<u8>();
    let result = match call {
        Call::Setup => {
            let mut params = Params::default();
            // SAFETY: the kernel reads and writes the 120 bytes of `Params` and keeps no pointer: io_uring_setup(2).
            unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, &raw mut params) }
        }
        // SAFETY: no ring, nothing to submit, nothing to wait for, and no argument: io_uring_enter(2).
        Call::Enter => unsafe {
            libc::syscall(libc::SYS_io_uring_enter, -1, 0, 0, 0, none, 0_usize)
        },
        Call::Register => {
            let op = register_op::UNREGISTER_BUFFERS;
            // SAFETY: no ring, and an operation that takes no memory: io_uring_register(2).
            unsafe { libc::syscall(libc::SYS_io_uring_register, -1, op, none, 0) }
        }
    };
    if result < 0 {
        return -Errno::last().raw_os_error();
    }
    let result = i32::try_from(result).unwrap_or(i32::MAX);
    if call == Call::Setup {
        // SAFETY: the descriptor that the kernel has just made; nobody else knows it. Not an `OwnedFd`, whose checks are
        // not for a child.
        unsafe { libc::close(RawFd::from(result)) };
    }
    result
}

fn decode(result: i32) -> Result<u32, Errno> {
    Errno::from_result(result)
}

/// What the child writes on and the parent reads. All zeroes at first.
struct Board {
    /// 0 before the first call, the number of the call it is about to make, [`DONE`] at the end.
    stage: AtomicU32,
    answers: [AtomicI32; 3],
}

const DONE: u32 = 4;

impl Board {
    fn answer(&self, call: Call) -> &AtomicI32 {
        let [setup, enter, register] = &self.answers;
        match call {
            Call::Setup => setup,
            Call::Enter => enter,
            Call::Register => register,
        }
    }

    fn answers(&self) -> Answers {
        let read = |call| decode(self.answer(call).load(Ordering::Relaxed));
        Answers {
            setup: read(Call::Setup),
            enter: read(Call::Enter),
            register: read(Call::Register),
        }
    }

    /// What is known when the child is gone.
    fn verdict(&self, signal: i32) -> Child {
        match self.stage.load(Ordering::Relaxed) {
            DONE => Child::Answered(self.answers()),
            1 => Child::Killed { call: Call::Setup, signal },
            2 => Child::Killed { call: Call::Enter, signal },
            3 => Child::Killed { call: Call::Register, signal },
            _ => Child::Silent,
        }
    }
}

/// One board on a page that parent and child share; unmapped when dropped.
struct SharedBoard(core::ptr::NonNull<Board>);

impl SharedBoard {
    fn new() -> Result<SharedBoard, Errno> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let null = core::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(null, size_of::<Board>(), access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        core::ptr::NonNull::new(start.cast()).map(SharedBoard).ok_or(Errno::FAULT)
    }

    fn board(&self) -> &Board {
        // SAFETY: a mapping of this size, page-aligned and zeroed (mmap(2)), which lives as long as `self`; all of a
        // `Board` is atomic, for which zeroes are valid.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedBoard {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; references into it borrow `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Board>()) };
    }
}

/// `body` runs in the child: nothing but system calls, no allocation, no lock, no panic.
fn ask_in_child(limit: Duration, body: impl Fn(&Board)) -> Result<Child, Errno> {
    let page = SharedBoard::new()?;
    // No signal handler of the program may run in the child. A filter's `SIGSYS` ends it in spite of the mask.
    let mask = SignalMask::block_all();
    // SAFETY: clone(2) without flags is fork(2): the child goes on with a copy of this stack. All arguments are 0, so their
    // order, which differs between architectures, does not matter. The exit signal 0 keeps it from the program's waits.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: prctl(2) with a number. The child's memory is its own, so only its core dump is turned off.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
        body(page.board());
        // SAFETY: ends the child without destructors or handlers of the parent: _exit(2).
        unsafe { libc::_exit(0) };
    }
    let failure = Errno::last();
    drop(mask);
    let pid = libc::pid_t::try_from(pid).unwrap_or(-1);
    if pid < 0 {
        return Err(failure);
    }
    Ok(page.board().verdict_of(pid, limit))
}

impl Board {
    /// Waits until the child is gone, or ends it.
    fn verdict_of(&self, pid: libc::pid_t, limit: Duration) -> Child {
        let end = Instant::now() + limit;
        let mut nap = Duration::from_micros(20);
        loop {
            match wait(pid, libc::WNOHANG) {
                Ok(Some(signal)) => return self.verdict(signal),
                // Somebody else has waited for it.
                Err(_) => return self.verdict(0),
                Ok(None) if Instant::now() < end => std::thread::sleep(nap),
                Ok(None) => break,
            }
            nap = (2 * nap).min(LONGEST_NAP);
        }
        // SAFETY: our child, for which nobody has waited yet: the number is still its own (kill(2)).
        unsafe { libc::kill(pid, libc::SIGKILL) };
        while wait(pid, 0) == Err(Errno::INTR) {}
        Child::Silent
    }
}

/// The signal that ended the child, 0 if none did; `None` if it runs.
fn wait(pid: libc::pid_t, flags: i32) -> Result<Option<i32>, Errno> {
    let mut status = 0;
    // SAFETY: writes the number on this stack: waitpid(2). `__WALL`: the child has no exit signal.
    let gone = unsafe { libc::waitpid(pid, &raw mut status, flags | libc::__WALL) };
    match gone {
        0 => Ok(None),
        -1 => Err(Errno::last()),
        _ if libc::WIFSIGNALED(status) => Ok(Some(libc::WTERMSIG(status))),
        _ => Ok(Some(0)),
    }
}

/// The signals of this thread, blocked until it is dropped.
struct SignalMask(libc::sigset_t);

impl SignalMask {
    fn block_all() -> SignalMask {
        // SAFETY: a set of bits; zeroes are the empty set.
        let mut all: libc::sigset_t = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        let mut before: libc::sigset_t = unsafe { core::mem::zeroed() };
        // SAFETY: fills the set on this stack: sigfillset(3).
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: reads and writes the sets on this stack: pthread_sigmask(3).
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        SignalMask(before)
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        let null = core::ptr::null_mut();
        // SAFETY: reads the set that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, null) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_may_be_made_here() {
        let answers = Answers::here();
        if answers.setup.is_err() {
            return eprintln!("no io_uring here: skipped");
        }
        assert_eq!(answers.enter, Err(Errno::BADF));
        assert!(matches!(answers.register, Err(Errno::INVAL | Errno::BADF)), "{answers:?}");
    }

    #[test]
    fn a_child_gives_the_answers_of_its_parent() {
        let Child::Answered(answers) = in_child(Duration::from_secs(10)).unwrap() else {
            panic!("nothing kills it here")
        };
        let here = Answers::here();
        assert_eq!(answers.setup.map(drop), here.setup.map(drop));
        assert_eq!((answers.enter, answers.register), (here.enter, here.register));
    }

    #[test]
    fn a_child_that_is_killed_tells_at_which_call() {
        let child = ask_in_child(Duration::from_secs(10), |board| {
            board.stage.store(2, Ordering::Relaxed);
            let own = libc::pid_t::try_from(std::process::id()).unwrap_or(-1);
            // SAFETY: ends this child; every signal is blocked in it but this one cannot be.
            unsafe { libc::kill(own, libc::SIGKILL) };
        });
        assert_eq!(child, Ok(Child::Killed { call: Call::Enter, signal: libc::SIGKILL }));
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        let child = ask_in_child(Duration::from_millis(20), |board| {
            board.stage.store(1, Ordering::Relaxed);
            loop {
                // SAFETY: sleeps until a signal that is not blocked: pause(2).
                unsafe { libc::pause() };
            }
        });
        assert_eq!(child, Ok(Child::Silent));
    }
}
