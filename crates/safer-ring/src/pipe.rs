//! Pipes: anonymous ones, FIFOs, and the standard streams of child processes. See pipe(7).
//!
//! ```
//! use safer_ring::{Ring, pipe};
//!
//! # pollster::block_on(async {
//! let ring = Ring::new(64)?;
//! let (reader, writer) = pipe::pipe(&ring).await?;
//! writer.write_all("through").await?;
//! drop(writer);
//! assert_eq!(reader.read(vec![0; 100]).await?.1, b"through");
//! assert_eq!(reader.read(vec![0; 100]).await?.0, 0);
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use safer_ring_backend::payload::{Read, ReadVectored, Write, WriteVectored};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use crate::net::{Handle, ReadExact, Via, WriteAll, WriteAllVectored, common_methods};
use crate::{Fd, OpenOptions, PipeOptions, RingOf};

/// The end of a pipe that is read from; [`std::io::PipeReader`] on a ring.
pub struct PipeReader<M: Mode = Shared> {
    handle: Handle<M>,
}

/// The end of a pipe that is written to; [`std::io::PipeWriter`] on a ring.
pub struct PipeWriter<M: Mode = Shared> {
    handle: Handle<M>,
}

/// Makes a pipe: pipe2(2), close-on-exec. Kernel 6.16, before that a plain system call.
///
/// # Errors
/// Those of pipe(2): `EMFILE`.
///
/// # Dropping
/// Ends that still arrive are closed.
pub async fn pipe<M: Mode>(ring: &RingOf<M>) -> io::Result<(PipeReader<M>, PipeWriter<M>)> {
    let (reader, writer) = ring.pipe(PipeOptions::Stream).await?;
    Ok((PipeReader::from_fd(ring, reader), PipeWriter::from_fd(ring, writer)))
}

/// Opens a FIFO, and waits for its other side.
///
/// The kernel's first attempt at an open is a non-blocking one if it has the path in its cache, and a non-blocking open
/// of a FIFO does not wait: reading begins without a writer, and writing fails with `ENXIO`. A link in /proc is never
/// followed in such an attempt, so the second open always takes place on a worker of the kernel's, which waits.
async fn open<M: Mode>(ring: &RingOf<M>, path: &Path, options: OpenOptions) -> io::Result<Fd<M>> {
    const O_PATH: u32 = 0o10_000_000;
    const S_IFMT: u32 = 0o170_000;
    const S_IFIFO: u32 = 0o010_000;
    let place = ring.open(path, &OpenOptions::new().read(true).custom_flags(O_PATH)).await?;
    if ring.statx_fd(&place).await?.mode() & S_IFMT != S_IFIFO {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not that of a FIFO"));
    }
    let link = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    ring.open(link, &options).await
}

fn capacity(fd: &impl AsFd) -> io::Result<usize> {
    Ok(beside::pipe_capacity(fd)?)
}

fn set_capacity(fd: &impl AsFd, bytes: usize) -> io::Result<usize> {
    Ok(beside::set_pipe_capacity(fd, bytes)?)
}

impl<M: Mode> PipeReader<M> {
    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn from_handle(handle: Handle<M>) -> Self {
        Self { handle }
    }

    /// Opens a FIFO (fifo(7)) to read from, and waits until there is a writer. Needs /proc.
    ///
    /// # Errors
    /// Those of open(2); `InvalidInput` if the path is not that of a FIFO.
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed.
    pub async fn open(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        let fd = open(ring, path.as_ref(), OpenOptions::new().read(true)).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Takes over what owns the reading end of a pipe: the standard output of a child process
    /// ([`ChildStdout`](std::process::ChildStdout), [`ChildStderr`](std::process::ChildStderr)), an [`OwnedFd`].
    pub fn from_owned(ring: &RingOf<M>, owner: impl Into<OwnedFd>) -> Self {
        Self::from_fd(ring, Fd::new(owner))
    }

    /// Reads into `buffer`, up to its capacity (bytes): read(2). 0 bytes mean that no writer is left, or a buffer
    /// without room.
    ///
    /// # Errors
    /// Those of read(2), with the buffer.
    ///
    /// # Dropping
    /// As [`Ring::read_owned`](crate::RingOf::read_owned).
    pub fn read<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        self.handle.ring.read_owned(&self.handle.fd, buffer)
    }

    /// Reads until `buffer` is full, up to its capacity (bytes). The capacity of a `Vec` may be larger than its length:
    /// [`read_exact_n`](PipeReader::read_exact_n) reads a number of bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if no writer is left before that; those of read(2). The buffer is in the error, with the number
    /// of bytes read before.
    ///
    /// # Dropping
    /// See [`ReadExact`].
    pub fn read_exact<B: IoBufMut>(&self, buffer: B) -> ReadExact<M, B> {
        ReadExact::new(self.handle.clone(), Via::Pipe, buffer)
    }

