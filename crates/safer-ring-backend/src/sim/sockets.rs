//! Sockets: streams with connections, and datagrams, by IP address or by a Unix name. All of them are in one world.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::files::{Kind, Try};
use super::kernel::{Effect, Kernel};
use super::lent::Extra;
use super::names::{fits, is_broadcast, is_group, key, with_host};
use super::ops::{POLLERR, POLLHUP, POLLIN, POLLOUT};
use super::options::{self, Options};
use super::pipes::take;
use crate::payload::PEEK;

pub(super) const UNIX: u32 = 1;
pub(super) const INET: u32 = 2;
pub(super) const INET6: u32 = 10;
pub(super) const STREAM: u32 = 1;
pub(super) const DATAGRAM: u32 = 2;
const NONBLOCK: u32 = 0o4000;
const TRUNC: i32 = 0x20;
const POLLRDHUP: u32 = 0x2000;

#[derive(Debug)]
pub(super) enum State {
    Fresh,
    Listening {
        backlog: usize,
        queue: VecDeque<usize>,
    },
    /// With the address of the peer, and the peer, if it is a stream.
    Connected {
        name: Vec<u8>,
        peer: Option<usize>,
    },
}

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) domain: u32,
    pub(super) kind: u32,
    pub(super) bound: Option<Vec<u8>>,
    pub(super) state: State,
    pub(super) options: Options,
    /// Groups whose datagrams it gets.
    pub(super) groups: Vec<Vec<u8>>,
    pub(super) bytes: VecDeque<u8>,
    /// Messages that have come, with their senders.
    messages: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Told once.
    pub(super) error: Option<Errno>,
    /// The peer sends no more.
    pub(super) ended: bool,
    /// Nothing is to be received, or sent, any more.
    shut_in: bool,
    pub(super) shut_out: bool,
    /// A send after the peer's end has been taken by nobody.
    pub(super) refused: bool,
    pub(super) closed: bool,
}

impl Socket {
    pub(super) fn new(domain: u32, kind: u32) -> Self {
        Self {
            domain,
            kind,
            bound: None,
            state: State::Fresh,
            options: Options::default(),
            groups: Vec::new(),
            bytes: VecDeque::new(),
            messages: VecDeque::new(),
            error: None,
            ended: false,
            shut_in: false,
            shut_out: false,
            refused: false,
            closed: false,
        }
    }

    pub(super) fn peer(&self) -> Option<usize> {
        match self.state {
            State::Connected { peer, .. } => peer,
            _ => None,
        }
    }

    /// Whether a Unix datagram socket takes datagrams of another one only.
    fn hears_another(&self, sender: usize, from: &[u8]) -> bool {
        match &self.state {
            State::Connected { peer: Some(peer), .. } => *peer != sender,
            State::Connected { name, .. } => key(UNIX, name) != key(UNIX, from),
            _ => false,
        }
    }

    /// Whether a connection by IP is over in both directions: for its socket there is no peer any more.
    pub(super) fn is_over(&self) -> bool {
        let stream = self.kind == STREAM && self.domain != UNIX;
        stream && (self.refused || (self.ended && self.shut_out))
    }
}

impl Kernel {
    /// socket(2).
    pub(super) fn open_socket(&mut self, domain: u32, kind: u32, _: u32) -> Result<RawFd, Errno> {
        if ![UNIX, INET, INET6].contains(&domain) {
            return Err(Errno::AFNOSUPPORT);
        }
        if ![STREAM, DATAGRAM].contains(&(kind & 0xf)) {
            return Err(Errno::PROTONOSUPPORT);
        }
        let id = self.sockets.len();
        let fd = self.install(Kind::Socket(id), 2 | (kind & NONBLOCK))?;
        self.sockets.push(Socket::new(domain, kind & 0xf));
        Ok(fd)
    }

    /// socketpair(2), of Unix sockets.
    pub(super) fn open_pair(&mut self, kind: u32) -> Result<(RawFd, RawFd), Errno> {
        let one = self.open_socket(UNIX, kind, 0)?;
        let other = match self.open_socket(UNIX, kind, 0) {
            Ok(other) => other,
            Err(errno) => {
                self.close(one)?;
                return Err(errno);
            }
        };
        let (first, second) = (self.socket_of(one)?.0, self.socket_of(other)?.0);
        for (id, peer) in [(first, second), (second, first)] {
            if let Some(socket) = self.sockets.get_mut(id) {
                let name = socket.name();
                socket.state = State::Connected { name, peer: Some(peer) };
            }
        }
        Ok((one, other))
    }

