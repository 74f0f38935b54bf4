//! The baseline: what one would write by hand on io_uring, with nothing between the loop and the rings.
//!
//! A fixed array of slots, each with its buffer; entries are pushed in a batch, one `io_uring_enter(2)` for a batch,
//! completions are copied out plainly and say by their `user_data` which slot they are about.
//!
//! # Safety
//! Pushing an entry promises that its memory and its descriptor stay valid until its final completion. Both live in the
//! struct that owns the [`RawRing`]; a slot's buffer is touched only between its completion and its next push; and
//! [`RawRing::quiesce`], which every owner calls in `Drop` before anything else of it goes, ends the process rather than
//! let memory go that the kernel may still write.
//!
//! Tests: raw_loops_read_what_is_stored, raw_drop_race_loses_nothing, quiescing_ends_receives_that_nobody_answers
#![allow(unsafe_code, reason = "pushing a submission entry is a promise about memory")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use safer_ring_sys::{
    Cqe, Errno, Params, Sqe, Timespec, Uring, address, cancel, enter, opcode, setup, sqe_flags,
};

use super::lane::Lane;
use super::{Context, Family, Imp, RingKind, Workload, lanes, raw_net, raw_threads};
use crate::bench::plan::{Kind, Scenario};
use crate::data::{Aligned, BLOCK, Blocks, Offsets, check, mark};
use crate::num::{count, index, small};

pub(crate) static RAW: Imp = Imp {
    name: "raw",
    what: "hand-written io_uring loop on one thread, in mt scenarios on each worker thread: the baseline of every ratio",
    family: Family::Raw,
    ring: Some(RING),
    absent_from: |_| None,
    build: |scenario, context| match scenario.kind {
        _ if scenario.multi_thread => raw_threads::build(scenario, context),
        Kind::Echo => raw_net::echo(scenario, context, false),
        Kind::Drop => raw_net::drop_race(scenario, false),
        _ => build(scenario, context),
    },
};

/// The rings of the raw rows.
pub(super) const RING: RingKind = RingKind { name: "raw", describe: describe_setup };

/// Setup flags from best to plain.
const LADDER: [u32; 4] = [
    setup::SINGLE_ISSUER | setup::DEFER_TASKRUN | setup::NO_SQARRAY,
    setup::SINGLE_ISSUER | setup::DEFER_TASKRUN,
    setup::COOP_TASKRUN,
    0,
];

/// A ring with its counters.
pub(super) struct RawRing {
    uring: Uring,
    in_flight: u32,
    enters: u64,
}

