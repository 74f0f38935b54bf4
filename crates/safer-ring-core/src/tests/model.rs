//! What the table should do, written down a second time: lists searched from end to end in place
//! of links, plain fields in place of bits, and no slots at all.

use std::vec::Vec;

use crate::slot::MOST_TRIES;
use crate::{Completion, Group, Key, Limits, Op, Phase, StateView, Stats};

pub(crate) const ECANCELED: i32 = -125;
/// What each member of a chain has to move.
pub(crate) const WANTED: i32 = 7;

/// The kinds of operation a script uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Stays in the kernel when dropped; waits when the descriptor is not ready.
    Recv,
    /// Cancelled when dropped; waits when the descriptor is not ready.
    Peek,
    /// Finishes when dropped; waits when the descriptor is not ready.
    Send,
    /// Finishes when dropped; never waits.
    Fsync,
    /// Finishes when dropped; never tried twice.
    Close,
    /// Cancelled when dropped; never tried twice.
    Raw,
    /// Not for the kernel.
    Timer,
}

impl Kind {
    pub(crate) fn op(self) -> Op {
        match self {
            Kind::Recv => Op::Recv { flags: 0 },
            Kind::Peek => Op::Recv { flags: 2 },
            Kind::Send => Op::Send { flags: 0 },
            Kind::Fsync => Op::Fsync { datasync: false },
            Kind::Close => Op::Close { fd: 3 },
            Kind::Raw => Op::Raw,
            Kind::Timer => Op::Timeout,
        }
    }

    fn cancelled_when_dropped(self) -> bool {
        matches!(self, Kind::Peek | Kind::Raw | Kind::Timer)
    }

    fn runs_when_dropped(self) -> bool {
        matches!(self, Kind::Send | Kind::Fsync | Kind::Close)
    }

    pub(crate) fn waits_for(self) -> Option<u32> {
        match self {
            Kind::Recv | Kind::Peek => Some(1),
            Kind::Send => Some(4),
            _ => None,
        }
    }

    /// Whether the kernel goes on behind it when it has failed.
    fn fails_unseen(self) -> bool {
        self == Kind::Fsync
    }

    fn tried_again(self) -> bool {
        matches!(self, Kind::Recv | Kind::Peek | Kind::Send | Kind::Fsync)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Queued {
        poll: bool,
    },
    Kernel {
        poll: bool,
    },
    Armed {
        deadline: u64,
    },
    /// A member of a chain that has come back undone.
    Held {
        res: i32,
        flags: u32,
        poll: bool,
    },
    Done {
        res: i32,
        flags: u32,
    },
    Gone,
}

/// Where the request to cancel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    No,
    Queued,
    Kernel,
}

/// One operation; its place in the list of operations is also the number of its token.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) owner: bool,
    pub(crate) asked: bool,
    pub(crate) ask: Ask,
    /// Members after it in its chain, for members of a chain.
    pub(crate) following: Option<u16>,
    /// The first member that its chain ever had, until it leaves the chain or that ends.
    chain: Option<usize>,
    /// What it has to move for the chain to go on.
    wanted: Option<i32>,
    /// The one in front may have failed although it looks well.
    doubtful: bool,
    /// The kernel has never had it.
    fresh: bool,
    more: Option<i32>,
    unpollable: bool,
    /// Interruptions since it was last found not ready.
    tries: i32,
    /// How often it was not ready.
    waits: u32,
    pub(crate) waker: Option<usize>,
    pub(crate) group: Option<u32>,
}

impl Record {
    pub(crate) fn in_kernel(&self) -> bool {
        matches!(self.place, Place::Kernel { .. })
    }

    /// Whether the table has its token.
    pub(crate) fn in_table(&self) -> bool {
        self.place != Place::Gone
    }

    /// Milliseconds to wait before it is tried again: after the second time that it was not ready, and then after
    /// every second time, 1, 2, 4 and so on up to 32.
    pub(crate) fn pause(&self) -> Option<u32> {
        let pauses = self.waits / 2;
        (self.waits > 0 && self.waits.is_multiple_of(2))
            .then(|| [1, 2, 4, 8, 16, 32, 32][usize::try_from(pauses - 1).unwrap().min(6)])
    }

    pub(crate) fn uses_slot(&self) -> bool {
        self.in_table() || self.ask == Ask::Kernel
    }

