//! `cp FROM TO`: copies a regular file with eight blocks in flight.
//!
//! Eight futures on one thread, each with a buffer of its own; the ring runs their reads and writes side by side.
//! (`safer_ring::fs::copy` copies inside the kernel. This shows how to work on the bytes in between.)
#![expect(clippy::as_conversions, reason = "on 64-bit Linux, lengths are as wide as offsets")]

use std::io;

use futures_util::future::try_join_all;
use safer_ring::{IoBuf, OwnedBuffer, local};

const BLOCK: usize = 256 * 1024;
const LANES: usize = 8;

fn main() -> io::Result<()> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(from), Some(to), None) = (paths.next(), paths.next(), paths.next()) else {
        return Err(io::Error::other("usage: cp FROM TO"));
    };
    let ring = local::Ring::new(64)?;
    ring.block_on(async {
        let source = local::File::open(&ring, &from).await?;
        let target = local::File::create(&ring, &to).await?;
        let length = source.metadata().await?.len();
        let lanes = (0..LANES).map(|lane| copy_lane(&source, &target, lane, length));
        let copied: u64 = try_join_all(lanes).await?.into_iter().sum();
        target.sync_all().await?;
        println!("copied {copied} bytes");
        Ok(())
    })
}

/// Copies every eighth block, beginning with block number `lane`. Gives the bytes copied.
async fn copy_lane(
    source: &local::File,
    target: &local::File,
    lane: usize,
    length: u64,
) -> io::Result<u64> {
    let mut buffer = OwnedBuffer::new(BLOCK);
    let mut copied = 0;
    let mut offset = (lane * BLOCK) as u64;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(BLOCK).min(BLOCK);
        // A file that shrinks meanwhile is an error (`UnexpectedEof`), not a shorter copy.
        let filled = source.read_exact_at(buffer.slice(..wanted), offset).await?;
        buffer = target.write_all_at(filled, offset).await?.into_inner();
        copied += wanted as u64;
        offset += (LANES * BLOCK) as u64;
    }
    Ok(copied)
}
