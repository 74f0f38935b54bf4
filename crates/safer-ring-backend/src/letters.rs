//! The letter box of a thread: what other threads put into it, and how they wake the owner.
//!
//! # No wake-up is lost
//! Everything hangs on one atomic word, whose changes all threads see in one order. A sender puts its letter into the
//! box, then swaps in `MAIL`, and rings the bell if it finds `ASLEEP`. The owner swaps `ASLEEP` in for `AWAKE` before it
//! sleeps, and does not sleep if it finds something else. So of a letter and a sleep, one comes first in that order:
//! * The owner's change first: the sender, or another one before it, finds `ASLEEP` and rings. The bell keeps its
//!   count and is watched by the ring, so the sleep ends, or does not begin.
//! * The letter first: the owner finds `MAIL`, and the swap that brings it back to `AWAKE` acquires what the sender
//!   released.
//!
//! Letters to a thread that is awake cost it no system call, and the sender none either.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;

use safer_ring_buf::sync::{AtomicU8, Lock, LockGuard, Ordering};

use crate::wake::Doorbell;

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const MAIL: u8 = 2;

/// What other threads want of the owner of a [`Doorbell`], in order.
pub struct LetterBox<T> {
    state: AtomicU8,
    letters: Lock<Letters<T>>,
    bell: Arc<Doorbell>,
}

struct Letters<T> {
    waiting: VecDeque<T>,
    /// The thread takes no more.
    closed: bool,
}

impl<T> LetterBox<T> {
    /// An empty one, whose owner is awake and sleeps in the ring that watches `bell`.
    #[must_use]
    pub fn new(bell: Arc<Doorbell>) -> Self {
        let letters = Lock::new(Letters { waiting: VecDeque::new(), closed: false });
        Self { state: AtomicU8::new(AWAKE), letters, bell }
    }

    /// Puts a letter into the box and wakes the owner if it sleeps.
    ///
    /// # Errors
    /// The letter comes back: the thread takes none any more.
    pub fn send(&self, letter: T) -> Result<(), T> {
        {
            let mut letters = self.lock();
            if letters.closed {
                return Err(letter);
            }
            letters.waiting.push_back(letter);
        }
        if self.state.swap(MAIL, Ordering::AcqRel) == ASLEEP {
            self.bell.ring();
        }
        Ok(())
    }

    /// Whether letters may have come. Only for the owner.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
    }

    /// Moves the letters into `to`. Only for the owner, who is awake from now on.
    pub fn collect(&self, to: &mut VecDeque<T>) {
        if self.state.swap(AWAKE, Ordering::AcqRel) == MAIL {
            to.append(&mut self.lock().waiting);
        }
    }

    /// Whether the owner may sleep: no letter has come since it collected them last.
    #[inline]
    pub fn rest(&self) -> bool {
        let to_sleep =
            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
        to_sleep.is_ok()
    }

    /// Takes no more letters, and gives those that are left.
    pub fn close(&self) -> VecDeque<T> {
        let mut letters = self.lock();
        letters.closed = true;
        mem::take(&mut letters.waiting)
    }

    fn lock(&self) -> LockGuard<'_, Letters<T>> {
        // Of a thread that a forked child does not have.
        self.letters.lock_or(|| Letters { waiting: VecDeque::new(), closed: true })
    }
}

impl<T> fmt::Debug for LetterBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterBox").field("state", &self.state).finish_non_exhaustive()
    }
}
