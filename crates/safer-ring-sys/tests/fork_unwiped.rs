//! Forked children where the kernel has no `MADV_WIPEONFORK`, as gVisor. One test: its filter is for its process.
#![allow(unsafe_code, clippy::unwrap_used, clippy::as_conversions, reason = "tests")]

use safer_ring_sys::{AioContext, Errno, fork};

/// Makes `madvise(_, _, MADV_WIPEONFORK)` fail with `EINVAL`, for the calling thread and what it starts.
fn forbid_wiping() -> bool {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ);
    // The low half of the third argument: 16 bytes come before the arguments.
    let advice = 32 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut filter = [
        statement(load, 0, 0, 0),
        statement(equal, 0, 3, libc::SYS_madvise as u32),
        statement(load, 0, 0, advice),
        statement(equal, 0, 1, libc::MADV_WIPEONFORK as u32),
        statement(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        statement(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    let allowed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    let (mode, program) = (libc::SECCOMP_MODE_FILTER, &raw const program);
    // SAFETY: the kernel copies the program, which lives until then.
    allowed && unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, program) } == 0
}

/// Runs `child`, which makes system calls only, in a forked process and gives its exit status.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls only `child` and `_exit`.
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

#[test]
fn a_child_is_known_where_the_kernel_wipes_no_page() {
    if !forbid_wiping() {
        return eprintln!("SKIPPED: no seccomp filters here");
    }
    let mine = fork::arm().unwrap();
    assert_ne!(mine, 0);
    assert_eq!((fork::arm(), fork::current()), (Ok(mine), mine));
    let context = AioContext::setup(1).ok();
    let status = in_child(|| {
        if fork::current() != 0 || context.as_ref().is_some_and(AioContext::is_alive) {
            return 1;
        }
        let Ok(own) = fork::arm() else { return 2 };
        if own == 0 || own == mine || fork::current() != own {
            return 3;
        }
        // A grandchild is new again.
        let grandchild = in_child(|| match (fork::current(), fork::arm()) {
            (0, Ok(epoch)) if epoch != own && epoch != mine => 0,
            _ => 4,
        });
        if grandchild == 0 && fork::current() == own { 0 } else { 5 }
    });
    assert_eq!(status, 0);
    assert_eq!(fork::current(), mine, "the child has its own copy");
    if let Some(context) = context {
        assert!(context.is_alive());
        assert_eq!(context.destroy(), Ok::<(), Errno>(()));
    }
}
