//! A table beside its model, and the events that happen to both.

use std::boxed::Box;
use std::cell::RefCell;
use std::format;
use std::mem::ManuallyDrop;
use std::string::String;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::vec::Vec;

use super::graph;
use super::model::{Ask, Expect, Kind, Left, Members, Model, Next, Place, WANTED};
use crate::{
    Completion, Key, Limits, Op, Orphaned, Outcome, PAUSE, Polled, Staged, Stats, Table, Tag,
};

std::thread_local! {
    static DROPPED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static WAKERS: [Waker; 3] = std::array::from_fn(|name| Arc::new(Named { name }).into());
}

/// Stands for what an operation has lent to the kernel. Being dropped is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) usize);

impl Drop for Token {
    fn drop(&mut self) {
        DROPPED.with(|dropped| dropped.borrow_mut().push(self.0));
    }
}

/// The tokens dropped in this thread since the last call.
pub(crate) fn take_dropped() -> Vec<usize> {
    DROPPED.with(|dropped| std::mem::take(&mut *dropped.borrow_mut()))
}

/// Each has its own allocation, and one that is not empty, so that `will_wake` tells them apart.
struct Named {
    #[expect(dead_code, reason = "gives the allocation a size")]
    name: usize,
}

impl Wake for Named {
    fn wake(self: Arc<Self>) {}
}

pub(crate) fn waker(name: usize) -> Waker {
    WAKERS.with(|wakers| wakers[name].clone())
}

pub(crate) fn name_of(waker: &Waker) -> usize {
    WAKERS.with(|wakers| wakers.iter().position(|other| other.will_wake(waker)).unwrap())
}

/// How an operation comes back from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Res {
    Success,
    /// Less than a chain needs to go on.
    Short,
    Interrupted,
    NotReady,
    More,
    Notification,
    Cancelled,
    Failed,
    Expired,
}

impl Res {
    pub(crate) fn entry(self) -> (i32, u32) {
        match self {
            Res::Success => (WANTED, 0),
            Res::Short => (WANTED - 1, 0),
            Res::Interrupted => (-4, 0),
            Res::NotReady => (-11, 0),
            Res::More => (3, 2),
            Res::Notification => (0, 8),
            Res::Cancelled => (-125, 0),
            Res::Failed => (-5, 0),
            Res::Expired => (-62, 0),
        }
    }
}

/// Something that happens. Operations are named by the order of their insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Insert(Kind),
    /// Straight to the kernel where nothing goes before it, otherwise as `Insert`.
    InsertNow(Kind),
    /// The first member of a chain of so many, or the next member of the open one.
    Link(Kind, u16),
    Arm(u64),
    Stage(u32),
    Complete(usize, Res),
    /// The request to cancel it is answered.
    Answer(usize),
    Poll(usize, usize),
    Take(usize),
    Orphan(usize),
    Cancel(usize),
    CancelAll,
    Expire(u64),
    NewGroup,
    Join(usize),
    PollGroup(usize),
    DropGroup,
    Expect,
    Internal,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) table: Table<Token>,
    pub(crate) model: Model,
    pub(crate) stats: Stats,
    /// Events so far. Where two calls must lead to the same state, they take turns by it.
    turn: usize,
}

pub(crate) type Verdict = Result<(), String>;

/// `Err` with both sides unless they are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: T, model: T) -> Verdict {
    if real == model { Ok(()) } else { Err(format!("{what}: {real:?}, not {model:?}")) }
}

impl World {
    pub(crate) fn new(limits: Limits) -> World {
        let (table, model) = (Table::new(limits), Model::new());
        World { table, model, stats: Stats::default(), turn: 0 }
    }

    /// Lets the event happen to the table and to the model, and compares the answers.
    pub(crate) fn apply(&mut self, event: Event) -> Verdict {
        take_dropped();
        graph::cause(cause(event));
        self.turn += 1;
        let verdict = self.happen(event);
        graph::cause("");
        verdict?;
        same("dropped inside the table", take_dropped(), Vec::new())
    }

