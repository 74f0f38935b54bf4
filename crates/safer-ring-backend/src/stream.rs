//! What a descriptor keeps for its next operation: what arrived for futures that are gone.
//!
//! * A **taker** is a receive, a read at the cursor, or an accept, whose future was dropped while the kernel had it. It
//!   stays armed, which costs no system call; what it takes in becomes an [`Item`] here, before anybody asks
//!   whether the future lives. The next operation of its kind takes items first, in order, then waits while
//!   a taker is armed, and only then goes to the kernel. One that is there already is nudged by the driver: it ends, and
//!   asks here.
//! * A **giver** is a send or a write at the cursor whose future was dropped. It runs to its end; later ones
//!   wait for it, so bytes keep their order. Its error is kept for the next one, or for the next shutdown or
//!   sync, or for the close. Positional writes and syncs go on in the background: only a sync or a settle waits for
//!   them. One that waits for a giver when its own future is dropped is queued here, and follows it; what would be
//!   written behind a giver that failed is given up, since bytes that follow a hole are worse than missing ones.
//! * A stream may be **given up** ([`Stream::give_up`]): nothing waits in it any more, and whatever loses its future from
//!   then on is cancelled.
//!
//! The operations ask here only if the descriptor is marked for their side of the stream, which one load tells.
//!
//! # Safety
//! An item refers to memory that a lease owns and that the kernel is done with: it is made from the final completion
//! of the operation that the memory was lent to.
//!
//! Tests: a_dropped_receive_before_while_and_after_data_arrives, a_smaller_buffer_takes_a_part
#![allow(unsafe_code, reason = "reads what the kernel wrote into a lease")]

mod waiters;

use std::collections::VecDeque;
use std::slice;
use std::task::Waker;
use std::time::Duration;

use safer_ring_buf::{IoBuf, Lease, PooledBuffer};
use safer_ring_core::{CURSOR, Key, Op};
use safer_ring_sys::Errno;

use crate::adopt::Descriptor;
use crate::error::Failure;
use crate::payload::{ERRQUEUE, OOB, PEEK};
use waiters::Waiters;

/// Buffers that a multishot receive takes in before anybody asks for them; then it ends, until somebody does. What the
/// peer sends meanwhile waits in the socket, and holds the peer back.
const MOST_AHEAD: usize = 32;

const POLLIN: u32 = 1;

/// What an operation has to do with a descriptor's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes bytes out of it.
    Take,
    /// Looks at bytes without taking them.
    Peek,
    /// Takes a connection out of it.
    Accept,
    /// Asks whether there is something to take.
    Ready,
    /// Takes bytes out of it without memory to put them in (splice, tee).
    Drain,
    /// Puts bytes into it.
    Give,
    /// Writes beside it, at a position.
    Beside,
    /// Waits for all that was given.
    Sync,
}

impl Role {
    /// The role of an operation on its descriptor.
    pub(crate) fn of(op: &Op) -> Option<Self> {
        match *op {
            Op::Read { offset: CURSOR } | Op::ReadVectored { offset: CURSOR, .. } => {
                Some(Self::Take)
            }
            Op::Recv { flags } | Op::RecvMsg { flags } => match flags {
                _ if flags & (ERRQUEUE | OOB) != 0 => None,
                _ if flags & PEEK != 0 => Some(Self::Peek),
                _ => Some(Self::Take),
            },
            Op::RecvMulti { .. } => Some(Self::Take),
            Op::Accept { .. } => Some(Self::Accept),
            Op::Poll { events } if events & POLLIN != 0 => Some(Self::Ready),
            Op::Splice { .. } | Op::Tee { .. } => Some(Self::Drain),
            Op::Write { offset: CURSOR }
            | Op::WriteVectored { offset: CURSOR, .. }
            | Op::Send { .. }
            | Op::SendMsg { .. } => Some(Self::Give),
            Op::Write { .. } | Op::WriteVectored { .. } => Some(Self::Beside),
            Op::Fsync { .. } => Some(Self::Sync),
            Op::Shutdown { how } if how != 0 => Some(Self::Sync),
            _ => None,
        }
    }
}

