//! Options of sockets: setsockopt(2), getsockopt(2), as far as the library sets and asks them.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::kernel::Kernel;
use super::sockets::{DATAGRAM, INET, INET6, STREAM, Socket, State, UNIX};

/// Level and name.
pub(crate) type Name = (i32, i32);

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;
const UDP: i32 = libc::SOL_UDP;
pub(super) const REUSEADDR: Name = (SOCKET, libc::SO_REUSEADDR);
pub(super) const REUSEPORT: Name = (SOCKET, libc::SO_REUSEPORT);
pub(super) const BROADCAST: Name = (SOCKET, libc::SO_BROADCAST);
const SEND_BUFFER: Name = (SOCKET, libc::SO_SNDBUF);
const RECEIVE_BUFFER: Name = (SOCKET, libc::SO_RCVBUF);
const LOOP: Name = (IP, libc::IP_MULTICAST_LOOP);
const LOOP6: Name = (IPV6, libc::IPV6_MULTICAST_LOOP);
const V6ONLY: Name = (IPV6, libc::IPV6_V6ONLY);

/// `net.core.wmem_max` and `net.core.rmem_max`, as they are by default.
const LARGEST_BUFFER: i32 = 212_992;
/// What a buffer of TCP has at first: `net.ipv4.tcp_wmem` and `net.ipv4.tcp_rmem`.
const TCP_BUFFERS: (i32, i32) = (16_384, 131_072);
/// The smallest ones: socket(7).
const SMALLEST: (i32, i32) = (4608, 2304);

/// What was set.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    set: BTreeMap<Name, i32>,
    /// Seconds that closing waits: `SO_LINGER`.
    linger: Option<i32>,
}

impl Options {
    pub(super) fn is_on(&self, option: Name) -> bool {
        self.set.get(&option).is_some_and(|value| *value != 0)
    }

    /// A socket that is bound to one address of IPv6 has no peers by IPv4.
    pub(super) fn leave_ipv4_alone(&mut self) {
        self.set.insert(V6ONLY, 1);
    }

    /// Whether closing drops what has not been sent.
    pub(super) fn drops_the_rest(&self) -> bool {
        self.linger == Some(0)
    }

    /// Whether datagrams for a group come back to the sender's machine.
    pub(super) fn loops(&self, domain: u32) -> bool {
        let option = if domain == INET6 { LOOP6 } else { LOOP };
        self.set.get(&option).is_none_or(|value| *value != 0)
    }

    /// Bytes that it has room for, where that was asked for.
    pub(super) fn receive_room(&self) -> Option<usize> {
        self.set.get(&RECEIVE_BUFFER).map(|bytes| usize::try_from(*bytes).unwrap_or(0))
    }
}

