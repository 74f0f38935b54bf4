//! Files and directories. Paths are relative to the working directory unless a method takes one to start from.

use std::io;
use std::path::Path;

use safer_ring_backend::payload::{self, Close, OpenFd, PathOp, Settled, Stat, Unit};
use safer_ring_backend::{Mode, Operation};

use crate::{Fd, OpenHow, OpenOptions, RingOf};

pub(crate) const AT_REMOVEDIR: u32 = 0x200;
pub(crate) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
/// `STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN`.
pub(crate) const STATX_MASK: u32 = 0x07ff | 0x0800 | 0x2000;

/// What a rename does with a target that exists: renameat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    #[default]
    Replace,
    /// Fails with `EEXIST`.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// What fallocate(2) does with the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallocateMode {
    /// Reserves space; the file grows if the range ends behind it.
    #[default]
    Allocate,
    /// Reserves space; the size stays.
    KeepSize,
    /// Gives the space back; the range reads as zeroes.
    PunchHole,
    /// Makes the range read as zeroes.
    ZeroRange,
}

impl<M: Mode> RingOf<M> {
    /// Opens a file: openat(2), close-on-exec.
    ///
    /// # Errors
    /// Those of open(2); `InvalidInput` for options that exclude each other and for a zero byte in the path.
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed and counted.
    pub fn open(&self, path: impl AsRef<Path>, options: &OpenOptions) -> Operation<M, OpenFd<M>> {
        self.open_in(None, path.as_ref(), options)
    }

    /// [`Ring::open`](crate::RingOf::open) with a path relative to a directory.
    ///
    /// # Errors
    /// As [`Ring::open`](crate::RingOf::open).
    ///
    /// # Dropping
    /// As [`Ring::open`](crate::RingOf::open).
    pub fn open_at(
        &self,
        dir: &Fd<M>,
        path: impl AsRef<Path>,
        options: &OpenOptions,
    ) -> Operation<M, OpenFd<M>> {
        self.open_in(Some(dir), path.as_ref(), options)
    }

