//! `random_reads FILE [READS]`: blocks of 4 KiB from random places, 32 at a time.
//!
//! Each round is one batch: one system call starts all its reads, and the task is woken once, after the last. Nothing is
//! registered with the kernel; the buffers of a round are those of the next.
#![expect(clippy::as_conversions, reason = "on 64-bit Linux, lengths are as wide as offsets")]

use std::io;
use std::time::Instant;

use safer_ring::{OwnedBuffer, local};

const BLOCK: usize = 4096;
const IN_FLIGHT: usize = 32;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| io::Error::other("usage: random_reads FILE [READS]"));
    let reads: usize = match arguments.next() {
        Some(number) => number.parse().map_err(io::Error::other)?,
        None => 100_000,
    };
    let ring = local::Ring::new(64)?;
    let (sum, elapsed) = ring.block_on(async {
        let file = local::File::open(&ring, path?).await?;
        let blocks = file.metadata().await?.len() / BLOCK as u64;
        if blocks == 0 {
            return Err(io::Error::other("the file has no whole block"));
        }
        let started = Instant::now();
        let (mut sum, mut seed) = (0, 1);
        let mut batch = ring.batch();
        let mut buffers: Vec<_> = (0..IN_FLIGHT).map(|_| OwnedBuffer::new(BLOCK)).collect();
        let mut left = reads;
        while left > 0 {
            let round = left.min(IN_FLIGHT);
            let members = buffers.drain(..round).map(|buffer| {
                let block = random(&mut seed) % blocks;
                batch.read_at(file.fd(), buffer, block * BLOCK as u64)
            });
            let members: Vec<_> = members.collect();
            batch.submit().await;
            for member in members {
                let (_, buffer) = member.await?;
                sum += buffer.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                buffers.push(buffer);
            }
            left -= round;
        }
        Ok((sum, started.elapsed()))
    })?;
    println!("{reads} reads in {elapsed:.1?}; the bytes add up to {sum}");
    Ok(())
}

/// Xorshift: the same places in each run.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}