    pub(super) fn socket_of(&self, fd: RawFd) -> Result<(usize, &Socket), Errno> {
        let Kind::Socket(id) = self.opened(fd)?.kind else { return Err(Errno::NOTSOCK) };
        let socket = self.sockets.get(id).ok_or(Errno::NOTSOCK)?;
        Ok((id, socket))
    }

    pub(super) fn is_message_socket(&self, id: usize) -> bool {
        self.sockets.get(id).is_some_and(|socket| socket.kind == DATAGRAM)
    }

    /// listen(2).
    pub(super) fn listen(&mut self, fd: RawFd, backlog: u32) -> Result<(), Errno> {
        let (id, socket) = self.socket_of(fd)?;
        match (&socket.state, socket.kind) {
            (_, DATAGRAM) => return Err(Errno::OPNOTSUPP),
            (State::Connected { .. }, _) => return Err(Errno::INVAL),
            _ if socket.domain == UNIX && socket.bound.is_none() => return Err(Errno::INVAL),
            _ => {}
        }
        self.name_it(id)?;
        if self.is_taken(id) {
            return Err(Errno::ADDRINUSE);
        }
        let wanted = usize::try_from(backlog).unwrap_or(usize::MAX).min(4096);
        if let Some(socket) = self.sockets.get_mut(id) {
            match &mut socket.state {
                State::Listening { backlog, .. } => *backlog = wanted,
                other => *other = State::Listening { backlog: wanted, queue: VecDeque::new() },
            }
        }
        self.changed = true;
        Ok(())
    }

    /// connect(2).
    pub(super) fn connect(&mut self, fd: RawFd, to: &[u8]) -> Try<()> {
        let (id, socket) = match self.socket_of(fd) {
            Ok(found) => found,
            Err(errno) => return Some(Err(errno)),
        };
        let (domain, kind) = (socket.domain, socket.kind);
        match socket.state {
            _ if kind == DATAGRAM => return Some(self.aim(id, to)),
            State::Connected { .. } => return Some(Err(Errno::ISCONN)),
            State::Listening { .. } => return Some(Err(Errno::INVAL)),
            State::Fresh => {}
        }
        if let Err(errno) = fits(domain, to) {
            return Some(Err(errno));
        }
        let to = with_host(domain, to.to_vec());
        let found = self.find_listener(domain, kind, &to);
        let named = domain == UNIX && key(domain, &to).0.first().is_some_and(|first| *first != 0);
        let Some(listener) = found else {
            return Some(Err(if named { Errno::NOENT } else { Errno::CONNREFUSED }));
        };
        let full = match self.sockets.get(listener).map(|socket| &socket.state) {
            Some(State::Listening { backlog, queue }) => queue.len() > *backlog,
            _ => return Some(Err(Errno::CONNREFUSED)),
        };
        if full {
            return None;
        }
        let own = match self.settle_name(id) {
            Ok(own) => own,
            Err(errno) => return Some(Err(errno)),
        };
        self.join(id, listener, own, &to);
        Some(Ok(()))
    }

    /// Makes the other end of a connection, and puts it into the queue of the listener.
    fn join(&mut self, id: usize, listener: usize, own: Vec<u8>, to: &[u8]) {
        let other = self.sockets.len();
        let Some(client) = self.sockets.get_mut(id) else { return };
        client.state = State::Connected { name: to.to_vec(), peer: Some(other) };
        let mut server = Socket::new(client.domain, client.kind);
        server.bound = Some(to.to_vec());
        server.options = self.sockets.get(listener).map(|l| l.options.clone()).unwrap_or_default();
        server.state = State::Connected { name: own, peer: Some(id) };
        self.sockets.push(server);
        if let Some(Socket { state: State::Listening { queue, .. }, .. }) =
            self.sockets.get_mut(listener)
        {
            queue.push_back(other);
        }
        self.changed = true;
    }

    /// connect(2) of a datagram socket.
    fn aim(&mut self, id: usize, to: &[u8]) -> Result<(), Errno> {
        fits(self.sockets.get(id).map_or(0, |socket| socket.domain), to)?;
        self.settle_name(id)?;
        if let Some(socket) = self.sockets.get_mut(id) {
            let name = with_host(socket.domain, to.to_vec());
            socket.state = State::Connected { name, peer: None };
        }
        Ok(())
    }

