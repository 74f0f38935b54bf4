//! Opcodes and arguments of `io_uring_register(2)`, and the extended argument of
//! `io_uring_enter(2)`.

use super::layout;

macro_rules! operations {
    ($($name:ident = $value:literal, $since:literal, $text:literal;)*) => {
        /// Opcodes of `io_uring_register(2)` (`IORING_REGISTER_*`, `IORING_UNREGISTER_*`).
        pub mod register_op {
            $(#[doc = concat!($text, " Linux ", $since, ".")]
            pub const $name: u32 = $value;)*

            /// The opcodes in the order of their values.
            pub const NAMES: &[(u32, &str)] = &[$(($name, stringify!($name))),*];

            /// First kernel (major, minor) of each opcode, in the order of [`NAMES`].
            pub const SINCE: &[(u8, u8)] = &[$(super::super::version($since)),*];

            /// Added to an opcode: the descriptor is a registered index. Linux 6.3.
            pub const USE_REGISTERED_RING: u32 = 1 << 31;
        }
    };
}

operations! {
    BUFFERS = 0, "5.1", "Registers memory for fixed reads and writes.";
    UNREGISTER_BUFFERS = 1, "5.1", "Undoes `BUFFERS`.";
    FILES = 2, "5.1", "Registers files.";
    UNREGISTER_FILES = 3, "5.1", "Undoes `FILES`.";
    EVENTFD = 4, "5.2", "Signals an eventfd for each completion.";
    UNREGISTER_EVENTFD = 5, "5.2", "Undoes `EVENTFD`.";
    FILES_UPDATE = 6, "5.5", "Changes registered files.";
    EVENTFD_ASYNC = 7, "5.6", "Signals an eventfd for completions that were not immediate.";
    PROBE = 8, "5.6", "Which opcodes exist.";
    PERSONALITY = 9, "5.6", "Registers the credentials of the caller.";
    UNREGISTER_PERSONALITY = 10, "5.6", "Undoes `PERSONALITY`.";
    RESTRICTIONS = 11, "5.10", "Limits what a disabled ring will accept.";
    ENABLE_RINGS = 12, "5.10", "Enables a ring made with `R_DISABLED`.";
    FILES2 = 13, "5.13", "`FILES` with tags and sparse tables.";
    FILES_UPDATE2 = 14, "5.13", "`FILES_UPDATE` with tags.";
    BUFFERS2 = 15, "5.13", "`BUFFERS` with tags and sparse tables.";
    BUFFERS_UPDATE = 16, "5.13", "Changes registered buffers.";
    IOWQ_AFF = 17, "5.14", "Sets the CPUs of worker threads.";
    UNREGISTER_IOWQ_AFF = 18, "5.14", "Undoes `IOWQ_AFF`.";
    IOWQ_MAX_WORKERS = 19, "5.15", "Reads and sets the number of worker threads.";
    RING_FDS = 20, "5.18", "Gives the calling thread an index for a ring descriptor.";
    UNREGISTER_RING_FDS = 21, "5.18", "Undoes `RING_FDS`.";
    PBUF_RING = 22, "5.19", "Registers a ring of provided buffers.";
    UNREGISTER_PBUF_RING = 23, "5.19", "Undoes `PBUF_RING`.";
    SYNC_CANCEL = 24, "6.0", "Cancels requests and waits for it.";
    FILE_ALLOC_RANGE = 25, "6.0", "The slots from which the kernel may pick.";
    PBUF_STATUS = 26, "6.8", "The head of a ring of provided buffers.";
    NAPI = 27, "6.9", "Busy-polls network queues.";
    UNREGISTER_NAPI = 28, "6.9", "Undoes `NAPI`.";
    CLOCK = 29, "6.12", "The clock of wait time limits.";
    CLONE_BUFFERS = 30, "6.12", "Copies registered buffers from another ring.";
    SEND_MSG_RING = 31, "6.13", "Sends a message to a ring without having one.";
    ZCRX_IFQ = 32, "6.15", "Registers zero-copy receive.";
    RESIZE_RINGS = 33, "6.13", "Changes the sizes of the queues.";
    MEM_REGION = 34, "6.13", "Registers memory for wait arguments.";
    QUERY = 35, "6.18", "Asks what the kernel supports, without a ring.";
    ZCRX_CTRL = 36, "6.19", "Commands to a zero-copy receive instance.";
    BPF_FILTER = 37, "7.0", "Registers a filter program for an opcode.";
}

