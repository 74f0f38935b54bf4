//! The adapter of files.

use std::fmt;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustix::io::Errno;
use safer_ring_backend::payload::{Read, Write};
use safer_ring_backend::{Mode, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, Slice};

use super::ahead::Ahead;
use super::exclusive::Exclusive;
use super::stream::LARGEST;
use crate::fs::File;

/// Most bytes that are read ahead, or written by one operation, unless something else is asked for.
const CAPACITY: usize = 64 * 1024;

/// A file as the traits of tokio and futures know it: with `tokio` it is
/// `tokio::io::{AsyncRead, AsyncBufRead, AsyncWrite, AsyncSeek}`, with `futures` the same of `futures-io`.
///
/// # Position
/// It has a position of its own, which begins where the file's cursor is, and uses positional operations. So it is exact
/// whatever was read ahead, and a second adapter or a read of the [`File`] beside it does not disturb it.
/// [`into_inner`](AsyncFile::into_inner) sets the file's cursor to it; until then that is of no meaning.
///
/// * A seek waits for the write under way and drops what was read ahead. One that is dropped before it is done has not
///   happened.
/// * A file opened to append (`O_APPEND`) is written to at its end, wherever the position is, which stands behind the
///   written bytes afterwards, as with the cursor.
/// * What has no positions (a pipe, a terminal) is read and written as it comes, and cannot be sought in (`ESPIPE`).
/// * Files opened with `O_DIRECT` want aligned memory and lengths, which these traits do not know: operations fail with
///   `InvalidInput`. Use the methods of [`File`].
///
/// # Reading
/// As for [`AsyncStream`](super::AsyncStream). A read waits for the write under way, so it sees it.
///
/// # Writing
/// A write copies its bytes into a buffer, starts to write it, and returns how many bytes were accepted. Bytes that were read
/// ahead count as not read. The next call of any kind waits for it to end and continues it if it was short. Its error is
/// told by the next write, flush or shutdown, once; the position then stands behind what was written. `poll_flush` waits for
/// the end of the write; it does not bring the data to the disk (`get_ref().sync_all()` does, after a flush).
/// `poll_shutdown` is a flush.
///
/// # Dropping
/// A write under way runs to its end, but flush first, as with `tokio::fs::File`: if the kernel cuts it short (a disk that is
/// full), nobody is left to hear of it.
pub struct AsyncFile<M: Mode = Shared> {
    file: File<M>,
    /// Of the next byte that the caller reads or writes: the first of those that were read ahead.
    position: u64,
    /// Whether it has positions.
    seekable: bool,
    ahead: Ahead<M>,
    write: WriteBehind<M>,
    /// A seek that was begun.
    seek: Option<SeekFrom>,
}

/// A write of what is left of a buffer.
type Writing<M> = Operation<M, Write<Slice<Vec<u8>>>>;

/// The write under way.
struct WriteBehind<M: Mode> {
    limit: usize,
    running: Exclusive<Option<Writing<M>>>,
    /// Where its first byte belongs.
    start: u64,
    /// Bytes of it that are written.
    done: usize,
    spare: Vec<u8>,
    /// The error that nobody has been told of.
    fault: Option<io::Error>,
}

impl<M: Mode> AsyncFile<M> {
    /// An adapter that reads and writes up to 64 KiB at a time. Its buffers are allocated when they are first needed.
    pub fn new(file: File<M>) -> Self {
        Self::with_capacities(CAPACITY, CAPACITY, file)
    }

    /// An adapter that reads up to `read` bytes at a time and writes up to `write`. Each is at least 1 byte and at most
    /// 1 GiB.
    pub fn with_capacities(read: usize, write: usize, file: File<M>) -> Self {
        let place = file.cursor();
        let limit = write.clamp(1, LARGEST);
        Self {
            position: *place.as_ref().unwrap_or(&0),
            seekable: place.is_ok(),
            file,
            ahead: Ahead::new(read.clamp(1, LARGEST), None),
            write: WriteBehind {
                limit,
                running: Exclusive::new(None),
                start: 0,
                done: 0,
                spare: Vec::new(),
                fault: None,
            },
            seek: None,
        }
    }

