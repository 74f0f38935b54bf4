//! Forked children.
#![allow(unsafe_code, reason = "forks")]

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