/// `struct __kernel_timespec`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Timespec {
    /// Seconds.
    pub tv_sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub tv_nsec: i64,
}
layout!(Timespec, size 16, align 8, { tv_sec @ 0, tv_nsec @ 8 });

impl From<core::time::Duration> for Timespec {
    /// A duration beyond the range of the kernel becomes the longest one.
    fn from(duration: core::time::Duration) -> Self {
        Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        }
    }
}

/// `struct io_uring_getevents_arg`: the argument of `io_uring_enter(2)` with `EXT_ARG`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct GetEventsArg {
    /// Address of a signal mask, or 0.
    pub sigmask: u64,
    /// Size of the signal mask in bytes.
    pub sigmask_sz: u32,
    /// Microseconds after which fewer completions than asked are enough. Linux 6.12.
    pub min_wait_usec: u32,
    /// Address of a [`Timespec`], or 0.
    pub ts: u64,
}
layout!(GetEventsArg, size 24, align 8, {
    sigmask @ 0, sigmask_sz @ 8, min_wait_usec @ 12, ts @ 16,
});

/// `struct io_uring_reg_wait`: the same in a registered region (`EXT_ARG_REG`). Linux 6.13.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct RegWait {
    /// Time limit, with [`RegWait::FLAG_TS`].
    pub ts: Timespec,
    /// As in [`GetEventsArg`].
    pub min_wait_usec: u32,
    /// [`RegWait::FLAG_TS`] or 0.
    pub flags: u32,
    /// As in [`GetEventsArg`].
    pub sigmask: u64,
    /// As in [`GetEventsArg`].
    pub sigmask_sz: u32,
    /// Zero.
    pub pad: [u32; 3],
    /// Zero.
    pub pad2: [u64; 2],
}
layout!(RegWait, size 64, align 8, {
    ts @ 0, min_wait_usec @ 16, flags @ 20, sigmask @ 24, sigmask_sz @ 32, pad @ 36, pad2 @ 48,
});

impl RegWait {
    /// `ts` is valid.
    pub const FLAG_TS: u32 = 1;
}

/// `struct io_uring_rsrc_register`: argument of `FILES2` and `BUFFERS2`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct RsrcRegister {
    /// Number of slots.
    pub nr: u32,
    /// [`RsrcRegister::SPARSE`] or 0.
    pub flags: u32,
    /// Zero.
    pub resv2: u64,
    /// Address of the descriptors or of the `iovec`s; 0 when sparse.
    pub data: u64,
    /// Address of one tag (`u64`) for each slot, or 0.
    pub tags: u64,
}
layout!(RsrcRegister, size 32, align 8, { nr @ 0, flags @ 4, resv2 @ 8, data @ 16, tags @ 24 });

impl RsrcRegister {
    /// All slots start empty. Linux 5.19.
    pub const SPARSE: u32 = 1;
}

/// `struct io_uring_rsrc_update`: also the argument of `RING_FDS`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct RsrcUpdate {
    /// First slot; for `RING_FDS` the index, `u32::MAX` to let the kernel pick.
    pub offset: u32,
    /// Zero.
    pub resv: u32,
    /// Address of the new values; for `RING_FDS` the descriptor.
    pub data: u64,
}
layout!(RsrcUpdate, size 16, align 8, { offset @ 0, resv @ 4, data @ 8 });

/// `struct io_uring_rsrc_update2`: argument of `FILES_UPDATE2` and `BUFFERS_UPDATE`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct RsrcUpdate2 {
    /// First slot.
    pub offset: u32,
    /// Zero.
    pub resv: u32,
    /// Address of the new values.
    pub data: u64,
    /// Address of the new tags, or 0.
    pub tags: u64,
    /// Number of slots.
    pub nr: u32,
    /// Zero.
    pub resv2: u32,
}
layout!(RsrcUpdate2, size 32, align 8, {
    offset @ 0, resv @ 4, data @ 8, tags @ 16, nr @ 24, resv2 @ 28,
});

