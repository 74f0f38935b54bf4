//! The simulated kernel through the public API: what it keeps, how time goes by, and that a seed says it all.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use safer_ring::fs::File;
use safer_ring::sim::{Config, Stuck, World};
use safer_ring::{BackendKind, Ended, Fd, Interest, Mode, OpenOptions, PipeOptions, RingOf};

fn options() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

/// Writes everything, however it is cut.
async fn write_all<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, mut data: Vec<u8>, mut at: u64) {
    while !data.is_empty() {
        let (n, back) = ring.write_at_owned(fd, data, at).await.unwrap();
        assert!(n > 0);
        data = back[n..].to_vec();
        at += u64::try_from(n).unwrap();
    }
}

async fn read_all<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let at = u64::try_from(all.len()).unwrap();
        let (n, buffer) = ring.read_at_owned(fd, Vec::with_capacity(700), at).await.unwrap();
        assert_eq!(n, buffer.len());
        if n == 0 {
            return all;
        }
        all.extend(buffer);
    }
}

/// A file is written in pieces, read back, renamed, and looked at.
async fn use_files<M: Mode>(ring: RingOf<M>) -> u64 {
    ring.mkdir("/data", 0o755).await.unwrap();
    let file = ring.open("/data/new", &options()).await.unwrap();
    let data: Vec<u8> = (0..5000u32).flat_map(|n| n.to_le_bytes()).collect();
    let (one, two) = data.split_at(9999);
    let second = write_all(&ring, &file, two.to_vec(), 9999);
    let first = write_all(&ring, &file, one.to_vec(), 0);
    second.await;
    first.await;
    ring.fsync(&file).await.unwrap();
    assert_eq!(read_all(&ring, &file).await, data);
    ring.rename("/data/new", "/data/old", Default::default()).await.unwrap();
    let missing = ring.open("/data/new", &OpenOptions::new().read(true)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let stat = ring.statx("/data/old").await.unwrap();
    assert!(stat.is_file());
    ring.close(file).await.unwrap();
    stat.len()
}

#[test]
fn files_keep_what_was_written() {
    for seed in 0..60 {
        for config in [Config::calm(seed), Config::new(seed)] {
            let world = World::new(config);
            let ring = world.ring().unwrap();
            assert_eq!(ring.features().backend, BackendKind::Sim);
            assert_eq!(ring.report().to_string(), "simulation");
            assert_eq!(world.block_on(use_files(ring)).unwrap(), 20_000, "seed {seed}");
            assert_eq!(world.read_file("/data/old").unwrap().len(), 20_000);
            assert_eq!(world.list("/data").unwrap(), ["old"]);
            assert_eq!((world.descriptors(), world.operations().len()), (0, 0));
        }
        let world = World::new(Config::new(seed));
        let ring = world.local_ring_with(1, 1).unwrap();
        assert_eq!(world.block_on(use_files(ring)).unwrap(), 20_000, "seed {seed}");
        assert_eq!(world.descriptors(), 0);
    }
}

#[test]
fn what_is_to_be_tried_again_is_handed_over_before_time_goes_by() {
    for seed in 0..20 {
        let world = World::new(Config { interrupts: 800, ..Config::calm(seed) });
        let ring = world.local_ring_with(1, 2).unwrap();
        world
            .block_on(async {
                let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
                let late = ring.now() + Duration::from_secs(3600);
                for _ in 0..100 {
                    ring.write_owned(&writer, b"word".to_vec()).deadline(late).await.unwrap();
                    let read = ring.read_owned(&reader, vec![0; 4]).deadline(late).await;
                    assert_eq!(read.unwrap().1, b"word", "seed {seed}");
                }
            })
            .unwrap();
        assert!(ring.snapshot().requeued > 500);
        assert_eq!(world.now(), Duration::ZERO, "seed {seed}");
    }
}

#[test]
fn a_local_ring_drives_the_world_itself() {
    let world = World::new(Config::new(3));
    let ring = world.local_ring().unwrap();
    assert_eq!(ring.block_on(use_files(ring.clone())), 20_000);
    ring.block_on(async { ring.timeout(Duration::from_secs(3600)).await }).unwrap();
    assert!(world.now() >= Duration::from_secs(3600));
}

/// Two tasks and a pipe between them.
fn pipe_of_tasks(world: &World) -> Vec<u8> {
    let ring = world.ring().unwrap();
    let (other, world) = (ring.clone(), world.clone());
    let tasks = world.clone();
    let run = world.block_on(async move {
        let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
        let sender = tasks.spawn(async move {
            for n in 0..40u8 {
                let mut rest = vec![n; 5000];
                while !rest.is_empty() {
                    let (sent, back) = other.write_owned(&writer, rest).await.unwrap();
                    rest = back[sent..].to_vec();
                }
            }
        });
        let mut all = Vec::new();
        loop {
            let (n, buffer) = ring.read_owned(&reader, vec![0; 777]).await.unwrap();
            if n == 0 {
                sender.await;
                return all;
            }
            all.extend_from_slice(&buffer[..n]);
        }
    });
    run.unwrap()
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let expected: Vec<u8> = (0..40u8).flat_map(|n| vec![n; 5000]).collect();
    let mut hashes = Vec::new();
    for seed in 0..20 {
        let run = || {
            let world = World::new(Config::new(seed));
            assert_eq!(pipe_of_tasks(&world), expected, "seed {seed}");
            (world.trace(), world.trace_hash(), world.now())
        };
        let (one, other) = (run(), run());
        assert_eq!(one, other, "seed {seed}");
        assert!(one.0.iter().any(|line| line.contains("ring 0 takes #0 pipe")), "{:?}", one.0);
        hashes.push(one.1);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20, "seeds differ");
}

#[test]
fn what_waits_for_ever_is_an_error_that_names_it() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let stuck = world.block_on(async {
        let (reader, _writer) = ring.pipe(PipeOptions::default()).await.unwrap();
        ring.read_owned(&reader, vec![0; 10]).await
    });
    let Err(Stuck::Deadlock { operations }) = &stuck else { panic!("{stuck:?}") };
    assert_eq!(operations.len(), 1);
    assert!(operations[0].contains("read fd 0: waits"), "{operations:?}");
}

