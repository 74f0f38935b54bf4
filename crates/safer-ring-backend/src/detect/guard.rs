//! What is found out once about this process: that the calls do not kill it, and that a ring works.
//!
//! Kept in two words without a lock, since a forked child may begin with any lock taken. Each word has the epoch of the
//! process in it ([`fork`]), so a child finds out anew; and the number of filters of the thread, so a thread with one more
//! does, too. Filters are never taken off.
//!
//! A thread may also have taken single opcodes away from itself (kernel 7.0), and nothing counts that: there the proof
//! is made for each ring. A ring keeps what its thread was allowed when it was made.

use std::cell::Cell;
use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use safer_ring_sys::trial::{self, Call, Child};
use safer_ring_sys::{Errno, fork, probe, register_op};

use super::cause::Trouble;
use super::evidence::{Confinement, Evidence};
use super::proof::{self, Denied, Flaw};
use super::{VARIABLE, World};

/// How long a child may take, which makes three system calls.
const CHILD_LIMIT: Duration = Duration::from_secs(2);

/// Whether the calls kill, under as many filters as there were then.
static SURVIVAL: AtomicU64 = AtomicU64::new(0);
/// How the proof ended.
static PROOF: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What the proof for this thread's next ring has found taken away.
    static DENIED: Cell<Denied> = const { Cell::new(Denied(0)) };
}

/// The process that this code runs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThisProcess;

impl World for ThisProcess {
    fn variable(&self) -> Option<OsString> {
        std::env::var_os(VARIABLE)
    }

    fn ready(&self, shield: bool, anew: bool) -> Result<Evidence, Trouble> {
        let epoch = fork::arm().map_err(Trouble::Failed)?;
        let confinement = if shield { survive(epoch)? } else { Confinement::default() };
        proven(Known { epoch, filters: filters(&confinement) }, anew).map_err(Trouble::Flawed)?;
        Ok(Evidence::brief(&confinement))
    }

    fn evidence(&self, ask: bool) -> Evidence {
        Evidence::gather(ask)
    }

    fn glance(&self) -> Evidence {
        Evidence::brief(&Confinement::default())
    }
}

/// For what something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    epoch: u32,
    filters: u16,
}

/// Bits of a number, which is an error number at most, and of a kind before it.
const NUMBER: u32 = 12;

impl Known {
    /// 32 bits of epoch, 16 of filters, a kind of four bits that is not 0, and a number.
    fn pack(self, kind: u8, number: u16) -> u64 {
        let value = u64::from(kind) << NUMBER | u64::from(number);
        u64::from(self.epoch) << 32 | u64::from(self.filters) << 16 | value & 0xffff
    }

    /// Kind and number, if they are of this process and as many filters.
    fn unpack(self, word: u64) -> Option<(u8, u16)> {
        if word >> 16 != self.pack(0, 0) >> 16 {
            return None;
        }
        let [.., high, low] = word.to_be_bytes();
        let number = u16::from_be_bytes([high, low]) & ((1 << NUMBER) - 1);
        let kind = high >> 4;
        (kind != 0).then_some((kind, number))
    }
}

/// Where they are not counted, one look must do.
fn filters(confinement: &Confinement) -> u16 {
    let counted = if confinement.mode == Some(0) { Some(0) } else { confinement.filters };
    counted.and_then(|n| u16::try_from(n).ok()).unwrap_or(u16::MAX)
}

/// Makes sure that the calls do not kill. Forks nothing in a thread without filters.
fn survive(epoch: u32) -> Result<Confinement, Trouble> {
    const SURVIVED: u8 = 1;
    let confinement = Confinement::of_this_thread().map_err(Trouble::Blind)?;
    if confinement.mode == Some(0) {
        return Ok(confinement);
    }
    let known = Known { epoch, filters: filters(&confinement) };
    if let Some((kind, _)) = known.unpack(SURVIVAL.load(Ordering::Relaxed)) {
        return killer(kind).map_or(Ok(confinement), |call| Err(Trouble::Killed(call)));
    }
    let (kind, outcome) = match trial::in_child(CHILD_LIMIT) {
        Ok(Child::Answered(_)) => (SURVIVED, Ok(confinement)),
        Ok(Child::Killed { call, .. }) => (number_of(call), Err(Trouble::Killed(call))),
        Ok(Child::Silent) => return Err(Trouble::Unprobed(None)),
        Err(errno) => return Err(Trouble::Unprobed(Some(errno))),
    };
    SURVIVAL.store(known.pack(kind, 0), Ordering::Relaxed);
    outcome
}

fn number_of(call: Call) -> u8 {
    match call {
        Call::Setup => 2,
        Call::Enter => 3,
        Call::Register => 4,
    }
}

fn killer(kind: u8) -> Option<Call> {
    [Call::Setup, Call::Enter, Call::Register].into_iter().find(|call| number_of(*call) == kind)
}

