//! A file system in memory: inodes, names, and the journal of what has not reached the disk.

use std::collections::{BTreeMap, BTreeSet};

use safer_ring_sys::Errno;

/// Directories by name.
pub(super) type Names = BTreeMap<Vec<u8>, u64>;

/// The root directory.
pub(super) const ROOT: u64 = 1;

/// What an inode is.
#[derive(Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Names),
    Link(Vec<u8>),
}

/// One inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    /// Permission bits.
    pub(super) mode: u32,
    /// Names, in directories.
    pub(super) names: u32,
    /// Open descriptors.
    pub(super) opens: u32,
    /// Times in nanoseconds of the world's clock: made, content changed, anything changed.
    pub(super) born: u64,
    pub(super) modified: u64,
    pub(super) changed: u64,
    /// The directory above, of a directory.
    pub(super) parent: u64,
}

/// A file's bytes, now and on the disk.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pub(super) pending: Vec<Change>,
    /// Sectors that cannot be read until they are written: as reads find it, and on the disk.
    pub(super) bad: BTreeSet<usize>,
    pub(super) bad_on_disk: BTreeSet<usize>,
}

/// A change of a file that a sync makes durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

/// A change of names that happens as a whole: directory, name, what it names then.
pub(super) type Transaction = Vec<(u64, Vec<u8>, Option<u64>)>;

/// The file system.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: BTreeMap<u64, Inode>,
    /// Names on the disk.
    pub(super) durable: BTreeMap<u64, Names>,
    /// Changes of names that have not reached the disk, in order.
    pub(super) journal: Vec<Transaction>,
    /// Bytes in files.
    pub(super) used: u64,
    next: u64,
}

impl Tree {
    /// `/` and `/tmp`.
    pub(super) fn new() -> Self {
        let mut tree = Self {
            inodes: BTreeMap::new(),
            durable: BTreeMap::new(),
            journal: Vec::new(),
            used: 0,
            next: ROOT,
        };
        let root = tree.make(Node::Dir(Names::new()), 0o755, 0);
        let temporary = tree.make(Node::Dir(Names::new()), 0o1777, 0);
        for (inode, names) in [(root, 2), (temporary, 1)] {
            if let Some(inode) = tree.inodes.get_mut(&inode) {
                (inode.names, inode.parent) = (names, root);
            }
        }
        tree.name(vec![(root, b"tmp".to_vec(), Some(temporary))]);
        tree.commit(root);
        tree
    }

    /// A new inode without a name.
    pub(super) fn make(&mut self, node: Node, mode: u32, now: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        let inode = Inode {
            node,
            mode,
            names: 0,
            opens: 0,
            born: now,
            modified: now,
            changed: now,
            parent: ROOT,
        };
        self.inodes.insert(id, inode);
        id
    }

    pub(super) fn names(&self, dir: u64) -> Result<&Names, Errno> {
        match self.inodes.get(&dir).map(|inode| &inode.node) {
            Some(Node::Dir(names)) => Ok(names),
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    pub(super) fn is_dir(&self, id: u64) -> bool {
        self.inodes.get(&id).is_some_and(|inode| matches!(inode.node, Node::Dir(_)))
    }

    pub(super) fn content(&mut self, id: u64) -> Result<&mut Content, Errno> {
        match self.inodes.get_mut(&id).map(|inode| &mut inode.node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    /// Changes names, now and in the journal. What loses its last name and is not open is gone.
    pub(super) fn name(&mut self, changes: Transaction) {
        let mut gone = Vec::new();
        for (dir, name, to) in &changes {
            let Some(Inode { node: Node::Dir(names), .. }) = self.inodes.get_mut(dir) else {
                continue;
            };
            let before = match to {
                Some(to) => names.insert(name.clone(), *to),
                None => names.remove(name),
            };
            if let Some(inode) = to.and_then(|to| self.inodes.get_mut(&to)) {
                inode.names += 1;
                if matches!(inode.node, Node::Dir(_)) {
                    inode.parent = *dir;
                }
            }
            if let Some(before) = before {
                if let Some(inode) = self.inodes.get_mut(&before) {
                    inode.names = inode.names.saturating_sub(1);
                }
                gone.push(before);
            }
        }
        self.journal.push(changes);
        gone.into_iter().for_each(|id| self.release(id));
    }

    /// Forgets an inode without names and users. Its bytes stay where the disk still names it.
    pub(super) fn release(&mut self, id: u64) {
        let unused = self.inodes.get(&id).is_some_and(|inode| (inode.names, inode.opens) == (0, 0));
        if unused
            && id != ROOT
            && !self.is_named_on_disk(id)
            && let Some(Inode { node: Node::File(content), .. }) = self.inodes.remove(&id)
        {
            self.used = self.used.saturating_sub(super::wide(content.now.len()));
        }
    }

    fn is_named_on_disk(&self, id: u64) -> bool {
        let durable = self.durable.values().any(|names| names.values().any(|named| *named == id));
        let named = |change: &(u64, Vec<u8>, Option<u64>)| change.2 == Some(id);
        durable || self.journal.iter().any(|changes| changes.iter().any(named))
    }
}