#[test]
fn time_jumps_to_what_is_next() {
    for seed in 0..20 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        let local = world.local_ring().unwrap();
        let clock = world.clone();
        world
            .block_on(async {
                let day = Duration::from_secs(86_400);
                let long = world.spawn(async move { local.timeout(2 * day).await });
                ring.timeout(day).await.unwrap();
                assert!(clock.now() >= day && clock.now() < day + Duration::from_secs(60));
                long.await.unwrap();
                assert!(clock.now() >= 2 * day && clock.now() < 2 * day + Duration::from_secs(60));
            })
            .unwrap();
    }
}

#[test]
fn a_read_ends_by_its_time_limit_and_a_cancellation_tells_how_it_ended() {
    for seed in 0..100 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
                let limited = ring.read_owned(&reader, vec![7; 10]).timeout(Duration::from_secs(5));
                let late = limited.await.unwrap_err();
                assert_eq!(late.error.kind(), ErrorKind::TimedOut, "seed {seed}");
                assert_eq!(late.buffer, [7; 10], "the memory is as it was");
                match ring.read_owned(&reader, vec![7; 10]).cancel().await {
                    Ended::Cancelled(buffer) => assert_eq!(buffer, [7; 10]),
                    other => panic!("seed {seed}: {other:?}"),
                }
                let poll = ring.poll(&reader, Interest::READABLE).timeout(Duration::from_secs(1));
                assert_eq!(poll.await.unwrap_err().kind(), ErrorKind::TimedOut);
                ring.write_owned(&writer, b"there".to_vec()).await.unwrap();
                let (n, buffer) = ring.read_owned(&reader, vec![0; 10]).await.unwrap();
                assert!(n > 0 && b"there".starts_with(&buffer[..n]), "seed {seed}");
            })
            .unwrap();
        assert!(world.findings().is_empty());
    }
}

#[test]
fn a_descriptor_of_a_world_is_none_of_the_process() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let file = world.block_on(async { ring.open("/tmp/x", &options()).await }).unwrap().unwrap();
    assert_eq!(file.duplicate().unwrap_err().raw_os_error(), Some(libc::EBADF));
    let file = file.try_into_owned().unwrap_err();
    let other = file.clone();
    let busy = world.block_on(ring.close(file)).unwrap().unwrap_err();
    assert_eq!(busy.error.kind(), ErrorKind::ResourceBusy);
    drop(busy);
    assert_eq!(world.descriptors(), 1);
    drop(other);
    assert_eq!(world.descriptors(), 0);
    drop((ring, world));
}

#[test]
fn the_file_type_of_the_library_works_in_a_world() {
    for seed in 0..30 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let file = File::create_new(&ring, "/tmp/file").await.unwrap();
                let data: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
                file.write_all_at(data.clone(), 0).await.unwrap();
                file.sync_all().await.unwrap();
                assert_eq!(file.metadata().await.unwrap().len(), 10_000);
                file.close().await.unwrap();
                assert_eq!(safer_ring::fs::read(&ring, "/tmp/file").await.unwrap(), data);
            })
            .unwrap();
        assert_eq!(world.descriptors(), 0);
    }
}