/// Runs the proof, unless it is known how it ends; a success is not believed if it shall be known `anew`.
fn proven(known: Known, anew: bool) -> Result<Denied, Flaw> {
    if let Some((kind, number)) = known.unpack(PROOF.load(Ordering::Relaxed)) {
        let outcome = outcome_of(kind, number);
        if outcome.is_err() || !(anew || threads_restrict_themselves()) {
            return remember(outcome);
        }
    }
    let outcome = prove_elsewhere();
    // What one thread may not do says nothing about the next.
    if !matches!(outcome, Err(Flaw::Denied(Errno::ACCESS)))
        && let Some((kind, number)) = lasting(outcome)
    {
        PROOF.store(known.pack(kind, number), Ordering::Relaxed);
    }
    remember(outcome)
}

/// The proof on a thread of its own, which has the restrictions and filters of this one: workers that the kernel starts
/// for what is tried would be this thread's as long as it lives, wherever its rings ask for them. Here if there can be none.
fn prove_elsewhere() -> Result<Denied, Flaw> {
    let thread = std::thread::Builder::new().name("safer-ring-proof".into()).spawn(proof::prove);
    thread.map_or_else(|_| proof::prove(), |thread| thread.join().unwrap_or(Err(Flaw::Untrue)))
}

fn remember(outcome: Result<Denied, Flaw>) -> Result<Denied, Flaw> {
    let _ = DENIED.try_with(|denied| denied.set(outcome.unwrap_or_default()));
    outcome
}

/// Whether this kernel has restrictions of a task: they came with the filters of opcodes, of which it tells.
pub(super) fn threads_restrict_themselves() -> bool {
    probe::query_opcodes().is_ok_and(|query| query.nr_register_opcodes > register_op::BPF_FILTER)
}

/// Opcodes that the last proof on this thread has found taken away, as bits of their numbers.
pub(crate) fn denied() -> u128 {
    DENIED.try_with(Cell::get).unwrap_or_default().opcodes()
}

/// An outcome that stays true for the process, as two numbers. A ring that cannot be made may be made later, and a ring
/// with a flaw is leaked with what it may write to, so it is made once.
fn lasting(outcome: Result<Denied, Flaw>) -> Option<(u8, u16)> {
    let number = |errno: Errno| u16::try_from(errno.raw_os_error()).unwrap_or(0);
    Some(match outcome {
        Ok(Denied(opcodes)) => (1, opcodes),
        Err(Flaw::Setup(_)) => return None,
        Err(Flaw::Enter(errno)) => (2, number(errno)),
        Err(Flaw::Denied(errno)) => (3, number(errno)),
        Err(Flaw::Untrue) => (4, 0),
        Err(Flaw::Silent) => (5, 0),
    })
}

fn outcome_of(kind: u8, number: u16) -> Result<Denied, Flaw> {
    let errno = Errno::from_raw_os_error(i32::from(number)).unwrap_or(Errno::IO);
    match kind {
        1 => Ok(Denied(number)),
        2 => Err(Flaw::Enter(errno)),
        3 => Err(Flaw::Denied(errno)),
        4 => Err(Flaw::Untrue),
        _ => Err(Flaw::Silent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_known_in_the_same_process_only() {
        for outcome in [
            Ok(Denied::default()),
            Ok(Denied(0x7ff)),
            Err(Flaw::Enter(Errno::PERM)),
            Err(Flaw::Denied(Errno::ACCESS)),
            Err(Flaw::Untrue),
            Err(Flaw::Silent),
        ] {
            let (kind, number) = lasting(outcome).unwrap();
            let here = Known { epoch: 7, filters: 1 };
            let word = here.pack(kind, number);
            assert_eq!(Known { epoch: 8, ..here }.unpack(word), None, "a forked child");
            assert_eq!(Known { filters: 2, ..here }.unpack(word), None, "one more filter");
            let (kind, number) = here.unpack(word).unwrap();
            assert_eq!(outcome_of(kind, number), outcome);
        }
        assert_eq!(lasting(Err(Flaw::Setup(Errno::MFILE))), None);
        assert_eq!(Known { epoch: 0, filters: 0 }.unpack(0), None);
        let most = Known { epoch: u32::MAX, filters: u16::MAX };
        assert_eq!(most.unpack(most.pack(15, 4095)), Some((15, 4095)));
        for call in [Call::Setup, Call::Enter, Call::Register] {
            assert_eq!(killer(number_of(call)), Some(call));
        }
        assert_eq!(killer(1), None);
    }

    #[test]
    fn a_thread_without_filters_forks_nothing() {
        let confinement = Confinement::of_this_thread().unwrap();
        if confinement.mode != Some(0) {
            return eprintln!("a filter is in force here: skipped");
        }
        // An epoch that no process has.
        assert_eq!(survive(u32::MAX), Ok(confinement));
        let known = Known { epoch: u32::MAX, filters: 0 };
        assert_eq!(known.unpack(SURVIVAL.load(Ordering::Relaxed)), None, "no child was asked");
    }
}
