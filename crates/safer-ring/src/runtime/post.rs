//! The letter box of a thread: what other threads want of it, and how they wake it.
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
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_task::Runnable;
use safer_ring_backend::Doorbell;

use super::worker::Worker;

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const MAIL: u8 = 2;

/// What is to be done on another thread.
type Call = dyn FnOnce(&Rc<Worker>) + Send;

/// What one thread wants of another.
pub(super) enum Letter {
    /// A task of the thread was woken elsewhere.
    Task(Runnable),
    /// To be called there.
    Call(Box<Call>),
}

/// The letter box of a thread.
pub(super) struct Post {
    state: AtomicU8,
    letters: Mutex<Letters>,
    bell: Arc<Doorbell>,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// The thread takes no more.
    closed: bool,
}

impl Post {
    pub(super) fn new(bell: Arc<Doorbell>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(AWAKE), letters: Mutex::default(), bell })
    }

    /// Puts a letter into the box; it comes back if the thread takes none any more.
    pub(super) fn send(&self, letter: Letter) -> Result<(), Letter> {
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

    /// Sends a task that was woken to its thread.
    ///
    /// When that has ended, the task is not dropped but forgotten: its future belongs to that thread. All futures of a
    /// thread are dropped before its box is closed, so that this one is empty, unless a waker was being fired for longer
    /// than the end of the thread waits; that one is leaked.
    pub(super) fn send_task(&self, task: Runnable) {
        if let Err(letter) = self.send(Letter::Task(task)) {
            mem::forget(letter);
        }
    }

    /// Whether letters may have come. Only for the owner.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
    }

    /// Moves the letters into `to`. Only for the owner, who is awake from now on.
    pub(super) fn collect(&self, to: &mut VecDeque<Letter>) {
        if self.state.swap(AWAKE, Ordering::AcqRel) == MAIL {
            to.append(&mut self.lock().waiting);
        }
    }

    /// Whether the owner may sleep: no letter has come since it collected them last.
    #[inline]
    pub(super) fn rest(&self) -> bool {
        let to_sleep =
            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
        to_sleep.is_ok()
    }

    /// Takes no more letters, and gives those that are left. Only for the owner.
    pub(super) fn close(&self) -> VecDeque<Letter> {
        let mut letters = self.lock();
        letters.closed = true;
        mem::take(&mut letters.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Letters {
    /// The last handle may be dropped by any thread, and only the owner drops its tasks.
    fn drop(&mut self) {
        for letter in self.waiting.drain(..) {
            if let Letter::Task(task) = letter {
                mem::forget(task);
            }
        }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::local;

    /// Tells when it is dropped.
    struct Tells(mpsc::Sender<()>);

    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    fn post() -> (local::Ring, Arc<Post>) {
        let ring = local::Ring::new(8).unwrap();
        let post = Post::new(ring.inner().bell());
        (ring, post)
    }

    fn task() -> (Runnable, mpsc::Receiver<()>) {
        let (tells, told) = mpsc::channel();
        let tells = Tells(tells);
        let future = async move {
            let _tells = tells;
            pending::<()>().await;
        };
        let (task, handle) = async_task::spawn_local(future, drop);
        handle.detach();
        (task, told)
    }

    #[test]
    fn a_task_that_comes_too_late_is_not_dropped_elsewhere() {
        let (_ring, post) = post();
        assert_eq!(post.close().len(), 0);
        let (task, told) = task();
        thread::spawn(move || post.send_task(task)).join().unwrap();
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    }

    #[test]
    fn a_box_that_is_dropped_elsewhere_does_not_drop_its_tasks() {
        let (_ring, post) = post();
        let (task, told) = task();
        post.send_task(task);
        thread::spawn(move || drop(post)).join().unwrap();
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    }

    #[test]
    fn a_letter_keeps_its_owner_from_sleeping_until_it_is_collected() {
        let (_ring, post) = post();
        let mut letters = VecDeque::new();
        assert!(post.send(Letter::Call(Box::new(|_| {}))).is_ok());
        assert!(!post.rest(), "there is a letter");
        post.collect(&mut letters);
        assert_eq!(letters.len(), 1);
        assert!(post.rest());
        // It woke by itself: that alone brings nothing.
        post.collect(&mut letters);
        assert!(post.rest() && letters.len() == 1);
    }
}
