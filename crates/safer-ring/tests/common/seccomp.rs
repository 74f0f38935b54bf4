//! A seccomp filter over the three system calls of io_uring, for the process that installs it: seven instructions, no
//! privilege. It is never taken off again, so it belongs into a test with a process of its own ([`super::alone`]).

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Which of the calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each program forbids what it is about")]
pub(crate) enum Calls {
    All,
    Setup,
    Enter,
    Register,
    /// Not of io_uring: send(2).
    Send,
}

/// What happens to who makes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The call fails with this error number.
    Errno(i32),
    /// `SIGSYS`, which a handler may take (`SECCOMP_RET_TRAP`).
    Trap,
    /// `SIGSYS`, and no handler (`SECCOMP_RET_KILL_PROCESS`).
    Kill,
}

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

/// Installs the filter in all threads of this process: seccomp(2).
pub(crate) fn install(calls: Calls, deed: Deed) {
    let program = program(calls, deed);
    let length = u16::try_from(program.len()).unwrap();
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: prctl(2) with numbers: gives up nothing but privileges of programs that this one starts.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: seccomp(2) reads the program on this stack and keeps a copy.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const filter) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Has `command` run under the filter, without it being installed here.
pub(crate) fn confine(command: &mut Command, calls: Calls, deed: Deed) -> &mut Command {
    // SAFETY: in the child only system calls are made; nothing is allocated unless one of them fails, which ends it.
    unsafe {
        command.pre_exec(move || {
            install(calls, deed);
            Ok(())
        })
    }
}

/// Seven instructions: another architecture passes, other numbers pass.
fn program(calls: Calls, deed: Deed) -> [libc::sock_filter; 7] {
    let number = |call: libc::c_long| u32::try_from(call).unwrap();
    let (first, last) = match calls {
        Calls::All => (libc::SYS_io_uring_setup, libc::SYS_io_uring_register),
        Calls::Setup => (libc::SYS_io_uring_setup, libc::SYS_io_uring_setup),
        Calls::Enter => (libc::SYS_io_uring_enter, libc::SYS_io_uring_enter),
        Calls::Register => (libc::SYS_io_uring_register, libc::SYS_io_uring_register),
        Calls::Send => (libc::SYS_sendto, libc::SYS_sendto),
    };
    let answer = match deed {
        Deed::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        Deed::Trap => libc::SECCOMP_RET_TRAP,
        Deed::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let step =
        |code: u32, k, jt, jf| libc::sock_filter { code: code.try_into().unwrap(), jt, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
    let jump = |kind, k, jt, jf| step(libc::BPF_JMP | kind | libc::BPF_K, k, jt, jf);
    let end = |k| step(libc::BPF_RET | libc::BPF_K, k, 0, 0);
    [
        // `struct seccomp_data`: the number at 0, the architecture at 4.
        load(4),
        jump(libc::BPF_JEQ, ARCH, 0, 4),
        load(0),
        jump(libc::BPF_JGE, number(first), 0, 2),
        jump(libc::BPF_JGT, number(last), 1, 0),
        end(answer),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}
