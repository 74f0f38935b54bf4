//! Addresses of sockets: who is bound to what, and who is reached by it. All sockets of a world are on one host.

use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::kernel::Kernel;
use super::options;
use super::sockets::{DATAGRAM, INET, INET6, Socket, State, UNIX};

/// The first port that a socket without one gets: ip(7), `ip_local_port_range`.
const FIRST_PORT: u16 = 32_768;

/// The parts of an address that tell sockets apart: port and host, or a Unix name.
pub(super) fn key(domain: u32, address: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let part = |from: usize, to: usize| address.get(from..to).unwrap_or_default().to_vec();
    match domain {
        INET => (part(2, 4), part(4, 8)),
        INET6 => (part(2, 4), part(8, 24)),
        _ => {
            let name = address.get(2..).unwrap_or_default();
            let name = match name.split_first() {
                Some((0, _)) | None => name,
                _ => name.split(|byte| *byte == 0).next().unwrap_or_default(),
            };
            (name.to_vec(), Vec::new())
        }
    }
}

/// Whether a host is that of every address.
fn is_anywhere(domain: u32, host: &[u8]) -> bool {
    domain != UNIX && host.iter().all(|byte| *byte == 0)
}

/// Whether what is sent to `to` comes to a socket that is bound to `bound`.
fn reaches(domain: u32, bound: &[u8], to: &[u8]) -> bool {
    let (bound, to) = (key(domain, bound), key(domain, to));
    bound.0 == to.0 && (is_anywhere(domain, &bound.1) || bound.1 == to.1)
}

/// Whether an address is one of many receivers.
pub(super) fn is_group(domain: u32, address: &[u8]) -> bool {
    let first = key(domain, address).1.first().copied().unwrap_or(0);
    match domain {
        INET => (224..240).contains(&first),
        INET6 => first == 0xff,
        _ => false,
    }
}

pub(super) fn is_broadcast(domain: u32, address: &[u8]) -> bool {
    domain == INET && key(domain, address).1 == [255; 4]
}

/// Whether an address is of the family of a socket that connects.
pub(super) fn fits(domain: u32, to: &[u8]) -> Result<(), Errno> {
    let family = to.first_chunk().map_or(0, |family| u32::from(u16::from_ne_bytes(*family)));
    match domain {
        _ if family == domain => Ok(()),
        INET => Err(Errno::AFNOSUPPORT),
        // RFC 2133: an address of IPv4 is too short to be looked at.
        INET6 if to.len() >= 24 => Err(Errno::AFNOSUPPORT),
        _ => Err(Errno::INVAL),
    }
}

/// An address without a host is that of the loopback: ip(7).
pub(super) fn with_host(domain: u32, mut address: Vec<u8>) -> Vec<u8> {
    if is_anywhere(domain, &key(domain, &address).1) {
        let (at, host): (usize, &[u8]) =
            if domain == INET { (4, &[127, 0, 0, 1]) } else { (23, &[1]) };
        if let Some(place) = address.get_mut(at..at + host.len()) {
            place.copy_from_slice(host);
        }
    }
    address
}

impl Socket {
    /// Its address as getsockname(2) tells it.
    pub(super) fn name(&self) -> Vec<u8> {
        if let Some(bound) = &self.bound {
            return bound.clone();
        }
        let mut name = u16::try_from(self.domain).unwrap_or(0).to_ne_bytes().to_vec();
        match self.domain {
            INET => name.resize(16, 0),
            INET6 => name.resize(28, 0),
            _ => {}
        }
        name
    }

    /// Whether it forbids another socket to be bound to `address`.
    fn forbids(&self, new: &Socket, address: &[u8]) -> bool {
        let Some(bound) = self.bound.as_ref().filter(|_| !self.closed) else { return false };
        if self.domain != new.domain || self.kind != new.kind {
            return false;
        }
        let (mine, its) = (key(self.domain, bound), key(self.domain, address));
        let somewhere = !is_anywhere(self.domain, &mine.1) && !is_anywhere(self.domain, &its.1);
        if mine.0 != its.0 || (somewhere && mine.1 != its.1) {
            return false;
        }
        let both = |option| self.options.is_on(option) && new.options.is_on(option);
        let listens = matches!(self.state, State::Listening { .. });
        let shares = both(options::REUSEPORT) || (both(options::REUSEADDR) && !listens);
        self.domain == UNIX || !shares
    }
}

impl Kernel {
    /// The open sockets that are bound to an address and have no connection, in the order in which they were made, and
    /// whether they are bound to this host alone.
    fn bound_to(&self, domain: u32, kind: u32, to: &[u8]) -> Vec<(bool, usize)> {
        let mut found = Vec::new();
        for (id, socket) in self.sockets.iter().enumerate() {
            let like = socket.domain == domain && socket.kind == kind && !socket.closed;
            let bound = socket.bound.as_ref().filter(|_| like && socket.peer().is_none());
            if let Some(bound) = bound.filter(|bound| reaches(domain, bound, to)) {
                found.push((!is_anywhere(domain, &key(domain, bound).1), id));
            }
        }
        found
    }

    /// The socket that a connection to an address comes to. Of several that share it (`SO_REUSEPORT`), any.
    pub(super) fn find_listener(&mut self, domain: u32, kind: u32, to: &[u8]) -> Option<usize> {
        let found = self.bound_to(domain, kind, to);
        let listens = |(_, id): &(bool, usize)| {
            let state = self.sockets.get(*id).map(|socket| &socket.state);
            matches!(state, Some(State::Listening { .. }))
        };
        let listening: Vec<_> = found.iter().copied().filter(listens).collect();
        let nearest = listening.iter().map(|(exact, _)| *exact).max();
        let best: Vec<_> = listening.iter().filter(|(exact, _)| Some(*exact) == nearest).collect();
        let chosen = match best.len() {
            0 => found.first(),
            1 => best.first().copied(),
            many => best.get(self.rng.index(many)).copied(),
        };
        chosen.map(|(_, id)| *id)
    }

