//! Making directories, and removing empty ones.

use std::io;
use std::path::Path;

use safer_ring_backend::payload::PathOp;
use safer_ring_backend::{Mode, Operation};

use super::metadata;
use crate::RingOf;

/// Makes a directory, with the mode 0o777 less the umask: mkdir(2). Kernel 5.15, before that a plain system call.
///
/// # Errors
/// Those of mkdir(2).
///
/// # Dropping
/// It runs to its end.
pub fn create_dir<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> Operation<M, PathOp> {
    ring.mkdir(path, DIRECTORY)
}

/// Makes a directory and all that are missing above it; succeeds if it is there: mkdir(2).
///
/// ```
/// use safer_ring::{Ring, fs};
/// # pollster::block_on(async {
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path();
/// let ring = Ring::new(8)?;
/// fs::create_dir_all(&ring, root.join("a/b/c")).await?;
/// assert!(fs::metadata(&ring, root.join("a/b/c")).await?.is_dir());
/// fs::remove_dir_all(&ring, root.join("a")).await?;
/// assert!(!fs::try_exists(&ring, root.join("a")).await?);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// Those of mkdir(2); `EEXIST` where something else than a directory is.
///
/// # Dropping
/// A mkdir(2) in flight runs to its end; directories that were made stay.
pub async fn create_dir_all<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(ring, path).await
}

/// Removes an empty directory: rmdir(2). Kernel 5.11, before that a plain system call.
///
/// # Errors
/// Those of rmdir(2): `ENOTEMPTY`, `ENOTDIR`.
///
/// # Dropping
/// It runs to its end.
pub fn remove_dir<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> Operation<M, PathOp> {
    ring.rmdir(path)
}

const DIRECTORY: u32 = 0o777;

/// How a directory is made: [`std::fs::DirBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirBuilder {
    recursive: bool,
    mode: u32,
}

impl Default for DirBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DirBuilder {
    /// One directory, with the mode 0o777 less the umask.
    pub const fn new() -> Self {
        Self { recursive: false, mode: DIRECTORY }
    }

    /// Also makes what is missing above it, and does not mind if it is there.
    pub const fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Permissions of the directories that are made, before the umask.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Makes the directory at `path`.
    ///
    /// # Errors
    /// As [`create_dir`], or with [`recursive`](DirBuilder::recursive) as [`create_dir_all`].
    ///
    /// # Dropping
    /// As [`create_dir_all`].
    pub async fn create<M: Mode>(
        &self,
        ring: &RingOf<M>,
        path: impl AsRef<Path>,
    ) -> io::Result<()> {
        let path = path.as_ref();
        if self.recursive {
            self.create_with_parents(ring, path).await
        } else {
            ring.mkdir(path, self.mode).await
        }
    }

    async fn create_with_parents<M: Mode>(&self, ring: &RingOf<M>, path: &Path) -> io::Result<()> {
        // The parent of a relative path of one name.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        // Up, to the first that can be made or is there; then down again.
        let mut missing = Vec::new();
        for ancestor in path.ancestors() {
            if ancestor.as_os_str().is_empty() {
                break;
            }
            match self.create_or_find(ring, ancestor).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        for directory in missing.into_iter().rev() {
            self.create_or_find(ring, directory).await?;
        }
        Ok(())
    }

    /// Somebody else may make the same directory at the same time.
    async fn create_or_find<M: Mode>(&self, ring: &RingOf<M>, path: &Path) -> io::Result<()> {
        match ring.mkdir(path, self.mode).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                match metadata(ring, path).await {
                    Ok(found) if found.is_dir() => Ok(()),
                    _ => Err(error),
                }
            }
            result => result,
        }
    }
}
