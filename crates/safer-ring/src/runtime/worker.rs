//! One thread of a runtime: its ring, its tasks, and the queue of those that are ready.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_task::Runnable;
use safer_ring_backend::Tasks;
use safer_ring_buf::quietly;
use slab::Slab;

use super::end::End;
use super::handle::Handle;
use super::post::{Letter, Post};
use super::task::{Deliver, Desk, Guarded, JoinHandle};
use crate::local;

/// Tasks that are run before the ring and the letter box are looked at, if so many are ready.
const TASKS_PER_LOOK: usize = 64;
/// The same where more are ready: else each look would take in more than is worked off, and all that peers have sent would wait
/// here, in buffers that are missing elsewhere.
const MOST_PER_LOOK: usize = 512;
/// How long the end of a thread waits for wakers that other threads are firing.
const WAKERS_LIMIT: Duration = Duration::from_millis(500);

thread_local! {
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// One thread of a runtime. It lives on that thread only.
pub(super) struct Worker {
    index: usize,
    ring: local::Ring,
    handle: Handle,
    post: Arc<Post>,
    /// Tasks that are ready. Never borrowed while foreign code runs, as are the others.
    ready: RefCell<VecDeque<Runnable>>,
    /// The wakers of all tasks that have not ended.
    seats: RefCell<Slab<Waker>>,
    /// Letters that were collected, empty between two looks; kept for its memory.
    letters: RefCell<VecDeque<Letter>>,
    closing: Cell<bool>,
    orders: RefCell<Orders>,
}

/// Whether and how the thread is to end.
#[derive(Default)]
struct Orders {
    end: Option<End>,
    waiter: Option<Waker>,
}

impl Worker {
    pub(super) fn new(index: usize, ring: local::Ring, handle: Handle) -> Rc<Self> {
        let post = Post::new(ring.inner().bell());
        Rc::new(Self {
            index,
            ring,
            handle,
            post,
            ready: RefCell::default(),
            seats: RefCell::default(),
            letters: RefCell::default(),
            closing: Cell::new(false),
            orders: RefCell::default(),
        })
    }

    /// The worker whose `block_on` this thread is in.
    pub(super) fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// From now on this is the current one, until the answer is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Entered {
        let entered = CURRENT.try_with(|current| current.replace(Some(Rc::clone(self))));
        Entered { before: entered.ok().flatten() }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn ring(&self) -> &local::Ring {
        &self.ring
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn post(&self) -> &Arc<Post> {
        &self.post
    }

    /// Runs `future` and the tasks of this thread until the future has ended.
    pub(super) fn block_on<F: Future>(self: &Rc<Self>, future: F) -> F::Output {
        let _entered = self.enter();
        self.ring.inner().run(future, &Turns(self))
    }

    /// Runs the tasks of this thread until somebody calls [`Worker::order_end`].
    pub(super) fn run_to_end(self: &Rc<Self>) -> End {
        loop {
            let end = poll_fn(|cx| {
                let mut orders = self.orders.borrow_mut();
                if let Some(end) = orders.end.take() {
                    return Poll::Ready(end);
                }
                orders.waiter = Some(cx.waker().clone());
                Poll::Pending
            });
            // A waker or a buffer that panics must not take the tasks of the others down.
            match catch_unwind(AssertUnwindSafe(|| self.block_on(end))) {
                Ok(end) => return end,
                Err(payload) => std::mem::forget(payload),
            }
        }
    }

    /// Ends [`Worker::run_to_end`].
    pub(super) fn order_end(&self, end: End) {
        let waiter = {
            let mut orders = self.orders.borrow_mut();
            orders.end = Some(end);
            orders.waiter.take()
        };
        if let Some(waiter) = waiter {
            quietly(|| waiter.wake());
        }
    }

    /// Starts a task.
    pub(super) fn spawn<F: Future + 'static>(self: &Rc<Self>, future: F) -> JoinHandle<F::Output> {
        let desk = Desk::new();
        self.start(future, Deliver::new(&desk));
        JoinHandle::new(desk)
    }

    /// Starts a task whose result goes to a desk that exists.
    pub(super) fn start<F: Future + 'static>(
        self: &Rc<Self>,
        future: F,
        deliver: Deliver<F::Output>,
    ) {
        if self.closing.get() {
            return quietly(|| drop(future));
        }
        let number = self.seats.borrow_mut().insert(Waker::noop().clone());
        let seat = Seat { worker: Rc::clone(self), number };
        let desk = deliver.desk();
        let post = Arc::clone(&self.post);
        let schedule = move |task| schedule(&post, task);
        let guarded = Guarded::new(future, deliver, seat);
        let (runnable, task) = async_task::spawn_local(guarded, schedule);
        task.detach();
        desk.set_task(runnable.waker());
        if let Some(seat) = self.seats.borrow_mut().get_mut(number) {
            *seat = runnable.waker();
        }
        self.ready.borrow_mut().push_back(runnable);
    }

    /// Takes in what other threads have sent.
    #[cold]
    fn collect(self: &Rc<Self>) {
        let mut letters = self.letters.take();
        self.post.collect(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Task(task) => self.ready.borrow_mut().push_back(task),
                Letter::Call(call) => quietly(|| call(self)),
            }
        }
        *self.letters.borrow_mut() = letters;
    }

    /// Drops the futures of all tasks, and takes no more. Gives how many there were, and how many could not be dropped.
    pub(super) fn close(self: &Rc<Self>) -> Closed {
        let _entered = self.enter();
        self.closing.set(true);
        let wakers: Vec<Waker> = self.seats.borrow().iter().map(|(_, seat)| seat.clone()).collect();
        let tasks = wakers.len();
        // Now each is in the queue, or in the hands of a waker that another thread is firing.
        wakers.into_iter().for_each(|waker| quietly(|| waker.wake()));
        let limit = Instant::now() + WAKERS_LIMIT;
        loop {
            self.drop_ready();
            self.collect();
            if !self.ready.borrow().is_empty() {
                continue;
            }
            if self.seats.borrow().is_empty() || Instant::now() > limit {
                break;
            }
            thread::yield_now();
        }
        for letter in self.post.close() {
            quietly(|| drop(letter));
        }
        self.drop_ready();
        Closed { tasks, lost: self.seats.borrow().len() }
    }

    fn drop_ready(&self) {
        loop {
            let task = self.ready.borrow_mut().pop_front();
            let Some(task) = task else { return };
            quietly(|| drop(task));
        }
    }
}

