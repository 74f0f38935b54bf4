//! What reaches the disk, and what is left of it when the power goes.
//!
//! * The bytes and the size of a file are safe from its sync on; those written since are there or not, sector by sector.
//! * A name is safe from the sync of its directory on, with all changes of names before it. Of the later ones an arbitrary
//!   number has reached the disk, in order; a rename is one change.
//! * A sync that fails has written some of what it should have written, and lost the rest: the next one does not write it
//!   either. Linux tells of an error of writeback once, and takes the pages for clean then (fsync(2)).

use std::ops::Range;
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::descriptors::Opened;
use super::files::Kind;
use super::kernel::Kernel;
use super::tree::{Change, Content, Inode, Names, Node, ROOT, Transaction, Tree};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// Damage of what a disk has: see [`World::damage`](super::World::damage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The sectors cannot be read: `EIO`, until each is written as a whole.
    Unreadable,
    /// Each byte has one bit turned, drawn from the seed, and nobody is told.
    BitRot,
}

/// The sectors that so many bytes from a place on are in, in part or whole.
fn sectors_of(at: usize, end: usize) -> Range<usize> {
    if at >= end { 0..0 } else { at / SECTOR..end.div_ceil(SECTOR) }
}

/// Whether what is written from `at` to `end` is all that a sector of a file of `size` bytes has.
fn covers(at: usize, end: usize, sector: usize, size: usize) -> bool {
    let first = sector * SECTOR;
    at <= first && end >= (first + SECTOR).min(size.max(first + 1))
}

impl Content {
    /// Writes bytes, which the next sync brings to the disk.
    ///
    /// # Errors
    /// `EIO`: a part of a bad sector cannot be written, since it would have to be read before.
    pub(super) fn write(&mut self, at: usize, data: &[u8]) -> Result<(), Errno> {
        let end = at.saturating_add(data.len());
        let size = self.now.len();
        let whole = |sector: &usize| covers(at, end, *sector, size);
        if sectors_of(at, end).any(|sector| self.bad.contains(&sector) && !whole(&sector)) {
            return Err(Errno::IO);
        }
        self.bad.retain(|sector| !sectors_of(at, end).contains(sector));
        Self::put(&mut self.now, at, data);
        self.pending.push(Change::Write(at, data.to_vec()));
        Ok(())
    }

    /// Another size, which the next sync brings to the disk.
    pub(super) fn resize(&mut self, size: usize) {
        self.now.resize(size, 0);
        self.bad.retain(|sector| sector * SECTOR < size);
        self.pending.push(Change::Size(size));
    }

    /// How far it can be read from `start` on, at most to `end`.
    ///
    /// # Errors
    /// `EIO`: not one byte.
    pub(super) fn readable(&self, start: usize, end: usize) -> Result<usize, Errno> {
        match sectors_of(start, end).find(|sector| self.bad.contains(sector)) {
            Some(sector) if sector * SECTOR <= start => Err(Errno::IO),
            Some(sector) => Ok(sector * SECTOR),
            None => Ok(end),
        }
    }

    /// Whether what is at a place has been written since the last sync.
    fn is_pending(&self, at: usize) -> bool {
        self.pending.iter().any(|change| match change {
            Change::Write(from, data) => (*from..from + data.len()).contains(&at),
            Change::Size(_) => false,
        })
    }

    /// Puts bytes somewhere, with zeroes up to there.
    fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
        let end = at.saturating_add(data.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if let Some(place) = bytes.get_mut(at..end) {
            place.copy_from_slice(data);
        }
    }