    fn open_in(
        &self,
        dir: Option<&Fd<M>>,
        path: &Path,
        options: &OpenOptions,
    ) -> Operation<M, OpenFd<M>> {
        let Some((flags, mode)) = options.flags() else {
            return self.try_start(Err(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the open options exclude each other: choose read, write or append; create and truncate need write",
            ))));
        };
        self.try_start(payload::open(dir, path, flags, mode))
    }

    /// Opens a file with control over how the path is walked: openat2(2). Kernel 5.6.
    ///
    /// # Errors
    /// Those of openat2(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// As [`Ring::open`](crate::RingOf::open).
    pub fn openat2(
        &self,
        dir: Option<&Fd<M>>,
        path: impl AsRef<Path>,
        how: OpenHow,
    ) -> Operation<M, OpenFd<M>> {
        self.try_start(payload::openat2(dir, path.as_ref(), how.flags, how.mode, how.resolve))
    }

    /// Closes a descriptor and reports what close(2) reports. Dropping the last handle closes it too, in silence.
    ///
    /// # Errors
    /// `ResourceBusy`, with the handle in the error, while other handles or operations share the descriptor: those whose
    /// futures were dropped too, which [`Fd::settle`] ends. That of a write, send or sync whose future was dropped
    /// ([`Failure::Earlier`](crate::Failure::Earlier)), told once and with the handle, which is still open: close it
    /// again. Those of close(2); the descriptor is gone then, and the error has no handle in it.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn close(&self, fd: Fd<M>) -> Operation<M, Close<M>> {
        self.try_start(payload::close(fd))
    }

    /// What the file system knows of the file at `path`, following symbolic links: statx(2).
    ///
    /// # Errors
    /// Those of statx(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// Cancels.
    pub fn statx(&self, path: impl AsRef<Path>) -> Operation<M, Stat> {
        self.try_start(payload::statx::<M>(None, path.as_ref(), 0, STATX_MASK))
    }

    /// [`Ring::statx`](crate::RingOf::statx) of a symbolic link itself.
    ///
    /// # Errors
    /// Those of statx(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// Cancels.
    pub fn statx_link(&self, path: impl AsRef<Path>) -> Operation<M, Stat> {
        self.try_start(payload::statx::<M>(None, path.as_ref(), AT_SYMLINK_NOFOLLOW, STATX_MASK))
    }

    /// [`Ring::statx`](crate::RingOf::statx) of an open file.
    ///
    /// # Errors
    /// Those of statx(2).
    ///
    /// # Dropping
    /// Cancels.
    pub fn statx_fd(&self, fd: &Fd<M>) -> Operation<M, Stat> {
        self.try_start(payload::statx(Some(fd), Path::new(""), AT_EMPTY_PATH, STATX_MASK))
    }

    /// Brings the file's data and metadata to stable storage: fsync(2).
    ///
    /// # Errors
    /// Those of fsync(2): `EIO`, after which what was written may be lost. That of a write whose future was dropped, told
    /// once; then nothing was synced.
    ///
    /// # Dropping
    /// It runs to its end, behind writes that were dropped before it.
    pub fn fsync(&self, fd: &Fd<M>) -> Operation<M, Settled> {
        self.start(payload::fsync(fd, false))
    }

    /// Brings the file's data, and what metadata is needed to read it back, to stable storage: fdatasync(2).
    ///
    /// # Errors
    /// As [`Ring::fsync`](crate::RingOf::fsync).
    ///
    /// # Dropping
    /// As [`Ring::fsync`](crate::RingOf::fsync).
    pub fn fdatasync(&self, fd: &Fd<M>) -> Operation<M, Settled> {
        self.start(payload::fsync(fd, true))
    }

    /// Reserves, frees or clears a range of a file, in bytes: fallocate(2).
    ///
    /// # Errors
    /// Those of fallocate(2): `EOPNOTSUPP` where the file system cannot.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn fallocate(
        &self,
        fd: &Fd<M>,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Operation<M, Unit> {
        let mode = match mode {
            FallocateMode::Allocate => 0,
            FallocateMode::KeepSize => 1,
            FallocateMode::PunchHole => 1 | 2,
            FallocateMode::ZeroRange => 0x10,
        };
        self.start(payload::fallocate(fd, mode, offset, len))
    }

    /// Sets the length of a file in bytes: ftruncate(2). Kernel 6.9, before that a plain system call.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn ftruncate(&self, fd: &Fd<M>, len: u64) -> Operation<M, Unit> {
        self.start(payload::ftruncate(fd, len))
    }

    /// Renames a file: renameat2(2). Kernel 5.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of rename(2); `InvalidInput` for a zero byte in a path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn rename(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mode: RenameMode,
    ) -> Operation<M, PathOp> {
        let flags = match mode {
            RenameMode::Replace => 0,
            RenameMode::NoReplace => 1,
            RenameMode::Exchange => 2,
        };
        self.try_start(payload::rename::<M>(from.as_ref(), to.as_ref(), flags))
    }

    /// Removes a file: unlink(2). Kernel 5.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of unlink(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn unlink(&self, path: impl AsRef<Path>) -> Operation<M, PathOp> {
        self.try_start(payload::unlink::<M>(None, path.as_ref(), 0))
    }

    /// Removes an empty directory: rmdir(2). Kernel 5.11, before that a plain system call.
    ///
    /// # Errors
    /// Those of rmdir(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn rmdir(&self, path: impl AsRef<Path>) -> Operation<M, PathOp> {
        self.try_start(payload::unlink::<M>(None, path.as_ref(), AT_REMOVEDIR))
    }

    /// Makes a directory: mkdir(2). Kernel 5.15, before that a plain system call.
    ///
    /// # Errors
    /// Those of mkdir(2); `InvalidInput` for a zero byte in the path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> Operation<M, PathOp> {
        self.try_start(payload::mkdir::<M>(None, path.as_ref(), mode))
    }

    /// Makes a symbolic link at `link` that says `target`: symlink(2). Kernel 5.15, before that a plain system call.
    ///
    /// # Errors
    /// Those of symlink(2); `InvalidInput` for a zero byte in a path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn symlink(
        &self,
        target: impl AsRef<Path>,
        link: impl AsRef<Path>,
    ) -> Operation<M, PathOp> {
        self.try_start(payload::symlink::<M>(target.as_ref(), link.as_ref()))
    }

    /// Makes a second name for a file: link(2). Kernel 5.15, before that a plain system call.
    ///
    /// # Errors
    /// Those of link(2); `InvalidInput` for a zero byte in a path.
    ///
    /// # Dropping
    /// It runs to its end.
    pub fn link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Operation<M, PathOp> {
        self.try_start(payload::link::<M>(original.as_ref(), link.as_ref()))
    }
}
