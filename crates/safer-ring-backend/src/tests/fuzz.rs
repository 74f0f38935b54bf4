//! A driver and a kernel that both do what an input says, with inputs that `cargo xtask fuzz` has found: see
//! safer-ring-fuzz.
//!
//! The kernel ends what it has when and how it likes, refuses, takes a part, answers at once, and posts completions of its
//! own invention. It does not end a second time what it has at that moment; nobody could tell that from an ending.

use std::task::Waker;
use std::time::Duration;

use safer_ring_core::{CURSOR, Key, Op, Tag, decode};
use safer_ring_fuzz::{Bytes, drive};
use safer_ring_sys::{Cqe, Errno, cqe_flags};

use super::memory::{Answer, Entry, Kernel, Memory, driver};
use super::{Count, Guarded, begin, clean_up, lent, submit_linked, take};
use crate::driver::Driver;

const OPS: [Op; 5] = [
    Op::Nop,
    Op::Recv { flags: 0 },
    Op::Fsync { datasync: false },
    Op::Poll { events: 1 },
    Op::Read { offset: CURSOR },
];
/// Results: successes, and errors that mean something to the driver.
const RESULTS: [i32; 7] = [0, 1, 4096, -4, -11, -105, -125];
/// Errors of `enter` that end its attempts at once, so that no time is spent.
const REFUSALS: [Errno; 3] = [Errno::INTR, Errno::BADF, Errno::TIME];
const MOST: usize = 64;
/// Turns in which everything must have ended.
const TURNS: usize = 1000;

struct One {
    key: Key,
    released: Count,
    owned: bool,
}

struct World {
    driver: Driver<Guarded, Memory>,
    kernel: Kernel,
    ops: Vec<One>,
    /// What the kernel has, with requests to cancel.
    has: Vec<Entry>,
}

impl World {
    fn new(entries: u32) -> Self {
        let (driver, kernel) = driver(entries);
        Self { driver, kernel, ops: Vec::new(), has: Vec::new() }
    }

    fn begin(&mut self, bytes: &mut Bytes<'_>) {
        if self.ops.len() >= MOST {
            return;
        }
        let op = *bytes.one(&OPS).unwrap();
        let (key, released) = begin(&mut self.driver, op);
        self.ops.push(One { key, released, owned: true });
    }

    fn begin_chain(&mut self, members: u16) {
        let too_long = usize::from(members) > self.kernel.borrow().entries;
        if too_long || self.ops.len() + usize::from(members) > MOST {
            return;
        }
        for following in (0..members).rev() {
            let released = Count::default();
            let key = submit_linked(&mut self.driver, lent(&released), following);
            self.ops.push(One { key, released, owned: true });
        }
    }

    fn post(&mut self, bytes: &mut Bytes<'_>) {
        if self.has.is_empty() {
            return;
        }
        let at = bytes.below(self.has.len());
        let res = *bytes.one(&RESULTS).unwrap();
        let flags = match bytes.below(4) {
            0 => cqe_flags::MORE,
            1 => cqe_flags::NOTIF,
            _ => 0,
        };
        let user_data = self.has[at].user_data;
        let flags = if self.has[at].target.is_some() { 0 } else { flags };
        if flags & cqe_flags::MORE == 0 {
            self.has.swap_remove(at);
        }
        self.kernel.borrow_mut().completions.push_back(Cqe { user_data, res, flags });
    }

    /// A completion of nothing that is under way: of what has ended, or of nothing at all. The driver's own names are left
    /// out, since nothing of its own is outstanding here.
    fn invent(&mut self, bytes: &mut Bytes<'_>) {
        let ended: Vec<Key> =
            self.ops.iter().filter(|one| one.released.get() == 1).map(|one| one.key).collect();
        let user_data = match bytes.one(&ended) {
            Some(key) if bytes.flip() => key.user_data(Tag::Operation),
            _ => u64::from(bytes.long()) << 32 | u64::from(bytes.byte() & 1),
        };
        let live = |key: Key| self.ops.iter().any(|one| one.key == key && one.released.get() == 0);
        if !decode(user_data).is_some_and(|(_, key)| live(key)) {
            self.kernel.borrow_mut().post(user_data, 1);
        }
    }