/// The sides of a stream: what takes out of it, and what puts into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "part of a hidden method")]
pub struct Sides(pub(crate) u8);

impl Sides {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const TAKES: Self = Self(1);
    pub(crate) const GIVES: Self = Self(2);
    pub(crate) const BOTH: Self = Self(3);

    /// Whether they have one in common.
    #[inline(always)]
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Something that arrived for a future that is gone.
#[derive(Debug)]
#[allow(unnameable_types, reason = "part of a sealed trait")]
pub struct Item {
    pub(crate) load: Load,
    /// Bytes of it that have been handed out.
    from: usize,
}

/// What an [`Item`] holds.
#[derive(Debug)]
pub(crate) enum Load {
    /// So many bytes at the start of a lease. None of them: the end of the stream, or an empty datagram.
    Lent(Lease, usize),
    /// Bytes in memory of our own.
    Own(Vec<u8>),
    /// What a multishot receive has taken in at a time.
    Picked(PooledBuffer),
    /// A message, in the state of its operation; so many bytes.
    Message(Lease, usize),
    /// A connection, and the address of its peer as the operation's state holds it.
    Connection(Descriptor, Lease),
    /// The error that a receive ended with.
    Error(Errno),
}

impl Item {
    pub(crate) fn new(load: Load) -> Self {
        Self { load, from: 0 }
    }

    /// The bytes that have not been handed out yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        let all = match &self.load {
            Load::Own(bytes) => bytes.as_slice(),
            Load::Picked(buffer) => buffer,
            Load::Lent(lease, count) => written(lease, *count),
            Load::Message(state, count) => crate::payload::message_bytes(state, *count),
            Load::Connection(..) | Load::Error(_) => &[],
        };
        all.get(self.from..).unwrap_or_default()
    }

    /// Whether part of it has been handed out.
    pub(crate) fn is_begun(&self) -> bool {
        self.from > 0
    }

    /// The memory in it, without what else there is, which is dropped here.
    pub(crate) fn into_lease(self) -> Lease {
        match self.load {
            Load::Lent(lease, _) | Load::Message(lease, _) | Load::Connection(_, lease) => lease,
            Load::Picked(buffer) => buffer.lend().0,
            Load::Own(_) | Load::Error(_) => Lease::empty(),
        }
    }
}

/// Whether an error of a dropped receive is for the next one: it is about the connection, which tells it once. All
/// others are about the call, and the next meets its own.
pub(crate) fn is_news(errno: Errno) -> bool {
    const ABOUT_THE_CONNECTION: [i32; 11] = [
        libc::ECONNRESET,
        libc::ECONNREFUSED,
        libc::ECONNABORTED,
        libc::ETIMEDOUT,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::ENETDOWN,
        libc::EPIPE,
        libc::EPROTO,
        libc::EIO,
    ];
    ABOUT_THE_CONNECTION.contains(&errno.raw_os_error())
}

/// The bytes that the kernel wrote into `lease`: the first `count`.
pub(crate) fn written(lease: &Lease, count: usize) -> &[u8] {
    let count = count.min(lease.capacity());
    if count == 0 {
        return &[];
    }
    // SAFETY: the lease owns `capacity` bytes at `ptr`, the kernel has written the first `count` of them (read(2),
    // recv(2)) and is done with them; nobody else has the lease.
    unsafe { slice::from_raw_parts(lease.ptr(), count) }
}

/// A taker: the kernel ring it is in, as far as known, and its name there.
type Taker<H> = (Option<H>, Key);

/// What a descriptor keeps. `H` leads to a kernel ring.
///
/// What each receive of a stream looks at stands together, at the start: with a thousand connections all of it is cold when
/// something arrives.
#[derive(Debug)]
#[repr(C)]
#[allow(unnameable_types, reason = "part of a hidden method")]
pub struct Stream<H> {
    items: VecDeque<Item>,
    /// Who is to look again when something changes, by its ticket.
    waiters: Waiters,
    takers: Vec<Taker<H>>,
    givers: u32,
    /// Positional writes and syncs without owners.
    beside: u32,
    /// What waited for them when its future was dropped, in order: it runs all the same.
    queue: VecDeque<(Role, Op, Lease)>,
    /// The error of a giver that nobody has been told of.
    fault: Option<Failure>,
    last_ticket: Ticket,
    /// How long a giver may take from when its future is gone.
    limit: Option<Duration>,
    /// Nothing is to be given any more.
    given_up: bool,
}

