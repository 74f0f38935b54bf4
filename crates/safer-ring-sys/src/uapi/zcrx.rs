//! Zero-copy receive. Linux 6.15; the parts that are newer say so.

use super::layout;
use super::register::QueryZcrx;

/// Position of the area id in [`Rqe::off`] and [`Cqe::off`].
pub const AREA_SHIFT: u32 = 48;
/// The bits of the area id.
pub const AREA_MASK: u64 = !((1 << AREA_SHIFT) - 1);
/// Flag of [`AreaReg`]: the area is the dma-buf `dmabuf_fd`. Linux 6.16.
pub const AREA_DMABUF: u32 = 1;

/// Flags of [`IfqReg`].
pub mod reg_flags {
    /// Import the instance whose exported descriptor is in `if_idx`. Linux 6.19.
    pub const IMPORT: u32 = 1;
    /// No device: data is copied, and the refill ring must be flushed. Linux 7.1.
    pub const NODEV: u32 = 2;
}

/// Bits of [`QueryZcrx::features`].
pub mod feature {
    /// `rx_buf_len` may be asked for. Linux 7.0.
    pub const RX_PAGE_SIZE: u32 = 1;
    /// Events and statistics. Linux 7.2.
    pub const EVENT: u32 = 2;
}

/// Commands of [`Ctrl`]. Linux 6.19 unless stated.
pub mod ctrl_op {
    /// Consume the refill ring now.
    pub const FLUSH_RQ: u32 = 0;
    /// Make a descriptor for other rings.
    pub const EXPORT: u32 = 1;
    /// Report an event again. Linux 7.2.
    pub const ARM_EVENT: u32 = 2;
    /// Add an area. Linux 7.3.
    pub const ADD_AREA: u32 = 3;
}

/// Event types, the `res` of an event completion. Linux 7.2.
pub mod event {
    /// No buffer was free.
    pub const ALLOC_FAIL: u32 = 0;
    /// Data was copied.
    pub const COPY: u32 = 1;
}

/// `struct io_uring_zcrx_rqe`: a buffer given back.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Rqe {
    /// Area token and offset in the area.
    pub off: u64,
    /// Length in bytes.
    pub len: u32,
    /// Zero.
    pub pad: u32,
}
layout!(Rqe, size 16, align 8, { off @ 0, len @ 8, pad @ 12 });

/// `struct io_uring_zcrx_cqe`: the second half of the completion.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Cqe {
    /// Area id and offset in the area.
    pub off: u64,
    /// Zero.
    pub pad: u64,
}
layout!(Cqe, size 16, align 8, { off @ 0, pad @ 8 });

/// `struct io_uring_zcrx_offsets`: where the parts of the refill ring are.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Head, moved by the kernel.
    pub head: u32,
    /// Tail, moved by the program.
    pub tail: u32,
    /// The entries.
    pub rqes: u32,
    /// Zero.
    pub resv2: u32,
    /// Zero.
    pub resv: [u64; 2],
}
layout!(Offsets, size 32, align 8, { head @ 0, tail @ 4, rqes @ 8, resv2 @ 12, resv @ 16 });

/// `struct io_uring_zcrx_area_reg`: memory to receive into.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct AreaReg {
    /// Page-aligned address.
    pub addr: u64,
    /// Length in bytes, whole pages.
    pub len: u64,
    /// Out: token for [`Rqe::off`].
    pub rq_area_token: u64,
    /// [`AREA_DMABUF`] or 0.
    pub flags: u32,
    /// Descriptor of the dma-buf.
    pub dmabuf_fd: u32,
    /// Zero.
    pub resv2: [u64; 2],
}
layout!(AreaReg, size 48, align 8, {
    addr @ 0, len @ 8, rq_area_token @ 16, flags @ 24, dmabuf_fd @ 28, resv2 @ 32,
});

