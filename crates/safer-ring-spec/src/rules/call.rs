//! A system call with its arguments, as plain data.

/// What is known about the memory behind an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// It can be read and written.
    Writable,
    /// It can only be read.
    ReadOnly,
    /// Nothing is mapped there, or the program may not use it. A null pointer is such an address.
    Unmapped,
    /// Nobody has looked.
    #[default]
    Unknown,
}

/// An address, and what is known about the memory there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// The address. 0 is a null pointer.
    pub address: u64,
    /// What is there.
    pub memory: Memory,
}

impl Pointer {
    /// The null pointer.
    pub const NULL: Pointer = Pointer { address: 0, memory: Memory::Unmapped };

    /// An address of which nothing more is known.
    #[must_use]
    pub const fn at(address: u64) -> Pointer {
        Pointer { address, memory: if address == 0 { Memory::Unmapped } else { Memory::Unknown } }
    }

    /// An address where the program may read and write.
    #[must_use]
    pub const fn writable(address: u64) -> Pointer {
        Pointer { address, memory: Memory::Writable }
    }

    /// Whether it is the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.address == 0
    }
}

/// A system call that has rules.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `io_setup(2)`.
    IoSetup(IoSetup),
    /// `io_destroy(2)`.
    IoDestroy,
    /// `io_submit(2)`.
    IoSubmit(IoSubmit),
    /// `io_getevents(2)`.
    IoGetevents(IoGetevents),
    /// `io_cancel(2)`.
    IoCancel(IoCancel),
    /// `io_uring_setup(2)`.
    RingSetup(RingSetup),
    /// `io_uring_enter(2)`.
    RingEnter(RingEnter),
    /// `io_uring_register(2)`.
    RingRegister(RingRegister),
    /// A read or write that was submitted to a ring; its errors are results of completions.
    RingTransfer(Transfer),
}

impl Call {
    /// The name of the system call, under which its specification is found too. That of a transfer is `io_uring_enter`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Call::IoSetup(_) => "io_setup",
            Call::IoDestroy => "io_destroy",
            Call::IoSubmit(_) => "io_submit",
            Call::IoGetevents(_) => "io_getevents",
            Call::IoCancel(_) => "io_cancel",
            Call::RingSetup(_) => "io_uring_setup",
            Call::RingEnter(_) | Call::RingTransfer(_) => "io_uring_enter",
            Call::RingRegister(_) => "io_uring_register",
        }
    }
}

/// The arguments of `io_setup(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoSetup {
    /// Commands that the context shall hold.
    pub nr_events: u32,
    /// Where the context's number goes.
    pub result: Pointer,
    /// What is there before the call.
    pub value: u64,
}

/// The arguments of `io_submit(2)`. The context is among the facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoSubmit {
    /// How many pointers there are.
    pub nr: i64,
    /// The array of pointers.
    pub array: Pointer,
    /// The commands behind them, as far as they are known. An error is that of the first.
    pub iocbs: Vec<Iocb>,
}

/// A command, `struct iocb`, with what is known about the memory in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iocb {
    /// Where the structure itself is.
    pub place: Pointer,
    /// `aio_lio_opcode`.
    pub opcode: u16,
    /// `aio_fildes`.
    pub fildes: u32,
    /// `aio_buf`: a buffer, an array of `iovec`, or of a poll the events.
    pub buf: u64,
    /// What is at `buf`: of a vectored command at the array.
    pub memory: Memory,
    /// `aio_nbytes`: bytes, or entries of the array.
    pub nbytes: u64,
    /// `aio_offset`.
    pub offset: i64,
    /// `aio_rw_flags`.
    pub rw_flags: u32,
    /// `aio_reqprio`.
    pub reqprio: i16,
    /// `aio_reserved2`.
    pub reserved2: u64,
    /// `aio_flags`.
    pub flags: u32,
    /// `aio_resfd`.
    pub resfd: u32,
}

/// The arguments of `io_getevents(2)`. The context is among the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoGetevents {
    /// Events to wait for.
    pub min_nr: i64,
    /// Room in `events`.
    pub nr: i64,
    /// Where events go.
    pub events: Pointer,
    /// The time limit; null for none.
    pub timeout: Pointer,
}

/// The arguments of `io_cancel(2)`. The context is among the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCancel {
    /// Where the command was when it was submitted.
    pub place: Pointer,
    /// `aio_key` there.
    pub key: u32,
    /// Whether a command from there waits in this context and can be ended: a poll.
    pub waiting: Option<bool>,
}

/// The arguments of `io_uring_setup(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSetup {
    /// Entries of the submission queue.
    pub entries: u32,
    /// Where `struct io_uring_params` is.
    pub params: Pointer,
    /// `flags` in it.
    pub flags: u32,
    /// `cq_entries` in it.
    pub cq_entries: u32,
    /// `sq_thread_cpu` in it.
    pub sq_thread_cpu: u32,
    /// `wq_fd` in it.
    pub wq_fd: u32,
    /// Whether `resv` in it has anything but zeros.
    pub reserved_set: bool,
}

/// The arguments of `io_uring_enter(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingEnter {
    /// The ring, or with `IORING_ENTER_REGISTERED_RING` its index.
    pub fd: i32,
    /// Entries to submit.
    pub to_submit: u32,
    /// Completions to wait for.
    pub min_complete: u32,
    /// `IORING_ENTER_*`.
    pub flags: u32,
    /// A signal mask or the extended argument.
    pub arg: Pointer,
    /// Its size in bytes.
    pub argsz: u64,
}

/// The arguments of `io_uring_register(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingRegister {
    /// The ring.
    pub fd: i32,
    /// `IORING_REGISTER_*` and `IORING_UNREGISTER_*`.
    pub opcode: u32,
    /// The argument.
    pub arg: Pointer,
    /// How many there are.
    pub nr_args: u32,
    /// Bytes of memory that the argument registers, where that is known.
    pub bytes: Option<u64>,
}

/// A read or write, on its way through a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Whether the file is written to.
    pub write: bool,
    /// The descriptor.
    pub fd: i32,
    /// The buffer.
    pub buf: Pointer,
    /// Bytes.
    pub len: u64,
    /// The offset, -1 for the position of the file.
    pub offset: i64,
    /// `RWF_*`.
    pub rw_flags: u32,
}
