//! What each operation does: one try, which never waits.

use std::os::fd::RawFd;

use safer_ring_core::CURSOR;
use safer_ring_sys::Errno;

use super::calls::Call;
use super::files::{Kind, O_ACCMODE, O_NONBLOCK, O_WRONLY, Try};
use super::kernel::{Effect, Flight, Kernel};
use super::lent::Extra;
use super::result;
use crate::payload::{DONTWAIT, PEEK, WAITALL};

pub(super) const POLLIN: u32 = 0x1;
pub(super) const POLLOUT: u32 = 0x4;
pub(super) const POLLERR: u32 = 0x8;
pub(super) const POLLHUP: u32 = 0x10;

/// Success, or an error.
fn done(result: Result<(), Errno>) -> Try<Effect> {
    Some(result.map(|()| Effect::of(0)))
}

/// A new descriptor, or an error.
fn made(result: Result<RawFd, Errno>) -> Try<Effect> {
    Some(result.map(Effect::of))
}

/// Whether an offset says where: a socket takes 0 for no offset.
fn is_place(offset: u64) -> bool {
    offset != 0 && offset != CURSOR
}

impl Kernel {
    /// Tries an operation. `None`: it waits, until something changes.
    pub(super) fn perform(&mut self, flight: &mut Flight) -> Try<Effect> {
        let fd = flight.fd;
        match flight.call.clone() {
            Call::Nop => done(Ok(())),
            Call::Timer => Some(Err(Errno::TIME)),
            // Answered before anything is tried.
            Call::Cancel { .. } => done(Ok(())),
            Call::Read { offset } => {
                self.unless_nonblocking(fd, 0, |kernel| kernel.read(flight, offset))
            }
            Call::Write { offset } => {
                self.unless_nonblocking(fd, 0, |kernel| kernel.write(flight, offset))
            }
            Call::Recv { flags, message } => {
                self.unless_nonblocking(fd, flags, |kernel| kernel.recv(flight, flags, message))
            }
            Call::RecvMulti { group } => {
                self.unless_nonblocking(fd, 0, |kernel| kernel.receive_many(flight, group))
            }
            Call::Send { flags, to } => self
                .unless_nonblocking(fd, flags, |kernel| kernel.send(flight, flags, to.as_deref())),
            Call::Accept { flags, address, length } => self
                .unless_nonblocking(fd, 0, |kernel| kernel.accept_one(fd, flags, address, length)),
            Call::Connect { address } => {
                let connected = self.connect(fd, &address)?;
                self.changed = true;
                done(connected)
            }
            Call::Bind { address } => done(self.bind(fd, &address)),
            Call::Listen { backlog } => done(self.listen(fd, backlog)),
            Call::Shutdown { how } => done(self.shutdown(fd, how)),
            Call::Socket { domain, kind, protocol } => {
                made(self.open_socket(domain, kind, protocol))
            }
            Call::Pipe { flags, to } => Some(self.open_pipe(flags & !O_ACCMODE).map(|(r, w)| {
                let numbers = [r.to_ne_bytes(), w.to_ne_bytes()].concat();
                Effect { extra: vec![Extra::Bytes(to, numbers)], ..Effect::of(0) }
            })),
            Call::Splice { from, to, len } => self.splice(flight, from, to, len),
            Call::Tee { len } => self.tee(flight, len),
            Call::Poll { events } => self.poll(fd, events),
            Call::Close { fd } => done(self.close(fd)),
            other => self.perform_on_files(fd, other),
        }
    }