    /// Reads `count` bytes, not more, into the first `count` bytes of `buffer`. A buffer that was longer stays so, with its
    /// old bytes behind them.
    ///
    /// # Errors
    /// As [`read_exact`](PipeReader::read_exact); `InvalidInput` if the buffer has no room for so many. Then nothing is
    /// read.
    ///
    /// # Dropping
    /// See [`ReadExact`].
    pub fn read_exact_n<B: IoBufMut>(&self, buffer: B, count: usize) -> ReadExact<M, B> {
        self.read_exact(buffer).of(count)
    }

    /// Reads into many buffers, one after the other: readv(2). At most 1024 buffers.
    ///
    /// # Errors
    /// Those of readv(2), with the buffers; `InvalidInput` for too many.
    ///
    /// # Dropping
    /// As [`Ring::read_vectored`](crate::RingOf::read_vectored).
    pub fn read_vectored<B: IoBufMut>(&self, buffers: Vec<B>) -> Operation<M, ReadVectored<B>> {
        self.handle.read_vectored(buffers)
    }

    /// Bytes that the pipe holds at most (`F_GETPIPE_SZ` of fcntl(2)).
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn capacity(&self) -> io::Result<usize> {
        capacity(self)
    }

    /// Makes the pipe hold at least `bytes` (`F_SETPIPE_SZ` of fcntl(2)); gives what it holds now, which is a power of
    /// two of at least a page.
    ///
    /// # Errors
    /// Those of fcntl(2): `EPERM` above `fs.pipe-max-size`, `EBUSY` if more is in the pipe.
    pub fn set_capacity(&self, bytes: usize) -> io::Result<usize> {
        set_capacity(self, bytes)
    }
}

impl<M: Mode> PipeWriter<M> {
    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    #[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
    pub(crate) fn from_handle(handle: Handle<M>) -> Self {
        Self { handle }
    }

    /// Opens a FIFO (fifo(7)) to write to, and waits until there is a reader. Needs /proc.
    ///
    /// # Errors
    /// Those of open(2); `InvalidInput` if the path is not that of a FIFO.
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed.
    pub async fn open(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        let fd = open(ring, path.as_ref(), OpenOptions::new().write(true)).await?;
        Ok(Self::from_fd(ring, fd))
    }

    /// Takes over what owns the writing end of a pipe: the standard input of a child process
    /// ([`ChildStdin`](std::process::ChildStdin)), an [`OwnedFd`].
    pub fn from_owned(ring: &RingOf<M>, owner: impl Into<OwnedFd>) -> Self {
        Self::from_fd(ring, Fd::new(owner))
    }

    /// Writes the buffer's initialised bytes: write(2). May write fewer; the count says how many.
    ///
    /// # Errors
    /// Those of write(2), with the buffer: `EPIPE` if no reader is left. The process gets `SIGPIPE` then, which Rust
    /// programs ignore by default: write(2) has no flag against it.
    ///
    /// # Dropping
    /// It runs to its end, before later ones; its error comes with the next write or close.
    pub fn write<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        self.handle.ring.write_owned(&self.handle.fd, buffer)
    }

    /// Writes all of the buffer's initialised bytes.
    ///
    /// # Errors
    /// As [`write`](PipeWriter::write), and `WriteZero` where nothing more is taken. The buffer is in the error, with
    /// the number of bytes that the pipe took before.
    ///
    /// # Dropping
    /// See [`WriteAll`].
    pub fn write_all<B: IoBuf>(&self, buffer: B) -> WriteAll<M, B> {
        WriteAll::new(self.handle.clone(), Via::Pipe, buffer)
    }

    /// Writes many buffers, one after the other: writev(2). At most 1024 buffers. May write fewer bytes than there
    /// are.
    ///
    /// # Errors
    /// As [`write`](PipeWriter::write); `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`write`](PipeWriter::write).
    pub fn write_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> Operation<M, WriteVectored<B>> {
        self.handle.ring.write_vectored(&self.handle.fd, buffers)
    }

    /// Writes all of many buffers, at most 1024.
    ///
    /// # Errors
    /// As [`write_vectored`](PipeWriter::write_vectored), and `WriteZero` where nothing more is taken. The buffers are
    /// in the error, with the number of bytes that the pipe took before.
    ///
    /// # Dropping
    /// See [`WriteAllVectored`].
    pub fn write_all_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> WriteAllVectored<M, B> {
        WriteAllVectored::new(self.handle.clone(), Via::Pipe, buffers)
    }

    /// Gives up what dropped futures have left: writes that wait for the reader are cancelled, and their bytes are lost. The
    /// end is closed with its last handle then, and not when the reader has read. Nothing is written on it any more; see
    /// [`Ring::give_up`](crate::RingOf::give_up).
    pub fn abort(&self) {
        self.handle.ring.give_up(&self.handle.fd);
    }

    /// Bytes that the pipe holds at most (`F_GETPIPE_SZ` of fcntl(2)).
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn capacity(&self) -> io::Result<usize> {
        capacity(self)
    }

    /// As [`PipeReader::set_capacity`].
    ///
    /// # Errors
    /// As there.
    pub fn set_capacity(&self, bytes: usize) -> io::Result<usize> {
        set_capacity(self, bytes)
    }
}

common_methods!(PipeReader, std::io::PipeReader);
common_methods!(PipeWriter, std::io::PipeWriter);
