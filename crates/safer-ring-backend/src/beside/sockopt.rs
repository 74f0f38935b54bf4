//! Options of sockets, under the names of `rustix::net::sockopt`: setsockopt(2), getsockopt(2), socket(7), tcp(7), ip(7), ipv6(7).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use safer_ring_sys::Errno;
use safer_ring_sys::sockopt::{PeerCredentials, SOL_UDP, UDP_GRO};

use super::{answer, simulated};
use crate::sim::OptionName;

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;

/// The two calls of an option: how a value becomes the number that a world keeps, and back.
macro_rules! options {
    ($($set:ident, $get:ident: $type:ty = $name:expr, $to:expr, $from:expr, $text:literal;)*) => {$(
        #[doc = concat!("Sets ", $text, ".")]
        ///
        /// # Errors
        /// Those of setsockopt(2).
        pub fn $set(fd: impl AsFd, value: $type) -> Result<(), Errno> {
            let to = |value: $type| -> Result<i32, Errno> { $to(value) };
            answer(
                "setsockopt",
                &fd,
                |world, number| world.set_option(number, $name, to(value)?),
                || sockopt::$set(&fd, value),
            )
        }

        #[doc = concat!("Asks ", $text, ".")]
        ///
        /// # Errors
        /// Those of getsockopt(2).
        pub fn $get(fd: impl AsFd) -> Result<$type, Errno> {
            answer(
                "getsockopt",
                &fd,
                |world, number| world.option(number, $name).map($from),
                || sockopt::$get(&fd),
            )
        }
    )*};
}

const KEEPALIVE: OptionName = (SOCKET, libc::SO_KEEPALIVE);
const HOPS: OptionName = (IPV6, libc::IPV6_UNICAST_HOPS);

fn on(value: bool) -> Result<i32, Errno> {
    Ok(i32::from(value))
}

fn is_on(value: i32) -> bool {
    value != 0
}

fn small(value: u32) -> Result<i32, Errno> {
    i32::try_from(value).map_err(|_| Errno::INVAL)
}

