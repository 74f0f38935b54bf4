//! A backend that puts faults between a driver and a real backend.
//!
//! # Safety
//! Implements the unsafe trait by handing on: each submission reaches the backend inside at most once,
//! with the parts it came with, and only completions that this file invented have names of their own.
//!
//! Tests: ten_thousand_operations_under_random_faults_end_exactly_once
#![allow(unsafe_code, reason = "implements Backend")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use safer_ring_core::{Key, Tag};
use safer_ring_sys::{Cqe, Errno};

use super::Dice;
use crate::backend::{Backend, Submission, Submitted, Wait};

/// Whether faults happen.
pub(super) enum Chances {
    /// Only what [`Plan::next`] says.
    None,
    /// Often, from this start of the dice.
    Some(u64),
}

/// What one `enter` suffers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It fails, and nothing was taken.
    Before(Errno),
    /// It fails, and everything was taken.
    After(Errno),
    /// Only so many are taken.
    Partial(usize),
}

/// The test's view.
#[derive(Default)]
pub(super) struct Plan {
    /// Faults of the next enters.
    pub(super) next: VecDeque<Fault>,
    /// Completions that are no operation's end: doubles, stale and invented ones.
    pub(super) strangers: u64,
    /// Enters that suffered something.
    pub(super) faults: u64,
    /// Completions held back.
    pub(super) held_back: usize,
}

enum Held {
    Operation(Submission),
    Cancel { user_data: u64, target: u64 },
}

pub(super) struct Faulty<B> {
    inner: B,
    plan: Rc<RefCell<Plan>>,
    dice: Option<Dice>,
    /// Queued, and not yet given to the backend inside.
    held: VecDeque<Held>,
    /// Completed, and not yet shown.
    late: Vec<Cqe>,
    /// Names of completions that were shown.
    shown: Vec<u64>,
}

impl<B: Backend> Faulty<B> {
    pub(super) fn new(inner: B, chances: Chances) -> (Self, Rc<RefCell<Plan>>) {
        let plan = Rc::new(RefCell::new(Plan::default()));
        let dice = match chances {
            Chances::None => None,
            Chances::Some(seed) => Some(Dice(seed)),
        };
        let (held, late, shown) = (VecDeque::new(), Vec::new(), Vec::new());
        (Self { inner, plan: Rc::clone(&plan), dice, held, late, shown }, plan)
    }

    fn next_fault(&mut self) -> Option<Fault> {
        if let Some(fault) = self.plan.borrow_mut().next.pop_front() {
            return Some(fault);
        }
        let dice = self.dice.as_mut()?;
        let errno = match dice.below(4) {
            0 => Errno::AGAIN,
            1 => Errno::BUSY,
            2 => Errno::INTR,
            _ => Errno::NOMEM,
        };
        match dice.below(10) {
            0 => Some(Fault::Before(errno)),
            1 => Some(Fault::After(errno)),
            2 | 3 => Some(Fault::Partial(usize::try_from(dice.below(4)).unwrap())),
            _ => None,
        }
    }

    /// Gives the first `count` held entries to the backend inside.
    fn hand_over(&mut self, count: usize) {
        for _ in 0..count {
            if self.inner.room() == 0 {
                let _ = self.inner.enter(Wait::No);
            }
            match self.held.pop_front() {
                None => return,
                Some(Held::Cancel { user_data, target }) => self.inner.cancel(user_data, target),
                Some(Held::Operation(submission)) => {
                    // SAFETY: the copy of what one call of `submit` got, whose promise holds until the last
                    // completion of `user_data`; it leaves `held` once.
                    let submitted = unsafe { self.inner.submit(&submission) };
                    if let Submitted::Done(res) = submitted {
                        self.late.push(Cqe { user_data: submission.user_data, res, flags: 0 });
                    }
                }
            }
        }
    }

    /// Lets some of the late completions go, with strangers among them.
    fn show(&mut self, out: &mut [Cqe]) -> usize {
        let mut filled = 0;
        while filled < out.len() && !self.late.is_empty() {
            let (at, invented) = match &mut self.dice {
                None => (0, None),
                Some(dice) => {
                    if dice.one_in(4) {
                        break;
                    }
                    let old = (!self.shown.is_empty()).then(|| {
                        self.shown[usize::try_from(dice.next() >> 1).unwrap() % self.shown.len()]
                    });
                    let invented = match dice.below(12) {
                        0 => Some(0),
                        1 => Some(u64::MAX),
                        2 => Some(Key::new(u32::MAX - 1, 3).user_data(Tag::Operation)),
                        3 | 4 => old,
                        _ => None,
                    };
                    let length = u64::try_from(self.late.len()).unwrap();
                    (usize::try_from(dice.below(length)).unwrap(), invented)
                }
            };
            out[filled] = match invented {
                Some(user_data) => {
                    self.plan.borrow_mut().strangers += 1;
                    Cqe { user_data, res: -5, flags: 0 }
                }
                None => {
                    let cqe = self.late.swap_remove(at);
                    self.shown.push(cqe.user_data);
                    cqe
                }
            };
            filled += 1;
        }
        self.plan.borrow_mut().held_back = self.late.len();
        filled
    }
}

// SAFETY: the rules hold since they hold for the backend inside: a submission is handed on once, and
// completions come from there; an invented one carries a name that has ended or never was.
unsafe impl<B: Backend> Backend for Faulty<B> {
    fn room(&self) -> u32 {
        self.inner.room().saturating_sub(u32::try_from(self.held.len()).unwrap())
    }

    unsafe fn submit(&mut self, s: &Submission) -> Submitted {
        assert!(self.room() > 0, "the driver asks for room");
        self.held.push_back(Held::Operation(*s));
        Submitted::Queued
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        assert!(self.room() > 0, "the driver asks for room");
        self.held.push_back(Held::Cancel { user_data, target });
    }

    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        let fault = self.next_fault();
        self.plan.borrow_mut().faults += u64::from(fault.is_some());
        match fault {
            Some(Fault::Before(errno)) => Err(errno),
            Some(Fault::After(errno)) => {
                self.hand_over(self.held.len());
                self.inner.enter(Wait::No)?;
                Err(errno)
            }
            Some(Fault::Partial(count)) => {
                self.hand_over(count);
                self.inner.enter(Wait::No)
            }
            None => {
                self.hand_over(self.held.len());
                // What is held back here is no reason to sleep.
                self.inner.enter(if self.late.is_empty() { wait } else { Wait::No })
            }
        }
    }

    fn pop(&mut self) -> Option<Cqe> {
        while let Some(fresh) = self.inner.pop() {
            self.late.push(fresh);
        }
        let mut one = [Cqe::default()];
        (self.show(&mut one) == 1).then_some(one[0])
    }

    fn refill(&mut self) -> bool {
        self.inner.refill()
    }

    fn pending(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap() + self.inner.pending()
    }

    fn ready(&self) -> bool {
        !self.late.is_empty() || self.inner.ready()
    }

    fn resume(&mut self, cqe: Cqe) -> Option<Cqe> {
        self.inner.resume(cqe)
    }

    fn retract(&mut self, each: &mut dyn FnMut(u64)) {
        while let Some(held) = self.held.pop_back() {
            each(match held {
                Held::Operation(submission) => submission.user_data,
                Held::Cancel { user_data, .. } => user_data,
            });
        }
        self.inner.retract(each);
    }
}
