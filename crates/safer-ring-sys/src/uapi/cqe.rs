//! Completion queue entries.

use super::flags::{CQE_BUFFER_SHIFT, cqe_flags};
use super::layout;

/// A completion, `struct io_uring_cqe`: 16 bytes.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Cqe {
    /// `user_data` of the submission.
    pub user_data: u64,
    /// Result, or a negative error number; see [`Errno::from_result`](crate::Errno::from_result).
    pub res: i32,
    /// Bits of [`cqe_flags`].
    pub flags: u32,
}

layout!(Cqe, size 16, align 8, { user_data @ 0, res @ 8, flags @ 12 });

impl Cqe {
    /// Whether the request will complete again (`F_MORE`).
    #[inline]
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.flags & cqe_flags::MORE != 0
    }

    /// The provided buffer that was used, if one was.
    #[inline]
    #[must_use]
    pub fn buffer_id(&self) -> Option<u16> {
        let id = self.flags >> CQE_BUFFER_SHIFT;
        (self.flags & cqe_flags::BUFFER != 0).then(|| u16::try_from(id).unwrap_or(u16::MAX))
    }
}

/// A completion of 32 bytes, for rings with `CQE32` or `CQE_MIXED`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Cqe32 {
    /// The first half.
    pub cqe: Cqe,
    /// Data of the operation.
    pub big: [u64; 2],
}

layout!(Cqe32, size 32, align 8, { cqe @ 0, big @ 16 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_completion() {
        let cqe = Cqe { flags: 0xabcd_0003, ..Cqe::default() };
        assert!(cqe.has_more());
        assert_eq!(cqe.buffer_id(), Some(0xabcd));
        let cqe = Cqe { flags: 0xabcd_0000, ..Cqe::default() };
        assert!(!cqe.has_more());
        assert_eq!(cqe.buffer_id(), None);
    }
}
