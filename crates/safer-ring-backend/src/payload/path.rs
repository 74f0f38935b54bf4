//! Operations on paths.
//!
//! # Safety
//! A path state is boxed and unboxed as the type it was boxed as; the kernel writes only the statx area,
//! for which any bytes are valid.
//!
//! Tests: paths_are_made_renamed_linked_and_removed, statx_tells_the_size
#![allow(unsafe_code, reason = "unboxing operation states")]

use std::ffi::CString;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use safer_ring_buf::Lease;
use safer_ring_core::Op;

use super::{Done, Payload, sealed::Sealed, simple::Plain};
use crate::fd::Fd;
use crate::mode::Mode;
use crate::request::{Made, Request};

/// Operations on paths that give nothing but success.
pub type PathOp = Plain;

/// Gives what the file system knows of a file.
#[derive(Debug)]
pub struct Stat(());

impl Sealed for Stat {}

/// `struct open_how` of openat2(2).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RawOpenHow {
    pub(super) flags: u64,
    pub(super) mode: u64,
    pub(super) resolve: u64,
}

/// A path and what else the operation points to. The bytes of a `CString` do not move with it.
#[repr(C)]
pub(super) struct PathState<X> {
    extra: X,
    path: CString,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path has a zero byte in it"))
}

impl PathState<()> {
    pub(super) fn one(path: &Path) -> io::Result<Self> {
        Self::with(path, ())
    }

    pub(super) fn lease(self) -> Lease {
        self.lease_with_extra().0
    }
}

impl<X: Send + 'static> PathState<X> {
    pub(super) fn with(path: &Path, extra: X) -> io::Result<Self> {
        Ok(Self { extra, path: c_path(path)? })
    }

    /// A lease whose address is the path's, and the address of the extra.
    pub(super) fn lease_with_extra(self) -> (Lease, u64) {
        let path = self.path.as_ptr().cast_mut().cast::<u8>();
        let len = self.path.as_bytes_with_nul().len();
        let lease = Lease::from_box(Box::new(self));
        let extra = super::offset_address(&lease, offset_of!(Self, extra));
        // SAFETY: the path's bytes are on the heap, owned by the boxed state, and read only.
        (unsafe { lease.pointing_at(path, len, 0) }, extra)
    }
}

/// Relative to a directory, or to the working directory.
pub(super) fn at<M: Mode, P: Payload>(
    request: Request<M::Guard, P>,
    dir: Option<&Fd<M>>,
) -> Request<M::Guard, P> {
    match dir {
        Some(dir) => request.on(dir.guard()),
        None => request,
    }
}

/// statx(2).
///
/// # Errors
/// The output of the operation, if the path has a zero byte in it.
pub fn statx<M: Mode>(dir: Option<&Fd<M>>, path: &Path, flags: u32, mask: u32) -> Made<M, Stat> {
    let area = RawStatx([0; STATX]);
    let (lease, aux) = PathState::with(path, area).map_err(Err)?.lease_with_extra();
    Ok(at(Request::new(Op::Statx { flags, mask, aux }, lease, ()), dir))
}

type PathRequest<M> = Made<M, PathOp>;

fn one_path<M: Mode>(dir: Option<&Fd<M>>, path: &Path, op: Op) -> PathRequest<M> {
    let lease = PathState::one(path).map_err(Err)?.lease();
    Ok(at(Request::new(op, lease, ()), dir))
}

fn two_paths<M: Mode>(
    dir: Option<&Fd<M>>,
    path: &Path,
    other: &Path,
    op: impl FnOnce(u64) -> Op,
) -> PathRequest<M> {
    let other = c_path(other).map_err(Err)?;
    let aux = super::address(other.as_ptr().cast());
    let (lease, _) = PathState::with(path, other).map_err(Err)?.lease_with_extra();
    Ok(at(Request::new(op(aux), lease, ()), dir))
}

/// unlink(2), or rmdir(2) with `AT_REMOVEDIR` in `flags`.
///
/// # Errors
/// The output of the operation, if the path has a zero byte in it.
pub fn unlink<M: Mode>(dir: Option<&Fd<M>>, path: &Path, flags: u32) -> PathRequest<M> {
    one_path(dir, path, Op::UnlinkAt { flags })
}

