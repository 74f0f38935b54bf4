//! Socket addresses, as Rust values and as the kernel's bytes.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_storage)`.
const STORAGE: usize = 128;
const FAMILY: usize = 2;
const IPV4_LEN: u32 = 16;
const IPV6_LEN: u32 = 28;
/// `sizeof(sun_path)`.
const UNIX_PATH: usize = 108;

/// The address of a socket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A path, an abstract name, or unnamed.
    Unix(UnixAddr),
    /// A family that this library does not take apart: the bytes of the kernel's structure.
    Other {
        /// The address family (`AF_*`).
        family: u16,
        /// What follows the family.
        bytes: Vec<u8>,
    },
}

impl Address {
    /// The address of a Unix socket at a path.
    ///
    /// # Errors
    /// If the path is longer than 107 bytes or has a zero byte in it.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        UnixAddr::from_pathname(path).map(Self::Unix)
    }

    /// The address family (`AF_*`), as socket(2) wants it.
    pub fn family(&self) -> u16 {
        match self {
            Self::Ip(SocketAddr::V4(_)) => AF_INET,
            Self::Ip(SocketAddr::V6(_)) => AF_INET6,
            Self::Unix(_) => AF_UNIX,
            Self::Other { family, .. } => *family,
        }
    }

    /// The IP address and port, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<SocketAddrV4> for Address {
    fn from(address: SocketAddrV4) -> Self {
        Self::Ip(address.into())
    }
}

impl From<SocketAddrV6> for Address {
    fn from(address: SocketAddrV6) -> Self {
        Self::Ip(address.into())
    }
}

impl From<UnixAddr> for Address {
    fn from(address: UnixAddr) -> Self {
        Self::Unix(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(address) => fmt::Debug::fmt(address, f),
            Self::Other { family, .. } => write!(f, "(address of family {family})"),
        }
    }
}

/// Room for any address, as the kernel reads and writes it.
#[derive(Clone)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; STORAGE],
    /// Bytes used; for the kernel to fill, the room.
    pub(crate) len: u32,
}

impl RawAddress {
    /// All room, nothing in it.
    pub(crate) fn room() -> Self {
        Self { bytes: [0; STORAGE], len: 128 }
    }

    /// What a kernel has written.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut raw = Self { bytes: [0; STORAGE], len: 0 };
        let len = bytes.len().min(STORAGE);
        if let (Some(room), Some(bytes)) = (raw.bytes.get_mut(..len), bytes.get(..len)) {
            room.copy_from_slice(bytes);
            raw.set_len(len);
        }
        raw
    }

    /// The kernel's form of `address`.
    ///
    /// # Errors
    /// If it does not fit into `sockaddr_storage`.
    pub(crate) fn encode(address: &Address) -> io::Result<Self> {
        let mut raw = Self { bytes: [0; STORAGE], len: 0 };
        raw.put(0, &address.family().to_ne_bytes())?;
        match address {
            Address::Ip(SocketAddr::V4(v4)) => {
                raw.put(2, &v4.port().to_be_bytes())?;
                raw.put(4, &v4.ip().octets())?;
                raw.len = IPV4_LEN;
            }
            Address::Ip(SocketAddr::V6(v6)) => {
                raw.put(2, &v6.port().to_be_bytes())?;
                raw.put(4, &v6.flowinfo().to_ne_bytes())?;
                raw.put(8, &v6.ip().octets())?;
                raw.put(24, &v6.scope_id().to_ne_bytes())?;
                raw.len = IPV6_LEN;
            }
            Address::Unix(unix) => raw.put_unix(unix)?,
            Address::Other { bytes, .. } => {
                raw.put(FAMILY, bytes)?;
                raw.set_len(FAMILY + bytes.len());
            }
        }
        Ok(raw)
    }

    fn put_unix(&mut self, unix: &UnixAddr) -> io::Result<()> {
        if let Some(name) = unix.as_abstract_name() {
            self.put(FAMILY + 1, name)?;
            self.set_len(FAMILY + 1 + name.len());
        } else if let Some(path) = unix.as_pathname() {
            let path = path.as_os_str().as_bytes();
            self.put(FAMILY, path)?;
            // With the zero byte at its end.
            self.set_len(FAMILY + path.len() + 1);
        } else {
            self.set_len(FAMILY);
        }
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let room = self.bytes.get_mut(at..at + bytes.len());
        room.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the socket address is too long")
        })?
        .copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len).unwrap_or(0);
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..).and_then(|tail| tail.first_chunk()).copied().unwrap_or([0; N])
    }

    /// What the kernel has written; `None` if there is no address.
    pub(crate) fn decode(&self) -> Option<Address> {
        let len = usize::try_from(self.len).unwrap_or(0).min(STORAGE);
        if len < FAMILY {
            return None;
        }
        let port = u16::from_be_bytes(self.get(2));
        match u16::from_ne_bytes(self.get(0)) {
            AF_INET if self.len >= IPV4_LEN => {
                let ip = Ipv4Addr::from(self.get::<4>(4));
                Some(SocketAddrV4::new(ip, port).into())
            }
            AF_INET6 if self.len >= IPV6_LEN => {
                let ip = Ipv6Addr::from(self.get::<16>(8));
                let flow = u32::from_ne_bytes(self.get(4));
                let scope = u32::from_ne_bytes(self.get(24));
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            AF_UNIX => decode_unix(self.bytes.get(FAMILY..len)?),
            family => Some(Address::Other { family, bytes: self.bytes.get(FAMILY..len)?.to_vec() }),
        }
    }
}

