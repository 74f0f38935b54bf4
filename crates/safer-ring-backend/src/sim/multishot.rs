//! Receives that complete again and again (`IORING_RECV_MULTISHOT`), each time into a buffer that the program has lent to
//! its ring for whoever receives.
//!
//! A piece of what arrives is a completion of its own, behind all earlier ones of the same receive. The receive ends with the
//! stream, with an error, when it is cancelled, when no buffer is lent, and now and then with a piece although nobody asked
//! it to, as a kernel's does.
//!
//! # Safety
//! Takes memory that is lent until a completion names it ([`Shelf::push`]).
//!
//! Tests: pieces_come_in_order_and_each_in_the_buffer_that_was_lent_first, a_lent_buffer_that_is_written_to_is_found
#![allow(unsafe_code, reason = "hands on the contract of lent buffers")]

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use safer_ring_sys::Errno;

use super::files::{Kind, Try};
use super::kernel::{Effect, Flight, Kernel, Machine};
use super::lent::Lent;
use super::ops::{POLLERR, POLLHUP, POLLIN};

/// A buffer that somebody may receive into.
#[derive(Debug)]
struct Spare {
    bid: u16,
    lent: Lent,
}

/// The buffers of a ring, as its kernel knows them.
#[derive(Debug)]
pub(super) struct Group {
    number: u16,
    /// Those that nobody has picked, in the order in which they were lent.
    spares: VecDeque<Spare>,
    /// The numbers of all that are lent: no completion has named them yet.
    lent: BTreeSet<u16>,
}

impl Group {
    /// The memory that nobody has picked.
    pub(super) fn into_spares(self) -> Vec<Lent> {
        self.spares.into_iter().map(|spare| spare.lent).collect()
    }
}

/// What of a receive is not in its completions.
#[derive(Debug, Default)]
pub(super) struct Many {
    /// It has looked at the socket, and does so again when something is there.
    pub(super) begun: bool,
    /// When its last completion is due: none overtakes another one.
    pub(super) told: u64,
    /// The buffer of this completion.
    pub(super) picked: Option<u16>,
    /// Another completion follows this one.
    pub(super) more: bool,
}

/// The buffers of a ring, as its program lends them.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// Not the world itself: buffers may be leaked, a world must not be.
    machine: Weak<Machine>,
    ring: usize,
    fresh: Vec<Spare>,
}

impl Shelf {
    /// The group of this number, for one ring. It has no other.
    pub(super) fn new(machine: &Arc<Machine>, ring: usize, number: u16) -> Self {
        machine.lock().add_group(ring, number);
        Self { machine: Arc::downgrade(machine), ring, fresh: Vec::new() }
    }

    /// Lends a buffer of `len` bytes. It may be picked after the next [`Shelf::publish`].
    ///
    /// # Safety
    /// The memory is the kernel's until a completion names `bid`; for good, if the ring goes while a receive is armed.
    pub(crate) unsafe fn push(&mut self, memory: *mut u8, len: u32, bid: u16) {
        // SAFETY: the contract is the same.
        let lent = unsafe { Lent::spare(memory, super::narrow(len.into())) };
        self.fresh.push(Spare { bid, lent });
    }

    pub(crate) fn publish(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(machine) = self.machine.upgrade() {
            machine.lock().lend(self.ring, fresh);
        }
    }
}

/// What has arrived, and the buffer for it.
type Piece = (Spare, Vec<u8>);

impl Kernel {
    fn add_group(&mut self, ring: usize, number: u16) {
        if let Some(place) = self.group_of(ring) {
            *place = Some(Group { number, spares: VecDeque::new(), lent: BTreeSet::new() });
        }
    }

