//! The kernel interface of Safer-Ring: `io_uring(7)` without decisions and without policy.
//!
//! * [`uapi`]: the structures and constants of the kernel's interface, up to Linux 7.3, with their
//!   layouts proven at compile time.
//! * [`Uring`]: one ring: set-up, mapped queues, `io_uring_enter(2)`, `io_uring_register(2)`.
//! * [`queue`]: the two ring buffers alone, over any memory.
//! * [`probe`]: what this kernel supports.
//! * [`kernels`]: the same as a table: since which kernel there is what.
//! * [`fork`]: notices, without a system call, that the process is a forked child.
//! * [`mmap`]: mappings that are not handed down to a forked child.
//! * [`BufRing`]: buffers that the kernel picks from.
//! * [`AioContext`]: a context of Linux AIO, `io_submit(2)` and its relatives.
//! * [`numa`]: on which CPUs a thread runs, and on which nodes memory is.
//! * [`trial`]: whether the three system calls may be made at all.
//! * [`sockopt`]: options of sockets that safe libraries do not offer.
//!
//! Nothing here waits again after `EINTR`, grows a queue, or chooses a flag: the crates above do.
//! It is not an API boundary: it may change with every release.
//!
//! # Safety
//! Every file that needs `unsafe` says why at its top. What a caller must promise is written at
//! each `unsafe fn`; the central one is [`Uring::push`].
#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("safer-ring-sys supports 64-bit Linux only");

mod aio;
mod buf_ring;
mod errno;
pub mod fork;
pub mod kernels;
pub mod mmap;
pub mod numa;
pub mod probe;
mod program_side;
pub mod queue;
mod register;
pub mod sockopt;
mod syscall;
mod thread;
pub mod trial;
pub mod uapi;
mod uring;

pub use aio::AioContext;
pub use buf_ring::BufRing;
pub use errno::Errno;
pub use libc::iovec;
pub use probe::Probe;
pub use program_side::OtherSide;
pub use queue::{Push128Error, SqFull};
pub use register::send_message;
pub use uapi::aio::{IoEvent, Iocb, aio_cmd, aio_flag};
pub use uapi::cqe::{Cqe, Cqe32};
pub use uapi::flags::*;
pub use uapi::opcode;
pub use uapi::register::*;
pub use uapi::setup::{CqOffsets, Params, SqOffsets};
pub use uapi::sqe::{Sqe, Sqe128};
pub use uapi::{address, bpf, zcrx};
pub use uring::Uring;