fn decode_unix(name: &[u8]) -> Option<Address> {
    let name = name.get(..name.len().min(UNIX_PATH))?;
    let address = match name.split_first() {
        Some((0, rest)) if !rest.is_empty() => UnixAddr::from_abstract_name(rest),
        Some((first, _)) if *first != 0 => {
            let path = name.split(|byte| *byte == 0).next()?;
            UnixAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))
        }
        // No name at all. An empty path is how std says that.
        _ => UnixAddr::from_pathname(""),
    };
    address.ok().map(Address::Unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(address: Address) -> Address {
        RawAddress::encode(&address).unwrap().decode().unwrap()
    }

    #[test]
    fn ip_addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:80", "255.1.2.3:65535", "[::1]:443", "[fe80::1:2]:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(round_trip(address.into()).ip(), Some(address));
        }
        let scoped = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3);
        assert_eq!(round_trip(scoped.into()).ip(), Some(scoped.into()));
    }

    #[test]
    fn unix_addresses_survive_the_round_trip() {
        let Address::Unix(path) = round_trip(Address::unix("/tmp/a").unwrap()) else { panic!() };
        assert_eq!(path.as_pathname(), Some(Path::new("/tmp/a")));
        let name = UnixAddr::from_abstract_name(b"x\0y").unwrap();
        let Address::Unix(back) = round_trip(name.into()) else { panic!() };
        assert_eq!(back.as_abstract_name(), Some(&b"x\0y"[..]));
        let Address::Unix(none) = round_trip(UnixAddr::from_pathname("").unwrap().into()) else {
            panic!()
        };
        assert!(none.is_unnamed());
    }

    #[test]
    fn what_a_kernel_claims_is_not_trusted() {
        let mut raw = RawAddress::room();
        raw.len = u32::MAX;
        assert!(matches!(raw.decode(), Some(Address::Other { family: 0, .. })));
        raw.len = 1;
        assert!(raw.decode().is_none());
        let mut short = RawAddress::encode(&Address::Ip("1.2.3.4:5".parse().unwrap())).unwrap();
        short.len = 6;
        assert!(matches!(short.decode(), Some(Address::Other { family: AF_INET, .. })));
    }

    #[test]
    fn an_address_that_is_too_long_is_refused() {
        let long = Address::Other { family: 40, bytes: vec![0; STORAGE] };
        let refused = RawAddress::encode(&long).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::InvalidInput));
    }
}
