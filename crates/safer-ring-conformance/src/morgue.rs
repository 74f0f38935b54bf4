//! Memory that is watched once it has been released.
//!
//! A pool keeps its memory as long as it lives. So what has come back to it is taken at once, filled, and never lent again:
//! who changes it then still had it, though it was released. That is the kernel, if memory was let go before the last
//! completion of its operation.

use std::hint::black_box;
use std::time::{Duration, Instant};

use safer_ring::{BufferPool, Fd, Mode, OwnedBuffer, PooledBuffer, RingOf};

use crate::env::Trouble;
use crate::kit::{PATIENCE, turn, yes};

/// What released memory is filled with.
const DEAD: u8 = 0xA5;
/// Alignment that any disk takes for direct reads.
const ALIGN: usize = 4096;
/// Looks that follow each other as fast as a ring turns: what was let go too early is found before the kernel is done with it.
const QUICK: usize = 1000;
/// Direct reads of a file that are behind all that were begun before.
const BEHIND: usize = 4;

/// Buffers of one size, and those of them that have been released.
#[derive(Debug)]
pub(crate) struct Morgue {
    pool: BufferPool,
    count: usize,
    released: Vec<PooledBuffer>,
}

impl Morgue {
    /// So many buffers of `size` bytes, aligned for direct reads.
    pub(crate) fn new(count: usize, size: usize) -> Result<Self, Trouble> {
        Ok(Self { pool: BufferPool::aligned(count, size, ALIGN)?, count, released: Vec::new() })
    }

    /// All of them, to be lent.
    pub(crate) fn buffers(&self) -> Vec<PooledBuffer> {
        std::iter::from_fn(|| self.pool.take()).collect()
    }

    /// One that nobody has.
    pub(crate) fn buffer(&self) -> Result<PooledBuffer, Trouble> {
        self.pool.take().ok_or_else(|| "all buffers are lent".into())
    }

    /// Lays out what has come back; whether that is all.
    pub(crate) fn look(&mut self) -> bool {
        while let Some(mut buffer) = self.pool.take() {
            buffer.resize(buffer.capacity());
            buffer.fill(DEAD);
            self.released.push(buffer);
        }
        self.released.len() == self.count
    }

    /// Lets the ring work until all have come back.
    pub(crate) async fn all<M: Mode>(&mut self, ring: &RingOf<M>) -> Result<(), Trouble> {
        let (end, mut looks) = (Instant::now() + PATIENCE, 0);
        while !self.look() {
            if Instant::now() > end {
                let (back, of) = (self.released.len(), self.count);
                return Err(format!("{back} of {of} are back: {:?}", ring.snapshot()).into());
            }
            looks += 1;
            if looks < QUICK {
                turn(ring).await?;
            } else {
                ring.timeout(Duration::from_millis(1)).await?;
            }
        }
        Ok(())
    }

    /// "yes" if anything was written to one of them after its release.
    pub(crate) fn touched(&self) -> &'static str {
        let touched = |buffer: &PooledBuffer| black_box(&**buffer).iter().any(|byte| *byte != DEAD);
        yes(self.released.iter().any(touched))
    }
}

/// Reads a file that has no cache, until what was asked of its disk before must be over.
pub(crate) async fn reads_are_over<M: Mode>(
    ring: &RingOf<M>,
    file: &Fd<M>,
    size: usize,
) -> Result<(), Trouble> {
    let mut buffer = OwnedBuffer::aligned(size, ALIGN)?;
    for _ in 0..BEHIND {
        buffer = ring.read_at_owned(file, buffer, 0).await?.1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_after_the_release_is_seen() {
        let mut morgue = Morgue::new(2, 64).unwrap();
        let lent = morgue.buffers();
        assert!(!morgue.look());
        assert_eq!((lent.len(), morgue.touched()), (2, "no"));
        assert!(morgue.buffer().is_err());
        drop(lent);
        assert!(morgue.look());
        assert_eq!(morgue.touched(), "no");
        // As the kernel would.
        morgue.released[1][63] = 0;
        assert_eq!(morgue.touched(), "yes");
    }
}