/// `struct io_uring_files_update`: argument of `FILES_UPDATE`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct FilesUpdate {
    /// First slot.
    pub offset: u32,
    /// Zero.
    pub resv: u32,
    /// Address of the descriptors (`i32`).
    pub fds: u64,
}
layout!(FilesUpdate, size 16, align 8, { offset @ 0, resv @ 4, fds @ 8 });

/// A descriptor in an update: leave this slot alone. Linux 5.12.
pub const FILES_SKIP: i32 = -2;

/// `struct io_uring_probe` without its array.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct ProbeHeader {
    /// Highest opcode of the kernel.
    pub last_op: u8,
    /// Number of [`ProbeOp`] that follow.
    pub ops_len: u8,
    /// Zero.
    pub resv: u16,
    /// Zero.
    pub resv2: [u32; 3],
}
layout!(ProbeHeader, size 16, align 4, { last_op @ 0, ops_len @ 1, resv @ 2, resv2 @ 4 });

/// `struct io_uring_probe_op`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct ProbeOp {
    /// The opcode.
    pub op: u8,
    /// Zero.
    pub resv: u8,
    /// [`ProbeOp::SUPPORTED`] or 0.
    pub flags: u16,
    /// Zero.
    pub resv2: u32,
}
layout!(ProbeOp, size 8, align 4, { op @ 0, resv @ 1, flags @ 2, resv2 @ 4 });

impl ProbeOp {
    /// The opcode exists in this kernel.
    pub const SUPPORTED: u16 = 1;
}

/// `struct io_uring_restriction`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Restriction {
    /// A constant of this type.
    pub opcode: u16,
    /// The register opcode, the request opcode, or the flags of a submission entry.
    pub value: u8,
    /// Zero.
    pub resv: u8,
    /// Zero.
    pub resv2: [u32; 3],
}
layout!(Restriction, size 16, align 4, { opcode @ 0, value @ 2, resv @ 3, resv2 @ 4 });

impl Restriction {
    /// Allow an opcode of `io_uring_register(2)`.
    pub const REGISTER_OP: u16 = 0;
    /// Allow a request opcode.
    pub const SQE_OP: u16 = 1;
    /// Allow these flags of a submission entry.
    pub const SQE_FLAGS_ALLOWED: u16 = 2;
    /// Require these flags of every submission entry.
    pub const SQE_FLAGS_REQUIRED: u16 = 3;

    /// A restriction with its reserved fields zero.
    #[must_use]
    pub const fn new(opcode: u16, value: u8) -> Restriction {
        Restriction { opcode, value, resv: 0, resv2: [0; 3] }
    }
}

/// `struct io_uring_task_restriction` without its array: restrictions of the calling task, with
/// descriptor -1. Linux 7.0.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct TaskRestriction {
    /// Zero.
    pub flags: u16,
    /// Number of [`Restriction`] that follow.
    pub nr_res: u16,
    /// Zero.
    pub resv: [u32; 3],
}
layout!(TaskRestriction, size 16, align 4, { flags @ 0, nr_res @ 2, resv @ 4 });

/// `struct io_uring_buf`: one entry of a ring of provided buffers.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Buf {
    /// Address of the buffer.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
    /// Its id, which comes back in the completion.
    pub bid: u16,
    /// In entry 0: the tail of the ring. Else zero.
    pub resv: u16,
}
layout!(Buf, size 16, align 8, { addr @ 0, len @ 8, bid @ 12, resv @ 14 });

