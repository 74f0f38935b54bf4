//! What the tests on the real kernel share.
#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod child;

use safer_ring_sys::{Cqe, Errno, Params, Sqe, Uring, enter, opcode, setup};

/// A ring with these flags, or `None`, said aloud, where this machine has no io_uring at all.
/// Every other failure is a failure of the test.
pub(crate) fn ring(entries: u32, flags: u32) -> Option<Uring> {
    match make(entries, flags) {
        Ok(ring) => Some(ring),
        Err(errno @ (Errno::NOSYS | Errno::PERM | Errno::ACCESS)) => {
            eprintln!("SKIPPED: io_uring is not available here: {errno}");
            None
        }
        Err(errno) => panic!("flags {flags:#x}: {errno}"),
    }
}

pub(crate) fn make(entries: u32, flags: u32) -> Result<Uring, Errno> {
    let idle = if flags & setup::SQPOLL != 0 { 10 } else { 0 };
    Uring::new(entries, Params { flags, sq_thread_idle: idle, ..Params::default() })
}

pub(crate) fn nop(user_data: u64) -> Sqe {
    Sqe { opcode: opcode::NOP, user_data, ..Sqe::default() }
}

/// Submits everything and waits until `n` completions are there.
pub(crate) fn complete(ring: &mut Uring, n: usize) -> Vec<Cqe> {
    let mut all = Vec::new();
    let mut batch = [Cqe::default(); 16];
    while all.len() < n {
        let room = batch.len().min(n - all.len());
        let got = ring.reap(&mut batch[..room]);
        all.extend_from_slice(&batch[..got]);
        if got == 0 {
            match ring.enter(1, enter::GETEVENTS, None) {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => panic!("enter: {errno}"),
            }
        }
    }
    all
}

/// The descriptors of this process that belong to io_uring.
pub(crate) fn ring_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains("io_uring"))
        .count()
}

/// The kernel is at least this; what it must then support is not up to the code under test.
pub(crate) fn kernel_is(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap(), parts.next().unwrap()) >= (major, minor)
}