    fn turn(&mut self, how: usize) {
        match how {
            0 => self.driver.flush(),
            1 => self.driver.look(),
            2 => self.driver.take_in(),
            _ => self.driver.wait(Some(Duration::ZERO)),
        }
        clean_up(&mut self.driver);
        self.learn();
    }

    /// What has been handed over; and nothing that the kernel has is released.
    fn learn(&mut self) {
        self.has.append(&mut self.kernel.borrow_mut().taken);
        for entry in self.has.iter().filter(|entry| entry.target.is_none()) {
            let (_, key) = decode(entry.user_data).unwrap();
            let one = self.ops.iter().find(|one| one.key == key).unwrap();
            assert_eq!(one.released.get(), 0, "released, and the kernel has it: {key:?}");
        }
        for one in &self.ops {
            assert!(one.released.get() <= 1, "released twice: {:?}", one.key);
            assert!(
                !one.owned || one.released.get() == 0,
                "released under its owner: {:?}",
                one.key
            );
        }
    }

    fn take(&mut self, at: usize) {
        let one = &mut self.ops[at];
        if one.owned && self.driver.poll(one.key, Waker::noop()) {
            let (resources, _) = take(&mut self.driver, one.key).unwrap();
            one.owned = false;
            assert_eq!(one.released.get(), 0);
            drop(resources);
            assert_eq!(one.released.get(), 1);
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.below(12);
        let at = if (5..8).contains(&what) { bytes.below(self.ops.len()) } else { 0 };
        match what {
            0 | 1 => self.begin(bytes),
            2 => self.begin_chain(u16::from(bytes.byte() % 3) + 1),
            3 | 4 => self.post(bytes),
            5..8 if self.ops.is_empty() => {}
            5 => self.take(at),
            6 if self.ops[at].owned => {
                self.ops[at].owned = false;
                self.driver.orphan(self.ops[at].key);
            }
            6 => {}
            7 => drop(self.driver.cancel(self.ops[at].key)),
            8 => self.invent(bytes),
            9 => {
                let answer = match bytes.below(3) {
                    0 => Answer::Refuse(*bytes.one(&REFUSALS).unwrap()),
                    1 => Answer::TakeAndRefuse(*bytes.one(&REFUSALS).unwrap()),
                    _ => Answer::Take(bytes.below(4)),
                };
                self.kernel.borrow_mut().answers.push_back(answer);
            }
            10 => self.kernel.borrow_mut().immediate.push_back(*bytes.one(&RESULTS).unwrap()),
            _ => {}
        }
        if what > 9 || bytes.flip() {
            self.turn(bytes.below(3));
        }
        self.learn();
    }

    /// From here on the kernel is a good one, and everything must end.
    fn finish(&mut self) {
        self.kernel.borrow_mut().answers.clear();
        self.kernel.borrow_mut().immediate.clear();
        for _ in 0..TURNS {
            for entry in std::mem::take(&mut self.has) {
                self.kernel.borrow_mut().post(entry.user_data, 0);
            }
            self.turn(1);
            for at in 0..self.ops.len() {
                self.take(at);
            }
            clean_up(&mut self.driver);
            if self.ops.iter().all(|one| one.released.get() == 1) && self.driver.is_idle() {
                return;
            }
        }
        panic!("it does not end: {:?}", self.driver);
    }
}

#[test]
fn driver_against_a_kernel() {
    drive("driver", |input| {
        let mut bytes = Bytes::new(input);
        let mut world = World::new(u32::from(bytes.byte() % 8) + 1);
        while !bytes.is_empty() {
            world.step(&mut bytes);
        }
        world.finish();
    });
}
