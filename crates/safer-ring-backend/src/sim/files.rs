//! The operations on files and names.

use std::os::fd::RawFd;

use safer_ring_core::CURSOR;
use safer_ring_sys::Errno;

use super::kernel::{Flight, Kernel};
use super::paths::{Last, Walk, resolves};
use super::tree::{Change, Content, Inode, Names, Node, Transaction, Tree};
use super::{narrow, wide};

pub(super) const O_ACCMODE: u32 = 0o3;
pub(super) const O_WRONLY: u32 = 0o1;
pub(super) const O_NONBLOCK: u32 = 0o4000;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
pub(super) const O_APPEND: u32 = 0o2000;
const O_DSYNC: u32 = 0o10000;
const O_DIRECTORY: u32 = 0o200_000;
const O_NOFOLLOW: u32 = 0o400_000;
const O_PATH: u32 = 0o10_000_000;
const O_TMPFILE: u32 = 0o20_000_000;
const EMPTY_PATH: u32 = 0x1000;
const SYMLINK_NOFOLLOW: u32 = 0x100;
const REMOVE_DIR: u32 = 0x200;
const NO_REPLACE: u32 = 1;
const EXCHANGE: u32 = 2;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file or directory.
    Node(u64),
    PipeReader(usize),
    PipeWriter(usize),
    Socket(usize),
}

/// A result, or nothing while there is none.
pub(super) type Try<T> = Option<Result<T, Errno>>;

/// An offset that a file can have.
fn place_in_file(at: u64) -> Result<u64, Errno> {
    i64::try_from(at).map_or(Err(Errno::INVAL), |_| Ok(at))
}

/// Where a write with this offset goes.
pub(super) fn place_of_write(tree: &Tree, id: u64, offset: u64, flags: u32, place: u64) -> u64 {
    match tree.inodes.get(&id).map(|inode| &inode.node) {
        Some(Node::File(content)) if flags & O_APPEND != 0 => wide(content.now.len()),
        _ if offset == CURSOR => place,
        _ => offset,
    }
}

impl Kernel {
    /// openat(2) and openat2(2).
    pub(super) fn open_path(
        &mut self,
        fd: RawFd,
        path: &[u8],
        (flags, mode): (u32, u32),
        resolve: u64,
    ) -> Result<RawFd, Errno> {
        resolves(resolve)?;
        if flags & O_PATH != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        if flags & O_TMPFILE != 0 {
            return self.open_unnamed(fd, path, flags, mode);
        }
        let exclusive = flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        let follow = flags & O_NOFOLLOW == 0 && !exclusive;
        let place = self.walk(fd, path, Walk { follow, name_only: false, resolve })?;
        if flags & O_CREAT != 0 && place.wants_dir {
            return Err(Errno::ISDIR);
        }
        let id = match place.inode {
            Some(_) if exclusive => return Err(Errno::EXIST),
            Some(id) => id,
            None if flags & O_CREAT == 0 => return Err(Errno::NOENT),
            None if place.wants_dir || flags & O_DIRECTORY != 0 => return Err(Errno::ISDIR),
            None => {
                let now = self.now();
                let id = self.tree.make(Node::File(Content::default()), mode & 0o7777, now);
                self.rename_all(vec![(place.dir, place.name.clone(), Some(id))]);
                id
            }
        };
        let writes = flags & O_ACCMODE != 0;
        match self.tree.inodes.get(&id).map(|inode| &inode.node) {
            Some(Node::Link(_)) => return Err(Errno::LOOP),
            Some(Node::Dir(_)) if writes || flags & O_CREAT != 0 => return Err(Errno::ISDIR),
            Some(Node::File(_)) if place.wants_dir || flags & O_DIRECTORY != 0 => {
                return Err(Errno::NOTDIR);
            }
            Some(Node::File(_)) if flags & O_TRUNC != 0 && writes => self.set_size(id, 0)?,
            Some(_) => {}
            None => return Err(Errno::NOENT),
        }
        self.install(Kind::Node(id), flags)
    }

    fn open_unnamed(
        &mut self,
        fd: RawFd,
        path: &[u8],
        flags: u32,
        mode: u32,
    ) -> Result<RawFd, Errno> {
        let dir = self.find_path(fd, path, Walk::TO_TARGET)?;
        if !self.tree.is_dir(dir) {
            return Err(Errno::NOTDIR);
        }
        if flags & O_ACCMODE == 0 {
            return Err(Errno::INVAL);
        }
        let now = self.now();
        let id = self.tree.make(Node::File(Content::default()), mode & 0o7777, now);
        self.install(Kind::Node(id), flags)
    }

