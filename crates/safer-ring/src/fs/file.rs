//! An open file, and the operations on it that are one call of the kernel each.

use std::fmt;
use std::io::{self, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::OFlags;
use rustix::io::Errno;
use safer_ring_backend::payload::{
    Payload, Read, ReadVectored, Settled, Stat, Unit, Write, WriteVectored,
};
use safer_ring_backend::{Mode, OpError, Operation, Shared, beside};
use safer_ring_buf::{IoBuf, IoBufMut};

use super::direct::{DirectAlignment, Extent};
use super::{OpenOptions, Permissions};
use crate::net::handle;
use crate::unblock::unblock;
use crate::{FallocateMode, Fd, RingOf};

/// An open file: [`std::fs::File`] on a ring.
///
/// ```
/// use safer_ring::{Ring, fs::File};
///
/// # pollster::block_on(async {
/// let ring = Ring::new(8)?;
/// let file = File::open(&ring, "/proc/self/exe").await?;
/// let (n, buffer) = file.read_at(vec![0; 4], 0).await?;
/// assert_eq!((n, &buffer[..]), (4, &b"\x7fELF"[..]));
/// file.close().await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// It can hold anything that has a descriptor: a pipe or a terminal has no offsets, but `read` and `write` work.
///
/// Operations that are in flight keep the descriptor open. When the last of them and the file are gone it is
/// closed, in silence; [`File::close`] reports errors. To share a file between tasks put it into an `Arc`, or clone its
/// [`fd`](File::fd).
pub struct File<M: Mode = Shared> {
    ring: RingOf<M>,
    fd: Fd<M>,
    /// Opened with `O_APPEND`.
    pub(super) append: bool,
    /// Opened with `O_DIRECT`.
    pub(super) direct: bool,
    /// What statx(2) said, once it was asked.
    pub(super) alignment: OnceLock<Option<DirectAlignment>>,
}

impl File<Shared> {
    /// How to open a file otherwise, on a ring of either kind: [`OpenOptions::new`].
    pub const fn options() -> OpenOptions {
        OpenOptions::new()
    }
}

impl<M: Mode> File<M> {
    /// Opens a file for reading: open(2).
    ///
    /// # Errors
    /// As [`Ring::open`](crate::RingOf::open).
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed and counted.
    pub async fn open(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(ring, path).await
    }

    /// Opens a file for writing, makes it if there is none, and cuts it to length 0 if there is one: open(2).
    ///
    /// # Errors
    /// As [`Ring::open`](crate::RingOf::open).
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed and counted, and the file may have been made or cut.
    pub async fn create(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(ring, path).await
    }

    /// Makes a file and opens it for reading and writing; fails if there is one (`EEXIST`): open(2).
    ///
    /// # Errors
    /// As [`Ring::open`](crate::RingOf::open).
    ///
    /// # Dropping
    /// As [`File::create`].
    pub async fn create_new(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(ring, path).await
    }

    /// Takes over a file of the standard library. Whether it appends (`O_APPEND`) or is direct (`O_DIRECT`) is asked of
    /// the kernel, here and only here: fcntl(2).
    pub fn from_std(ring: &RingOf<M>, file: std::fs::File) -> Self {
        Self::from_fd(ring, Fd::new(file))
    }

    /// [`File::from_std`] for a descriptor of any kind.
    pub fn from_fd(ring: &RingOf<M>, fd: Fd<M>) -> Self {
        // F_GETFL fails only where a filter forbids it; an append is then the careful guess.
        let flags = beside::status_flags(&fd).map(OFlags::from_bits_retain);
        Self::with_flags(ring, fd, flags.unwrap_or(OFlags::APPEND))
    }

    /// A file that was just opened with these flags.
    pub(crate) async fn opened(ring: &RingOf<M>, fd: Fd<M>, flags: OFlags) -> io::Result<Self> {
        let file = Self::with_flags(ring, fd, flags);
        file.learn_alignment().await?;
        Ok(file)
    }

    pub(super) fn with_flags(ring: &RingOf<M>, fd: Fd<M>, flags: OFlags) -> Self {
        Self {
            ring: ring.clone(),
            fd,
            append: flags.contains(OFlags::APPEND),
            direct: flags.contains(OFlags::DIRECT),
            alignment: OnceLock::new(),
        }
    }

    /// The file as one of the standard library.
    ///
    /// # Errors
    /// The file itself, while operations in flight or other handles ([`File::fd`]) share the descriptor; while dropped
    /// operations are in flight, which [`File::settle`] ends; and while bytes of a dropped read wait for the next
    /// one, which [`File::seek`] drops.
    pub fn into_std(self) -> Result<std::fs::File, Self> {
        let Self { ring, fd, append, direct, alignment } = self;
        match fd.try_into_owned() {
            Ok(owned) => Ok(owned.into()),
            Err(fd) => Err(Self { ring, fd, append, direct, alignment }),
        }
    }

    /// A second descriptor of the same open file, with the same cursor: dup(2), close-on-exec. Bytes of a dropped read
    /// are for this file only, not for the clone.
    ///
    /// # Errors
    /// Those of fcntl(2) with `F_DUPFD_CLOEXEC`: `EMFILE` above all.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            ring: self.ring.clone(),
            fd: self.fd.try_clone()?,
            append: self.append,
            direct: self.direct,
            alignment: self.alignment.clone(),
        })
    }

    /// The descriptor, for operations of the ring.
    pub fn fd(&self) -> &Fd<M> {
        &self.fd
    }

    /// The ring that it works on.
    pub fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    /// A second handle on the same descriptor.
    #[cfg(any(feature = "tokio", feature = "futures"))]
    pub(crate) fn share(&self) -> Self {
        let Self { ring, fd, append, direct, alignment } = self;
        let (append, direct) = (*append, *direct);
        Self { ring: ring.clone(), fd: fd.clone(), append, direct, alignment: alignment.clone() }
    }

    /// Whether it was opened with `O_APPEND`.
    #[cfg(any(feature = "tokio", feature = "futures"))]
    pub(crate) fn appends(&self) -> bool {
        self.append
    }

    /// Waits until nothing of dropped futures works on the file any more: reads at the cursor end, and their bytes stay for
    /// the next; writes run to their end. For [`File::into_std`]; [`File::close`] does it by itself.
    ///
    /// # Errors
    /// That of a write whose future was dropped, told once.
    ///
    /// # Dropping
    /// Nothing is lost.
    pub async fn settle(&self) -> io::Result<()> {
        self.fd.settle().await?;
        handle::released(&self.ring, &self.fd).await
    }

    /// Closes the file, after what dropped futures have left, and reports what close(2) reports: on some file systems (NFS)
    /// that is where a write that failed is told. Bytes of a dropped read that wait for the next are dropped.
    ///
    /// # Errors
    /// `ResourceBusy`, with the file in the error, while other handles or operations whose futures are alive share the
    /// descriptor. That of a write whose future was dropped; the file is closed all the same, unless it is in the
    /// error. Those of close(2); the descriptor is gone then, and the error has no file in it.
    ///
    /// # Dropping
    /// The file is closed in silence once dropped writes have ended.
    pub async fn close(self) -> Result<(), OpError<Option<Self>>> {
        let Self { ring, fd, append, direct, alignment } = self;
        handle::close(&ring, fd).await.map_err(|OpError { error, buffer, .. }| {
            OpError::new(error, buffer.map(|fd| Self { ring, fd, append, direct, alignment }))
        })
    }

    /// Moves the cursor, and gives where it is then, in bytes from the start: lseek(2), a plain call, which does not
    /// wait for a disk. What dropped operations at the cursor have left ends first; bytes of a dropped read that wait for
    /// the next count as not read, and are dropped.
    ///
    /// # Errors
    /// Those of lseek(2): `EINVAL` for a place before the start, `ESPIPE` for a pipe or a socket. That of a write whose
    /// future was dropped, told once. The cursor stays, and nothing is dropped.
    ///
    /// # Dropping
    /// The cursor stays.
    pub async fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        self.fd.settle().await?;
        let to = match to {
            SeekFrom::Current(distance) => {
                let place = self.cursor()?.checked_add_signed(distance);
                SeekFrom::Start(place.ok_or(Errno::INVAL)?)
            }
            to => to,
        };
        let place = beside::seek(&self.fd, to)?;
        self.fd.drop_kept();
        Ok(place)
    }

    /// Moves the cursor to the start: [`File::seek`].
    ///
    /// # Errors
    /// As [`File::seek`].
    ///
    /// # Dropping
    /// The cursor stays.
    pub async fn rewind(&self) -> io::Result<()> {
        self.seek(SeekFrom::Start(0)).await.map(drop)
    }

    /// Where the cursor is, in bytes from the start: lseek(2), a plain call. What dropped operations at the cursor have
    /// left ends first; bytes of a dropped read that wait for the next count as not read, and go on waiting.
    ///
    /// # Errors
    /// As [`File::seek`].
    ///
    /// # Dropping
    /// Nothing is lost.
    pub async fn stream_position(&self) -> io::Result<u64> {
        self.fd.settle().await?;
        self.cursor()
    }

    /// The place of the next byte that a read at the cursor gives: the kernel's cursor stands behind what is kept.
    pub(crate) fn cursor(&self) -> io::Result<u64> {
        let kept = u64::try_from(self.fd.kept_bytes()).unwrap_or(u64::MAX);
        Ok(beside::tell(&self.fd)?.saturating_sub(kept))
    }

    /// Reads at the cursor into `buffer`, up to its capacity, and moves the cursor: read(2). 0 bytes are the end.
    ///
    /// # Errors
    /// Those of read(2). With `O_DIRECT`, `InvalidInput` before the call if memory or length are not aligned.
    ///
    /// # Dropping
    /// It stays in flight, and its bytes go to the next read at the cursor.
    #[inline]
    pub fn read<B: IoBufMut>(&self, buffer: B) -> Operation<M, Read<B>> {
        match self.admit(&[Extent::to_fill(&buffer)], None) {
            Ok(()) => self.ring.read_owned(&self.fd, buffer),
            Err(error) => self.refused(error, buffer),
        }
    }

    /// Writes the initialised bytes of `buffer` at the cursor, or at the end with `O_APPEND`: write(2). It may write
    /// fewer; the count says how many.
    ///
    /// # Errors
    /// Those of write(2). With `O_DIRECT`, `InvalidInput` before the call if memory or length are not aligned.
    ///
    /// # Dropping
    /// It runs to its end, before later writes at the cursor; its error is given by the next write, sync or close.
    #[inline]
    pub fn write<B: IoBuf>(&self, buffer: B) -> Operation<M, Write<B>> {
        match self.admit(&[Extent::to_send(&buffer)], None) {
            Ok(()) => self.ring.write_owned(&self.fd, buffer),
            Err(error) => self.refused(error, buffer),
        }
    }

    /// Reads at `offset` (bytes) into `buffer`, up to its capacity; the cursor stays: pread(2).
    ///
    /// # Errors
    /// Those of pread(2), but for `ESPIPE`: a pipe ignores the offset. With `O_DIRECT`, `InvalidInput` before the call
    /// if memory, offset or length are not aligned.
    ///
    /// # Dropping
    /// Cancels; nothing is lost.
    #[inline]
    pub fn read_at<B: IoBufMut>(&self, buffer: B, offset: u64) -> Operation<M, Read<B>> {
        match self.admit(&[Extent::to_fill(&buffer)], Some(offset)) {
            Ok(()) => self.ring.read_at_owned(&self.fd, buffer, offset),
            Err(error) => self.refused(error, buffer),
        }
    }

    /// Writes the initialised bytes of `buffer` at `offset` (bytes); the cursor stays: pwrite(2). It may write fewer.
    ///
    /// **With `O_APPEND` the kernel ignores the offset** and writes at the end of the file (pwrite(2), "Bugs").
    ///
    /// # Errors
    /// As [`File::read_at`], with those of pwrite(2).
    ///
    /// # Dropping
    /// It runs to its end.
    #[inline]
    pub fn write_at<B: IoBuf>(&self, buffer: B, offset: u64) -> Operation<M, Write<B>> {
        match self.admit(&[Extent::to_send(&buffer)], self.place(Some(offset))) {
            Ok(()) => self.ring.write_at_owned(&self.fd, buffer, offset),
            Err(error) => self.refused(error, buffer),
        }
    }

    /// Reads at the cursor into many buffers, one after the other: readv(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`File::read`]; `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`File::read`].
    pub fn read_vectored<B: IoBufMut>(&self, buffers: Vec<B>) -> Operation<M, ReadVectored<B>> {
        match self.admit_all(&buffers, Extent::to_fill, None) {
            Ok(()) => self.ring.read_vectored(&self.fd, buffers),
            Err(error) => self.refused(error, buffers),
        }
    }

    /// Writes many buffers at the cursor, one after the other: writev(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`File::write`]; `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// As [`File::write`].
    pub fn write_vectored<B: IoBuf>(&self, buffers: Vec<B>) -> Operation<M, WriteVectored<B>> {
        match self.admit_all(&buffers, Extent::to_send, None) {
            Ok(()) => self.ring.write_vectored(&self.fd, buffers),
            Err(error) => self.refused(error, buffers),
        }
    }

    /// Reads at `offset` (bytes) into many buffers: preadv(2). At most 1024 buffers.
    ///
    /// # Errors
    /// As [`File::read_at`]; `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// Cancels; nothing is lost.
    pub fn read_vectored_at<B: IoBufMut>(
        &self,
        buffers: Vec<B>,
        offset: u64,
    ) -> Operation<M, ReadVectored<B>> {
        match self.admit_all(&buffers, Extent::to_fill, Some(offset)) {
            Ok(()) => self.ring.read_vectored_at(&self.fd, buffers, offset),
            Err(error) => self.refused(error, buffers),
        }
    }

    /// Writes many buffers at `offset` (bytes): pwritev(2). At most 1024 buffers. `O_APPEND` as for [`File::write_at`].
    ///
    /// # Errors
    /// As [`File::write_at`]; `InvalidInput` for too many buffers.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn write_vectored_at<B: IoBuf>(
        &self,
        buffers: Vec<B>,
        offset: u64,
    ) -> Operation<M, WriteVectored<B>> {
        match self.admit_all(&buffers, Extent::to_send, self.place(Some(offset))) {
            Ok(()) => self.ring.write_vectored_at(&self.fd, buffers, offset),
            Err(error) => self.refused(error, buffers),
        }
    }

    /// Brings data and metadata to stable storage: fsync(2).
    ///
    /// # Errors
    /// Those of fsync(2): `EIO`, `ENOSPC`, after which what was written may be lost.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn sync_all(&self) -> Operation<M, Settled> {
        self.ring.fsync(&self.fd)
    }

    /// Brings the data, and what metadata is needed to read it back, to stable storage: fdatasync(2).
    ///
    /// # Errors
    /// As [`File::sync_all`].
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn sync_data(&self) -> Operation<M, Settled> {
        self.ring.fdatasync(&self.fd)
    }

    /// Sets the length in bytes; what is new reads as zeroes: ftruncate(2). Kernel 6.9, before that a plain system call.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn set_len(&self, len: u64) -> Operation<M, Unit> {
        self.ring.ftruncate(&self.fd, len)
    }

    /// Reserves, frees or clears `len` bytes from `offset`: fallocate(2).
    ///
    /// # Errors
    /// Those of fallocate(2): `EOPNOTSUPP` where the file system cannot, `ENOSPC`.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn allocate(&self, mode: FallocateMode, offset: u64, len: u64) -> Operation<M, Unit> {
        self.ring.fallocate(&self.fd, mode, offset, len)
    }

    /// What the file system knows of the file: statx(2).
    ///
    /// # Errors
    /// Those of statx(2).
    ///
    /// # Dropping
    /// Cancels.
    pub fn metadata(&self) -> Operation<M, Stat> {
        self.ring.statx_fd(&self.fd)
    }

    /// Sets the permissions: fchmod(2), on a helper thread.
    ///
    /// # Errors
    /// Those of fchmod(2), and of dup(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        if let Some(done) = beside::set_permissions_of(&self.fd, permissions.mode()) {
            return done;
        }
        let file = std::fs::File::from(self.fd.duplicate()?);
        unblock(move || file.set_permissions(permissions)).await?
    }

    /// The offset that a write has; with `O_APPEND` it has none.
    pub(super) fn place(&self, offset: Option<u64>) -> Option<u64> {
        if self.append { None } else { offset }
    }

    /// An operation that fails before the kernel sees it.
    #[cold]
    fn refused<B, P>(&self, error: io::Error, buffer: B) -> Operation<M, P>
    where
        P: Payload<Output = Result<(usize, B), OpError<B>>>,
    {
        self.ring.try_start(Err(Err(OpError::new(error, buffer))))
    }
}

impl<M: Mode> TryFrom<File<M>> for std::fs::File {
    type Error = File<M>;

    /// [`File::into_std`].
    fn try_from(file: File<M>) -> Result<Self, File<M>> {
        file.into_std()
    }
}

impl<M: Mode> AsFd for File<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<M: Mode> fmt::Debug for File<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("fd", &self.fd)
            .field("append", &self.append)
            .field("direct", &self.direct)
            .finish_non_exhaustive()
    }
}
