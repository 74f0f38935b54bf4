//! The letter box of a thread: what other threads want of it. How they wake it, and why no wake-up is lost, stands at
//! the head of `letters.rs` in the backend crate.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use async_task::Runnable;
use safer_ring_backend::{Doorbell, LetterBox};

use super::worker::Worker;

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
    letters: LetterBox<Letter>,
}

impl Post {
    pub(super) fn new(bell: Arc<Doorbell>) -> Arc<Self> {
        Arc::new(Self { letters: LetterBox::new(bell) })
    }

    /// Puts a letter into the box; it comes back if the thread takes none any more.
    pub(super) fn send(&self, letter: Letter) -> Result<(), Letter> {
        self.letters.send(letter)
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
        self.letters.has_news()
    }

    /// Moves the letters into `to`. Only for the owner, who is awake from now on.
    pub(super) fn collect(&self, to: &mut VecDeque<Letter>) {
        self.letters.collect(to);
    }

    /// Whether the owner may sleep: no letter has come since it collected them last.
    #[inline]
    pub(super) fn rest(&self) -> bool {
        self.letters.rest()
    }

    /// Takes no more letters, and gives those that are left. Only for the owner.
    pub(super) fn close(&self) -> VecDeque<Letter> {
        self.letters.close()
    }
}

impl Drop for Post {
    /// The last handle may be dropped by any thread, and only the owner drops its tasks.
    fn drop(&mut self) {
        for letter in self.letters.close() {
            if let Letter::Task(task) = letter {
                mem::forget(task);
            }
        }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("letters", &self.letters).finish()
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
