//! io_uring by ownership transfer: give a buffer to an operation and get it back, with the result,
//! with the error, or with the cancellation. Any future may be dropped at any time.
//!
//! ```
//! use safer_ring::{OwnedBuffer, Ring};
//!
//! async fn first_kilobyte(path: &str) -> std::io::Result<OwnedBuffer> {
//!     let ring = Ring::new(256)?;
//!     let file = ring.open(path, &safer_ring::OpenOptions::new().read(true)).await?;
//!     let (n, buffer) = ring.read_at_owned(&file, OwnedBuffer::new(1024), 0).await?;
//!     assert_eq!(n, buffer.len());
//!     Ok(buffer)
//! }
//! # pollster::block_on(first_kilobyte("/proc/self/exe")).unwrap();
//! ```
//!
//! # What it does
//! * [`Ring`] is `Send + Sync + Clone` and works inside any executor: multi-thread tokio with
//!   `tokio::spawn`, current-thread tokio, smol, a plain `block_on`. [`local::Ring`] stays on one
//!   thread, without locks, and runs futures itself ([`block_on`](RingOf::block_on)).
//! * The kernel works on memory that the ring owns: the buffer moves in when the operation starts and
//!   moves out after its last completion, and nothing else releases it: not a drop, not
//!   `mem::forget`, not a failed system call, not the end of the ring.
//! * Every error has the buffer in it ([`OpError`]), and `?` turns it into an [`std::io::Error`].
//! * What arrives for a dropped receive or accept is kept for the next one; a dropped send is sent, with all of its
//!   bytes and in order. [`Operation::cancel`] tells what became of an operation, [`Operation::timeout`] ends one after a
//!   time. The repository's `docs/GUIDE-cancellation.md` is the chapter on it, `docs/OTHER-LIBRARIES.md` what other
//!   libraries have taught.
//! * [`Ring::operations`](crate::RingOf::operations) lists what is in flight, [`Ring::snapshot`](crate::RingOf::snapshot)
//!   counts, [`Ring::drain`](crate::RingOf::drain) waits until nothing is left, or names what is.
//! * Files and directories have the names and habits of `std::fs`: [`fs`]. Sockets have those of `std::net`, and
//!   pipes those of `std::io`: [`net`], [`pipe`].
//! * With the features `tokio`, `futures` and `hyper`, streams and files have the traits of those crates: `io`.
//! * Linux AIO at its own level, where io_uring is not allowed: [`aio`].
//! * CPUs and memory nodes: threads, rings and buffers side by side: [`cpu`].
//! * With the feature `runtime`: threads that run tasks on local rings of their own, `Runtime`. The repository's
//!   `docs/GUIDE-runtime.md` is the chapter on it.
//! * A simulated kernel, driven by a seed, for tests of programs: [`sim`].
//! * Many operations in one system call: [`Ring::batch`](crate::RingOf::batch). One after the other: [`Operation::then`].
//!
//! # What it does not do
//! * It does not lend `&mut [u8]` to the kernel: a borrow can end while the kernel still writes.
//! * It does not print, does not exit, and reads no clock but the monotonic one.
//! * It does not insist on io_uring: where that is not available, epoll, Linux AIO and threads do the same.
//!   [`Ring::report`](crate::RingOf::report) says why it is not, and what to do; [`detect`] says so without making a ring.
#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "safer-ring drives io_uring, which exists on Linux only; on other systems \
     depend on it under `[target.'cfg(target_os = \"linux\")'.dependencies]`, \
     or build for Linux with `--target x86_64-unknown-linux-gnu`"
);

#[cfg(target_os = "linux")]
pub mod aio;
#[cfg(target_os = "linux")]
mod batch;
#[cfg(target_os = "linux")]
mod builder;
#[cfg(target_os = "linux")]
pub mod contract;
#[cfg(target_os = "linux")]
pub mod cpu;
#[cfg(target_os = "linux")]
pub mod fs;
#[cfg(all(target_os = "linux", any(feature = "tokio", feature = "futures", feature = "hyper")))]
pub mod io;
#[cfg(target_os = "linux")]
pub mod net;
#[cfg(target_os = "linux")]
pub mod op;
#[cfg(target_os = "linux")]
mod open;
#[cfg(target_os = "linux")]
mod ops;
#[cfg(target_os = "linux")]
pub mod pipe;
#[cfg(target_os = "linux")]
mod recv_stream;
#[cfg(target_os = "linux")]
mod ring;
#[cfg(target_os = "linux")]
mod ring_buffer;
#[cfg(all(target_os = "linux", feature = "runtime"))]
pub mod runtime;
#[cfg(target_os = "linux")]
pub mod sim;
#[cfg(target_os = "linux")]
mod unblock;