    /// accept4(2): the descriptor, and the address of the peer.
    pub(super) fn accept(&mut self, fd: RawFd, flags: u32) -> Try<(RawFd, Vec<u8>)> {
        let id = match self.socket_of(fd) {
            Ok((_, socket)) if socket.kind == DATAGRAM => return Some(Err(Errno::OPNOTSUPP)),
            Ok((id, _)) => id,
            Err(errno) => return Some(Err(errno)),
        };
        let Some(Socket { state: State::Listening { queue, .. }, .. }) = self.sockets.get(id)
        else {
            return Some(Err(Errno::INVAL));
        };
        let next = queue.front().copied()?;
        let fd = match self.install(Kind::Socket(next), 2 | (flags & NONBLOCK)) {
            Ok(fd) => fd,
            Err(errno) => return Some(Err(errno)),
        };
        if let Some(Socket { state: State::Listening { queue, .. }, .. }) = self.sockets.get_mut(id)
        {
            queue.pop_front();
        }
        self.changed = true;
        let name = match self.sockets.get(next).map(|socket| &socket.state) {
            Some(State::Connected { name, .. }) => name.clone(),
            _ => Vec::new(),
        };
        Some(Ok((fd, name)))
    }

    /// shutdown(2).
    pub(crate) fn shutdown(&mut self, fd: RawFd, how: u32) -> Result<(), Errno> {
        let (id, socket) = self.socket_of(fd)?;
        let connected = matches!(socket.state, State::Connected { .. });
        let listening = matches!(socket.state, State::Listening { .. });
        if how > 2 {
            return Err(Errno::INVAL);
        }
        if !(connected || listening || socket.domain == UNIX) || socket.is_over() {
            return Err(Errno::NOTCONN);
        }
        let peer = socket.peer();
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.shut_in |= how != 1;
            socket.shut_out |= how != 0;
        }
        if let Some(peer) = peer.and_then(|peer| self.sockets.get_mut(peer)) {
            peer.ended |= how != 0;
        }
        self.changed = true;
        Ok(())
    }

    /// The last descriptor of a socket is closed. With bytes that nobody has read, its peer is reset.
    pub(super) fn close_socket(&mut self, id: usize) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        socket.closed = true;
        let unread = !socket.bytes.is_empty();
        // Whoever does not linger resets, whatever is left.
        let resets = unread || (socket.domain != UNIX && socket.options.drops_the_rest());
        socket.bytes.clear();
        socket.messages.clear();
        let peer = socket.peer();
        let waiting = match &mut socket.state {
            State::Listening { queue, .. } => std::mem::take(queue),
            _ => VecDeque::new(),
        };
        waiting.into_iter().for_each(|other| self.refuse(other));
        if let Some(peer) = peer.and_then(|peer| self.sockets.get_mut(peer)) {
            if resets && !peer.ended {
                peer.error = Some(Errno::CONNRESET);
                peer.refused = true;
            }
            peer.ended = true;
        }
    }

    /// Bytes that a stream socket takes for its peer now.
    pub(super) fn socket_room(&self, id: usize) -> usize {
        let peer = self.sockets.get(id).and_then(Socket::peer).and_then(|id| self.sockets.get(id));
        let used = peer.map_or(0, |peer| peer.bytes.len());
        let asked = peer.and_then(|peer| peer.options.receive_room()).unwrap_or(usize::MAX);
        self.config.socket_bytes.min(asked).max(1).saturating_sub(used)
    }

    /// recv(2) on a stream.
    pub(super) fn receive_stream(&mut self, id: usize, most: usize, flags: u32) -> Try<Vec<u8>> {
        let there = self.sockets.get(id)?.bytes.len();
        let count = self.portion(most.min(there));
        let socket = self.sockets.get_mut(id)?;
        if there > 0 && most > 0 {
            if flags & PEEK != 0 {
                return Some(Ok(socket.bytes.iter().take(count).copied().collect()));
            }
            let bytes = take(&mut socket.bytes, count);
            self.changed = true;
            return Some(Ok(bytes));
        }
        if !matches!(socket.state, State::Connected { .. }) {
            let unix = socket.domain == UNIX;
            return Some(Err(if unix { Errno::INVAL } else { Errno::NOTCONN }));
        }
        if most == 0 {
            return Some(Ok(Vec::new()));
        }
        match socket.error.take() {
            Some(errno) => Some(Err(errno)),
            None => (socket.ended || socket.shut_in).then_some(Ok(Vec::new())),
        }
    }

    /// send(2) on a stream.
    pub(super) fn send_stream(&mut self, id: usize, bytes: &[u8]) -> Try<usize> {
        let room = self.socket_room(id);
        let count = self.portion(bytes.len().min(room));
        let socket = self.sockets.get_mut(id)?;
        let State::Connected { peer: Some(peer), .. } = socket.state else {
            let unix = socket.domain == UNIX;
            return Some(Err(if unix { Errno::NOTCONN } else { Errno::PIPE }));
        };
        let unix = socket.domain == UNIX;
        // A Unix socket keeps its error for a receive.
        if !unix && let Some(errno) = socket.error.take() {
            return Some(Err(errno));
        }
        if socket.shut_out {
            return Some(Err(Errno::PIPE));
        }
        let other = self.sockets.get(peer)?;
        let deaf = other.closed || (unix && other.shut_in);
        if deaf {
            let socket = self.sockets.get_mut(id)?;
            if unix || std::mem::replace(&mut socket.refused, true) {
                return Some(Err(Errno::PIPE));
            }
            return Some(Ok(bytes.len()));
        }
        if bytes.is_empty() {
            return Some(Ok(0));
        }
        if room == 0 {
            return None;
        }
        self.sockets.get_mut(peer)?.bytes.extend(bytes.iter().take(count));
        self.changed = true;
        Some(Ok(count))
    }

    /// recv(2) of a datagram.
    pub(super) fn receive_message(&mut self, id: usize, most: usize, flags: u32) -> Try<Effect> {
        let socket = self.sockets.get_mut(id)?;
        if let Some(errno) = socket.error.take() {
            return Some(Err(errno));
        }
        let (from, mut bytes) = match socket.messages.front().cloned() {
            Some(message) => message,
            None => return socket.shut_in.then(|| Ok(Effect::of(0))),
        };
        if flags & PEEK == 0 {
            socket.messages.pop_front();
            self.changed = true;
        }
        let cut = bytes.len() > most;
        bytes.truncate(most);
        let extra = vec![Extra::Sender(from, if cut { TRUNC } else { 0 })];
        Some(Ok(Effect { res: super::result(bytes.len()), data: bytes, extra }))
    }

    /// send(2) of a datagram.
    pub(super) fn send_message(
        &mut self,
        id: usize,
        bytes: &[u8],
        to: Option<&[u8]>,
    ) -> Try<usize> {
        let socket = self.sockets.get_mut(id)?;
        let error = socket.error.take();
        let (domain, shut) = (socket.domain, socket.shut_out);
        let broadcasts = socket.options.is_on(options::BROADCAST);
        let loops = socket.options.loops(domain);
        let peer = socket.peer().filter(|_| to.is_none());
        let aimed = matches!(socket.state, State::Connected { .. });
        let to = match (&socket.state, to) {
            (_, Some(to)) => to.to_vec(),
            (State::Connected { name, .. }, None) => name.clone(),
            _ if domain == UNIX => return Some(Err(Errno::NOTCONN)),
            _ => return Some(Err(Errno::DESTADDRREQ)),
        };
        if let Some(errno) = error {
            return Some(Err(errno));
        }
        if shut {
            return Some(Err(Errno::PIPE));
        }
        if bytes.len() > 65_507 {
            return Some(Err(Errno::MSGSIZE));
        }
        if is_broadcast(domain, &to) && !broadcasts {
            return Some(Err(Errno::ACCESS));
        }
        let from = match self.name_it(id) {
            Ok(()) => with_host(domain, self.sockets.get(id).map(Socket::name).unwrap_or_default()),
            Err(errno) => return Some(Err(errno)),
        };
        if is_group(domain, &to) || is_broadcast(domain, &to) {
            self.send_to_many(domain, &from, &to, bytes, loops);
            return Some(Ok(bytes.len()));
        }
        let to = with_host(domain, to);
        let Some(other) = peer.or_else(|| self.find_receiver(domain, &to, &from)) else {
            let named = key(domain, &to).0.first().is_some_and(|first| *first != 0);
            return Some(match domain {
                UNIX if named => Err(Errno::NOENT),
                UNIX => Err(Errno::CONNREFUSED),
                _ => {
                    // By ICMP. Only a socket that is connected is told, and later.
                    if let Some(socket) = self.sockets.get_mut(id).filter(|_| aimed) {
                        socket.error = Some(Errno::CONNREFUSED);
                        self.changed = true;
                    }
                    Ok(bytes.len())
                }
            });
        };
        let most = (self.config.socket_bytes / 256).max(1);
        let socket = self.sockets.get_mut(other)?;
        if socket.closed {
            return Some(Err(Errno::CONNREFUSED));
        }
        if domain == UNIX && socket.hears_another(id, &from) {
            return Some(Err(Errno::PERM));
        }
        if socket.messages.len() >= most {
            // UDP loses what there is no room for.
            return if domain == UNIX { None } else { Some(Ok(bytes.len())) };
        }
        self.deliver(other, from, bytes);
        Some(Ok(bytes.len()))
    }

    /// A datagram comes to a socket that has room for it; one that goes by a network, as it may be: not at all, twice, or
    /// before others.
    fn deliver(&mut self, id: usize, from: Vec<u8>, bytes: &[u8]) {
        let most = (self.config.socket_bytes / 256).max(1);
        let there = |socket: &Socket| (socket.domain != UNIX, socket.messages.len());
        let Some((network, there)) = self.sockets.get(id).map(there) else { return };
        let (lost, doubled, early) = match network {
            true => (
                self.rng.chance(self.config.lost_datagrams),
                self.rng.chance(self.config.doubled_datagrams),
                self.rng.chance(self.config.early_datagrams),
            ),
            false => (false, false, false),
        };
        if lost {
            return self.note(format_args!("a datagram is lost"));
        }
        let at = if early { self.rng.index(there + 1) } else { there };
        if doubled || at < there {
            self.note(format_args!(
                "a datagram comes at place {at}{}",
                if doubled { ", twice" } else { "" }
            ));
        }
        self.changed = true;
        let Some(socket) = self.sockets.get_mut(id) else { return };
        socket.messages.insert(at, (from.clone(), bytes.to_vec()));
        if doubled && socket.messages.len() < most {
            socket.messages.push_back((from, bytes.to_vec()));
        }
    }

    /// A datagram for a group, or for all.
    fn send_to_many(&mut self, domain: u32, from: &[u8], to: &[u8], bytes: &[u8], loops: bool) {
        let most = (self.config.socket_bytes / 256).max(1);
        let members = match is_group(domain, to) {
            // All members are on the sender's own machine.
            true if loops => self.find_members(domain, to),
            true => Vec::new(),
            false => self.find_anybody(to),
        };
        for id in members {
            if self.sockets.get(id).is_some_and(|it| it.messages.len() < most) {
                self.deliver(id, from.to_vec(), bytes);
            }
        }
        self.changed = true;
    }

    /// The events of a socket: poll(2).
    pub(super) fn socket_events(&self, id: usize) -> u32 {
        let Some(socket) = self.sockets.get(id) else { return POLLERR };
        let when = |yes: bool, events: u32| if yes { events } else { 0 };
        match &socket.state {
            State::Listening { queue, .. } => when(!queue.is_empty(), POLLIN),
            _ if socket.kind == DATAGRAM => {
                when(!socket.messages.is_empty(), POLLIN)
                    | POLLOUT
                    | when(socket.error.is_some(), POLLERR)
            }
            State::Fresh => POLLOUT | POLLHUP,
            State::Connected { .. } => {
                let over = socket.ended || socket.shut_in;
                let peer = socket.peer().and_then(|peer| self.sockets.get(peer));
                // A Unix socket that is closed ends both directions of its peer.
                let gone = socket.domain == UNIX && peer.is_none_or(|peer| peer.closed);
                when(!socket.bytes.is_empty() || over || socket.error.is_some(), POLLIN)
                    | when(self.socket_room(id) > 0 || socket.ended, POLLOUT)
                    | when(over, POLLRDHUP)
                    | when(gone || (socket.ended && socket.shut_out), POLLHUP)
                    | when(socket.error.is_some(), POLLERR | POLLHUP)
            }
        }
    }
}