impl RawRing {
    /// A ring of `entries`, with the best setup flags that this kernel accepts.
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let mut refusal = None;
        for flags in LADDER {
            match Uring::new(entries, Params { flags, ..Params::default() }) {
                Ok(mut uring) => {
                    // Without a registered index (before Linux 5.18) each enter looks the descriptor up.
                    let _ = uring.register_ring_fd();
                    return Ok(Self { uring, in_flight: 0, enters: 0 });
                }
                Err(errno) => refusal = Some(refusal.unwrap_or(errno)),
            }
        }
        Err(refusal.map_or_else(|| io::Error::from(io::ErrorKind::Unsupported), io::Error::from))
    }

    pub(super) fn uring(&self) -> &Uring {
        &self.uring
    }

    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    /// Names of the setup flags in use.
    pub(super) fn setup(&self) -> String {
        let used = self.uring.setup_flags();
        let names: Vec<_> =
            setup::NAMES.iter().filter(|(bit, _)| used & bit != 0).map(|(_, name)| *name).collect();
        if names.is_empty() { "no flags".to_owned() } else { names.join(" | ") }
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// As [`Uring::push`]: memory and descriptor of the entry stay valid and untouched until its final completion.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, sqe: &Sqe) -> io::Result<()> {
        // SAFETY: the caller's promise is the one that is asked for.
        let pushed = unsafe { self.uring.push(sqe) };
        self.in_flight += 1;
        pushed.map_err(|_| self.full())
    }

    #[cold]
    fn full(&mut self) -> io::Error {
        self.in_flight -= 1;
        io::Error::other("the submission queue is full")
    }

    /// Submits what is queued and waits for at least `wanted` completions to be in the queue.
    #[inline(always)]
    pub(super) fn enter(&mut self, wanted: u32) -> io::Result<()> {
        loop {
            self.enters += 1;
            match self.uring.enter(wanted, enter::GETEVENTS, None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
    }

    /// Waits until `wanted` completions are there and copies what is there to the front of `out`, which has room for
    /// everything in flight. Returns how many.
    #[inline(always)]
    pub(super) fn collect(&mut self, wanted: u32, out: &mut [Cqe]) -> io::Result<usize> {
        self.enter(wanted)?;
        let n = self.uring.reap(out);
        self.in_flight -= small(n);
        Ok(n)
    }

    /// A completion that was collected was not the last of its operation.
    #[inline(always)]
    pub(super) fn stays(&mut self) {
        self.in_flight += 1;
    }

    /// Cancels what is in flight and waits for every completion. Afterwards the kernel uses no memory of this ring's
    /// users. Where that cannot be reached the process ends: memory that the kernel may write must not be freed.
    pub(super) fn quiesce(&mut self) {
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let everything = cancel::ALL | cancel::ANY;
        let sqe =
            Sqe { opcode: opcode::ASYNC_CANCEL, fd: -1, op_flags: everything, ..Sqe::default() };
        let mut asked = false;
        let mut cqes = [Cqe::default(); 64];
        while self.in_flight > 0 {
            // SAFETY: a cancellation names neither memory nor a descriptor.
            asked = asked || unsafe { self.push(&sqe) }.is_ok();
            // A full queue is emptied without waiting; the request follows then.
            let entered = self.uring.enter(u32::from(asked), enter::GETEVENTS, Some(&limit));
            if matches!(entered, Err(errno) if errno != Errno::INTR) {
                std::process::abort();
            }
            self.in_flight -= small(self.uring.reap(&mut cqes));
        }
    }
}

fn describe_setup() -> io::Result<String> {
    let mut ring = RawRing::new(8)?;
    // A filter can let a ring be made and not be entered.
    ring.uring.enter(0, enter::GETEVENTS, None)?;
    Ok(ring.setup())
}

/// An operation in flight: its entry, of which only the offset changes, and its memory.
pub(super) struct Slot {
    sqe: Sqe,
    buffer: Aligned,
    started: Option<Instant>,
}

/// Slots with buffers of `size` bytes each.
pub(super) fn slots(depth: usize, size: usize) -> Vec<Slot> {
    let slot = |_| Slot { sqe: Sqe::default(), buffer: Aligned::new(size), started: None };
    (0..depth).map(slot).collect()
}

impl Slot {
    /// Address and length of the buffer.
    pub(super) fn area(&mut self) -> (*mut u8, usize) {
        (self.buffer.as_mut_ptr(), self.buffer.bytes().len())
    }

    fn prepare(&mut self, number: u32, naming: &Naming) {
        let (base, len) = self.area();
        self.sqe = Sqe {
            opcode: naming.opcode,
            flags: naming.flags,
            fd: naming.fd,
            addr: address(base),
            len: small(len),
            user_data: u64::from(number),
            buf_index: if naming.fixed { u16::try_from(number).unwrap_or(u16::MAX) } else { 0 },
            ..Sqe::default()
        };
    }
}

/// How entries name their file and their memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    opcode: u8,
    flags: u8,
    fd: i32,
    /// Buffers are registered, slot n as number n.
    fixed: bool,
}

impl Naming {
    /// By descriptor and address.
    pub(super) fn plain(scenario: &Scenario, file: &File) -> Self {
        let write = scenario.kind == Kind::WriteDirect;
        let opcode = if write { opcode::WRITE } else { opcode::READ };
        Self { opcode, flags: 0, fd: file.as_raw_fd(), fixed: false }
    }

    /// By registered index.
    pub(super) fn registered(scenario: &Scenario) -> Self {
        let write = scenario.kind == Kind::WriteDirect;
        let opcode = if write { opcode::WRITE_FIXED } else { opcode::READ_FIXED };
        Self { opcode, flags: sqe_flags::FIXED_FILE, fd: 0, fixed: true }
    }
}

/// Reads or writes of a file: batches from the page cache, a sliding window around it.
pub(super) struct Files {
    ring: RawRing,
    slots: Vec<Slot>,
    cqes: Vec<Cqe>,
    write: bool,
    scenario: &'static Scenario,
    blocks: Blocks,
    /// Its slots are lanes from this number on.
    first_lane: u64,
    /// Keeps the descriptor open that the entries name.
    _file: Arc<File>,
}