/// What an option has at first; `None`: there is none of that name on a socket like that.
fn first(socket: &Socket, option: Name) -> Option<i32> {
    let stream = socket.kind == STREAM;
    let tcp = stream && socket.domain != UNIX;
    Some(match option {
        REUSEADDR | REUSEPORT | BROADCAST | (SOCKET, libc::SO_KEEPALIVE) => 0,
        SEND_BUFFER => {
            if tcp {
                TCP_BUFFERS.0
            } else {
                LARGEST_BUFFER
            }
        }
        RECEIVE_BUFFER => {
            if tcp {
                TCP_BUFFERS.1
            } else {
                LARGEST_BUFFER
            }
        }
        (TCP, libc::TCP_NODELAY | libc::TCP_USER_TIMEOUT) => 0,
        (TCP, libc::TCP_QUICKACK) => 1,
        (TCP, libc::TCP_KEEPIDLE) => 7200,
        (TCP, libc::TCP_KEEPINTVL) => 75,
        (TCP, libc::TCP_KEEPCNT) => 9,
        (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => 64,
        (IP, libc::IP_MULTICAST_TTL) | (IPV6, libc::IPV6_MULTICAST_HOPS) | LOOP | LOOP6 => 1,
        V6ONLY | (UDP, safer_ring_sys::sockopt::UDP_GRO) => 0,
        _ => return None,
    })
}

/// Whether a socket has options of a level at all; the error where it has not.
fn level_of(socket: &Socket, level: i32, absent: Errno) -> Result<(), Errno> {
    let (unix, stream) = (socket.domain == UNIX, socket.kind == STREAM);
    match level {
        SOCKET => Ok(()),
        _ if unix => Err(Errno::OPNOTSUPP),
        IP => Ok(()),
        IPV6 if socket.domain == INET6 => Ok(()),
        TCP if stream => Ok(()),
        UDP if !stream => Ok(()),
        _ => Err(absent),
    }
}

/// What a value becomes.
fn settled(socket: &Socket, option: Name, value: i32) -> Result<i32, Errno> {
    let within =
        |least, most| if (least..=most).contains(&value) { Ok(value) } else { Err(Errno::INVAL) };
    let room = |least: i32| Ok((value.clamp(0, LARGEST_BUFFER) * 2).max(least));
    match option {
        SEND_BUFFER => room(SMALLEST.0),
        RECEIVE_BUFFER => room(SMALLEST.1),
        (TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL) => within(1, 32_767),
        (TCP, libc::TCP_KEEPCNT) => within(1, 127),
        (IP, libc::IP_TTL) => within(1, 255),
        (IP, libc::IP_MULTICAST_TTL) | (IPV6, libc::IPV6_MULTICAST_HOPS)
            if socket.kind == STREAM =>
        {
            Err(Errno::INVAL)
        }
        (IP, libc::IP_MULTICAST_TTL) | (IPV6, libc::IPV6_MULTICAST_HOPS) if value == -1 => Ok(1),
        (IPV6, libc::IPV6_UNICAST_HOPS) if value == -1 => Ok(64),
        (IP, libc::IP_MULTICAST_TTL)
        | (IPV6, libc::IPV6_MULTICAST_HOPS | libc::IPV6_UNICAST_HOPS) => within(0, 255),
        LOOP6 => within(0, 1),
        V6ONLY if socket.bound.is_some() => Err(Errno::INVAL),
        _ => Ok(i32::from(value != 0)),
    }
}

impl Kernel {
    fn socket_mut(&mut self, fd: RawFd) -> Result<&mut Socket, Errno> {
        let (id, _) = self.socket_of(fd)?;
        self.sockets.get_mut(id).ok_or(Errno::NOTSOCK)
    }

    /// setsockopt(2) of a number.
    pub(crate) fn set_option(&mut self, fd: RawFd, option: Name, value: i32) -> Result<(), Errno> {
        let socket = self.socket_mut(fd)?;
        level_of(socket, option.0, Errno::NOPROTOOPT)?;
        first(socket, option).ok_or(Errno::NOPROTOOPT)?;
        let value = settled(socket, option, value)?;
        socket.options.set.insert(option, value);
        self.changed = true;
        Ok(())
    }

    /// getsockopt(2) of a number.
    pub(crate) fn option(&mut self, fd: RawFd, option: Name) -> Result<i32, Errno> {
        let socket = self.socket_mut(fd)?;
        level_of(socket, option.0, Errno::OPNOTSUPP)?;
        let number = |word: u32| i32::try_from(word).unwrap_or(0);
        match option {
            (SOCKET, libc::SO_TYPE) => return Ok(number(socket.kind)),
            (SOCKET, libc::SO_DOMAIN) => return Ok(number(socket.domain)),
            (SOCKET, libc::SO_ERROR) => {
                return Ok(socket.error.take().map_or(0, Errno::raw_os_error));
            }
            _ => {}
        }
        let at_first = first(socket, option).ok_or(Errno::NOPROTOOPT)?;
        Ok(socket.options.set.get(&option).copied().unwrap_or(at_first))
    }

    /// `SO_LINGER`: seconds, or nothing.
    pub(crate) fn set_linger(&mut self, fd: RawFd, linger: Option<i32>) -> Result<(), Errno> {
        self.socket_mut(fd)?.options.linger = linger;
        Ok(())
    }

    /// `SO_LINGER`.
    pub(crate) fn linger(&mut self, fd: RawFd) -> Result<Option<i32>, Errno> {
        Ok(self.socket_mut(fd)?.options.linger)
    }

    /// `SO_PEERCRED`: whether there is a peer, all of which are this process.
    pub(crate) fn has_credentials(&mut self, fd: RawFd) -> Result<bool, Errno> {
        let socket = self.socket_mut(fd)?;
        let connected = matches!(socket.state, State::Connected { .. } | State::Listening { .. });
        Ok(socket.domain == UNIX && connected && socket.kind == STREAM || socket.peer().is_some())
    }

    /// `IP_ADD_MEMBERSHIP` and `IPV6_ADD_MEMBERSHIP`, or the end of one. `known`: there is an interface like that.
    pub(crate) fn join_group(
        &mut self,
        fd: RawFd,
        group: &[u8],
        known: bool,
        joins: bool,
    ) -> Result<(), Errno> {
        let socket = self.socket_mut(fd)?;
        let (level, domain) = if group.len() == 4 { (IP, INET) } else { (IPV6, INET6) };
        level_of(socket, level, Errno::NOPROTOOPT)?;
        let many = match group.first() {
            Some(first) if domain == INET => (224..240).contains(first),
            first => first == Some(&0xff),
        };
        let joined = socket.groups.iter().position(|other| other == group);
        match (joins, joined) {
            (false, Some(at)) if known => drop(socket.groups.remove(at)),
            (false, _) => return Err(if known { Errno::ADDRNOTAVAIL } else { Errno::NODEV }),
            _ if socket.kind != DATAGRAM || !many => return Err(Errno::INVAL),
            _ if !known => return Err(Errno::NODEV),
            (true, None) => socket.groups.push(group.to_vec()),
            (true, Some(_)) => return Err(Errno::ADDRINUSE),
        }
        Ok(())
    }
}
