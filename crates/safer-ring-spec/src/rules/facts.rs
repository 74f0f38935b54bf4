//! What is known about the machine, the process and the descriptors: each fact may be missing.

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A pipe or a FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// `eventfd(2)`.
    Eventfd,
    /// `epoll(7)`.
    Epoll,
    /// `io_uring(7)`.
    Ring,
    /// Another anonymous file.
    Other,
}

/// What is known about a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Whether it is open, for more than a path (`O_PATH` counts as not open).
    pub open: Option<bool>,
    /// What it is.
    pub kind: Option<Kind>,
    /// Whether it is open for reading.
    pub readable: Option<bool>,
    /// Whether it is open for writing.
    pub writable: Option<bool>,
    /// Whether it is open with `O_DIRECT`.
    pub direct: Option<bool>,
    /// Whether the file may only grow (`chattr +a`).
    pub append_only: Option<bool>,
    /// Whether its file system is one for data. Regular files of others, such as proc(5), may have no writes, reads or syncs.
    pub data: Option<bool>,
    /// Bytes that a regular file has: at its end direct reads give 0, however they are aligned.
    pub size: Option<u64>,
    /// Bytes by which the memory of direct I/O must be aligned (`stx_dio_mem_align`); 0 if the file has no direct I/O.
    pub memory_align: Option<u32>,
    /// The same of offsets and lengths (`stx_dio_offset_align`).
    pub offset_align: Option<u32>,
}

impl File {
    /// A descriptor that is not open.
    pub const CLOSED: File = File {
        open: Some(false),
        kind: None,
        readable: None,
        writable: None,
        direct: None,
        append_only: None,
        data: None,
        size: None,
        memory_align: None,
        offset_align: None,
    };

    /// Whether its end is known to be at or before this offset.
    pub(super) fn ends_before(&self, offset: i64) -> bool {
        match (self.size, u64::try_from(offset)) {
            (Some(size), Ok(offset)) => offset >= size,
            _ => false,
        }
    }
}

/// What is known about a context of Linux AIO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Whether it is one of this process and has not been destroyed.
    pub alive: Option<bool>,
    /// Commands that it can take before events are fetched.
    pub room: Option<u64>,
    /// Events that can be fetched.
    pub ready: Option<u64>,
}

/// What is known about a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// The flags it was made with.
    pub flags: Option<u32>,
    /// Whether it is still disabled (`IORING_SETUP_R_DISABLED`).
    pub disabled: Option<bool>,
    /// Whether the calling thread is the one that may submit.
    pub own_thread: Option<bool>,
    /// Whether it has registered buffers.
    pub buffers: Option<bool>,
    /// Whether it has registered files.
    pub files: Option<bool>,
    /// Whether it has an eventfd.
    pub eventfd: Option<bool>,
}

/// Everything that the rules ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Major and minor number of the kernel.
    pub kernel: Option<(u16, u16)>,
    /// Bytes of a page.
    pub page_size: Option<u64>,
    /// CPUs that the kernel can have.
    pub cpus: Option<u32>,
    /// Soft limit of locked memory in bytes (`RLIMIT_MEMLOCK`), `u64::MAX` for none.
    pub memlock: Option<u64>,
    /// Whether the limit of locked memory does not count (`CAP_IPC_LOCK`).
    pub ipc_lock: Option<bool>,
    /// Whether real-time priorities are allowed (`CAP_SYS_NICE` or `CAP_SYS_ADMIN`).
    pub nice: Option<bool>,
    /// Soft limit of descriptors (`RLIMIT_NOFILE`).
    pub nofile: Option<u64>,
    /// The lowest number that no descriptor has.
    pub next_fd: Option<u64>,
    /// `/proc/sys/fs/aio-max-nr`.
    pub aio_max_nr: Option<u64>,
    /// `/proc/sys/fs/aio-nr`.
    pub aio_nr: Option<u64>,
    /// `/proc/sys/kernel/io_uring_disabled`, 0 where it is missing.
    pub io_uring_disabled: Option<u32>,
    /// The context of the call.
    pub context: Context,
    /// The ring of the call.
    pub ring: Ring,
    /// Descriptors by number.
    pub files: Vec<(u32, File)>,
}

impl Facts {
    /// What is known about a descriptor; of one that is not listed, nothing. A number above `i32::MAX` is not open.
    #[must_use]
    pub fn file(&self, fd: u32) -> File {
        if fd > 0x7fff_ffff {
            return File::CLOSED;
        }
        let listed = self.files.iter().find(|(number, _)| *number == fd);
        listed.map(|(_, file)| *file).unwrap_or_default()
    }
}
