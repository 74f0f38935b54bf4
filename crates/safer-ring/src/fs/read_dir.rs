//! What is in a directory.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use rustix::fs::Dir;
use safer_ring_backend::payload::{self, Stat};
use safer_ring_backend::{Mode, Operation, Shared, beside};

use super::FileType;
use crate::ops::{AT_SYMLINK_NOFOLLOW, STATX_MASK};
use crate::unblock::{Unblock, unblock};
use crate::{Fd, OpenOptions, RingOf};

/// Entries that are fetched in one call of a helper thread.
const PORTION: usize = 1024;

/// Opens a directory to see what is in it: open(2), then getdents(2) on helper threads, by portions of 1024 entries.
///
/// ```
/// use safer_ring::{Ring, fs};
/// # pollster::block_on(async {
/// let ring = Ring::new(8)?;
/// let mut entries = fs::read_dir(&ring, "/proc/self").await?;
/// let mut names = Vec::new();
/// while let Some(entry) = entries.next_entry().await? {
///     names.push(entry.file_name().to_owned());
/// }
/// assert!(names.iter().any(|name| name == "status"));
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// Those of open(2): `ENOTDIR`.
///
/// # Dropping
/// Cancels.
pub async fn read_dir<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<ReadDir<M>> {
    let path = path.as_ref();
    let flags = rustix::fs::OFlags::DIRECTORY.bits();
    let options = OpenOptions::new().read(true).custom_flags(flags);
    let fd = ring.open(path, &options).await?;
    let source = Source::Idle(Entries::of(&fd)?);
    let place = Arc::new(Place { ring: ring.clone(), fd, path: path.to_owned() });
    Ok(ReadDir { place, source, portion: Vec::new().into_iter() })
}

/// The entries of a directory, in no order, without `.` and `..`. Made by [`read_dir`].
pub struct ReadDir<M: Mode = Shared> {
    place: Arc<Place<M>>,
    source: Source,
    portion: vec::IntoIter<io::Result<Found>>,
}

/// Where entries are.
struct Place<M: Mode> {
    ring: RingOf<M>,
    fd: Fd<M>,
    path: PathBuf,
}

/// Where the next portion comes from.
enum Source {
    Idle(Entries),
    Busy(Unblock<Portion>),
    Over,
}

/// What a call on a helper thread gives. After the last entry, or an error, there is no directory any more.
type Portion = (Vec<io::Result<Found>>, Option<Entries>);

/// What is left of a directory.
pub(super) enum Entries {
    /// On the machine: getdents(2), which may block.
    There(Dir),
    /// In a simulated world, which has said it all.
    Known(vec::IntoIter<beside::DirEntry>),
}

impl Entries {
    /// All entries of a directory.
    pub(super) fn of<M: Mode>(fd: &Fd<M>) -> io::Result<Self> {
        match beside::entries(fd) {
            Some(known) => Ok(Self::Known(known?.into_iter())),
            None => Ok(Self::There(Dir::new(fd.duplicate()?)?)),
        }
    }

    /// The next ones, at most `limit`: on a helper thread, unless they are known.
    pub(super) fn portion(self, limit: usize) -> Unblock<Portion> {
        match self {
            Self::There(dir) => unblock(move || portion(dir, limit)),
            Self::Known(mut known) => {
                let found = known.by_ref().take(limit).map(|entry| {
                    let file_type = Some(FileType::from_mode(entry.mode));
                    Ok(Found { name: entry.name, file_type, ino: entry.ino })
                });
                let found: Vec<_> = found.collect();
                let more = found.len() == limit;
                Unblock::done((found, more.then_some(Self::Known(known))))
            }
        }
    }
}

/// What a directory says of an entry.
pub(super) struct Found {
    pub(super) name: OsString,
    /// Not every file system tells.
    pub(super) file_type: Option<FileType>,
    ino: u64,
}

impl<M: Mode> ReadDir<M> {
    /// The next entry; `None` at the end. What is added or removed meanwhile may be seen or not.
    ///
    /// # Errors
    /// Those of getdents(2), after which there are no more entries.
    ///
    /// # Dropping
    /// Nothing is lost: the next call goes on where this one was.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry<M>>> {
        loop {
            if let Some(found) = self.portion.next() {
                return Ok(Some(DirEntry { place: Arc::clone(&self.place), found: found? }));
            }
            let busy = match mem::replace(&mut self.source, Source::Over) {
                Source::Idle(dir) => dir.portion(PORTION),
                Source::Busy(busy) => busy,
                Source::Over => return Ok(None),
            };
            // Kept here, so that it is not lost if this future is dropped.
            self.source = Source::Busy(busy);
            let Source::Busy(busy) = &mut self.source else { return Ok(None) };
            let result = busy.await;
            self.source = Source::Over;
            let (found, dir) = result?;
            self.portion = found.into_iter();
            if let Some(dir) = dir {
                self.source = Source::Idle(dir);
            }
        }
    }
}

/// The next entries of a directory, at most `limit`.
fn portion(mut dir: Dir, limit: usize) -> Portion {
    let mut found = Vec::new();
    while found.len() < limit {
        let entry = match dir.read() {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                found.push(Err(error.into()));
                return (found, None);
            }
            None => return (found, None),
        };
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let file_type = match entry.file_type() {
                rustix::fs::FileType::Unknown => None,
                known => Some(FileType::from_mode(known.as_raw_mode())),
            };
            let name = OsStr::from_bytes(name).to_owned();
            found.push(Ok(Found { name, file_type, ino: entry.ino() }));
        }
    }
    (found, Some(Entries::There(dir)))
}

impl<M: Mode> fmt::Debug for ReadDir<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.place.path).finish()
    }
}

/// An entry of a directory. It keeps the directory open.
pub struct DirEntry<M: Mode = Shared> {
    place: Arc<Place<M>>,
    found: Found,
}

impl<M: Mode> DirEntry<M> {
    /// The name, without the directory.
    pub fn file_name(&self) -> &OsStr {
        &self.found.name
    }

    /// The path that was given to [`read_dir`], and the name.
    pub fn path(&self) -> PathBuf {
        self.place.path.join(&self.found.name)
    }

    /// Inode number of the entry. Where a file system is mounted on it, that of the directory below.
    pub fn ino(&self) -> u64 {
        self.found.ino
    }

    /// What kind of file it is; links are not followed. No call where the directory told it, else [`DirEntry::metadata`].
    ///
    /// # Errors
    /// As [`DirEntry::metadata`].
    ///
    /// # Dropping
    /// Cancels.
    pub async fn file_type(&self) -> io::Result<FileType> {
        match self.found.file_type {
            Some(known) => Ok(known),
            None => Ok(self.metadata().await?.file_type()),
        }
    }

    /// What the file system knows of it; links are not followed: statx(2), relative to the open directory.
    ///
    /// # Errors
    /// Those of statx(2): `ENOENT` if it has gone.
    ///
    /// # Dropping
    /// Cancels.
    pub fn metadata(&self) -> Operation<M, Stat> {
        let Place { ring, fd, .. } = &*self.place;
        let name = Path::new(&self.found.name);
        ring.try_start(payload::statx(Some(fd), name, AT_SYMLINK_NOFOLLOW, STATX_MASK))
    }
}

impl<M: Mode> fmt::Debug for DirEntry<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}
