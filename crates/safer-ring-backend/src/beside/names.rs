//! Names and addresses: of sockets, of hosts, of files. What has no descriptor to ask is asked of the ring.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};

use safer_ring_sys::Errno;

use super::{own, simulated};
use crate::addr::{Address, RawAddress};
use crate::fd::Fd;
use crate::mode::Mode;
use crate::sim::Kernel;

/// The answer of a ring's world; `None` if the ring is one of the machine.
fn of_world<M: Mode, T>(
    ring: &M::Ring,
    name: &'static str,
    ask: impl FnOnce(&mut Kernel) -> Result<T, Errno>,
) -> Option<io::Result<T>> {
    let world = M::world(ring)?;
    let mut kernel = world.kernel();
    let answer = ask(&mut kernel);
    kernel.note_call(name, -1, answer.as_ref().err().copied());
    Some(answer.map_err(io::Error::from))
}

/// Whether a ring is one of a simulated world: nothing there blocks.
pub fn is_simulated<M: Mode>(ring: &M::Ring) -> bool {
    M::world(ring).is_some()
}

fn address(bytes: &[u8]) -> io::Result<Address> {
    RawAddress::of(bytes).decode().ok_or_else(|| Errno::INVAL.into())
}

fn ip(bytes: &[u8]) -> io::Result<SocketAddr> {
    address(bytes)?.ip().ok_or_else(|| Errno::AFNOSUPPORT.into())
}

fn unix(bytes: &[u8]) -> io::Result<UnixAddr> {
    match address(bytes)? {
        Address::Unix(address) => Ok(address),
        _ => Err(Errno::AFNOSUPPORT.into()),
    }
}

/// getsockname(2) of an IP socket.
///
/// # Errors
/// Those of getsockname(2).
pub fn local_ip(fd: impl AsFd) -> io::Result<SocketAddr> {
    match simulated("getsockname", &fd, |world, fd| world.socket_name(fd)) {
        Some(name) => ip(&name?),
        None => Ok(rustix::net::getsockname(fd)?.try_into()?),
    }
}

/// getpeername(2) of an IP socket.
///
/// # Errors
/// Those of getpeername(2): `ENOTCONN`.
pub fn peer_ip(fd: impl AsFd) -> io::Result<SocketAddr> {
    match simulated("getpeername", &fd, |world, fd| world.peer_name(fd)) {
        Some(name) => ip(&name?),
        None => {
            let address = rustix::net::getpeername(fd)?.ok_or(io::ErrorKind::NotConnected)?;
            Ok(address.try_into()?)
        }
    }
}

/// getsockname(2) of a Unix socket.
///
/// # Errors
/// Those of getsockname(2), and of dup(2).
pub fn local_unix(fd: impl AsFd) -> io::Result<UnixAddr> {
    match simulated("getsockname", &fd, |world, fd| world.socket_name(fd)) {
        Some(name) => unix(&name?),
        None => as_std(&fd)?.local_addr(),
    }
}

/// getpeername(2) of a Unix socket.
///
/// # Errors
/// Those of getpeername(2), `ENOTCONN`, and of dup(2).
pub fn peer_unix(fd: impl AsFd) -> io::Result<UnixAddr> {
    match simulated("getpeername", &fd, |world, fd| world.peer_name(fd)) {
        Some(name) => unix(&name?),
        None => as_std(&fd)?.peer_addr(),
    }
}

/// A duplicate, to ask std: rustix takes an unnamed address for an abstract one, and panics at a path of 108 bytes,
/// which a peer may have.
fn as_std(fd: &impl AsFd) -> io::Result<std::os::unix::net::UnixDatagram> {
    Ok(fd.as_fd().try_clone_to_owned()?.into())
}