/// `struct io_uring_buf_reg`: argument of `PBUF_RING`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct BufReg {
    /// Page-aligned address of the ring; 0 with [`pbuf_ring::MMAP`](super::flags::pbuf_ring::MMAP).
    pub ring_addr: u64,
    /// Number of entries, a power of two up to 32768.
    pub ring_entries: u32,
    /// Buffer group.
    pub bgid: u16,
    /// Bits of [`pbuf_ring`](super::flags::pbuf_ring).
    pub flags: u16,
    /// With `INC`: retire a buffer with fewer bytes left. Linux 7.1.
    pub min_left: u32,
    /// Zero.
    pub resv: [u32; 5],
}
layout!(BufReg, size 40, align 8, {
    ring_addr @ 0, ring_entries @ 8, bgid @ 12, flags @ 14, min_left @ 16, resv @ 20,
});

/// `struct io_uring_buf_status`: argument of `PBUF_STATUS`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct BufStatus {
    /// Buffer group.
    pub buf_group: u32,
    /// Out: index of the next buffer that the kernel will use.
    pub head: u32,
    /// Zero.
    pub resv: [u32; 8],
}
layout!(BufStatus, size 40, align 4, { buf_group @ 0, head @ 4, resv @ 8 });

/// `struct io_uring_sync_cancel_reg`: argument of `SYNC_CANCEL`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct SyncCancelReg {
    /// User data of the request to cancel.
    pub addr: u64,
    /// Descriptor to match, with `FD`.
    pub fd: i32,
    /// Bits of [`cancel`](super::flags::cancel).
    pub flags: u32,
    /// Time limit; [`SyncCancelReg::NO_TIMEOUT`] for none.
    pub timeout: Timespec,
    /// Opcode to match, with `OP`. Linux 6.6.
    pub opcode: u8,
    /// Zero.
    pub pad: [u8; 7],
    /// Zero.
    pub pad2: [u64; 3],
}
layout!(SyncCancelReg, size 64, align 8, {
    addr @ 0, fd @ 8, flags @ 12, timeout @ 16, opcode @ 32, pad @ 33, pad2 @ 40,
});

impl SyncCancelReg {
    /// Wait without a limit.
    pub const NO_TIMEOUT: Timespec = Timespec { tv_sec: -1, tv_nsec: -1 };
}

/// `struct io_uring_file_index_range`: argument of `FILE_ALLOC_RANGE`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct FileIndexRange {
    /// First slot.
    pub off: u32,
    /// Number of slots.
    pub len: u32,
    /// Zero.
    pub resv: u64,
}
layout!(FileIndexRange, size 16, align 8, { off @ 0, len @ 4, resv @ 8 });

/// `struct io_uring_clone_buffers`: argument of `CLONE_BUFFERS`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct CloneBuffers {
    /// Descriptor of the ring to copy from.
    pub src_fd: u32,
    /// Constants of this type.
    pub flags: u32,
    /// First slot to copy. Linux 6.13.
    pub src_off: u32,
    /// First slot to fill. Linux 6.13.
    pub dst_off: u32,
    /// Number of slots; 0 is all. Linux 6.13.
    pub nr: u32,
    /// Zero.
    pub pad: [u32; 3],
}
layout!(CloneBuffers, size 32, align 4, {
    src_fd @ 0, flags @ 4, src_off @ 8, dst_off @ 12, nr @ 16, pad @ 20,
});

impl CloneBuffers {
    /// `src_fd` is a registered index.
    pub const SRC_REGISTERED: u32 = 1;
    /// Replace buffers that are already in the slots.
    pub const DST_REPLACE: u32 = 2;
}

/// `struct io_uring_napi`: argument of `NAPI` and `UNREGISTER_NAPI`; the old settings come back.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct NapiSettings {
    /// Microseconds to busy-poll.
    pub busy_poll_to: u32,
    /// 1: prefer busy-polling to interrupts.
    pub prefer_busy_poll: u8,
    /// Constants of this type. Linux 6.13.
    pub opcode: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Tracking strategy, or the NAPI id. Linux 6.13.
    pub op_param: u32,
    /// Zero.
    pub resv: u32,
}
layout!(NapiSettings, size 16, align 4, {
    busy_poll_to @ 0, prefer_busy_poll @ 4, opcode @ 5, pad @ 6, op_param @ 8, resv @ 12,
});

