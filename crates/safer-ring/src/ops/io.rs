//! Reads and writes.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::BitOr;
use std::pin::Pin;
use std::task::{Context, Poll};

use safer_ring_backend::payload::{self, Count, Read, ReadVectored, Write, WriteVectored};
use safer_ring_backend::{Mode, OpError, Operation};
use safer_ring_buf::{Acquire, IoBuf, IoBufMut, PooledBuffer};

use super::CURSOR;
use crate::{Fd, RingBuffer, RingOf};

// One transfer moves at most 2,147,479,552 bytes (`MAX_RW_COUNT` of read(2)); more is a short transfer.
impl<M: Mode> RingOf<M> {
    /// Reads from the file's cursor, or from a socket or pipe, into `buffer`: read(2). Fills at most the buffer's
    /// capacity; 0 bytes are the end of the file or a closed peer. The cursor moves with the bytes: use
    /// one read at a time, or [`Ring::read_at_owned`](crate::RingOf::read_at_owned).
    ///
    /// On success the buffer has the length of what was read. On error it comes back as it was.
    ///
    /// # Errors
    /// Those of read(2); `EINTR` and `EAGAIN` are handled inside.
    ///
    /// # Dropping
    /// Nothing is lost: it stays armed, and its bytes go to the next read or receive on this descriptor, in order. See
    /// [`Operation`].
    #[inline]
    pub fn read_owned<B: IoBufMut>(&self, fd: &Fd<M>, buffer: B) -> Operation<M, Read<B>> {
        self.start(payload::read(fd, buffer, CURSOR))
    }

    /// Writes the buffer's initialised bytes at the file's cursor, or to a socket or pipe: write(2). May write
    /// fewer; the count says how many.
    ///
    /// # Errors
    /// Those of write(2); `EINTR` and `EAGAIN` are handled inside. A pipe without a reader gives `EPIPE`, and the
    /// process gets `SIGPIPE` as with write(2) (Rust programs ignore it by default); sockets: [`Ring::send`](crate::RingOf::send).
    /// That of an earlier one whose future was dropped ([`Failure::Earlier`](crate::Failure::Earlier)), told once; then
    /// nothing was written.
    ///
    /// # Dropping
    /// It runs to its end with all of its bytes, before later ones on this handle; its error is told to the next of them, or
    /// to the next sync, shutdown or close. See [`Operation`].
    #[inline]
    pub fn write_owned<B: IoBuf>(&self, fd: &Fd<M>, buffer: B) -> Operation<M, Write<B>> {
        self.start(payload::write(fd, buffer, CURSOR))
    }

    /// Reads at `offset` (bytes) into `buffer`: pread(2). The cursor stays.
    ///
    /// # Errors
    /// Those of pread(2), but for `ESPIPE`: a pipe ignores the offset, and a socket takes 0 for none. Files opened
    /// with `O_DIRECT` want aligned memory, offset and length (`EINVAL`); see
    /// [`OwnedBuffer::aligned`](crate::OwnedBuffer::aligned) and [`Metadata::direct_io_alignment`](crate::Metadata::direct_io_alignment).
    /// `InvalidInput` for the offset `u64::MAX`, which the kernel takes for the cursor.
    ///
    /// # Dropping
    /// Cancels; nothing is lost.
    #[inline]
    pub fn read_at_owned<B: IoBufMut>(
        &self,
        fd: &Fd<M>,
        buffer: B,
        offset: u64,
    ) -> Operation<M, Read<B>> {
        self.start(payload::read(fd, buffer, position(offset)))
    }

    /// Writes the buffer's initialised bytes at `offset` (bytes): pwrite(2). With `O_APPEND` the kernel ignores the
    /// offset.
    ///
    /// # Errors
    /// Those of pwrite(2); alignment, and the offset that is refused, as for
    /// [`Ring::read_at_owned`](crate::RingOf::read_at_owned).
    ///
    /// # Dropping
    /// It runs to its end; a sync waits for it. Its error, or that it was cut short, is told to the next sync, to the next
    /// write at the cursor, or by the close.
    #[inline]
    pub fn write_at_owned<B: IoBuf>(
        &self,
        fd: &Fd<M>,
        buffer: B,
        offset: u64,
    ) -> Operation<M, Write<B>> {
        self.start(payload::write(fd, buffer, position(offset)))
    }

    /// Reads at the cursor into many buffers, one after the other: readv(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`Ring::read_owned`](crate::RingOf::read_owned); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`Ring::read_owned`](crate::RingOf::read_owned).
    pub fn read_vectored<B: IoBufMut>(
        &self,
        fd: &Fd<M>,
        buffers: Vec<B>,
    ) -> Operation<M, ReadVectored<B>> {
        self.try_start(payload::read_vectored(fd, buffers, CURSOR))
    }

    /// Writes many buffers at the cursor: writev(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`Ring::write_owned`](crate::RingOf::write_owned); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`Ring::write_owned`](crate::RingOf::write_owned).
    pub fn write_vectored<B: IoBuf>(
        &self,
        fd: &Fd<M>,
        buffers: Vec<B>,
    ) -> Operation<M, WriteVectored<B>> {
        self.try_start(payload::write_vectored(fd, buffers, CURSOR))
    }

