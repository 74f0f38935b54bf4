//! Flag words, one module per word, each flag with the first kernel that knows it.

macro_rules! flags {
    ($(#[doc = $doc:literal])* $module:ident: $word:ty {
        $($name:ident = $bit:literal, $since:literal, $text:literal;)*
    }) => {
        $(#[doc = $doc])*
        pub mod $module {
            $(#[doc = concat!($text, " Linux ", $since, ".")]
            pub const $name: $word = 1 << $bit;)*

            /// Every flag of this word with its name.
            pub const NAMES: &[($word, &str)] = &[$(($name, stringify!($name))),*];

            /// First kernel (major, minor) of each flag, in the order of [`NAMES`].
            pub const SINCE: &[(u8, u8)] = &[$(super::super::version($since)),*];
        }
    };
}

flags! {
    /// Flags of `io_uring_setup(2)` (`IORING_SETUP_*`).
    setup: u32 {
        IOPOLL = 0, "5.1", "Busy-wait for completions of the device.";
        SQPOLL = 1, "5.1", "A kernel thread takes submissions.";
        SQ_AFF = 2, "5.1", "`sq_thread_cpu` is valid.";
        CQSIZE = 3, "5.5", "`cq_entries` is valid.";
        CLAMP = 4, "5.6", "Lower sizes that are too large instead of failing.";
        ATTACH_WQ = 5, "5.6", "Share the worker threads of the ring `wq_fd`.";
        R_DISABLED = 6, "5.10", "Start disabled, so that restrictions can be registered.";
        SUBMIT_ALL = 7, "5.18", "Go on with a batch after a request that was refused.";
        COOP_TASKRUN = 8, "5.19", "No interrupt for completions: the task enters the kernel anyway.";
        TASKRUN_FLAG = 9, "5.19", "Show waiting task work in the SQ flags.";
        SQE128 = 10, "5.19", "Submission entries of 128 bytes.";
        CQE32 = 11, "5.19", "Completion entries of 32 bytes.";
        SINGLE_ISSUER = 12, "6.0", "Only one thread submits.";
        DEFER_TASKRUN = 13, "6.1", "Completions appear only when the owner asks for events.";
        NO_MMAP = 14, "6.5", "The caller provides the memory of the rings.";
        REGISTERED_FD_ONLY = 15, "6.5", "The ring has a registered index instead of a descriptor.";
        NO_SQARRAY = 16, "6.6", "No array of indices between the SQ and its entries.";
        HYBRID_IOPOLL = 17, "6.13", "Sleep for a while before busy-waiting for the device.";
        CQE_MIXED = 18, "6.18", "Completions of 16 and 32 bytes in one queue.";
        SQE_MIXED = 19, "6.19", "Submissions of 64 and 128 bytes in one queue.";
        SQ_REWIND = 20, "7.0", "Each batch starts at entry 0; head and tail are unused.";
    }
}

flags! {
    /// Features reported by `io_uring_setup(2)` (`IORING_FEAT_*`).
    feat: u32 {
        SINGLE_MMAP = 0, "5.4", "SQ and CQ rings share one mapping.";
        NODROP = 1, "5.5", "Completions that do not fit wait in the kernel.";
        SUBMIT_STABLE = 2, "5.5", "Arguments that are only read are copied at submission.";
        RW_CUR_POS = 3, "5.6", "Offset -1 means the file position.";
        CUR_PERSONALITY = 4, "5.6", "Requests carry the credentials of the submitter.";
        FAST_POLL = 5, "5.7", "Sockets and pipes wait without a worker thread.";
        POLL_32BITS = 6, "5.9", "Poll events of 32 bits.";
        SQPOLL_NONFIXED = 7, "5.11", "`SQPOLL` works with plain descriptors.";
        EXT_ARG = 8, "5.11", "`io_uring_enter(2)` takes a time limit.";
        NATIVE_WORKERS = 9, "5.12", "Worker threads are threads of the process.";
        RSRC_TAGS = 10, "5.13", "Registered resources carry tags.";
        CQE_SKIP = 11, "5.17", "A success can be left without a completion.";
        LINKED_FILE = 12, "5.17", "A linked request resolves its file when it runs.";
        REG_REG_RING = 13, "6.3", "`io_uring_register(2)` accepts a registered ring index.";
        RECVSEND_BUNDLE = 14, "6.10", "Sends and receives over several provided buffers.";
        MIN_TIMEOUT = 15, "6.12", "A minimum wait before fewer completions than asked are enough.";
        RW_ATTR = 16, "6.14", "Reads and writes with attributes such as integrity data.";
        NO_IOWAIT = 17, "6.15", "Waiting need not count as I/O wait.";
    }
}

flags! {
    /// Flags of `io_uring_enter(2)` (`IORING_ENTER_*`).
    enter: u32 {
        GETEVENTS = 0, "5.1", "Wait for, or fetch, completions.";
        SQ_WAKEUP = 1, "5.1", "Wake the SQ thread.";
        SQ_WAIT = 2, "5.10", "Wait until the SQ thread has made room.";
        EXT_ARG = 3, "5.11", "The argument is a `GetEventsArg`.";
        REGISTERED_RING = 4, "5.18", "The descriptor is a registered index.";
        ABS_TIMER = 5, "6.12", "The time limit is a point in time.";
        EXT_ARG_REG = 6, "6.13", "The argument is an offset into the registered wait region.";
        NO_IOWAIT = 7, "6.15", "Do not count the wait as I/O wait.";
    }
}

flags! {
    /// Flags of a submission entry (`IOSQE_*`).
    sqe_flags: u8 {
        FIXED_FILE = 0, "5.1", "`fd` is an index of the registered files.";
        IO_DRAIN = 1, "5.2", "Start after everything submitted before has completed.";
        IO_LINK = 2, "5.3", "The next entry starts after this one has succeeded.";
        IO_HARDLINK = 3, "5.5", "The next entry starts after this one, whatever its result.";
        ASYNC = 4, "5.6", "Go to a worker thread at once.";
        BUFFER_SELECT = 5, "5.7", "The kernel picks a buffer of group `buf_index`.";
        CQE_SKIP_SUCCESS = 6, "5.17", "No completion on success.";
    }
}

flags! {
    /// Flags of a completion (`IORING_CQE_F_*`).
    cqe_flags: u32 {
        BUFFER = 0, "5.7", "The upper 16 bits are a buffer id.";
        MORE = 1, "5.13", "More completions of this request will follow.";
        SOCK_NONEMPTY = 2, "5.19", "More data was in the socket.";
        NOTIF = 3, "6.0", "A notification: the sent memory is no longer used.";
        BUF_MORE = 4, "6.12", "The buffer is partly used and will appear again.";
        SKIP = 5, "6.18", "A filler; to be ignored.";
        F_32 = 15, "6.18", "A completion of 32 bytes in a mixed queue.";
    }
}

/// Position of the buffer id in the flags of a completion.
pub const CQE_BUFFER_SHIFT: u32 = 16;

flags! {
    /// Flags of the SQ ring that the kernel sets (`IORING_SQ_*`).
    sq_ring: u32 {
        NEED_WAKEUP = 0, "5.1", "The SQ thread sleeps.";
        CQ_OVERFLOW = 1, "5.8", "Completions wait in the kernel for room in the CQ.";
        TASKRUN = 2, "5.19", "Task work waits for the task to enter the kernel.";
    }
}

flags! {
    /// Flags of the CQ ring that the program sets (`IORING_CQ_*`).
    cq_ring: u32 {
        EVENTFD_DISABLED = 0, "5.8", "No signal to the registered eventfd.";
    }
}

flags! {
    /// `op_flags` of `FSYNC` (`IORING_FSYNC_*`).
    fsync: u32 {
        DATASYNC = 0, "5.1", "As `fdatasync(2)`.";
    }
}

flags! {
    /// `op_flags` of timers (`IORING_TIMEOUT_*`, `IORING_LINK_TIMEOUT_*`).
    timeout: u32 {
        ABS = 0, "5.5", "A point in time instead of a duration.";
        UPDATE = 1, "5.11", "`TIMEOUT_REMOVE` changes the timer instead.";
        BOOTTIME = 2, "5.15", "Clock `CLOCK_BOOTTIME`.";
        REALTIME = 3, "5.15", "Clock `CLOCK_REALTIME`.";
        LINK_UPDATE = 4, "5.15", "`TIMEOUT_REMOVE` changes a linked timer.";
        ETIME_SUCCESS = 5, "5.16", "Expiry does not break a chain.";
        MULTISHOT = 6, "6.4", "Fires `off` times, or for ever when 0.";
        IMMEDIATE_ARG = 7, "7.1", "`addr` holds nanoseconds, not an address.";
    }
}

flags! {
    /// `op_flags` of `ASYNC_CANCEL` and flags of a synchronous cancel (`IORING_ASYNC_CANCEL_*`).
    cancel: u32 {
        ALL = 0, "5.19", "Every match instead of the first.";
        FD = 1, "5.19", "Match by `fd`.";
        ANY = 2, "5.19", "Match any request.";
        FD_FIXED = 3, "6.0", "`fd` is a registered file.";
        USERDATA = 4, "6.6", "Match by user data, also together with another key.";
        OP = 5, "6.6", "Match by opcode.";
    }
}

flags! {
    /// `len` of `POLL_ADD` and `POLL_REMOVE` (`IORING_POLL_*`).
    poll: u32 {
        ADD_MULTI = 0, "5.13", "Keeps reporting until removed.";
        UPDATE_EVENTS = 1, "5.13", "Changes the events of a poll.";
        UPDATE_USER_DATA = 2, "5.13", "Changes the user data of a poll.";
        ADD_LEVEL = 3, "6.0", "Level-triggered.";
    }
}

flags! {
    /// `ioprio` of sends and receives (`IORING_RECVSEND_*`, `IORING_RECV_*`, `IORING_SEND_*`).
    recvsend: u16 {
        POLL_FIRST = 0, "5.19", "Wait for readiness before the first attempt.";
        RECV_MULTISHOT = 1, "6.0", "Receives until told to stop.";
        FIXED_BUF = 2, "6.0", "Registered buffer `buf_index`.";
        SEND_ZC_REPORT_USAGE = 3, "6.2", "The notification says whether data was copied.";
        BUNDLE = 4, "6.10", "Several provided buffers in one request.";
        SEND_VECTORIZED = 5, "6.17", "`SEND` and `SEND_ZC` take an array of `iovec`.";
    }
}

/// Bit in the `res` of a notification: data was copied after all (`SEND_ZC_REPORT_USAGE`).
pub const NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;

flags! {
    /// `ioprio` of `ACCEPT` (`IORING_ACCEPT_*`).
    accept: u16 {
        MULTISHOT = 0, "5.19", "Accepts until told to stop.";
        DONTWAIT = 1, "6.10", "Fails with `EAGAIN` instead of waiting.";
        POLL_FIRST = 2, "6.10", "Wait for readiness before the first attempt.";
    }
}

flags! {
    /// `op_flags` of `MSG_RING` (`IORING_MSG_RING_*`).
    msg_ring: u32 {
        CQE_SKIP = 0, "6.0", "No completion on the target for a sent file.";
        FLAGS_PASS = 1, "6.3", "`file_index` becomes the flags of the completion.";
    }
}

/// Command of `MSG_RING` in `addr`: post `len` as the result and `off` as the user data. Linux 5.18.
pub const MSG_DATA: u64 = 0;
/// Command of `MSG_RING` in `addr`: send a registered file. Linux 6.0.
pub const MSG_SEND_FD: u64 = 1;

/// `op_flags` of `SPLICE` and `TEE`: the input is a registered file. Linux 5.7.
pub const SPLICE_F_FD_IN_FIXED: u32 = 1 << 31;

/// `file_index` of an opening request: the kernel picks the slot. Linux 5.19.
pub const FILE_INDEX_ALLOC: u32 = u32::MAX;

flags! {
    /// `op_flags` of `NOP` (`IORING_NOP_*`).
    nop: u32 {
        INJECT_RESULT = 0, "6.10", "`len` becomes the result.";
        FILE = 1, "6.13", "Resolves `fd` as a file.";
        FIXED_FILE = 2, "6.13", "`fd` is a registered file.";
        FIXED_BUFFER = 3, "6.13", "Looks up registered buffer `buf_index`.";
        TW = 4, "6.16", "Completes through task work.";
        CQE32 = 5, "6.18", "Completes with 32 bytes: `off` and `addr` come back in `big`.";
    }
}

flags! {
    /// `op_flags` of `FIXED_FD_INSTALL` (`IORING_FIXED_FD_*`).
    fixed_fd: u32 {
        NO_CLOEXEC = 0, "6.8", "The descriptor survives `execve(2)`.";
    }
}

flags! {
    /// `op_flags` of `URING_CMD` (`IORING_URING_CMD_*`).
    uring_cmd: u32 {
        FIXED = 0, "6.1", "Registered buffer `buf_index`.";
        MULTISHOT = 1, "6.18", "Completes until told to stop.";
    }
}

flags! {
    /// Attribute kinds in `pad2` of a read or write (`IORING_RW_ATTR_FLAG_*`).
    rw_attr: u64 {
        PI = 0, "6.14", "`addr3` is the address of integrity data.";
    }
}

flags! {
    /// Flags of a provided buffer ring (`IOU_PBUF_RING_*`).
    pbuf_ring: u16 {
        MMAP = 0, "6.4", "The kernel allocates the ring; it is mapped afterwards.";
        INC = 1, "6.12", "Buffers are consumed piece by piece.";
    }
}

flags! {
    /// Flags of one read or write (`RWF_*`): `preadv2(2)`, `op_flags` of a submission entry, `aio_rw_flags` of an AIO
    /// command.
    rwf: u32 {
        HIPRI = 0, "4.6", "Poll the device. Without effect in AIO.";
        DSYNC = 1, "4.7", "A write is on the device when it ends, as with `O_DSYNC`.";
        SYNC = 2, "4.7", "A write and its metadata are on the device when it ends, as with `O_SYNC`.";
        NOWAIT = 3, "4.14", "`EAGAIN` in place of a wait: for data that are not in memory, for locks, for blocks.";
        APPEND = 4, "4.16", "A write goes to the end of the file.";
        NOAPPEND = 5, "6.9", "The offset counts although the file is open with `O_APPEND`.";
        ATOMIC = 6, "6.11", "A write is done as a whole or not at all, whatever happens to the machine.";
        DONTCACHE = 7, "6.14", "The pages leave the cache when the transfer has ended.";
        NOSIGNAL = 8, "6.18", "No `SIGPIPE` for a pipe or socket without a reader.";
    }
}

/// `cmd_op` (low half of `off`) of `URING_CMD` on a socket (`SOCKET_URING_OP_*`).
pub mod socket_op {
    /// `ioctl` `SIOCINQ`. Linux 6.7.
    pub const SIOCINQ: u32 = 0;
    /// `ioctl` `SIOCOUTQ`. Linux 6.7.
    pub const SIOCOUTQ: u32 = 1;
    /// `getsockopt(2)`. Linux 6.7.
    pub const GETSOCKOPT: u32 = 2;
    /// `setsockopt(2)`. Linux 6.7.
    pub const SETSOCKOPT: u32 = 3;
    /// Transmit time stamps. Linux 6.17.
    pub const TX_TIMESTAMP: u32 = 4;
    /// `getsockname(2)` and `getpeername(2)`. Linux 6.19.
    pub const GETSOCKNAME: u32 = 5;
}

/// Offsets of `mmap(2)` on a ring descriptor (`IORING_OFF_*`).
pub mod mmap_offset {
    /// The SQ ring, and with `SINGLE_MMAP` the CQ ring.
    pub const SQ_RING: u64 = 0;
    /// The CQ ring of kernels before 5.4.
    pub const CQ_RING: u64 = 0x0800_0000;
    /// The submission entries.
    pub const SQES: u64 = 0x1000_0000;
    /// The memory region of `MEM_REGION`. Linux 6.13.
    pub const PARAM_REGION: u64 = 0x2000_0000;
    /// The refill ring of zcrx instance `id`, plus `id << SHIFT`. Linux 6.15.
    pub const ZCRX_REGION: u64 = 0x3000_0000;
    /// The buffer ring of group `bgid`, plus `bgid << SHIFT`. Linux 6.4.
    pub const PBUF_RING: u64 = 0x8000_0000;
    /// Position of the id in the last two.
    pub const SHIFT: u32 = 16;
}

const _: () = {
    assert!(setup::SQ_REWIND == 1 << 20 && setup::NAMES.len() == 21);
    assert!(feat::NO_IOWAIT == 1 << 17 && feat::NAMES.len() == 18);
    assert!(enter::NO_IOWAIT == 1 << 7 && enter::NAMES.len() == 8);
    assert!(sqe_flags::CQE_SKIP_SUCCESS == 64 && sqe_flags::NAMES.len() == 7);
    assert!(rwf::NOSIGNAL == 0x100 && rwf::NAMES.len() == 9);
    assert!(cqe_flags::F_32 == 0x8000 && cqe_flags::SKIP == 32);
};
