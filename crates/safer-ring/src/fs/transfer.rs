//! Transfers of many steps: a short one is followed by another, and an error says how far it came.
//!
//! The kernel moves at most 2,147,479,552 bytes in one step (read(2)); more is moved in several.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safer_ring_backend::payload::Read;
use safer_ring_backend::{Mode, OpError, Operation, TransferError};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::File;
use super::direct::Extent;
use crate::Fd;

/// Room for a file that does not tell its size, in bytes.
const ROOM: usize = 8192;
/// Most bytes of one step behind the end that the file told.
const PIECE: usize = 1024 * 1024;
/// Room behind the expected end, where the end is seen without growing.
const PROBE: usize = 32;

impl<M: Mode> File<M> {
    /// Reads at `offset` (bytes) until the buffer is full to its capacity ([`IoBuf::slice`] asks for less): pread(2).
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before; those of pread(2). The first `transferred` bytes of the buffer in
    /// the error have been read. With `O_DIRECT`, `InvalidInput` that names what is not aligned.
    ///
    /// # Dropping
    /// Cancels; nothing is lost, since the cursor stays. The buffer is dropped.
    pub async fn read_exact_at<B: IoBufMut>(
        &self,
        buffer: B,
        offset: u64,
    ) -> Result<B, TransferError<B>> {
        self.fill(buffer, Some(offset)).await
    }

    /// Reads at the cursor until the buffer is full to its capacity: read(2).
    ///
    /// # Errors
    /// As [`File::read_exact_at`]. The cursor stands behind the bytes that were read.
    ///
    /// # Dropping
    /// Nothing is lost: the next read at the cursor begins with the bytes of the steps that have ended, and goes on with
    /// those of the step in flight.
    pub async fn read_exact<B: IoBufMut>(&self, buffer: B) -> Result<B, TransferError<B>> {
        self.fill(buffer, None).await
    }

    /// Writes all initialised bytes of `buffer` at `offset` (bytes): pwrite(2).
    ///
    /// **With `O_APPEND` the kernel ignores the offset**, and the rule of [`File::write_all`] for such files holds.
    ///
    /// # Errors
    /// `WriteZero` where the kernel takes nothing more; those of pwrite(2). With `O_DIRECT`, `InvalidInput` that names
    /// what is not aligned.
    ///
    /// # Dropping
    /// The step in flight runs to its end; no other is begun. Its error, or that it was cut short, is given by the next
    /// sync, write at the cursor or close.
    pub async fn write_all_at<B: IoBuf>(
        &self,
        buffer: B,
        offset: u64,
    ) -> Result<B, TransferError<B>> {
        self.drain(buffer, Some(offset)).await
    }

    /// Writes all initialised bytes of `buffer` at the cursor, or at the end with `O_APPEND`: write(2).
    ///
    /// An append that was cut short is **not** continued: between two appends another writer may put its own, so that
    /// the record would be torn. The error says how many bytes are in the file.
    ///
    /// # Errors
    /// As [`File::write_all_at`]; `Other` for an append that was cut short.
    ///
    /// # Dropping
    /// Once its first step has begun, all of it is written, before later writes at the cursor and behind those that were
    /// dropped before it; its error is given by the next write, sync or close. An append that is cut short is not
    /// continued then either, which is such an error.
    pub async fn write_all<B: IoBuf>(&self, buffer: B) -> Result<B, TransferError<B>> {
        self.drain(buffer, None).await
    }

