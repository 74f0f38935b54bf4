//! The baseline: what one would write by hand on io_uring, with nothing between the loop and the rings.
//!
//! A fixed array of slots, each with its buffer; entries are pushed in a batch, one `io_uring_enter(2)` for a batch,
//! completions are copied out plainly and say by their `user_data` which slot they are about.
//!
//! # Safety
//! Pushing an entry promises that its memory and its descriptor stay valid until its final completion. Both live in
//! [`Slots`] and its users' fields beside the [`RawRing`]; a slot's buffer is touched only between its completion and
//! its next push; and [`RawRing::quiesce`], which every owner calls in `Drop` before anything else of it goes, ends
//! the process rather than let memory go that the kernel may still write.
//!
//! Tests: raw_loops_read_what_is_stored, raw_drop_race_loses_nothing
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
use super::{Context, Workload, lanes};
use crate::bench::plan::{Kind, Scenario};
use crate::data::{Aligned, BLOCK, Blocks, Offsets, check, mark};
use crate::num::{count, index, small};

/// Setup flags from best to plain.
const LADDER: [u32; 4] = [
    setup::SINGLE_ISSUER | setup::DEFER_TASKRUN | setup::NO_SQARRAY,
    setup::SINGLE_ISSUER | setup::DEFER_TASKRUN,
    setup::COOP_TASKRUN,
    0,
];

/// Completions copied out at a time.
const REAP: usize = 128;