    /// The file, for its metadata and to sync it.
    pub fn get_ref(&self) -> &File<M> {
        &self.file
    }

    /// The place of the next byte that is read or written, in bytes from the start, once the write under way has ended. It is
    /// a number of the adapter: no system call.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The bytes that were read ahead and not yet taken.
    pub fn buffer(&self) -> &[u8] {
        self.ahead.rest()
    }

    /// The file, with its cursor where the adapter stands: lseek(2). What has no positions gets the bytes back that were
    /// read ahead ([`Fd::unread`](crate::Fd::unread)).
    ///
    /// # Errors
    /// The adapter, while a write is under way or has failed without telling: flush it first.
    #[expect(clippy::result_large_err, reason = "what is refused comes back")]
    pub fn into_inner(mut self) -> Result<File<M>, Self> {
        if self.write.running.get().is_some() || self.write.fault.is_some() {
            return Err(self);
        }
        if self.seekable {
            // What was kept for reads at the cursor was in front of where it is to stand.
            if beside::seek(self.file.fd(), SeekFrom::Start(self.position)).is_err() {
                return Err(self);
            }
            self.file.fd().drop_kept();
        }
        Ok(self.file.share())
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(running) = self.write.running.get() {
            let ended = ready!(Pin::new(running).poll(cx));
            *self.write.running.get() = None;
            let (error, part) = match ended {
                Ok((0, part)) => (io::ErrorKind::WriteZero.into(), part),
                Ok((count, part)) => {
                    self.write.done += count;
                    let whole = part.into_inner();
                    match self.rest_of(whole) {
                        Some(rest) => {
                            let next = self.begin_write(rest);
                            *self.write.running.get() = Some(next);
                        }
                        None => self.stand_behind_write(),
                    }
                    continue;
                }
                Err(failed) => failed.into_parts(),
            };
            self.write.spare = part.into_inner();
            self.write.fault = Some(error);
            self.stand_behind_write();
        }
        Poll::Ready(())
    }

    /// What is left to write; else the buffer is free again.
    fn rest_of(&mut self, whole: Vec<u8>) -> Option<Slice<Vec<u8>>> {
        let done = self.write.done;
        if done < whole.len() {
            match whole.try_slice(done..) {
                Ok(rest) => return Some(rest),
                Err(whole) => self.write.spare = whole,
            }
        } else {
            self.write.spare = whole;
        }
        None
    }

    fn begin_write(&self, part: Slice<Vec<u8>>) -> Writing<M> {
        if self.seekable && !self.file.appends() {
            let done = u64::try_from(self.write.done).unwrap_or(u64::MAX);
            self.file.write_at(part, self.write.start.saturating_add(done))
        } else {
            self.file.write(part)
        }
    }

    /// The position after a write has ended.
    fn stand_behind_write(&mut self) {
        let done = u64::try_from(self.write.done).unwrap_or(u64::MAX);
        self.position = self.write.start.saturating_add(done);
        if self.seekable
            && self.file.appends()
            && let Ok(end) = beside::tell(self.file.fd())
        {
            self.position = end;
        }
    }

    fn discard(&mut self) {
        if self.seekable {
            self.ahead.discard();
        }
    }