fn count(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// What does not fit is more than there can be.
fn bytes(value: usize) -> Result<i32, Errno> {
    Ok(i32::try_from(value).unwrap_or(i32::MAX))
}

fn size(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> Result<i32, Errno> {
    let part = u64::from(time.subsec_nanos() > 0);
    i32::try_from(time.as_secs().saturating_add(part)).map_err(|_| Errno::INVAL)
}

fn time(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

options! {
    set_socket_reuseaddr, socket_reuseaddr: bool = (SOCKET, libc::SO_REUSEADDR), on, is_on, "`SO_REUSEADDR`";
    set_socket_reuseport, socket_reuseport: bool = (SOCKET, libc::SO_REUSEPORT), on, is_on, "`SO_REUSEPORT`";
    set_socket_broadcast, socket_broadcast: bool = (SOCKET, libc::SO_BROADCAST), on, is_on, "`SO_BROADCAST`";
    set_socket_keepalive, socket_keepalive: bool = KEEPALIVE, on, is_on, "`SO_KEEPALIVE`";
    set_socket_send_buffer_size, socket_send_buffer_size: usize = (SOCKET, libc::SO_SNDBUF), bytes, size, "`SO_SNDBUF`";
    set_socket_recv_buffer_size, socket_recv_buffer_size: usize = (SOCKET, libc::SO_RCVBUF), bytes, size, "`SO_RCVBUF`";
    set_tcp_nodelay, tcp_nodelay: bool = (TCP, libc::TCP_NODELAY), on, is_on, "`TCP_NODELAY`";
    set_tcp_quickack, tcp_quickack: bool = (TCP, libc::TCP_QUICKACK), on, is_on, "`TCP_QUICKACK`";
    set_tcp_keepidle, tcp_keepidle: Duration = (TCP, libc::TCP_KEEPIDLE), seconds, time, "`TCP_KEEPIDLE`";
    set_tcp_keepintvl, tcp_keepintvl: Duration = (TCP, libc::TCP_KEEPINTVL), seconds, time, "`TCP_KEEPINTVL`";
    set_tcp_keepcnt, tcp_keepcnt: u32 = (TCP, libc::TCP_KEEPCNT), small, count, "`TCP_KEEPCNT`";
    set_tcp_user_timeout, tcp_user_timeout: u32 = (TCP, libc::TCP_USER_TIMEOUT), small, count, "`TCP_USER_TIMEOUT`";
    set_ip_ttl, ip_ttl: u32 = (IP, libc::IP_TTL), small, count, "`IP_TTL`";
    set_ip_multicast_ttl, ip_multicast_ttl: u32 = (IP, libc::IP_MULTICAST_TTL), small, count, "`IP_MULTICAST_TTL`";
    set_ip_multicast_loop, ip_multicast_loop: bool = (IP, libc::IP_MULTICAST_LOOP), on, is_on, "`IP_MULTICAST_LOOP`";
    set_ipv6_multicast_hops, ipv6_multicast_hops: u32 = (IPV6, libc::IPV6_MULTICAST_HOPS), small, count, "`IPV6_MULTICAST_HOPS`";
    set_ipv6_multicast_loop, ipv6_multicast_loop: bool = (IPV6, libc::IPV6_MULTICAST_LOOP), on, is_on, "`IPV6_MULTICAST_LOOP`";
    set_ipv6_v6only, ipv6_v6only: bool = (IPV6, libc::IPV6_V6ONLY), on, is_on, "`IPV6_V6ONLY`";
}

/// Sets `IPV6_UNICAST_HOPS`.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_ipv6_unicast_hops(fd: impl AsFd, hops: Option<u8>) -> Result<(), Errno> {
    let value = hops.map_or(-1, i32::from);
    answer(
        "setsockopt",
        &fd,
        |world, number| world.set_option(number, HOPS, value),
        || sockopt::set_ipv6_unicast_hops(&fd, hops),
    )
}

/// Asks `IPV6_UNICAST_HOPS`.
///
/// # Errors
/// Those of getsockopt(2).
pub fn ipv6_unicast_hops(fd: impl AsFd) -> Result<u8, Errno> {
    answer(
        "getsockopt",
        &fd,
        |world, number| Ok(u8::try_from(world.option(number, HOPS)?).unwrap_or(u8::MAX)),
        || sockopt::ipv6_unicast_hops(&fd),
    )
}

/// Sets `SO_LINGER`; whole seconds, rounded up.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_socket_linger(fd: impl AsFd, linger: Option<Duration>) -> Result<(), Errno> {
    answer(
        "setsockopt",
        &fd,
        |world, number| world.set_linger(number, linger.map(seconds).transpose()?),
        || sockopt::set_socket_linger(&fd, linger),
    )
}

/// Asks `SO_LINGER`.
///
/// # Errors
/// Those of getsockopt(2).
pub fn socket_linger(fd: impl AsFd) -> Result<Option<Duration>, Errno> {
    answer(
        "getsockopt",
        &fd,
        |world, number| Ok(world.linger(number)?.map(time)),
        || sockopt::socket_linger(&fd),
    )
}

/// Asks `SO_ERROR`, which clears it.
///
/// # Errors
/// Those of getsockopt(2).
pub fn socket_error(fd: impl AsFd) -> Result<Option<Errno>, Errno> {
    answer(
        "getsockopt",
        &fd,
        |world, number| {
            let pending = world.option(number, (SOCKET, libc::SO_ERROR))?;
            Ok(Errno::from_raw_os_error(pending))
        },
        || sockopt::socket_error(&fd).map(|pending| pending.err().map(crate::wake::os_errno)),
    )
}

/// Whether it is a socket of IPv6: `SO_DOMAIN`.
///
/// # Errors
/// Those of getsockopt(2).
pub fn is_v6(fd: impl AsFd) -> Result<bool, Errno> {
    answer(
        "getsockopt",
        &fd,
        |world, number| Ok(world.option(number, (SOCKET, libc::SO_DOMAIN))? == libc::AF_INET6),
        || sockopt::socket_domain(&fd).map(|domain| domain == AddressFamily::INET6),
    )
}

/// `SO_TYPE`: whether the socket has messages that stay apart.
pub(crate) fn has_messages(fd: impl AsFd) -> bool {
    let messages = [SocketType::DGRAM, SocketType::SEQPACKET, SocketType::RAW, SocketType::RDM];
    sockopt::socket_type(fd).is_ok_and(|kind| messages.contains(&kind))
}

/// `SO_PEERCRED`: who made the other end of a Unix socket. All sockets of a world are of this process.
///
/// # Errors
/// Those of getsockopt(2).
pub fn peer_credentials(fd: impl AsFd) -> Result<PeerCredentials, Errno> {
    let Some(known) = simulated("getsockopt", &fd, |world, fd| world.has_credentials(fd)) else {
        return safer_ring_sys::sockopt::peer_credentials(fd.as_fd());
    };
    if !known? {
        return Ok(PeerCredentials { pid: 0, uid: u32::MAX, gid: u32::MAX });
    }
    Ok(PeerCredentials {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    })
}

/// Sets `UDP_GRO`. Kernel 5.0.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_udp_gro(fd: impl AsFd, joins: bool) -> Result<(), Errno> {
    let value = i32::from(joins);
    match simulated("setsockopt", &fd, |world, fd| world.set_option(fd, (SOL_UDP, UDP_GRO), value))
    {
        Some(answer) => answer,
        None => safer_ring_sys::sockopt::set_udp_gro(fd.as_fd(), joins),
    }
}

/// Asks `UDP_GRO`.
///
/// # Errors
/// Those of getsockopt(2).
pub fn udp_gro(fd: impl AsFd) -> Result<bool, Errno> {
    match simulated("getsockopt", &fd, |world, fd| world.option(fd, (SOL_UDP, UDP_GRO))) {
        Some(answer) => answer.map(is_on),
        None => safer_ring_sys::sockopt::udp_gro(fd.as_fd()),
    }
}

/// The calls that join and leave a group.
macro_rules! groups {
    ($($name:ident($group:ty, $interface:ty), $joins:literal, $known:expr, $text:literal;)*) => {$(
        #[doc = $text]
        ///
        /// # Errors
        /// Those of setsockopt(2).
        pub fn $name(
            fd: impl AsFd,
            group: &$group,
            interface: $interface,
        ) -> Result<(), Errno> {
            answer(
                "setsockopt",
                &fd,
                |world, number| {
                    world.join_group(number, &group.octets(), $known(interface), $joins)
                },
                || sockopt::$name(&fd, group, interface),
            )
        }
    )*};
}

/// The interfaces of a world: the loopback, and whatever the kernel would choose.
fn is_here(interface: &Ipv4Addr) -> bool {
    interface.is_unspecified() || interface.is_loopback()
}

fn is_first(interface: u32) -> bool {
    interface <= 1
}

groups! {
    set_ip_add_membership(Ipv4Addr, &Ipv4Addr), true, is_here, "`IP_ADD_MEMBERSHIP`.";
    set_ip_drop_membership(Ipv4Addr, &Ipv4Addr), false, is_here, "`IP_DROP_MEMBERSHIP`.";
    set_ipv6_add_membership(Ipv6Addr, u32), true, is_first, "`IPV6_ADD_MEMBERSHIP`.";
    set_ipv6_drop_membership(Ipv6Addr, u32), false, is_first, "`IPV6_DROP_MEMBERSHIP`.";
}