    fn happen(&mut self, event: Event) -> Verdict {
        match event {
            Event::Insert(kind) => {
                // The two ways into the queue take turns.
                match self.model.ops.len() % 2 {
                    0 => self.insert(kind),
                    _ => self.insert_into_room(kind),
                }
            }
            Event::InsertNow(kind) => self.insert_in_flight(kind),
            Event::Link(kind, members) => self.link(kind, members),
            Event::Arm(deadline) => {
                let place = Place::Armed { deadline };
                let token = self.next_token();
                let real = self.table.insert_deadline(Op::Timeout, token, deadline);
                let promised = self.model.open.map_or(0, |(_, left)| u32::from(left));
                let refused = self.full(1 + promised);
                self.inserted(real, Kind::Timer, place, None, refused)
            }
            Event::Stage(room) => self.stage(room).map(|_| ()),
            Event::Complete(op, res) => self.complete(op, res),
            Event::Answer(op) => {
                self.model.ops[op].ask = super::model::Ask::No;
                let word = self.model.ops[op].key.user_data(Tag::Cancel);
                let outcome = self.completed(word, 0, 0);
                self.check_outcome(outcome, Expect::CancelDone)
            }
            Event::Poll(op, name) => self.poll(op, name),
            Event::Take(op) => self.take(op),
            Event::Orphan(op) => self.orphan(op),
            Event::Cancel(op) => {
                let model = self.model.cancel(op, &mut self.stats);
                same("cancel", self.table.cancel(self.model.ops[op].key), model)
            }
            Event::CancelAll => self.cancel_all(),
            Event::Expire(now) => self.expire(now).map(|_| ()),
            Event::NewGroup => {
                let group = self.table.group();
                let serial = self.model.groups_made;
                self.model.groups_made += 1;
                self.model.group = Some(Members { group, serial, waker: None });
                Ok(())
            }
            Event::Join(op) => {
                let members = self.model.group.as_ref().unwrap();
                let (group, serial) = (members.group, members.serial);
                let record = self.model.ops[op];
                if record.group.is_none() && self.turn.is_multiple_of(2) {
                    self.table.join_new(group, record.key);
                } else {
                    self.table.join(group, record.key);
                }
                self.model.join(op, serial);
                Ok(())
            }
            Event::PollGroup(name) => self.poll_group(name),
            Event::DropGroup => {
                let members = self.model.group.take().unwrap();
                self.table.drop_group(members.group);
                self.model.ready.extend(members.waker.map(Expect::Retired));
                Ok(())
            }
            Event::Expect => {
                self.table.expect_internal();
                self.model.internal += 1;
                Ok(())
            }
            Event::Internal => {
                self.model.internal -= 1;
                let key = Key::new(5, 6);
                let real = self.completed(key.user_data(Tag::Timer), -62, 0);
                match real {
                    Outcome::Internal { tag: Tag::Timer, key: name } => same("name", name, key),
                    other => Err(format!("an internal completion gave {other:?}")),
                }
            }
        }
    }

    fn next_token(&self) -> Token {
        Token(self.model.ops.len())
    }

    fn full(&self, more: u32) -> bool {
        self.model.used() + more > self.table.limits().max_slots
    }

    fn inserted(
        &mut self,
        real: Result<Key, (Op, Token)>,
        kind: Kind,
        place: Place,
        following: Option<u16>,
        refused: bool,
    ) -> Verdict {
        match real {
            Ok(key) => {
                same("accepted", true, !refused)?;
                self.model.insert(kind, key, place, following);
                self.stats.inserted += 1;
                Ok(())
            }
            Err((op, token)) => {
                same("accepted", false, !refused)?;
                same("op given back", op, kind.op())?;
                let number = token.0;
                std::mem::forget(token);
                same("token given back", number, self.model.ops.len())
            }
        }
    }

    fn insert(&mut self, kind: Kind) -> Verdict {
        let real = self.table.insert(kind.op(), self.next_token());
        let refused = self.model.open.is_some() || self.full(1);
        self.inserted(real, kind, Place::Queued { poll: false }, None, refused)
    }

    fn insert_into_room(&mut self, kind: Kind) -> Verdict {
        let refused = self.model.open.is_some() || self.full(1);
        same("room", self.table.make_room(), !refused)?;
        if refused {
            return self.insert(kind);
        }
        let token = ManuallyDrop::new(self.next_token());
        let key = self.table.insert_into_room(kind.op(), token);
        self.inserted(Ok(key), kind, Place::Queued { poll: false }, None, false)
    }

    /// As an insertion and the staging that would follow, if nothing goes before it.
    fn insert_in_flight(&mut self, kind: Kind) -> Verdict {
        let at_once = self.model.may_go_at_once(self.table.limits());
        same("may go at once", self.table.may_go_at_once(), at_once)?;
        if !at_once {
            return self.insert_into_room(kind);
        }
        let token = ManuallyDrop::new(self.next_token());
        let number = token.0;
        // The two ways into a group take turns, as those of `Event::Join` do.
        let group = self.model.group.as_ref().map(|members| (members.group, members.serial));
        let group = group.filter(|_| self.turn.is_multiple_of(2));
        let inserted = self.table.insert_in_flight(kind.op(), token, group.map(|(group, _)| group));
        let key = inserted.ok_or("no room after all")?;
        let (op, resources) = self.table.get(key).ok_or("not inserted")?;
        same("op", *op, kind.op())?;
        same("token", resources.0, number)?;
        self.inserted(Ok(key), kind, Place::Queued { poll: false }, None, false)?;
        let op = self.model.ops.len() - 1;
        if let Some((_, serial)) = group {
            self.model.join(op, serial);
        }
        match self.model.stage(1, self.table.limits(), &mut self.stats) {
            Next::Operation { op: staged, link: false, poll: false } => same("staged", staged, op),
            next => Err(format!("went at once, before {next:?}")),
        }
    }

