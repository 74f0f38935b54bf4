//! The table of kernel versions against the kernel that runs the test.
//!
//! A kernel of mainline, or of a distribution that takes mainline's as it is, must have exactly what the table says.
//! Stable 5.10 may have more, and one whose distribution adds newer code to an older number is not compared, which is
//! said aloud.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use common::ring;
use safer_ring_sys::kernels::{Entry, Kind, entries};
use safer_ring_sys::probe::query_opcodes;
use safer_ring_sys::{Errno, Params, address, opcode, setup};

/// Opcodes that a kernel can be built without although its version has them, by what they need in its configuration.
/// The others need what no usual kernel lacks.
const OPTIONAL: [(u8, &str); 1] = [(opcode::RECV_ZC, "CONFIG_IO_URING_ZCRX")];

/// The running kernel by its number.
#[derive(Clone, Copy)]
struct Running {
    /// What this version has, it must have.
    version: (u8, u8),
    /// What only later ones have, it must not have.
    limit: (u8, u8),
}

/// `None` where numbers do not tell what the kernel has.
fn running() -> Option<Running> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if release.contains(".el") {
        eprintln!("SKIPPED: {} carries newer code than its number says", release.trim());
        return None;
    }
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u8>().unwrap_or(0));
    let version = (parts.next().unwrap(), parts.next().unwrap());
    // Since 5.10.162 the stable series of 5.10 has taken io_uring from 5.15, as far as it fits.
    Some(Running { version, limit: if version == (5, 10) { (5, 15) } else { version } })
}

fn of(kind: Kind) -> impl Iterator<Item = Entry> {
    entries().filter(move |entry| entry.kind == kind)
}

/// What differs in the entries of a kind, as a text for each.
fn differences(kind: Kind, running: Running, has: impl Fn(&Entry) -> bool) -> Vec<String> {
    let verdict = |entry: Entry| match has(&entry) {
        true if entry.since > running.limit => Some(format!("{entry:?} is there too early")),
        false if entry.since <= running.version => Some(format!("{entry:?} is missing")),
        _ => None,
    };
    of(kind).filter_map(verdict).collect()
}

#[test]
fn the_probe_has_the_opcodes_of_this_version_and_no_others() {
    let (Some(running), Some(ring)) = (running(), ring(4, 0)) else { return };
    let probe = match ring.probe() {
        Ok(probe) => probe,
        Err(errno) => {
            assert!(running.version < (5, 6), "{errno}");
            return;
        }
    };
    let count = |version| of(Kind::Opcode).filter(|entry| entry.since <= version).count();
    let highest = count(running.version) - 1..=count(running.limit) - 1;
    assert!(highest.contains(&usize::from(probe.last_opcode())), "{}", probe.last_opcode());
    let has = |entry: &Entry| {
        let code = u8::try_from(entry.value).unwrap();
        match OPTIONAL.iter().find(|(optional, _)| *optional == code) {
            Some((_, option)) if code <= probe.last_opcode() && !probe.supports(code) => {
                eprintln!("{} is not in this kernel: it needs {option}", entry.name);
                true
            }
            _ => probe.supports(code),
        }
    };
    assert_eq!(differences(Kind::Opcode, running, has), [""; 0]);
}

/// Memory for a ring that the caller provides: a page for the queues, one for the entries.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// What the kernel says to a ring of 4 entries with this flag, and whatever it needs beside it.
fn set_up(flag: u32, other: &OwnedFd) -> Result<(), Errno> {
    let needs = match flag {
        setup::SQ_AFF => setup::SQPOLL,
        setup::TASKRUN_FLAG => setup::COOP_TASKRUN,
        setup::DEFER_TASKRUN => setup::SINGLE_ISSUER,
        setup::REGISTERED_FD_ONLY => setup::NO_MMAP,
        setup::HYBRID_IOPOLL => setup::IOPOLL,
        setup::SQ_REWIND => setup::NO_SQARRAY,
        _ => 0,
    };
    let mut params = Params { flags: flag | needs, ..Params::default() };
    match flag {
        setup::CQSIZE => params.cq_entries = 16,
        setup::ATTACH_WQ => params.wq_fd = u32::try_from(other.as_raw_fd()).unwrap(),
        _ => {}
    }
    if params.flags & setup::NO_MMAP != 0 {
        // The kernel may use it until some time after the ring is closed: it is never freed.
        let page = || address(std::ptr::from_ref(Box::leak(Box::new(Page([0; 4096])))));
        (params.sq_off.user_addr, params.cq_off.user_addr) = (page(), page());
    }
    // SAFETY: `params` is what io_uring_setup(2) reads and writes; the pages live for ever.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, &raw mut params) };
    if result < 0 {
        return Err(Errno::last());
    }
    if params.flags & setup::REGISTERED_FD_ONLY == 0 {
        // SAFETY: a descriptor that the call has just made. In the other case it is an index of this thread.
        drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(result).unwrap()) });
    }
    Ok(())
}

#[test]
fn setup_takes_the_flags_of_this_version_and_no_others() {
    let (Some(running), Some(_)) = (running(), ring(4, 0)) else { return };
    let mut params = Params::default();
    // SAFETY: as above.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, &raw mut params) };
    // SAFETY: a descriptor that the call has just made.
    let other = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
    let has = |entry: &Entry| match set_up(entry.value, &other) {
        Ok(()) => true,
        // Kernels without it call the flag invalid; every other refusal means that they know it.
        Err(errno) => {
            assert_eq!(errno, Errno::INVAL, "{entry:?}");
            false
        }
    };
    assert_eq!(differences(Kind::SetupFlag, running, has), [""; 0]);
}

#[test]
fn setup_reports_the_features_of_this_version_and_no_others() {
    let (Some(running), Some(ring)) = (running(), ring(4, 0)) else { return };
    let has = |entry: &Entry| ring.features() & entry.value != 0;
    assert_eq!(differences(Kind::Feature, running, has), [""; 0]);
    let all = of(Kind::Feature).fold(0, |all, entry| all | entry.value);
    assert_eq!(ring.features() & !all, 0, "a feature that the table does not have");
}

/// What only IORING_REGISTER_QUERY tells: numbers of operations, and the flags of the two other calls.
#[test]
fn the_kernel_counts_as_the_table_does() {
    let (Some(running), Some(_)) = (running(), ring(4, 0)) else { return };
    let answer = match query_opcodes() {
        Ok(answer) => answer,
        Err(errno) => {
            assert!(running.version < (6, 18), "{errno}");
            eprintln!("SKIPPED: kernels before 6.18 do not answer this question");
            return;
        }
    };
    let count = |kind| of(kind).filter(|entry| entry.since <= running.version).count();
    assert_eq!(answer.nr_request_opcodes as usize, count(Kind::Opcode));
    assert_eq!(answer.nr_register_opcodes as usize, count(Kind::RegisterOp));
    for (kind, mask) in [
        (Kind::SetupFlag, answer.ring_setup_flags),
        (Kind::Feature, answer.feature_flags),
        (Kind::EnterFlag, answer.enter_flags),
        (Kind::EntryFlag, answer.sqe_flags),
    ] {
        let has = |entry: &Entry| mask & u64::from(entry.value) != 0;
        assert_eq!(differences(kind, running, has), [""; 0]);
    }
}
