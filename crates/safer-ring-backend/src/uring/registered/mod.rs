//! What is registered with a ring, which entries then name by its number there: the memory of pools, because the user asks
//! for it, and files, because they are used again and again.

mod buffers;
mod files;

use safer_ring_core::Op;
use safer_ring_sys::Sqe;

use crate::backend::Submission;
use buffers::Buffers;
use files::Files;

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
}