    /// The socket that a datagram comes to: one that is connected to its sender before one that is not, and of several
    /// that share an address the last.
    pub(super) fn find_receiver(&self, domain: u32, to: &[u8], from: &[u8]) -> Option<usize> {
        let mut best = None;
        for (exact, id) in self.bound_to(domain, DATAGRAM, to) {
            let peer = match self.sockets.get(id).map(|socket| &socket.state) {
                Some(State::Connected { name, .. }) if domain != UNIX => {
                    Some(key(domain, name) == key(domain, from))
                }
                _ => None,
            };
            if peer != Some(false) {
                best = best.max(Some((peer.is_some(), exact, id)));
            }
        }
        best.map(|(.., id)| id)
    }

    /// The sockets that a datagram for a group comes to.
    pub(super) fn find_members(&self, domain: u32, to: &[u8]) -> Vec<usize> {
        let group = key(domain, to).1;
        let joined = |socket: &Socket| !socket.closed && socket.groups.contains(&group);
        if !self.sockets.iter().any(joined) {
            return Vec::new();
        }
        // Who is bound to the port, joined or not: `IP_MULTICAST_ALL` of ip(7).
        self.bound_to(domain, DATAGRAM, to).into_iter().map(|(_, id)| id).collect()
    }

    /// The sockets that a broadcast comes to.
    pub(super) fn find_anybody(&self, to: &[u8]) -> Vec<usize> {
        let host = |(exact, id): (bool, usize)| (!exact).then_some(id);
        self.bound_to(INET, DATAGRAM, to).into_iter().filter_map(host).collect()
    }

    /// bind(2). A Unix name is free again when its socket is closed, and no name of the file system.
    pub(super) fn bind(&mut self, fd: RawFd, address: &[u8]) -> Result<(), Errno> {
        let (id, socket) = self.socket_of(fd)?;
        let (domain, kind) = (socket.domain, socket.kind);
        let family = address.first_chunk().map(|family| u32::from(u16::from_ne_bytes(*family)));
        if socket.bound.is_some() || family != Some(domain) {
            return Err(Errno::INVAL);
        }
        let mut address = address.to_vec();
        let port = key(domain, &address).0;
        if domain != UNIX && port.iter().all(|byte| *byte == 0) {
            address = self.with_free_port(domain, kind, address)?;
        } else if self.sockets.iter().any(|other| other.forbids(socket, &address)) {
            return Err(Errno::ADDRINUSE);
        }
        let somewhere = domain == INET6 && !is_anywhere(domain, &key(domain, &address).1);
        if let Some(socket) = self.sockets.get_mut(id).filter(|_| somewhere) {
            socket.options.leave_ipv4_alone();
        }
        self.set_name(id, address);
        Ok(())
    }

    fn set_name(&mut self, id: usize, address: Vec<u8>) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.bound = Some(address);
        }
    }

    fn with_free_port(
        &self,
        domain: u32,
        kind: u32,
        mut address: Vec<u8>,
    ) -> Result<Vec<u8>, Errno> {
        for port in FIRST_PORT..=u16::MAX {
            if let Some(place) = address.get_mut(2..4) {
                place.copy_from_slice(&port.to_be_bytes());
            }
            let taken = self.sockets.iter().any(|socket| {
                let bound = socket.bound.as_ref().filter(|_| !socket.closed);
                let like = socket.domain == domain && socket.kind == kind;
                like && bound.is_some_and(|bound| key(domain, bound).0 == port.to_be_bytes())
            });
            if !taken {
                return Ok(address);
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// Gives an IP socket a free port if it has none.
    pub(super) fn name_it(&mut self, id: usize) -> Result<(), Errno> {
        let Some(socket) = self.sockets.get(id) else { return Err(Errno::NOTSOCK) };
        if socket.bound.is_none() && socket.domain != UNIX {
            let address = self.with_free_port(socket.domain, socket.kind, socket.name())?;
            self.set_name(id, address);
        }
        Ok(())
    }

    /// A socket connects: its own address has a host from now on. Gives the address.
    pub(super) fn settle_name(&mut self, id: usize) -> Result<Vec<u8>, Errno> {
        self.name_it(id)?;
        let Some(socket) = self.sockets.get_mut(id) else { return Err(Errno::NOTSOCK) };
        let domain = socket.domain;
        socket.bound = socket.bound.take().map(|bound| with_host(domain, bound));
        Ok(socket.name())
    }

    /// Another socket listens where this one is to.
    pub(super) fn is_taken(&self, id: usize) -> bool {
        let Some(socket) = self.sockets.get(id) else { return false };
        let Some(bound) = &socket.bound else { return false };
        let others = self.sockets.iter().enumerate().filter(|(other, _)| *other != id);
        others.map(|(_, other)| other).any(|other| {
            matches!(other.state, State::Listening { .. }) && other.forbids(socket, bound)
        })
    }

    /// getsockname(2).
    pub(crate) fn socket_name(&self, fd: RawFd) -> Result<Vec<u8>, Errno> {
        self.socket_of(fd).map(|(_, socket)| socket.name())
    }

    /// getpeername(2).
    pub(crate) fn peer_name(&self, fd: RawFd) -> Result<Vec<u8>, Errno> {
        let (_, socket) = self.socket_of(fd)?;
        match &socket.state {
            State::Connected { name, .. } if !socket.is_over() => Ok(name.clone()),
            _ => Err(Errno::NOTCONN),
        }
    }
}
