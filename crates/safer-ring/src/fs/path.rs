//! Functions on paths.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use safer_ring_backend::payload::{PathOp, Stat};
use safer_ring_backend::{Mode, Operation, beside};

use super::Permissions;
use crate::unblock::unblock;
use crate::{RenameMode, RingOf};

/// What the file system knows of the file at `path`, following symbolic links: statx(2).
///
/// # Errors
/// Those of statx(2).
///
/// # Dropping
/// Cancels.
pub fn metadata<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> Operation<M, Stat> {
    ring.statx(path)
}

/// [`metadata`] of a symbolic link itself: statx(2).
///
/// # Errors
/// Those of statx(2).
///
/// # Dropping
/// Cancels.
pub fn symlink_metadata<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> Operation<M, Stat> {
    ring.statx_link(path)
}

/// Whether there is a file at `path`, following symbolic links: statx(2). A link to nothing is no file.
///
/// # Errors
/// Those of statx(2), but for `ENOENT`.
///
/// # Dropping
/// Cancels.
pub async fn try_exists<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(ring, path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames a file or directory, replacing what is at `to`: renameat2(2). Kernel 5.11, before that a plain system call.
/// [`Ring::rename`](crate::RingOf::rename) has the other modes.
///
/// # Errors
/// Those of rename(2).
///
/// # Dropping
/// It runs to its end.
pub fn rename<M: Mode>(
    ring: &RingOf<M>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
) -> Operation<M, PathOp> {
    ring.rename(from, to, RenameMode::Replace)
}

/// Removes a file or a symbolic link, not a directory: unlink(2). Kernel 5.11, before that a plain system call.
///
/// # Errors
/// Those of unlink(2): `EISDIR` for a directory.
///
/// # Dropping
/// It runs to its end.
pub fn remove_file<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> Operation<M, PathOp> {
    ring.unlink(path)
}

/// Makes a symbolic link at `link` that says `target`: symlink(2). Kernel 5.15, before that a plain system call.
///
/// # Errors
/// Those of symlink(2).
///
/// # Dropping
/// It runs to its end.
pub fn symlink<M: Mode>(
    ring: &RingOf<M>,
    target: impl AsRef<Path>,
    link: impl AsRef<Path>,
) -> Operation<M, PathOp> {
    ring.symlink(target, link)
}

/// Makes a second name for a file; a symbolic link is not followed: link(2). Kernel 5.15, before that a plain system
/// call.
///
/// # Errors
/// Those of link(2).
///
/// # Dropping
/// It runs to its end.
pub fn hard_link<M: Mode>(
    ring: &RingOf<M>,
    original: impl AsRef<Path>,
    link: impl AsRef<Path>,
) -> Operation<M, PathOp> {
    ring.link(original, link)
}

/// What a symbolic link says: readlink(2), on a helper thread.
///
/// # Errors
/// Those of readlink(2): `EINVAL` where there is something else than a link.
///
/// # Dropping
/// The call goes on; nobody sees its result.
pub async fn read_link<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<PathBuf> {
    if let Some(found) = beside::read_link::<M>(ring.inner(), path.as_ref()) {
        return found;
    }
    let path = path.as_ref().to_owned();
    unblock(move || std::fs::read_link(path)).await?
}

/// The absolute path without links, `.` and `..`, of something that exists: realpath(3), on a helper thread.
///
/// # Errors
/// Those of realpath(3).
///
/// # Dropping
/// The call goes on; nobody sees its result.
pub async fn canonicalize<M: Mode>(
    ring: &RingOf<M>,
    path: impl AsRef<Path>,
) -> io::Result<PathBuf> {
    if let Some(found) = beside::canonicalize::<M>(ring.inner(), path.as_ref()) {
        return found;
    }
    let path = path.as_ref().to_owned();
    unblock(move || std::fs::canonicalize(path)).await?
}

/// Sets the permissions of a file, following symbolic links: chmod(2), on a helper thread.
///
/// # Errors
/// Those of chmod(2).
///
/// # Dropping
/// It runs to its end.
pub async fn set_permissions<M: Mode>(
    ring: &RingOf<M>,
    path: impl AsRef<Path>,
    permissions: Permissions,
) -> io::Result<()> {
    if let Some(done) =
        beside::set_permissions::<M>(ring.inner(), path.as_ref(), permissions.mode())
    {
        return done;
    }
    let path = path.as_ref().to_owned();
    unblock(move || std::fs::set_permissions(path, permissions)).await?
}
