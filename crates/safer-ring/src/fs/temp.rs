//! Files without a name.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use safer_ring_backend::{Mode, beside, payload};

use super::File;
use crate::{Fd, OpenOptions, RingOf};

/// Names that are tried where a name is needed for a moment.
const ATTEMPTS: u32 = 16;

/// A new file in the directory `dir`, for reading and writing, that has no name and can get none: it vanishes with the
/// last handle. open(2) with `O_TMPFILE` and `O_EXCL`. A file system that has no such files (NFS, FUSE) gets one with a
/// random name and the mode 0o600, which is removed at once.
///
/// ```
/// use safer_ring::{Ring, fs};
/// # pollster::block_on(async {
/// let ring = Ring::new(8)?;
/// let file = fs::tempfile(&ring, std::env::temp_dir()).await?;
/// file.write_all_at("scratch", 0).await?;
/// assert_eq!(file.read_exact_at(vec![0; 7], 0).await?, b"scratch");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// Those of open(2), and of unlink(2) where a name was needed.
///
/// # Dropping
/// Cancels; a descriptor that still arrives is closed and counted. Where a name is needed, the file may stay.
pub async fn tempfile<M: Mode>(ring: &RingOf<M>, dir: impl AsRef<Path>) -> io::Result<File<M>> {
    let dir = dir.as_ref();
    let flags = OFlags::TMPFILE | OFlags::EXCL;
    let options = OpenOptions::new().read(true).write(true).mode(0o600);
    match options.custom_flags(flags.bits()).open(ring, dir).await {
        Err(error) if has_no_unnamed_files(&error) => named_for_a_moment(ring, dir).await,
        result => result,
    }
}

/// What a file system without `O_TMPFILE` answers: open(2); `EISDIR` if it does not know the flag.
fn has_no_unnamed_files(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::OPNOTSUPP) || is(Errno::ISDIR)
}

/// A new file whose name is removed at once.
async fn named_for_a_moment<M: Mode>(ring: &RingOf<M>, dir: &Path) -> io::Result<File<M>> {
    let path = OFlags::PATH | OFlags::DIRECTORY;
    let options = OpenOptions::new().read(true).custom_flags(path.bits());
    let dir = ring.open(dir, &options).await?;
    let random = RandomState::new();
    for attempt in 1..=ATTEMPTS {
        let name = format!(".safer-ring-{:016x}", random.hash_one(attempt));
        match take_name(ring, &dir, Path::new(&name)).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            result => return result,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

async fn take_name<M: Mode>(ring: &RingOf<M>, dir: &Fd<M>, name: &Path) -> io::Result<File<M>> {
    let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600);
    let fd = ring.open_at(dir, name, &options).await?;
    ring.try_start(payload::unlink(Some(dir), name, 0)).await?;
    Ok(File::with_flags(ring, fd, OFlags::empty()))
}

/// A new file in memory, for reading and writing, close-on-exec, without a path: memfd_create(2). `name` is seen in
/// `/proc/self/fd` only, and need not be unique. No operation of io_uring: it does not wait.
///
/// # Errors
/// Those of memfd_create(2): `EINVAL` for a name of more than 249 bytes or with a zero byte in it, `EMFILE`.
pub fn anonymous<M: Mode>(ring: &RingOf<M>, name: &str) -> io::Result<File<M>> {
    let fd = match beside::memory_file::<M>(ring.inner(), name) {
        Some(made) => made?,
        None => Fd::new(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?),
    };
    Ok(File::with_flags(ring, fd, OFlags::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_needed_a_name_has_none_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        pollster::block_on(async {
            let ring = crate::Ring::new(8).unwrap();
            let file = named_for_a_moment(&ring, directory.path()).await.unwrap();
            file.write_all_at("content", 0).await.unwrap();
            assert_eq!(file.read_exact_at(vec![0; 7], 0).await.unwrap(), b"content");
            let metadata = file.metadata().await.unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (0, 0o600));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        });
    }

    #[test]
    fn what_asks_for_a_name_is_known() {
        let asks = |errno: Errno| has_no_unnamed_files(&errno.into());
        assert!(asks(Errno::OPNOTSUPP) && asks(Errno::ISDIR));
        assert!(!asks(Errno::NOENT) && !asks(Errno::ACCESS) && !asks(Errno::NOSPC));
    }
}
