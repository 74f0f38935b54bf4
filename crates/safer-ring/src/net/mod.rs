//! Sockets, with the names and habits of [`std::net`] and [`std::os::unix::net`].
//!
//! Each type is a ring and a descriptor. Its methods take `&self`, so a socket may be used by many tasks: by
//! reference, in an `Arc`, or, for streams, as two halves. Buffers move in and come back with the result or in the
//! error. Single operations are [`Operation`](crate::Operation)s; transfers of many steps say in their error how far
//! they came ([`TransferError`](crate::TransferError)).
//!
//! A future may be dropped at any time; each method says under *Dropping* what that means.
//!
//! Descriptors that the standard library or tokio made, in non-blocking mode or not, are taken over with `from_std`.

mod addr;
mod datagram;
mod ending;
pub(crate) mod handle;
mod options;
mod split;
mod tcp;
mod tcp_socket;
mod transfer;
mod udp;
mod udp_options;
mod unix;
mod unix_datagram;
mod unix_stream;

pub use addr::ToSocketAddrs;
pub use datagram::{Datagram, Reception, Segments};
pub use ending::{CancelTransfer, TimedTransfer};
pub use options::Keepalive;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, Stream, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
pub use tcp_socket::TcpSocket;
pub use transfer::{ReadExact, WriteAll, WriteAllVectored};
pub use udp::UdpSocket;
pub use unix::{ReceivedFds, UCred, UnixListener};
pub use unix_datagram::UnixDatagram;
pub use unix_stream::UnixStream;

#[cfg(feature = "futures")]
pub(crate) use datagram::{receive_ip, receive_unix};
pub(crate) use handle::{Handle, common_methods};
#[cfg(any(feature = "tokio", feature = "futures", feature = "hyper"))]
pub(crate) use split::sealed::Split;
pub(crate) use transfer::Via;
