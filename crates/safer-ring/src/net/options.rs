//! Socket options that several types share: socket(7), tcp(7), ip(7), ipv6(7).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use safer_ring_backend::beside::sockopt::{self, is_v6};

/// How a TCP connection without traffic is probed: tcp(7). A field that is `None` stays as it is, at first the
/// system's (`net.ipv4.tcp_keepalive_*`: 2 hours, 75 seconds, 9 probes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`); whole seconds, rounded up, 1 to 32767.
    pub idle: Option<Duration>,
    /// Time between probes (`TCP_KEEPINTVL`); whole seconds, rounded up, 1 to 32767.
    pub interval: Option<Duration>,
    /// Probes without an answer before the connection is dropped (`TCP_KEEPCNT`), 1 to 127.
    pub probes: Option<u32>,
}

pub(crate) fn set_keepalive(fd: &impl AsFd, keepalive: Option<Keepalive>) -> io::Result<()> {
    if let Some(Keepalive { idle, interval, probes }) = keepalive {
        if let Some(idle) = idle {
            sockopt::set_tcp_keepidle(fd, idle)?;
        }
        if let Some(interval) = interval {
            sockopt::set_tcp_keepintvl(fd, interval)?;
        }
        if let Some(probes) = probes {
            sockopt::set_tcp_keepcnt(fd, probes)?;
        }
    }
    Ok(sockopt::set_socket_keepalive(fd, keepalive.is_some())?)
}

pub(crate) fn keepalive(fd: &impl AsFd) -> io::Result<Option<Keepalive>> {
    if !sockopt::socket_keepalive(fd)? {
        return Ok(None);
    }
    Ok(Some(Keepalive {
        idle: Some(sockopt::tcp_keepidle(fd)?),
        interval: Some(sockopt::tcp_keepintvl(fd)?),
        probes: Some(sockopt::tcp_keepcnt(fd)?),
    }))
}

/// Less than a millisecond is one: none would be the system's own choice.
pub(crate) fn set_user_timeout(fd: &impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    let ms = match timeout {
        None => 0,
        Some(time) => time.as_nanos().div_ceil(1_000_000).max(1),
    };
    let ms = u32::try_from(ms).ok().filter(|ms| i32::try_from(*ms).is_ok());
    let ms = ms.ok_or(safer_ring_backend::sys::Errno::INVAL)?;
    Ok(sockopt::set_tcp_user_timeout(fd, ms)?)
}

/// On an IPv6 socket both limits: it may have IPv4 peers.
pub(crate) fn set_ttl(fd: &impl AsFd, ttl: u32) -> io::Result<()> {
    if is_v6(fd)? {
        let hops = u8::try_from(ttl).map_err(|_| io::ErrorKind::InvalidInput)?;
        sockopt::set_ipv6_unicast_hops(fd, Some(hops))?;
    }
    Ok(sockopt::set_ip_ttl(fd, ttl)?)
}

pub(crate) fn ttl(fd: &impl AsFd) -> io::Result<u32> {
    if is_v6(fd)? {
        return Ok(u32::from(sockopt::ipv6_unicast_hops(fd)?));
    }
    Ok(sockopt::ip_ttl(fd)?)
}

/// Options of each IP socket.
macro_rules! ip_options {
    ($type:ident) => {
        impl<M: Mode> $type<M> {
            /// The address it is bound to: getsockname(2).
            ///
            /// # Errors
            /// Those of getsockname(2).
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                beside::local_ip(self)
            }

            /// How many routers a packet may pass (`IP_TTL`, and `IPV6_UNICAST_HOPS` on an IPv6 socket), 1 to 255.
            ///
            /// # Errors
            /// Those of setsockopt(2): `EINVAL` for another number.
            pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                options::set_ttl(self, ttl)
            }

            /// How many routers a packet may pass; on an IPv6 socket, a packet to an IPv6 peer.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn ttl(&self) -> io::Result<u32> {
                options::ttl(self)
            }

            /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                handle::take_error(self)
            }
        }
    };
}
pub(crate) use ip_options;

