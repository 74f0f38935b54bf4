//! Chains whose members are interrupted, in simulated worlds: the program sees what operations one by one would show it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::cell::Cell;
use std::io;
use std::time::Duration;

use safer_ring::sim::{Config, World};
use safer_ring::{Failure, Fd, Mode, OpenOptions, RingOf};

const SEEDS: u64 = 400;
const RECORDS: u64 = 20;
/// Bytes of a record: its number, again and again.
const RECORD: usize = 600;

fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(RECORD / 8)
}

fn options() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

fn failure(error: &io::Error) -> Option<Failure> {
    error.get_ref().and_then(|error| error.downcast_ref::<Failure>()).copied()
}

/// Nothing goes wrong but interruptions, and no transfer is short.
fn whole(seed: u64) -> Config {
    Config { short: 0, interrupts: 200, ..Config::new(seed) }
}

/// A file that is safe, name and all.
async fn make<M: Mode>(ring: &RingOf<M>, path: &str) -> Fd<M> {
    let file = ring.open(path, &options()).await.unwrap();
    let directory = ring.open("/", &OpenOptions::new().read(true)).await.unwrap();
    ring.fsync(&directory).await.unwrap();
    file
}

/// Appends records with a chain each, and counts those that it has acknowledged. A short write is no error: the rest is the
/// next chain.
async fn append<M: Mode>(ring: RingOf<M>, acknowledged: &Cell<u64>, requeued: &Cell<u64>) {
    let log = make(&ring, "/log").await;
    for number in 1..=RECORDS {
        let (mut rest, mut at) = (record(number), (number - 1) * RECORD as u64);
        loop {
            let wanted = rest.len();
            let write = ring.write_at_owned(&log, rest, at);
            let (written, synced) = write.then(ring.fdatasync(&log)).await;
            let (n, back) = written.unwrap();
            requeued.set(ring.snapshot().requeued);
            if n == wanted {
                synced.unwrap();
                break;
            }
            let told = failure(&synced.unwrap_err());
            let (wanted, moved) = (wanted as u32, n as u32);
            assert_eq!(told, Some(Failure::ChainShort { member: 0, wanted, moved }));
            (rest, at) = (back[n..].to_vec(), at + n as u64);
        }
        acknowledged.set(number);
    }
}

#[test]
fn a_log_of_chains_sees_no_interruption_and_loses_no_record() {
    let mut requeued = 0;
    let mut cut = 0;
    for seed in 0..SEEDS {
        let config = if seed % 2 == 0 { Config::new(seed) } else { whole(seed) };
        let world = World::new(config);
        let (acknowledged, again) = (Cell::new(0), Cell::new(0));
        let steps = 20 + world.random(600);
        let ended = if seed % 4 < 2 {
            world.run_steps(steps, append(world.ring().unwrap(), &acknowledged, &again))
        } else {
            world.run_steps(steps, append(world.local_ring().unwrap(), &acknowledged, &again))
        };
        cut += u32::from(ended.unwrap().is_none());
        requeued += again.get();
        world.crash();
        let found = world.read_file("/log").unwrap_or_default();
        for number in 1..=acknowledged.get() {
            let at = (number as usize - 1) * RECORD;
            assert!(found[at..at + RECORD] == record(number), "seed {seed}: record {number}");
        }
    }
    assert!(requeued > 1000, "only {requeued} members were tried again");
    assert!(cut > 50, "only {cut} of the logs were cut off");
}

/// Three members of which each depends on the one before it.
async fn in_order<M: Mode>(ring: RingOf<M>) -> u64 {
    let file = make(&ring, "/data").await;
    for turn in 0..10u8 {
        let first = ring.write_at_owned(&file, vec![turn; 100], 0);
        let second = ring.write_at_owned(&file, vec![turn + 100; 50], 25);
        let read = ring.read_at_owned(&file, Vec::with_capacity(100), 0);
        let ((first, second), read) = first.then(second).then(read).await;
        assert_eq!((first.unwrap().0, second.unwrap().0), (100, 50));
        let (n, seen) = read.unwrap();
        assert_eq!((n, seen.len()), (100, 100));
        assert!((0..100).all(|at| seen[at] == turn + if (25..75).contains(&at) { 100 } else { 0 }));
        let (nothing, synced) = ring.nop().then(ring.fsync(&file)).await;
        nothing.unwrap();
        synced.unwrap();
    }
    ring.close(file).await.unwrap();
    ring.snapshot().requeued
}

