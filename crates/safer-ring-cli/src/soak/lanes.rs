//! The lanes: who runs the tasks, and on which rings.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use safer_ring::{Ring, Runtime, local, runtime};

use super::pairs::{End, Side, Sums, ends, take_turns};

/// Who runs the tasks.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    start: fn(usize) -> io::Result<Host>,
    /// Where a runtime keeps both tasks of a pair on one thread if it can, all wake-ups count, not only those across threads.
    all_count: bool,
    /// All pairs are of sockets, and read by streams.
    streams: bool,
}

/// Who hears of completions where no runtime is: the reactor, or with the feature `smol` the poller of that.
const THREADS: &str = if cfg!(feature = "smol") { "threads/smol" } else { "threads/reactor" };

/// All lanes, in order.
pub(super) static LANES: [Lane; 6] = [
    Lane {
        name: "tokio/shared",
        start: |threads| Host::tokio(threads, 1),
        all_count: true,
        streams: false,
    },
    // Told by the poller of their runtime what arrives, without an entry.
    Lane {
        name: "tokio/told",
        start: |threads| Host::tokio(threads, 1),
        all_count: true,
        streams: true,
    },
    // The sides of a pair are on different runtimes, each with a poller of its own.
    Lane {
        name: "tokio/two",
        start: |threads| Host::tokio(threads, 2),
        all_count: false,
        streams: false,
    },
    Lane {
        name: THREADS,
        start: |_| Ok(Host::Threads { ring: Ring::new(256)? }),
        all_count: false,
        streams: false,
    },
    Lane {
        name: "runtime/shared",
        start: |threads| Host::runtime(threads, true),
        all_count: false,
        streams: false,
    },
    Lane {
        name: "runtime/local",
        start: |threads| Host::runtime(threads, false),
        all_count: false,
        streams: false,
    },
];

/// Pairs of tasks of a round, and its share of the wake-ups in tenths.
const ROUNDS: [(usize, u64); 4] = [(1, 1), (2, 1), (8, 3), (64, 5)];
/// How often the main thread looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a thread is given to say what is in flight on its ring.
const ANSWER: Duration = Duration::from_secs(2);

/// What runs the tasks of a lane.
enum Host {
    Tokio {
        runtimes: Vec<tokio::runtime::Runtime>,
        ring: Ring,
    },
    Own {
        runtime: Runtime,
        ring: Option<Ring>,
    },
    /// A thread for each task.
    Threads {
        ring: Ring,
    },
}

/// What a round is about, as all its tasks know it.
#[derive(Default)]
struct Round {
    streams: bool,
    sums: Sums,
    sides: Vec<Side>,
    left: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Round {
    fn ended(&self, result: io::Result<()>) {
        if let Err(error) = result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error.to_string());
        }
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Host {
    fn tokio(threads: usize, runtimes: usize) -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads / runtimes).enable_all();
        let runtimes = (0..runtimes).map(|_| builder.build()).collect::<io::Result<_>>()?;
        Ok(Self::Tokio { runtimes, ring: Ring::new(256)? })
    }

    /// Its own thread looks on, and runs no tasks.
    fn runtime(threads: usize, shared: bool) -> io::Result<Self> {
        let runtime = Runtime::builder().threads(threads + 1).build()?;
        Ok(Self::Own { runtime, ring: shared.then(|| Ring::new(256)).transpose()? })
    }

    /// Starts one side; sides of a pair have numbers in a row, so they begin on different threads.
    fn start(&self, number: usize, end: End, round: &Arc<Round>) -> io::Result<()> {
        let round = Arc::clone(round);
        let leads = number.is_multiple_of(2);
        match self {
            Self::Tokio { runtimes, ring } => {
                if let Some(runtime) = runtimes.get(number % runtimes.len()) {
                    runtime.spawn(on_shared(ring.clone(), number, leads, end, round));
                }
            }
            Self::Own { runtime, ring } => {
                let (handle, ring) = (runtime.handle(), ring.clone());
                let thread = 1 + number % (handle.threads() - 1);
                let task = match ring {
                    Some(ring) => handle
                        .spawn_on(thread, move || on_shared(ring, number, leads, end, round))?,
                    None => handle.spawn_on(thread, move || {
                        on_local(runtime::ring(), number, leads, end, round)
                    })?,
                };
                drop(task);
            }
            Self::Threads { ring } => {
                let ring = ring.clone();
                let run = move || block_on(on_shared(ring, number, leads, end, round));
                drop(std::thread::Builder::new().spawn(run)?);
            }
        }
        Ok(())
    }

    /// Everything that is in flight, for the report of a failure.
    fn in_flight(&self) -> String {
        match self {
            Self::Tokio { ring, .. }
            | Self::Threads { ring }
            | Self::Own { ring: Some(ring), .. } => {
                format!("{:#?}\n{:?}", ring.operations(), ring.snapshot())
            }
            Self::Own { runtime, ring: None } => {
                let handle = runtime.handle();
                let threads = 1..handle.threads();
                threads.map(|thread| of_thread(runtime, &handle, thread)).collect()
            }
        }
    }
}

/// What is in flight on the ring of a thread. Asking wakes the thread.
fn of_thread(runtime: &Runtime, handle: &runtime::Handle, thread: usize) -> String {
    let look = || async { format!("{:#?}", runtime::ring().operations()) };
    let Ok(task) = handle.spawn_on(thread, look) else {
        return format!("thread {thread} has ended\n");
    };
    match runtime.block_on(async { runtime::timeout(ANSWER, task).await }) {
        Ok(Ok(operations)) => format!("thread {thread}: {operations}\n"),
        Ok(Err(error)) => format!("thread {thread}: {error}\n"),
        Err(_) => format!("thread {thread} does not answer\n"),
    }
}

