//! The life of an operation in a simulated kernel: handed over, scheduled, perhaps waiting, done, posted.
//!
//! # Safety
//! Takes the memory of submissions (`lent.rs`) under the contract of `Backend::submit`.
//!
//! Tests: files_keep_what_was_written, a_run_is_a_function_of_its_seed
#![allow(unsafe_code, reason = "hands on the contract of Backend::submit")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use safer_ring_sys::{CQE_BUFFER_SHIFT, Cqe, Errno, cqe_flags};

use super::calls::{Call, call_of};
use super::config::Config;
use super::descriptors::Table;
use super::injected::Injections;
use super::lent::{Extra, Lent};
use super::multishot::{Group, Many};
use super::number;
use super::pipes::Pipe;
use super::registered::{Fixed, Slots};
use super::rng::Rng;
use super::sockets::Socket;
use super::tree::Tree;
use crate::backend::Submission;
use crate::clock;

/// A kernel and its place among those of this process.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) place: usize,
    kernel: Mutex<Kernel>,
}

impl Machine {
    pub(super) fn new(place: usize, mut kernel: Kernel) -> Self {
        kernel.place = place;
        Self { place, kernel: Mutex::new(kernel) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operation gives.
#[derive(Debug, Default)]
pub(super) struct Effect {
    pub(super) res: i32,
    /// For the lent memory.
    pub(super) data: Vec<u8>,
    pub(super) extra: Vec<Extra>,
}

impl Effect {
    pub(super) fn of(res: i32) -> Self {
        Self { res, ..Self::default() }
    }

    pub(super) fn error(errno: Errno) -> Self {
        Self::of(-errno.raw_os_error())
    }
}

#[derive(Debug)]
pub(super) enum State {
    /// A member of a chain, until the one before it has ended.
    Linked,
    /// Begins then.
    Scheduled(u64),
    /// Until something changes.
    Waiting,
    /// Until the fault that holds it is released.
    Held(usize),
    /// Its completion is posted then; the second number is the order of the ends.
    Done(u64, u64, Effect),
}

/// An operation that the kernel has.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) ring: usize,
    pub(super) user_data: u64,
    pub(super) name: &'static str,
    pub(super) fd: RawFd,
    pub(super) other: RawFd,
    pub(super) call: Call,
    pub(super) lent: Lent,
    /// What it has received so far, where it goes on until it has all (`MSG_WAITALL`).
    pub(super) gathered: Vec<u8>,
    /// Bytes that it has sent so far, likewise.
    pub(super) sent: usize,
    /// A poll before the operation itself.
    polls_first: bool,
    /// The operation of its chain that comes next.
    pub(super) next: Option<u64>,
    /// Its cancellation came too late to be exact: it ends as soon as it would wait.
    pub(super) interrupted: bool,
    /// A member of a chain.
    pub(super) chained: bool,
    /// Cancellations that have not found it.
    pub(super) missed: u8,
    /// Of a multishot receive.
    pub(super) many: Many,
    /// How it came to its memory.
    pub(super) fixed: Fixed,
    pub(super) state: State,
}

/// One ring's part.
#[derive(Debug, Default)]
struct RingState {
    /// The last member of a chain that is not complete.
    open_chain: Option<u64>,
    /// Completions that no operation asked for.
    strangers: VecDeque<Cqe>,
    /// A name that has ended, for another completion of it.
    ended: Option<u64>,
    /// Buffers that its receives pick from.
    group: Option<Group>,
    /// Memory that is registered with it.
    slots: Option<Slots>,
    /// Completions that its queue has room for.
    room: usize,
    /// It was closed.
    gone: bool,
}

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) place: usize,
    now: u64,
    pub(super) flights: BTreeMap<u64, Flight>,
    rings: Vec<RingState>,
    next: u64,
    pub(super) ends: u64,
    pub(super) open: Table,
    pub(super) tree: Tree,
    pub(super) pipes: Vec<Pipe>,
    pub(super) sockets: Vec<Socket>,
    /// Names of hosts, for look-ups.
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The last call that registered something was interrupted.
    pub(super) interrupted_registration: bool,
    /// Something of a ring that is gone is in flight.
    pub(super) has_remains: bool,
    /// Something has changed that an operation may wait for.
    pub(super) changed: bool,
    /// What a test wants to go wrong.
    pub(super) injected: Injections,
    /// What is wrong with the program or the library.
    pub(super) findings: Vec<String>,
    lines: VecDeque<String>,
    hash: u64,
}