#[test]
fn an_interrupted_chain_of_three_keeps_its_order() {
    let mut requeued = 0;
    for seed in 0..SEEDS {
        let world = World::new(whole(seed));
        requeued += world.block_on(in_order(world.ring().unwrap())).unwrap();
        let world = World::new(whole(seed));
        // A queue with just enough room.
        requeued += world.block_on(in_order(world.local_ring_with(4, 8).unwrap())).unwrap();
        assert_eq!((world.findings(), world.operations()), (vec![], vec![]), "seed {seed}");
    }
    assert!(requeued > 10_000, "only {requeued} members were tried again");
}

/// Chains whose futures are dropped, at any time after they were begun.
async fn dropped<M: Mode>(ring: RingOf<M>, world: &World) {
    let file = make(&ring, "/data").await;
    let first = ring.write_at_owned(&file, vec![1; 100], 0);
    let second = ring.write_at_owned(&file, vec![2; 50], 25);
    let chain = first.then(second).then(ring.fsync(&file));
    let pause = ring.timeout(Duration::from_micros(world.random(6000)));
    match futures_util::future::select(chain, pause).await {
        futures_util::future::Either::Left((((first, second), synced), _)) => {
            first.unwrap();
            second.unwrap();
            synced.unwrap();
        }
        futures_util::future::Either::Right((_, chain)) => drop(chain),
    }
    ring.drain(world.instant() + Duration::from_secs(60)).await;
    assert_eq!(ring.operations().len(), 0);
    // It would tell the error of a dropped write.
    file.settle().await.unwrap();
}

#[test]
fn a_dropped_chain_that_is_interrupted_runs_to_its_end() {
    for seed in 0..SEEDS {
        let world = World::new(whole(seed));
        if seed % 2 == 0 {
            world.block_on(dropped(world.ring().unwrap(), &world)).unwrap();
        } else {
            world.block_on(dropped(world.local_ring().unwrap(), &world)).unwrap();
        }
        world.crash();
        let mut wanted = vec![1; 100];
        wanted[25..75].fill(2);
        assert_eq!(world.read_file("/data").unwrap(), wanted, "seed {seed}");
    }
}

#[test]
fn a_member_that_fails_for_good_ends_its_chain_under_its_own_name() {
    let mut failed = 0;
    for seed in 0..SEEDS {
        let world = World::new(Config { interrupts: 200, ..Config::calm(seed) });
        let ring = world.ring().unwrap();
        let body = async {
            let file = make(&ring, "/data").await;
            world.reconfigure(|config| config.errors = 300);
            let write = ring.write_at_owned(&file, vec![1; 100], 0);
            let (written, synced) = write.then(ring.fsync(&file)).await;
            let Err(error) = written else { return 0 };
            let number = error.raw_os_error().unwrap();
            assert!(![libc::EINTR, libc::ECANCELED].contains(&number), "seed {seed}: {error}");
            let told = failure(&synced.unwrap_err());
            let Some(Failure::ChainFailed { member: 0, errno }) = told else { panic!("{told:?}") };
            assert_eq!(errno.raw_os_error(), number, "seed {seed}");
            1
        };
        failed += world.block_on(body).unwrap();
    }
    assert!(failed > 50, "only {failed} of the writes failed");
}

#[test]
fn a_chain_that_is_interrupted_again_and_again_says_so_in_the_end() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let (written, synced) = world
        .block_on(async {
            let file = make(&ring, "/data").await;
            world.reconfigure(|config| config.interrupts = 1000);
            let chain = ring.write_at_owned(&file, vec![1; 100], 0).then(ring.fsync(&file)).await;
            world.reconfigure(|config| config.interrupts = 0);
            chain
        })
        .unwrap();
    let error = written.unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::EINTR | libc::ECANCELED)), "{error}");
    assert_eq!(error.into_buffer(), vec![1; 100]);
    let told = failure(&synced.unwrap_err());
    assert!(matches!(told, Some(Failure::ChainFailed { member: 0, .. })), "{told:?}");
    // Each time both go into the queue.
    assert_eq!(ring.snapshot().requeued, 2048);
}
