//! Options of UDP sockets: broadcast, multicast, joined datagrams.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use safer_ring_backend::Mode;
use safer_ring_backend::beside::sockopt::{self, is_v6};

use super::udp::UdpSocket;

impl<M: Mode> UdpSocket<M> {
    /// Whether datagrams may go to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        Ok(sockopt::set_socket_broadcast(self, broadcast)?)
    }

    /// Whether datagrams may go to broadcast addresses.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn broadcast(&self) -> io::Result<bool> {
        Ok(sockopt::socket_broadcast(self)?)
    }

    /// Joins a group on the interface with this address; `0.0.0.0` lets the kernel choose (`IP_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    /// Those of setsockopt(2): `EINVAL` if it is no multicast address, `ENODEV`, `EADDRINUSE`.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        Ok(sockopt::set_ip_add_membership(self, &group, &interface)?)
    }

    /// Leaves a group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// Those of setsockopt(2): `EADDRNOTAVAIL` if it was not joined.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        Ok(sockopt::set_ip_drop_membership(self, &group, &interface)?)
    }

    /// Joins a group on the interface with this index; 0 lets the kernel choose (`IPV6_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    /// Those of setsockopt(2): `EINVAL` if it is no multicast address, `ENODEV`, `EADDRINUSE`.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        Ok(sockopt::set_ipv6_add_membership(self, group, interface)?)
    }

    /// Leaves a group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// Those of setsockopt(2): `EADDRNOTAVAIL` if it was not joined.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        Ok(sockopt::set_ipv6_drop_membership(self, group, interface)?)
    }

    /// Whether what is sent to a group comes back to this machine: `IP_MULTICAST_LOOP`, or `IPV6_MULTICAST_LOOP` on an
    /// IPv6 socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_multicast_loop(&self, on: bool) -> io::Result<()> {
        let set = if is_v6(self)? {
            sockopt::set_ipv6_multicast_loop(self, on)
        } else {
            sockopt::set_ip_multicast_loop(self, on)
        };
        Ok(set?)
    }

    /// Whether what is sent to a group comes back to this machine.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn multicast_loop(&self) -> io::Result<bool> {
        let on = if is_v6(self)? {
            sockopt::ipv6_multicast_loop(self)
        } else {
            sockopt::ip_multicast_loop(self)
        };
        Ok(on?)
    }

    /// How many routers a datagram to a group may pass: `IP_MULTICAST_TTL`, or `IPV6_MULTICAST_HOPS` on an IPv6
    /// socket; 0 to 255, 1 at first.
    ///
    /// # Errors
    /// Those of setsockopt(2): `EINVAL` for another number.
    pub fn set_multicast_ttl(&self, ttl: u32) -> io::Result<()> {
        let set = if is_v6(self)? {
            sockopt::set_ipv6_multicast_hops(self, ttl)
        } else {
            sockopt::set_ip_multicast_ttl(self, ttl)
        };
        Ok(set?)
    }

    /// How many routers a datagram to a group may pass.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn multicast_ttl(&self) -> io::Result<u32> {
        let ttl = if is_v6(self)? {
            sockopt::ipv6_multicast_hops(self)
        } else {
            sockopt::ip_multicast_ttl(self)
        };
        Ok(ttl?)
    }

    /// Whether datagrams of one sender and one length may be joined into one receive (`UDP_GRO`): receive them with
    /// [`recv_segments`](UdpSocket::recv_segments), the only one that tells where they end. Kernel 5.0.
    ///
    /// # Errors
    /// Those of setsockopt(2): `ENOPROTOOPT` before kernel 5.0.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_udp_gro(self, on)?)
    }

    /// Whether datagrams may be joined.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn gro(&self) -> io::Result<bool> {
        Ok(sockopt::udp_gro(self)?)
    }
}
