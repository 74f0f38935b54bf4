//! Operations that have begun and not ended, and the queues of the descriptors that they wait for.
//!
//! An operation is found by the slot of the table that its name leads to. Those that wait for the same direction of a
//! descriptor stand in a queue, in the order of their submission.

use std::os::fd::RawFd;

use crate::backend::Submission;

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind another member of its chain.
    Chained,
    /// In a queue of this descriptor.
    Queue(RawFd, Line),
    /// With the pool's threads.
    Pool,
    /// With Linux AIO.
    Disk,
    /// Until it is tried again.
    Later,
}

/// The queues of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    In,
    Out,
    /// Those that only ask whether it is ready.
    Poll,
}

/// An operation that has not ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) submission: Submission,
    pub(super) place: Place,
    pub(super) progress: u32,
    /// The next member of its chain.
    pub(super) following: u32,
    /// The next in its queue.
    next: u32,
}

impl Entry {
    /// One that is in no queue yet.
    pub(super) fn new(submission: &Submission, progress: u32, following: u32) -> Self {
        let place = Place::Chained;
        Self { submission: *submission, place, progress, following, next: NONE }
    }
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

/// What is known of a descriptor's number. The file behind it may be another one since, so all of it is a guess, but for
/// the queues, whose operations keep it open.
#[derive(Debug, Default)]
pub(super) struct Watched {
    queues: [Queue; 3],
    /// What the poller will tell of next.
    pub(super) armed: u32,
    /// The poller has it.
    pub(super) known: bool,
    /// Its stream had no more bytes at the last look.
    pub(super) dry: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waits {
    entries: Vec<Option<Entry>>,
    watched: Vec<Watched>,
    count: usize,
}

/// The slot that a name leads to.
pub(super) fn slot(user_data: u64) -> u32 {
    u32::try_from(user_data >> 32).unwrap_or(NONE)
}

fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Line {
    fn place(self) -> usize {
        match self {
            Line::In => 0,
            Line::Out => 1,
            Line::Poll => 2,
        }
    }
}

impl Waits {
    /// How many there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        let index = slot(entry.submission.user_data);
        if self.entries.len() <= at(index) {
            self.entries.resize_with(at(index) + 1, || None);
        }
        if let Some(place) = self.entries.get_mut(at(index)) {
            debug_assert!(place.is_none(), "a slot has one operation at a time");
            *place = Some(entry);
            self.count += 1;
        }
        index
    }

    pub(super) fn get(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at(index))?.as_mut()
    }

    /// The operation of this very name.
    pub(super) fn find(&mut self, user_data: u64) -> Option<&mut Entry> {
        self.get(slot(user_data)).filter(|entry| entry.submission.user_data == user_data)
    }

    /// Takes one out that is in no queue.
    pub(super) fn remove(&mut self, index: u32) -> Option<Entry> {
        let entry = self.entries.get_mut(at(index))?.take()?;
        self.count -= 1;
        Some(entry)
    }

    /// A member of a chain goes: the one before it is the last.
    pub(super) fn end_chain_before(&mut self, index: u32) {
        let mut entries = self.entries.iter_mut().flatten();
        if let Some(before) = entries.find(|entry| entry.following == index) {
            before.following = NONE;
        }
    }

    pub(super) fn watched(&mut self, fd: RawFd) -> Option<&mut Watched> {
        self.watched.get_mut(usize::try_from(fd).ok()?)
    }

    /// What is known of `fd`, where nothing was.
    pub(super) fn watch(&mut self, fd: RawFd) -> Option<&mut Watched> {
        let place = usize::try_from(fd).ok()?;
        if self.watched.len() <= place {
            self.watched.resize_with(place + 1, Watched::default);
        }
        self.watched.get_mut(place)
    }

    /// The first in a queue.
    pub(super) fn first(&mut self, fd: RawFd, line: Line) -> Option<u32> {
        let head = self.watched(fd)?.queues.get(line.place())?.head;
        (head != NONE).then_some(head)
    }

    /// The one behind `index`.
    pub(super) fn behind(&mut self, index: u32) -> Option<u32> {
        let next = self.get(index)?.next;
        (next != NONE).then_some(next)
    }

    /// Puts an operation at the end of a queue.
    pub(super) fn enqueue(&mut self, index: u32, fd: RawFd, line: Line) {
        let Some(entry) = self.get(index) else { return };
        (entry.place, entry.next) = (Place::Queue(fd, line), NONE);
        let Some(queue) = self.watch(fd).and_then(|fd| fd.queues.get_mut(line.place())) else {
            return;
        };
        let last = std::mem::replace(&mut queue.tail, index);
        if last == NONE {
            queue.head = index;
        } else if let Some(last) = self.get(last) {
            last.next = index;
        }
    }

    /// Takes an operation out of the queue that it is in.
    pub(super) fn unlink(&mut self, index: u32) {
        let Some(entry) = self.get(index) else { return };
        let Place::Queue(fd, line) = entry.place else { return };
        entry.place = Place::Later;
        let next = std::mem::replace(&mut entry.next, NONE);
        let mut before = NONE;
        let mut place = self.first(fd, line);
        while let Some(current) = place.filter(|current| *current != index) {
            before = current;
            place = self.behind(current);
        }
        if let Some(entry) = self.get(before) {
            entry.next = next;
        }
        let Some(queue) = self.watched(fd).and_then(|fd| fd.queues.get_mut(line.place())) else {
            return;
        };
        if before == NONE {
            queue.head = next;
        }
        if next == NONE {
            queue.tail = before;
        }
        // What is known of the number may be of another file before it is used again.
        if let Some(watched) = self.watched(fd)
            && watched.queues.iter().all(|queue| queue.head == NONE)
        {
            watched.armed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use safer_ring_core::Op;

    use super::*;

    fn submission(slot: u64) -> Submission {
        Submission {
            user_data: slot << 32 | 1,
            op: Op::Nop,
            fd: 3,
            other: -1,
            ptr: std::ptr::null_mut(),
            init: 0,
            capacity: 0,
            link: false,
            begun: 0,
            poll_first: None,
            class: None,
        }
    }

    #[test]
    fn queues_keep_their_order_whoever_leaves() {
        for gone in 0..4u32 {
            let mut waits = Waits::default();
            for slot in 0..4 {
                let index = waits.insert(Entry::new(&submission(slot), 0, NONE));
                waits.enqueue(index, 3, Line::In);
            }
            waits.unlink(gone);
            assert!(waits.remove(gone).is_some());
            let index = waits.insert(Entry::new(&submission(9), 0, NONE));
            waits.enqueue(index, 3, Line::In);
            let mut found = Vec::new();
            let mut place = waits.first(3, Line::In);
            while let Some(index) = place {
                found.push(index);
                place = waits.behind(index);
            }
            let expected: Vec<u32> = [0, 1, 2, 3, 9].into_iter().filter(|at| *at != gone).collect();
            assert_eq!(found, expected);
            assert_eq!(waits.count(), 4);
            for index in expected {
                waits.unlink(index);
            }
            assert!(waits.first(3, Line::In).is_none());
        }
    }

    #[test]
    fn a_name_of_an_earlier_use_finds_nothing() {
        let mut waits = Waits::default();
        waits.insert(Entry::new(&submission(2), 0, NONE));
        assert!(waits.find(2 << 32 | 1).is_some());
        assert!(waits.find(2 << 32 | 17).is_none());
        assert!(waits.find(7 << 32 | 1).is_none());
    }
}
