//! A kernel whose completions the test writes by hand.
//!
//! # Safety
//! Implements the unsafe trait; it never touches lent memory.
//!
//! Tests: a_failed_enter_keeps_the_operation
#![allow(unsafe_code, reason = "implements Backend")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use safer_ring_sys::{Cqe, Cqe32, Errno};

use super::Guarded;
use crate::backend::{Backend, Submission, Submitted, Wait};
use crate::driver::Driver;

/// What an `enter` is to do.
pub(super) enum Answer {
    /// Takes nothing and fails.
    Refuse(Errno),
    /// Takes everything and fails all the same.
    TakeAndRefuse(Errno),
    /// Takes only the first so many.
    Take(usize),
    /// Posts a completion, takes nothing and fails.
    PostAndRefuse(u64, i32, Errno),
}

/// One entry: its name, its target if it is a cancellation, and the poll that goes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) user_data: u64,
    pub(super) target: Option<u64>,
    pub(super) poll_first: Option<u32>,
    pub(super) link: bool,
}

#[derive(Default)]
pub(super) struct State {
    /// Places in the submission queue.
    pub(super) entries: usize,
    pub(super) queued: VecDeque<Entry>,
    /// What the kernel has, or has had.
    pub(super) taken: Vec<Entry>,
    pub(super) completions: VecDeque<Cqe>,
    /// Second halves of the next completions, if they have any; afterwards they are zero.
    pub(super) halves: Option<VecDeque<[u64; 2]>>,
    /// Of the next enters; afterwards they succeed.
    pub(super) answers: VecDeque<Answer>,
    /// Of all enters, if set.
    pub(super) always: Option<Errno>,
    /// Of the next submissions; afterwards they are queued.
    pub(super) immediate: VecDeque<i32>,
    /// Of all submissions, if set.
    pub(super) always_immediate: Option<i32>,
    /// The next so many cancellations find nothing, and are answered when they are taken.
    pub(super) fruitless: u32,
    /// A thread of the kernel takes the entries: so many before each look at how many are left, all of them if that is
    /// not said. An `enter` takes one only where the queue is full.
    pub(super) polling: Option<VecDeque<usize>>,
    pub(super) enters: u32,
}

impl State {
    pub(super) fn post(&mut self, user_data: u64, res: i32) {
        self.completions.push_back(Cqe { user_data, res, flags: 0 });
    }

    pub(super) fn post_more(&mut self, user_data: u64, res: i32) {
        let flags = safer_ring_sys::cqe_flags::MORE;
        self.completions.push_back(Cqe { user_data, res, flags });
    }

    pub(super) fn take(&mut self, count: usize) {
        for entry in self.queued.drain(..count) {
            if entry.target.is_some() && self.fruitless > 0 {
                self.fruitless -= 1;
                self.completions.push_back(Cqe { user_data: entry.user_data, res: -2, flags: 0 });
            }
            self.taken.push(entry);
        }
    }

    /// The names of the operations that the kernel has, without cancellations.
    pub(super) fn operations(&self) -> Vec<u64> {
        self.taken.iter().filter(|e| e.target.is_none()).map(|e| e.user_data).collect()
    }
}

pub(super) type Kernel = Rc<RefCell<State>>;

/// The kernel as the driver sees it.
pub(super) struct Memory(Kernel);

/// A driver of a hand-made kernel with `entries` places.
pub(super) fn driver(entries: u32) -> (Driver<Guarded, Memory>, Kernel) {
    let state = State { entries: usize::try_from(entries).unwrap(), ..State::default() };
    let kernel = Rc::new(RefCell::new(state));
    let driver = Driver::new(Memory(Rc::clone(&kernel)), entries).unwrap();
    (driver, kernel)
}

// SAFETY: it keeps names only and touches no lent memory; a test that posts a completion decides what
// has ended.
unsafe impl Backend for Memory {
    fn room(&self) -> u32 {
        let state = self.0.borrow();
        u32::try_from(state.entries - state.queued.len()).unwrap()
    }

    unsafe fn submit(&mut self, submission: &Submission) -> Submitted {
        let mut state = self.0.borrow_mut();
        if let Some(result) = state.immediate.pop_front().or(state.always_immediate) {
            return Submitted::Done(result);
        }
        assert!(state.queued.len() < state.entries, "the driver asks for room");
        state.queued.push_back(Entry {
            user_data: submission.user_data,
            target: None,
            poll_first: submission.poll_first,
            link: submission.link,
        });
        Submitted::Queued
    }

    fn cancel(&mut self, user_data: u64, target: u64) {
        let mut state = self.0.borrow_mut();
        assert!(state.queued.len() < state.entries, "the driver asks for room");
        let entry = Entry { user_data, target: Some(target), poll_first: None, link: false };
        state.queued.push_back(entry);
    }

    fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        let mut state = self.0.borrow_mut();
        state.enters += 1;
        if let Some(errno) = state.always {
            return Err(errno);
        }
        let mut count = state.queued.len();
        let mut answer = Ok(());
        match state.answers.pop_front() {
            Some(Answer::Refuse(errno)) => return Err(errno),
            Some(Answer::PostAndRefuse(user_data, res, errno)) => {
                state.post(user_data, res);
                return Err(errno);
            }
            Some(Answer::TakeAndRefuse(errno)) => answer = Err(errno),
            Some(Answer::Take(limit)) => count = count.min(limit),
            None if state.polling.is_some() => count = usize::from(count == state.entries),
            None => {}
        }
        state.take(count);
        if answer.is_ok() && state.completions.is_empty() {
            match wait {
                Wait::No | Wait::Fresh => {}
                Wait::One => panic!("sleeps where nothing will ever end the sleep"),
                Wait::For(_) => return Err(Errno::TIME),
            }
        }
        answer
    }

    fn is_wide(&self) -> bool {
        self.0.borrow().halves.is_some()
    }

    fn pop_wide(&mut self) -> Option<Cqe32> {
        let cqe = self.pop()?;
        let half = self.0.borrow_mut().halves.as_mut().and_then(VecDeque::pop_front);
        Some(Cqe32 { cqe, big: half.unwrap_or_default() })
    }

    fn pop(&mut self) -> Option<Cqe> {
        self.0.borrow_mut().completions.pop_front()
    }

    fn pending(&self) -> u32 {
        let mut state = self.0.borrow_mut();
        let all = state.queued.len();
        if let Some(polling) = &mut state.polling {
            let count = polling.pop_front().unwrap_or(all).min(all);
            state.take(count);
        }
        u32::try_from(state.queued.len()).unwrap()
    }

    fn takes_by_itself(&self) -> bool {
        self.0.borrow().polling.is_some()
    }

    fn pause(&mut self, _: Duration) {}

    fn ready(&self) -> bool {
        !self.0.borrow().completions.is_empty()
    }

    fn retract(&mut self, each: &mut dyn FnMut(u64)) {
        while let Some(entry) = { self.0.borrow_mut().queued.pop_back() } {
            each(entry.user_data);
        }
    }
}
