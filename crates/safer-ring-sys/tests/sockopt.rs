//! Socket options.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixStream};

use safer_ring_sys::{Errno, sockopt};

#[test]
fn joining_datagrams_is_switched_on_and_off() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for on in [true, false] {
        sockopt::set_udp_gro(socket.as_fd(), on).unwrap();
        assert_eq!(sockopt::udp_gro(socket.as_fd()), Ok(on));
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(sockopt::set_udp_gro(file.as_fd(), true), Err(Errno::NOTSOCK));
    assert_eq!(sockopt::udp_gro(file.as_fd()), Err(Errno::NOTSOCK));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(sockopt::set_udp_gro(tcp.as_fd(), true).is_err());
}

#[test]
fn a_peer_is_known_by_its_credentials() {
    let (a, _b) = UnixStream::pair().unwrap();
    let found = sockopt::peer_credentials(a.as_fd()).unwrap();
    assert_eq!(u32::try_from(found.pid), Ok(std::process::id()));
    // Nobody: no process, and the users and groups of nobody.
    let lonely = UnixDatagram::unbound().unwrap();
    let found = sockopt::peer_credentials(lonely.as_fd()).unwrap();
    assert_eq!((found.pid, found.uid, found.gid), (0, u32::MAX, u32::MAX));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(sockopt::peer_credentials(file.as_fd()), Err(Errno::NOTSOCK));
}