/// What an operation that waits is known by here, so that it can leave when it is dropped.
pub(crate) type Ticket = u32;

/// The operation does not wait.
pub(crate) const NO_TICKET: Ticket = 0;
/// It waits and has not asked yet.
pub(crate) const WAITS: Ticket = 1;
/// It waits for the second of its descriptors, where it has no ticket of its own.
const NAMELESS: Ticket = 2;

impl<H> Default for Stream<H> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            waiters: Waiters::default(),
            takers: Vec::new(),
            givers: 0,
            beside: 0,
            queue: VecDeque::new(),
            fault: None,
            last_ticket: NAMELESS,
            limit: None,
            given_up: false,
        }
    }
}

/// What was in a stream that is given up.
#[derive(Debug)]
pub(crate) struct GivenUp<H> {
    pub(crate) items: VecDeque<Item>,
    pub(crate) takers: Vec<Taker<H>>,
    pub(crate) queue: VecDeque<(Role, Op, Lease)>,
    pub(crate) wakers: Vec<Waker>,
}

/// What an operation on a marked descriptor is to do.
#[derive(Debug)]
pub(crate) enum Answer<H> {
    /// Go to the kernel.
    Go,
    /// Wait: its waker is kept. One that it replaces is dropped outside of any lock.
    Wait(Option<Waker>),
    /// Cancel these takers, and wait.
    Cancel(Vec<Taker<H>>),
    /// It is done, with this result. What is spent is dropped outside of any lock.
    Served(u32, Option<Item>),
    /// It has failed.
    Fail(Failure),
}

/// What a descriptor has for a stream of receives.
#[derive(Debug)]
pub(crate) enum Next {
    /// What arrived.
    Buffer(PooledBuffer),
    /// Nothing yet, and a receive is armed: the waker is kept, as in [`Answer::Wait`].
    Wait(Option<Waker>),
    /// Nothing, and none is armed.
    Arm,
    /// Something that an ordinary receive is to take.
    Other,
}

/// What becomes of a send or sync that waited when its future was dropped.
#[derive(Debug)]
pub(crate) enum Follow {
    /// It runs behind what it waited for.
    Queued,
    /// There is nothing left to wait for.
    Now(Lease),
    /// It must not run, since what it was to follow has failed; or need not, since another does its work.
    Never(Lease),
}

impl<H> Stream<H> {
    /// Which operations have to ask.
    pub(crate) fn marks(&self) -> Sides {
        let takes = !self.items.is_empty() || !self.takers.is_empty();
        let runs = self.givers > 0 || self.beside > 0;
        let gives = runs || !self.queue.is_empty() || self.fault.is_some() || self.given_up;
        match (takes, gives) {
            (false, false) => Sides::NONE,
            (true, false) => Sides::TAKES,
            (false, true) => Sides::GIVES,
            (true, true) => Sides::BOTH,
        }
    }

    /// Asks for an operation. `fill` puts (part of) an item into its memory and gives the result; `keeps_rest` tells
    /// whether what does not fit stays for the next.
    pub(crate) fn ask(
        &mut self,
        role: Role,
        (waker, ticket): (&Waker, &mut Ticket),
        keeps_rest: impl FnOnce() -> bool,
        fill: impl FnOnce(&mut Item) -> u32,
    ) -> Answer<H> {
        match role {
            Role::Take | Role::Peek | Role::Accept if self.items.is_empty() => {
                if self.takers.is_empty() { Answer::Go } else { self.wait(waker, ticket) }
            }
            Role::Take | Role::Peek | Role::Accept => self.take(role, keeps_rest, fill),
            Role::Ready if !self.items.is_empty() => Answer::Served(POLLIN, None),
            Role::Drain if !self.items.is_empty() => Answer::Fail(Failure::Unreceived),
            Role::Ready | Role::Drain => self.without_takers(waker, ticket),
            Role::Give if self.given_up => Answer::Fail(Failure::GivenUp),
            Role::Give => self.after_givers(waker, ticket, self.givers),
            Role::Sync => self.after_givers(waker, ticket, self.givers + self.beside),
            Role::Beside => Answer::Go,
        }
    }

