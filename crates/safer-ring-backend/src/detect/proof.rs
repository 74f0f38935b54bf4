//! The proof that a ring works: a NOP and a read on a ring that is thrown away.
//!
//! Then each opcode that the library uses is tried with arguments that no kernel accepts: one that is taken away answers
//! `EACCES` before anything is looked at. Those that a plain system call can stand for are left out of the rings of this
//! process; without the others a ring is of no use.
//!
//! A descriptor from io_uring_setup(2) proves nothing. A filter may refuse only the calls that follow; a sandbox that
//! imitates the kernel may complete a read with the name of no operation and no bytes; and a parent may have taken single
//! opcodes away (kernel 7.0). So two operations with names of their own are run, and all that comes back is compared:
//! names, results, bytes.
//!
//! # Safety
//! Gives the kernel memory to read into. It is freed after the read's completion, or never.
//!
//! Tests: this_kernel_is_proven, completions_are_believed_only_if_all_is_right, opcodes_that_are_taken_away_are_found,
//! opcodes_that_a_thread_took_away_from_itself_are_found_for_its_rings_only
#![allow(unsafe_code, reason = "submits to a ring")]

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use crate::plain;
use crate::uring::used;
use safer_ring_sys::{Cqe, Errno, Params, Sqe, Timespec, Uring, address, enter, feat, opcode};

/// Why the proof failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The ring, or what it is to read, could not be made.
    Setup(Errno),
    /// The ring was made, and takes nothing.
    Enter(Errno),
    /// An operation was refused that every kernel has.
    Denied(Errno),
    /// What came back is not what was asked for.
    Untrue,
    /// Nothing came back in time.
    Silent,
}

/// Opcodes that this process may not use, and can do without: bits in the order of [`plain::OPCODES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denied(pub(crate) u16);

impl Denied {
    fn of(opcode: u8) -> Option<Self> {
        let place = plain::OPCODES.iter().position(|other| *other == opcode)?;
        Some(Self(1 << place))
    }

    /// The opcodes, as bits of their numbers.
    pub(crate) fn opcodes(self) -> u128 {
        let denied =
            plain::OPCODES.iter().enumerate().filter(|(place, _)| self.0 >> place & 1 != 0);
        denied.fold(0, |mask, (_, opcode)| mask | 1 << *opcode)
    }
}

/// The names of the two operations. No index of a table, and different in every byte.
const NOP: u64 = 0x0123_4567_89ab_cdef;
const READ: u64 = 0xfedc_ba98_7654_3210;
/// What is read.
const BYTES: [u8; 16] = *b"safer-ring proof";
/// The kernel answers both at once. This is for one that does not.
const LIMIT: Duration = Duration::from_secs(2);
/// Between two looks, if nothing was there at the first.
const NAP: Duration = Duration::from_millis(1);

/// What has come back.
#[derive(Debug, Default)]
struct Heard {
    nop: Option<i32>,
    read: Option<i32>,
    strange: bool,
}

impl Heard {
    fn take(&mut self, cqe: Cqe) {
        let place = match cqe.user_data {
            NOP => &mut self.nop,
            READ => &mut self.read,
            _ => return self.strange = true,
        };
        self.strange |= place.replace(cqe.res).is_some();
    }

    fn is_over(&self) -> bool {
        self.strange || (self.nop.is_some() && self.read.is_some())
    }

    fn judge(&self, bytes: Option<&[u8; 16]>) -> Result<(), Flaw> {
        if self.strange {
            return Err(Flaw::Untrue);
        }
        let (Some(nop), Some(read)) = (self.nop, self.read) else { return Err(Flaw::Silent) };
        match (Errno::from_result(nop), Errno::from_result(read)) {
            (Err(Errno::NOMEM), _) | (_, Err(Errno::NOMEM)) => Err(Flaw::Setup(Errno::NOMEM)),
            (Err(errno), _) | (_, Err(errno)) => Err(Flaw::Denied(errno)),
            (Ok(0), Ok(16)) if bytes == Some(&BYTES) => Ok(()),
            _ => Err(Flaw::Untrue),
        }
    }
}

