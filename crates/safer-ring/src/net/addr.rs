//! Addresses: from names, from the kernel, as the kernel tells them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;
use std::os::unix::net::SocketAddr as UnixAddr;

use crate::unblock::unblock;

/// What a socket can be bound or connected to: the types that have [`std::net::ToSocketAddrs`].
///
/// A text that is an address (`"127.0.0.1:80"`) is taken as it is. A name (`"localhost:80"`) is looked up with
/// getaddrinfo(3), which blocks and so runs on a helper thread; dropping the future does not stop the thread, whose
/// answer is thrown away then. Sealed.
pub trait ToSocketAddrs: sealed::Source {}

impl<T: sealed::Source + ?Sized> ToSocketAddrs for T {}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "sealed: nobody else implements what asks for it")]
    pub trait Source {
        #[doc(hidden)]
        fn candidates(&self) -> super::Candidates;
    }
}
use sealed::Source;

/// Addresses, or what they are to be found from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "of a sealed trait")]
pub enum Candidates {
    /// Known.
    Known(Vec<SocketAddr>),
    /// A name and a port, in one text.
    Text(String),
    /// A name, and a port.
    Host(String, u16),
}

impl Candidates {
    /// All addresses, at least one.
    ///
    /// # Errors
    /// What getaddrinfo(3) says; `InvalidInput` if there is none.
    pub(crate) async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        let found = match self {
            Self::Known(known) => known,
            Self::Text(text) => unblock(move || look_up(&*text)).await??,
            Self::Host(host, port) => unblock(move || look_up((&*host, port))).await??,
        };
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to try"));
        }
        Ok(found)
    }
}

/// Blocks.
fn look_up(name: impl std::net::ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    name.to_socket_addrs().map(Iterator::collect)
}

macro_rules! known {
    ($($type:ty),* $(,)?) => {
        $(impl Source for $type {
            fn candidates(&self) -> Candidates {
                Candidates::Known(vec![SocketAddr::from(*self)])
            }
        })*
    };
}
known!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16),);

impl Source for [SocketAddr] {
    fn candidates(&self) -> Candidates {
        Candidates::Known(self.to_vec())
    }
}

impl<const N: usize> Source for [SocketAddr; N] {
    fn candidates(&self) -> Candidates {
        Candidates::Known(self.to_vec())
    }
}

impl Source for Vec<SocketAddr> {
    fn candidates(&self) -> Candidates {
        Candidates::Known(self.clone())
    }
}

impl Source for str {
    fn candidates(&self) -> Candidates {
        match self.parse() {
            Ok(address) => Candidates::Known(vec![address]),
            Err(_) => Candidates::Text(self.to_owned()),
        }
    }
}

impl Source for String {
    fn candidates(&self) -> Candidates {
        self.as_str().candidates()
    }
}

impl Source for (&str, u16) {
    fn candidates(&self) -> Candidates {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(address) => Candidates::Known(vec![SocketAddr::new(address, port)]),
            Err(_) => Candidates::Host(host.to_owned(), port),
        }
    }
}

impl Source for (String, u16) {
    fn candidates(&self) -> Candidates {
        (self.0.as_str(), self.1).candidates()
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn candidates(&self) -> Candidates {
        (**self).candidates()
    }
}

/// Tries one address after the other until one is good; the last error counts. A macro, since a future with an
/// `AsyncFn` in it is `Send` for no lifetime but `'static`.
macro_rules! first {
    ($addresses:expr, |$address:ident| $attempt:expr) => {{
        let mut last = std::io::ErrorKind::InvalidInput.into();
        for $address in addr::candidates(&$addresses).resolve().await? {
            match $attempt.await {
                Ok(made) => return Ok(made),
                Err(error) => last = error,
            }
        }
        Err(last)
    }};
}
pub(crate) use first;

pub(crate) fn candidates(addresses: &impl ToSocketAddrs) -> Candidates {
    addresses.candidates()
}

/// getsockname(2) of an IP socket.
pub(crate) fn local_ip(fd: &impl AsFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(fd)?.try_into()?)
}

/// getpeername(2) of an IP socket.
pub(crate) fn peer_ip(fd: &impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getpeername(fd)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(address.try_into()?)
}

/// getsockname(2) of a Unix socket.
pub(crate) fn local_unix(fd: &impl AsFd) -> io::Result<UnixAddr> {
    as_std(fd)?.local_addr()
}

/// getpeername(2) of a Unix socket.
pub(crate) fn peer_unix(fd: &impl AsFd) -> io::Result<UnixAddr> {
    as_std(fd)?.peer_addr()
}

/// A duplicate, to ask std: rustix takes an unnamed address for an abstract one, and panics at a path of 108 bytes,
/// which a peer may have.
fn as_std(fd: &impl AsFd) -> io::Result<std::os::unix::net::UnixDatagram> {
    Ok(fd.as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_an_address_is_not_looked_up() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let known = Candidates::Known(vec![address]);
        assert_eq!("127.0.0.1:80".candidates(), known);
        assert_eq!(("127.0.0.1", 80).candidates(), known);
        assert_eq!(("127.0.0.1".to_owned(), 80).candidates(), known);
        assert_eq!((Ipv4Addr::LOCALHOST, 80).candidates(), known);
        assert_eq!("[::1]:80".to_owned().candidates(), ("::1", 80).candidates());
        assert_eq!("host:80".candidates(), Candidates::Text("host:80".into()));
        assert_eq!(("host", 80).candidates(), Candidates::Host("host".into(), 80));
    }

    #[test]
    fn no_address_is_an_error() {
        let none: &[SocketAddr] = &[];
        let error = pollster::block_on(none.candidates().resolve()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_text_without_a_port_is_an_error() {
        let error = pollster::block_on("localhost".candidates().resolve()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
