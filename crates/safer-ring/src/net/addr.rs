//! Addresses: from names, from the kernel, as the kernel tells them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use safer_ring_backend::{Mode, beside};

use crate::RingOf;
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
    pub(crate) async fn resolve<M: Mode>(self, ring: &RingOf<M>) -> io::Result<Vec<SocketAddr>> {
        let found = match self.in_world(ring) {
            Ok(found) => found?,
            Err(Self::Known(known)) => known,
            Err(Self::Text(text)) => unblock(move || look_up(&*text)).await??,
            Err(Self::Host(host, port)) => unblock(move || look_up((&*host, port))).await??,
        };
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to try"));
        }
        Ok(found)
    }

    /// The addresses of a name in the simulated world of a ring; anything else comes back.
    fn in_world<M: Mode>(self, ring: &RingOf<M>) -> Result<io::Result<Vec<SocketAddr>>, Self> {
        let (host, port) = match &self {
            Self::Known(_) => return Err(self),
            Self::Host(host, port) => (host.as_str(), Some(*port)),
            Self::Text(text) => match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()),
                None => (text.as_str(), None),
            },
        };
        let Some(port) = port else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "invalid socket address");
            return if beside::is_simulated::<M>(ring.inner()) {
                Ok(Err(error))
            } else {
                Err(self)
            };
        };
        beside::look_up::<M>(ring.inner(), host, port).ok_or(self)
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
    ($ring:expr, $addresses:expr, |$address:ident| $attempt:expr) => {{
        let mut last = std::io::ErrorKind::InvalidInput.into();
        for $address in addr::candidates(&$addresses).resolve($ring).await? {
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

    fn ring() -> crate::Ring {
        crate::Ring::new(2).unwrap()
    }

    #[test]
    fn no_address_is_an_error() {
        let none: &[SocketAddr] = &[];
        let error = pollster::block_on(none.candidates().resolve(&ring())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_text_without_a_port_is_an_error() {
        let error = pollster::block_on("localhost".candidates().resolve(&ring())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