    /// [`Stream::ask`] for the descriptor that a splice writes to.
    pub(crate) fn ask_target(&mut self, waker: &Waker) -> Answer<H> {
        if self.given_up {
            return Answer::Fail(Failure::GivenUp);
        }
        self.after_givers(waker, &mut { NAMELESS }, self.givers)
    }

    fn take(
        &mut self,
        role: Role,
        keeps_rest: impl FnOnce() -> bool,
        fill: impl FnOnce(&mut Item) -> u32,
    ) -> Answer<H> {
        let Some(item) = self.items.front_mut() else { return Answer::Go };
        if matches!(item.load, Load::Connection(..)) != (role == Role::Accept) {
            // A receive on a listener, or the like: the kernel's answer.
            return Answer::Go;
        }
        if let Load::Error(errno) = item.load {
            if role != Role::Peek {
                self.pop_item();
            }
            return Answer::Fail(Failure::Os(errno));
        }
        let there = item.bytes().len();
        let count = fill(item);
        if role == Role::Peek {
            return Answer::Served(count, None);
        }
        let moved = usize::try_from(count).unwrap_or(usize::MAX);
        if role == Role::Take && moved < there && keeps_rest() {
            item.from += moved;
            return Answer::Served(count, None);
        }
        Answer::Served(count, self.pop_item())
    }

    /// Takes out the first item.
    #[inline]
    fn pop_item(&mut self) -> Option<Item> {
        let item = self.items.pop_front();
        if self.items.is_empty() {
            // Back to the start of its memory: one item after the other lies in the same place.
            self.items.clear();
        }
        item
    }

    /// Takes what has arrived, whole.
    pub(crate) fn next_buffer(&mut self, waker: &Waker, ticket: &mut Ticket) -> Next {
        let Some(item) = self.items.front() else {
            if self.takers.is_empty() {
                return Next::Arm;
            }
            let Answer::Wait(old) = self.wait(waker, ticket) else { return Next::Other };
            return Next::Wait(old);
        };
        if item.is_begun() || !matches!(item.load, Load::Picked(_)) {
            return Next::Other;
        }
        match self.pop_item().map(|item| item.load) {
            Some(Load::Picked(buffer)) => Next::Buffer(buffer),
            _ => Next::Other,
        }
    }

    /// For who is told elsewhere of what arrives: it is told of what is put here as well. Gives whether there is something already,
    /// and the waker that this one replaces.
    pub(crate) fn listen(&mut self, waker: &Waker, ticket: &mut Ticket) -> (bool, Option<Waker>) {
        let there = !self.items.is_empty() || !self.takers.is_empty();
        let Answer::Wait(old) = self.wait(waker, ticket) else { return (there, None) };
        (there, old)
    }