/// Runs it. Costs a ring, a pipe and one io_uring_enter(2), and takes at most two seconds where the kernel keeps silent.
pub(crate) fn prove() -> Result<Denied, Flaw> {
    let mut ring = Uring::new(64, Params::default()).map_err(Flaw::Setup)?;
    let errno = |error: std::io::Error| {
        let raw = error.raw_os_error().and_then(Errno::from_raw_os_error);
        Flaw::Setup(raw.unwrap_or(Errno::IO))
    };
    let (reader, mut writer) = std::io::pipe().map_err(errno)?;
    writer.write_all(&BYTES).map_err(errno)?;
    let memory = Box::into_raw(Box::new([0_u8; BYTES.len()]));
    let nop = Sqe { opcode: opcode::NOP, fd: -1, user_data: NOP, ..Sqe::default() };
    let read = Sqe {
        opcode: opcode::READ,
        fd: reader.as_raw_fd(),
        // At the cursor, as for every file without places.
        off: u64::MAX,
        addr: address(memory),
        len: 16,
        user_data: READ,
        ..Sqe::default()
    };
    let mut heard = Heard::default();
    let mut outcome = Err(Flaw::Untrue);
    // SAFETY: io_uring_enter(2): memory and descriptor must stay valid until the read's completion. They are freed below
    // only after it, or if the kernel has taken nothing; else they are leaked.
    let pushed = unsafe { ring.push(&nop) };
    // SAFETY: as above.
    if pushed.is_ok() && unsafe { ring.push(&read) }.is_ok() {
        outcome = exchange(&mut ring, &mut heard);
    }
    // Entries that were not consumed are never looked at: there is no thread that polls this ring.
    let taken = 2_u32.saturating_sub(ring.sq_pending());
    let unseen = outcome.is_err() && taken == 0;
    if heard.read.is_some() || unseen {
        // SAFETY: from `Box::into_raw` above, once. The read's only completion is there, or the kernel has never seen it.
        let bytes = unsafe { Box::from_raw(memory) };
        outcome.and_then(|()| heard.judge(Some(&bytes)))?;
        return denied(&mut ring);
    }
    let flaw = outcome.and_then(|()| heard.judge(None)).err().unwrap_or(Flaw::Silent);
    // Whatever made this ring may still write to the memory.
    std::mem::forget((reader, writer));
    ring.leak();
    Err(flaw)
}

/// Tries each opcode that the library uses, with arguments that are wrong for all of them.
fn denied(ring: &mut Uring) -> Result<Denied, Flaw> {
    // Neither a name of the proof nor 0.
    const NAME: u64 = 0x5a00;
    let mut left = 0;
    for code in used() {
        let sqe = Sqe { opcode: code, fd: -1, user_data: NAME + u64::from(code), ..Sqe::default() };
        // SAFETY: no descriptor has the number -1, and all addresses are null: nothing is read or written.
        if unsafe { ring.push(&sqe) }.is_ok() {
            left += 1;
        }
    }
    let (end, mut found) = (Instant::now() + LIMIT, Denied::default());
    // Most are refused inside of the call; a few go to a worker of the kernel first, and are slept for. Kernel 5.11.
    let timed = ring.features() & feat::EXT_ARG != 0;
    let limit = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let (wanted, limit) = if timed { (1, Some(&limit)) } else { (0, None) };
    while left > 0 {
        match ring.enter(wanted, enter::GETEVENTS, limit) {
            Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR | Errno::TIME) => {}
            Err(errno) => return Err(Flaw::Enter(errno)),
        }
        while let Some(cqe) = ring.pop() {
            left -= 1;
            if cqe.res == -Errno::ACCESS.raw_os_error() {
                let code =
                    u8::try_from(cqe.user_data.wrapping_sub(NAME)).map_err(|_| Flaw::Untrue)?;
                found.0 |= Denied::of(code).ok_or(Flaw::Denied(Errno::ACCESS))?.0;
            }
        }
        if left > 0 && Instant::now() > end {
            return Err(Flaw::Silent);
        }
    }
    Ok(found)
}

/// Hands both over, and takes in what comes until it is enough.
fn exchange(ring: &mut Uring, heard: &mut Heard) -> Result<(), Flaw> {
    let end = Instant::now() + LIMIT;
    loop {
        match ring.enter(0, enter::GETEVENTS, None) {
            Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR) => {}
            Err(errno) => return Err(Flaw::Enter(errno)),
        }
        while let Some(cqe) = ring.pop() {
            heard.take(cqe);
        }
        if heard.is_over() || Instant::now() > end {
            return Ok(());
        }
        std::thread::sleep(NAP);
    }
}

#[cfg(test)]
mod tests {
    use safer_ring_sys::{Restriction, register_op, setup};

    use super::super::cause::Trouble;
    use super::super::guard::{ThisProcess, threads_restrict_themselves};
    use super::super::{World as _, denied as denied_here};
    use super::*;

    #[test]
    fn this_kernel_is_proven() {
        match prove() {
            Err(Flaw::Setup(errno)) => eprintln!("no io_uring here ({errno}): skipped"),
            outcome => assert_eq!(outcome, Ok(Denied::default())),
        }
    }

    #[test]
    fn opcodes_that_are_taken_away_are_found() {
        let probe = Uring::new(1, Params::default()).and_then(|ring| ring.probe());
        if probe.is_ok_and(|probe| used().any(|code| !probe.supports(code))) {
            return println!(
                "skipped: before 5.18 there is no rule about an operation that a kernel lacks"
            );
        }
        // What a parent can do to a task is done to a ring here.
        let restricted = |without: &[u8]| {
            let params = Params { flags: setup::R_DISABLED, ..Params::default() };
            let mut ring = Uring::new(64, params).ok()?;
            let allowed = used().filter(|code| !without.contains(code));
            let rules: Vec<Restriction> =
                allowed.map(|code| Restriction::new(Restriction::SQE_OP, code)).collect();
            ring.register_restrictions(&rules).unwrap();
            ring.enable_rings().unwrap();
            Some(denied(&mut ring))
        };
        let Some(all) = restricted(&[]) else { return eprintln!("no io_uring here: skipped") };
        assert_eq!(all, Ok(Denied::default()));
        let some = restricted(&[opcode::SOCKET, opcode::LINKAT]).unwrap().unwrap();
        assert_eq!(some.opcodes(), 1 << opcode::SOCKET | 1 << opcode::LINKAT);
        assert_eq!(restricted(&[opcode::RECV]).unwrap(), Err(Flaw::Denied(Errno::ACCESS)));
        assert_eq!(restricted(&plain::OPCODES).unwrap().unwrap().opcodes().count_ones(), 11);
    }

