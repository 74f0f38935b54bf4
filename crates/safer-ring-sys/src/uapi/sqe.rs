//! Submission queue entries.

use super::layout;

/// A submission entry, `struct io_uring_sqe`: 64 bytes.
#[repr(C, align(8))]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sqe {
    /// A constant of [`opcode`](super::opcode).
    pub opcode: u8,
    /// Bits of [`sqe_flags`](super::flags::sqe_flags).
    pub flags: u8,
    /// I/O priority, or bits of [`recvsend`](super::flags::recvsend) or
    /// [`accept`](super::flags::accept).
    pub ioprio: u16,
    /// Descriptor, or index of a registered file with `FIXED_FILE`.
    pub fd: i32,
    /// File offset in bytes. Also `addr2`, and `cmd_op` in the low half.
    pub off: u64,
    /// Address of a buffer or of an array of `iovec`. Also `splice_off_in`.
    pub addr: u64,
    /// Length in bytes, or number of `iovec`.
    pub len: u32,
    /// The flags of the operation (`rw_flags`, `msg_flags`, `timeout_flags`, ...).
    pub op_flags: u32,
    /// Comes back in the completion.
    pub user_data: u64,
    /// Registered buffer, or buffer group with `BUFFER_SELECT`.
    pub buf_index: u16,
    /// Registered credentials, or 0.
    pub personality: u16,
    /// Slot for a new registered file, plus 1. Also `splice_fd_in`, `addr_len` (low half),
    /// `zcrx_ifq_idx`, `optlen`, `write_stream`.
    pub file_index: u32,
    /// Third address. Also `attr_ptr`, `optval`, and the first half of `cmd`.
    pub addr3: u64,
    /// Zero. Also `attr_type_mask`, and the second half of `cmd`.
    pub pad2: u64,
}

layout!(Sqe, size 64, align 8, {
    opcode @ 0, flags @ 1, ioprio @ 2, fd @ 4, off @ 8, addr @ 16, len @ 24, op_flags @ 28,
    user_data @ 32, buf_index @ 40, personality @ 42, file_index @ 44, addr3 @ 48, pad2 @ 56,
});

/// A submission entry of 128 bytes, for rings with `SQE128` or `SQE_MIXED`.
#[repr(C, align(8))]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Sqe128 {
    /// The first 64 bytes; `addr3` and `pad2` are the first 16 bytes of the command.
    pub sqe: Sqe,
    /// The last 64 bytes of the command.
    pub cmd: [u8; 64],
}

layout!(Sqe128, size 128, align 8, { sqe @ 0, cmd @ 64 });

impl Default for Sqe128 {
    fn default() -> Self {
        Sqe128 { sqe: Sqe::default(), cmd: [0; 64] }
    }
}

impl Sqe128 {
    /// Sets the 80 bytes of command data of `URING_CMD`, which begin inside the first half.
    pub fn set_command(&mut self, command: &[u8; 80]) {
        let (first, rest) = command.split_at(8);
        let (second, rest) = rest.split_at(8);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        self.sqe.addr3 = word(first);
        self.sqe.pad2 = word(second);
        self.cmd.copy_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_spans_both_halves() {
        let mut command = [0_u8; 80];
        for (at, byte) in (0_u8..).zip(command.iter_mut()) {
            *byte = at;
        }
        let mut entry = Sqe128::default();
        entry.set_command(&command);
        assert_eq!(entry.sqe.addr3.to_ne_bytes(), command[..8]);
        assert_eq!(entry.sqe.pad2.to_ne_bytes(), command[8..16]);
        assert_eq!(entry.cmd, command[16..]);
    }
}