impl Files {
    pub(super) fn new(
        ring: RawRing,
        mut slots: Vec<Slot>,
        naming: &Naming,
        scenario: &'static Scenario,
        (file, blocks): (Arc<File>, Blocks),
    ) -> Self {
        for (number, slot) in (0..).zip(&mut slots) {
            slot.prepare(number, naming);
        }
        let (cqes, write) = (vec![Cqe::default(); slots.len()], scenario.kind == Kind::WriteDirect);
        Self { ring, slots, cqes, write, scenario, blocks, first_lane: 0, _file: file }
    }

    /// One thread's share of a scenario: the lanes from `first_lane` on, as many as there are slots.
    pub(super) fn share(
        scenario: &'static Scenario,
        target: (Arc<File>, Blocks),
        (first_lane, lanes): (u64, usize),
    ) -> io::Result<Self> {
        let ring = RawRing::new(small(lanes).next_power_of_two())?;
        let naming = Naming::plain(scenario, &target.0);
        let mut files = Self::new(ring, slots(lanes, scenario.block), &naming, scenario, target);
        files.first_lane = first_lane;
        Ok(files)
    }

    /// Allocations of this thread are those of the loop, unless other threads run loops of the same slice.
    fn lane(&self, ops: u64) -> Lane {
        let every = self.scenario.sample_every();
        if self.scenario.multi_thread {
            Lane::new(every, ops, self.first_lane == 0)
        } else {
            Lane::of_one_thread(every, ops)
        }
    }

    /// Looks at a completed operation.
    #[inline]
    fn finish(&self, cqe: &Cqe) -> io::Result<usize> {
        let number = usize::try_from(cqe.user_data).unwrap_or(usize::MAX);
        let n = index(Errno::from_result(cqe.res)?);
        let slot = self.slots.get(number).ok_or_else(no_slot)?;
        if self.write {
            return if n == self.blocks.size {
                Ok(number)
            } else {
                Err(io::ErrorKind::WriteZero.into())
            };
        }
        check(slot.buffer.bytes().get(..n).unwrap_or_default(), self.blocks.size, slot.sqe.off)?;
        Ok(number)
    }

    fn batches(&mut self, ops: u64, offsets: &mut [Offsets], cqes: &mut [Cqe]) -> io::Result<Lane> {
        let (depth, mut lane) = (small(self.slots.len()), self.lane(ops));
        for _ in 0..ops / u64::from(depth) {
            let started = lane.start();
            for (slot, offsets) in self.slots.iter_mut().zip(offsets.iter_mut()) {
                begin(&mut self.ring, slot, offsets.next(), self.write)?;
            }
            let mut left = depth;
            while left > 0 {
                let n = self.ring.collect(left, cqes)?;
                for cqe in cqes.iter().take(n) {
                    self.finish(cqe)?;
                }
                left -= small(n);
            }
            lane.stop(started, u64::from(depth));
        }
        Ok(lane)
    }

    fn window(&mut self, ops: u64, offsets: &mut [Offsets], cqes: &mut [Cqe]) -> io::Result<Lane> {
        let mut lane = self.lane(ops);
        for (slot, offsets) in self.slots.iter_mut().zip(offsets.iter_mut()) {
            slot.started = lane.start();
            begin(&mut self.ring, slot, offsets.next(), self.write)?;
        }
        let (mut pushed, mut done) = (count(self.slots.len()), 0);
        while done < ops {
            let n = self.ring.collect(1, cqes)?;
            for cqe in cqes.iter().take(n) {
                let number = self.finish(cqe)?;
                let slot = self.slots.get_mut(number).ok_or_else(no_slot)?;
                lane.stop(slot.started, 1);
                done += 1;
                if pushed < ops {
                    let offsets = offsets.get_mut(number).ok_or_else(no_slot)?;
                    slot.started = lane.start();
                    begin(&mut self.ring, slot, offsets.next(), self.write)?;
                    pushed += 1;
                }
            }
        }
        Ok(lane)
    }
}

/// Queues a slot's operation at an offset.
#[inline(always)]
fn begin(ring: &mut RawRing, slot: &mut Slot, at: u64, write: bool) -> io::Result<()> {
    slot.sqe.off = at;
    if write {
        mark(slot.buffer.bytes_mut(), at / count(BLOCK));
    }
    // SAFETY: the slot's buffer and the file live in the same `Files` as the ring and are touched again only after the
    // slot's completion; its `Drop` quiesces the ring before they go.
    unsafe { ring.push(&slot.sqe) }
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let lanes = (self.first_lane..).take(self.slots.len());
        let mut offsets: Vec<_> = lanes.map(|lane| self.blocks.lane(lane, slice)).collect();
        let mut cqes = std::mem::take(&mut self.cqes);
        let lane = if self.scenario.is_direct() || self.scenario.multi_thread {
            self.window(ops, &mut offsets, &mut cqes)
        } else {
            self.batches(ops, &mut offsets, &mut cqes)
        };
        self.cqes = cqes;
        lane
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.enters())
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.setup())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.ring.quiesce();
    }
}

