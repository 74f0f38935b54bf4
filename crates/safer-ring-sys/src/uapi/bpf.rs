//! Filter programs for requests (`BPF_FILTER`). Linux 7.0.

use super::layout;

/// `cmd_type` of [`BpfFilter`]: a filter.
pub const CMD_FILTER: u16 = 1;

/// `struct io_uring_bpf` with a filter: argument of `BPF_FILTER`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct BpfFilter {
    /// [`CMD_FILTER`].
    pub cmd_type: u16,
    /// Zero.
    pub cmd_flags: u16,
    /// Zero.
    pub resv: u32,
    /// The request opcode to filter.
    pub opcode: u32,
    /// Constants of this type.
    pub flags: u32,
    /// Number of instructions.
    pub filter_len: u32,
    /// Expected size of the operation's data in [`BpfContext`].
    pub pdu_size: u8,
    /// Zero.
    pub resv1: [u8; 3],
    /// Address of the program, an array of `struct sock_filter`. A result of 0 denies the request.
    pub filter_ptr: u64,
    /// Zero.
    pub resv2: [u64; 5],
}
layout!(BpfFilter, size 72, align 8, {
    cmd_type @ 0, cmd_flags @ 2, resv @ 4, opcode @ 8, flags @ 12, filter_len @ 16, pdu_size @ 20,
    resv1 @ 21, filter_ptr @ 24, resv2 @ 32,
});

impl BpfFilter {
    /// Deny every opcode that has no filter.
    pub const DENY_REST: u32 = 1;
    /// Refuse the filter if the kernel's data has another size than `pdu_size`.
    pub const SZ_STRICT: u32 = 2;
}

/// `struct io_uring_bpf_ctx`: what a filter reads.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfContext {
    /// User data of the submission.
    pub user_data: u64,
    /// Its opcode.
    pub opcode: u8,
    /// Its flags.
    pub sqe_flags: u8,
    /// Size of the operation's data.
    pub pdu_size: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// The operation's data: family, type and protocol (three `u32`) of `SOCKET`; flags, mode and
    /// resolve (three `u64`) of `OPENAT` and `OPENAT2`.
    pub data: [u64; 3],
}
layout!(BpfContext, size 40, align 8, {
    user_data @ 0, opcode @ 8, sqe_flags @ 9, pdu_size @ 10, pad @ 11, data @ 16,
});