/// socketpair(2) of Unix sockets in the world of a ring. `kind`: `SOCK_STREAM` or `SOCK_DGRAM`.
///
/// # Errors
/// `EMFILE`.
pub fn pair<M: Mode>(ring: &M::Ring, kind: u32) -> Option<io::Result<(Fd<M>, Fd<M>)>> {
    let made = of_world::<M, _>(ring, "socketpair", |kernel| kernel.pair(kind))?;
    Some(made.map(|(one, other)| (own(one), own(other))))
}

/// memfd_create(2) in the world of a ring.
///
/// # Errors
/// `EINVAL` for a name that is too long; `EMFILE`.
pub fn memory_file<M: Mode>(ring: &M::Ring, name: &str) -> Option<io::Result<Fd<M>>> {
    let ask = |kernel: &mut Kernel| match name.as_bytes() {
        name if name.contains(&0) => Err(Errno::INVAL),
        name => kernel.file_in_memory(name),
    };
    Some(of_world::<M, RawFd>(ring, "memfd_create", ask)?.map(own))
}

/// The addresses of a host in the world of a ring: `localhost`, and those that the world was told of.
///
/// # Errors
/// If there is no such host.
pub fn look_up<M: Mode>(
    ring: &M::Ring,
    host: &str,
    port: u16,
) -> Option<io::Result<Vec<SocketAddr>>> {
    let found = of_world::<M, _>(ring, "getaddrinfo", |kernel| Ok(kernel.look_up(host)))?;
    let with_port =
        |all: Vec<IpAddr>| all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Some(found.and_then(|found| {
        let missing = || io::Error::other("the simulated world has no host of this name");
        found.map(with_port).ok_or_else(missing)
    }))
}

/// readlink(2) in the world of a ring.
///
/// # Errors
/// Those of readlink(2).
pub fn read_link<M: Mode>(ring: &M::Ring, path: &Path) -> Option<io::Result<PathBuf>> {
    let path = path.as_os_str().as_bytes();
    let target = of_world::<M, _>(ring, "readlink", |kernel| kernel.read_link(path))?;
    Some(target.map(|target| OsString::from_vec(target).into()))
}

/// realpath(3) in the world of a ring.
///
/// # Errors
/// Those of realpath(3).
pub fn canonicalize<M: Mode>(ring: &M::Ring, path: &Path) -> Option<io::Result<PathBuf>> {
    let path = path.as_os_str().as_bytes();
    let real = of_world::<M, _>(ring, "realpath", |kernel| kernel.real_path(path))?;
    Some(real.map(|path| OsString::from_vec(path).into()))
}

/// chmod(2) in the world of a ring.
///
/// # Errors
/// Those of chmod(2).
pub fn set_permissions<M: Mode>(ring: &M::Ring, path: &Path, mode: u32) -> Option<io::Result<()>> {
    let path = path.as_os_str().as_bytes();
    of_world::<M, _>(ring, "chmod", |kernel| kernel.set_mode_of(path, mode))
}

/// fchmod(2) of a descriptor of a world.
///
/// # Errors
/// Those of fchmod(2).
pub fn set_permissions_of(fd: impl AsFd, mode: u32) -> Option<io::Result<()>> {
    let answer = simulated("fchmod", &fd, |world, fd| world.set_mode(fd, mode))?;
    Some(answer.map_err(io::Error::from))
}

/// An entry of a directory in a world.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What kind of file it is, and its permissions: `st_mode`.
    pub mode: u32,
    /// Inode number.
    pub ino: u64,
}

/// All entries of a directory of a world, without `.` and `..`: getdents(2).
///
/// # Errors
/// `ENOTDIR`; `EIO` after a crash.
pub fn entries(fd: impl AsFd) -> Option<io::Result<Vec<DirEntry>>> {
    let found = simulated("getdents", &fd, |world, fd| world.entries(fd))?;
    let entry = |entry: crate::sim::Entry| DirEntry {
        name: OsStr::from_bytes(&entry.name).to_owned(),
        mode: entry.mode,
        ino: entry.ino,
    };
    Some(found.map(|all| all.into_iter().map(entry).collect()).map_err(io::Error::from))
}
