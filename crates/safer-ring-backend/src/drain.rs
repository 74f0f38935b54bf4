//! Waiting until a ring has nothing left to do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::beside;
use crate::driver::InFlight;
use crate::mode::Mode;
use crate::operation::Operation;
use crate::payload::{self, Sleep};

static NEXT_WAIT: AtomicU64 = AtomicU64::new(1);

/// What was left of a ring's work when the time for draining it was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    left: Vec<InFlight>,
}

impl Drained {
    /// Whether everything has ended.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }

    /// What has not, the oldest first.
    pub fn left(&self) -> &[InFlight] {
        &self.left
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.left[..] {
            [] => f.write_str("nothing in flight"),
            [one] => write!(f, "1 operation, {one}"),
            [oldest, ..] => write!(f, "{} operations, oldest {oldest}", self.left.len()),
        }
    }
}

/// The future of `Ring::drain`.
#[must_use = "a ring is drained when this is awaited"]
pub struct Drain<M: Mode> {
    ring: M::Ring,
    /// What the kernel rings know it by.
    wait: u64,
    deadline: Instant,
    timer: Option<Operation<M, Sleep>>,
}

impl<M: Mode> Drain<M> {
    /// Waits until nothing of `ring` is in flight, or for the deadline.
    pub fn new(ring: &M::Ring, deadline: Instant) -> Self {
        let wait = NEXT_WAIT.fetch_add(1, Ordering::Relaxed);
        Self { ring: ring.clone(), wait, deadline, timer: None }
    }

    /// Whether the deadline has passed; if not, the waker is woken then.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let left = beside::left::<M>(&self.ring, self.deadline);
        if left.is_zero() {
            return true;
        }
        let timer = || Operation::new(&self.ring, Ok(payload::timeout::<M>(left)));
        let timer = self.timer.get_or_insert_with(timer);
        Pin::new(timer).poll(cx).is_ready()
    }
}

/// As for [`Operation`].
impl<M: Mode> Unpin for Drain<M> {}

impl<M: Mode> Future for Drain<M> {
    type Output = Drained;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        let this = self.get_mut();
        let mut drained = true;
        for cell in M::cells(&this.ring) {
            M::with(&cell, |driver| {
                let mut done = driver.poll_drained(this.wait, cx.waker());
                if M::INLINE && !done {
                    // The cancellations of what was kept.
                    driver.flush();
                    done = driver.poll_drained(this.wait, cx.waker());
                    M::park(driver, &cell);
                }
                drained &= done;
            });
        }
        if drained {
            return Poll::Ready(Drained::default());
        }
        if !this.is_late(cx) {
            return Poll::Pending;
        }
        let mut left = operations::<M>(&this.ring);
        left.sort_by_key(|operation| std::cmp::Reverse(operation.age));
        Poll::Ready(Drained { left })
    }
}

impl<M: Mode> Drop for Drain<M> {
    /// From now on dropped receives stay armed again.
    fn drop(&mut self) {
        for cell in M::cells(&self.ring) {
            M::with(&cell, |driver| driver.end_drain(self.wait));
        }
    }
}

impl<M: Mode> fmt::Debug for Drain<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What all kernel rings of a ring have in flight or queued.
pub fn operations<M: Mode>(ring: &M::Ring) -> Vec<InFlight> {
    let mut all = Vec::new();
    for cell in M::cells(ring) {
        M::with(&cell, |driver| all.extend(driver.operations()));
    }
    all
}