    /// Everything is on the disk.
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.reach(&change);
        }
    }

    fn reach(&mut self, change: &Change) {
        match change {
            Change::Write(at, data) => {
                let (end, size) = (at.saturating_add(data.len()), self.durable.len());
                self.bad_on_disk.retain(|sector| !covers(*at, end, *sector, size));
                Self::put(&mut self.durable, *at, data);
            }
            Change::Size(size) => {
                self.durable.resize(*size, 0);
                self.bad_on_disk.retain(|sector| sector * SECTOR < *size);
            }
        }
    }

    /// A change in pieces that the disk writes as a whole.
    pub(super) fn sectors(change: &Change) -> Vec<Change> {
        let Change::Write(at, data) = change else { return vec![change.clone()] };
        let (mut at, mut rest) = (*at, data.as_slice());
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let len = (SECTOR - at % SECTOR).min(rest.len());
            let (now, later) = rest.split_at(len);
            pieces.push(Change::Write(at, now.to_vec()));
            (at, rest) = (at + len, later);
        }
        pieces
    }
}

impl Tree {
    /// Brings changes of names to the disk: all up to the last one that is about this directory.
    pub(super) fn commit(&mut self, dir: u64) {
        self.commit_first(self.changes_to_commit(dir));
    }

    fn changes_to_commit(&self, dir: u64) -> usize {
        let about = |changes: &Transaction| changes.iter().any(|(of, ..)| *of == dir);
        self.journal.iter().rposition(about).map_or(0, |last| last + 1)
    }

    /// A sync of a directory has failed when so many of the changes up to its last one, as `reached` says of their number,
    /// were written. The others of this directory never are; those of others, which nobody is told of, wait as before.
    fn fail_commit(&mut self, dir: u64, reached: impl FnOnce(usize) -> usize) -> (usize, usize) {
        let count = self.changes_to_commit(dir);
        let reached = reached(count).min(count);
        self.commit_first(reached);
        let own = |changes: &Transaction| changes.iter().all(|(of, ..)| *of == dir);
        let left = self.journal.drain(..count - reached);
        let (lost, waiting): (Vec<_>, Vec<_>) = left.partition(own);
        self.journal.splice(0..0, waiting);
        let named = lost.iter().flatten().filter_map(|(.., to)| *to);
        let named: Vec<u64> = named.collect();
        named.into_iter().for_each(|id| self.release(id));
        (reached, count)
    }

    fn commit_first(&mut self, count: usize) {
        let mut gone = Vec::new();
        for changes in self.journal.drain(..count.min(self.journal.len())) {
            for (dir, name, to) in changes {
                let names = self.durable.entry(dir).or_default();
                gone.extend(match to {
                    Some(to) => names.insert(name, to),
                    None => names.remove(&name),
                });
            }
        }
        gone.into_iter().for_each(|id| self.release(id));
    }

    /// The names are those on the disk; what has none is gone.
    fn restart(&mut self) {
        self.journal.clear();
        let mut reached = vec![ROOT];
        let mut at = 0;
        while let Some(dir) = reached.get(at).copied() {
            at += 1;
            let names = self.durable.get(&dir).cloned().unwrap_or_default();
            for id in names.values() {
                if !reached.contains(id) {
                    reached.push(*id);
                }
            }
        }
        self.inodes.retain(|id, _| reached.contains(id));
        self.durable.retain(|id, _| reached.contains(id));
        self.used = 0;
        let ids: Vec<u64> = self.inodes.keys().copied().collect();
        for id in &ids {
            let names = self.durable.get(id).cloned().unwrap_or_default();
            let Some(inode) = self.inodes.get_mut(id) else { continue };
            (inode.names, inode.opens) = (0, 0);
            match &mut inode.node {
                Node::File(content) => {
                    content.now = content.durable.clone();
                    content.bad = content.bad_on_disk.clone();
                    self.used += super::wide(content.now.len());
                }
                Node::Dir(now) => *now = names,
                Node::Link(_) => {}
            }
        }
        for (dir, names) in &self.durable {
            for id in names.values() {
                if let Some(inode) = self.inodes.get_mut(id) {
                    inode.names += 1;
                    inode.parent = *dir;
                }
            }
        }
        if let Some(root) = self.inodes.get_mut(&ROOT) {
            root.names += 1;
        }
    }
}

