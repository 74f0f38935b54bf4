//! When an operation is dropped, and what a drop at that point means.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::task::AtomicWaker;
use safer_ring::RingOf;

use super::dice::Dice;
use super::host::Host;
use super::tally::{Act, Point};
use super::world::{Status, World};

/// What will become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Awaited, however long it takes.
    Complete,
    /// Awaited until a timer ends.
    Patient(Duration),
    Unpolled,
    Polled,
    /// Polled so many times, other tasks running in between.
    Repolled(u64),
    /// Left alone until its result is announced, or this time is over; its result is not taken.
    Arrived(Duration),
}

impl Fate {
    /// `certain`: the operation ends by itself, and may be awaited without a limit.
    pub(crate) fn roll(dice: &mut Dice, certain: bool) -> Self {
        // Waiting is rare: while a task sleeps, it drops nothing.
        match dice.below(100) {
            0..8 => Self::Unpolled,
            8..50 => Self::Polled,
            50..82 => Self::Repolled(1 + dice.below(6)),
            82..88 => Self::Arrived(dice.pause(1000)),
            88..96 if certain => Self::Complete,
            _ => Self::Patient(dice.pause(2000)),
        }
    }
}

/// Drops one after the other, with nothing in between: what is dropped and issued again should cost next to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Storm(u64);

impl Storm {
    /// Whether the next operation is dropped at once; storms begin by chance.
    pub(crate) fn blows(&mut self, dice: &mut Dice) -> bool {
        if self.0 > 0 {
            self.0 -= 1;
        } else if dice.one_in(6) {
            self.0 = dice.below(200);
        }
        self.0 > 0
    }
}

/// An operation under observation: counts how it ended, and tells `gone` if it is dropped, and where.
///
/// It counts in its own drop, so that an abort of the task around it is seen as well.
pub(crate) struct Probe<'a, F, G: FnOnce(Point)> {
    inner: F,
    world: &'a World,
    status: &'a Status,
    act: Act,
    polls: u64,
    point: Option<Point>,
    over: bool,
    gone: Option<G>,
}

impl<'a, F: Future + Unpin, G: FnOnce(Point) + Unpin> Probe<'a, F, G> {
    pub(crate) fn new(world: &'a World, status: &'a Status, act: Act, inner: F, gone: G) -> Self {
        Self { inner, world, status, act, polls: 0, point: None, over: false, gone: Some(gone) }
    }

    fn step(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        self.polls += 1;
        let poll = Pin::new(&mut self.inner).poll(context);
        if poll.is_ready() {
            self.over = true;
            self.world.tally.finished(self.status.scenario, self.act);
        }
        poll
    }
}

impl<F: Future + Unpin, G: FnOnce(Point) + Unpin> Future for Probe<'_, F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.get_mut().step(context)
    }
}

impl<F, G: FnOnce(Point)> Drop for Probe<'_, F, G> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let begun = self.polls > 0;
        let point = if begun { self.point.unwrap_or(Point::Killed) } else { Point::Unpolled };
        self.world.tally.dropped(self.status.scenario, self.act, point);
        if let Some(gone) = self.gone.take() {
            gone(point);
        }
    }
}

/// A waker that is noted before it is passed on.
#[derive(Debug, Default)]
struct Announced {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Announced {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// Lets an operation meet its fate: its output, or `None` if it was dropped.
pub(crate) async fn meet<M: Host, F, G>(
    ring: &RingOf<M>,
    mut probe: Probe<'_, F, G>,
    fate: Fate,
) -> Option<F::Output>
where
    F: Future + Unpin,
    G: FnOnce(Point) + Unpin,
{
    match fate {
        Fate::Complete => Some((&mut probe).await),
        Fate::Unpolled => None,
        Fate::Polled => {
            probe.point = Some(Point::Polled);
            once(&mut probe).await
        }
        Fate::Repolled(times) => {
            for _ in 0..times {
                if let Some(output) = once(&mut probe).await {
                    return Some(output);
                }
                pass().await;
            }
            probe.point = Some(Point::Repolled);
            None
        }
        Fate::Patient(limit) => {
            let output = within(ring, limit, &mut probe).await;
            probe.point = Some(Point::TimedOut);
            output
        }
        Fate::Arrived(limit) => {
            let announced = Arc::new(Announced::default());
            let output = within(ring, limit, until_announced(&mut probe, &announced)).await;
            let there = announced.woken.load(Ordering::Acquire);
            probe.point = Some(if there { Point::Arrived } else { Point::Repolled });
            output.flatten()
        }
    }
}

/// One poll, with the waker of the task.
async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// One poll, and then nothing until the waker that it was given is used.
async fn until_announced<F: Future + Unpin>(
    future: &mut F,
    announced: &Arc<Announced>,
) -> Option<F::Output> {
    let waker = Waker::from(Arc::clone(announced));
    let mut begun = false;
    poll_fn(|context| {
        announced.outer.register(context.waker());
        if !begun {
            begun = true;
            let mut own = Context::from_waker(&waker);
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut own) {
                return Poll::Ready(Some(output));
            }
        }
        if announced.woken.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// A future against a timer, in an order that depends on the time.
async fn within<M: Host, F: Future>(
    ring: &RingOf<M>,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let future = pin!(future);
    let timer = pin!(nap(ring, limit));
    if limit.subsec_micros().is_multiple_of(2) {
        match select(future, timer).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    } else {
        match select(timer, future).await {
            Either::Right((output, _)) => Some(output),
            Either::Left(_) => None,
        }
    }
}

/// Sleeps: by the ring, or by the runtime where there is one and the time is an odd number of nanoseconds.
pub(crate) async fn nap<M: Host>(ring: &RingOf<M>, time: Duration) {
    if M::ON_TOKIO && time.subsec_nanos() % 2 == 1 {
        tokio::time::sleep(time).await;
    } else {
        // A timer of the ring fails only with the ring, and then the other operations report it.
        let _ = ring.timeout(time).await;
    }
}

/// Lets the other tasks of the thread run.
pub(crate) async fn pass() {
    let mut passed = false;
    poll_fn(|context| {
        if passed {
            return Poll::Ready(());
        }
        passed = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