/// Sizes of the kernel's buffers.
macro_rules! buffer_options {
    ($type:ident) => {
        impl<M: Mode> $type<M> {
            /// Asks for room for `bytes` to send (`SO_SNDBUF`). The kernel doubles it, for its own needs, up to
            /// `net.core.wmem_max`.
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
                Ok(sockopt::set_socket_send_buffer_size(self, bytes)?)
            }

            /// Bytes of the buffer for sending, the kernel's own needs included.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn send_buffer_size(&self) -> io::Result<usize> {
                Ok(sockopt::socket_send_buffer_size(self)?)
            }

            /// Asks for room for `bytes` received (`SO_RCVBUF`). The kernel doubles it, for its own needs, up to
            /// `net.core.rmem_max`. Of a TCP socket, set it before it listens or connects: tcp(7).
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
                Ok(sockopt::set_socket_recv_buffer_size(self, bytes)?)
            }

            /// Bytes of the buffer for receiving, the kernel's own needs included.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn recv_buffer_size(&self) -> io::Result<usize> {
                Ok(sockopt::socket_recv_buffer_size(self)?)
            }
        }
    };
}
pub(crate) use buffer_options;

/// Options of a TCP connection, made or to be made.
macro_rules! tcp_options {
    ($type:ident) => {
        impl<M: Mode> $type<M> {
            /// Whether small pieces are sent at once, rather than collected while earlier ones are under way
            /// (`TCP_NODELAY`).
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
                Ok(sockopt::set_tcp_nodelay(self, nodelay)?)
            }

            /// Whether small pieces are sent at once.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn nodelay(&self) -> io::Result<bool> {
                Ok(sockopt::tcp_nodelay(self)?)
            }

            /// What closing does with bytes that have not been sent (`SO_LINGER`): `None` sends them in the
            /// background; a time makes close(2) wait for so long (whole seconds, rounded up), which blocks the thread
            /// that closes; zero drops them and resets the connection.
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
                Ok(sockopt::set_socket_linger(self, linger)?)
            }

            /// What closing does with bytes that have not been sent.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn linger(&self) -> io::Result<Option<Duration>> {
                Ok(sockopt::socket_linger(self)?)
            }

            /// Probes the connection when it is silent (`SO_KEEPALIVE`), or not.
            ///
            /// # Errors
            /// Those of setsockopt(2): `EINVAL` for times out of range.
            pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
                options::set_keepalive(self, keepalive)
            }

            /// How a silent connection is probed; all fields are there.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
                options::keepalive(self)
            }

            /// How long sent bytes may wait to be acknowledged, and the peer may keep its window closed, before the kernel
            /// ends the connection with `ETIMEDOUT` (`TCP_USER_TIMEOUT`): whole milliseconds, rounded up. `None`: as
            /// long as the kernel likes, which is for ever with a peer that answers and does not read.
            ///
            /// Until kernel 5.11 it was not kept for a closed window. For a bound that is the library's own, see
            /// [`Fd::set_send_limit`](crate::Fd::set_send_limit).
            ///
            /// # Errors
            /// Those of setsockopt(2): `EINVAL` for more than 24 days.
            pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                options::set_user_timeout(self, timeout)
            }

            /// How long sent bytes may wait.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
                let ms = sockopt::tcp_user_timeout(self)?;
                Ok((ms > 0).then(|| Duration::from_millis(u64::from(ms))))
            }

            /// Whether acknowledgements are sent at once (`TCP_QUICKACK`). Not for good: the kernel goes back to its
            /// own judgement, so set it again after receiving.
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
                Ok(sockopt::set_tcp_quickack(self, quickack)?)
            }

            /// Whether acknowledgements are sent at once, now.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn quickack(&self) -> io::Result<bool> {
                Ok(sockopt::tcp_quickack(self)?)
            }

            /// Whether an address may be bound that connections of an earlier socket still linger on
            /// (`SO_REUSEADDR`).
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn set_reuseaddr(&self, reuse: bool) -> io::Result<()> {
                Ok(sockopt::set_socket_reuseaddr(self, reuse)?)
            }

            /// Whether such an address may be bound.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn reuseaddr(&self) -> io::Result<bool> {
                Ok(sockopt::socket_reuseaddr(self)?)
            }
        }
    };
}
pub(crate) use tcp_options;