    /// Reads from the cursor to the end of the file and appends what it finds to `buffer`, which grows. Gives the number
    /// of new bytes: read(2). For files with `O_DIRECT` read into aligned buffers instead.
    ///
    /// # Errors
    /// Those of read(2); `OutOfMemory`. What was read is in the buffer of the error, behind what it had.
    ///
    /// # Dropping
    /// As [`File::read_exact`]. What was in `buffer` before is dropped with it.
    pub async fn read_to_end(
        &self,
        mut buffer: Vec<u8>,
    ) -> Result<(usize, Vec<u8>), TransferError<Vec<u8>>> {
        let begin = buffer.len();
        let room = match self.bytes_left().await {
            Ok(left) => left.saturating_add(PROBE),
            Err(error) => return Err(TransferError::new(error, buffer, 0)),
        };
        if buffer.try_reserve(room).is_err() {
            return Err(TransferError::new(io::ErrorKind::OutOfMemory, buffer, 0));
        }
        // All of a file of known size fits. Memory that is lent is out of reach, so what has been read is lent no more.
        let first = buffer.slice(begin..);
        let extent = Extent::to_fill(&first);
        let mut count;
        (count, buffer) = match self.read(first).await {
            Ok((count, first)) => (count, first.into_inner()),
            Err(OpError { error, buffer, .. }) => {
                let error = self.explain(error, extent, None);
                return Err(TransferError::new(error, buffer.into_inner(), 0));
            }
        };
        let mut piece = Vec::new();
        while count > 0 {
            let read = buffer.len() - begin;
            let spare = buffer.capacity() - buffer.len();
            // The file may be longer than it said it was.
            let room = if spare > 0 { spare } else { read }.clamp(PROBE, PIECE);
            if piece.capacity() < room && piece.try_reserve(room).is_err() {
                return Err(TransferError::new(io::ErrorKind::OutOfMemory, buffer, read));
            }
            let extent = Extent::to_fill(&piece);
            let finished = Finished::At { bytes: &mut buffer, begin };
            match self.step(piece, finished).await {
                Ok((number, bytes)) => (count, piece) = (number, bytes),
                Err(OpError { error, .. }) => {
                    return Err(TransferError::new(
                        self.explain(error, extent, None),
                        buffer,
                        read,
                    ));
                }
            }
            if buffer.try_reserve(piece.len()).is_err() {
                // The cursor has moved past them.
                self.fd().unread(piece);
                return Err(TransferError::new(io::ErrorKind::OutOfMemory, buffer, read));
            }
            buffer.append(&mut piece);
        }
        Ok((buffer.len() - begin, buffer))
    }

    /// Reads from the cursor to the end of the file, which must be UTF-8.
    ///
    /// # Errors
    /// As [`File::read_to_end`]; `InvalidData`, with all bytes in the error, where they are not UTF-8.
    ///
    /// # Dropping
    /// As [`File::read_to_end`].
    pub async fn read_to_string(&self) -> Result<String, TransferError<Vec<u8>>> {
        let (read, bytes) = self.read_to_end(Vec::new()).await?;
        String::from_utf8(bytes).map_err(|error| {
            let text = format!("the file is not UTF-8: {}", error.utf8_error());
            let why = io::Error::new(io::ErrorKind::InvalidData, text);
            TransferError::new(why, error.into_bytes(), read)
        })
    }

    /// Bytes between the cursor and the end, as far as they are known: a size of 0 may mean that nobody knows (proc(5)).
    async fn bytes_left(&self) -> io::Result<usize> {
        self.learn_alignment().await?;
        let size = self.metadata().await?.len();
        if size == 0 {
            return Ok(ROOM);
        }
        // A pipe has no cursor.
        let cursor = self.cursor().unwrap_or(0);
        Ok(usize::try_from(size.saturating_sub(cursor)).unwrap_or(usize::MAX))
    }

    async fn fill<B: IoBufMut>(
        &self,
        mut buffer: B,
        offset: Option<u64>,
    ) -> Result<B, TransferError<B>> {
        if let Err(error) = self.learn_alignment().await {
            return Err(TransferError::new(error, buffer, 0));
        }
        let wanted = buffer.capacity_mut();
        let mut done = 0;
        let mut finished = Vec::new();
        while done < wanted {
            if offset.is_none() {
                // The first step, with which nearly all transfers end, copies nothing.
                let news = buffer.as_init().get(finished.len()..done);
                finished.extend_from_slice(news.unwrap_or_default());
            }
            let rest = match buffer.try_slice(done..) {
                Ok(rest) => rest,
                Err(buffer) => return Err(TransferError::new(shrunk(), buffer, done)),
            };
            let extent = Extent::to_fill(&rest);
            let place = behind(offset, done);
            let step = match place {
                Some(place) => self.read_at(rest, place).await,
                None => self.step(rest, Finished::All(&mut finished)).await,
            };
            match step {
                Ok((count, rest)) => {
                    buffer = rest.into_inner();
                    done += count;
                    if count == 0 || (done < wanted && self.ends_inside_a_block(count)) {
                        let error = io::ErrorKind::UnexpectedEof;
                        return Err(TransferError::new(error, buffer, done));
                    }
                }
                Err(OpError { error, buffer, .. }) => {
                    let error = self.explain(error, extent, place);
                    return Err(TransferError::new(error, buffer.into_inner(), done));
                }
            }
        }
        Ok(buffer)
    }

