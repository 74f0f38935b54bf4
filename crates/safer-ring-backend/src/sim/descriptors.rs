//! Descriptors: numbers, and the open files behind them, of which several numbers may share one: dup(2).

use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::files::{Kind, O_APPEND};
use super::kernel::{Kernel, On};
use super::number::{self, Known};

/// What a descriptor leads to: an open file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) kind: Kind,
    /// `O_*`.
    pub(super) flags: u32,
    /// The cursor.
    pub(super) place: u64,
    /// What it led to is gone with the power.
    pub(super) dead: bool,
}

/// An open file, and how many numbers lead to it.
#[derive(Debug)]
struct Described {
    opened: Opened,
    numbers: usize,
}

/// The descriptors of a world.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By number, the place of the open file.
    numbers: Vec<Option<usize>>,
    files: Vec<Option<Described>>,
}

/// The first free place of a table.
fn free<T>(table: &[Option<T>]) -> usize {
    table.iter().position(Option::is_none).unwrap_or(table.len())
}

fn put<T>(table: &mut Vec<Option<T>>, at: usize, value: T) {
    match table.get_mut(at) {
        Some(place) => *place = Some(value),
        None => table.push(Some(value)),
    }
}

impl Table {
    fn described(&self, fd: RawFd) -> Result<(usize, &Described), Errno> {
        let place = number::place_of(fd).and_then(|place| self.numbers.get(place).copied());
        let at = place.flatten().ok_or(Errno::BADF)?;
        let described = self.files.get(at).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        Ok((at, described))
    }

    fn get(&self, fd: RawFd) -> Result<Opened, Errno> {
        self.described(fd).map(|(_, described)| described.opened)
    }

    fn get_mut(&mut self, fd: RawFd) -> Result<&mut Opened, Errno> {
        let (at, _) = self.described(fd)?;
        let described = self.files.get_mut(at).and_then(Option::as_mut).ok_or(Errno::BADF)?;
        Ok(&mut described.opened)
    }

    fn count(&self) -> usize {
        self.numbers.iter().flatten().count()
    }

    /// A number for something that was opened.
    fn add(&mut self, opened: Opened) -> usize {
        let file = free(&self.files);
        put(&mut self.files, file, Described { opened, numbers: 1 });
        let place = free(&self.numbers);
        put(&mut self.numbers, place, file);
        place
    }

    /// Another number for what `fd` leads to.
    fn share(&mut self, fd: RawFd) -> Result<usize, Errno> {
        let (at, _) = self.described(fd)?;
        if let Some(Some(described)) = self.files.get_mut(at) {
            described.numbers += 1;
        }
        let place = free(&self.numbers);
        put(&mut self.numbers, place, at);
        Ok(place)
    }

    /// Frees a number; gives what it led to, if it was the last.
    fn remove(&mut self, fd: RawFd) -> Result<Option<Opened>, Errno> {
        let (at, _) = self.described(fd)?;
        if let Some(place) = number::place_of(fd).and_then(|place| self.numbers.get_mut(place)) {
            *place = None;
        }
        let Some(file) = self.files.get_mut(at) else { return Ok(None) };
        match file {
            Some(described) if described.numbers > 1 => {
                described.numbers -= 1;
                Ok(None)
            }
            _ => Ok(file.take().map(|described| described.opened)),
        }
    }

    /// Nothing that is open leads anywhere any more.
    pub(super) fn end_all(&mut self) {
        for described in self.files.iter_mut().flatten() {
            described.opened.dead = true;
        }
    }
}

impl Kernel {
    /// The open file of this number.
    pub(super) fn opened(&self, fd: RawFd) -> Result<Opened, Errno> {
        let open = self.open.get(fd)?;
        if open.dead { Err(Errno::IO) } else { Ok(open) }
    }

    pub(super) fn known(&self, fd: RawFd) -> Option<Known> {
        let open = self.opened(fd).ok()?;
        let messages = match open.kind {
            Kind::Socket(id) => self.is_message_socket(id),
            _ => false,
        };
        Some(Known { appends: open.flags & O_APPEND != 0, messages })
    }

    pub(super) fn descriptors(&self) -> usize {
        self.open.count()
    }

    /// Whether one more number can be had.
    fn has_room(&self) -> Result<(), Errno> {
        let most = self.config.descriptors.min(number::MOST);
        if self.open.count() < most { Ok(()) } else { Err(Errno::MFILE) }
    }

    /// The lowest free number for something that was opened.
    pub(super) fn install(&mut self, kind: Kind, flags: u32) -> Result<RawFd, Errno> {
        self.has_room()?;
        let place = self.open.add(Opened { kind, flags, place: 0, dead: false });
        if let Kind::Node(id) = kind
            && let Some(inode) = self.tree.inodes.get_mut(&id)
        {
            inode.opens += 1;
        }
        Ok(number::number(self.place, place))
    }

    /// dup(2): the lowest free number, for the same open file.
    pub(super) fn duplicate(&mut self, fd: RawFd) -> Result<RawFd, Errno> {
        self.opened(fd)?;
        self.has_room()?;
        let place = self.open.share(fd)?;
        Ok(number::number(self.place, place))
    }

    /// close(2).
    pub(super) fn close(&mut self, fd: RawFd) -> Result<(), Errno> {
        let last = self.open.remove(fd)?;
        self.changed = true;
        let Some(open) = last.filter(|open| !open.dead) else { return Ok(()) };
        match open.kind {
            Kind::Node(id) => {
                if let Some(inode) = self.tree.inodes.get_mut(&id) {
                    inode.opens = inode.opens.saturating_sub(1);
                }
                self.tree.release(id);
            }
            Kind::PipeReader(id) => self.close_pipe(id, false),
            Kind::PipeWriter(id) => self.close_pipe(id, true),
            Kind::Socket(id) => self.close_socket(id),
        }
        Ok(())
    }

    /// The last handle on a descriptor was dropped.
    pub(super) fn close_dropped(&mut self, fd: RawFd) {
        self.note(format_args!("closed{}", On(fd)));
        if self.close(fd).is_err() {
            self.find(format!("the library closed{} twice", On(fd)));
        }
    }

    pub(super) fn move_cursor(&mut self, fd: RawFd, to: u64) {
        if let Ok(open) = self.open.get_mut(fd) {
            open.place = to;
        }
    }
}
