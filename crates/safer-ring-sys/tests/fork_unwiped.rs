//! Forked children where the kernel has no `MADV_WIPEONFORK`, as gVisor. One test: its filter is for its process.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use common::child::{descendants_are_known, in_child};
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

#[test]
fn a_child_is_known_where_the_kernel_wipes_no_page() {
    if !forbid_wiping() {
        return eprintln!("SKIPPED: no seccomp filters here");
    }
    let mine = fork::arm().unwrap();
    assert_ne!(mine, 0);
    assert_eq!((fork::arm(), fork::current()), (Ok(mine), mine));
    let context = AioContext::setup(1).ok();
    let mistaken = || context.as_ref().is_some_and(AioContext::is_alive);
    assert_eq!(in_child(|| i32::from(mistaken())), 0, "the context is the parent's");
    descendants_are_known(mine);
    if let Some(context) = context {
        assert!(context.is_alive());
        assert_eq!(context.destroy(), Ok::<(), Errno>(()));
    }
}
