//! What the kinds of operation are called in types: for fields, and for functions that take or give an
//! [`Operation`](crate::Operation).
//!
//! The name says what the operation does with what was lent to it; which system call it makes is not part of the type, so a
//! receive from a socket is a [`Read`].
//!
//! ```
//! use safer_ring::net::UnixStream;
//! use safer_ring::{Operation, Ring, Shared, op};
//!
//! struct Connection {
//!     stream: UnixStream,
//!     /// Goes on between two turns of a loop.
//!     receive: Operation<Shared, op::Read<Vec<u8>>>,
//! }
//!
//! impl Connection {
//!     async fn next(&mut self) -> std::io::Result<Vec<u8>> {
//!         let (_, bytes) = (&mut self.receive).await?;
//!         self.receive = self.stream.read(Vec::with_capacity(64));
//!         Ok(bytes)
//!     }
//! }
//!
//! # pollster::block_on(async {
//! let ring = Ring::new(8)?;
//! let (stream, peer) = UnixStream::pair(&ring)?;
//! let receive = stream.read(Vec::with_capacity(64));
//! let mut connection = Connection { stream, receive };
//! for text in ["one", "two"] {
//!     peer.write_all(text).await?;
//!     assert_eq!(connection.next().await?, text.as_bytes());
//! }
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! | type | is given by | its output |
//! |---|---|---|
//! | [`Read`] | `read`, `read_at`, `recv`, `peek` | `Result<(usize, B), OpError<B>>` |
//! | [`Write`] | `write`, `write_at`, `send` | `Result<(usize, B), OpError<B>>` |
//! | [`ReadVectored`], [`WriteVectored`] | the vectored forms | the same, of a list |
//! | [`RecvMsg`], [`SendMsg`] | `recv_msg`, `send_msg`, `send_to` | a message; a count |
//! | [`Accept`] | `ring.accept` | a descriptor and an address |
//! | [`OpenFd`], [`Socket`], [`PipeEnds`] | `ring.open`, `socket`, `pipe` | descriptors |
//! | [`Settled`] | `shutdown`, `sync_all` and the like | nothing |
//! | [`Unit`], [`Plain`], [`PathOp`] | `connect`, `set_len`; `listen`; `rename`, `unlink` | nothing |
//! | [`Count`] | `splice`, `tee` | a count |
//! | [`Stat`] | `statx` | [`Metadata`](crate::Metadata) |
//! | [`PollEvents`], [`Sleep`], [`Close`], [`Raw`] | `poll`, `timeout`, `close`, `raw` | events; nothing; nothing; a [`RawOutput`](crate::RawOutput) |

pub use safer_ring_backend::payload::{
    Accept, Close, Count, OpenFd, PathOp, PipeEnds, Plain, PollEvents, Raw, Read, ReadVectored,
    RecvMsg, SendMsg, Settled, Sleep, Socket, Stat, Unit, Write, WriteVectored,
};