    /// Whether so much waits that no more is to be taken in ahead of it.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= MOST_AHEAD
    }

    fn after_givers(&mut self, waker: &Waker, ticket: &mut Ticket, running: u32) -> Answer<H> {
        if running > 0 || !self.queue.is_empty() {
            return self.wait(waker, ticket);
        }
        self.fault.take().map_or(Answer::Go, Answer::Fail)
    }

    fn wait(&mut self, waker: &Waker, ticket: &mut Ticket) -> Answer<H> {
        if *ticket < NAMELESS {
            self.last_ticket = self.last_ticket.checked_add(1).unwrap_or(NAMELESS + 1);
            *ticket = self.last_ticket;
        }
        let same = |other: Ticket, old: &Waker| {
            other == *ticket && (*ticket != NAMELESS || old.will_wake(waker))
        };
        match self.waiters.find_mut(same) {
            Some(old) if old.will_wake(waker) => Answer::Wait(None),
            Some(old) => Answer::Wait(Some(std::mem::replace(old, waker.clone()))),
            None => {
                self.waiters.push(*ticket, waker.clone());
                Answer::Wait(None)
            }
        }
    }

    /// The operation with this ticket does not wait any more. Its waker is for the caller to drop.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.waiters.remove(ticket)
    }

    /// Goes on when no taker is armed: they are cancelled.
    fn without_takers(&mut self, waker: &Waker, ticket: &mut Ticket) -> Answer<H> {
        if self.takers.is_empty() {
            return Answer::Go;
        }
        let waits = self.wait(waker, ticket);
        if self.takers.iter().all(|(home, _)| home.is_none()) {
            // Asked for already.
            return waits;
        }
        // They stay on the list until their completions have been seen.
        let takers = self.takers.iter_mut().map(|(home, key)| (home.take(), *key)).collect();
        Answer::Cancel(takers)
    }

    /// Goes on when nothing of dropped futures runs any more; then gives the error that nobody has been told of.
    pub(crate) fn settle(&mut self, waker: &Waker, ticket: &mut Ticket) -> Answer<H> {
        match self.without_takers(waker, ticket) {
            Answer::Go => self.after_givers(waker, ticket, self.givers + self.beside),
            waits => waits,
        }
    }

    /// A taker has lost its future. Tells whether it is the only one: more than one is of no use to the next operation.
    pub(crate) fn taker_begins(&mut self, home: Option<H>, key: Key) -> bool {
        self.takers.push((home, key));
        self.takers.len() == 1 && !self.given_up
    }

    /// A taker has ended, with what it took in. Tells whether somebody waits for that.
    pub(crate) fn taker_ends(
        &mut self,
        key: Key,
        same: impl Fn(&H) -> bool,
        item: Option<Item>,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let mine = |(home, other): &Taker<H>| *other == key && home.as_ref().is_none_or(&same);
        if let Some(at) = self.takers.iter().position(mine) {
            self.takers.swap_remove(at);
        }
        self.put(item, wakers)
    }

    /// Keeps what arrived behind all that is there. Tells whether somebody waits for it.
    pub(crate) fn put(&mut self, item: Option<Item>, wakers: &mut Vec<Waker>) -> bool {
        // Pushed one by one, here and in `wake`: what the general ways do for many costs more than a receive of one.
        if let Some(item) = item {
            self.items.push_back(item);
        }
        let awaited = !self.waiters.is_empty();
        self.wake(wakers);
        awaited
    }

    /// Gives bytes back: the next receive begins with them.
    pub(crate) fn unread(&mut self, bytes: Vec<u8>) -> Vec<Waker> {
        self.items.push_front(Item::new(Load::Own(bytes)));
        let mut wakers = Vec::new();
        self.wake(&mut wakers);
        wakers
    }

    /// Hands out who is to look again.
    pub(crate) fn wake(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(waker) = self.waiters.pop() {
            wakers.push(waker);
        }
    }

    /// Bytes that wait.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes().len()).sum()
    }

    /// What waits, for the caller to drop.
    pub(crate) fn take_items(&mut self) -> VecDeque<Item> {
        std::mem::take(&mut self.items)
    }

    /// A giver has lost its future, or one that writes beside the stream.
    pub(crate) fn giver_begins(&mut self, role: Role) {
        match role {
            Role::Give => self.givers += 1,
            _ => self.beside += 1,
        }
    }

    /// It has ended.
    pub(crate) fn giver_ends(
        &mut self,
        role: Role,
        fault: Option<Failure>,
        wakers: &mut Vec<Waker>,
    ) {
        let running = if role == Role::Give { &mut self.givers } else { &mut self.beside };
        *running = running.saturating_sub(1);
        // How what was given up has ended is no news.
        self.blame(fault.filter(|_| !self.given_up));
        self.wake(wakers);
    }

    /// Takes over a send or sync that waited when its future was dropped.
    pub(crate) fn enqueue(&mut self, role: Role, op: Op, lease: Lease) -> Follow {
        if let (Op::Fsync { datasync }, Some((_, Op::Fsync { datasync: both }, _))) =
            (op, self.queue.back_mut())
        {
            // Neither has begun, and both come after the same writes.
            *both &= datasync;
            return Follow::Never(lease);
        }
        if !self.queue.is_empty() || self.is_busy_for(role) {
            self.queue.push_back((role, op, lease));
            return Follow::Queued;
        }
        if self.is_torn_for(role) { Follow::Never(lease) } else { Follow::Now(lease) }
    }

    /// Whether bytes before it are missing, of which nobody has been told: what follows them must not be written.
    fn is_torn_for(&self, role: Role) -> bool {
        role == Role::Give && (self.fault.is_some() || self.given_up)
    }

    /// Whether something of dropped futures is on its way out, or waits to be.
    pub(crate) fn is_giving(&self) -> bool {
        self.givers > 0 || self.beside > 0 || !self.queue.is_empty()
    }

    fn is_busy_for(&self, role: Role) -> bool {
        self.givers > 0 || (role != Role::Give && self.beside > 0)
    }

    /// The next of those, once it may run, and whether it is to run; then it counts as begun.
    pub(crate) fn dequeue(&mut self) -> Option<(Op, Lease, bool)> {
        let (role, ..) = self.queue.front()?;
        if self.is_busy_for(*role) {
            return None;
        }
        let (role, op, lease) = self.queue.pop_front()?;
        let runs = !self.is_torn_for(role);
        if runs {
            self.giver_begins(role);
        }
        Some((op, lease, runs))
    }

    /// The error that nobody has been told of.
    pub(crate) fn take_fault(&mut self) -> Option<Failure> {
        self.fault.take()
    }

    /// Gives up what waits: the kernel ring that would have run it is gone.
    pub(crate) fn give_up_queue(&mut self, fault: Failure) -> VecDeque<(Role, Op, Lease)> {
        if !self.queue.is_empty() {
            self.blame(Some(fault));
        }
        std::mem::take(&mut self.queue)
    }

    /// From now on nothing is to be given, and what loses its future is to be cancelled. What was kept and what waited is for
    /// the caller to drop, the takers are for it to cancel, and who waits is to look again.
    pub(crate) fn give_up(&mut self) -> GivenUp<H> {
        self.given_up = true;
        self.fault = None;
        let (items, takers) = self.abandon();
        let queue = std::mem::take(&mut self.queue);
        let mut wakers = Vec::new();
        self.wake(&mut wakers);
        GivenUp { items, takers, queue, wakers }
    }

    /// Whether it was.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// How long a giver may take.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Says how long a giver may take that loses its future from now on.
    pub(crate) fn set_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
    }

    /// Keeps an error, if there is not an earlier one.
    pub(crate) fn blame(&mut self, fault: Option<Failure>) {
        self.fault = self.fault.or(fault);
    }

    /// The last handle is gone: nobody will take anything any more. What was kept is for the caller to drop, and
    /// the takers are for it to cancel.
    pub(crate) fn abandon(&mut self) -> (VecDeque<Item>, Vec<Taker<H>>) {
        let takers = self.takers.iter_mut().map(|(home, key)| (home.take(), *key)).collect();
        (std::mem::take(&mut self.items), takers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_lies_behind_what_is_there() {
        let mut stream = Stream::<()>::default();
        let mut wakers = Vec::new();
        let bytes = |text: &str| Load::Own(text.as_bytes().to_vec());
        for text in ["first", "second"] {
            assert!(!stream.put(Some(Item::new(bytes(text))), &mut wakers), "nobody waits");
        }
        assert!(stream.unread(b"unread".to_vec()).is_empty());
        let kept: Vec<Vec<u8>> =
            stream.take_items().iter().map(|item| item.bytes().to_vec()).collect();
        assert_eq!(kept, [b"unread".to_vec(), b"first".to_vec(), b"second".to_vec()]);
    }
}