#[cold]
fn refused(errno: Errno) -> io::Error {
    errno.into()
}

#[cold]
pub(super) fn no_slot() -> io::Error {
    io::Error::other("a completion names a slot that does not exist")
}

/// Operations that do nothing, in batches.
struct Nops {
    ring: RawRing,
    cqes: Vec<Cqe>,
    scenario: &'static Scenario,
}

impl Workload for Nops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let depth = self.scenario.depth;
        let mut lane = Lane::of_one_thread(self.scenario.sample_every(), ops);
        let mut sqe = Sqe { opcode: opcode::NOP, fd: -1, ..Sqe::default() };
        for _ in 0..ops / u64::from(depth) {
            let started = lane.start();
            for slot in 0..u64::from(depth) {
                sqe.user_data = slot;
                // SAFETY: a NOP names neither memory nor a descriptor.
                unsafe { self.ring.push(&sqe) }?;
            }
            let mut left = depth;
            while left > 0 {
                let n = self.ring.collect(left, &mut self.cqes)?;
                for cqe in self.cqes.iter().take(n) {
                    Errno::from_result(cqe.res)?;
                }
                left -= small(n);
            }
            lane.stop(started, u64::from(depth));
        }
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.enters())
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.setup())
    }
}

impl Drop for Nops {
    fn drop(&mut self) {
        self.ring.quiesce();
    }
}

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    if scenario.kind == Kind::Nop {
        let ring = RawRing::new(scenario.depth.next_power_of_two())?;
        return Ok(Box::new(Nops { ring, cqes: vec![Cqe::default(); lanes(scenario)], scenario }));
    }
    Ok(Box::new(Files::share(scenario, context.file(scenario)?, (0, lanes(scenario)))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::{SCENARIOS, parse_scenario};
    use crate::data::Data;
    use crate::imp::raw_registered::RAW_REGISTERED;

    fn context() -> Context {
        let dir = std::env::current_dir().unwrap();
        let data = Data::create(Some(&dir), 8 << 20).unwrap();
        let exe = std::env::current_exe().unwrap();
        Context { data: Some(data), exe, single_thread: false, workers: 3 }
    }

    /// Whether raw rows can run here; where not, that is said and not passed over.
    fn available() -> bool {
        describe_setup()
            .inspect_err(|e| eprintln!("skipped: io_uring is not available: {e}"))
            .is_ok()
    }

    #[test]
    fn raw_loops_read_what_is_stored() {
        let context = context();
        for scenario in SCENARIOS.iter().filter(|s| s.uses_file()) {
            for imp in [&RAW, &RAW_REGISTERED] {
                let refused = scenario.is_direct() && context.file(scenario).is_err();
                if !available() || refused || (imp.absent_from)(scenario).is_some() {
                    continue;
                }
                let mut work = (imp.build)(scenario, &context).unwrap();
                let ops = scenario.round_ops(100);
                work.run(ops, 0).unwrap();
                assert!(work.enters().unwrap() >= ops / u64::from(scenario.depth));
            }
        }
    }

    #[test]
    fn raw_drop_race_loses_nothing() {
        let scenario = parse_scenario("drop-64").unwrap();
        for imp in [&RAW, &RAW_REGISTERED] {
            if available() {
                // The work itself checks every message; a second slice goes on where the first one stopped.
                let mut work = (imp.build)(scenario, &context()).unwrap();
                work.run(640, 0).unwrap();
                work.run(640, 1).unwrap();
            }
        }
    }

    #[test]
    fn quiescing_ends_receives_that_nobody_answers() {
        if !available() {
            return;
        }
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut memory = [0_u8; 16];
        let mut ring = RawRing::new(1).unwrap();
        let sqe = Sqe {
            opcode: opcode::RECV,
            fd: near.as_raw_fd(),
            addr: address(memory.as_mut_ptr()),
            len: 16,
            ..Sqe::default()
        };
        // SAFETY: the memory and the socket outlive the call of `quiesce`.
        unsafe { ring.push(&sqe) }.unwrap();
        ring.quiesce();
        assert_eq!(ring.in_flight, 0);
    }
}