#[cfg(target_os = "linux")]
pub use batch::Batch;
#[cfg(target_os = "linux")]
pub use builder::Builder;
#[cfg(target_os = "linux")]
pub use open::{OpenHow, OpenOptions};
#[cfg(target_os = "linux")]
pub use ops::{
    FallocateMode, Interest, PipeOptions, ReadRingBuffer, RenameMode, Shutdown, SocketKind,
    SpliceFlags,
};
#[cfg(target_os = "linux")]
pub use recv_stream::RecvStream;
#[cfg(target_os = "linux")]
pub use ring::{Ring, RingOf};
#[cfg(target_os = "linux")]
pub use ring_buffer::RingBuffer;
#[cfg(all(target_os = "linux", feature = "runtime"))]
pub use runtime::Runtime;
#[cfg(target_os = "linux")]
pub use safer_ring_backend::payload::{
    Control, ControlMessage, FileType, Metadata, Payload, RawCompletion, RawOutput, Received,
};
#[cfg(target_os = "linux")]
pub use safer_ring_backend::sys;
#[cfg(target_os = "linux")]
pub use safer_ring_backend::{
    Address, Attempt, BackendChoice, BackendKind, Cancel, CancelMember, Cause, Chain, ChosenBy,
    Drain, Drained, Ended, Evidence, Failure, Fd, FeatureSource, Features, InFlight, Local, Member,
    Mode, OpError, Operation, Phase, RegisterError, Report, SetupError, Shared, Snapshot, Sqpoll,
    Timed, TransferError, WithoutBuffer, detect,
};
#[cfg(target_os = "linux")]
pub use safer_ring_buf::{
    Acquire, AllocError, BufferPool, IoBuf, IoBufMut, OwnedBuffer, PoolMemory, PoolStats,
    PooledBuffer, Slice,
};

#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use safer_ring_backend::FallbackParts;

/// The same names for a ring of one thread: no locks, and no atomic read-modify-writes for what its `block_on`
/// awaits directly; nothing is `Send`.
///
/// A local ring makes progress only inside its own `block_on`, and not inside that of another local ring.
#[cfg(target_os = "linux")]
pub mod local {
    use super::Local;

    /// A ring of one thread; see [`Ring`](crate::Ring).
    pub type Ring = crate::RingOf<Local>;
    /// A descriptor of a local ring; see [`Fd`](crate::Fd).
    pub type Fd = crate::Fd<Local>;
    /// A file of a local ring; see [`fs::File`](crate::fs::File).
    pub type File = crate::fs::File<Local>;
    /// The entries of a directory; see [`fs::ReadDir`](crate::fs::ReadDir).
    pub type ReadDir = crate::fs::ReadDir<Local>;
    /// An entry of a directory; see [`fs::DirEntry`](crate::fs::DirEntry).
    pub type DirEntry = crate::fs::DirEntry<Local>;
    /// A TCP socket that accepts connections; see [`net::TcpListener`](crate::net::TcpListener).
    pub type TcpListener = crate::net::TcpListener<Local>;
    /// A TCP socket before it is used; see [`net::TcpSocket`](crate::net::TcpSocket).
    pub type TcpSocket = crate::net::TcpSocket<Local>;
    /// A TCP connection; see [`net::TcpStream`](crate::net::TcpStream).
    pub type TcpStream = crate::net::TcpStream<Local>;
    /// A UDP socket; see [`net::UdpSocket`](crate::net::UdpSocket).
    pub type UdpSocket = crate::net::UdpSocket<Local>;
    /// A Unix socket for datagrams; see [`net::UnixDatagram`](crate::net::UnixDatagram).
    pub type UnixDatagram = crate::net::UnixDatagram<Local>;
    /// A Unix socket that accepts connections; see [`net::UnixListener`](crate::net::UnixListener).
    pub type UnixListener = crate::net::UnixListener<Local>;
    /// A Unix stream; see [`net::UnixStream`](crate::net::UnixStream).
    pub type UnixStream = crate::net::UnixStream<Local>;
    /// The end of a pipe that is read from; see [`pipe::PipeReader`](crate::pipe::PipeReader).
    pub type PipeReader = crate::pipe::PipeReader<Local>;
    /// The end of a pipe that is written to; see [`pipe::PipeWriter`](crate::pipe::PipeWriter).
    pub type PipeWriter = crate::pipe::PipeWriter<Local>;
    /// Operations of a local ring, submitted together; see [`Batch`](crate::Batch).
    pub type Batch = crate::Batch<Local>;
    /// How to make a local ring; see [`Builder`](crate::Builder).
    pub type Builder = crate::Builder<Local>;
}

// The documents beside the code are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE-aio.md")]
mod guide_aio {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE-buffers.md")]
mod guide_buffers {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE-modes.md")]
mod guide_modes {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE-cancellation.md")]
mod guide_cancellation {}
#[cfg(all(doctest, feature = "tokio", feature = "futures", feature = "hyper"))]
#[doc = include_str!("../../../docs/GUIDE-adapters.md")]
mod guide_adapters {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/GUIDE-placement.md")]
mod guide_placement {}
#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../../../docs/GUIDE-runtime.md")]
mod guide_runtime {}
#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../../../docs/MIGRATING.md")]
mod migrating {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/DOCTOR.md")]
mod doctor {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/SIMULATION.md")]
mod simulation {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/SHOULD-I.md")]
mod should_i {}
#[cfg(doctest)]
#[doc = include_str!("../../../docs/WHICH.md")]
mod which {}
