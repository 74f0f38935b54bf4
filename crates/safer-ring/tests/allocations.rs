//! In the steady state no operation allocates: counted over every thread of the process.
//!
//! One test, so that nothing else of this process allocates next to it.
//!
//! # Safety
//! In the counting allocator, `common/counting.rs`.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a counting allocator; tests")]

#[path = "common/counting.rs"]
mod counting;

use std::io;
use std::os::unix::net::UnixStream;
#[cfg(feature = "runtime")]
use std::time::Duration;

use counting::{Found, measure};
use futures_util::future::join;
use safer_ring::{Fd, Mode, OwnedBuffer, Ring, RingOf, local};

const WARM_UP: u32 = 1_000;
const OPERATIONS: u32 = 10_000;
const BATCH: usize = 32;
const SIZE: usize = 4096;

async fn measure_all<M: Mode>(ring: &RingOf<M>) -> io::Result<Found> {
    let mut found = Vec::with_capacity(16);
    measure!(found, "nop", ring.nop().await?);

    let file: Fd<M> = Fd::new(tempfile::tempfile()?);
    let mut buffer = OwnedBuffer::new(SIZE);
    measure!(found, "write_at_owned", {
        buffer = ring.write_at_owned(&file, buffer, 0).await?.1;
    });
    measure!(found, "read_at_owned", {
        buffer = ring.read_at_owned(&file, buffer, 0).await?.1;
    });

    let (left, right) = UnixStream::pair()?;
    let (left, right): (Fd<M>, Fd<M>) = (Fd::new(left), Fd::new(right));
    let (mut there, mut back) = (vec![7; 64], Vec::with_capacity(64));
    measure!(found, "send, then recv", {
        there = ring.send(&left, there).await?.1;
        back = ring.recv(&right, back).await?.1;
    });
    measure!(found, "recv that waits for a send", {
        let (received, sent) = join(ring.recv(&right, back), ring.send(&left, there)).await;
        back = received?.1;
        there = sent?.1;
    });

    let mut batch = ring.batch();
    let mut members = Vec::with_capacity(BATCH);
    measure!(found, "batch of 32", {
        members.extend((0..BATCH).map(|_| batch.nop()));
        batch.submit().await;
        for member in members.drain(..) {
            member.await?;
        }
    });

    let zero: Fd<M> = Fd::new(std::fs::File::open("/dev/zero")?);
    measure!(found, "read_ring_buffer", {
        let (count, view) = ring.read_ring_buffer(&zero).await?;
        assert_eq!(count, view.len());
    });
    Ok(found)
}

/// With the feature for it, in tokio, whose poller hears of completions then.
#[cfg(feature = "tokio")]
fn on_an_executor<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

#[cfg(not(feature = "tokio"))]
fn on_an_executor<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

#[test]
#[cfg_attr(
    all(feature = "smol", not(feature = "tokio")),
    ignore = "smol's poller allocates in each of its turns"
)]
fn the_steady_state_allocates_nothing() {
    counting::start();
    let ring = local::Ring::new(64).unwrap();
    let one_thread = ring.block_on(measure_all(&ring)).unwrap();
    #[cfg(feature = "runtime")]
    runtime_allocates_nothing();
    let ring: Ring = Ring::new(64).unwrap();
    let shared = on_an_executor(async {
        counting::settled(&ring).await?;
        measure_all(&ring).await
    });
    let shared = shared.unwrap();
    #[cfg(feature = "tokio")]
    tasks_allocate_nothing(&ring);
    let clean = |found: &Found| found.iter().all(|(_, count)| *count == 0);
    assert!(
        clean(&one_thread) && clean(&shared),
        "allocations in {OPERATIONS} operations: local {one_thread:?}, shared {shared:?}"
    );
}

/// The same in a task of tokio, and a stream there, which its poller tells what arrives.
#[cfg(feature = "tokio")]
fn tasks_allocate_nothing(ring: &Ring) {
    use std::io::Write as _;

    async fn measure_task(ring: Ring) -> io::Result<Found> {
        // The first wait tells the runtime of the ring, and what the waker of a task is is learnt by a task of its own.
        ring.timeout(std::time::Duration::from_millis(1)).await?;
        let mut found = measure_all(&ring).await?;
        let (near, mut far) = UnixStream::pair()?;
        let mut stream = ring.recv_stream(&Fd::new(near));
        measure!(found, "a stream that is told", {
            let next = stream.next();
            far.write_all(&[7; 64])?;
            assert_eq!(next.await.unwrap()?.len(), 64);
        });
        let waits = stream.next();
        assert!(futures_util::poll!(waits).is_pending());
        let told = ring.features().has_multishot_receive();
        assert!(!told || ring.snapshot().in_flight == 0, "it is told: {:?}", ring.snapshot());
        Ok(found)
    }

    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let ring = ring.clone();
    let found = runtime.block_on(async { tokio::spawn(measure_task(ring)).await.unwrap() });
    let found = found.unwrap();
    assert!(found.iter().all(|(_, count)| *count == 0), "allocations in a task: {found:?}");
}

/// The same in a task, and what a runtime adds: turns of tasks, timers, and wakes from another thread.
#[cfg(feature = "runtime")]
fn runtime_allocates_nothing() {
    use std::sync::Arc;

    use safer_ring::{Runtime, runtime};
    use tokio::sync::Notify;

    async fn measure_runtime(there: Arc<Notify>, back: Arc<Notify>) -> io::Result<Found> {
        // Until the other worker runs its task: taking that in takes memory, four times, and on a busy machine it came to
        // it while this one was measured.
        for _ in 0..WARM_UP {
            there.notify_one();
            back.notified().await;
        }
        let mut found = measure_all(&runtime::ring()).await?;
        measure!(found, "yield_now", runtime::yield_now().await);
        measure!(found, "sleep", runtime::sleep(Duration::from_nanos(1)).await);
        measure!(found, "timeout", {
            runtime::timeout(Duration::from_secs(1), runtime::ring().nop()).await??;
        });
        measure!(found, "wakes between threads", {
            there.notify_one();
            back.notified().await;
        });
        Ok(found)
    }

    let runtime = Runtime::builder().threads(2).build().unwrap();
    let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked, answer) = (Arc::clone(&there), Arc::clone(&back));
    let echo = move || async move {
        loop {
            asked.notified().await;
            answer.notify_one();
        }
    };
    let echo: runtime::JoinHandle<()> = runtime.handle().spawn_on(1, echo).unwrap();
    let found = runtime.block_on(runtime.spawn(measure_runtime(there, back))).unwrap().unwrap();
    assert!(found.iter().all(|(_, count)| *count == 0), "allocations: {found:?}");
    echo.abort();
}