/// `struct io_uring_zcrx_ifq_reg`: argument of `ZCRX_IFQ`. The kernel writes to it.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct IfqReg {
    /// Index of the network interface; with `IMPORT` the exported descriptor.
    pub if_idx: u32,
    /// Receive queue of the interface.
    pub if_rxq: u32,
    /// Entries of the refill ring, rounded up by the kernel to a power of two.
    pub rq_entries: u32,
    /// Bits of [`reg_flags`].
    pub flags: u32,
    /// Address of an [`AreaReg`].
    pub area_ptr: u64,
    /// Address of a [`RegionDesc`](super::register::RegionDesc).
    pub region_ptr: u64,
    /// Out.
    pub offsets: Offsets,
    /// Out: id of this instance in the ring.
    pub zcrx_id: u32,
    /// Bytes of one buffer. Linux 7.0.
    pub rx_buf_len: u32,
    /// Address of an [`EventDesc`], or 0. Linux 7.2.
    pub event_desc: u64,
    /// Zero.
    pub resv: [u64; 2],
}
layout!(IfqReg, size 96, align 8, {
    if_idx @ 0, if_rxq @ 4, rq_entries @ 8, flags @ 12, area_ptr @ 16, region_ptr @ 24,
    offsets @ 32, zcrx_id @ 64, rx_buf_len @ 68, event_desc @ 72, resv @ 80,
});

/// `struct zcrx_ctrl`: argument of `ZCRX_CTRL`, with an argument count of 0. The kernel writes to it.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct Ctrl {
    /// Id of the instance.
    pub zcrx_id: u32,
    /// A constant of [`ctrl_op`].
    pub op: u32,
    /// Zero.
    pub resv: [u64; 2],
    /// `EXPORT`: the descriptor (out) in the first four bytes; `ARM_EVENT`: the event type in the
    /// first four bytes; `ADD_AREA`: the address of an [`AreaReg`].
    pub arg: u64,
    /// Zero.
    pub arg_rest: [u64; 5],
}
layout!(Ctrl, size 72, align 8, { zcrx_id @ 0, op @ 4, resv @ 8, arg @ 24, arg_rest @ 32 });

impl Ctrl {
    /// Sets the first four bytes of the argument.
    pub fn set_arg32(&mut self, value: u32) {
        let [a, b, c, d] = value.to_ne_bytes();
        self.arg = u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]);
    }

    /// The first four bytes of the argument.
    #[must_use]
    pub fn arg32(&self) -> u32 {
        let [a, b, c, d, ..] = self.arg.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// `struct zcrx_event_desc`. Linux 7.2.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct EventDesc {
    /// User data of event completions.
    pub user_data: u64,
    /// One bit for each of [`event`].
    pub type_mask: u32,
    /// [`EventDesc::STATS`] or 0.
    pub flags: u32,
    /// Offset of a [`Stats`] in the region of the refill ring.
    pub stats_offset: u64,
    /// Zero.
    pub resv2: [u64; 9],
}
layout!(EventDesc, size 96, align 8, {
    user_data @ 0, type_mask @ 8, flags @ 12, stats_offset @ 16, resv2 @ 24,
});

impl EventDesc {
    /// `stats_offset` is valid.
    pub const STATS: u32 = 1;
}

/// `struct zcrx_stats`: cumulative. Linux 7.2.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Completions whose data was copied.
    pub copy_count: u64,
    /// Bytes copied.
    pub copy_bytes: u64,
}
layout!(Stats, size 16, align 8, { copy_count @ 0, copy_bytes @ 8 });

impl QueryZcrx {
    /// Whether a command of [`ctrl_op`] exists.
    #[must_use]
    pub fn has_ctrl_op(&self, op: u32) -> bool {
        op < self.nr_ctrl_opcodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_argument_is_in_the_first_bytes() {
        let mut ctrl = Ctrl::default();
        ctrl.set_arg32(0xfeed_beef);
        assert_eq!(ctrl.arg32(), 0xfeed_beef);
        assert_eq!(ctrl.arg.to_ne_bytes()[..4], 0xfeed_beef_u32.to_ne_bytes());
    }
}
