//! A log that says too early that a record is safe, and the seeds that show it: `cargo run --example sim_wal`.
#![allow(clippy::as_conversions, reason = "lengths as offsets")]

use std::cell::Cell;
use std::error::Error;
use std::io;

use safer_ring::sim::{Config, World};
use safer_ring::{OpenOptions, Ring};

/// Bytes of a record: its number, again and again.
const RECORD: usize = 600;

fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(RECORD / 8)
}

/// Appends records until the power goes, and counts those that it has acknowledged.
async fn write(ring: Ring, acknowledged: &Cell<u64>, sync_first: bool) -> io::Result<()> {
    let log = ring.open("/log", &OpenOptions::new().write(true).create(true)).await?;
    // The name of the log, too, is safe only when its directory is.
    ring.fsync(&ring.open("/", &OpenOptions::new().read(true)).await?).await?;
    for number in 1.. {
        let (mut rest, mut at) = (record(number), (number - 1) * RECORD as u64);
        while !rest.is_empty() {
            let (n, back) = ring.write_at_owned(&log, rest, at).await?;
            (rest, at) = (back.into_iter().skip(n).collect(), at + n as u64);
        }
        if sync_first {
            ring.fdatasync(&log).await?;
        }
        acknowledged.set(number);
        if !sync_first {
            ring.fdatasync(&log).await?; // Too late: somebody counts on it already.
        }
    }
    Ok(())
}

/// How many whole records the log begins with.
async fn recover(ring: Ring) -> io::Result<u64> {
    let log = ring.open("/log", &OpenOptions::new().read(true).write(true).create(true)).await?;
    let mut found: Vec<u8> = Vec::new();
    loop {
        let (n, buffer) = ring.read_at_owned(&log, vec![0; 4096], found.len() as u64).await?;
        found.extend(buffer.into_iter().take(n));
        if n == 0 {
            break;
        }
    }
    let whole = |(bytes, number): &(&[u8], u64)| *bytes == record(*number);
    Ok(found.chunks(RECORD).zip(1..).take_while(whole).count() as u64)
}

/// The first seed with which an acknowledged record is lost.
fn first_loss(seeds: u64, sync_first: bool) -> Result<Option<u64>, Box<dyn Error>> {
    for seed in 0..seeds {
        let world = World::new(Config::new(seed));
        let acknowledged = Cell::new(0);
        let writer = write(world.ring()?, &acknowledged, sync_first);
        world.run_steps(20 + world.random(300), writer)?.transpose()?;
        world.crash();
        let found = world.block_on(recover(world.ring()?))??;
        if found < acknowledged.get() {
            return Ok(Some(seed));
        }
    }
    Ok(None)
}

fn main() -> Result<(), Box<dyn Error>> {
    for (name, sync_first) in [("acknowledged, then synced", false), ("synced first", true)] {
        match first_loss(300, sync_first)? {
            Some(seed) => println!("{name}: a record is lost with seed {seed}"),
            None => println!("{name}: 300 crashes, nothing lost"),
        }
    }
    Ok(())
}
