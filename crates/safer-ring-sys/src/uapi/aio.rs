//! Structures and constants of Linux AIO (`linux/aio_abi.h`), which is older than io_uring: Linux 2.6.

use super::layout;

/// A command, `struct iocb`: 64 bytes. Copied by `io_submit(2)`, which also writes `aio_key`.
///
/// Two of its fields change places with the byte order of the machine, as they do in the kernel's header.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Iocb {
    /// Comes back in [`IoEvent::data`].
    pub aio_data: u64,
    /// Written by the kernel at submission (0 in all versions).
    #[cfg(target_endian = "little")]
    pub aio_key: u32,
    /// Bits of [`rwf`](super::flags::rwf), of reads and writes only. Linux 4.13; before, it must be 0.
    pub aio_rw_flags: u32,
    /// Written by the kernel at submission (0 in all versions).
    #[cfg(target_endian = "big")]
    pub aio_key: u32,
    /// A constant of [`aio_cmd`].
    pub aio_lio_opcode: u16,
    /// I/O priority as in `ioprio_set(2)`, with [`aio_flag::IOPRIO`].
    pub aio_reqprio: i16,
    /// Descriptor.
    pub aio_fildes: u32,
    /// Address of a buffer or of an array of `iovec`; of `POLL` the events, as in `poll(2)`.
    pub aio_buf: u64,
    /// Length in bytes, or number of `iovec`. 0 for the other commands.
    pub aio_nbytes: u64,
    /// File offset in bytes. 0 for the other commands.
    pub aio_offset: i64,
    /// Zero.
    pub aio_reserved2: u64,
    /// Bits of [`aio_flag`].
    pub aio_flags: u32,
    /// An eventfd, with [`aio_flag::RESFD`].
    pub aio_resfd: u32,
}

#[cfg(target_endian = "little")]
layout!(Iocb, size 64, align 8, {
    aio_data @ 0, aio_key @ 8, aio_rw_flags @ 12, aio_lio_opcode @ 16, aio_reqprio @ 18, aio_fildes @ 20,
    aio_buf @ 24, aio_nbytes @ 32, aio_offset @ 40, aio_reserved2 @ 48, aio_flags @ 56, aio_resfd @ 60,
});
#[cfg(target_endian = "big")]
layout!(Iocb, size 64, align 8, {
    aio_data @ 0, aio_rw_flags @ 8, aio_key @ 12, aio_lio_opcode @ 16, aio_reqprio @ 18, aio_fildes @ 20,
    aio_buf @ 24, aio_nbytes @ 32, aio_offset @ 40, aio_reserved2 @ 48, aio_flags @ 56, aio_resfd @ 60,
});

/// What became of a command, `struct io_event`: 32 bytes.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct IoEvent {
    /// [`Iocb::aio_data`].
    pub data: u64,
    /// Address of the [`Iocb`] at its submission. A number: the structure may be gone.
    pub obj: u64,
    /// Bytes moved, or a negative error number. Of `POLL` the events that woke it, among them perhaps some that were not
    /// asked for.
    pub res: i64,
    /// A second result of some USB gadget files; else 0.
    pub res2: i64,
}
layout!(IoEvent, size 32, align 8, { data @ 0, obj @ 8, res @ 16, res2 @ 24 });

/// Commands of [`Iocb::aio_lio_opcode`] (`IOCB_CMD_*`).
pub mod aio_cmd {
    /// `pread(2)`.
    pub const PREAD: u16 = 0;
    /// `pwrite(2)`.
    pub const PWRITE: u16 = 1;
    /// `fsync(2)`. Linux 4.18.
    pub const FSYNC: u16 = 2;
    /// `fdatasync(2)`. Linux 4.18.
    pub const FDSYNC: u16 = 3;
    /// `poll(2)` of one descriptor, once. Linux 4.19.
    pub const POLL: u16 = 5;
    /// In the header only: Linux answers `EINVAL`.
    pub const NOOP: u16 = 6;
    /// `preadv(2)`.
    pub const PREADV: u16 = 7;
    /// `pwritev(2)`.
    pub const PWRITEV: u16 = 8;
}

/// Flags of [`Iocb::aio_flags`] (`IOCB_FLAG_*`).
pub mod aio_flag {
    /// `aio_resfd` is an eventfd whose counter goes up by 1 with the event. Linux 2.6.22.
    pub const RESFD: u32 = 1 << 0;
    /// `aio_reqprio` is a priority. Linux 4.18.
    pub const IOPRIO: u32 = 1 << 1;
}
