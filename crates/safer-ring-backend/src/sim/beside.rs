//! System calls that the library makes beside its rings: what a world answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::files::Kind;
use super::kernel::Kernel;
use super::paths::Walk;
use super::tree::{Content, Node};
use super::wide;

/// Flags that count while something is opened, and are not kept: open(2).
const ONCE: u32 = 0o100 | 0o200 | 0o400 | 0o1000 | 0o2_000_000;
const PAGE: usize = 4096;
/// The longest name of a file in memory: memfd_create(2).
const LONGEST_NAME: usize = 249;

/// Where a seek starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Start(u64),
    Here(i64),
    End(i64),
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// `S_IFMT` and the permissions.
    pub(crate) mode: u32,
    pub(crate) ino: u64,
}

impl Kernel {
    /// lseek(2).
    pub(crate) fn seek(&mut self, fd: RawFd, to: From) -> Result<u64, Errno> {
        let open = self.opened(fd)?;
        let Kind::Node(id) = open.kind else { return Err(Errno::SPIPE) };
        let place = match to {
            From::Start(place) => Some(place),
            From::Here(distance) => open.place.checked_add_signed(distance),
            From::End(distance) => {
                let size = match self.tree.inodes.get(&id).map(|inode| &inode.node) {
                    Some(Node::File(content)) => wide(content.now.len()),
                    _ => 0,
                };
                size.checked_add_signed(distance)
            }
        };
        let place = place.filter(|place| i64::try_from(*place).is_ok()).ok_or(Errno::INVAL)?;
        self.move_cursor(fd, place);
        Ok(place)
    }

    /// fcntl(2) with `F_GETFL`.
    pub(crate) fn status_flags(&self, fd: RawFd) -> Result<u32, Errno> {
        self.opened(fd).map(|open| open.flags & !ONCE)
    }

    /// dup(2).
    pub(crate) fn second(&mut self, fd: RawFd) -> Result<RawFd, Errno> {
        if self.rng.chance(self.config.errors) {
            return Err(Errno::MFILE);
        }
        self.duplicate(fd)
    }

    /// socketpair(2).
    pub(crate) fn pair(&mut self, kind: u32) -> Result<(RawFd, RawFd), Errno> {
        if self.rng.chance(self.config.errors) {
            return Err(Errno::MFILE);
        }
        self.open_pair(kind)
    }

    /// memfd_create(2).
    pub(crate) fn file_in_memory(&mut self, name: &[u8]) -> Result<RawFd, Errno> {
        if name.len() > LONGEST_NAME {
            return Err(Errno::INVAL);
        }
        if self.rng.chance(self.config.errors) {
            return Err(Errno::MFILE);
        }
        let now = self.now();
        let id = self.tree.make(Node::File(Content::default()), 0o777, now);
        let opened = self.install(Kind::Node(id), 2);
        if opened.is_err() {
            self.tree.release(id);
        }
        opened
    }

    fn pipe_of(&self, fd: RawFd) -> Result<usize, Errno> {
        match self.opened(fd)?.kind {
            Kind::PipeReader(id) | Kind::PipeWriter(id) => Ok(id),
            _ => Err(Errno::BADF),
        }
    }

    /// fcntl(2) with `F_GETPIPE_SZ`.
    pub(crate) fn pipe_capacity(&self, fd: RawFd) -> Result<usize, Errno> {
        self.pipe_of(fd).map(|id| self.pipe_size(id))
    }

    /// fcntl(2) with `F_SETPIPE_SZ`: a power of two of pages.
    pub(crate) fn set_pipe_capacity(&mut self, fd: RawFd, bytes: usize) -> Result<usize, Errno> {
        let id = self.pipe_of(fd)?;
        let size = bytes.max(PAGE).checked_next_power_of_two().filter(|size| *size <= 1 << 31);
        let size = size.ok_or(Errno::INVAL)?;
        let pipe = self.pipes.get_mut(id).ok_or(Errno::BADF)?;
        if pipe.bytes.len() > size {
            return Err(Errno::BUSY);
        }
        pipe.size = Some(size);
        self.changed = true;
        Ok(size)
    }

    /// fchmod(2).
    pub(crate) fn set_mode(&mut self, fd: RawFd, mode: u32) -> Result<(), Errno> {
        match self.opened(fd)?.kind {
            Kind::Node(id) => self.change_mode(id, mode),
            _ => Ok(()),
        }
    }

    /// chmod(2).
    pub(crate) fn set_mode_of(&mut self, path: &[u8], mode: u32) -> Result<(), Errno> {
        let id = self.find_path(-1, path, Walk::TO_TARGET)?;
        self.change_mode(id, mode)
    }

    fn change_mode(&mut self, id: u64, mode: u32) -> Result<(), Errno> {
        let now = self.now();
        let inode = self.tree.inodes.get_mut(&id).ok_or(Errno::NOENT)?;
        (inode.mode, inode.changed) = (mode & 0o7777, now);
        Ok(())
    }

    /// readlink(2).
    pub(crate) fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let id = self.find_path(-1, path, Walk::TO_LINK)?;
        match self.tree.inodes.get(&id).map(|inode| &inode.node) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    /// realpath(3).
    pub(crate) fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut id = self.find_path(-1, path, Walk::TO_TARGET)?;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if !self.tree.is_dir(id) {
            let place = self.walk(-1, path, Walk::TO_TARGET)?;
            (id, parts) = (place.dir, vec![place.name]);
        }
        loop {
            let above = self.tree.inodes.get(&id).map_or(id, |inode| inode.parent);
            if above == id {
                break;
            }
            let name = self.tree.names(above)?.iter().find(|(_, inner)| **inner == id);
            parts.push(name.map(|(name, _)| name.clone()).ok_or(Errno::NOENT)?);
            id = above;
        }
        let mut whole: Vec<u8> = Vec::new();
        for part in parts.iter().rev() {
            whole.push(b'/');
            whole.extend(part);
        }
        Ok(if whole.is_empty() { b"/".to_vec() } else { whole })
    }

    /// getdents(2): all of it.
    pub(crate) fn entries(&self, fd: RawFd) -> Result<Vec<Entry>, Errno> {
        let Kind::Node(id) = self.opened(fd)?.kind else { return Err(Errno::NOTDIR) };
        let entry = |(name, ino): (&Vec<u8>, &u64)| {
            let inode = self.tree.inodes.get(ino)?;
            let kind = match &inode.node {
                Node::File(_) => 0o100_000,
                Node::Dir(_) => 0o040_000,
                Node::Link(_) => 0o120_000,
            };
            Some(Entry { name: name.clone(), mode: kind | inode.mode, ino: *ino })
        };
        Ok(self.tree.names(id)?.iter().filter_map(entry).collect())
    }

    /// getaddrinfo(3): the hosts that the world was told of, and `localhost`.
    pub(crate) fn look_up(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Some(known) = self.hosts.get(host) {
            return Some(known.clone());
        }
        let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        (host == "localhost").then(|| here.to_vec())
    }
}