    fn lend(&mut self, ring: usize, fresh: Vec<Spare>) {
        let count = fresh.len();
        let Some(Some(group)) = self.group_of(ring) else { return };
        let twice = fresh.iter().map(|spare| spare.bid).find(|bid| !group.lent.insert(*bid));
        group.spares.extend(fresh);
        self.note(format_args!("ring {ring} is lent {count} buffers"));
        if let Some(bid) = twice {
            self.find(format!("buffer {bid} of ring {ring} is lent twice"));
        }
    }

    /// A completion names a buffer: it is the program's again.
    pub(super) fn give_back(&mut self, ring: usize, bid: u16) {
        if let Some(Some(group)) = self.group_of(ring) {
            group.lent.remove(&bid);
        }
    }

    /// Receives all that has arrived, a completion for each piece; the last one is the result. `None`: it waits for more.
    pub(super) fn receive_many(&mut self, flight: &mut Flight, group: u16) -> Try<Effect> {
        loop {
            let piece = self.receive_piece(flight, group);
            flight.many.begun = true;
            let (Spare { bid, lent }, data) = match piece? {
                Ok(Some(piece)) => piece,
                Ok(None) => return Some(Ok(Effect::of(0))),
                Err(errno) => return Some(Err(errno)),
            };
            let effect = Effect { data, ..Effect::default() };
            let effect = Effect { res: super::result(effect.data.len()), ..effect };
            if self.rng.chance(self.config.multishot_ends) {
                self.note(format_args!("#{} ends with buffer {bid}, unasked", flight.id));
                flight.many.picked = Some(bid);
                flight.lent = lent;
                return Some(Ok(effect));
            }
            // A completion that does not fit into the queue is the last one of its receive.
            if self.rng.chance(self.config.overflows) || self.is_crowded(flight.ring) {
                self.note(format_args!("#{} ends with buffer {bid}, for lack of room", flight.id));
                flight.many.picked = Some(bid);
                flight.lent = lent;
                return Some(Ok(effect));
            }
            self.tell(flight, (bid, lent), effect);
        }
    }

    /// A part of what has arrived. No part: there will not be any more.
    fn receive_piece(&mut self, flight: &Flight, group: u16) -> Try<Option<Piece>> {
        let id = match self.opened(flight.fd).map(|open| open.kind) {
            Ok(Kind::Socket(id)) => id,
            Ok(_) => return Some(Err(Errno::NOTSOCK)),
            Err(errno) => return Some(Err(errno)),
        };
        let arrived = self.socket_events(id) & (POLLIN | POLLHUP | POLLERR) != 0;
        if !arrived && flight.many.begun {
            return None;
        }
        if arrived && let Some(errno) = self.fault_of(flight) {
            self.note(format_args!("#{} {} suffers {errno}", flight.id, flight.name));
            return Some(Err(errno));
        }
        // The buffer comes first: without one there is neither a look at the socket nor a wait.
        let Some(room) = self.spare_room(flight.ring, group) else {
            self.note(format_args!("#{} finds no buffer", flight.id));
            return Some(Err(Errno::NOBUFS));
        };
        if arrived && self.rng.chance(self.config.no_buffers) {
            self.note(format_args!("#{} is given no buffer", flight.id));
            return Some(Err(Errno::NOBUFS));
        }
        let received = if self.is_message_socket(id) {
            self.receive_message(id, room, 0)?.map(|effect| effect.data)
        } else {
            self.receive_stream(id, room, 0)?
        };
        Some(received.map(|data| {
            let spare = if data.is_empty() { None } else { self.pick(flight.ring) };
            spare.map(|spare| (spare, data))
        }))
    }

    /// Bytes that the next buffer has room for.
    fn spare_room(&mut self, ring: usize, number: u16) -> Option<usize> {
        let group = self.group_of(ring)?.as_ref().filter(|group| group.number == number)?;
        group.spares.front().map(|spare| spare.lent.room())
    }

    fn pick(&mut self, ring: usize) -> Option<Spare> {
        self.group_of(ring)?.as_mut()?.spares.pop_front()
    }
}