impl Kernel {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            rng: Rng::new(config.seed),
            place: 0,
            now: 0,
            flights: BTreeMap::new(),
            rings: Vec::new(),
            next: 0,
            ends: 0,
            open: Table::default(),
            tree: Tree::new(),
            pipes: Vec::new(),
            sockets: Vec::new(),
            hosts: BTreeMap::new(),
            interrupted_registration: false,
            has_remains: false,
            changed: false,
            injected: Injections::default(),
            findings: Vec::new(),
            lines: VecDeque::new(),
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn go_to(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// A line of the trace.
    pub(super) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let mut text = String::new();
        // A `String` takes everything.
        let _ = write!(text, "{:>9} us  {line}", self.now / 1000);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.config.trace_lines > 0 {
            if self.lines.len() >= self.config.trace_lines {
                self.lines.pop_front();
            }
            self.lines.push_back(text);
        }
    }

    /// A call beside the rings, and its answer.
    pub(crate) fn note_call(&mut self, name: &str, fd: RawFd, errno: Option<Errno>) {
        match errno {
            Some(errno) => self.note(format_args!("call of {name}{} = {errno}", On(fd))),
            None => self.note(format_args!("call of {name}{}", On(fd))),
        }
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn find(&mut self, finding: String) {
        self.note(format_args!("FINDING {finding}"));
        self.findings.push(finding);
    }

    /// A ring whose completion queue has so much room.
    pub(super) fn add_ring(&mut self, room: usize) -> usize {
        self.rings.push(RingState { room, ..RingState::default() });
        self.rings.len() - 1
    }

    /// Ends all but what is in flight. Gives the buffers that were lent and not picked.
    pub(super) fn bury_ring(&mut self, ring: usize) -> Vec<Lent> {
        let Some(state) = self.rings.get_mut(ring) else { return Vec::new() };
        let group = state.group.take();
        *state = RingState { gone: true, ..RingState::default() };
        group.map(Group::into_spares).unwrap_or_default()
    }

    pub(super) fn is_gone(&self, ring: usize) -> bool {
        self.rings.get(ring).is_some_and(|state| state.gone)
    }

    /// Whether as many completions of a ring are on their way as its queue has room for.
    pub(super) fn is_crowded(&self, ring: usize) -> bool {
        let room = self.rings.get(ring).map_or(usize::MAX, |state| state.room);
        let done =
            |flight: &&Flight| flight.ring == ring && matches!(flight.state, State::Done(..));
        self.flights.values().filter(done).take(room).count() >= room
    }

    pub(super) fn group_of(&mut self, ring: usize) -> Option<&mut Option<Group>> {
        self.rings.get_mut(ring).map(|ring| &mut ring.group)
    }

    pub(super) fn slots_of(&mut self, ring: usize) -> Option<&mut Option<Slots>> {
        self.rings.get_mut(ring).map(|ring| &mut ring.slots)
    }

    /// Takes an operation, which may name its memory by a slot.
    ///
    /// # Safety
    /// As `Backend::submit`.
    pub(super) unsafe fn take(&mut self, ring: usize, s: &Submission, slot: Option<u16>) {
        // SAFETY: the contract is the same.
        let call = unsafe { call_of(s) };
        // SAFETY: likewise.
        let lent = unsafe { Lent::take(s) };
        let begins_linked = self.rings.get(ring).and_then(|ring| ring.open_chain);
        let name = if s.poll_first.is_some() { "poll first" } else { s.op.name() };
        let id = self.insert(ring, s.user_data, name, call, lent, (s.fd, s.other));
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.polls_first = s.poll_first.is_some();
            flight.chained = s.link || begins_linked.is_some();
            flight.fixed = slot.map_or(Fixed::No, Fixed::Slot);
            if begins_linked.is_some() {
                flight.state = State::Linked;
            } else {
                self.find_memory(id);
            }
        }
        if let Some(before) = begins_linked.and_then(|before| self.flights.get_mut(&before)) {
            before.next = Some(id);
        }
        if let Some(ring) = self.rings.get_mut(ring) {
            ring.open_chain = s.link.then_some(id);
        }
    }

    pub(super) fn take_cancel(&mut self, ring: usize, user_data: u64, target: u64) {
        let call = Call::Cancel { target };
        self.insert(ring, user_data, "cancel", call, Lent::nothing(), (-1, -1));
    }

