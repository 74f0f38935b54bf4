//! A thousand parked receives, streams, adapters or accepts use no CPU, in every mode.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::future::Future;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::alone::usage;
use common::within_deadline;
use futures_util::future::{Either, join_all, select};
use safer_ring::{Fd, Mode, Ring, RingOf, local};
use tokio::sync::oneshot;

const RECEIVES: usize = 1000;
const REST: Duration = Duration::from_secs(10);
/// What the process may use in that time, with all its threads.
const LIMIT: Duration = Duration::from_millis(10);
/// How often its threads may stop running in that time, on any machine. The one that measures does once.
const SWITCHES: i64 = 3;
/// Before that time: what has just been started comes to rest. The reactor looks after runtimes for two seconds.
const MARGIN: Duration = Duration::from_secs(3);

const VARIABLE: &str = "SAFER_RING_TEST_IDLE";
const TEST: &str = "a_thousand_parked_receives_use_no_cpu_in_any_mode";

const MODES: &[(&str, fn())] = &[
    ("local block_on", local_block_on),
    ("shared, plain block_on", shared_block_on),
    ("shared, multi-thread tokio", || on_tokio(tokio::runtime::Builder::new_multi_thread())),
    ("shared, current-thread tokio", || on_tokio(tokio::runtime::Builder::new_current_thread())),
    ("streams, local block_on", streams_on_local),
    ("accepts, local block_on", accepts_on_local),
    ("streams, shared, plain block_on", streams_on_shared),
    ("accepts, shared, plain block_on", accepts_on_shared),
    #[cfg(feature = "smol")]
    ("shared, smol", || smol::block_on(in_one_future(Ring::new(256).unwrap(), receive))),
    #[cfg(feature = "smol")]
    ("streams, shared, smol", || {
        smol::block_on(in_one_future(Ring::new(256).unwrap(), next_of_stream))
    }),
    #[cfg(feature = "tokio")]
    ("adapters, multi-thread tokio", adapters_on_tokio),
    #[cfg(feature = "tokio")]
    ("adapters, local block_on", adapters_on_local),
    #[cfg(feature = "runtime")]
    ("Runtime with two threads", || two_threads(|ring, near| Box::pin(receive(ring, near)))),
    #[cfg(all(feature = "runtime", feature = "tokio"))]
    ("adapters, Runtime with two threads", || two_threads(|ring, near| Box::pin(read(ring, near)))),
];

/// Each mode in a process of its own, all at the same time.
#[test]
fn a_thousand_parked_receives_use_no_cpu_in_any_mode() {
    if let Some(chosen) = std::env::var_os(VARIABLE) {
        let (_, run) = MODES.iter().find(|(name, _)| *name == chosen).unwrap();
        return within_deadline(run);
    }
    let start = |name: &'static str| {
        std::thread::spawn(move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([TEST, "--exact", "--nocapture"]).env(VARIABLE, name);
            (name, command.output().unwrap())
        })
    };
    let children: Vec<_> = MODES.iter().map(|(name, _)| start(name)).collect();
    let mut failed = Vec::new();
    for child in children {
        let (name, output) = child.join().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        for line in said.lines().filter(|line| line.starts_with("used ")) {
            println!("{name}: {line}");
        }
        if !output.status.success() || !said.contains("used ") || !said.contains("1 passed") {
            failed.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Two descriptors for each, and some.
fn pairs() -> (Vec<UnixStream>, Vec<UnixStream>) {
    let enough = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the structure above (getrlimit(2)).
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) }, 0);
    if now.rlim_cur < enough.rlim_cur {
        now.rlim_cur = enough.rlim_cur.min(now.rlim_max);
        // SAFETY: reads the structure above (setrlimit(2)).
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const now) }, 0);
    }
    (0..RECEIVES).map(|_| UnixStream::pair().unwrap()).unzip()
}

/// What the process does in that time, seen from a thread that nothing wakes.
fn watch() -> (Duration, i64) {
    std::thread::sleep(MARGIN);
    let (time, switches) = usage();
    std::thread::sleep(REST);
    let after = usage();
    (after.0 - time, after.1 - switches)
}

/// Waits until `parked` tells that all are there, then measures what the rest costs, for which no timer is armed.
async fn measure(parked: impl Fn() -> u64, pause: impl AsyncFn(Duration)) {
    let end = Instant::now() + Duration::from_secs(10);
    while parked() < RECEIVES.try_into().unwrap() {
        assert!(Instant::now() < end, "{} of {RECEIVES} are parked", parked());
        pause(Duration::from_millis(10)).await;
    }
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(watch()));
    let (used, switches) = told.await.unwrap();
    println!("used {used:?} in {REST:?}, stopped {switches} times");
    assert!(switches <= SWITCHES, "stopped {switches} times in {REST:?}");
    assert!(used < LIMIT * common::slowness(), "{used:?} of CPU time in {REST:?}");
    assert!(parked() >= RECEIVES.try_into().unwrap(), "they are parked still");
}

/// They were parked for real: each gets its byte.
fn release(far: &[UnixStream]) {
    far.iter().for_each(|mut far| far.write_all(b"x").unwrap());
}

async fn receive<M: Mode>(ring: RingOf<M>, near: UnixStream) {
    let near: Fd<M> = Fd::new(near);
    let (count, bytes) = ring.recv(&near, vec![0; 16]).await.unwrap();
    assert_eq!((count, bytes), (1, b"x".to_vec()));
}

/// The same by a stream of receives, which is one entry for all of them.
async fn next_of_stream<M: Mode>(ring: RingOf<M>, near: UnixStream) {
    let mut stream = ring.recv_stream(&Fd::new(near));
    assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"x");
}