/// What [`Worker::close`] did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closed {
    /// Tasks that had not ended.
    pub(super) tasks: usize,
    /// Those of them that were leaked, as another thread was waking them all the time.
    pub(super) lost: usize,
}

/// The tasks of a worker, as its ring sees them.
struct Turns<'a>(&'a Rc<Worker>);

impl Tasks for Turns<'_> {
    #[inline]
    fn run(&self) -> (u32, bool) {
        if self.0.post.has_news() {
            self.0.collect();
        }
        let mut polled = 0;
        let ready = self.0.ready.borrow().len();
        for _ in 0..ready.clamp(TASKS_PER_LOOK, MOST_PER_LOOK) {
            let task = self.0.ready.borrow_mut().pop_front();
            let Some(task) = task else { return (polled, false) };
            polled += 1;
            // The future is guarded; what is left to panic is the waker of a handle.
            quietly(|| {
                task.run();
            });
        }
        (polled, !self.0.ready.borrow().is_empty())
    }

    #[inline]
    fn rest(&self) -> bool {
        self.0.post.rest()
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.seats.borrow().len();
        let debug = &mut f.debug_struct("Worker");
        debug.field("index", &self.index).field("tasks", &tasks).finish_non_exhaustive()
    }
}

/// A task was woken, on any thread: into the queue if this is its own, into the letter box of its own if not.
///
/// The future of the task may only be touched by its own thread, so a task that cannot be delivered is never dropped
/// here.
fn schedule(post: &Arc<Post>, task: Runnable) {
    let mut task = Some(task);
    // An error: the thread is on its way out. The letter box decides.
    let _ = CURRENT.try_with(|current| {
        if let Ok(current) = current.try_borrow()
            && let Some(worker) = &*current
            && Arc::ptr_eq(&worker.post, post)
            && let Some(task) = task.take()
        {
            worker.ready.borrow_mut().push_back(task);
        }
    });
    if let Some(task) = task {
        post.send_task(task);
    }
}

/// The place of a task among those that have not ended.
pub(super) struct Seat {
    worker: Rc<Worker>,
    number: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let waker = self.worker.seats.borrow_mut().try_remove(self.number);
        drop(waker);
    }
}

/// Ends [`Worker::enter`].
pub(super) struct Entered {
    before: Option<Rc<Worker>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // An error: the thread is on its way out, and nobody is current any more.
        let last = CURRENT.try_with(|current| current.replace(self.before.take()));
        drop(last);
    }
}
