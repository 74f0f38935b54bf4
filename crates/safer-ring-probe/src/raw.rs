//! System calls with the arguments that a probe wants to give, right or wrong.
//!
//! # Safety
//! What the kernel reads and writes it is told with an [`Address`], which is in the mapping of [`Memory`] or nowhere: no
//! call here can change memory that Rust knows of. The same holds of addresses inside structures, which probes put into
//! that mapping from `Address`es too. Descriptors are numbers of files that the probing process has opened for itself.
//!
//! [`Memory`]: crate::memory::Memory
//!
//! Tests: calls_give_results_and_errors
#![allow(unsafe_code, reason = "system calls")]

use safer_ring_sys::Errno;

use crate::memory::Address;

/// The result of a call.
pub(crate) type Outcome = Result<i64, Errno>;

/// # Safety
/// What stands where `number` takes an address is an [`Address`].
unsafe fn call(number: libc::c_long, arguments: [u64; 6]) -> Outcome {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's promise, and the head of this file.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

/// The bits of a signed argument, extended to the register.
fn bits(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

fn fd_bits(fd: i32) -> u64 {
    bits(i64::from(fd))
}

/// Defines a function for each call: its arguments become registers in order.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:ident ($($argument:ident: $type:ty => $bits:expr),*);)*) => {
        $($(#[$doc])* pub(crate) fn $name($($argument: $type),*) -> Outcome {
            let mut registers = [0u64; 6];
            for (register, value) in registers.iter_mut().zip([$($bits),*]) {
                *register = value;
            }
            // SAFETY: each address among the arguments is of the type `Address`.
            unsafe { call(libc::$number, registers) }
        })*
    };
}

calls! {
    io_setup = SYS_io_setup (nr: u32 => u64::from(nr), result: Address => result.get());
    io_destroy = SYS_io_destroy (context: u64 => context);
    io_submit = SYS_io_submit (context: u64 => context, nr: i64 => bits(nr), array: Address => array.get());
    io_getevents = SYS_io_getevents (context: u64 => context, min: i64 => bits(min), nr: i64 => bits(nr),
        events: Address => events.get(), timeout: Address => timeout.get());
    io_cancel = SYS_io_cancel (context: u64 => context, iocb: Address => iocb.get(), result: Address => result.get());
    ring_setup = SYS_io_uring_setup (entries: u32 => u64::from(entries), params: Address => params.get());
    ring_enter = SYS_io_uring_enter (fd: i32 => fd_bits(fd), submit: u32 => u64::from(submit),
        complete: u32 => u64::from(complete), flags: u32 => u64::from(flags), arg: Address => arg.get(),
        size: u64 => size);
    ring_register = SYS_io_uring_register (fd: i32 => fd_bits(fd), operation: u32 => u64::from(operation),
        arg: Address => arg.get(), nr: u32 => u64::from(nr));
    openat = SYS_openat (directory: i32 => fd_bits(directory), path: Address => path.get(),
        flags: i32 => fd_bits(flags), mode: u32 => u64::from(mode));
    close = SYS_close (fd: i32 => fd_bits(fd));
    read = SYS_read (fd: i32 => fd_bits(fd), into: Address => into.get(), length: u64 => length);
    write = SYS_write (fd: i32 => fd_bits(fd), from: Address => from.get(), length: u64 => length);
    pread = SYS_pread64 (fd: i32 => fd_bits(fd), into: Address => into.get(), length: u64 => length,
        offset: i64 => bits(offset));
    ftruncate = SYS_ftruncate (fd: i32 => fd_bits(fd), length: i64 => bits(length));
    fstat = SYS_fstat (fd: i32 => fd_bits(fd), into: Address => into.get());
    statx = SYS_statx (directory: i32 => fd_bits(directory), path: Address => path.get(),
        flags: i32 => fd_bits(flags), mask: u32 => u64::from(mask), into: Address => into.get());
    pipe2 = SYS_pipe2 (into: Address => into.get(), flags: i32 => fd_bits(flags));
    socketpair = SYS_socketpair (domain: i32 => fd_bits(domain), kind: i32 => fd_bits(kind), protocol: i32 => fd_bits(protocol),
        into: Address => into.get());
    eventfd2 = SYS_eventfd2 (initial: u32 => u64::from(initial), flags: i32 => fd_bits(flags));
    epoll_create1 = SYS_epoll_create1 (flags: i32 => fd_bits(flags));
    memfd_create = SYS_memfd_create (name: Address => name.get(), flags: u32 => u64::from(flags));
    prlimit = SYS_prlimit64 (pid: i32 => fd_bits(pid), resource: u32 => u64::from(resource), new: Address => new.get(),
        old: Address => old.get());
    setresuid = SYS_setresuid (real: u32 => u64::from(real), effective: u32 => u64::from(effective), saved: u32 => u64::from(saved));
    seccomp = SYS_seccomp (operation: u32 => u64::from(operation), flags: u32 => u64::from(flags), program: Address => program.get());
    setitimer = SYS_setitimer (which: i32 => fd_bits(which), new: Address => new.get(), old: Address => old.get());
    socket = SYS_socket (domain: i32 => fd_bits(domain), kind: i32 => fd_bits(kind), protocol: i32 => fd_bits(protocol));
    bind = SYS_bind (fd: i32 => fd_bits(fd), name: Address => name.get(), length: u32 => u64::from(length));
    getsockname = SYS_getsockname (fd: i32 => fd_bits(fd), name: Address => name.get(), length: Address => length.get());
    unshare = SYS_unshare (flags: i32 => fd_bits(flags));
    mount = SYS_mount (source: Address => source.get(), target: Address => target.get(), kind: Address => kind.get(),
        flags: u64 => flags, data: Address => data.get());
    ioctl_flags = SYS_ioctl (fd: i32 => fd_bits(fd), request: u32 => u64::from(request), value: Address => value.get());
}

/// `PR_SET_NO_NEW_PRIVS`, which a filter needs.
pub(crate) fn no_new_privileges() -> Outcome {
    // SAFETY: numbers only.
    unsafe { call(libc::SYS_prctl, [fd_bits(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0, 0]) }
}

/// Makes `SIGALRM` interrupt calls instead of ending the process.
pub(crate) fn hear_alarms() {
    extern "C" fn nothing(_: i32) {}
    let handler: extern "C" fn(i32) = nothing;
    // SAFETY: all zeros is a valid `sigaction`: no flags, so that calls are not restarted, and no mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    #[expect(clippy::as_conversions, reason = "a function's address is what the field is for")]
    {
        action.sa_sigaction = handler as libc::sighandler_t;
    }
    // SAFETY: a handler that does nothing can run anywhere.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
}

/// Lets writes beyond `RLIMIT_FSIZE` fail instead of ending the process.
pub(crate) fn ignore_file_limit() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// A limit or size of the system, `sysconf(3)`.
pub(crate) fn sysconf(name: i32) -> i64 {
    // SAFETY: reads a number.
    unsafe { libc::sysconf(name) }
}

/// The effective user.
pub(crate) fn user() -> u32 {
    // SAFETY: reads a number.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_give_results_and_errors() {
        assert_eq!(close(-1), Err(Errno::BADF));
        assert_eq!(io_destroy(0), Err(Errno::INVAL));
        let fd = eventfd2(3, 0).unwrap();
        assert_eq!(close(i32::try_from(fd).unwrap()), Ok(0));
        assert_eq!(write(-1, Address::NULL, 0), Err(Errno::BADF));
    }
}