    fn perform_on_files(&mut self, fd: RawFd, call: Call) -> Try<Effect> {
        match call {
            Call::Open { path, flags, mode, resolve } => {
                made(self.open_path(fd, &path, (flags, mode), resolve))
            }
            Call::Statx { path, flags, to } => {
                let bytes = match self.stat(fd, &path, flags) {
                    Ok(bytes) => bytes,
                    Err(errno) => return Some(Err(errno)),
                };
                Some(Ok(Effect { extra: vec![Extra::Bytes(to, bytes)], ..Effect::of(0) }))
            }
            Call::Fsync => done(self.sync(fd)),
            Call::Fallocate { mode, offset, len } => done(self.allocate(fd, mode, offset, len)),
            Call::Ftruncate { len } => done(self.truncate(fd, len)),
            Call::Rename { from, to, flags } => done(self.rename(&from, &to, flags)),
            Call::Unlink { path, flags } => done(self.unlink(fd, &path, flags)),
            Call::Mkdir { path, mode } => done(self.make_dir(fd, &path, mode)),
            Call::Symlink { target, path } => done(self.make_link(fd, target, &path)),
            Call::Link { from, to } => done(self.link(&from, &to)),
            _ => Some(Err(Errno::OPNOTSUPP)),
        }
    }

    /// In place of a wait, `EAGAIN` where that was asked for.
    fn unless_nonblocking(
        &mut self,
        fd: RawFd,
        flags: u32,
        work: impl FnOnce(&mut Self) -> Try<Effect>,
    ) -> Try<Effect> {
        let nonblocking = |open: super::descriptors::Opened| open.flags & O_NONBLOCK != 0;
        let may_wait = flags & DONTWAIT == 0 && !self.opened(fd).is_ok_and(nonblocking);
        match work(self) {
            None if !may_wait => Some(Err(Errno::AGAIN)),
            other => other,
        }
    }

    fn read(&mut self, flight: &mut Flight, offset: u64) -> Try<Effect> {
        let most = flight.lent.room();
        let open = match self.opened(flight.fd) {
            Ok(open) if open.flags & O_ACCMODE == O_WRONLY => return Some(Err(Errno::BADF)),
            Ok(open) => open,
            Err(errno) => return Some(Err(errno)),
        };
        let bytes = match open.kind {
            Kind::Node(_) => {
                let most = self.portion(most);
                Some(self.read_file(flight.fd, offset, most))
            }
            Kind::PipeReader(id) => self.read_pipe(id, most),
            Kind::PipeWriter(_) => Some(Err(Errno::BADF)),
            Kind::Socket(_) if is_place(offset) => Some(Err(Errno::SPIPE)),
            Kind::Socket(id) if self.is_message_socket(id) => {
                return self.receive_message(id, most, 0);
            }
            Kind::Socket(id) => self.receive_stream(id, most, 0),
        }?;
        Some(bytes.map(|data| Effect { res: result(data.len()), data, extra: Vec::new() }))
    }

    fn write(&mut self, flight: &mut Flight, offset: u64) -> Try<Effect> {
        let open = match self.opened(flight.fd) {
            Ok(open) if open.flags & O_ACCMODE == 0 => return Some(Err(Errno::BADF)),
            Ok(open) => open,
            Err(errno) => return Some(Err(errno)),
        };
        let bytes = flight.lent.bytes();
        let moved = match open.kind {
            Kind::Node(_) => {
                let count = self.portion(bytes.len());
                Some(self.write_file(flight.fd, offset, bytes.get(..count).unwrap_or_default()))
            }
            Kind::PipeReader(_) => Some(Err(Errno::BADF)),
            Kind::PipeWriter(id) => self.write_pipe(id, &bytes),
            Kind::Socket(_) if is_place(offset) => Some(Err(Errno::SPIPE)),
            Kind::Socket(id) if self.is_message_socket(id) => self.send_message(id, &bytes, None),
            Kind::Socket(id) => self.send_stream(id, &bytes),
        }?;
        Some(moved.map(|count| Effect::of(result(count))))
    }