/// mkdir(2).
///
/// # Errors
/// The output of the operation, if the path has a zero byte in it.
pub fn mkdir<M: Mode>(dir: Option<&Fd<M>>, path: &Path, mode: u32) -> PathRequest<M> {
    one_path(dir, path, Op::MkdirAt { mode })
}

/// renameat2(2); both paths are relative to the working directory.
///
/// # Errors
/// The output of the operation, if a path has a zero byte in it.
pub fn rename<M: Mode>(from: &Path, to: &Path, flags: u32) -> PathRequest<M> {
    two_paths::<M>(None, from, to, |aux| Op::RenameAt { flags, aux })
}

/// link(2); both paths are relative to the working directory.
///
/// # Errors
/// The output of the operation, if a path has a zero byte in it.
pub fn link<M: Mode>(original: &Path, link: &Path) -> PathRequest<M> {
    two_paths::<M>(None, original, link, |aux| Op::LinkAt { flags: 0, aux })
}

/// symlink(2); `target` is stored as it is.
///
/// # Errors
/// The output of the operation, if a path has a zero byte in it.
pub fn symlink<M: Mode>(target: &Path, link: &Path) -> PathRequest<M> {
    two_paths::<M>(None, target, link, |aux| Op::SymlinkAt { aux })
}

/// `sizeof(struct statx)`.
const STATX: usize = 256;

/// `struct statx` as bytes; every field has its place by the UAPI header.
#[derive(Clone)]
#[repr(C, align(8))]
struct RawStatx([u8; STATX]);

/// What statx(2) tells of a file. A field that the file system did not fill is `None` or 0 as there.
#[derive(Clone)]
pub struct Metadata {
    raw: Box<RawStatx>,
}

/// `STATX_DIOALIGN`, kernel 6.1.
const DIOALIGN: u32 = 0x2000;
/// `STATX_BTIME`.
const BTIME: u32 = 0x800;
const S_IFMT: u32 = libc::S_IFMT;

impl Metadata {
    fn u32(&self, at: usize) -> u32 {
        let tail = self.raw.0.get(at..).and_then(|tail| tail.first_chunk());
        u32::from_ne_bytes(tail.copied().unwrap_or_default())
    }

    fn u64(&self, at: usize) -> u64 {
        let tail = self.raw.0.get(at..).and_then(|tail| tail.first_chunk());
        u64::from_ne_bytes(tail.copied().unwrap_or_default())
    }

    fn time(&self, at: usize) -> Option<SystemTime> {
        let seconds = self.u64(at).cast_signed();
        let nanoseconds = Duration::from_nanos(u64::from(self.u32(at + 8)));
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let base = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        base?.checked_add(nanoseconds)
    }

    /// Which fields are filled (`STATX_*`).
    pub fn mask(&self) -> u32 {
        self.u32(0)
    }

    /// Preferred size of reads and writes, in bytes.
    pub fn block_size(&self) -> u32 {
        self.u32(4)
    }

    /// Number of names of the file.
    pub fn links(&self) -> u32 {
        self.u32(16)
    }

    /// Number of names of the file, as std's `MetadataExt` has it.
    pub fn nlink(&self) -> u64 {
        u64::from(self.links())
    }

    /// User that owns the file.
    pub fn uid(&self) -> u32 {
        self.u32(20)
    }

    /// Group that owns the file.
    pub fn gid(&self) -> u32 {
        self.u32(24)
    }

    /// Type and permissions, as `st_mode` of stat(2).
    pub fn mode(&self) -> u32 {
        let half = self.raw.0.get(28..).and_then(|tail| tail.first_chunk());
        u32::from(u16::from_ne_bytes(half.copied().unwrap_or_default()))
    }