impl NapiSettings {
    /// `opcode`: register, with a tracking strategy in `op_param`.
    pub const REGISTER: u8 = 0;
    /// `opcode`: add the NAPI id `op_param`.
    pub const STATIC_ADD_ID: u8 = 1;
    /// `opcode`: remove the NAPI id `op_param`.
    pub const STATIC_DEL_ID: u8 = 2;
    /// `op_param`: the kernel finds the ids.
    pub const TRACKING_DYNAMIC: u32 = 0;
    /// `op_param`: only ids that were added.
    pub const TRACKING_STATIC: u32 = 1;
    /// `op_param`: off.
    pub const TRACKING_INACTIVE: u32 = 255;
}

/// `struct io_uring_clock_register`: argument of `CLOCK`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct ClockRegister {
    /// `CLOCK_MONOTONIC` or `CLOCK_BOOTTIME`.
    pub clockid: u32,
    /// Zero.
    pub resv: [u32; 3],
}
layout!(ClockRegister, size 16, align 4, { clockid @ 0, resv @ 4 });

/// `struct io_uring_region_desc`: memory shared with the kernel.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct RegionDesc {
    /// Page-aligned address, with [`RegionDesc::TYPE_USER`]; else 0.
    pub user_addr: u64,
    /// Size in bytes, whole pages.
    pub size: u64,
    /// [`RegionDesc::TYPE_USER`] or 0.
    pub flags: u32,
    /// Zero.
    pub id: u32,
    /// Out: offset of `mmap(2)` for memory of the kernel.
    pub mmap_offset: u64,
    /// Zero.
    pub resv: [u64; 4],
}
layout!(RegionDesc, size 64, align 8, {
    user_addr @ 0, size @ 8, flags @ 16, id @ 20, mmap_offset @ 24, resv @ 32,
});

impl RegionDesc {
    /// The memory is the caller's.
    pub const TYPE_USER: u32 = 1;
}

/// `struct io_uring_mem_region_reg`: argument of `MEM_REGION`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct MemRegionReg {
    /// Address of a [`RegionDesc`].
    pub region_uptr: u64,
    /// [`MemRegionReg::WAIT_ARG`] or 0.
    pub flags: u64,
    /// Zero.
    pub resv: [u64; 2],
}
layout!(MemRegionReg, size 32, align 8, { region_uptr @ 0, flags @ 8, resv @ 16 });

impl MemRegionReg {
    /// The region holds [`RegWait`] structures. Only on a disabled ring.
    pub const WAIT_ARG: u64 = 1;
}

/// `struct io_uring_query_hdr`: argument of `QUERY`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct QueryHeader {
    /// Address of the next header, or 0.
    pub next_entry: u64,
    /// Address of the result.
    pub query_data: u64,
    /// A constant of this type.
    pub query_op: u32,
    /// In: size of the result in bytes. Out: how much the kernel filled.
    pub size: u32,
    /// Out: 0 or a negative error number.
    pub result: i32,
    /// Zero.
    pub resv: [u32; 3],
}
layout!(QueryHeader, size 40, align 8, {
    next_entry @ 0, query_data @ 8, query_op @ 16, size @ 20, result @ 24, resv @ 28,
});

impl QueryHeader {
    /// The result is a [`QueryOpcode`]. Linux 6.18.
    pub const OPCODES: u32 = 0;
    /// The result is a [`QueryZcrx`]. Linux 6.19.
    pub const ZCRX: u32 = 1;
    /// The result is a [`QueryScq`]. Linux 6.19.
    pub const SCQ: u32 = 2;
    /// The result is a [`QueryZcrxEvent`]. Linux 7.3.
    pub const ZCRX_EVENT: u32 = 3;
}

