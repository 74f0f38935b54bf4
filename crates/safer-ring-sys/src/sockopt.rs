//! Options of sockets that safe libraries do not offer: setsockopt(2), getsockopt(2).
//!
//! # Safety
//! The kernel reads or writes a structure of plain numbers during the call and keeps no pointer; the size given is
//! that of the structure.
//!
//! Tests: joining_datagrams_is_switched_on_and_off, a_peer_is_known_by_its_credentials
#![allow(unsafe_code, reason = "system calls")]

use core::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Errno;

/// `SOL_UDP`: options and control data of udp(7).
pub const SOL_UDP: i32 = libc::SOL_UDP;
/// `UDP_SEGMENT`: control data, the size of the datagrams that a send is cut into.
pub const UDP_SEGMENT: i32 = libc::UDP_SEGMENT;
/// `UDP_GRO`: an option, and control data, the size of the datagrams that a receive was joined from.
pub const UDP_GRO: i32 = libc::UDP_GRO;

/// What `SO_PEERCRED` tells; unix(7). Plain numbers: a peer of another PID namespace has the PID 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerCredentials {
    /// Process ID, or 0.
    pub pid: i32,
    /// Effective user ID.
    pub uid: u32,
    /// Effective group ID.
    pub gid: u32,
}

const _: () = assert!(size_of::<PeerCredentials>() == size_of::<libc::ucred>());

/// `UDP_GRO`: whether datagrams of one sender are joined. Kernel 5.0.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_udp_gro(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let on = libc::c_int::from(on);
    // SAFETY: the kernel reads one `int` and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), SOL_UDP, UDP_GRO, (&raw const on).cast(), len::<i32>())
    };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// `UDP_GRO`, as it is set.
///
/// # Errors
/// Those of getsockopt(2).
pub fn udp_gro(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut on: libc::c_int = 0;
    let mut len = len::<i32>();
    // SAFETY: the kernel writes at most `len` bytes, which is one `int`, and keeps no pointer.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), SOL_UDP, UDP_GRO, (&raw mut on).cast(), &raw mut len)
    };
    if result < 0 { Err(Errno::last()) } else { Ok(on != 0) }
}

/// `SO_PEERCRED`: who made the other end of a Unix socket.
///
/// # Errors
/// Those of getsockopt(2).
pub fn peer_credentials(fd: BorrowedFd<'_>) -> Result<PeerCredentials, Errno> {
    let mut found = PeerCredentials::default();
    let mut len = len::<PeerCredentials>();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the kernel writes at most `len` bytes, a `struct ucred`: three numbers, as here. It keeps no pointer.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut found).cast(), &raw mut len)
    };
    if result < 0 { Err(Errno::last()) } else { Ok(found) }
}

fn len<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}