    /// The permissions, as [`std::fs::Metadata::permissions`] gives them.
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.mode())
    }

    /// What kind of file it is.
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode())
    }

    /// Inode number.
    pub fn inode(&self) -> u64 {
        self.u64(32)
    }

    /// Inode number, as std's `MetadataExt` has it.
    pub fn ino(&self) -> u64 {
        self.inode()
    }

    /// Number of the device that holds the file, as `st_dev` of stat(2). With [`ino`](Metadata::ino) it identifies a
    /// file as long as that exists.
    pub fn dev(&self) -> u64 {
        libc::makedev(self.u32(136), self.u32(140))
    }

    /// Number of the device that the file is, as `st_rdev` of stat(2); 0 for files that are none.
    pub fn rdev(&self) -> u64 {
        libc::makedev(self.u32(128), self.u32(132))
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.u64(40)
    }

    /// Whether the size is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Space in use, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.u64(48)
    }

    /// Time of the last read.
    pub fn accessed(&self) -> Option<SystemTime> {
        self.time(64)
    }

    /// Time of creation, where the file system keeps it.
    pub fn created(&self) -> Option<SystemTime> {
        if self.mask() & BTIME == 0 { None } else { self.time(80) }
    }

    /// Time of the last change of the content.
    pub fn modified(&self) -> Option<SystemTime> {
        self.time(112)
    }

    /// Time of the last change of anything: content, names, permissions, owner (`st_ctime` of stat(2)).
    pub fn changed(&self) -> Option<SystemTime> {
        self.time(96)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// Alignment that `O_DIRECT` wants of memory and of offsets, in bytes; `None` if the kernel (before 6.1) or
    /// the file system does not tell, or does not support it.
    pub fn direct_io_alignment(&self) -> Option<(u32, u32)> {
        let (memory, offset) = (self.u32(152), self.u32(156));
        (self.mask() & DIOALIGN != 0 && memory > 0).then_some((memory, offset))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("mode", &format_args!("{:o}", self.mode()))
            .field("len", &self.len())
            .field("inode", &self.inode())
            .finish_non_exhaustive()
    }
}

/// What kind of file something is, with std's names: inode(7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType {
    /// The type bits of `st_mode`, and no others.
    bits: u32,
}

impl FileType {
    /// From `st_mode` of stat(2); bits that say something else are left out.
    pub fn from_mode(mode: u32) -> Self {
        Self { bits: mode & S_IFMT }
    }

    /// A regular file.
    pub fn is_file(self) -> bool {
        self.bits == libc::S_IFREG
    }

    /// A directory.
    pub fn is_dir(self) -> bool {
        self.bits == libc::S_IFDIR
    }

    /// A symbolic link.
    pub fn is_symlink(self) -> bool {
        self.bits == libc::S_IFLNK
    }

    /// A named pipe.
    pub fn is_fifo(self) -> bool {
        self.bits == libc::S_IFIFO
    }

    /// A Unix socket.
    pub fn is_socket(self) -> bool {
        self.bits == libc::S_IFSOCK
    }

    /// A block device.
    pub fn is_block_device(self) -> bool {
        self.bits == libc::S_IFBLK
    }

    /// A character device.
    pub fn is_char_device(self) -> bool {
        self.bits == libc::S_IFCHR
    }

    fn name(self) -> &'static str {
        match self.bits {
            libc::S_IFREG => "file",
            libc::S_IFDIR => "directory",
            libc::S_IFLNK => "symbolic link",
            libc::S_IFIFO => "fifo",
            libc::S_IFSOCK => "socket",
            libc::S_IFBLK => "block device",
            libc::S_IFCHR => "character device",
            _ => "unknown",
        }
    }
}

impl fmt::Debug for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileType").field(&self.name()).finish()
    }
}

impl Payload for Stat {
    type Rest = ();
    type Output = io::Result<Metadata>;

    super::lends_nothing!();

    unsafe fn finish(lease: Lease, (): (), done: Done) -> Self::Output {
        // SAFETY: `statx` boxed this type; any bytes are a valid `RawStatx`.
        let state = unsafe { lease.into_box::<PathState<RawStatx>>() };
        done.result?;
        Ok(Metadata { raw: Box::new(state.extra) })
    }
}