/// `struct io_uring_query_opcode`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOpcode {
    /// Number of request opcodes.
    pub nr_request_opcodes: u32,
    /// Number of register opcodes.
    pub nr_register_opcodes: u32,
    /// Bits of [`feat`](super::flags::feat).
    pub feature_flags: u64,
    /// Bits of [`setup`](super::flags::setup).
    pub ring_setup_flags: u64,
    /// Bits of [`enter`](super::flags::enter).
    pub enter_flags: u64,
    /// Bits of [`sqe_flags`](super::flags::sqe_flags).
    pub sqe_flags: u64,
    /// Number of query opcodes; 0 where the kernel does not say.
    pub nr_query_opcodes: u32,
    /// Zero.
    pub pad: u32,
}
layout!(QueryOpcode, size 48, align 8, {
    nr_request_opcodes @ 0, nr_register_opcodes @ 4, feature_flags @ 8, ring_setup_flags @ 16,
    enter_flags @ 24, sqe_flags @ 32, nr_query_opcodes @ 40, pad @ 44,
});

/// `struct io_uring_query_zcrx`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryZcrx {
    /// Bits of [`zcrx::reg_flags`](super::zcrx::reg_flags).
    pub register_flags: u64,
    /// Bits of [`zcrx::AREA_DMABUF`](super::zcrx::AREA_DMABUF).
    pub area_flags: u64,
    /// Number of [`zcrx::ctrl_op`](super::zcrx::ctrl_op).
    pub nr_ctrl_opcodes: u32,
    /// Bits of [`zcrx::feature`](super::zcrx::feature).
    pub features: u32,
    /// Bytes before the entries of the refill ring.
    pub rq_hdr_size: u32,
    /// Alignment of those bytes.
    pub rq_hdr_alignment: u32,
    /// Zero.
    pub resv2: u64,
}
layout!(QueryZcrx, size 40, align 8, {
    register_flags @ 0, area_flags @ 8, nr_ctrl_opcodes @ 16, features @ 20, rq_hdr_size @ 24,
    rq_hdr_alignment @ 28, resv2 @ 32,
});

/// `struct io_uring_query_scq`: the header of rings in the caller's memory.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryScq {
    /// Size of the header in bytes.
    pub hdr_size: u64,
    /// Its alignment.
    pub hdr_alignment: u64,
}
layout!(QueryScq, size 16, align 8, { hdr_size @ 0, hdr_alignment @ 8 });

/// `struct io_uring_query_zcrx_event`: what zero-copy receives can tell of.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryZcrxEvent {
    /// Events that can be asked for, as bits.
    pub event_flags: u32,
    /// Bytes of the statistics.
    pub stats_size: u32,
    /// Alignment of the statistics in their memory, in bytes.
    pub stats_off_alignment: u32,
    /// Zero.
    pub resv1: u32,
    /// Zero.
    pub resv2: [u64; 4],
}
layout!(QueryZcrxEvent, size 48, align 8, {
    event_flags @ 0, stats_size @ 4, stats_off_alignment @ 8, resv1 @ 12, resv2 @ 16,
});

/// `struct open_how`: argument of `OPENAT2`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// `O_*` of `open(2)`.
    pub flags: u64,
    /// Mode of a new file.
    pub mode: u64,
    /// `RESOLVE_*` of `openat2(2)`.
    pub resolve: u64,
}
layout!(OpenHow, size 24, align 8, { flags @ 0, mode @ 8, resolve @ 16 });

/// `struct io_uring_recvmsg_out`: head of a buffer filled by a multishot `RECVMSG`. Linux 6.0.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RecvMsgOut {
    /// Length of the source address.
    pub namelen: u32,
    /// Length of the control data.
    pub controllen: u32,
    /// Length of the payload, which may be longer than what fitted.
    pub payloadlen: u32,
    /// `msg_flags` of `recvmsg(2)`.
    pub flags: u32,
}
layout!(RecvMsgOut, size 16, align 4, { namelen @ 0, controllen @ 4, payloadlen @ 8, flags @ 12 });

const _: () = assert!(register_op::NAMES.len() == 38 && register_op::BPF_FILTER == 37);

const _: () = {
    let mut rest = register_op::NAMES;
    let mut value = 0;
    while let [(listed, _), tail @ ..] = rest {
        assert!(*listed == value, "register opcodes are listed in order, without a gap");
        value += 1;
        rest = tail;
    }
};
