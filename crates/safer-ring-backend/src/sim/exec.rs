//! Tasks of a world, in one thread: which runs next is drawn from the seed, and the clock moves when none can.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::world::World;
use crate::local::LocalCell;

/// Rounds in a row without a step of time or of a task, after which nothing will ever come of it.
const ROUNDS: u32 = 10_000;

/// Rounds in which something is offered to the kernel, which ends nothing, before time goes by.
const TRIES: u32 = 16;

/// Why a run ended before its future did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stuck {
    /// Every task waits, and nothing is going to happen.
    Deadlock {
        /// What is in flight, a line each.
        operations: Vec<String>,
    },
    /// Memory or descriptors were used wrongly: [`World::findings`].
    Found(Vec<String>),
    /// The power has gone, as a [`Fault`](super::Fault) wanted it. The disk is what was left; nothing is running.
    Crashed,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, lines) = match self {
            Self::Deadlock { operations } => {
                ("every task waits, and nothing will happen", operations)
            }
            Self::Found(findings) => ("the simulation has found", findings),
            Self::Crashed => return f.write_str("the power has gone"),
        };
        f.write_str(what)?;
        for line in lines {
            write!(f, "; {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Stuck {}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What belongs to worlds and stays on this thread.
#[derive(Default)]
struct Here {
    rings: Vec<(usize, Weak<LocalCell>)>,
    /// Tasks that no run has taken yet.
    fresh: Vec<(usize, Task)>,
}

thread_local! {
    static HERE: RefCell<Here> = RefCell::default();
}

pub(super) fn add_local(place: usize, cell: &Rc<LocalCell>) {
    // A thread on its way out runs no world any more.
    let _ = HERE.try_with(|here| here.borrow_mut().rings.push((place, Rc::downgrade(cell))));
}

fn local_rings(place: usize) -> Vec<Rc<LocalCell>> {
    let found = HERE.try_with(|here| {
        let rings = &mut here.borrow_mut().rings;
        rings.retain(|(_, cell)| cell.strong_count() > 0);
        let mine = rings.iter().filter(|(of, _)| *of == place);
        mine.filter_map(|(_, cell)| cell.upgrade()).collect()
    });
    found.unwrap_or_default()
}

fn fresh_tasks(place: usize) -> Vec<Task> {
    let found = HERE.try_with(|here| {
        let fresh = &mut here.borrow_mut().fresh;
        fresh.extract_if(.., |(of, _)| *of == place).map(|(_, task)| task).collect()
    });
    found.unwrap_or_default()
}

/// Whether a task is to be polled.
#[derive(Debug)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Running<'a> {
    future: Pin<&'a mut dyn Future<Output = ()>>,
    ready: Arc<Ready>,
    waker: Waker,
}

impl<'a> Running<'a> {
    fn new(future: Pin<&'a mut dyn Future<Output = ()>>) -> Self {
        let ready = Arc::new(Ready(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&ready));
        Self { future, ready, waker }
    }

    fn is_ready(&self) -> bool {
        self.ready.0.load(Ordering::Acquire)
    }

    fn poll(&mut self) -> Poll<()> {
        self.ready.0.store(false, Ordering::Release);
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

struct Owned {
    task: Option<Task>,
    ready: Arc<Ready>,
    waker: Waker,
}

impl Owned {
    fn new(task: Task) -> Self {
        let ready = Arc::new(Ready(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&ready));
        Self { task: Some(task), ready, waker }
    }

    fn is_ready(&self) -> bool {
        self.task.is_some() && self.ready.0.load(Ordering::Acquire)
    }

    fn poll(&mut self) {
        self.ready.0.store(false, Ordering::Release);
        let Some(task) = &mut self.task else { return };
        if task.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.task = None;
        }
    }
}

/// The output of a task of [`World::spawn`], when it has ended. Dropping it leaves the task running;
/// [`JoinHandle::abort`] drops the task.
pub struct JoinHandle<T> {
    result: Rc<RefCell<Slot<T>>>,
    work: Rc<dyn Abort>,
}

impl<T> JoinHandle<T> {
    /// Whether the task has ended, by itself or with what runs it. One whose output was taken has.
    pub fn is_finished(&self) -> bool {
        self.work.is_over()
    }

    /// Drops the future of the task now, wherever it is: as by whoever loses interest. A task that aborts itself is dropped
    /// at its next `await`.
    pub fn abort(self) {
        self.work.abort();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

/// The future of a task, for its executor and for its handle.
struct Work<F> {
    /// `None` while it is polled, and when it has ended.
    future: RefCell<Option<Pin<Box<F>>>>,
    polled: Cell<bool>,
    aborted: Cell<bool>,
}

trait Abort {
    fn abort(&self);
    fn is_over(&self) -> bool;
}

impl<F: Future<Output = ()>> Work<F> {
    fn new(future: F) -> Self {
        let future = RefCell::new(Some(Box::pin(future)));
        Self { future, polled: Cell::new(false), aborted: Cell::new(false) }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut future) = self.future.borrow_mut().take() else { return Poll::Ready(()) };
        self.polled.set(true);
        let ended = future.as_mut().poll(context);
        self.polled.set(false);
        if ended.is_ready() || self.aborted.get() {
            return Poll::Ready(());
        }
        *self.future.borrow_mut() = Some(future);
        Poll::Pending
    }
}

impl<F> Abort for Work<F> {
    fn abort(&self) {
        self.aborted.set(true);
        // What it drops may look for the task itself.
        let future = self.future.borrow_mut().take();
        drop(future);
    }

    fn is_over(&self) -> bool {
        !self.polled.get() && self.future.borrow().is_none()
    }
}

/// Drops the future with the executor's side, whoever has a handle.
struct Driven<F>(Rc<Work<F>>);

impl<F: Future<Output = ()>> Future for Driven<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll(context)
    }
}

impl<F> Drop for Driven<F> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Slot<T> {
    output: Option<T>,
    waiter: Option<Waker>,
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.result.borrow_mut();
        match slot.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                slot.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl World {
    /// Starts a task on this thread, which [`World::block_on`] runs. One that has not ended when that returns is dropped, as
    /// by a program that ends.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        let result = Rc::new(RefCell::new(Slot { output: None, waiter: None }));
        let slot = Rc::clone(&result);
        let work = Rc::new(Work::new(async move {
            let output = future.await;
            let waiter = {
                let mut slot = slot.borrow_mut();
                slot.output = Some(output);
                slot.waiter.take()
            };
            waiter.into_iter().for_each(Waker::wake);
        }));
        let task = Driven(Rc::clone(&work));
        let place = self.place();
        // A thread on its way out runs no world any more.
        let _ = HERE.try_with(|here| here.borrow_mut().fresh.push((place, Box::pin(task))));
        JoinHandle { result, work }
    }

    /// Runs a future, with all tasks and rings of this world, until it has ended. When all wait, the clock jumps to what
    /// happens next.
    ///
    /// # Errors
    /// [`Stuck`]: nothing will ever happen, something was found, or the power has gone. The future is dropped then, as are
    /// the tasks.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Stuck> {
        match self.run(future, u64::MAX)? {
            Some(output) => Ok(output),
            None => Err(Stuck::Deadlock { operations: self.operations() }),
        }
    }

    /// [`World::block_on`] for so many steps: polls of tasks and rounds of the kernel. Then the future and the tasks are
    /// dropped wherever they are, and the answer is `None`. With [`World::crash`] behind it: a machine that loses its power
    /// at any moment. `None` too if the power goes by a [`Fault`](super::Fault) meanwhile.
    ///
    /// # Errors
    /// As [`World::block_on`].
    pub fn run_steps<F: Future>(&self, steps: u64, future: F) -> Result<Option<F::Output>, Stuck> {
        match self.run(future, steps) {
            Err(Stuck::Crashed) => Ok(None),
            other => other,
        }
    }

    /// Sets the stage for a run: the power is there.
    fn watch(&self, watched: bool) {
        let injected = &mut self.kernel().injected;
        (injected.watched, injected.down) = (watched, false);
    }

    fn run<F: Future>(&self, future: F, steps: u64) -> Result<Option<F::Output>, Stuck> {
        self.watch(true);
        let ended = self.drive(future, steps);
        self.watch(false);
        ended
    }

    fn drive<F: Future>(&self, future: F, mut steps: u64) -> Result<Option<F::Output>, Stuck> {
        let mut output = None;
        let ended = {
            let slot = &mut output;
            let mut main = std::pin::pin!(async move { *slot = Some(future.await) });
            let mut main = Running::new(main.as_mut());
            let mut tasks: Vec<Owned> = Vec::new();
            let (mut rounds, mut tried) = (0, 0);
            loop {
                if steps == 0 {
                    break Ok(());
                }
                steps -= 1;
                tasks.extend(fresh_tasks(self.place()).into_iter().map(Owned::new));
                let polled = self.poll_one(&mut main, &mut tasks);
                // What was spawned right now is ready too.
                tasks.extend(fresh_tasks(self.place()).into_iter().map(Owned::new));
                if self.kernel().injected.down {
                    // What came of this step happened to nobody but the program.
                    break Err(Stuck::Crashed);
                }
                if polled == Some(Poll::Ready(())) {
                    break Ok(());
                }
                if polled.is_some() && self.random(4) > 0 {
                    rounds = 0;
                    continue;
                }
                let next = self.round();
                if let Some(found) = self.finding() {
                    break Err(found);
                }
                let ready = main.is_ready() || tasks.iter().any(Owned::is_ready);
                rounds = if ready { 0 } else { rounds + 1 };
                if ready || next.ended {
                    tried = 0;
                }
                if !ready && !self.go_on(next, rounds, &mut tried) {
                    break Err(Stuck::Deadlock { operations: self.operations() });
                }
            }
        };
        ended.map(|()| output)
    }

    /// Polls one of the tasks that are ready.
    fn poll_one(&self, main: &mut Running<'_>, tasks: &mut Vec<Owned>) -> Option<Poll<()>> {
        tasks.retain(|task| task.task.is_some());
        let ready =
            usize::from(main.is_ready()) + tasks.iter().filter(|task| task.is_ready()).count();
        if ready == 0 {
            return None;
        }
        let mut chosen = self.kernel().rng.index(ready);
        if main.is_ready() {
            if chosen == 0 {
                return Some(main.poll());
            }
            chosen -= 1;
        }
        if let Some(task) = tasks.iter_mut().filter(|task| task.is_ready()).nth(chosen) {
            task.poll();
        }
        Some(Poll::Pending)
    }

    /// Every ring hands over and takes in. Tells when something happens next, as far as that is known.
    fn round(&self) -> Next {
        let before = self.kernel().ends;
        let mut next = Next { at: None, queued: false, ended: false };
        for ring in local_rings(self.place()) {
            let (deadline, queued) = ring.round();
            next.at = earlier(next.at, deadline);
            next.queued |= queued;
        }
        for ring in self.shared_rings() {
            let (deadline, queued) = ring.round();
            next.at = earlier(next.at, deadline);
            next.queued |= queued;
        }
        let kernel = self.kernel();
        next.at = earlier(next.at, kernel.next_event());
        next.ended = kernel.ends != before;
        next
    }

    fn finding(&self) -> Option<Stuck> {
        let kernel = self.kernel();
        if kernel.injected.down {
            return Some(Stuck::Crashed);
        }
        (!kernel.findings.is_empty()).then(|| Stuck::Found(kernel.findings.clone()))
    }

    /// Lets time go by until something happens; `false` if nothing will.
    fn go_on(&self, next: Next, rounds: u32, tried: &mut u32) -> bool {
        if rounds >= ROUNDS {
            return false;
        }
        if next.queued && *tried < TRIES {
            // A thread that has something to hand over does not sleep before it is handed over, or refused for good.
            *tried += 1;
            return true;
        }
        *tried = 0;
        if let Some(at) = next.at {
            self.kernel().go_to(at);
            return true;
        }
        next.queued
    }
}

/// What comes next.
struct Next {
    /// When, by the world's clock.
    at: Option<u64>,
    /// Something has not been handed over yet.
    queued: bool,
    /// Some operation has ended, if only to be tried again.
    ended: bool,
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