    pub(crate) fn view(&self) -> Option<StateView> {
        let phase = match self.place {
            Place::Queued { .. } | Place::Held { .. } => Phase::Queued,
            Place::Kernel { poll: false } => Phase::InFlight,
            Place::Kernel { poll: true } => Phase::Polling,
            Place::Armed { .. } => Phase::Armed,
            Place::Done { .. } => Phase::Done,
            Place::Gone => return None,
        };
        let linked = self.following.is_some();
        Some(StateView { phase, orphaned: !self.owner, cancelling: self.asked, linked, since: 0 })
    }
}

/// What a call should have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Expect {
    Wake(Option<usize>),
    Retired(usize),
    Release { op: usize, res: i32, flags: u32 },
    More { op: usize, res: i32 },
    Requeued,
    CancelDone,
    Ignored,
}

/// What should be staged next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    Cancel(usize),
    Operation { op: usize, link: bool, poll: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    NotSubmitted,
    Running { cancelled: bool },
    Finished(Completion),
}

#[derive(Debug, Clone, Hash)]
pub(crate) struct Members {
    pub(crate) group: Group,
    pub(crate) serial: u32,
    pub(crate) waker: Option<usize>,
}

#[derive(Debug, Clone, Hash)]
pub(crate) struct Model {
    pub(crate) ops: Vec<Record>,
    pub(crate) queue: Vec<usize>,
    pub(crate) cancels: Vec<usize>,
    pub(crate) ready: Vec<Expect>,
    /// Members still to be staged of the chain whose head is in the kernel.
    pub(crate) chain_left: u32,
    /// First member and number of missing ones of the chain being inserted.
    pub(crate) open: Option<(usize, u16)>,
    pub(crate) internal: u32,
    pub(crate) group: Option<Members>,
    pub(crate) groups_made: u32,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            ops: Vec::new(),
            queue: Vec::new(),
            cancels: Vec::new(),
            ready: Vec::new(),
            chain_left: 0,
            open: None,
            internal: 0,
            group: None,
            groups_made: 0,
        }
    }

    fn count(&self, what: impl Fn(&Record) -> bool) -> u32 {
        u32::try_from(self.ops.iter().filter(|op| what(op)).count()).unwrap()
    }

    pub(crate) fn used(&self) -> u32 {
        self.count(Record::uses_slot)
    }

    pub(crate) fn orphans(&self) -> u32 {
        self.count(|op| op.in_table() && !op.owner)
    }

    pub(crate) fn asks_in_kernel(&self) -> u32 {
        self.count(|op| op.ask == Ask::Kernel)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.count(Record::in_kernel) + self.asks_in_kernel() + self.internal
    }

    /// Whether an operation may go to the kernel without waiting in the queue.
    pub(crate) fn may_go_at_once(&self, limits: Limits) -> bool {
        self.queue.is_empty()
            && self.cancels.is_empty()
            && self.in_flight() < limits.operations()
            && self.used() < limits.max_slots
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if !self.ready.is_empty() {
            return Some(0);
        }
        self.first_timer().map(|(deadline, _)| deadline)
    }

    fn first_timer(&self) -> Option<(u64, usize)> {
        let armed = self.ops.iter().enumerate().filter_map(|(op, record)| match record.place {
            Place::Armed { deadline } => Some((deadline, op)),
            _ => None,
        });
        armed.min()
    }

    pub(crate) fn insert(&mut self, kind: Kind, key: Key, place: Place, following: Option<u16>) {
        self.ops.push(Record {
            key,
            kind,
            place,
            owner: true,
            asked: false,
            ask: Ask::No,
            following,
            chain: None,
            wanted: following.map(|_| WANTED),
            doubtful: false,
            fresh: false,
            more: None,
            unpollable: false,
            tries: 0,
            waits: 0,
            waker: None,
            group: None,
        });
        let op = self.ops.len() - 1;
        if matches!(place, Place::Queued { .. }) {
            self.queue.push(op);
        }
        if let Some(following) = following {
            let head = self.open.map_or(op, |(head, _)| head);
            self.open = (following > 0).then_some((head, following));
            self.ops[op].chain = Some(head);
            if following == 0 {
                self.split(head);
            }
        }
    }

    pub(crate) fn stage(&mut self, room: u32, limits: Limits, stats: &mut Stats) -> Next {
        let next = self.next(room, limits);
        match next {
            Next::Nothing => return next,
            Next::Cancel(op) => {
                self.cancels.remove(0);
                self.ops[op].ask = Ask::Kernel;
            }
            Next::Operation { op, poll, .. } => {
                self.queue.remove(0);
                let following = u32::from(self.ops[op].following.unwrap_or(0));
                self.chain_left = if self.chain_left > 0 { self.chain_left - 1 } else { following };
                self.ops[op].place = Place::Kernel { poll };
                if self.ops[op].asked && self.ops[op].kind != Kind::Close {
                    self.ops[op].ask = Ask::Queued;
                    self.cancels.push(op);
                }
            }
        }
        stats.staged += 1;
        next
    }

    fn next(&self, room: u32, limits: Limits) -> Next {
        if room == 0 {
            return Next::Nothing;
        }
        if let Some(&op) = self.cancels.first()
            && self.chain_left == 0
            && (self.in_flight() < limits.max_in_flight || self.asks_in_kernel() == 0)
        {
            return Next::Cancel(op);
        }
        let Some(&op) = self.queue.first() else { return Next::Nothing };
        let following = self.ops[op].following.unwrap_or(0);
        let entries = u32::from(following) + 1;
        if self.chain_left == 0 {
            let complete = self.open.is_none_or(|(head, _)| head != op);
            let idle = self.in_flight() == self.internal;
            let counted = idle || self.in_flight() + entries <= limits.operations();
            if !complete || entries > room || !counted {
                return Next::Nothing;
            }
        }
        let poll = self.ops[op].place == Place::Queued { poll: true };
        Next::Operation { op, link: following > 0, poll }
    }

    pub(crate) fn complete(
        &mut self,
        op: usize,
        res: i32,
        flags: u32,
        stats: &mut Stats,
    ) -> Expect {
        let record = &mut self.ops[op];
        let polling = record.place == Place::Kernel { poll: true };
        if flags & 2 != 0 {
            if polling {
                stats.stale += 1;
                return Expect::Ignored;
            }
            record.more = Some(res);
            if record.asked {
                self.ask(op, stats);
            }
            return Expect::More { op, res };
        }
        if record.ask == Ask::Queued {
            record.ask = Ask::No;
            self.cancels.retain(|other| *other != op);
        }
        let nothing_done = match res {
            -4 => record.kind.tried_again(),
            -11 => record.kind.waits_for().is_some() && !record.unpollable,
            ECANCELED => record.kind.tried_again() && !record.asked,
            _ => false,
        } && (record.following.is_none() || record.chain.is_some())
            && record.more.is_none();
        if polling {
            if record.asked {
                return self.end(op, ECANCELED, 0, stats);
            }
            let paused = res == -62 && record.pause().is_some();
            record.unpollable |= res < 0 && res != ECANCELED && !paused;
            if record.chain.is_some() {
                return self.hold(op, (-11, flags), false, stats);
            }
            return self.requeue(op, false, stats);
        }
        if nothing_done {
            if record.asked {
                return self.end(op, ECANCELED, 0, stats);
            }
            if record.chain.is_some() {
                return self.hold(op, (res, flags), res == -11, stats);
            }
            if res == -11 {
                record.tries = 0;
                record.waits += 1;
                return self.requeue(op, true, stats);
            }
            record.tries += 1;
            if record.tries <= MOST_TRIES {
                return self.requeue(op, false, stats);
            }
        }
        let res = if flags & 8 != 0 { record.more.unwrap_or(res) } else { res };
        self.end(op, res, flags, stats)
    }

    /// The members of a chain, in order.
    fn chain(&self, chain: usize) -> Vec<usize> {
        (0..self.ops.len()).filter(|op| self.ops[*op].chain == Some(chain)).collect()
    }

    /// The kernel gets a chain up to the first member that it would not see fail.
    fn split(&mut self, head: usize) {
        let members = self.chain(head);
        let part = self.part(&members);
        for (op, following) in members[..part].iter().zip((0..part).rev()) {
            self.ops[*op].following = Some(following.try_into().unwrap());
        }
        for &op in &members[part..] {
            self.queue.retain(|queued| *queued != op);
            self.ops[op].fresh = true;
            self.ops[op].place = Place::Held { res: ECANCELED, flags: 0, poll: false };
        }
    }

    fn part(&self, members: &[usize]) -> usize {
        let last = members.iter().position(|op| self.ops[*op].kind.fails_unseen());
        last.map_or(members.len(), |last| last + 1)
    }

    fn is_held(&self, op: usize) -> bool {
        matches!(self.ops[op].place, Place::Held { .. })
    }

    fn hold(
        &mut self,
        op: usize,
        (res, flags): (i32, u32),
        poll: bool,
        stats: &mut Stats,
    ) -> Expect {
        self.ops[op].place = Place::Held { res, flags, poll };
        self.resume(self.ops[op].chain.unwrap(), stats);
        Expect::Requeued
    }

    /// The kernel has ended it, as a member of a chain or not.
    fn end(&mut self, op: usize, res: i32, flags: u32, stats: &mut Stats) -> Expect {
        let record = self.ops[op];
        let Some(chain) = record.chain else { return self.finish(op, res, flags, stats) };
        let members = self.chain(chain);
        let cancelled = res == ECANCELED;
        if cancelled && !record.asked && record.more.is_none() && members[0] != op {
            return self.hold(op, (res, flags), false, stats);
        }
        self.ops[op].chain = None;
        let (front, behind): (Vec<_>, Vec<_>) =
            members.into_iter().filter(|other| *other != op).partition(|other| *other < op);
        let goes_on = res >= 0 && record.wanted.is_none_or(|wanted| res >= wanted);
        if !cancelled {
            self.disperse(front, stats);
        }
        if !goes_on {
            self.disperse(behind, stats);
        } else if let Some(next) = behind.first() {
            self.ops[*next].doubtful = record.kind == Kind::Raw;
        }
        self.resume(chain, stats);
        self.finish(op, res, flags, stats)
    }

    /// These are no chain any more.
    fn disperse(&mut self, members: Vec<usize>, stats: &mut Stats) {
        for op in members {
            self.ops[op].chain = None;
            if let Place::Held { res, flags, .. } = self.ops[op].place {
                let expect = self.finish(op, res, flags, stats);
                self.announce(expect);
            }
        }
    }

    /// Where the first one of a chain is back, the chain ends, or begins again when all are.
    fn resume(&mut self, chain: usize, stats: &mut Stats) {
        let members = self.chain(chain);
        let Some(&first) = members.first() else { return };
        let record = self.ops[first];
        let Place::Held { res, poll, .. } = record.place else { return };
        let hopeless = !record.kind.tried_again() || (res == ECANCELED && record.doubtful);
        if res != -11 && hopeless && !record.fresh {
            return self.disperse(members, stats);
        }
        if !members.iter().all(|op| self.is_held(*op)) {
            return;
        }
        if poll {
            self.ops[first].following = Some(0);
            self.requeue(first, true, stats);
            return;
        }
        let part = self.part(&members);
        for (op, following) in members[..part].iter().zip((0..part).rev()) {
            self.ops[*op].following = Some(following.try_into().unwrap());
            self.ops[*op].fresh = false;
            self.requeue(*op, false, stats);
        }
    }

    fn requeue(&mut self, op: usize, poll: bool, stats: &mut Stats) -> Expect {
        stats.requeued += 1;
        self.ops[op].place = Place::Queued { poll };
        let head = self.open.and_then(|(head, _)| self.queue.iter().position(|at| *at == head));
        self.queue.insert(head.unwrap_or(self.queue.len()), op);
        Expect::Requeued
    }

    fn finish(&mut self, op: usize, res: i32, flags: u32, stats: &mut Stats) -> Expect {
        stats.completed += 1;
        let record = &mut self.ops[op];
        if res == ECANCELED {
            stats.cancelled += 1;
        } else if record.asked {
            stats.cancel_races += 1;
        }
        if !record.owner {
            record.place = Place::Gone;
            return Expect::Release { op, res, flags };
        }
        record.place = Place::Done { res, flags };
        let own = record.waker.take();
        let group = self.leave_group(op);
        if own.is_some() && group.is_some() {
            self.ready.push(Expect::Wake(group));
        }
        Expect::Wake(own.or(group))
    }

    /// The waker of the group, if `op` was the last member of the present one.
    fn leave_group(&mut self, op: usize) -> Option<usize> {
        let serial = self.ops[op].group.take()?;
        let last = self.ops.iter().all(|other| other.group != Some(serial));
        let members = self.group.as_mut().filter(|members| members.serial == serial)?;
        if last { members.waker.take() } else { None }
    }

    pub(crate) fn group_done(&self) -> bool {
        let serial = self.group.as_ref().map(|members| members.serial);
        self.ops.iter().all(|op| op.group.is_none() || op.group != serial)
    }

    pub(crate) fn join(&mut self, op: usize, serial: u32) {
        if self.ops[op].group == Some(serial) {
            return;
        }
        let waker = self.leave_group(op);
        self.ready.extend(waker.map(|waker| Expect::Wake(Some(waker))));
        self.ops[op].group = Some(serial);
    }

    pub(crate) fn orphan(&mut self, op: usize, stats: &mut Stats) -> Left {
        if let Some(waker) = self.ops[op].waker.take() {
            self.ready.push(Expect::Retired(waker));
        }
        if let Some(waker) = self.leave_group(op) {
            self.ready.push(Expect::Wake(Some(waker)));
        }
        let record = self.ops[op];
        let stays = match record.place {
            Place::Done { res, flags } => {
                self.ops[op].place = Place::Gone;
                return Left::Finished(Completion { res, flags });
            }
            Place::Kernel { .. } => true,
            Place::Queued { .. } => record.kind.runs_when_dropped() || self.expected_by_kernel(op),
            Place::Held { .. } => record.kind.runs_when_dropped(),
            Place::Armed { .. } | Place::Gone => false,
        };
        if !stays {
            self.withdraw(op, stats);
            self.ops[op].place = Place::Gone;
            return Left::NotSubmitted;
        }
        self.ops[op].owner = false;
        stats.orphaned += 1;
        let in_chain = record.following.is_some() && record.kind == Kind::Recv;
        if record.kind.cancelled_when_dropped() || in_chain {
            self.ask(op, stats);
        }
        Left::Running { cancelled: self.ops[op].asked }
    }

    fn ask(&mut self, op: usize, stats: &mut Stats) {
        let record = &mut self.ops[op];
        stats.cancel_requested += u64::from(!record.asked);
        record.asked = true;
        if record.in_kernel() && record.ask == Ask::No && record.kind != Kind::Close {
            record.ask = Ask::Queued;
            self.cancels.push(op);
        }
    }

    /// Part of a chain of which the kernel has the front.
    fn expected_by_kernel(&self, op: usize) -> bool {
        self.queue.iter().take(usize::try_from(self.chain_left).unwrap()).any(|at| *at == op)
    }

    /// Out of the queue; of its chain, the front becomes shorter and the rest is cancelled.
    fn withdraw(&mut self, op: usize, stats: &mut Stats) {
        if let Some(chain) = self.ops[op].chain.take() {
            let behind = self.chain(chain).into_iter().filter(|other| *other > op).collect();
            self.disperse(behind, stats);
            self.resume(chain, stats);
        }
        let Some(at) = self.queue.iter().position(|other| *other == op) else { return };
        if let Some(following) = self.ops[op].following {
            let mut head = op;
            let mut distance = 1;
            while let Some(&before) = at.checked_sub(distance).and_then(|at| self.queue.get(at)) {
                let steps = u16::try_from(distance).unwrap();
                if self.ops[before].following != Some(following + steps) {
                    break;
                }
                self.ops[before].following = Some(steps - 1);
                head = before;
                distance += 1;
            }
            if self.open.is_some_and(|(open, _)| open == head) {
                self.open = None;
            }
            for left in (0..following).rev() {
                let Some(&next) = self.queue.get(at + 1) else { break };
                if self.ops[next].following != Some(left) {
                    break;
                }
                self.queue.remove(at + 1);
                let expect = self.finish(next, ECANCELED, 0, stats);
                self.announce(expect);
            }
        }
        self.queue.remove(at);
    }

    fn announce(&mut self, expect: Expect) {
        if expect != Expect::Wake(None) {
            self.ready.push(expect);
        }
    }

    pub(crate) fn cancel(&mut self, op: usize, stats: &mut Stats) -> bool {
        match self.ops[op].place {
            Place::Done { .. } | Place::Gone => return false,
            Place::Kernel { .. } => self.ask(op, stats),
            Place::Queued { .. } if self.expected_by_kernel(op) => self.ask(op, stats),
            Place::Queued { .. } | Place::Held { .. } | Place::Armed { .. } => {
                stats.cancel_requested += 1;
                self.withdraw(op, stats);
                let expect = self.finish(op, ECANCELED, 0, stats);
                self.announce(expect);
            }
        }
        true
    }

    pub(crate) fn expire(&mut self, now: u64, stats: &mut Stats) -> Option<Expect> {
        if !self.ready.is_empty() {
            return Some(self.ready.remove(0));
        }
        let (deadline, op) = self.first_timer()?;
        (deadline <= now).then(|| self.finish(op, -62, 0, stats))
    }
}
