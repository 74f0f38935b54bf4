//! What is registered with a ring, which entries then name by its number there: the memory of pools, because the user asks
//! for it, and files, because they are used again and again.

mod buffers;
mod files;
mod table;

use std::os::fd::RawFd;

use safer_ring_buf::PoolMemory;
use safer_ring_core::Op;
use safer_ring_sys::{Errno, Sqe};

use crate::backend::{Named, Submission};
use crate::engine::Class;
use buffers::Buffers;
use files::{Files, PLACES, put_place};
pub(super) use table::Table;

/// Both tables of one ring.
pub(super) struct Registered {
    buffers: Buffers,
    pub(super) files: Files,
    /// What a file's place is looked up with on the short way, which is for files alone: where memory is registered as well,
    /// no file is found by it.
    key: u64,
    /// There is nothing, and there will be no file.
    nothing: bool,
}

impl Registered {
    /// Nothing, so far; `files` tells whether there may be any.
    pub(super) fn new(files: bool) -> Self {
        let mut new =
            Self { buffers: Buffers::default(), files: Files::new(files), key: 0, nothing: false };
        new.measure();
        new
    }

    fn measure(&mut self) {
        let memory = self.buffers.is_some();
        self.key = if memory { files::nowhere() } else { self.files.key() };
        self.nothing = !memory && self.files.ring().is_none();
    }

    /// Registers the memory of a pool; nothing happens if it is registered.
    pub(super) fn add(&mut self, table: &Table<'_>, memory: &PoolMemory) -> Result<(), Errno> {
        let added = self.buffers.add(table, memory);
        self.measure();
        added
    }

    /// Undoes that. What is in flight keeps its pages.
    pub(super) fn remove(&mut self, table: &Table<'_>, memory: &PoolMemory) -> Result<(), Errno> {
        let removed = self.buffers.remove(table, memory);
        self.measure();
        removed
    }

    /// What there is, and has been named.
    pub(super) fn named(&self) -> Named {
        Named { buffers: self.buffers.used(), files: self.files.taken().into() }
    }

    /// Lets an entry name what is registered of what it names. It is changed where it lies: nearly all are pushed as they
    /// are. Tells whether its file is to be registered.
    #[inline(always)]
    pub(super) fn name(&mut self, sqe: &mut Sqe, submission: &Submission) -> bool {
        if !matches!(submission.op, Op::Read { .. } | Op::Write { .. }) {
            return false;
        }
        let Some(class) = Class::of(submission) else { return false };
        if let Some(place) = class.place_in(self.key, PLACES) {
            put_place(sqe, place);
            return false;
        }
        !self.nothing && self.name_any(sqe, class, (submission.ptr, submission.fd))
    }

    #[inline(never)]
    fn name_any(
        &mut self,
        sqe: &mut Sqe,
        class: &Class,
        // By value, so that a submission need not be in memory.
        (memory, fd): (*mut u8, RawFd),
    ) -> bool {
        // Of files only: before 5.18 a read of some devices into registered memory never ends.
        if self.buffers.is_some() && class.is_file(fd) {
            self.buffers.name(sqe, memory);
        }
        self.files.name(sqe, class)
    }

    /// The slot where the memory of a read or write is registered, for a kernel that is no kernel: it has no entry to name it in.
    pub(super) fn slot_of(&mut self, submission: &Submission) -> Option<u16> {
        let (Op::Read { offset } | Op::Write { offset }) = submission.op else { return None };
        if !self.buffers.is_some() || submission.poll_first.is_some() {
            return None;
        }
        self.buffers.slot_of(submission.ptr, offset)
    }
}