    /// Changes names, and the times of their directories.
    fn rename_all(&mut self, changes: Transaction) {
        let now = self.now();
        for (dir, _, to) in &changes {
            for id in [Some(*dir), *to].into_iter().flatten() {
                if let Some(inode) = self.tree.inodes.get_mut(&id) {
                    inode.changed = now;
                }
            }
            if let Some(inode) = self.tree.inodes.get_mut(dir) {
                inode.modified = now;
            }
        }
        self.tree.name(changes);
    }

    /// Reads from a file.
    pub(super) fn read_file(
        &mut self,
        fd: RawFd,
        offset: u64,
        most: usize,
    ) -> Result<Vec<u8>, Errno> {
        let open = self.opened(fd)?;
        let Kind::Node(id) = open.kind else { return Err(Errno::BADF) };
        let at = place_in_file(if offset == CURSOR { open.place } else { offset })?;
        if most == 0 {
            // Not even of a directory.
            return Ok(Vec::new());
        }
        let content = self.tree.content(id)?;
        let start = narrow(at).min(content.now.len());
        let end = start.saturating_add(most).min(content.now.len());
        let end = content.readable(start, end)?;
        let bytes = content.now.get(start..end).unwrap_or_default().to_vec();
        if offset == CURSOR {
            self.move_cursor(fd, at.saturating_add(wide(bytes.len())));
        }
        Ok(bytes)
    }

    /// Writes to a file, as far as the disk has room.
    pub(super) fn write_file(
        &mut self,
        fd: RawFd,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let open = self.opened(fd)?;
        let (at, len) = self.write_cache(fd, offset, bytes)?;
        if offset == CURSOR {
            self.move_cursor(fd, at.saturating_add(wide(len)));
        }
        if open.flags & O_DSYNC != 0 {
            self.sync(fd)?;
        }
        Ok(len)
    }

