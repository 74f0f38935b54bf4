//! A lane with a file of its own: every byte is the one that was written last.

use std::io;
use std::ops::Deref;

use safer_ring::{BufferPool, Fd, Mode, OpError, OpenOptions, PooledBuffer, RegisterError};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate};

/// Bytes of the file, from its first write on.
const SIZE: usize = 20_000;
/// Bytes of a buffer of its pool: as much as a step moves at most.
const ROOM: usize = 4096;

/// How a read or write ended.
type Moved<B> = Met<Result<(usize, B), OpError<B>>>;

/// The file, and what must be in it; nothing where a write was dropped and nobody knows how far it came.
struct Book<M: Mode> {
    lane: Lane<M>,
    fd: Fd<M>,
    bytes: Vec<Option<u8>>,
    /// Writes so far, so that each has bytes of its own.
    writes: usize,
    /// Writes that were dropped are on their way: where.
    loose: Vec<(usize, Vec<u8>)>,
    /// Memory that may be registered.
    pool: BufferPool,
    /// Reads and writes have their buffers from there.
    pooled: bool,
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

/// Runs the lane.
pub(crate) async fn run<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let path = format!("/tmp/file{}", lane.number);
    let options = OpenOptions::new().read(true).write(true).create(true);
    let fd = lane.ring.open(path, &options).await;
    let fd = fd.map_err(|error| lane.wrong(format_args!("open: {error}")))?;
    let pool = BufferPool::contiguous(3, ROOM, 64).map_err(|error| lane.wrong(error))?;
    let (bytes, loose) = (Vec::new(), Vec::new());
    let mut book = Book { lane, fd, bytes, writes: 0, loose, pool, pooled: false };
    book.fill().await?;
    for act in acts {
        match act {
            Act::Pause { us } | Act::Rest { us } => book.lane.pause(us).await?,
            Act::Sync => book.settle().await?,
            Act::Write { at, len, fate } => book.write(at, len, fate).await?,
            Act::Read { at, len, fate } => book.read(at, len, fate).await?,
            Act::Register { on } => book.register(on)?,
            Act::Batch { at, len, count, dropped } => book.batch(at, len, count, dropped).await?,
            _ => {}
        }
    }
    let mut at = 0;
    while at < SIZE {
        book.read(at, 4096, Fate::Await).await?;
        at += 1024;
    }
    Ok(())
}

impl<M: Mode> Book<M> {
    fn data(&mut self, at: usize, len: usize) -> Vec<u8> {
        self.writes += 1;
        let shift = self.writes * 7919;
        bytes(self.lane.number, at + shift, len)
    }

    fn put(&mut self, at: usize, data: &[u8], known: bool) {
        for (place, byte) in self.bytes.iter_mut().skip(at).zip(data) {
            *place = known.then_some(*byte);
        }
    }

    async fn fill(&mut self) -> Verdict {
        let mut data = bytes(self.lane.number, 0, SIZE);
        self.bytes = data.iter().copied().map(Some).collect();
        let mut at = 0;
        while !data.is_empty() {
            let written = self.lane.ring.write_at_owned(&self.fd, data, offset(at)).await;
            let (count, back) = written.map_err(|failed| self.lane.wrong(failed.error))?;
            data = back.get(count..).unwrap_or_default().to_vec();
            at += count;
        }
        Ok(())
    }

    /// Waits for dropped writes: those whose end is good are known.
    async fn settle(&mut self) -> Verdict {
        let synced = self.lane.ring.fsync(&self.fd).await;
        let loose = std::mem::take(&mut self.loose);
        match synced {
            Ok(()) => {
                // One after the other, they did not overlap.
                loose.iter().for_each(|(at, data)| self.put(*at, data, true));
                let stat = self.lane.ring.statx_fd(&self.fd).await;
                let len = stat.map_err(|error| self.lane.wrong(error))?.len();
                if len == offset(SIZE) {
                    Ok(())
                } else {
                    Err(self.lane.wrong(format_args!("the file has {len} bytes")))
                }
            }
            // How far each came is not known.
            Err(error) if !loose.is_empty() && error.kind() == io::ErrorKind::WriteZero => {
                let again = self.lane.ring.fsync(&self.fd).await;
                again.map_err(|error| self.lane.wrong(format_args!("a second sync: {error}")))
            }
            Err(error) => Err(self.lane.wrong(format_args!("a sync: {error}"))),
        }
    }

