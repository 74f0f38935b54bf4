//! Operations whose futures are gone: what stays armed, what runs to its end, and where what they brought goes.
//!
//! # Safety
//! Adopts descriptors that a completion has just delivered to an operation whose owner is gone (invariant 9).
//!
//! Tests: a_late_open_is_closed_and_counted
#![allow(unsafe_code, reason = "adoption of descriptors")]

use std::sync::atomic::{Ordering, fence};

use safer_ring_core::{Completion, Key, OnDrop, Op, Orphaned, Phase, StateView};
use safer_ring_sys::Errno;

use super::give_up::Watch;
use super::{Driver, Nudge, Refused};
use crate::adopt::adopt;
use crate::backend::Backend;
use crate::error::Failure;
use crate::fd::Guard;
use crate::notes::Note;
use crate::payload;
use crate::request::Resources;
use crate::stream::{Item, Load, Role, Sides, Stream, is_news};

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Where this driver is, for the descriptors that keep an armed operation of it.
    pub(crate) fn set_home(&mut self, home: K::Home) {
        self.home = Some(home);
    }

    /// The owner of an operation is gone.
    pub(crate) fn orphan(&mut self, key: Key) {
        if !self.is_ours() {
            return;
        }
        if !self.more.is_empty() || !self.last_halves.is_empty() {
            drop(self.take_more(key));
        }
        self.nudged.retain(|nudged| *nudged != key);
        match self.table.orphan(key) {
            Orphaned::NotSubmitted(resources) => self.keep_dead(resources),
            Orphaned::Finished(op, resources, completion) => {
                self.bury(None, op, resources, completion);
            }
            Orphaned::Running { .. } => self.goes_on(key),
            Orphaned::Unknown => {}
        }
    }

    /// Cancels an operation, with or without an owner. Its end is announced like any other.
    pub(crate) fn cancel(&mut self, key: Key) -> bool {
        self.nudged.retain(|nudged| *nudged != key);
        self.is_ours() && self.table.cancel(key)
    }

    /// A receive that begins to wait may have been started while another thread armed one for good, and not have seen that.
    /// This one has its guard and looks at the mark; the other, in [`Driver::arm`], has set the mark and counts the guards: one
    /// of the two sees the other. Where it is the other, it looks for this one under the lock of this ring.
    #[inline]
    pub(crate) fn ask_again(&mut self, key: Key) {
        fence(Ordering::SeqCst);
        let fd = self.table.get(key).and_then(|(_, resources)| resources.fd.as_ref());
        if fd.is_some_and(|fd| fd.marks().meets(Sides::TAKES)) {
            self.nudged.push(key);
            self.table.cancel(key);
        }
    }

    /// Something arrived for a dropped receive on `fd`. A live one that waits for it in the kernel is cancelled, and finds
    /// it when it asks again. Tells whether there is one here.
    pub(crate) fn nudge(&mut self, fd: &K) -> bool {
        let waits = |role, state: StateView| {
            !state.orphaned && !state.linked && matches!(role, Role::Take | Role::Accept)
        };
        let Some(key) = self.find_under_way(fd, waits) else { return false };
        self.nudged.push(key);
        self.note(Note::Nudged { fd: fd.raw() });
        self.table.cancel(key)
    }

    /// An operation on `fd` that has not ended, and is not to be cancelled.
    fn find_under_way(&self, fd: &K, wanted: impl Fn(Role, StateView) -> bool) -> Option<Key> {
        let mut all = self.table.iter();
        let found = all.find(|(_, op, state, resources)| {
            !state.cancelling
                && !matches!(state.phase, Phase::Done | Phase::Armed)
                && Role::of(op).is_some_and(|role| wanted(role, *state))
                && resources.fd.as_ref().is_some_and(|other| other.raw() == fd.raw())
        });
        found.map(|(key, ..)| key)
    }

    /// Whether an operation has to look whether it was nudged.
    #[inline(always)]
    pub(crate) fn has_nudged(&self) -> bool {
        !self.nudged.is_empty()
    }

    /// Whether an operation has ended because it was nudged: [`Driver::take_nudged`] has it.
    #[cold]
    pub(crate) fn was_nudged(&mut self, key: Key) -> bool {
        let Some(at) = self.nudged.iter().position(|nudged| *nudged == key) else { return false };
        let Some(result) = self.table.result(key) else { return false };
        self.nudged.swap_remove(at);
        result == -Errno::CANCELED.raw_os_error()
    }

    /// Whether the no-op of an operation that a chain ends with has succeeded: [`Driver::take_nudged`] has it.
    pub(crate) fn has_passed(&self, key: Key) -> bool {
        matches!(self.table.get(key), Some((Op::Nop, _)))
            && self.table.result(key).is_some_and(|result| result >= 0)
    }

    /// It, to be started again.
    #[cold]
    pub(crate) fn take_nudged(&mut self, key: Key) -> Option<(Op, Resources<K>)> {
        self.table.take(key).map(|(op, resources, _)| (op, resources))
    }

    /// The last handle on the ring is gone: nothing waits here for a next operation any more.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        if !self.is_ours() {
            return;
        }
        self.cancel_kept();
    }

    /// Cancels what only waits for a next operation.
    pub(super) fn cancel_kept(&mut self) {
        let kept: Vec<Key> = self.kept().collect();
        for key in kept {
            self.table.cancel(key);
        }
    }

    /// Operations without owners that stay armed for the next of their kind.
    pub(super) fn kept(&self) -> impl Iterator<Item = Key> {
        let kept = self.table.iter().filter(|(_, op, state, _)| {
            state.orphaned && !state.cancelling && op.on_drop() == OnDrop::Keep
        });
        kept.map(|(key, ..)| key)
    }

    /// An operation goes on without its owner: its descriptor is told.
    fn goes_on(&mut self, key: Key) {
        let Some((op, resources)) = self.table.get(key) else { return };
        let (Some(role), Some(fd)) = (Role::of(op), &resources.fd) else {
            // Nowhere to keep what it takes in.
            if op.on_drop() == OnDrop::Keep {
                self.table.cancel(key);
            }
            return;
        };
        match role {
            Role::Take | Role::Accept => {
                let home = self.home.clone();
                let stays = home.is_some() && !self.closing && self.drainers.is_empty();
                // One is enough for a descriptor: else so many would stay as have ever waited at once.
                let only = fd.with_stream(|stream| stream.taker_begins(home, key));
                // Looked at last: the last handle may have gone meanwhile, and has not seen it then.
                if !only || !stays || fd.users() == 0 {
                    self.table.cancel(key);
                }
            }
            Role::Give | Role::Beside | Role::Sync => {
                let (limit, given_up) = fd.with_stream(|stream| {
                    stream.giver_begins(role);
                    (stream.limit(), stream.is_given_up())
                });
                if given_up {
                    self.table.cancel(key);
                } else if let (Role::Give, Some(limit)) = (role, limit) {
                    self.watch(key, limit);
                }
            }
            Role::Peek | Role::Ready | Role::Drain => {}
        }
    }

    /// An operation without owner has ended: what it made is closed or kept for the next of its kind, the rest is kept for
    /// dropping. `key` is its name if it went on without its owner.
    pub(super) fn bury(
        &mut self,
        key: Option<Key>,
        op: Op,
        resources: Resources<K>,
        completion: Completion,
    ) {
        let role = Role::of(&op);
        match (role, resources.fd.clone()) {
            (_, Some(fd)) if matches!(op, Op::RecvMulti { .. }) => {
                return self.bury_multishot(key, &fd, resources, completion);
            }
            (Some(Role::Take | Role::Accept), Some(fd)) => {
                return self.bury_taker(key, op, fd, resources, completion);
            }
            (Some(role @ (Role::Give | Role::Beside | Role::Sync)), Some(fd)) => {
                if key.is_none() {
                    // It had ended before its owner left without looking: how it ended is still news.
                    fd.with_stream(|stream| stream.giver_begins(role));
                }
                return self.bury_giver(key, (role, op), fd, resources, completion);
            }
            _ => {}
        }
        if op.creates_descriptor() && completion.res >= 0 {
            self.close_late(op, completion.res);
        }
        if op.creates_pair() && completion.res >= 0 {
            // The state in the lease owns both and closes them.
            self.counters.adopted_fds += 2;
        }
        // So does that of a close which the kernel has not seen.
        self.keep_dead(resources);
    }

    /// Closes and counts a descriptor that nobody waits for.
    fn close_late(&mut self, op: Op, number: i32) {
        self.counters.adopted_fds += 1;
        self.note(Note::ClosedLate { op: op.name() });
        // SAFETY: the op makes a descriptor, `number` is its first and only result, and the future that would have
        // owned it is gone.
        drop(unsafe { adopt(number) });
    }

    fn bury_taker(
        &mut self,
        key: Option<Key>,
        op: Op,
        fd: K,
        mut resources: Resources<K>,
        completion: Completion,
    ) {
        let wanted = fd.users() > 0;
        resources.fd = None;
        let (item, rest) = match Errno::from_result(completion.res) {
            Ok(number) if op.creates_descriptor() && !wanted => {
                self.close_late(op, number.cast_signed());
                (None, Some(resources))
            }
            Ok(number) if op.creates_descriptor() => {
                self.counters.adopted_connections += 1;
                self.note(Note::ConnectionKept { fd: fd.raw() });
                // SAFETY: as in `close_late`; it is owned by the next accept.
                let connection = unsafe { adopt(number.cast_signed()) };
                (Some(Load::Connection(connection, resources.lease)), None)
            }
            // Without room nothing was asked for, and nothing is not the end of the stream.
            Ok(0) if resources.lease.capacity() == 0 => (None, Some(resources)),
            Ok(count) if wanted => {
                self.counters.adopted_bytes += u64::from(count);
                let bytes = payload::bytes(count);
                self.note(Note::BytesKept { fd: fd.raw(), bytes });
                (Some(payload::load(&op, resources.lease, bytes)), None)
            }
            // Cancelled, or what the next one would only repeat.
            Err(Errno::CANCELED) => {
                if op.creates_descriptor() && wanted {
                    // The handles, and this.
                    self.rouse_accept(&fd, fd.users() + 1);
                }
                (None, Some(resources))
            }
            Err(errno) if wanted && is_news(errno) && !op.creates_descriptor() => {
                (Some(Load::Error(errno)), Some(resources))
            }
            _ => (None, Some(resources)),
        };
        self.taker_is_over(key, &fd, item, rest);
    }

    /// A taker has ended with what it took in, and with what is to be dropped.
    pub(super) fn taker_is_over(
        &mut self,
        key: Option<Key>,
        fd: &K,
        item: Option<Load>,
        rest: Option<Resources<K>>,
    ) {
        let kept = item.is_some();
        let (home, wakers) = (&self.home, &mut self.aftermath.wakers);
        let mine = |other: &K::Home| home.as_ref().is_some_and(|home| K::same_home(home, other));
        let awaited = fd.with_stream(|stream| {
            let item = item.map(Item::new);
            match key {
                Some(key) => stream.taker_ends(key, mine, item, wakers),
                None => stream.put(item, wakers),
            }
        });
        self.dirty = true;
        // Its handles, and this.
        self.tell_others(fd, awaited || !kept, fd.users() + 1);
        if let Some(mut rest) = rest {
            if fd.users() == 0 {
                // Closed outside, if this is the last.
                rest.fd = Some(fd.clone());
            }
            self.keep_dead(rest);
        }
        if fd.users() == 0 {
            // The last handle went meanwhile: what is kept must not be dropped here, with the descriptor.
            let (items, _) = fd.with_stream(Stream::abandon);
            for item in items {
                let lease = item.into_lease();
                self.keep_dead(Resources { lease, fd: None, other: None });
            }
        }
    }

    /// Something has arrived that nobody waits for here. A descriptor that is held by more than its `known` holders is
    /// perhaps held by a receive in the kernel: that one is nudged.
    pub(super) fn tell_others(&mut self, fd: &K, awaited: bool, known: usize) {
        if !awaited && fd.holders() > known && !self.nudge(fd) {
            self.aftermath.nudges.push(Nudge { fd: fd.clone(), all: false });
        }
    }

    /// The end of an accept with an owner, which has no connection.
    #[cold]
    pub(super) fn accept_failed(&mut self, resources: &Resources<K>, completion: Completion) {
        if let Some(fd) = &resources.fd
            && completion.res == -Errno::CANCELED.raw_os_error()
        {
            // The handles, and this operation.
            self.rouse_accept(fd, fd.users() + 1);
        }
    }

    /// An accept on `fd`, which so many known holders share without others that wait, was cancelled. The kernel wakes one accept for
    /// a connection, perhaps this one, and tells no other, so that the connection would stay in its queue: another one looks
    /// again. One without an owner ends, and who waits for it goes to the kernel.
    #[cold]
    fn rouse_accept(&mut self, fd: &K, known: usize) {
        if fd.holders() <= known || self.nudge(fd) {
            return;
        }
        match self.find_under_way(fd, |role, state| state.orphaned && role == Role::Accept) {
            Some(key) => drop(self.table.cancel(key)),
            None => {
                self.aftermath.nudges.push(Nudge { fd: fd.clone(), all: false });
                self.dirty = true;
            }
        }
    }

    fn bury_giver(
        &mut self,
        key: Option<Key>,
        (role, op): (Role, Op),
        fd: K,
        mut resources: Resources<K>,
        completion: Completion,
    ) {
        let watch = key.and_then(|key| self.take_watch(key));
        let overdue = watch.as_ref().is_some_and(Watch::is_over);
        let mut fault = earlier(completion.res);
        if let Ok(moved) = Errno::from_result(completion.res)
            && let Some(wanted) = payload::given(&op, &resources.lease)
        {
            let moved = payload::bytes(moved);
            if moved < wanted {
                // Where it stood still, or would tear a record, the rest is not written.
                let ends = overdue || fd.with_stream(|stream| stream.is_given_up());
                let goes_on = moved > 0 && role == Role::Give && !ends && !payload::appends(&fd);
                if goes_on {
                    payload::advance(&op, &mut resources.lease, moved);
                    match self.table.insert(op, resources) {
                        // It waits in the queue, and is still the giver that the stream knows.
                        Ok(key) => {
                            self.watches.extend(watch.map(|watch| watch.of(key)));
                            return drop(self.table.orphan(key));
                        }
                        Err((_, back)) => resources = back,
                    }
                }
                let count = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
                let short = Failure::EarlierShort { wanted: count(wanted), moved: count(moved) };
                fault = fault.or(Some(short));
            }
        }
        if overdue {
            fault = fault.map(|_| Failure::Earlier { errno: Errno::TIMEDOUT });
        }
        self.end_watch(watch);
        if let Some(failure) = fault {
            self.note(Note::EarlierFailed { fd: fd.raw(), failure });
        }
        let wakers = &mut self.aftermath.wakers;
        fd.with_stream(|stream| stream.giver_ends(role, fault, wakers));
        self.run_queued(&fd);
        if fd.users() > 0 {
            // Not the last share. It goes before anybody can see that the operation is over, or a close would find the
            // descriptor in use.
            resources.fd = None;
        }
        self.keep_dead(resources);
    }

    /// An operation without owner was not taken in.
    pub(crate) fn keep_refused(&mut self, refused: Refused<K>) {
        if let Some(fd) = &refused.resources.fd {
            fd.with_stream(|stream| stream.blame(Some(refused.failure)));
        }
        self.keep_dead(*refused.resources);
    }

    /// Hands over what waited on `fd` for dropped sends when its own future was dropped.
    pub(crate) fn run_queued(&mut self, fd: &K) {
        let mut given_up = false;
        while let Some((op, lease, runs)) = fd.with_stream(Stream::dequeue) {
            let resources = Resources { lease, fd: Some(fd.clone()), other: None };
            if !runs {
                given_up = true;
                self.keep_dead(resources);
                continue;
            }
            match self.table.insert(op, resources) {
                Ok(key) => {
                    drop(self.table.orphan(key));
                    let limit = fd.with_stream(|stream| stream.limit());
                    if let (Some(Role::Give), Some(limit)) = (Role::of(&op), limit) {
                        self.watch(key, limit);
                    }
                }
                Err((op, resources)) => {
                    let role = Role::of(&op).unwrap_or(Role::Give);
                    let fault = Some(Failure::Exhausted);
                    let wakers = &mut self.aftermath.wakers;
                    fd.with_stream(|stream| stream.giver_ends(role, fault, wakers));
                    self.keep_dead(resources);
                }
            }
        }
        if given_up {
            // Another thread may have asked while these were in the queue, behind the ending that woke all who had before.
            let wakers = &mut self.aftermath.wakers;
            fd.with_stream(|stream| stream.wake(wakers));
            self.dirty = true;
        }
    }

    /// What is left in the table will not end here any more: nobody is to wait for it.
    pub(super) fn give_up_streams(&mut self) {
        let (home, wakers) = (&self.home, &mut self.aftermath.wakers);
        let mine = |other: &K::Home| home.as_ref().is_some_and(|home| K::same_home(home, other));
        let mut dead = Vec::new();
        for (key, op, state, resources) in self.table.iter() {
            if let (true, Some(role), Some(fd)) = (state.orphaned, Role::of(op), &resources.fd) {
                fd.with_stream(|stream| match role {
                    Role::Take | Role::Accept => {
                        stream.taker_ends(key, mine, None, wakers);
                    }
                    Role::Give | Role::Beside | Role::Sync => {
                        let fault = Failure::Earlier { errno: Errno::CANCELED };
                        stream.giver_ends(role, Some(fault), wakers);
                        dead.extend(stream.give_up_queue(fault));
                    }
                    Role::Peek | Role::Ready | Role::Drain => {}
                });
            }
        }
        for (_, _, lease) in dead {
            self.keep_dead(Resources { lease, fd: None, other: None });
        }
    }
}

/// The error of a write that nobody has been told of.
fn earlier(result: i32) -> Option<Failure> {
    Errno::from_result(result).err().map(|errno| Failure::Earlier { errno })
}
