//! Time: on the heap of timers that the thread's ring keeps. No timer costs a submission; the next deadline limits how long
//! the thread sleeps.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use safer_ring_backend::payload;
use safer_ring_backend::{Local, Operation};

use super::here;

/// Waits until `duration` from now has passed. The clock is `CLOCK_MONOTONIC`, which stands still while the machine is
/// suspended.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { deadline: Instant::now().checked_add(duration), timer: None }
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline: Some(deadline), timer: None }
}

/// The future of [`sleep`] and [`sleep_until`]. It never ends early.
///
/// # Dropping
/// The timer is taken off the heap. No system call.
///
/// # Panics
/// When it is first polled outside of a runtime.
#[must_use = "a timer does nothing until it is awaited"]
#[derive(Debug)]
pub struct Sleep {
    /// `None` is further away than the clock can tell.
    deadline: Option<Instant>,
    timer: Option<Operation<Local, payload::Sleep>>,
}

impl Sleep {
    /// When it ends; `None` is further away than the clock can tell.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        self.left().is_zero()
    }

    /// Ends at another time.
    pub fn reset(&mut self, deadline: Instant) {
        *self = sleep_until(deadline);
    }

    fn left(&self) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.deadline.map_or(Duration::MAX, left)
    }
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timer = match this.timer.take() {
            Some(timer) => timer,
            None => {
                let left = this.left();
                if left.is_zero() {
                    return Poll::Ready(());
                }
                here().ring().timeout(left)
            }
        };
        match Pin::new(&mut timer).poll(cx) {
            Poll::Pending => this.timer = Some(timer),
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            // No room for another timer, or a forked child, where no ring works: not early in any case.
            Poll::Ready(Err(_)) if this.is_elapsed() => return Poll::Ready(()),
            Poll::Ready(Err(_)) => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

/// The output of `future`, unless `duration` passes before.
///
/// ```
/// # use safer_ring::{Runtime, runtime};
/// # use std::time::Duration;
/// # fn main() -> std::io::Result<()> {
/// let late = Runtime::new()?.block_on(async {
///     runtime::timeout(Duration::from_millis(1), std::future::pending::<()>()).await
/// });
/// assert!(late.is_err());
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Elapsed`]; the future is dropped with the [`Timeout`]. To have a lent buffer back, use
/// [`Operation::timeout`](crate::Operation::timeout).
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(duration) }
}

/// The output of `future`, unless `deadline` passes before.
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[must_use = "it does nothing until it is awaited"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed(())))
    }
}

/// The time of a [`timeout`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time has passed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(error: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, error)
    }
}

/// Ticks every `period`, for the first time at once. A period of zero ticks whenever it is asked.
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks every `period`, for the first time at `start`.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval { sleep: sleep_until(start), period, missed: MissedTicks::default() }
}

/// What an [`Interval`] does when it is asked later than the next tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Ticks that were missed follow at once, until it has caught up.
    #[default]
    Burst,
    /// The next tick is a period after the late one.
    Delay,
    /// Ticks that were missed are left out; the next one is where it would have been.
    Skip,
}

/// Time at equal distances: [`interval`].
///
/// ```
/// # use safer_ring::{Runtime, runtime};
/// # use std::time::Duration;
/// # fn main() -> std::io::Result<()> {
/// Runtime::new()?.block_on(async {
///     let mut ticks = runtime::interval(Duration::from_millis(2));
///     let first = ticks.tick().await;
///     assert_eq!(ticks.tick().await - first, Duration::from_millis(2));
/// });
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// What it does when it is asked too late.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// The distance of the ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick, and gives the time that it was due.
    ///
    /// # Dropping
    /// The tick is there for the next call.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| Pin::new(&mut self.sleep).poll(cx)).await;
        let now = Instant::now();
        // An interval starts at a time that the clock can tell, and what it cannot tell never ends.
        let due = self.sleep.deadline().unwrap_or(now);
        let on_time = due.checked_add(self.period);
        let is_late = on_time.is_some_and(|next| next <= now);
        let next = match self.missed {
            MissedTicks::Delay if is_late => now.checked_add(self.period),
            MissedTicks::Skip if is_late => self.skip(due, now),
            _ => on_time,
        };
        self.sleep = Sleep { deadline: next, timer: None };
        due
    }

    /// The first tick after `now`.
    fn skip(&self, due: Instant, now: Instant) -> Option<Instant> {
        let late = now.saturating_duration_since(due).as_nanos();
        let period = self.period.as_nanos().max(1);
        let to_next = u64::try_from(period - late % period).ok()?;
        now.checked_add(Duration::from_nanos(to_next))
    }
}
