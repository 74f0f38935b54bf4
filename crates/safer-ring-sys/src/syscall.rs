//! The three system calls of `io_uring(7)`.
//!
//! # Safety
//! System calls are `unsafe` by nature. This file adds nothing to them but typed results; each
//! function passes the kernel's requirements on to its caller.
//!
//! Tests: nops_complete_under_every_combination_of_flags, a_time_limit_ends_the_wait
#![allow(unsafe_code, reason = "system calls")]

use core::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::Errno;
use crate::uapi::setup::Params;

/// `io_uring_setup(2)`.
pub(crate) fn setup(entries: u32, params: &mut Params) -> Result<OwnedFd, Errno> {
    let params: *mut Params = params;
    // SAFETY: the kernel reads and writes the 120 bytes of `Params` and keeps no pointer. `NO_MMAP`,
    // with which it would use other addresses, is refused by the only caller.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params) };
    let fd = RawFd::try_from(positive(result)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `io_uring_register(2)`.
///
/// # Safety
/// `arg` and `nr` are what the operation `op` requires, and memory that the kernel keeps using
/// stays valid until it is unregistered.
pub(crate) unsafe fn register(fd: RawFd, op: u32, arg: *mut c_void, nr: u32) -> Result<u32, Errno> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, op, arg, nr) };
    u32::try_from(positive(result)?).map_err(|_| Errno::OVERFLOW)
}

/// `io_uring_enter(2)`, without the detour through `errno(3)`: gives what the kernel does, the number of entries that it
/// has consumed or a negative error number, for [`failed`]. One word stays in a register where a `Result` does not.
///
/// # Safety
/// `arg` and `size` are what `flags` requires, and every entry between the head and the tail of the
/// SQ obeys [`Uring::push`](crate::Uring::push).
#[inline(always)]
pub(crate) unsafe fn enter(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: *const c_void,
    size: usize,
) -> i64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        // SAFETY: the caller's promise.
        unsafe { enter_direct(fd, to_submit, min_complete, flags, arg, size) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        // SAFETY: the caller's promise.
        match unsafe { enter_libc(fd, to_submit, min_complete, flags, arg, size) } {
            Ok(consumed) => i64::from(consumed),
            Err(errno) => -i64::from(errno.raw_os_error()),
        }
    }
}

/// The error that a negative result of [`enter`] is.
#[cold]
#[inline(never)]
pub(crate) fn failed(result: i64) -> Errno {
    Errno::of_negative(i32::try_from(result).unwrap_or(i32::MIN))
}

/// # Safety
/// As [`enter`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
unsafe fn enter_direct(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: *const c_void,
    size: usize,
) -> i64 {
    let result: i64;
    // SAFETY: the Linux system call convention of x86-64: number and result in rax, arguments in
    // rdi, rsi, rdx, r10, r8, r9; rcx and r11 are overwritten and the stack is not used. Memory is
    // not declared untouched, so the compiler assumes that the kernel reads and writes it. What the
    // kernel does with the arguments is the caller's promise.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_io_uring_enter => result,
            in("rdi") i64::from(fd),
            in("rsi") u64::from(to_submit),
            in("rdx") u64::from(min_complete),
            in("r10") u64::from(flags),
            in("r8") arg,
            in("r9") size,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// # Safety
/// As [`enter`].
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
unsafe fn enter_libc(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: *const c_void,
    size: usize,
) -> Result<u32, Errno> {
    // SAFETY: the caller's promise.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, fd, to_submit, min_complete, flags, arg, size)
    };
    u32::try_from(positive(result)?).map_err(|_| Errno::OVERFLOW)
}

/// The result of `syscall(3)`, with its error fetched from `errno(3)`.
fn positive(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_enter_agree() {
        use std::os::fd::AsRawFd;
        let mut params = Params::default();
        let Ok(fd) = setup(2, &mut params) else { return eprintln!("no io_uring here: skipped") };
        let null = core::ptr::null();
        let judge = |result| u32::try_from(result).map_err(|_| failed(result));
        for (fd, expected) in [(fd.as_raw_fd(), Ok(0)), (-1, Err(Errno::BADF))] {
            // SAFETY: nothing is submitted and nothing is waited for.
            assert_eq!(judge(unsafe { enter(fd, 0, 0, 0, null, 0) }), expected);
            // SAFETY: as above.
            assert_eq!(unsafe { enter_libc(fd, 0, 0, 0, null, 0) }, expected);
        }
        // SAFETY: unknown flags are refused before anything else.
        let refused = unsafe { enter(fd.as_raw_fd(), 0, 0, !0, null, 0) };
        assert_eq!(judge(refused), Err(Errno::INVAL));
    }
}
