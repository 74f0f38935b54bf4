//! The argument of `io_uring_setup(2)`.

use super::layout;

/// Where the parts of the SQ ring are, in bytes from the start of its mapping.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SqOffsets {
    /// Index of the first entry that the kernel has not consumed.
    pub head: u32,
    /// Index after the last published entry.
    pub tail: u32,
    /// Number of entries minus 1.
    pub ring_mask: u32,
    /// Number of entries.
    pub ring_entries: u32,
    /// Bits of [`sq_ring`](super::flags::sq_ring).
    pub flags: u32,
    /// Number of entries with an invalid index.
    pub dropped: u32,
    /// Array of entry indices; 0 with `NO_SQARRAY`.
    pub array: u32,
    /// Reserved.
    pub resv1: u32,
    /// With `NO_MMAP`: the caller's memory for the entries.
    pub user_addr: u64,
}

layout!(SqOffsets, size 40, align 8, {
    head @ 0, tail @ 4, ring_mask @ 8, ring_entries @ 12, flags @ 16, dropped @ 20, array @ 24,
    resv1 @ 28, user_addr @ 32,
});

/// Where the parts of the CQ ring are, in bytes from the start of its mapping.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CqOffsets {
    /// Index of the first entry that the program has not consumed.
    pub head: u32,
    /// Index after the last entry.
    pub tail: u32,
    /// Number of entries minus 1.
    pub ring_mask: u32,
    /// Number of entries.
    pub ring_entries: u32,
    /// Number of completions that did not fit.
    pub overflow: u32,
    /// The entries.
    pub cqes: u32,
    /// Bits of [`cq_ring`](super::flags::cq_ring); 0 before Linux 5.8.
    pub flags: u32,
    /// Reserved.
    pub resv1: u32,
    /// With `NO_MMAP`: the caller's memory for the rings.
    pub user_addr: u64,
}

layout!(CqOffsets, size 40, align 8, {
    head @ 0, tail @ 4, ring_mask @ 8, ring_entries @ 12, overflow @ 16, cqes @ 20, flags @ 24,
    resv1 @ 28, user_addr @ 32,
});

/// `struct io_uring_params`: what is asked of `io_uring_setup(2)`, and what it answers.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Out: entries of the SQ, a power of two.
    pub sq_entries: u32,
    /// Out: entries of the CQ, a power of two. In, with `CQSIZE`: how many are wanted.
    pub cq_entries: u32,
    /// Bits of [`setup`](super::flags::setup).
    pub flags: u32,
    /// CPU of the SQ thread, with `SQ_AFF`.
    pub sq_thread_cpu: u32,
    /// Milliseconds without work after which the SQ thread sleeps.
    pub sq_thread_idle: u32,
    /// Out: bits of [`feat`](super::flags::feat).
    pub features: u32,
    /// Descriptor of another ring, with `ATTACH_WQ`.
    pub wq_fd: u32,
    /// Reserved.
    pub resv: [u32; 3],
    /// Out.
    pub sq_off: SqOffsets,
    /// Out.
    pub cq_off: CqOffsets,
}

layout!(Params, size 120, align 8, {
    sq_entries @ 0, cq_entries @ 4, flags @ 8, sq_thread_cpu @ 12, sq_thread_idle @ 16,
    features @ 20, wq_fd @ 24, resv @ 28, sq_off @ 40, cq_off @ 80,
});