    async fn write(&mut self, at: usize, len: usize, fate: Fate) -> Verdict {
        if !self.loose.is_empty() {
            self.settle().await?;
        }
        let data = self.data(at, len);
        if let Some(mut buffer) = self.buffer() {
            if buffer.extend_from_slice(&data) < len {
                return Err(self.lane.wrong("a buffer is too small"));
            }
            let operation = self.lane.ring.write_at_owned(&self.fd, buffer, offset(at));
            return self.wrote(at, data, meet(operation, fate).await);
        }
        let operation = self.lane.ring.write_at_owned(&self.fd, data.clone(), offset(at));
        self.wrote(at, data, meet(operation, fate).await)
    }

    fn wrote<B>(&mut self, at: usize, data: Vec<u8>, met: Moved<B>) -> Verdict {
        let len = data.len();
        match met {
            Met::Ended(Ok((count, _))) if count == 0 || count > len => {
                Err(self.lane.wrong(format_args!("a write of {count} bytes")))
            }
            Met::Ended(Ok((count, _))) => {
                self.put(at, data.get(..count).unwrap_or_default(), true);
                Ok(())
            }
            Met::Ended(Err(failed)) if failed.error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Met::Ended(Err(failed)) => {
                Err(self.lane.wrong(format_args!("a write: {}", failed.error)))
            }
            Met::Cancelled | Met::Unborn => Ok(()),
            Met::Dropped => {
                self.put(at, &data, false);
                self.loose.push((at, data));
                Ok(())
            }
        }
    }

    async fn read(&mut self, at: usize, len: usize, fate: Fate) -> Verdict {
        if !self.loose.is_empty() {
            self.settle().await?;
        }
        if let Some(mut buffer) = self.buffer() {
            buffer.resize(len);
            let operation = self.lane.ring.read_at_owned(&self.fd, buffer, offset(at));
            return self.has_read(at, meet(operation, fate).await);
        }
        let operation = self.lane.ring.read_at_owned(&self.fd, vec![0; len], offset(at));
        self.has_read(at, meet(operation, fate).await)
    }

    /// A buffer of the pool, if that is used and has one.
    fn buffer(&self) -> Option<PooledBuffer> {
        if self.pooled { self.pool.take() } else { None }
    }

    /// Registers the pool, or undoes that. Buffers of dropped operations may be in flight.
    fn register(&mut self, on: bool) -> Verdict {
        self.pooled = true;
        let taken = self.pool.stats().taken;
        let done = if on {
            self.lane.ring.register_buffers(&self.pool)
        } else {
            self.lane.ring.unregister_buffers(&self.pool)
        };
        match (on, done) {
            (true, Ok(()) | Err(RegisterError::Limit(_))) | (false, Err(RegisterError::InUse)) => {
                Ok(())
            }
            (false, Ok(())) if taken == 0 => Ok(()),
            (_, done) => Err(self
                .lane
                .wrong(format_args!("registered: {on}, {taken} buffers in use: {done:?}"))),
        }
    }

    fn has_read<B: Deref<Target = [u8]>>(&self, at: usize, met: Moved<B>) -> Verdict {
        match met {
            Met::Ended(Ok((count, data))) => self.check(at, data.get(..count)),
            Met::Ended(Err(failed)) if failed.error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Met::Ended(Err(failed)) => {
                Err(self.lane.wrong(format_args!("a read: {}", failed.error)))
            }
            Met::Cancelled | Met::Unborn | Met::Dropped => Ok(()),
        }
    }

    fn check(&self, at: usize, data: Option<&[u8]>) -> Verdict {
        let data = data.ok_or_else(|| self.lane.wrong("more bytes than room"))?;
        if data.is_empty() {
            return Err(self.lane.wrong(format_args!("a read of nothing at {at}")));
        }
        for (place, (found, known)) in data.iter().zip(self.bytes.iter().skip(at)).enumerate() {
            if known.is_some_and(|known| known != *found) {
                let place = at + place;
                return Err(self
                    .lane
                    .wrong(format_args!("byte {place} is {found}, not {known:?}")));
            }
        }
        Ok(())
    }

    /// Reads side by side, some of which are dropped, and a write behind them.
    async fn batch(&mut self, at: usize, len: usize, count: usize, dropped: usize) -> Verdict {
        if !self.loose.is_empty() {
            self.settle().await?;
        }
        let mut batch = self.lane.ring.batch();
        let place = |n: usize| at.min(SIZE - 1) + n;
        let reads: Vec<_> = (0..count)
            .map(|n| batch.read_at(&self.fd, vec![0; len], offset(place(n).min(SIZE - 1))))
            .collect();
        batch.submit().await;
        for (n, member) in reads.into_iter().enumerate().skip(dropped) {
            let (count, data) = member.await.map_err(|failed| self.lane.wrong(failed.error))?;
            self.check(place(n).min(SIZE - 1), data.get(..count))?;
        }
        Ok(())
    }
}