    fn recv(&mut self, flight: &mut Flight, flags: u32, message: bool) -> Try<Effect> {
        let id = match self.opened(flight.fd).map(|open| open.kind) {
            Ok(Kind::Socket(id)) => id,
            Ok(_) => return Some(Err(Errno::NOTSOCK)),
            Err(errno) => return Some(Err(errno)),
        };
        let most = flight.lent.room();
        if self.is_message_socket(id) {
            return self.receive_message(id, most, flags);
        }
        let all = flags & WAITALL != 0 && flags & PEEK == 0;
        loop {
            let left = most - flight.gathered.len().min(most);
            let part = self.receive_stream(id, left, flags);
            let gathered = &mut flight.gathered;
            match part {
                Some(Ok(bytes)) if all && !bytes.is_empty() => {
                    gathered.extend(bytes);
                    if gathered.len() < most {
                        continue;
                    }
                }
                Some(Ok(bytes)) => gathered.extend(bytes),
                Some(Err(errno)) if gathered.is_empty() => return Some(Err(errno)),
                Some(Err(_)) => {}
                None if flags & DONTWAIT != 0 && !gathered.is_empty() => {}
                None => return None,
            }
            let data = std::mem::take(gathered);
            // A stream has no names in its messages.
            let extra = if message { vec![Extra::Sender(Vec::new(), 0)] } else { Vec::new() };
            return Some(Ok(Effect { res: result(data.len()), data, extra }));
        }
    }

    fn send(&mut self, flight: &mut Flight, flags: u32, to: Option<&[u8]>) -> Try<Effect> {
        let id = match self.opened(flight.fd).map(|open| open.kind) {
            Ok(Kind::Socket(id)) => id,
            Ok(_) => return Some(Err(Errno::NOTSOCK)),
            Err(errno) => return Some(Err(errno)),
        };
        let bytes = flight.lent.bytes();
        if self.is_message_socket(id) {
            let sent = self.send_message(id, &bytes, to)?;
            return Some(sent.map(|count| Effect::of(result(count))));
        }
        let all = flags & WAITALL != 0;
        loop {
            let rest = bytes.get(flight.sent..).unwrap_or_default();
            match self.send_stream(id, rest) {
                Some(Ok(count)) => {
                    flight.sent += count;
                    if all && count > 0 && flight.sent < bytes.len() {
                        continue;
                    }
                }
                Some(Err(errno)) if flight.sent == 0 => return Some(Err(errno)),
                Some(Err(_)) => {}
                None if flags & DONTWAIT != 0 && flight.sent > 0 => {}
                None => return None,
            }
            return Some(Ok(Effect::of(result(flight.sent))));
        }
    }

    fn accept_one(&mut self, fd: RawFd, flags: u32, address: u64, length: u64) -> Try<Effect> {
        Some(self.accept(fd, flags)?.map(|(fd, name)| {
            let len = u32::try_from(name.len()).unwrap_or(0).to_ne_bytes().to_vec();
            let extra = vec![Extra::Bytes(address, name), Extra::Bytes(length, len)];
            Effect { extra, ..Effect::of(fd) }
        }))
    }

    fn poll(&mut self, fd: RawFd, events: u32) -> Try<Effect> {
        let open = match self.opened(fd) {
            Ok(open) => open,
            Err(errno) => return Some(Err(errno)),
        };
        let when = |yes: bool, events: u32| if yes { events } else { 0 };
        let now = match open.kind {
            Kind::Node(_) => POLLIN | POLLOUT,
            Kind::PipeReader(id) => self.pipes.get(id).map_or(POLLERR, |pipe| {
                when(!pipe.bytes.is_empty(), POLLIN) | when(pipe.writers == 0, POLLHUP)
            }),
            Kind::PipeWriter(id) => {
                let deaf = self.pipes.get(id).is_none_or(|pipe| pipe.readers == 0);
                when(self.pipe_room(id) >= 4096, POLLOUT) | when(deaf, POLLERR)
            }
            Kind::Socket(id) => self.socket_events(id),
        };
        let seen = now & (events | POLLERR | POLLHUP);
        (seen != 0).then(|| Ok(Effect::of(i32::try_from(seen).unwrap_or(0))))
    }

