//! From a path to what it names.

use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::files::Kind;
use super::kernel::Kernel;
use super::tree::{Node, ROOT};

/// Symbolic links that a walk follows: path_resolution(7).
const LINKS: u32 = 40;
/// `RESOLVE_*` of openat2(2).
pub(super) const NO_SYMLINKS: u64 = 0x04;
const BENEATH: u64 = 0x08;
/// Those that change nothing here: there is one file system, and no magic link.
const HARMLESS: u64 = 0x01 | 0x02 | NO_SYMLINKS | BENEATH;

/// All that openat2(2) knows: with those of a root of its own and of what is cached.
const RESOLVE: u64 = HARMLESS | 0x10 | 0x20;

/// Whether a path can be resolved so.
pub(super) fn resolves(how: u64) -> Result<(), Errno> {
    if how & !RESOLVE != 0 {
        return Err(Errno::INVAL);
    }
    if how & !HARMLESS == 0 { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}

/// What the last part of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// A name.
    Name,
    /// `/`.
    Root,
    /// `.`
    Dot,
    /// `..`
    Above,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The directory that has the last name.
    pub(super) dir: u64,
    /// The last name; empty if there is none.
    pub(super) name: Vec<u8>,
    pub(super) last: Last,
    /// What it names, if there is something.
    pub(super) inode: Option<u64>,
    /// The path ends in a slash.
    pub(super) wants_dir: bool,
}

/// How a path is walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// A symbolic link at the end is followed.
    pub(super) follow: bool,
    /// The last name itself is meant, whatever is behind it: not even a slash makes a link be followed.
    pub(super) name_only: bool,
    /// `RESOLVE_*`.
    pub(super) resolve: u64,
}

impl Walk {
    pub(super) const TO_TARGET: Self = Self { follow: true, name_only: false, resolve: 0 };
    pub(super) const TO_LINK: Self = Self { follow: false, name_only: false, resolve: 0 };
    pub(super) const TO_NAME: Self = Self { follow: false, name_only: true, resolve: 0 };
}

impl Kernel {
    /// The directory that a path begins in: that of `fd`, or the root, which is the working directory too.
    fn start_of(&self, fd: RawFd) -> Result<u64, Errno> {
        if fd < 0 {
            return Ok(ROOT);
        }
        match self.opened(fd)?.kind {
            Kind::Node(id) if self.tree.is_dir(id) => Ok(id),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Walks a path.
    pub(super) fn walk(&self, fd: RawFd, path: &[u8], how: Walk) -> Result<Place, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.len() >= 4096 {
            return Err(Errno::NAMETOOLONG);
        }
        let start = if path.starts_with(b"/") { ROOT } else { self.start_of(fd)? };
        if how.resolve & BENEATH != 0 && path.starts_with(b"/") {
            return Err(Errno::XDEV);
        }
        let mut links = 0;
        self.walk_from(start, path, how, &mut links)
    }

    fn walk_from(
        &self,
        start: u64,
        path: &[u8],
        how: Walk,
        links: &mut u32,
    ) -> Result<Place, Errno> {
        let wants_dir = path.ends_with(b"/");
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
        let at = |id, last| Place { dir: id, name: Vec::new(), last, inode: Some(id), wants_dir };
        let mut place = at(start, Last::Root);
        let mut depth = 0u32;
        while let Some(part) = parts.next() {
            let here = place.inode.ok_or(Errno::NOENT)?;
            let names = self.tree.names(here)?;
            if part.len() > 255 {
                return Err(Errno::NAMETOOLONG);
            }
            match part {
                b"." => {
                    place = at(here, Last::Dot);
                    continue;
                }
                b".." => {
                    if how.resolve & BENEATH != 0 && depth == 0 {
                        return Err(Errno::XDEV);
                    }
                    depth = depth.saturating_sub(1);
                    let above = self.tree.inodes.get(&here).map_or(ROOT, |inode| inode.parent);
                    place = at(above, Last::Above);
                    continue;
                }
                _ => depth += 1,
            }
            let inode = names.get(part).copied();
            place = Place { dir: here, name: part.to_vec(), last: Last::Name, inode, wants_dir };
            let last = parts.peek().is_none();
            let target = match inode.and_then(|id| self.tree.inodes.get(&id)).map(|i| &i.node) {
                Some(Node::Link(target))
                    if !last || how.follow || (wants_dir && !how.name_only) =>
                {
                    target
                }
                _ => continue,
            };
            *links += 1;
            if *links > LINKS || how.resolve & NO_SYMLINKS != 0 {
                return Err(Errno::LOOP);
            }
            if how.resolve & BENEATH != 0 && target.starts_with(b"/") {
                return Err(Errno::XDEV);
            }
            let from = if target.starts_with(b"/") { ROOT } else { here };
            let through = Walk { follow: true, name_only: false, ..how };
            place = self.walk_from(from, target, through, links)?;
            place.wants_dir = wants_dir;
        }
        Ok(place)
    }

    /// What a path names.
    pub(super) fn find_path(&self, fd: RawFd, path: &[u8], how: Walk) -> Result<u64, Errno> {
        let place = self.walk(fd, path, how)?;
        let id = place.inode.ok_or(Errno::NOENT)?;
        if place.wants_dir && !self.tree.is_dir(id) {
            return Err(Errno::NOTDIR);
        }
        Ok(id)
    }

    /// A name that something new is to get.
    pub(super) fn free_name(&self, fd: RawFd, path: &[u8], dir: bool) -> Result<Place, Errno> {
        let place = self.walk(fd, path, Walk::TO_NAME)?;
        if place.inode.is_some() || place.last != Last::Name {
            return Err(Errno::EXIST);
        }
        if place.wants_dir && !dir {
            return Err(Errno::NOENT);
        }
        Ok(place)
    }
}