/// Runs a future on this thread, which sleeps until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Sleeper(Thread);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Sleeper(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

async fn on_shared(ring: Ring, number: usize, leads: bool, end: End, round: Arc<Round>) {
    if let Some(side) = round.sides.get(number) {
        let result = take_turns(ring, end, leads, round.streams, (side, &round.sums)).await;
        round.ended(result);
    }
}

async fn on_local(ring: local::Ring, number: usize, leads: bool, end: End, round: Arc<Round>) {
    if let Some(side) = round.sides.get(number) {
        let result = take_turns(ring, end, leads, round.streams, (side, &round.sums)).await;
        round.ended(result);
    }
}

/// What a lane has done.
#[derive(Debug, Default)]
pub(super) struct Sum {
    steps: u64,
    parked: u64,
    crossed: u64,
    long: u64,
    longest: Duration,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, parked, crossed, long, longest } = self;
        write!(
            f,
            "{parked} wake-ups, {crossed} across threads, in {steps} steps, none lost; \
             the longest step took {:.1} ms, {long} more than 500 ms",
            longest.as_secs_f64() * 1e3
        )
    }
}

/// Runs a lane until there were so many wake-ups.
///
/// # Errors
/// What was in flight when it stood still for as long as `patience`, or the error of a task.
pub(super) fn attend(
    lane: &Lane,
    wakes: u64,
    threads: usize,
    patience: Duration,
) -> Result<Sum, String> {
    let host = (lane.start)(threads).map_err(|error| error.to_string())?;
    let mut sum = Sum::default();
    for (pairs, tenths) in ROUNDS {
        let goal = (wakes * tenths).div_ceil(10);
        let round = Arc::new(Round {
            sides: (0..2 * pairs).map(|_| Side::default()).collect(),
            left: AtomicUsize::new(2 * pairs),
            streams: lane.streams,
            ..Round::default()
        });
        for pair in 0..pairs {
            // The first kind is the sockets.
            let (one, other) =
                ends(if lane.streams { 0 } else { pair }).map_err(|error| error.to_string())?;
            for (number, end) in [(2 * pair, one), (2 * pair + 1, other)] {
                host.start(number, end, &round).map_err(|error| error.to_string())?;
            }
        }
        if let Err(what) = watch(&round, (goal, lane.all_count), patience) {
            let report = format!("{what}, with {pairs} pairs\n{}", host.in_flight());
            // It may hang: the process ends with the report, and nobody waits for its tasks.
            std::mem::forget(host);
            return Err(report);
        }
        add(&mut sum, &round.sums);
    }
    Ok(sum)
}

fn add(sum: &mut Sum, sums: &Sums) {
    sum.steps += sums.steps.load(Ordering::Relaxed);
    sum.parked += sums.parked.load(Ordering::Relaxed);
    sum.crossed += sums.crossed.load(Ordering::Relaxed);
    sum.long += sums.long.load(Ordering::Relaxed);
    sum.longest = sum.longest.max(Duration::from_nanos(sums.longest.load(Ordering::Relaxed)));
}

/// Looks on until all tasks have ended. That everybody moves is not enough: each pair must.
fn watch(round: &Round, (goal, all_count): (u64, bool), patience: Duration) -> Result<(), String> {
    let mut seen: Vec<(String, Instant)> =
        round.sides.iter().map(|side| (side.to_string(), Instant::now())).collect();
    while round.left.load(Ordering::Acquire) > 0 {
        std::thread::sleep(LOOK);
        if let Some(error) = round.failure() {
            return Err(error);
        }
        let counted = if all_count { &round.sums.parked } else { &round.sums.crossed };
        if counted.load(Ordering::Relaxed) >= goal {
            round.sums.enough.store(true, Ordering::Relaxed);
        }
        for (number, (side, (before, since))) in round.sides.iter().zip(&mut seen).enumerate() {
            let now = side.to_string();
            if now != *before || side.has_ended() {
                (*before, *since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                let other = round.sides.get(number ^ 1).map(ToString::to_string);
                return Err(format!(
                    "no progress for {} s: task {number} {now}; the other one {}",
                    patience.as_secs(),
                    other.unwrap_or_default()
                ));
            }
        }
    }
    round.failure().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_wakes_as_often_as_it_is_asked_to() {
        for lane in &LANES {
            let sum = attend(lane, 1_000, 2, Duration::from_secs(20)).unwrap();
            let counted = if lane.all_count { sum.parked } else { sum.crossed };
            assert!(counted >= 1_000 && sum.parked >= sum.crossed, "{}: {sum}", lane.name);
        }
    }

    #[test]
    fn a_pair_that_is_never_woken_is_found_and_described() {
        let host = Host::tokio(2, 1).unwrap();
        let sides = (0..2).map(|_| Side::default()).collect();
        let round = Round { sides, left: AtomicUsize::new(2), ..Round::default() };
        let round = Arc::new(round);
        let (_one, other) = ends(0).unwrap();
        // Nobody is on the other side.
        host.start(1, other, &round).unwrap();
        let what = watch(&round, (1, false), Duration::from_millis(300)).unwrap_err();
        assert!(what.starts_with("no progress for 0 s: task "), "{what}");
        assert!(what.contains("waits for its read in step 0"), "{what}");
        assert!(host.in_flight().contains("name: \"read\""), "{}", host.in_flight());
    }
}