/// By an adapter.
#[cfg(feature = "tokio")]
async fn read<M: Mode>(ring: RingOf<M>, near: UnixStream) {
    use tokio::io::AsyncReadExt as _;

    let mut stream = safer_ring::net::UnixStream::from_std(&ring, near).into_io();
    let mut bytes = [0; 16];
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 1);
}

/// All in one future, with the ring's own timer.
async fn in_one_future<M: Mode, F: Future<Output = ()>>(
    ring: RingOf<M>,
    receive: impl Fn(RingOf<M>, UnixStream) -> F,
) {
    let (near, far) = pairs();
    let all = near.into_iter().map(|near| receive(ring.clone(), near)).collect();
    park(&ring, all, || release(&far)).await;
}

/// A thousand listeners, whom nobody connects to meanwhile.
async fn accepts<M: Mode>(ring: RingOf<M>) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    // Twice as many descriptors, as for the others.
    drop(pairs());
    let name = |number| format!("safer-ring-idle-{}-{number}", std::process::id());
    let address = |number| SocketAddr::from_abstract_name(name(number)).unwrap();
    let accept = |number| {
        let listener = UnixListener::bind_addr(&address(number)).unwrap();
        let listener = safer_ring::net::UnixListener::from_std(&ring, listener);
        async move { drop(listener.accept().await.unwrap()) }
    };
    let all = (0..RECEIVES).map(accept).collect();
    let release =
        || (0..RECEIVES).for_each(|n| drop(UnixStream::connect_addr(&address(n)).unwrap()));
    park(&ring, all, release).await;
}

/// Measures while all of these wait, then lets them end.
async fn park<M: Mode, F: Future<Output = ()>>(
    ring: &RingOf<M>,
    all: Vec<F>,
    release: impl FnOnce(),
) {
    let pause = async |time| ring.timeout(time).await.unwrap();
    let rest = std::pin::pin!(measure(|| ring.snapshot().in_flight, pause));
    match select(join_all(all), rest).await {
        Either::Right(((), all)) => {
            release();
            assert_eq!(all.await.len(), RECEIVES);
        }
        Either::Left(_) => panic!("some ended by themselves"),
    }
}

fn local_block_on() {
    let ring = local::Ring::new(256).unwrap();
    ring.block_on(in_one_future(ring.clone(), receive));
}

fn streams_on_local() {
    let ring = local::Ring::new(256).unwrap();
    ring.block_on(in_one_future(ring.clone(), next_of_stream));
}

fn accepts_on_local() {
    let ring = local::Ring::new(256).unwrap();
    ring.block_on(accepts(ring.clone()));
}

#[cfg(feature = "tokio")]
fn adapters_on_local() {
    let ring = local::Ring::new(256).unwrap();
    ring.block_on(in_one_future(ring.clone(), read));
}

fn shared_block_on() {
    pollster::block_on(in_one_future(Ring::new(256).unwrap(), receive));
}

fn streams_on_shared() {
    pollster::block_on(in_one_future(Ring::new(256).unwrap(), next_of_stream));
}

fn accepts_on_shared() {
    pollster::block_on(accepts(Ring::new(256).unwrap()));
}

/// A task for each receive, which is in flight or waits in the poller of the runtime.
fn in_tasks<F: Future<Output = ()> + Send + 'static>(
    mut builder: tokio::runtime::Builder,
    ring: &Ring,
    in_flight: bool,
    receive: impl Fn(Ring, UnixStream) -> F,
) {
    let runtime = builder.worker_threads(4).enable_all().build().unwrap();
    let (near, far) = pairs();
    runtime.block_on(async {
        let parked = Arc::new(AtomicU64::new(0));
        let start = |near| {
            let (parked, receive) = (Arc::clone(&parked), receive(ring.clone(), near));
            tokio::spawn(async move {
                parked.fetch_add(1, Ordering::Relaxed);
                receive.await;
                parked.fetch_sub(1, Ordering::Relaxed);
            })
        };
        let tasks: Vec<_> = near.into_iter().map(start).collect();
        let parked = || {
            let there = parked.load(Ordering::Relaxed);
            if in_flight { there.min(ring.snapshot().in_flight) } else { there }
        };
        measure(parked, tokio::time::sleep).await;
        release(&far);
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn on_tokio(builder: tokio::runtime::Builder) {
    in_tasks(builder, &Ring::new(256).unwrap(), true, receive);
}

#[cfg(feature = "tokio")]
fn adapters_on_tokio() {
    let builder = tokio::runtime::Builder::new_multi_thread();
    // The runtime tells them what arrives.
    let ring = Ring::new(256).unwrap();
    in_tasks(builder, &ring, false, read);
}

#[cfg(feature = "runtime")]
type Boxed = std::pin::Pin<Box<dyn Future<Output = ()>>>;

#[cfg(feature = "runtime")]
fn two_threads(receive: fn(local::Ring, UnixStream) -> Boxed) {
    use safer_ring::{Runtime, runtime};

    let runtime = Runtime::builder().threads(2).build().unwrap();
    let (near, far) = pairs();
    let parked = Arc::new(AtomicU64::new(0));
    let start = |(number, near): (usize, UnixStream)| {
        let parked = Arc::clone(&parked);
        let receive = move || async move {
            parked.fetch_add(1, Ordering::Relaxed);
            receive(runtime::ring(), near).await;
        };
        runtime.handle().spawn_on(number % 2, receive).unwrap()
    };
    let tasks: Vec<_> = near.into_iter().enumerate().map(start).collect();
    runtime.block_on(async {
        measure(|| parked.load(Ordering::Relaxed), runtime::sleep).await;
        release(&far);
        for task in tasks {
            task.await.unwrap();
        }
    });
}