    fn begin_read(
        file: &File<M>,
        place: Option<u64>,
        buffer: Vec<u8>,
    ) -> Operation<M, Read<Vec<u8>>> {
        match place {
            Some(position) => file.read_at(buffer, position),
            None => file.read(buffer),
        }
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.seek = None;
        ready!(self.poll_written(cx));
        let place = self.seekable.then_some(self.position);
        self.ahead.poll_fill(cx, |buffer| Self::begin_read(&self.file, place, buffer))
    }

    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        want: usize,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        self.seek = None;
        ready!(self.poll_written(cx));
        let place = self.seekable.then_some(self.position);
        let begin = |buffer| Self::begin_read(&self.file, place, buffer);
        let count = ready!(self.ahead.poll_take(cx, want, begin, put))?;
        self.advance(count);
        Poll::Ready(Ok(count))
    }

    pub(super) fn take(&mut self, count: usize) {
        let count = self.ahead.consume(count);
        self.advance(count);
    }

    fn advance(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.position = self.position.saturating_add(count);
    }

    pub(super) fn poll_put<'a>(
        &mut self,
        cx: &mut Context<'_>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        self.seek = None;
        ready!(self.poll_settle(cx))?;
        if parts.clone().all(<[u8]>::is_empty) {
            return Poll::Ready(Ok(0));
        }
        self.discard();
        let mut buffer = std::mem::take(&mut self.write.spare);
        buffer.clear();
        for part in parts {
            let room = self.write.limit - buffer.len();
            buffer.extend_from_slice(part.get(..room).unwrap_or(part));
        }
        let accepted = buffer.len();
        (self.write.start, self.write.done) = (self.position, 0);
        let mut running = self.begin_write(buffer.slice(..));
        // Who accepts bytes does not wait for them: the next call does.
        match Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok((count, part))) => {
                self.write.spare = part.into_inner();
                self.write.done = count;
                self.stand_behind_write();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(failed)) => {
                let (error, part) = failed.into_parts();
                self.write.spare = part.into_inner();
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                *self.write.running.get() = Some(running);
                self.advance(accepted);
                Poll::Ready(Ok(accepted))
            }
        }
    }

    pub(super) fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx));
        Poll::Ready(self.write.fault.take().map_or(Ok(()), Err))
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settle(cx)
    }

    pub(super) fn poll_seek_to(
        &mut self,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        ready!(self.poll_written(cx));
        self.seek = None;
        let target = match to {
            SeekFrom::Current(distance) => {
                let place = self.position.checked_add_signed(distance);
                SeekFrom::Start(place.ok_or(Errno::INVAL)?)
            }
            to => to,
        };
        // The kernel knows which places there are.
        let place = beside::seek(self.file.fd(), target)?;
        if to != SeekFrom::Current(0) {
            self.discard();
        }
        self.position = place;
        Poll::Ready(Ok(place))
    }

    /// Begins a seek for [`poll_sought`](Self::poll_sought) to do.
    #[cfg(feature = "tokio")]
    pub(super) fn start_seek_to(&mut self, to: SeekFrom) {
        self.seek = Some(to);
    }

    /// Does the seek that was begun, if there is one, and gives the position.
    #[cfg(feature = "tokio")]
    pub(super) fn poll_sought(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match self.seek {
            Some(to) => self.poll_seek_to(cx, to),
            None => {
                ready!(self.poll_written(cx));
                Poll::Ready(Ok(self.position))
            }
        }
    }
}

/// Nothing in it refers to itself.
impl<M: Mode> Unpin for AsyncFile<M> {}

impl<M: Mode> Drop for AsyncFile<M> {
    fn drop(&mut self) {
        if !self.seekable && !self.ahead.rest().is_empty() && self.file.fd().handles() > 1 {
            self.file.fd().unread(self.ahead.take_rest());
        }
    }
}

impl<M: Mode> File<M> {
    /// The file as the traits of tokio and futures know it; see [`AsyncFile`].
    pub fn into_io(self) -> AsyncFile<M> {
        AsyncFile::new(self)
    }
}

impl<M: Mode> From<File<M>> for AsyncFile<M> {
    fn from(file: File<M>) -> Self {
        Self::new(file)
    }
}

impl<M: Mode> fmt::Debug for AsyncFile<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFile")
            .field("fd", self.file.fd())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