    /// Reads at the cursor, after others that have ended.
    fn step<'a, B: IoBufMut>(&'a self, buffer: B, finished: Finished<'a>) -> Next<'a, M, B> {
        Next { fd: self.fd(), finished: Some(finished), read: self.read(buffer) }
    }

    pub(super) async fn drain<B: IoBuf>(
        &self,
        mut buffer: B,
        offset: Option<u64>,
    ) -> Result<B, TransferError<B>> {
        if let Err(error) = self.learn_alignment().await {
            return Err(TransferError::new(error, buffer, 0));
        }
        let wanted = buffer.len_init();
        let mut done = 0;
        while done < wanted {
            let rest = match buffer.try_slice(done..) {
                Ok(rest) => rest,
                Err(buffer) => return Err(TransferError::new(shrunk(), buffer, done)),
            };
            let extent = Extent::to_send(&rest);
            let place = behind(offset, done);
            let step = match place {
                Some(place) => self.write_at(rest, place).await,
                None => self.write(rest).await,
            };
            match step {
                Ok((0, rest)) => {
                    let error = io::ErrorKind::WriteZero;
                    return Err(TransferError::new(error, rest.into_inner(), done));
                }
                Ok((count, rest)) => {
                    buffer = rest.into_inner();
                    done += count;
                    if self.append && done < wanted {
                        return Err(TransferError::new(torn(done, wanted), buffer, done));
                    }
                }
                Err(OpError { error, buffer, .. }) => {
                    let error = self.explain(error, extent, place);
                    return Err(TransferError::new(error, buffer.into_inner(), done));
                }
            }
        }
        Ok(buffer)
    }
}

/// What the steps before have read.
enum Finished<'a> {
    All(&'a mut Vec<u8>),
    /// All behind the first bytes, which are the caller's.
    At {
        bytes: &'a mut Vec<u8>,
        begin: usize,
    },
}

/// A step at the cursor. If it is dropped, what was read before goes back: before the step itself goes, so that its bytes
/// come behind.
struct Next<'a, M: Mode, B: IoBufMut> {
    fd: &'a Fd<M>,
    /// Until it has ended.
    finished: Option<Finished<'a>>,
    read: Operation<M, Read<B>>,
}

impl<M: Mode, B: IoBufMut> Unpin for Next<'_, M, B> {}

impl<M: Mode, B: IoBufMut> Future for Next<'_, M, B> {
    type Output = Result<(usize, B), OpError<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let ended = ready!(Pin::new(&mut this.read).poll(cx));
        this.finished = None;
        Poll::Ready(ended)
    }
}

impl<M: Mode, B: IoBufMut> Drop for Next<'_, M, B> {
    fn drop(&mut self) {
        match self.finished.take() {
            Some(Finished::All(bytes)) => self.fd.unread(std::mem::take(bytes)),
            Some(Finished::At { bytes, begin }) => self.fd.unread(bytes.split_off(begin)),
            None => {}
        }
    }
}

/// Where the next step goes; a place that does not exist is one that the kernel refuses.
fn behind(offset: Option<u64>, done: usize) -> Option<u64> {
    let done = u64::try_from(done).unwrap_or(u64::MAX);
    offset.map(|offset| offset.saturating_add(done))
}

/// Why an append that was cut short is not continued.
pub(super) fn torn(done: usize, wanted: usize) -> io::Error {
    io::Error::other(format!(
        "an append was cut short: {done} of {wanted} bytes are in the file, and the rest is not appended, since \
         another writer may have appended in between"
    ))
}

/// A buffer type breaks the promise of `IoBuf`.
fn shrunk() -> io::Error {
    io::Error::other("the buffer came back with fewer bytes than were in it")
}