    fn link(&mut self, kind: Kind, members: u16) -> Verdict {
        let following = self.model.open.map_or(members, |(_, left)| left) - 1;
        let limits = self.table.limits();
        let refused = self.model.open.is_none()
            && (u32::from(members) > limits.max_chain || self.full(u32::from(members)));
        if self.model.open.is_none() {
            same("reserve", self.table.reserve(u32::from(members)), !refused)?;
        }
        let wanted = Some(WANTED.cast_unsigned());
        let real = self.table.insert_linked(kind.op(), self.next_token(), following, wanted);
        self.inserted(real, kind, Place::Queued { poll: false }, Some(following), refused)
    }

    /// Whether anything was staged.
    pub(crate) fn stage(&mut self, room: u32) -> Result<bool, String> {
        let next = self.model.stage(room, self.table.limits(), &mut self.stats);
        let staged = self.table.stage(room);
        match (staged, next) {
            (None, Next::Nothing) => return Ok(false),
            (Some(Staged::Cancel { user_data, target }), Next::Cancel(op)) => {
                let key = self.model.ops[op].key;
                same("cancel", user_data, key.user_data(Tag::Cancel))?;
                same("target", target, key.user_data(Tag::Operation))?;
            }
            (
                Some(Staged::Operation { key, user_data, op: real, resources, link, poll_first }),
                Next::Operation { op, link: chained, poll },
            ) => {
                let record = &self.model.ops[op];
                same("key", key, record.key)?;
                same("user_data", user_data, record.key.user_data(Tag::Operation))?;
                same("op", *real, record.kind.op())?;
                same("token", resources.0, op)?;
                same("link", link, chained)?;
                let pause = record.pause().map(|milliseconds| PAUSE | milliseconds);
                let first = pause.or(record.kind.waits_for());
                same("poll", poll_first, first.filter(|_| poll))?;
            }
            (staged, next) => return Err(format!("staged {staged:?}, not {next:?}")),
        }
        Ok(true)
    }

    fn complete(&mut self, op: usize, res: Res) -> Verdict {
        let (res, flags) = res.entry();
        let word = self.model.ops[op].key.user_data(Tag::Operation);
        let expect = self.model.complete(op, res, flags, &mut self.stats);
        let outcome = self.completed(word, res, flags);
        self.check_outcome(outcome, expect)
    }

    /// A completion, by one of the three ways it can be given to the table.
    fn completed(&mut self, word: u64, res: i32, flags: u32) -> Outcome<Token> {
        match self.turn % 3 {
            0 => self.table.complete(word, res, flags),
            1 => self.table.complete_other(word, res, flags),
            _ => match self.table.complete_plain(word, res, flags) {
                Some(waker) => Outcome::Wake(waker),
                None => self.table.complete_other(word, res, flags),
            },
        }
    }

    /// Compares, and takes what was handed out.
    pub(crate) fn check_outcome(&self, outcome: Outcome<Token>, expect: Expect) -> Verdict {
        let real = match outcome {
            Outcome::Wake(waker) => Expect::Wake(waker.as_ref().map(name_of)),
            Outcome::Retired(waker) => Expect::Retired(name_of(&waker)),
            Outcome::Release { key, op, resources, completion } => {
                let number = resources.0;
                std::mem::forget(resources);
                same("released op", op, self.model.ops[number].kind.op())?;
                same("released key", key, self.model.ops[number].key)?;
                Expect::Release { op: number, res: completion.res, flags: completion.flags }
            }
            Outcome::More { key, completion } => {
                let op = self.model.ops.iter().rposition(|record| record.key == key);
                let op = op.ok_or("a result for nobody")?;
                same("flags", completion.flags, 2)?;
                Expect::More { op, res: completion.res }
            }
            Outcome::Requeued => Expect::Requeued,
            Outcome::CancelDone => Expect::CancelDone,
            Outcome::Ignored => Expect::Ignored,
            Outcome::Internal { .. } => return Err("an internal completion".into()),
        };
        same("outcome", real, expect)
    }