    pub(super) fn take_timer(&mut self, ring: usize, user_data: u64, after: Duration) {
        let due = self.now.saturating_add(clock::ns(after));
        let id = self.insert(ring, user_data, "timer", Call::Timer, Lent::nothing(), (-1, -1));
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.state = State::Scheduled(due);
        }
    }

    fn insert(
        &mut self,
        ring: usize,
        user_data: u64,
        name: &'static str,
        call: Call,
        lent: Lent,
        (fd, other): (RawFd, RawFd),
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let due = self.now.saturating_add(self.start_delay(&call, (fd, other)));
        self.note(format_args!("ring {ring} takes #{id} {name}{}", On(fd)));
        let flight = Flight {
            id,
            ring,
            user_data,
            name,
            fd,
            other,
            call,
            lent,
            gathered: Vec::new(),
            sent: 0,
            polls_first: false,
            next: None,
            interrupted: false,
            chained: false,
            missed: 0,
            many: Many::default(),
            fixed: Fixed::No,
            state: State::Scheduled(due),
        };
        self.flights.insert(id, flight);
        id
    }

    /// A completion that is not the last of its operation, behind all earlier ones of it.
    pub(super) fn tell(&mut self, flight: &mut Flight, (bid, lent): (u16, Lent), effect: Effect) {
        let res = effect.res;
        self.ends += 1;
        let due = self.now.saturating_add(self.end_delay(flight)).max(flight.many.told);
        flight.many.told = due;
        let many = Many { picked: Some(bid), more: true, ..Many::default() };
        let piece = self.part_of(flight, lent, many, State::Done(due, self.ends, effect));
        let (id, whole, name) = (piece.id, flight.id, flight.name);
        self.note(format_args!("#{whole} {name} = {res} in buffer {bid}, as #{id}"));
        self.flights.insert(id, piece);
    }

    /// Something of an operation that has memory of its own.
    pub(super) fn part_of(
        &mut self,
        flight: &Flight,
        lent: Lent,
        many: Many,
        state: State,
    ) -> Flight {
        let id = self.next;
        self.next += 1;
        let call = flight.call.clone();
        Flight { id, lent, call, gathered: Vec::new(), next: None, many, state, ..*flight }
    }

    /// Whether the last entry that was taken is followed by more of its chain.
    pub(super) fn in_chain(&self, ring: usize) -> bool {
        self.rings.get(ring).is_some_and(|ring| ring.open_chain.is_some())
    }

    /// A chain ends with the entries of one `enter`, whatever its last one says.
    pub(super) fn end_chain(&mut self, ring: usize) {
        if let Some(ring) = self.rings.get_mut(ring) {
            ring.open_chain = None;
        }
    }

    /// Does all that is due.
    pub(super) fn run(&mut self) {
        loop {
            let due = self.flights.values().filter_map(|flight| match flight.state {
                State::Scheduled(due) if due <= self.now => Some((due, flight.id)),
                _ => None,
            });
            match due.min() {
                Some((_, id)) => self.start(id),
                None if self.changed => self.retry(),
                None => break,
            }
        }
        self.settle_remains();
    }

    /// Tries what waits again, in the order in which it came.
    fn retry(&mut self) {
        self.changed = false;
        let waiting = self.flights.values().filter(|flight| matches!(flight.state, State::Waiting));
        let waiting: Vec<u64> = waiting.map(|flight| flight.id).collect();
        for id in waiting {
            if let Some(flight) = self.flights.remove(&id) {
                self.attempt(flight);
            }
        }
    }

    fn start(&mut self, id: u64) {
        self.find_memory(id);
        let Some(flight) = self.flights.remove(&id) else { return };
        if let Call::Cancel { target } = flight.call {
            let answer = self.cancel(flight.ring, target);
            return self.finish(flight, Effect::of(answer));
        }
        if flight.fixed == Fixed::Wrong {
            return self.finish(flight, Effect::error(Errno::FAULT));
        }
        match self.fault_of(&flight) {
            Some(errno) => {
                self.note(format_args!("#{id} {} suffers {errno}", flight.name));
                self.finish(flight, Effect::error(errno));
            }
            None => self.begin(flight),
        }
    }

    pub(super) fn attempt(&mut self, mut flight: Flight) {
        match self.perform(&mut flight) {
            Some(Ok(effect)) => self.finish(flight, effect),
            Some(Err(errno)) => self.finish(flight, Effect::error(errno)),
            None if flight.interrupted => self.interrupt(flight),
            None => {
                flight.state = State::Waiting;
                self.flights.insert(flight.id, flight);
            }
        }
    }

    /// An operation has ended: its completion is due soon, and the next one of its chain begins or ends too.
    pub(super) fn finish(&mut self, mut flight: Flight, effect: Effect) {
        match number::place_of(effect.res) {
            // The number itself says in which world of the process it is.
            Some(place) => self.note(format_args!("#{} {} = fd {place}", flight.id, flight.name)),
            None => self.note(format_args!("#{} {} = {}", flight.id, flight.name, effect.res)),
        }
        let next = flight.next.take();
        let broken = flight.breaks_with(effect.res);
        let due = self.now.saturating_add(self.end_delay(&flight)).max(flight.many.told);
        self.ends += 1;
        flight.state = State::Done(due, self.ends, effect);
        self.flights.insert(flight.id, flight);
        let Some(next) = next else { return };
        if !broken {
            let delay = self.any_start_delay();
            if let Some(member) = self.flights.get_mut(&next) {
                member.state = State::Scheduled(self.now.saturating_add(delay));
            }
        } else if let Some(member) = self.flights.remove(&next) {
            self.finish(member, Effect::error(Errno::CANCELED));
        }
    }

    /// When something happens next by itself.
    pub(super) fn next_event(&self) -> Option<u64> {
        if self.changed {
            // A descriptor was closed, and what waits has not been tried again.
            return Some(self.now);
        }
        let due = self.flights.values().filter_map(|flight| match flight.state {
            State::Scheduled(due) | State::Done(due, ..) => Some(due),
            State::Linked | State::Waiting | State::Held(_) => None,
        });
        due.min()
    }

    /// The same, as it matters to one ring: who waits for it does not take in what others are told.
    pub(super) fn next_event_of(&self, ring: usize) -> Option<u64> {
        if self.changed {
            return Some(self.now);
        }
        let due = self.flights.values().filter_map(|flight| match flight.state {
            State::Done(due, ..) if flight.ring == ring => Some(due),
            State::Scheduled(due) => Some(due),
            _ => None,
        });
        due.min()
    }

    /// Whether completions of a ring are due.
    pub(super) fn has_due(&self, ring: usize) -> bool {
        let strangers = self.rings.get(ring).is_some_and(|ring| !ring.strangers.is_empty());
        strangers || self.next_due(ring).is_some()
    }

    fn next_due(&self, ring: usize) -> Option<u64> {
        let due = self.flights.values().filter_map(|flight| match flight.state {
            State::Done(due, order, _) if flight.ring == ring && due <= self.now => {
                Some((due, order, flight.id))
            }
            _ => None,
        });
        due.min().map(|(.., id)| id)
    }

    /// The next completion of a ring that is due. The memory is the program's again.
    pub(super) fn next_completion(&mut self, ring: usize) -> Option<Cqe> {
        if let Some(stranger) = self.rings.get_mut(ring).and_then(|ring| ring.strangers.pop_front())
        {
            self.note(format_args!("ring {ring} gets a completion of nothing"));
            return Some(stranger);
        }
        let flight = self.next_due(ring).and_then(|id| self.flights.remove(&id))?;
        let State::Done(_, _, effect) = &flight.state else { return None };
        if let Err(finding) = flight.lent.settle(&effect.data, &effect.extra) {
            self.find(format!("#{} {}: {finding}", flight.id, flight.name));
        }
        let (user_data, res) = (flight.user_data, effect.res);
        self.note(format_args!("ring {ring} gets #{} {}", flight.id, flight.name));
        let mut flags = if flight.many.more { cqe_flags::MORE } else { 0 };
        if let Some(bid) = flight.many.picked {
            self.give_back(ring, bid);
            flags |= cqe_flags::BUFFER | u32::from(bid) << CQE_BUFFER_SHIFT;
        }
        // One that is tried again under the same name would be ended by a second completion of it.
        let ends = res >= 0 && !flight.polls_first && !flight.many.more;
        self.invent(ring, ends.then_some(user_data));
        Some(Cqe { user_data, res, flags })
    }

    /// Perhaps a completion that nobody waits for follows.
    fn invent(&mut self, ring: usize, ended: Option<u64>) {
        let strange = self.rng.chance(self.config.strangers);
        let which = if strange { self.rng.below(3) } else { 0 };
        let Some(state) = self.rings.get_mut(ring) else { return };
        let known = state.ended;
        state.ended = ended.or(known);
        if !strange {
            return;
        }
        let user_data = match (which, ended, known) {
            (0, Some(ended), _) | (1, _, Some(ended)) => ended,
            (2, ..) => u64::MAX,
            _ => 0,
        };
        let res = -Errno::IO.raw_os_error();
        state.strangers.push_back(Cqe { user_data, res, flags: 0 });
    }
}

/// A descriptor in a line: its place in the world.
pub(super) struct On(pub(super) RawFd);

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match number::place_of(self.0) {
            Some(place) => write!(f, " fd {place}"),
            None => Ok(()),
        }
    }
}
