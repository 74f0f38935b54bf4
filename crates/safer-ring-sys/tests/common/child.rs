//! Forked children.
#![allow(unsafe_code, reason = "forks")]

use safer_ring_sys::fork;

/// Runs `child` in a forked process and gives its exit status. There, other threads are missing and their locks may be
/// held: `child` keeps to system calls, or its test has a process of its own, whose other threads hold none.
pub(crate) fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only `child`, which keeps to what a forked child may do (above), and `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let status = child();
        // SAFETY: leaves at once, without destructors or buffers.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Checks in a child and a grandchild that each is known as new, and keeps what it has armed.
pub(crate) fn descendants_are_known(mine: u32) {
    let status = in_child(|| {
        if fork::current() != 0 {
            return 1;
        }
        let Ok(own) = fork::arm() else { return 2 };
        if own == 0 || own == mine || fork::current() != own {
            return 3;
        }
        // A grandchild is new again, to its parent and to its grandparent.
        let grandchild = in_child(|| match (fork::current(), fork::arm()) {
            (0, Ok(epoch)) if epoch != own && epoch != mine => 0,
            _ => 4,
        });
        if grandchild == 0 && fork::current() == own { 0 } else { 5 }
    });
    assert_eq!(status, 0);
    assert_eq!(fork::current(), mine, "the child has its own");
}