    fn poll(&mut self, op: usize, name: usize) -> Verdict {
        let record = &mut self.model.ops[op];
        let done = matches!(record.place, Place::Done { .. });
        if !done && record.waker.is_none() && self.turn.is_multiple_of(2) {
            self.table.attach(record.key, waker(name));
        }
        let real = self.table.poll(record.key, &waker(name));
        if done {
            return same("poll", real, Polled::Ready);
        }
        if let Some(old) = record.waker.replace(name)
            && old != name
        {
            self.model.ready.push(Expect::Retired(old));
        }
        same("poll", real, Polled::Pending)
    }

    pub(crate) fn take(&mut self, op: usize) -> Verdict {
        let record = self.model.ops[op];
        let Place::Done { res, flags } = record.place else { return Err("not done".into()) };
        self.model.ops[op].place = Place::Gone;
        // The ways out take turns.
        let way = op % 3;
        let success = if way == 2 { self.table.take_success(record.key) } else { None };
        let plain = res >= 0 && record.ask != Ask::Kernel;
        same("success", success.is_some(), way == 2 && plain)?;
        let taken = match (way, success) {
            (0, _) => self.table.take(record.key),
            (_, Some((token, count, flags))) => {
                let res = i32::try_from(count).map_err(|_| "more than a result holds")?;
                let completion = Completion { res, flags };
                Some((record.kind.op(), ManuallyDrop::into_inner(token), completion))
            }
            (_, None) => self.table.take_result(record.key).map(|(token, completion)| {
                (record.kind.op(), ManuallyDrop::into_inner(token), completion)
            }),
        };
        let (real, token, completion) = taken.ok_or("nothing to take")?;
        let number = token.0;
        std::mem::forget(token);
        same("token", number, op)?;
        same("op", real, record.kind.op())?;
        same("completion", completion, Completion { res, flags })
    }

    fn orphan(&mut self, op: usize) -> Verdict {
        let left = self.model.orphan(op, &mut self.stats);
        let (real, token) = match self.table.orphan(self.model.ops[op].key) {
            Orphaned::NotSubmitted(token) => (Left::NotSubmitted, Some(token)),
            Orphaned::Running { cancelled } => (Left::Running { cancelled }, None),
            Orphaned::Finished(_, token, completion) => (Left::Finished(completion), Some(token)),
            Orphaned::Unknown => return Err("orphan: unknown".into()),
        };
        if let Some(token) = token {
            let number = token.0;
            std::mem::forget(token);
            same("token", number, op)?;
        }
        same("orphan", real, left)
    }

    fn cancel_all(&mut self) -> Verdict {
        // The table goes by slots.
        let mut order: Vec<usize> = (0..self.model.ops.len()).collect();
        order.retain(|op| self.model.ops[*op].in_table());
        order.sort_by_key(|op| self.model.ops[*op].key.index());
        for op in order {
            self.model.cancel(op, &mut self.stats);
        }
        let model = u32::try_from(self.model.cancels.len()).unwrap();
        same("cancels queued", self.table.cancel_all(), model)
    }

    /// Whether anything was handed out.
    pub(crate) fn expire(&mut self, now: u64) -> Result<bool, String> {
        let expect = self.model.expire(now, &mut self.stats);
        match (self.table.expire(now), expect) {
            (None, None) => Ok(false),
            (Some(outcome), Some(expect)) => self.check_outcome(outcome, expect).map(|()| true),
            (outcome, expect) => Err(format!("expire gave {outcome:?}, not {expect:?}")),
        }
    }

    fn poll_group(&mut self, name: usize) -> Verdict {
        let done = self.model.group_done();
        let members = self.model.group.as_mut().unwrap();
        let real = self.table.poll_group(members.group, &waker(name));
        if !done
            && let Some(old) = members.waker.replace(name)
            && old != name
        {
            self.model.ready.push(Expect::Retired(old));
        }
        same("group done", real, done)
    }
}

/// The name of the call in the state graph.
fn cause(event: Event) -> &'static str {
    match event {
        Event::Insert(_) => "insert",
        Event::InsertNow(_) => "insert_in_flight",
        Event::Link(..) => "insert_linked",
        Event::Arm(_) => "insert_deadline",
        Event::Stage(_) => "stage",
        Event::Complete(..) | Event::Answer(_) | Event::Internal => "complete",
        Event::Poll(..) => "poll",
        Event::Take(_) => "take",
        Event::Orphan(_) => "orphan",
        Event::Cancel(_) => "cancel",
        Event::CancelAll => "cancel_all",
        Event::Expire(_) => "expire",
        Event::NewGroup | Event::Join(_) | Event::PollGroup(_) | Event::DropGroup => "group",
        Event::Expect => "expect_internal",
    }
}

/// A table that panics has failed as well; the message says where.
pub(crate) fn guarded(body: impl FnOnce() -> Verdict) -> Verdict {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    result.unwrap_or_else(|payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "panicked".into()))
    })
}
