//! Errors that come from outside of a program: which ones a call can end with, by what its descriptor leads to.
//!
//! Of the manual pages of the calls, and of tcp(7), udp(7) and ip(7) for what a network tells; errors that say that the program
//! itself is wrong are not drawn.

use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::calls::Call;
use super::files::{Kind, O_ACCMODE};
use super::kernel::Kernel;
use super::sockets::{STREAM, State, UNIX};

/// What a call works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A file or a directory, by descriptor or by name.
    Disk,
    Pipe,
    /// A stream by IP.
    Tcp,
    /// Datagrams by IP; whether the socket is connected.
    Udp(bool),
    /// A Unix socket.
    Unix,
    /// None of these, or a descriptor that leads nowhere.
    Nothing,
}

impl Kernel {
    /// What a descriptor leads to.
    pub(super) fn subject_of(&self, fd: RawFd) -> Subject {
        match self.opened(fd).map(|open| open.kind) {
            Ok(Kind::Node(_)) => Subject::Disk,
            Ok(Kind::PipeReader(_) | Kind::PipeWriter(_)) => Subject::Pipe,
            Ok(Kind::Socket(id)) => match self.sockets.get(id) {
                Some(socket) if socket.domain == UNIX => Subject::Unix,
                Some(socket) if socket.kind == STREAM => Subject::Tcp,
                Some(socket) => Subject::Udp(matches!(socket.state, State::Connected { .. })),
                None => Subject::Nothing,
            },
            Err(_) => Subject::Nothing,
        }
    }

    /// What a call works on. Of a splice, the disk if one of its ends is there.
    pub(super) fn subject(&self, call: &Call, fd: RawFd, other: RawFd) -> Subject {
        match call {
            Call::Open { .. }
            | Call::Statx { .. }
            | Call::Rename { .. }
            | Call::Unlink { .. }
            | Call::Mkdir { .. }
            | Call::Symlink { .. }
            | Call::Link { .. } => Subject::Disk,
            Call::Close { fd } => self.subject_of(*fd),
            Call::Splice { .. } if self.subject_of(other) == Subject::Disk => Subject::Disk,
            _ => self.subject_of(fd),
        }
    }

    /// Whether a descriptor was opened for writing.
    pub(super) fn writes(&self, fd: RawFd) -> bool {
        self.opened(fd).is_ok_and(|open| open.flags & O_ACCMODE != 0)
    }
}

/// Whether an error is the end of a connection.
pub(super) fn breaks(errno: Errno) -> bool {
    use Errno as E;
    matches!(errno, E::CONNRESET | E::PIPE | E::TIMEDOUT | E::HOSTUNREACH | E::NOTCONN)
}

/// With which errors a call tells that its connection has broken.
pub(super) fn breaking(call: &Call) -> &'static [Errno] {
    use Errno as E;
    match call {
        Call::Read { .. } | Call::Recv { .. } | Call::RecvMulti { .. } => {
            &[E::CONNRESET, E::TIMEDOUT, E::HOSTUNREACH]
        }
        Call::Write { .. } | Call::Send { .. } => {
            &[E::CONNRESET, E::PIPE, E::TIMEDOUT, E::HOSTUNREACH]
        }
        Call::Shutdown { .. } => &[E::NOTCONN],
        _ => &[],
    }
}

/// Other errors that a manual page has for a call on such a subject, and that come from outside of the program.
pub(super) fn plausible(call: &Call, subject: Subject) -> &'static [Errno] {
    use Errno as E;
    match call {
        Call::Read { .. } | Call::Recv { .. } | Call::RecvMulti { .. } => into_memory(subject),
        Call::Write { .. } | Call::Send { .. } => out_of_memory(subject),
        Call::Close { .. } if subject == Subject::Disk => &[E::IO, E::NOSPC, E::DQUOT],
        Call::Accept { .. } if subject == Subject::Unix => &[E::MFILE, E::NFILE, E::NOMEM],
        Call::Accept { .. } => &[E::MFILE, E::NFILE, E::CONNABORTED, E::NOBUFS, E::NOMEM],
        Call::Connect { .. } => to_somebody(subject),
        Call::Bind { .. } if subject == Subject::Unix => &[E::ADDRINUSE, E::ACCESS, E::NOMEM],
        Call::Bind { .. } => &[E::ADDRINUSE, E::ACCESS, E::ADDRNOTAVAIL],
        Call::Listen { .. } => &[E::ADDRINUSE],
        Call::Socket { .. } => &[E::MFILE, E::NFILE, E::NOBUFS, E::NOMEM],
        Call::Pipe { .. } => &[E::MFILE, E::NFILE],
        Call::Splice { .. } | Call::Tee { .. } => &[E::NOMEM],
        // It is no error of a disk that there is none.
        Call::Fsync if subject != Subject::Disk => &[],
        other => of_files(other),
    }
}

