//! What is registered with a ring, which entries then name by its number there: the memory of pools, because the user asks
//! for it, and files, because they are used again and again.

mod buffers;
mod files;
mod table;

use safer_ring_core::Op;
use safer_ring_sys::Sqe;

use crate::backend::Submission;
use buffers::Buffers;
use files::Files;
pub(super) use table::Table;

/// Both tables of one ring.
pub(super) struct Registered {
    pub(super) buffers: Buffers,
    pub(super) files: Files,
}

impl Registered {
    /// Nothing, so far; `files` tells whether there may be any.
    pub(super) fn new(files: bool) -> Self {
        Self { buffers: Buffers::default(), files: Files::new(files) }
    }

    /// Lets an entry name what is registered of what it names. It is changed where it lies: nearly all are pushed as they
    /// are. Tells whether its file is to be registered.
    #[inline(always)]
    pub(super) fn name(&mut self, sqe: &mut Sqe, submission: &Submission) -> bool {
        if !matches!(submission.op, Op::Read { .. } | Op::Write { .. }) {
            return false;
        }
        if self.buffers.is_some() {
            self.buffers.name(sqe, submission.ptr);
        }
        self.files.name(sqe, submission)
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