impl Kernel {
    /// fsync(2) of a file or a directory.
    pub(super) fn sync(&mut self, fd: RawFd) -> Result<(), Errno> {
        match self.opened(fd)?.kind {
            Kind::Node(id) if self.tree.is_dir(id) => self.tree.commit(id),
            Kind::Node(id) => self.tree.content(id)?.sync(),
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    /// A sync has failed: of what it should have written, some has reached the disk, and the rest never does. What is read
    /// until the power goes is what was written.
    pub(super) fn fail_sync(&mut self, fd: RawFd) {
        let Ok(Opened { kind: Kind::Node(id), .. }) = self.opened(fd) else { return };
        if self.tree.is_dir(id) {
            let (reached, all) = self.tree.fail_commit(id, |all| self.rng.index(all + 1));
            self.note(format_args!("{reached} of {all} changes of names have reached the disk"));
        } else {
            self.tear(id);
        }
    }

    /// Damages bytes of a file on the disk.
    pub(super) fn damage(
        &mut self,
        id: u64,
        range: Range<usize>,
        damage: Damage,
    ) -> Result<(), Errno> {
        let content = self.tree.content(id)?;
        if range.start >= range.end || range.end > content.now.len() {
            return Err(Errno::INVAL);
        }
        match damage {
            Damage::Unreadable => {
                let sectors = sectors_of(range.start, range.end);
                content.bad.extend(sectors.clone());
                content.bad_on_disk.extend(sectors);
            }
            Damage::BitRot => {
                for at in range.clone() {
                    let turned = 1u8 << self.rng.index(8);
                    // What has not reached the disk is in memory, and sound there.
                    let in_memory = content.is_pending(at);
                    let now = content.now.get_mut(at).filter(|_| !in_memory);
                    for byte in now.into_iter().chain(content.durable.get_mut(at)) {
                        *byte ^= turned;
                    }
                }
            }
        }
        self.note(format_args!("file {id}: {damage:?} from {} to {}", range.start, range.end));
        Ok(())
    }

    /// The power goes and comes back.
    pub(super) fn crash(&mut self) {
        self.note(format_args!("the power goes"));
        for (fd, offset, bytes) in self.writes_in_flight() {
            if let Ok(Opened { kind: Kind::Node(id), flags, place, .. }) = self.opened(fd) {
                let at = super::files::place_of_write(&self.tree, id, offset, flags, place);
                let room = self.config.disk_bytes.saturating_sub(at);
                if let Ok(content) = self.tree.content(id)
                    && super::wide(bytes.len()) <= room
                {
                    content.pending.push(Change::Write(super::narrow(at), bytes));
                }
            }
        }
        self.end_all(Errno::IO);
        let files: Vec<u64> = self.tree.inodes.keys().copied().collect();
        for id in files {
            self.tear(id);
        }
        let pending = self.tree.journal.len();
        let reached = self.rng.index(pending + 1);
        self.tree.commit_first(reached);
        self.tree.restart();
        self.open.end_all();
        // What is not on the disk is gone with the power: names of sockets, connections, what is in pipes. No descriptor
        // that is still open leads to any of it.
        self.sockets.clear();
        self.pipes.clear();
        self.forget_faults();
        self.changed = true;
        self.note(format_args!("{reached} of {pending} changes of names have reached the disk"));
    }

    /// Some of what was written since the last sync has reached the disk.
    fn tear(&mut self, id: u64) {
        let Some(Inode { node: Node::File(content), .. }) = self.tree.inodes.get_mut(&id) else {
            return;
        };
        let pending = std::mem::take(&mut content.pending);
        let (mut reached, mut all) = (0, 0);
        for change in pending {
            for piece in Content::sectors(&change) {
                all += 1;
                if self.rng.chance(500) {
                    reached += 1;
                    content.reach(&piece);
                }
            }
        }
        if all > 0 {
            self.note(format_args!("file {id}: {reached} of {all} sectors have reached the disk"));
        }
    }

    /// The names of a directory, for programs that look at the world.
    pub(super) fn list(&self, dir: u64) -> Result<Names, Errno> {
        self.tree.names(dir).cloned()
    }
}