/// A ring with its counters.
pub(super) struct RawRing {
    uring: Uring,
    in_flight: u32,
    enters: u64,
    cqes: [Cqe; REAP],
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
                    return Ok(Self { uring, in_flight: 0, enters: 0, cqes: [Cqe::default(); REAP] });
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
    #[inline]
    pub(super) unsafe fn push(&mut self, sqe: &Sqe) -> io::Result<()> {
        // SAFETY: the caller's promise is the one that is asked for.
        let pushed = unsafe { self.uring.push(sqe) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        self.in_flight += 1;
        Ok(())
    }

    /// Submits what is queued and waits for at least `wanted` completions to be in the queue.
    #[inline]
    pub(super) fn enter(&mut self, wanted: u32) -> io::Result<()> {
        loop {
            self.enters += 1;
            match self.uring.enter(wanted, enter::GETEVENTS, None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Copies completions out; the slice is empty when there are none.
    #[inline]
    pub(super) fn reap(&mut self) -> &[Cqe] {
        let n = self.uring.reap(&mut self.cqes);
        self.in_flight -= small(n);
        self.cqes.get(..n).unwrap_or_default()
    }

    /// Waits until `wanted` completions are there and copies them to `out`, replacing what it held.
    #[inline]
    pub(super) fn collect(&mut self, wanted: u32, out: &mut Vec<Cqe>) -> io::Result<()> {
        self.enter(wanted)?;
        out.clear();
        loop {
            let n = out.len();
            out.extend_from_slice(self.reap());
            if out.len() == n {
                return Ok(());
            }
        }
    }

    /// Cancels what is in flight and waits for every completion. Afterwards the kernel uses no memory of this ring's
    /// users. Where that cannot be reached the process ends: memory that the kernel may write must not be freed.
    pub(super) fn quiesce(&mut self) {
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        let everything = cancel::ALL | cancel::ANY;
        let sqe = Sqe { opcode: opcode::ASYNC_CANCEL, fd: -1, op_flags: everything, ..Sqe::default() };
        let mut asked = false;
        while self.in_flight > 0 {
            // SAFETY: a cancellation names neither memory nor a descriptor.
            asked = asked || unsafe { self.push(&sqe) }.is_ok();
            // A full queue is emptied without waiting; the request follows then.
            let entered = self.uring.enter(u32::from(asked), enter::GETEVENTS, Some(&limit));
            if matches!(entered, Err(errno) if errno != Errno::INTR) {
                std::process::abort();
            }
            self.reap();
        }
    }
}

/// Describes the setup that the raw rows use, or says why there is none.
pub(crate) fn describe_setup() -> io::Result<String> {
    RawRing::new(8).map(|ring| ring.setup())
}

/// Buffers of operations in flight, and when each began.
pub(super) struct Slots {
    buffers: Vec<Aligned>,
    offsets: Vec<u64>,
    started: Vec<Option<Instant>>,
}

impl Slots {
    pub(super) fn new(depth: usize, size: usize) -> Self {
        let buffers = (0..depth).map(|_| Aligned::new(size)).collect();
        Self { buffers, offsets: vec![0; depth], started: vec![None; depth] }
    }

    /// Address and length of each buffer, for registration.
    pub(super) fn areas(&mut self) -> impl Iterator<Item = (*mut u8, usize)> {
        self.buffers.iter_mut().map(|buffer| (buffer.bytes_mut().as_mut_ptr(), buffer.bytes().len()))
    }
}

/// How entries name their file and their memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    pub(super) read: u8,
    pub(super) write: u8,
    pub(super) flags: u8,
    pub(super) fd: i32,
    /// Buffers are registered, slot n as number n.
    pub(super) fixed: bool,
}

impl Naming {
    /// By descriptor and address.
    pub(super) fn plain(file: &File) -> Self {
        let fd = file.as_raw_fd();
        Self { read: opcode::READ, write: opcode::WRITE, flags: 0, fd, fixed: false }
    }

    /// By registered index.
    pub(super) fn registered() -> Self {
        let (read, write, flags) = (opcode::READ_FIXED, opcode::WRITE_FIXED, sqe_flags::FIXED_FILE);
        Self { read, write, flags, fd: 0, fixed: true }
    }
}

/// Reads or writes of a file: batches from the page cache, a sliding window around it.
pub(super) struct Files {
    ring: RawRing,
    slots: Slots,
    naming: Naming,
    scenario: &'static Scenario,
    blocks: Blocks,
    /// Keeps the descriptor open that the entries name.
    _file: Arc<File>,
}

impl Files {
    pub(super) fn new(
        ring: RawRing,
        slots: Slots,
        naming: Naming,
        scenario: &'static Scenario,
        (file, blocks): (Arc<File>, Blocks),
    ) -> Self {
        Self { ring, slots, naming, scenario, blocks, _file: file }
    }

    #[inline]
    fn push(&mut self, slot: u32, at: u64) -> io::Result<()> {
        let (number, write) = (index(slot), self.scenario.kind == Kind::WriteDirect);
        let Some(buffer) = self.slots.buffers.get_mut(number) else { return Err(no_slot()) };
        if let Some(offset) = self.slots.offsets.get_mut(number) {
            *offset = at;
        }
        if write {
            mark(buffer.bytes_mut(), at / count(BLOCK));
        }
        let memory = buffer.bytes_mut();
        let sqe = Sqe {
            opcode: if write { self.naming.write } else { self.naming.read },
            flags: self.naming.flags,
            fd: self.naming.fd,
            off: at,
            addr: address(memory.as_mut_ptr()),
            len: small(memory.len()),
            user_data: u64::from(slot),
            buf_index: if self.naming.fixed { u16::try_from(slot).unwrap_or(u16::MAX) } else { 0 },
            ..Sqe::default()
        };
        // SAFETY: the buffer and the file live in `self` and are touched again only after the slot's completion;
        // `Drop` quiesces the ring before they go.
        unsafe { self.ring.push(&sqe) }
    }

    /// Looks at a completed operation.
    #[inline]
    fn finish(&self, cqe: &Cqe) -> io::Result<usize> {
        let slot = usize::try_from(cqe.user_data).unwrap_or(usize::MAX);
        let n = index(Errno::from_result(cqe.res)?);
        let (Some(buffer), Some(at)) = (self.slots.buffers.get(slot), self.slots.offsets.get(slot)) else {
            return Err(no_slot());
        };
        if self.scenario.kind == Kind::WriteDirect {
            return if n == buffer.bytes().len() { Ok(slot) } else { Err(io::ErrorKind::WriteZero.into()) };
        }
        check(buffer.bytes().get(..n).unwrap_or_default(), self.blocks.size, *at)?;
        Ok(slot)
    }

    fn batches(&mut self, ops: u64, offsets: &mut [Offsets]) -> io::Result<Lane> {
        let depth = self.scenario.depth;
        let mut lane = Lane::new(16, ops, true);
        let mut cqes = Vec::with_capacity(lanes(self.scenario));
        for _ in 0..ops / u64::from(depth) {
            let started = lane.start();
            for (slot, offsets) in (0..depth).zip(offsets.iter_mut()) {
                self.push(slot, offsets.next())?;
            }
            let mut done = 0;
            while done < depth {
                self.ring.collect(depth - done, &mut cqes)?;
                for cqe in &cqes {
                    self.finish(cqe)?;
                }
                done += small(cqes.len());
            }
            lane.stop(started, u64::from(depth));
        }
        Ok(lane)
    }

    fn window(&mut self, ops: u64, offsets: &mut [Offsets]) -> io::Result<Lane> {
        let mut lane = Lane::new(self.scenario.sample_every(), ops, true);
        let mut cqes = Vec::with_capacity(lanes(self.scenario));
        let mut pushed = 0;
        for (slot, offsets) in (0..self.scenario.depth).zip(offsets.iter_mut()) {
            self.begin(slot, offsets, &mut lane)?;
            pushed += 1;
        }
        let mut done = 0;
        while done < ops {
            self.ring.collect(1, &mut cqes)?;
            for cqe in &cqes {
                let slot = self.finish(cqe)?;
                lane.stop(self.slots.started.get(slot).copied().flatten(), 1);
                done += 1;
                if pushed < ops {
                    let offsets = offsets.get_mut(slot).ok_or_else(no_slot)?;
                    self.begin(small(slot), offsets, &mut lane)?;
                    pushed += 1;
                }
            }
        }
        Ok(lane)
    }

    #[inline]
    fn begin(&mut self, slot: u32, offsets: &mut Offsets, lane: &mut Lane) -> io::Result<()> {
        if let Some(started) = self.slots.started.get_mut(index(slot)) {
            *started = lane.start();
        }
        self.push(slot, offsets.next())
    }
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let depth = u64::from(self.scenario.depth);
        let mut offsets: Vec<_> = (0..depth).map(|lane| self.blocks.lane(lane, slice)).collect();
        if self.scenario.is_direct() {
            self.window(ops, &mut offsets)
        } else {
            self.batches(ops, &mut offsets)
        }
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
pub(super) fn no_slot() -> io::Error {
    io::Error::other("a completion names a slot that does not exist")
}

/// Operations that do nothing, in batches.
struct Nops {
    ring: RawRing,
    depth: u32,
    every: u32,
}

impl Workload for Nops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let mut lane = Lane::new(self.every, ops, true);
        for _ in 0..ops / u64::from(self.depth) {
            let started = lane.start();
            for slot in 0..self.depth {
                let sqe = Sqe { opcode: opcode::NOP, fd: -1, user_data: u64::from(slot), ..Sqe::default() };
                // SAFETY: a NOP names neither memory nor a descriptor.
                unsafe { self.ring.push(&sqe) }?;
            }
            let mut done = 0;
            while done < self.depth {
                self.ring.enter(self.depth - done)?;
                for cqe in self.ring.reap() {
                    Errno::from_result(cqe.res)?;
                    done += 1;
                }
            }
            lane.stop(started, u64::from(self.depth));
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

pub(super) fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let ring = RawRing::new(scenario.depth.next_power_of_two())?;
    if scenario.kind == Kind::Nop {
        return Ok(Box::new(Nops { ring, depth: scenario.depth, every: scenario.sample_every() }));
    }
    let target = context.file(scenario)?;
    let (slots, naming) = (Slots::new(lanes(scenario), scenario.block), Naming::plain(&target.0));
    Ok(Box::new(Files::new(ring, slots, naming, scenario, target)))
}