/// Polls a future once.
async fn begin(future: &mut (impl Future + Unpin)) {
    poll_fn(|context| {
        let ended = Pin::new(&mut *future).poll(context).is_ready();
        assert!(!ended, "it takes long");
        Poll::Ready(())
    })
    .await;
}

#[test]
fn what_a_ring_leaves_behind_is_filled_when_nobody_is_there_any_more() {
    for seed in 0..20 {
        let world = World::new(Config::calm(seed));
        let ring = world.local_ring().unwrap();
        world
            .block_on(async {
                let file = ring.open("/tmp/file", &options()).await.unwrap();
                write_all(&ring, &file, vec![1; 4096], 0).await;
                world.reconfigure(|config| {
                    // Neither ends before the ring does, whatever that asks for.
                    (config.slow_disk, config.late_cancels) = (1000, 1000);
                    config.slowest_disk = Duration::from_secs(3600);
                });
                let mut reads: Vec<_> =
                    (0..8).map(|_| ring.read_at_owned(&file, vec![0; 200], 0)).collect();
                for read in &mut reads {
                    begin(read).await;
                }
                ring.nop().await.unwrap();
            })
            .unwrap();
        drop(ring);
        let left = |line: &String| line.contains("ring 0 closed; left behind: ");
        assert!(!world.trace().iter().rfind(|line| left(line)).unwrap().ends_with(": 0"));
        let other = world.local_ring().unwrap();
        let long = other.timeout(Duration::from_secs(2 * 3600));
        world.block_on(long).unwrap().unwrap();
        let ends = |line: &&String| line.ends_with("and ring 0 is gone");
        assert!(world.trace().iter().filter(ends).count() > 0, "seed {seed}");
        assert_eq!(world.findings(), [""; 0], "seed {seed}: it is nobody else's memory");
    }
}

#[test]
fn completions_in_parts_and_beside_the_queue_lose_nothing() {
    let expected: Vec<u8> = (0..40u8).flat_map(|n| vec![n; 5000]).collect();
    let counts = |config: Config| {
        let world = World::new(config);
        assert_eq!(pipe_of_tasks(&world), expected);
        let lines = |part: &str| world.trace().iter().filter(|line| line.contains(part)).count();
        (lines(" is given a part of what has ended"), lines(" overflows"))
    };
    let mut totals = (0, 0);
    for seed in 0..20 {
        assert_eq!(counts(Config::calm(seed)), (0, 0));
        let late = Config { late: 500, ..Config::calm(seed) };
        let (parts, held) = counts(Config { batched: 1000, overflows: 300, ..late });
        totals = (totals.0 + parts, totals.1 + held);
    }
    assert!(totals.1 > 200, "{totals:?}");
    // Two tasks have little that ends at the same time; many operations have.
    let world = World::new(Config { batched: 1000, ..Config::calm(1) });
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let mut batch = ring.batch();
            let all: Vec<_> = (0..50).map(|_| batch.nop()).collect();
            batch.submit().await;
            for one in all {
                one.await.unwrap();
            }
        })
        .unwrap();
    let parts = |line: &&String| line.contains(" is given a part of what has ended");
    assert!(world.trace().iter().filter(parts).count() > 10);
}

#[test]
fn cancellations_that_find_nothing_are_asked_for_again() {
    let mut missed = 0;
    for seed in 0..50 {
        let world = World::new(Config { missed_cancels: 800, ..Config::calm(seed) });
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (reader, _writer) = ring.pipe(PipeOptions::default()).await.unwrap();
                match ring.read_owned(&reader, vec![7; 10]).cancel().await {
                    Ended::Cancelled(buffer) => assert_eq!(buffer, [7; 10]),
                    other => panic!("seed {seed}: {other:?}"),
                }
                let mut read = ring.read_owned(&reader, vec![7; 10]);
                begin(&mut read).await;
                ring.nop().await.unwrap();
                match read.cancel().await {
                    Ended::Cancelled(buffer) => assert_eq!(buffer, [7; 10]),
                    other => panic!("seed {seed}: {other:?}"),
                }
            })
            .unwrap();
        let is = |line: &&String| line.contains("is missed by its cancellation");
        missed += world.trace().iter().filter(is).count();
    }
    assert!(missed > 50, "{missed}");
}
