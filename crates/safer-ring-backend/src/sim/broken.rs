//! Connections that end otherwise than by their programs.

use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::kernel::{Kernel, On};
use super::sockets::{STREAM, Socket, State, UNIX};

impl Kernel {
    /// A connection breaks from outside, which its socket `id` was told of by `errno`. Some of what was on its way is lost,
    /// which includes all that has come to one that is `told` of the end before it has read that.
    pub(super) fn break_connection(&mut self, id: usize, errno: Errno, told: bool) {
        let Some(peer) = self.sockets.get(id).and_then(Socket::peer) else { return };
        self.note(format_args!("a connection breaks"));
        if told && let Some(socket) = self.sockets.get_mut(id) {
            socket.bytes.clear();
        }
        // Silence is for both; a reset reaches whoever is there.
        let silent = matches!(errno, Errno::TIMEDOUT | Errno::HOSTUNREACH);
        let heard = if silent { Errno::TIMEDOUT } else { Errno::CONNRESET };
        for (id, error) in [(id, None), (peer, Some(heard))] {
            self.end_connection(id, error);
        }
    }

    /// A socket has no peer any more, and hears of it by `error`.
    fn end_connection(&mut self, id: usize, error: Option<Errno>) {
        let len = self.sockets.get(id).map_or(0, |socket| socket.bytes.len());
        let arrived = self.rng.index(len + 1);
        if let Some(socket) = self.sockets.get_mut(id).filter(|socket| !socket.closed) {
            socket.bytes.truncate(arrived);
            let over = socket.is_over();
            socket.error = error.filter(|_| !over).or(socket.error);
            (socket.ended, socket.shut_out, socket.refused) = (true, true, true);
        }
        self.changed = true;
    }

    /// The connection of a stream is reset from outside, and both ends hear of it.
    pub(super) fn reset(&mut self, fd: RawFd) -> Result<(), Errno> {
        let (id, socket) = self.socket_of(fd)?;
        let peer = socket.peer().filter(|_| socket.kind == STREAM && !socket.is_over());
        let peer = peer.ok_or(Errno::NOTCONN)?;
        self.note(format_args!("the connection of{} is reset", On(fd)));
        for id in [id, peer] {
            self.end_connection(id, Some(Errno::CONNRESET));
        }
        Ok(())
    }

    /// Ends a connection at once: of TCP with a reset, as connect(2) with `AF_UNSPEC` does, else as shutdown(2).
    pub(crate) fn reset_here(&mut self, fd: RawFd) -> Result<(), Errno> {
        let (_, socket) = self.socket_of(fd)?;
        let (tcp, peer) = (socket.domain != UNIX, socket.peer());
        self.shutdown(fd, 2)?;
        if tcp && let Some(peer) = peer.and_then(|peer| self.sockets.get_mut(peer)) {
            peer.error = Some(Errno::CONNRESET);
            peer.refused = true;
        }
        Ok(())
    }

    /// The connection that an accept would have given is reset before.
    pub(super) fn abort(&mut self, fd: RawFd) {
        let id = self.socket_of(fd).map(|(id, _)| id);
        let socket = id.ok().and_then(|id| self.sockets.get_mut(id));
        let Some(Socket { state: State::Listening { queue, .. }, .. }) = socket else { return };
        if let Some(first) = queue.pop_front() {
            self.refuse(first);
        }
    }

    /// Nobody will take this connection.
    pub(super) fn refuse(&mut self, id: usize) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.bytes.push_back(0);
        }
        self.close_socket(id);
        self.changed = true;
    }
}
