//! What must hold in every state, and at every end.

use std::collections::BTreeSet;
use std::format;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::vec::Vec;

use super::model::{Ask, Expect, Kind, Place};
use super::world::{Event, Res, Verdict, World, name_of, same, take_dropped, waker};
use crate::slot::CANCEL_QUEUED;
use crate::{Key, Orphaned, Polled, Tag};

impl World {
    /// The state of table and model. Scripts that lead to equal states have equal continuations.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.model.hash(&mut hasher);
        let table = &self.table;
        (table.free, table.used, table.in_flight, table.chain_left).hash(&mut hasher);
        (table.open_left, table.open_head, table.cancels_in_flight).hash(&mut hasher);
        (table.internal, table.orphans, table.ready.len()).hash(&mut hasher);
        (table.queue.head(), table.queue.len()).hash(&mut hasher);
        (table.cancels.head(), table.cancels.len()).hash(&mut hasher);
        table.deadlines.next().hash(&mut hasher);
        for (index, slot) in (0..).zip(&table.slots) {
            (slot.stamp, slot.state(), slot.bits, slot.following).hash(&mut hasher);
            let waker = slot.waker.as_ref().map(name_of);
            (slot.group, waker, slot.op()).hash(&mut hasher);
            table.place(index).hash(&mut hasher);
            (slot.completion().res, slot.completion().flags).hash(&mut hasher);
            slot.resources().map(|token| token.0).hash(&mut hasher);
            if slot.has(CANCEL_QUEUED) || slot.in_queue() || !slot.in_kernel() {
                slot.next.hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The table shows what the model knows.
    pub(crate) fn check_state(&self) -> Verdict {
        let (table, model) = (&self.table, &self.model);
        same("in_flight", table.in_flight(), model.in_flight())?;
        same("queued", usize::try_from(table.queued()).unwrap(), model.queue.len())?;
        let cancels = usize::try_from(table.cancels_queued()).unwrap();
        same("cancels queued", cancels, model.cancels.len())?;
        let waits = !model.queue.is_empty() || !model.cancels.is_empty();
        same("has_queued", table.has_queued(), waits)?;
        same("orphans", table.orphans(), model.orphans())?;
        same("len", table.len(), model.used())?;
        same("is_empty", table.is_empty(), model.used() == 0)?;
        same("next_deadline", table.next_deadline(), model.next_deadline())?;
        same("stats", table.stats(), self.stats)?;
        let shown = table.iter().map(|(key, op, view, token)| (token.0, key, *op, view));
        let shown: BTreeSet<_> = shown.map(|entry| format!("{entry:?}")).collect();
        let mut known = BTreeSet::new();
        for (op, record) in model.ops.iter().enumerate() {
            if let Some(view) = record.view() {
                known.insert(format!("{:?}", (op, record.key, record.kind.op(), view)));
                same("get", table.get(record.key).map(|(_, token)| token.0), Some(op))?;
                same("state", table.state(record.key), Some(view))?;
            } else {
                same("get", table.get(record.key).map(|(_, token)| token.0), None)?;
                same("state", table.state(record.key), None)?;
            }
            let done = matches!(record.place, Place::Done { .. });
            same("is_done", table.is_done(record.key), done)?;
        }
        same("iter", shown, known)
    }

    /// What has no effect has none: stray completions, and calls with the names of operations
    /// that are gone or have no owner.
    pub(crate) fn check_strays(&self) -> Verdict {
        let mut world = self.clone();
        let mut words = std::vec![0, 5, u64::MAX, Key::new(999, 0).user_data(Tag::Operation)];
        words.push(Key::new(999, 0).user_data(Tag::Cancel));
        for record in &self.model.ops {
            if !record.in_kernel() {
                words.push(record.key.user_data(Tag::Operation));
            }
            if record.ask != Ask::Kernel {
                words.push(record.key.user_data(Tag::Cancel));
            }
            let later = Key::new(record.key.index(), record.key.generation() + (1 << 20));
            words.push(later.user_data(Tag::Operation));
        }
        take_dropped();
        for word in words {
            for (res, flags) in [Res::Success, Res::NotReady, Res::More].map(Res::entry) {
                let plain = world.table.complete_plain(word, res, flags);
                same("a stray one is plain", plain.is_some(), false)?;
                let outcome = world.table.complete_other(word, res, flags);
                world.check_outcome(outcome, Expect::Ignored)?;
                world.stats.stale += 1;
            }
        }
        for record in &self.model.ops {
            if !matches!(record.place, Place::Done { .. }) {
                same("take", world.table.take(record.key).is_some(), false)?;
                same("take_result", world.table.take_result(record.key).is_some(), false)?;
                same("take_success", world.table.take_success(record.key).is_some(), false)?;
            }
            if record.in_table() && record.owner {
                continue;
            }
            same("poll", world.table.poll(record.key, &waker(2)), Polled::Unknown)?;
            let left = world.table.orphan(record.key);
            same("orphan", matches!(left, Orphaned::Unknown), true)?;
            if !record.in_table() {
                same("cancel", world.table.cancel(record.key), false)?;
            }
        }
        let limits = world.table.limits();
        let at_once = self.model.may_go_at_once(limits);
        same("may go at once", world.table.may_go_at_once(), at_once)?;
        let room = self.model.open.is_none() && self.model.used() < limits.max_slots;
        same("room", world.table.make_room(), room)?;
        same("dropped inside the table", take_dropped(), Vec::new())?;
        world.check_state()
    }

    /// The table is dropped here: what the kernel has is forgotten, everything else is dropped.
    pub(crate) fn check_drop(&self) -> Verdict {
        let World { table, model, .. } = self.clone();
        take_dropped();
        drop(table);
        let dropped = take_dropped();
        let mut expected: Vec<usize> = (0..model.ops.len())
            .filter(|op| model.ops[*op].in_table() && !model.ops[*op].in_kernel())
            .collect();
        let waiting = model.ready.iter().filter_map(|expect| match expect {
            Expect::Release { op, .. } => Some(*op),
            _ => None,
        });
        expected.extend(waiting);
        expected.sort_unstable();
        let mut sorted = dropped;
        sorted.sort_unstable();
        same("dropped with the table", sorted, expected)?;
        let mut table = self.table.clone();
        take_dropped();
        table.abandon();
        drop(table);
        same("dropped after abandon", take_dropped(), Vec::new())
    }

    /// Everything comes to an end. With `patient` the kernel completes what it has; without, it
    /// completes nothing but closes and what it is asked to cancel, so that only requests to cancel,
    /// all of which must get through, can end anything else.
    pub(crate) fn check_drain(&self, patient: bool) -> Verdict {
        let mut world = self.clone();
        while let Some((_, left)) = world.model.open {
            let before = world.model.ops.len();
            world.apply(Event::Link(Kind::Fsync, left))?;
            same("a chain can be completed", world.model.ops.len(), before + 1)?;
        }
        if !patient {
            world.apply(Event::CancelAll)?;
        }
        for _ in 0..200 {
            if world.model.used() == 0 && world.model.ready.is_empty() {
                break;
            }
            world.drain_turn(patient)?;
        }
        world.check_state()?;
        same("slots at the end", world.table.len(), 0)?;
        same("in flight at the end", world.table.in_flight(), world.model.internal)?;
        while world.model.internal > 0 {
            world.apply(Event::Internal)?;
        }
        same("in flight after that", world.table.in_flight(), 0)
    }

    fn drain_turn(&mut self, patient: bool) -> Verdict {
        while self.stage(8)? {}
        for op in 0..self.model.ops.len() {
            let asked = self.model.ops[op].ask == Ask::Kernel;
            let ends = patient || asked || self.model.ops[op].kind == Kind::Close;
            if self.model.ops[op].in_kernel() && ends {
                let res = if asked { Res::Cancelled } else { Res::Success };
                self.apply(Event::Complete(op, res))?;
            }
            if asked {
                self.apply(Event::Answer(op))?;
            }
            if matches!(self.model.ops[op].place, Place::Done { .. }) {
                self.apply(Event::Take(op))?;
            }
        }
        while self.expire(u64::MAX)? {}
        Ok(())
    }

    /// All of the above.
    pub(crate) fn check(&self) -> Verdict {
        self.check_state()?;
        self.check_strays()?;
        self.check_drop()?;
        self.check_drain(true)?;
        self.check_drain(false)
    }
}
