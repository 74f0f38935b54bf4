//! Adapters: the streams and files of this crate as `tokio::io`, `futures-io` and `hyper::rt` know them.
//!
//! The traits of those crates lend a `&mut [u8]` for the time of one poll, and the kernel works for longer than that. So
//! an adapter owns buffers that the ring lends to the kernel, and copies between them and the caller's, once for each
//! byte. The rest is as with the runtimes' own types:
//!
//! * [`AsyncStream`]: TCP and Unix streams, ends of pipes, and halves of streams.
//! * `AsyncFile`: files, with a position of its own.
//! * `Incoming`, `RecvStream`, `Datagrams`: connections, bytes and datagrams as a `Stream`.
//! * `RingTimer`, `LocalTimer`: timers for hyper; `RuntimeExecutor`: its tasks, on a `Runtime`.
//!
//! Which traits and types there are is chosen by the features `tokio`, `futures` and `hyper` of this crate. The repository's
//! `docs/GUIDE-adapters.md` is the chapter on them.

mod ahead;
mod exclusive;
#[cfg(any(feature = "tokio", feature = "futures"))]
mod file;
#[cfg(feature = "futures")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "futures")]
mod incoming;
#[cfg(feature = "futures")]
mod receive;
mod stream;
#[cfg(feature = "tokio")]
mod tokio;
mod writer;

#[cfg(feature = "futures")]
pub use crate::RecvStream;
#[cfg(any(feature = "tokio", feature = "futures"))]
pub use file::AsyncFile;
#[cfg(all(feature = "hyper", feature = "runtime"))]
pub use hyper::RuntimeExecutor;
#[cfg(feature = "hyper")]
pub use hyper::{LocalTimer, RingTimer};
#[cfg(feature = "futures")]
pub use incoming::{Incoming, Listener};
#[cfg(feature = "futures")]
pub use receive::Datagrams;
pub use stream::{AsyncStream, Endpoint, Readable, Writable};