    /// Writes to a file what its next sync brings to the disk. Gives the place, and how many bytes were written.
    fn write_cache(&mut self, fd: RawFd, offset: u64, bytes: &[u8]) -> Result<(u64, usize), Errno> {
        let open = self.opened(fd)?;
        let Kind::Node(id) = open.kind else { return Err(Errno::BADF) };
        let at = place_of_write(&self.tree, id, offset, open.flags, open.place);
        place_in_file(at)?;
        let room = self.config.disk_bytes.saturating_sub(self.tree.used);
        let size = wide(self.tree.content(id)?.now.len());
        let most = size.saturating_add(room).saturating_sub(at);
        let len = bytes.len().min(narrow(most));
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC);
        }
        let data = bytes.get(..len).unwrap_or_default();
        let content = self.tree.content(id)?;
        if !data.is_empty() {
            content.write(narrow(at), data)?;
        }
        let grown = wide(content.now.len()).saturating_sub(size);
        self.tree.used += grown;
        self.touch(id);
        Ok((at, len))
    }

    /// A write of a file has failed. With `O_DSYNC` its bytes are those that a failed sync loses; else sectors of it may have
    /// been written all the same, as far as the file went.
    pub(super) fn fail_write(&mut self, flight: &Flight, offset: u64, errno: Errno) {
        let Ok(open) = self.opened(flight.fd) else { return };
        let Kind::Node(id) = open.kind else { return };
        let bytes = flight.lent.bytes();
        if open.flags & O_DSYNC != 0 {
            let _ = self.write_cache(flight.fd, offset, &bytes);
            return self.fail_sync(flight.fd);
        }
        let at = narrow(place_of_write(&self.tree, id, offset, open.flags, open.place));
        let size = self.tree.content(id).map_or(0, |content| content.now.len());
        let within = bytes.get(..size.saturating_sub(at).min(bytes.len())).unwrap_or_default();
        if errno != Errno::IO || !self.rng.chance(500) {
            return;
        }
        for piece in Content::sectors(&Change::Write(at, within.to_vec())) {
            if let Change::Write(at, data) = piece
                && self.rng.chance(500)
                && let Ok(content) = self.tree.content(id)
            {
                // A sector that is bad stays so.
                let _ = content.write(at, &data);
            }
        }
        self.touch(id);
    }

    /// Room behind an offset, for a splice.
    pub(super) fn file_room(&self) -> usize {
        narrow(self.config.disk_bytes.saturating_sub(self.tree.used))
    }

    fn touch(&mut self, id: u64) {
        let now = self.now();
        if let Some(inode) = self.tree.inodes.get_mut(&id) {
            (inode.modified, inode.changed) = (now, now);
        }
    }

    fn set_size(&mut self, id: u64, len: u64) -> Result<(), Errno> {
        let room = self.config.disk_bytes.saturating_sub(self.tree.used);
        let content = self.tree.content(id)?;
        let size = wide(content.now.len());
        if len.saturating_sub(size) > room {
            return Err(if len > i64::MAX.unsigned_abs() { Errno::FBIG } else { Errno::NOSPC });
        }
        content.resize(narrow(len));
        self.tree.used = self.tree.used.saturating_sub(size).saturating_add(len);
        self.touch(id);
        Ok(())
    }

    /// The inode of a file that is open for writing.
    fn writable(&self, fd: RawFd) -> Result<u64, Errno> {
        let open = self.opened(fd)?;
        match open.kind {
            _ if open.flags & O_ACCMODE == 0 => Err(Errno::BADF),
            Kind::Node(id) => Ok(id),
            _ => Err(Errno::INVAL),
        }
    }

    /// ftruncate(2).
    pub(super) fn truncate(&mut self, fd: RawFd, len: u64) -> Result<(), Errno> {
        let id = match self.writable(fd) {
            Err(Errno::BADF) if self.opened(fd).is_ok() => return Err(Errno::INVAL),
            other => other?,
        };
        if i64::try_from(len).is_err() {
            return Err(Errno::INVAL);
        }
        self.set_size(id, len)
    }

    /// fallocate(2): room, holes and zeroes.
    pub(super) fn allocate(
        &mut self,
        fd: RawFd,
        mode: u32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        const KEEP_SIZE: u32 = 0x01;
        const PUNCH_HOLE: u32 = 0x02;
        const ZERO_RANGE: u32 = 0x10;
        let open = self.opened(fd)?;
        let Kind::Node(id) = open.kind else {
            return Err(if open.flags & O_ACCMODE == 0 { Errno::BADF } else { Errno::SPIPE });
        };
        let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or(Errno::FBIG)?;
        if len == 0 {
            return Err(Errno::INVAL);
        }
        self.writable(fd)?;
        let size = wide(self.tree.content(id)?.now.len());
        let (zeroes, keeps) = match mode {
            0 => (false, false),
            KEEP_SIZE => (false, true),
            ZERO_RANGE => (true, false),
            m if m == ZERO_RANGE | KEEP_SIZE || m == PUNCH_HOLE | KEEP_SIZE => (true, true),
            _ => return Err(Errno::OPNOTSUPP),
        };
        if !keeps && end > size {
            self.set_size(id, end)?;
        }
        let last = end.min(size);
        if zeroes && offset < last {
            let data = vec![0; narrow(last - offset)];
            let content = self.tree.content(id)?;
            content.write(narrow(offset), &data)?;
        }
        self.touch(id);
        Ok(())
    }

    /// statx(2): the bytes of the structure.
    pub(super) fn stat(&self, fd: RawFd, path: &[u8], flags: u32) -> Result<Vec<u8>, Errno> {
        let id = if path.is_empty() && flags & EMPTY_PATH != 0 {
            match self.opened(fd)?.kind {
                Kind::Node(id) => id,
                _ => return Err(Errno::OPNOTSUPP),
            }
        } else {
            let follow = flags & SYMLINK_NOFOLLOW == 0;
            self.find_path(fd, path, Walk { follow, name_only: false, resolve: 0 })?
        };
        let inode = self.tree.inodes.get(&id).ok_or(Errno::NOENT)?;
        let (kind, size) = match &inode.node {
            Node::File(content) => (0o100_000, wide(content.now.len())),
            Node::Dir(_) => (0o040_000, 4096),
            Node::Link(target) => (0o120_000, wide(target.len())),
        };
        Ok(stat_bytes(id, inode, kind | inode.mode, size))
    }

    /// mkdirat(2).
    pub(super) fn make_dir(&mut self, fd: RawFd, path: &[u8], mode: u32) -> Result<(), Errno> {
        let place = self.free_name(fd, path, true)?;
        let now = self.now();
        let id = self.tree.make(Node::Dir(Names::new()), mode & 0o1777, now);
        self.rename_all(vec![(place.dir, place.name, Some(id))]);
        Ok(())
    }

    /// symlinkat(2).
    pub(super) fn make_link(
        &mut self,
        fd: RawFd,
        target: Vec<u8>,
        path: &[u8],
    ) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::NOENT);
        }
        let place = self.free_name(fd, path, false)?;
        let now = self.now();
        let id = self.tree.make(Node::Link(target), 0o777, now);
        self.rename_all(vec![(place.dir, place.name, Some(id))]);
        Ok(())
    }

    /// linkat(2).
    pub(super) fn link(&mut self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let id = self.find_path(-1, from, Walk::TO_LINK)?;
        let place = self.free_name(-1, to, false)?;
        if self.tree.is_dir(id) {
            return Err(Errno::PERM);
        }
        self.rename_all(vec![(place.dir, place.name, Some(id))]);
        Ok(())
    }

    /// unlinkat(2).
    pub(super) fn unlink(&mut self, fd: RawFd, path: &[u8], flags: u32) -> Result<(), Errno> {
        let place = self.walk(fd, path, Walk::TO_NAME)?;
        let removes_dir = flags & REMOVE_DIR != 0;
        match place.last {
            Last::Name => {}
            _ if !removes_dir => return Err(Errno::ISDIR),
            Last::Above => return Err(Errno::NOTEMPTY),
            Last::Dot => return Err(Errno::INVAL),
            Last::Root => return Err(Errno::BUSY),
        }
        let id = place.inode.ok_or(Errno::NOENT)?;
        let dir = self.tree.is_dir(id);
        if removes_dir {
            if !dir {
                return Err(Errno::NOTDIR);
            }
            if !self.tree.names(id)?.is_empty() {
                return Err(Errno::NOTEMPTY);
            }
        } else if dir {
            return Err(Errno::ISDIR);
        } else if place.wants_dir {
            return Err(Errno::NOTDIR);
        }
        self.rename_all(vec![(place.dir, place.name, None)]);
        Ok(())
    }

    /// renameat2(2).
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8], flags: u32) -> Result<(), Errno> {
        let old = self.walk(-1, from, Walk::TO_NAME)?;
        let new = self.walk(-1, to, Walk::TO_NAME)?;
        if old.last != Last::Name {
            return Err(Errno::BUSY);
        }
        if new.last != Last::Name {
            return Err(if flags & NO_REPLACE != 0 { Errno::EXIST } else { Errno::BUSY });
        }
        let id = old.inode.ok_or(Errno::NOENT)?;
        let dir = self.tree.is_dir(id);
        let replaced = match (flags, new.inode) {
            (0, other) => other,
            (NO_REPLACE, Some(_)) => return Err(Errno::EXIST),
            (NO_REPLACE, None) => None,
            (EXCHANGE, None) => return Err(Errno::NOENT),
            (EXCHANGE, other) => other,
            _ => return Err(Errno::INVAL),
        };
        let exchange = flags == EXCHANGE;
        let other_is_dir = replaced.is_some_and(|other| self.tree.is_dir(other));
        let slashed = !dir && (old.wants_dir || (new.wants_dir && !exchange));
        if slashed || (exchange && !other_is_dir && new.wants_dir) {
            return Err(Errno::NOTDIR);
        }
        if dir && self.is_below(new.dir, id) {
            return Err(Errno::INVAL);
        }
        if let Some(other) = replaced {
            if other_is_dir && self.is_below(old.dir, other) {
                return Err(if exchange { Errno::INVAL } else { Errno::NOTEMPTY });
            }
            if other == id {
                return Ok(());
            }
            if exchange {
                let there = (new.dir, new.name, Some(id));
                self.rename_all(vec![(old.dir, old.name, Some(other)), there]);
                return Ok(());
            }
            self.may_replace(dir, other)?;
        }
        self.rename_all(vec![(new.dir, new.name, Some(id)), (old.dir, old.name, None)]);
        Ok(())
    }

    fn may_replace(&self, dir: bool, other: u64) -> Result<(), Errno> {
        match (dir, self.tree.is_dir(other)) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            (true, true) if !self.tree.names(other)?.is_empty() => Err(Errno::NOTEMPTY),
            _ => Ok(()),
        }
    }

    /// Whether a directory is another one, or in it.
    fn is_below(&self, mut dir: u64, top: u64) -> bool {
        loop {
            if dir == top {
                return true;
            }
            let above = self.tree.inodes.get(&dir).map_or(dir, |inode| inode.parent);
            if above == dir {
                return false;
            }
            dir = above;
        }
    }
}