    /// splice(2): one of the two is a pipe.
    fn splice(&mut self, flight: &Flight, from: u64, to: u64, len: u32) -> Try<Effect> {
        let ends = self.opened(flight.fd).and_then(|one| Ok((one, self.opened(flight.other)?)));
        let (source, target) = match ends {
            Ok(ends) => ends,
            Err(errno) => return Some(Err(errno)),
        };
        let most = usize::try_from(len).unwrap_or(0);
        let piped = |kind: Kind| matches!(kind, Kind::PipeReader(_) | Kind::PipeWriter(_));
        if (piped(source.kind) && from != CURSOR) || (piped(target.kind) && to != CURSOR) {
            return Some(Err(Errno::SPIPE));
        }
        if source.flags & O_ACCMODE == O_WRONLY || target.flags & O_ACCMODE == 0 {
            return Some(Err(Errno::BADF));
        }
        if !piped(source.kind) && !piped(target.kind) {
            return Some(Err(Errno::INVAL));
        }
        let room = match target.kind {
            Kind::PipeWriter(id) if self.pipes.get(id).is_none_or(|pipe| pipe.readers == 0) => {
                return Some(Err(Errno::PIPE));
            }
            Kind::PipeWriter(id) => self.pipe_room(id),
            Kind::Socket(id) if self.is_message_socket(id) => return Some(Err(Errno::OPNOTSUPP)),
            Kind::Socket(id) => self.socket_room(id),
            _ => self.file_room(),
        };
        if room == 0 && most > 0 {
            return if matches!(target.kind, Kind::Node(_)) {
                Some(Err(Errno::NOSPC))
            } else {
                None
            };
        }
        let count = most.min(room);
        let bytes = match source.kind {
            Kind::Node(_) => Some(self.read_file(flight.fd, from, count)),
            Kind::PipeReader(id) => self.read_pipe(id, count),
            Kind::PipeWriter(_) => Some(Err(Errno::BADF)),
            Kind::Socket(id) if self.is_message_socket(id) => Some(Err(Errno::OPNOTSUPP)),
            Kind::Socket(id) => self.receive_stream(id, count, 0),
        }?;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(errno) => return Some(Err(errno)),
        };
        self.put_all(flight.other, target.kind, to, &bytes)
    }

    /// Gives bytes that there is room for to whoever has it.
    fn put_all(&mut self, fd: RawFd, kind: Kind, to: u64, bytes: &[u8]) -> Try<Effect> {
        let moved = match kind {
            Kind::PipeWriter(id) => {
                if let Some(pipe) = self.pipes.get_mut(id) {
                    pipe.bytes.extend(bytes);
                }
                self.changed = true;
                Ok(bytes.len())
            }
            Kind::Socket(id) => self.send_all(id, bytes),
            _ => self.write_file(fd, to, bytes),
        };
        Some(moved.map(|count| Effect::of(result(count))))
    }

    fn send_all(&mut self, id: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.send_stream(id, bytes.get(sent..).unwrap_or_default()) {
                Some(Ok(count)) if count > 0 => sent += count,
                Some(Err(errno)) if sent == 0 => return Err(errno),
                _ => break,
            }
        }
        Ok(sent)
    }

    /// tee(2).
    fn tee(&mut self, flight: &Flight, len: u32) -> Try<Effect> {
        let ends = self.opened(flight.fd).and_then(|one| Ok((one, self.opened(flight.other)?)));
        let (from, to) = match ends.map(|(one, other)| (one.kind, other.kind)) {
            Ok((Kind::PipeReader(from), Kind::PipeWriter(to))) if from != to => (from, to),
            Ok(_) => return Some(Err(Errno::INVAL)),
            Err(errno) => return Some(Err(errno)),
        };
        let most = usize::try_from(len).unwrap_or(0).min(self.pipe_room(to));
        if self.pipes.get(to).is_none_or(|pipe| pipe.readers == 0) {
            return Some(Err(Errno::PIPE));
        }
        let source = self.pipes.get(from)?;
        let bytes: Vec<u8> = source.bytes.iter().take(most).copied().collect();
        if bytes.is_empty() && len > 0 {
            let over = source.bytes.is_empty() && source.writers == 0;
            return over.then(|| Ok(Effect::of(0)));
        }
        self.pipes.get_mut(to)?.bytes.extend(&bytes);
        self.changed = true;
        Some(Ok(Effect::of(result(bytes.len()))))
    }
}
