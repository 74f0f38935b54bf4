//! Removing a tree.
//!
//! Every name is looked up in an open directory, and a directory is opened only if it is no link: whoever exchanges
//! a directory for a link meanwhile leads nobody astray (the race of CVE-2022-21658).

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::vec;

use rustix::fs::OFlags;
use rustix::io::Errno;
use safer_ring_backend::Mode;
use safer_ring_backend::payload;

use super::read_dir::{Entries, Found};
use crate::ops::AT_REMOVEDIR;
use crate::{Fd, OpenOptions, RingOf};

/// Files that are removed in one system call.
const TOGETHER: usize = 64;

/// Removes a directory and all that is in it: openat(2) and unlinkat(2), and getdents(2) on helper threads. Links are
/// removed, not followed; so is `path` itself if it is a link, with or without a slash at its end.
///
/// What others remove meanwhile is no error. Each level of directories keeps a descriptor open, and the names of one
/// level are held in memory.
///
/// # Errors
/// `ENOTDIR` if `path` is neither a directory nor a link; those of open(2), getdents(2) and unlink(2): `ENOTEMPTY` if
/// others add files meanwhile. What was removed before the error is gone.
///
/// # Dropping
/// What is in flight runs to its end; the rest stays.
pub async fn remove_dir_all<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<()> {
    // Without a slash at the end, which would follow a link.
    let path = path.as_ref().components().as_path();
    let top = match open(ring, None, path).await {
        Ok(top) => top,
        Err(error) if is_no_directory(&error) => {
            if ring.statx_link(path).await?.is_symlink() {
                return ring.unlink(path).await;
            }
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let mut levels = vec![Level::enter(ring, top, path.as_os_str().to_owned()).await?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.inner.next() {
            match open(ring, Some(&level.fd), Path::new(&name)).await {
                Ok(fd) => levels.push(Level::enter(ring, fd, name).await?),
                Err(error) if is_no_directory(&error) => {
                    gone_is_fine(unlink(ring, &level.fd, &name).await)?;
                }
                Err(error) => gone_is_fine(Err(error))?,
            }
            continue;
        }
        let Some(Level { name, .. }) = levels.pop() else { break };
        match levels.last() {
            None => ring.rmdir(path).await?,
            Some(parent) => {
                let removal = payload::unlink(Some(&parent.fd), Path::new(&name), AT_REMOVEDIR);
                gone_is_fine(ring.try_start(removal).await)?;
            }
        }
    }
    Ok(())
}

/// A directory that is being removed.
struct Level<M: Mode> {
    fd: Fd<M>,
    /// Its name in the level above.
    name: OsString,
    /// What is left in it: directories, and what nobody knows the type of.
    inner: vec::IntoIter<OsString>,
}

impl<M: Mode> Level<M> {
    /// Removes the files in a directory.
    async fn enter(ring: &RingOf<M>, fd: Fd<M>, name: OsString) -> io::Result<Self> {
        let (all, _) = Entries::of(&fd)?.portion(usize::MAX).await?;
        let (mut inner, mut files) = (Vec::new(), Vec::new());
        for found in all {
            let Found { name, file_type, .. } = found?;
            let known_file = file_type.is_some_and(|file_type| !file_type.is_dir());
            (if known_file { &mut files } else { &mut inner }).push(name);
        }
        let mut batch = ring.batch();
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let some = files.by_ref().take(TOGETHER);
            let removals: Vec<_> = some
                .map(|name| {
                    let member = batch.add(unlink(ring, &fd, &name));
                    (name, member)
                })
                .collect();
            batch.submit().await;
            for (name, removal) in removals {
                match removal.await {
                    // It has become a directory meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::IsADirectory => inner.push(name),
                    result => gone_is_fine(result)?,
                }
            }
        }
        Ok(Self { fd, name, inner: inner.into_iter() })
    }
}

type Removal<M> = safer_ring_backend::Operation<M, payload::PathOp>;

fn unlink<M: Mode>(ring: &RingOf<M>, dir: &Fd<M>, name: &OsString) -> Removal<M> {
    ring.try_start(payload::unlink(Some(dir), Path::new(name), 0))
}

/// Opens a directory that is no link.
async fn open<M: Mode>(ring: &RingOf<M>, dir: Option<&Fd<M>>, path: &Path) -> io::Result<Fd<M>> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits();
    let options = OpenOptions::new().read(true).custom_flags(flags);
    match dir {
        Some(dir) => ring.open_at(dir, path, &options).await,
        None => ring.open(path, &options).await,
    }
}

/// What opening something else than a directory gives; a link, by open(2), one of the two.
fn is_no_directory(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::NOTDIR) || is(Errno::LOOP)
}

/// What somebody else has removed is removed.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