/// `struct statx`.
fn stat_bytes(id: u64, inode: &Inode, mode: u32, size: u64) -> Vec<u8> {
    /// The world began in the year 2000.
    const EPOCH: u64 = 946_684_800;
    let mut bytes = vec![0; 256];
    let mut put = |at: usize, word: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + word.len()) {
            place.copy_from_slice(word);
        }
    };
    let mode = u16::try_from(mode).unwrap_or(0);
    put(0, &0x0fffu32.to_ne_bytes());
    put(4, &4096u32.to_ne_bytes());
    put(16, &inode.names.to_ne_bytes());
    put(28, &mode.to_ne_bytes());
    put(32, &id.to_ne_bytes());
    put(40, &size.to_ne_bytes());
    put(48, &size.div_ceil(512).to_ne_bytes());
    let times =
        [(64, inode.modified), (80, inode.born), (96, inode.changed), (112, inode.modified)];
    for (at, time) in times {
        put(at, &(EPOCH + time / 1_000_000_000).to_ne_bytes());
        let part = u32::try_from(time % 1_000_000_000).unwrap_or(0);
        put(at + 8, &part.to_ne_bytes());
    }
    put(136, &8u32.to_ne_bytes());
    put(140, &1u32.to_ne_bytes());
    bytes
}