    /// Reads at `offset` into many buffers: preadv(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`Ring::read_at_owned`](crate::RingOf::read_at_owned); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// Cancels; nothing is lost.
    pub fn read_vectored_at<B: IoBufMut>(
        &self,
        fd: &Fd<M>,
        buffers: Vec<B>,
        offset: u64,
    ) -> Operation<M, ReadVectored<B>> {
        if offset == CURSOR {
            return self.try_start(Err(Err(no_place(buffers))));
        }
        self.try_start(payload::read_vectored(fd, buffers, offset))
    }

    /// Writes many buffers at `offset`: pwritev(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`Ring::write_at_owned`](crate::RingOf::write_at_owned); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`Ring::write_at_owned`](crate::RingOf::write_at_owned).
    pub fn write_vectored_at<B: IoBuf>(
        &self,
        fd: &Fd<M>,
        buffers: Vec<B>,
        offset: u64,
    ) -> Operation<M, WriteVectored<B>> {
        if offset == CURSOR {
            return self.try_start(Err(Err(no_place(buffers))));
        }
        self.try_start(payload::write_vectored(fd, buffers, offset))
    }

    /// Reads at the cursor into a buffer of the ring's own (16 KiB, from a pool that all handles of the ring
    /// share): read(2). It is given back when it is dropped; while all of them are out the read waits.
    ///
    /// # Errors
    /// As [`Ring::read_owned`](crate::RingOf::read_owned).
    ///
    /// # Dropping
    /// As [`Ring::read_owned`](crate::RingOf::read_owned).
    pub fn read_ring_buffer(&self, fd: &Fd<M>) -> ReadRingBuffer<M> {
        ReadRingBuffer {
            ring: self.clone(),
            fd: fd.clone(),
            step: Step::Acquire(self.lender().pool().acquire()),
        }
    }

    /// Moves up to `len` bytes from one descriptor to another inside the kernel: splice(2). One of them is a pipe.
    /// An offset of `None` is the file's cursor, and must be `None` for a pipe. 0 bytes are the end.
    ///
    /// # Errors
    /// Those of splice(2); `InvalidInput` for the offset `u64::MAX`. [`Failure::Unreceived`](crate::Failure::Unreceived)
    /// while bytes of a dropped read wait in `from`. Kernel 5.7.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn splice(
        &self,
        from: &Fd<M>,
        offset_in: Option<u64>,
        to: &Fd<M>,
        offset_out: Option<u64>,
        len: u32,
        flags: SpliceFlags,
    ) -> Operation<M, Count> {
        if [offset_in, offset_out].contains(&Some(CURSOR)) {
            return self.try_start(Err(Err(no_place(()).error)));
        }
        let offset = |offset: Option<u64>| offset.unwrap_or(CURSOR);
        self.start(payload::splice(from, offset(offset_in), to, offset(offset_out), len, flags.0))
    }

    /// Duplicates up to `len` bytes from one pipe into another without consuming them: tee(2). Kernel 5.8.
    ///
    /// # Errors
    /// Those of tee(2); [`Failure::Unreceived`](crate::Failure::Unreceived) as for [`Ring::splice`](crate::RingOf::splice).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn tee(&self, from: &Fd<M>, to: &Fd<M>, len: u32) -> Operation<M, Count> {
        self.start(payload::tee(from, to, len, 0))
    }
}

/// An offset, and never the cursor: the largest number becomes the one before it, which the kernel refuses as it does
/// every offset beyond `i64::MAX`. A branch here would cost more than the rest of the method.
#[inline]
pub(crate) fn position(offset: u64) -> u64 {
    offset.min(CURSOR - 1)
}

/// An offset that would mean the cursor.
#[cold]
fn no_place<B>(buffer: B) -> OpError<B> {
    let text = "the offset u64::MAX, which the kernel takes for the cursor";
    OpError::new(io::Error::new(io::ErrorKind::InvalidInput, text), buffer)
}

/// Flags of splice(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpliceFlags(u32);

impl SpliceFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Move pages instead of copying them, where that is possible.
    pub const MOVE: Self = Self(1);
    /// More will follow (`SPLICE_F_MORE`).
    pub const MORE: Self = Self(4);
}

impl BitOr for SpliceFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The future of [`Ring::read_ring_buffer`](crate::RingOf::read_ring_buffer): the number of bytes and the buffer.
#[must_use = "an operation does nothing until it is awaited"]
pub struct ReadRingBuffer<M: Mode> {
    ring: RingOf<M>,
    fd: Fd<M>,
    step: Step<M>,
}

enum Step<M: Mode> {
    Acquire(Acquire),
    Read(Operation<M, Read<PooledBuffer>>),
}

impl<M: Mode> Unpin for ReadRingBuffer<M> {}

impl<M: Mode> Future for ReadRingBuffer<M> {
    type Output = io::Result<(usize, RingBuffer)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Step::Acquire(acquire) = &mut this.step {
            match Pin::new(acquire).poll(cx) {
                Poll::Ready(buffer) => {
                    this.step = Step::Read(this.ring.read_owned(&this.fd, buffer));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        let Step::Read(read) = &mut this.step else { return Poll::Pending };
        match Pin::new(read).poll(cx) {
            Poll::Ready(Ok((count, buffer))) => Poll::Ready(Ok((count, RingBuffer(buffer)))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<M: Mode> fmt::Debug for ReadRingBuffer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRingBuffer").field("fd", &self.fd).finish_non_exhaustive()
    }
}