fn into_memory(subject: Subject) -> &'static [Errno] {
    match subject {
        Subject::Disk => &[Errno::IO, Errno::NOMEM],
        Subject::Udp(true) => &[Errno::CONNREFUSED, Errno::NOMEM],
        _ => &[Errno::NOMEM],
    }
}

fn out_of_memory(subject: Subject) -> &'static [Errno] {
    use Errno as E;
    match subject {
        Subject::Disk => &[E::IO, E::NOSPC, E::DQUOT],
        Subject::Udp(true) => &[E::CONNREFUSED, E::HOSTUNREACH, E::NETUNREACH, E::NOBUFS, E::NOMEM],
        Subject::Udp(false) => &[E::HOSTUNREACH, E::NETUNREACH, E::NOBUFS, E::NOMEM],
        Subject::Tcp | Subject::Unix => &[E::NOBUFS, E::NOMEM],
        Subject::Pipe | Subject::Nothing => &[E::NOMEM],
    }
}

fn to_somebody(subject: Subject) -> &'static [Errno] {
    use Errno as E;
    match subject {
        Subject::Unix => &[E::CONNREFUSED, E::ACCESS],
        Subject::Udp(_) => &[E::NETUNREACH, E::ADDRNOTAVAIL],
        _ => &[E::TIMEDOUT, E::CONNREFUSED, E::NETUNREACH, E::HOSTUNREACH, E::ADDRNOTAVAIL],
    }
}

fn of_files(call: &Call) -> &'static [Errno] {
    const O_CREAT: u32 = 0o100;
    use Errno as E;
    match call {
        Call::Fsync => &[E::IO, E::NOSPC, E::DQUOT],
        Call::Fallocate { .. } => &[E::IO, E::NOSPC],
        Call::Ftruncate { .. } => &[E::IO],
        Call::Open { flags, .. } if flags & O_CREAT != 0 => {
            &[E::MFILE, E::NFILE, E::NOMEM, E::IO, E::ACCESS, E::NOSPC, E::DQUOT]
        }
        Call::Open { .. } => &[E::MFILE, E::NFILE, E::NOMEM, E::IO, E::ACCESS],
        // Of what is open already, nobody asks who may look for it.
        Call::Statx { path, .. } if path.is_empty() => &[E::NOMEM, E::IO],
        Call::Statx { .. } => &[E::NOMEM, E::IO, E::ACCESS],
        Call::Unlink { .. } => &[E::IO, E::NOMEM, E::ACCESS],
        Call::Rename { .. } | Call::Mkdir { .. } | Call::Symlink { .. } | Call::Link { .. } => {
            &[E::IO, E::NOSPC, E::DQUOT, E::NOMEM, E::ACCESS]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_what_the_descriptor_leads_to() {
        let (read, write) = (Call::Read { offset: 0 }, Call::Write { offset: 0 });
        let recv = Call::Recv { flags: 0, message: false };
        let send = Call::Send { flags: 0, to: None };
        let has = |call: &Call, subject, errno| plausible(call, subject).contains(&errno);
        for (errno, call) in [(Errno::NOSPC, &write), (Errno::IO, &write), (Errno::IO, &read)] {
            assert!(has(call, Subject::Disk, errno));
            for subject in [Subject::Pipe, Subject::Tcp, Subject::Udp(true), Subject::Unix] {
                assert!(!has(call, subject, errno), "{errno} of {subject:?}");
            }
        }
        for call in [&read, &write, &recv, &send] {
            assert!(breaking(call).contains(&Errno::CONNRESET));
            assert!(breaking(call).iter().all(|errno| breaks(*errno)));
            assert!(!plausible(call, Subject::Tcp).iter().any(|errno| breaks(*errno)));
        }
        assert!(breaking(&send).contains(&Errno::PIPE) && !breaking(&recv).contains(&Errno::PIPE));
        assert!(has(&recv, Subject::Udp(true), Errno::CONNREFUSED));
        assert!(!has(&recv, Subject::Udp(false), Errno::CONNREFUSED));
        let close = Call::Close { fd: 0 };
        assert!(
            has(&close, Subject::Disk, Errno::IO) && plausible(&close, Subject::Tcp).is_empty()
        );
    }
}