    /// Completions as name and result, what was read, and what is to be thought of it.
    type Case = (&'static [(u64, i32)], Option<[u8; 16]>, Result<(), Flaw>);

    #[test]
    fn completions_are_believed_only_if_all_is_right() {
        const CASES: &[Case] = &[
            (&[(NOP, 0), (READ, 16)], Some(BYTES), Ok(())),
            (&[(READ, 16), (NOP, 0)], Some(BYTES), Ok(())),
            (&[(NOP, 0), (READ, 16)], Some([0; 16]), Err(Flaw::Untrue)),
            (&[(NOP, 0), (READ, 15)], Some(BYTES), Err(Flaw::Untrue)),
            (&[(NOP, 1), (READ, 16)], Some(BYTES), Err(Flaw::Untrue)),
            // An old gVisor.
            (&[(NOP, 0), (0, 0)], None, Err(Flaw::Untrue)),
            (&[(NOP, 0), (NOP, 0)], None, Err(Flaw::Untrue)),
            (&[(NOP, 0), (READ, 16), (READ, 16)], Some(BYTES), Err(Flaw::Untrue)),
            // Restrictions of the task.
            (&[(NOP, 0), (READ, -13)], Some([0; 16]), Err(Flaw::Denied(Errno::ACCESS))),
            (&[(NOP, -13), (READ, 16)], Some(BYTES), Err(Flaw::Denied(Errno::ACCESS))),
            // Before kernel 5.6.
            (&[(NOP, 0), (READ, -22)], Some([0; 16]), Err(Flaw::Denied(Errno::INVAL))),
            (&[(NOP, 0), (READ, -12)], Some([0; 16]), Err(Flaw::Setup(Errno::NOMEM))),
            (&[(NOP, 0)], None, Err(Flaw::Silent)),
            (&[], None, Err(Flaw::Silent)),
        ];
        for (completions, bytes, expected) in CASES {
            let mut heard = Heard::default();
            for (user_data, res) in *completions {
                heard.take(Cqe { user_data: *user_data, res: *res, ..Cqe::default() });
            }
            assert_eq!(heard.judge(bytes.as_ref()), *expected, "{completions:?}");
        }
    }

    /// Takes opcodes away from the calling thread's later rings. Kernel 7.0.
    fn take_away(without: &[u8]) -> bool {
        /// `struct io_uring_task_restriction`.
        #[repr(C)]
        struct OfTask {
            flags: u16,
            count: u16,
            reserved: [u32; 3],
            rules: [Restriction; 64],
        }
        if !threads_restrict_themselves() {
            return false;
        }
        let mut rules = [Restriction::new(0, 0); 64];
        let allowed: Vec<u8> = used().filter(|code| !without.contains(code)).collect();
        for (rule, code) in rules.iter_mut().zip(&allowed) {
            *rule = Restriction::new(Restriction::SQE_OP, *code);
        }
        let count = u16::try_from(allowed.len()).unwrap();
        let of_task = OfTask { flags: 0, count, reserved: [0; 3], rules };
        // Unprivileged threads must give up new privileges first.
        // SAFETY: prctl(2) with numbers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        let operation = register_op::RESTRICTIONS;
        // SAFETY: io_uring_register(2) reads the structure during the call.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_register, -1, operation, &raw const of_task, 1)
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        true
    }

    #[test]
    fn opcodes_that_a_thread_took_away_from_itself_are_found_for_its_rings_only() {
        let mask = || ThisProcess.ready(true, false).map(|_| denied_here());
        if !threads_restrict_themselves() {
            return eprintln!("SKIPPED: needs kernel 7.0");
        }
        assert_eq!(mask(), Ok(0));
        let some = std::thread::spawn(move || {
            assert!(take_away(&[opcode::SOCKET, opcode::LINKAT]));
            mask()
        });
        assert_eq!(some.join().unwrap(), Ok(1 << opcode::SOCKET | 1 << opcode::LINKAT));
        let needed = std::thread::spawn(move || {
            assert!(take_away(&[opcode::RECV]));
            mask()
        });
        let refused = Trouble::Flawed(Flaw::Denied(Errno::ACCESS));
        assert_eq!(needed.join().unwrap(), Err(refused));
        assert_eq!(mask(), Ok(0), "the other threads may do everything");
    }
}
