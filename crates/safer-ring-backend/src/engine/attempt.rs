//! One try of an operation, which never waits.
//!
//! # Safety
//! Each call reads or writes only what the submission lent, within its length; the contract of `Backend::submit` holds
//! until the operation's completion is posted. A part that is done already is left out.
//!
//! Tests: it_says_what_it_is, cached_reads_need_no_thread, a_number_that_is_used_again_is_another_file
#![allow(unsafe_code, reason = "system calls with pointers to lent memory")]

use std::os::fd::RawFd;

use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::Errno;

use super::class::{Class, Kind, set_nonblocking};
use super::poller::ready_now;
use super::vectors::{Message, Vectors};
use crate::backend::Submission;
use crate::plain;
use crate::uring::MAX_TRANSFER;

pub(super) const IN: u32 = 0x1;
pub(super) const OUT: u32 = 0x4;
const DONTWAIT: i32 = libc::MSG_DONTWAIT;
/// What may be written to a pipe that polls as writable without waiting: `PIPE_BUF` of pipe(7).
const PIPE_BUF: usize = 4096;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It has ended, with this result.
    Done(i32),
    /// Again when the descriptor is ready: [`IN`] or [`OUT`].
    Wait(u32),
    /// Again after a while: nothing tells when.
    Later,
    /// It may wait for a disk or a name: a thread's work.
    Block,
    /// A file opened with `O_DIRECT`, or a flush of a file.
    Disk,
}

/// Of one operation: what it is, and how far it has come.
pub(super) struct Tried<'a> {
    pub(super) submission: &'a Submission,
    /// Bytes that are done; for `connect`, 1 when it has begun.
    pub(super) progress: &'a mut u32,
    /// The last transfer filled less than it could have, so that its stream was empty then.
    pub(super) dry: bool,
    /// Whether `RWF_NOWAIT` may be tried.
    pub(super) nowait: bool,
}

/// The events that an operation waits for before it is tried, if it is tried again and again.
pub(super) fn direction(op: &Op) -> Option<u32> {
    match op {
        Op::Read { .. }
        | Op::ReadVectored { .. }
        | Op::Recv { .. }
        | Op::RecvMsg { .. }
        | Op::Accept { .. } => Some(IN),
        Op::Write { .. }
        | Op::WriteVectored { .. }
        | Op::Send { .. }
        | Op::SendMsg { .. }
        | Op::Connect { .. } => Some(OUT),
        _ => None,
    }
}

/// Whether operations of this descriptor wait for each other: not those on files.
#[inline]
pub(super) fn is_polled(submission: &Submission) -> bool {
    !matches!(kind(submission), Kind::File | Kind::Memory | Kind::Direct)
}

/// Whether it is on a socket that is a stream of bytes.
pub(crate) fn is_stream(submission: &Submission) -> bool {
    kind(submission) == Kind::Stream
}

#[inline]
pub(super) fn kind(s: &Submission) -> Kind {
    Class::of(s).map_or(Kind::Other, |class| class.kind(s.fd))
}

impl Tried<'_> {
    /// Tries it.
    ///
    /// # Safety
    /// The contract of `Backend::submit` holds: the operation's memory and descriptors are valid, and nobody else uses
    /// the memory.
    pub(super) unsafe fn run(&mut self) -> Attempt {
        let s = self.submission;
        if s.poll_first.is_some() {
            return Attempt::Wait(IN | OUT);
        }
        match s.op {
            Op::Nop | Op::Timeout => Attempt::Done(0),
            // A prepared entry, and a group of buffers, mean something to the kernel's own ring only.
            Op::Raw | Op::RecvMulti { .. } => Attempt::Done(-Errno::OPNOTSUPP.raw_os_error()),
            Op::Poll { .. } => Attempt::Wait(IN | OUT),
            // SAFETY: the caller's promise, here and below.
            Op::Read { offset } => unsafe { self.read(offset) },
            // SAFETY: as above.
            Op::Write { offset } => unsafe { self.write(offset) },
            // SAFETY: as above.
            Op::ReadVectored { offset, count } => unsafe { self.vectored(offset, count, false) },
            // SAFETY: as above.
            Op::WriteVectored { offset, count } => unsafe { self.vectored(offset, count, true) },
            // SAFETY: as above.
            Op::Recv { flags } => unsafe { self.recv(flags.cast_signed()) },
            // SAFETY: as above.
            Op::Send { flags } => unsafe { self.send(flags.cast_signed()) },
            // SAFETY: as above.
            Op::RecvMsg { flags } => unsafe { self.message(flags.cast_signed(), false) },
            // SAFETY: as above.
            Op::SendMsg { flags } => unsafe { self.message(flags.cast_signed(), true) },
            // SAFETY: as above.
            Op::Accept { flags, aux } => unsafe { self.accept(flags.cast_signed(), aux) },
            // SAFETY: as above.
            Op::Connect { len } => unsafe { self.connect(len) },
            Op::Splice { .. } | Op::Tee { .. } => splice(s),
            Op::Close { fd } => {
                // SAFETY: the descriptor was given to this operation to close (`payload::close`).
                Attempt::Done(result(unsafe { libc::close(fd) }.into()))
            }
            Op::Fsync { .. } => Attempt::Disk,
            Op::Socket { .. }
            | Op::Bind { .. }
            | Op::Listen { .. }
            | Op::Shutdown { .. }
            | Op::Pipe { .. } => {
                // SAFETY: the caller's promise.
                let done = unsafe { plain::perform(s) };
                done.map_or(Attempt::Block, Attempt::Done)
            }
            Op::OpenAt { .. }
            | Op::OpenAt2 { .. }
            | Op::Statx { .. }
            | Op::Fallocate { .. }
            | Op::Ftruncate { .. }
            | Op::RenameAt { .. }
            | Op::UnlinkAt { .. }
            | Op::MkdirAt { .. }
            | Op::SymlinkAt { .. }
            | Op::LinkAt { .. } => Attempt::Block,
        }
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn read(&mut self, offset: u64) -> Attempt {
        let s = self.submission;
        match kind(s) {
            kind if kind.is_socket() && is_place(offset) => no_places(),
            // SAFETY: the caller's promise.
            kind if kind.is_socket() => unsafe { self.recv(0) },
            Kind::Direct => Attempt::Disk,
            kind => {
                let len = s.capacity.min(max_transfer());
                let base = s.ptr.cast();
                let mut vector = [libc::iovec { iov_base: base, iov_len: len }];
                // SAFETY: one vector over the lent memory.
                unsafe { self.transfer(kind, offset, &mut vector, false) }
            }
        }
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn write(&mut self, offset: u64) -> Attempt {
        let s = self.submission;
        match kind(s) {
            kind if kind.is_socket() && is_place(offset) => no_places(),
            // SAFETY: the caller's promise.
            kind if kind.is_socket() => unsafe { self.send(0) },
            Kind::Direct => Attempt::Disk,
            kind => {
                let len = s.init.min(max_transfer());
                let base = s.ptr.cast();
                let mut vector = [libc::iovec { iov_base: base, iov_len: len }];
                // SAFETY: one vector over the lent memory.
                unsafe { self.transfer(kind, offset, &mut vector, true) }
            }
        }
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn vectored(&mut self, offset: u64, count: u32, write: bool) -> Attempt {
        let kind = kind(self.submission);
        if kind == Kind::Direct {
            return Attempt::Disk;
        }
        // SAFETY: `ptr` leads to `count` vectors over lent memory (`payload::vectored`).
        let mut vectors = unsafe { Vectors::new(self.submission.ptr, count) };
        if kind.is_socket() {
            if is_place(offset) {
                return no_places();
            }
            let message = Message::of(vectors.rest(0));
            let flags = if write { libc::MSG_NOSIGNAL } else { 0 };
            // SAFETY: the message's vectors are those of the operation.
            let result = unsafe { message.pass(self.submission.fd, flags | DONTWAIT, write) };
            return self.after_transfer(result, if write { OUT } else { IN }, 0, None);
        }
        // SAFETY: as above.
        unsafe { self.transfer(kind, offset, vectors.rest(0), write) }
    }

    /// preadv2(2) or pwritev2(2) that does not wait, for everything but sockets. Nothing is done yet.
    ///
    /// # Safety
    /// As [`Tried::run`].
    unsafe fn transfer(
        &mut self,
        kind: Kind,
        offset: u64,
        vectors: &mut [libc::iovec],
        write: bool,
    ) -> Attempt {
        let (fd, class) = (self.submission.fd, Class::of(self.submission));
        let events = if write { OUT } else { IN };
        let files = matches!(kind, Kind::File | Kind::Memory);
        let known = class.is_none_or(|class| class.may_nowait(write));
        let nowait = self.nowait && kind != Kind::Memory && known;
        if nowait {
            // SAFETY: the vectors are over lent memory (caller).
            let moved = unsafe { vectored_call(fd, vectors, offset, libc::RWF_NOWAIT, write) };
            match moved {
                Err(Errno::OPNOTSUPP) => class.into_iter().for_each(|class| class.no_nowait(write)),
                Err(Errno::AGAIN) if files => return Attempt::Block,
                Err(Errno::AGAIN) => return Attempt::Wait(events),
                Err(errno) => return Attempt::Done(-errno.raw_os_error()),
                Ok(moved) if matches!(vectors, [all] if all.iov_len == moved) => {
                    return Attempt::Done(whole(moved));
                }
                // Of a file that much was in memory; the rest may be the end, or on the disk.
                Ok(moved) if files => {
                    // SAFETY: as above.
                    return unsafe { self.go_on(offset, vectors, write, moved) };
                }
                Ok(moved) => return Attempt::Done(whole(moved)),
            }
        }
        match kind {
            Kind::File => Attempt::Block,
            // SAFETY: as above.
            Kind::Memory => done(unsafe { vectored_call(fd, vectors, offset, 0, write) }),
            _ => {
                // Without a call that does not wait: one that has no reason to. The wrong end of a pipe is never ready.
                if is_closed_to(fd, if write { libc::O_RDONLY } else { libc::O_WRONLY }) {
                    return Attempt::Done(-Errno::BADF.raw_os_error());
                }
                if ready_now(fd, events) == 0 {
                    return Attempt::Wait(events);
                }
                if write && kind == Kind::Pipe {
                    shorten(vectors, PIPE_BUF);
                }
                // SAFETY: as above.
                match unsafe { vectored_call(fd, vectors, offset, 0, write) } {
                    Err(Errno::AGAIN) => Attempt::Wait(events),
                    other => done(other),
                }
            }
        }
    }

    /// The rest of a transfer on a file, of which `moved` bytes are done.
    ///
    /// # Safety
    /// As [`Tried::run`].
    #[cold]
    unsafe fn go_on(
        &mut self,
        offset: u64,
        vectors: &mut [libc::iovec],
        write: bool,
        mut moved: usize,
    ) -> Attempt {
        let wanted: usize = vectors.iter().map(|vector| vector.iov_len).sum();
        let mut last = moved;
        while moved < wanted && last > 0 {
            let rest = super::vectors::advance(vectors, last);
            let at = further(offset, moved);
            // SAFETY: the vectors are over lent memory (caller).
            match unsafe { vectored_call(self.submission.fd, rest, at, libc::RWF_NOWAIT, write) } {
                Ok(more) => {
                    last = more;
                    moved += more;
                }
                Err(_) => {
                    // It is done by a thread, which also meets the error if there is one.
                    *self.progress = u32::try_from(moved).unwrap_or(u32::MAX);
                    return Attempt::Block;
                }
            }
        }
        Attempt::Done(whole(moved))
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn recv(&mut self, flags: i32) -> Attempt {
        let s = self.submission;
        if self.dry && flags & DONTWAIT == 0 {
            return Attempt::Wait(IN);
        }
        let done = rest_of(*self.progress);
        let room = s.capacity.min(max_transfer()).saturating_sub(done);
        // SAFETY: behind what was received, inside the lent memory.
        let place = unsafe { s.ptr.add(done) };
        // SAFETY: `room` bytes there are lent for writing.
        let moved = unsafe { libc::recv(s.fd, place.cast(), room, flags | DONTWAIT) };
        let peeks = flags & libc::MSG_PEEK != 0;
        let all = flags & libc::MSG_WAITALL != 0 && !peeks && kind(s) == Kind::Stream;
        self.after_transfer(outcome(moved), IN, flags, all.then_some(room))
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn send(&mut self, flags: i32) -> Attempt {
        let s = self.submission;
        let done = rest_of(*self.progress);
        let rest = s.init.min(max_transfer()).saturating_sub(done);
        // SAFETY: behind what was sent, inside the lent memory.
        let place = unsafe { s.ptr.add(done) };
        let wide = flags | DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `rest` initialised bytes are there.
        let moved = unsafe { libc::send(s.fd, place.cast_const().cast(), rest, wide) };
        let all = flags & libc::MSG_WAITALL != 0;
        self.after_transfer(outcome(moved), OUT, flags, all.then_some(rest))
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn message(&mut self, flags: i32, write: bool) -> Attempt {
        let (s, done) = (self.submission, rest_of(*self.progress));
        // SAFETY: `ptr` leads to a message header over lent memory (`payload::message`).
        let mut header = unsafe { s.ptr.cast::<libc::msghdr>().read() };
        // SAFETY: the header's vectors are valid as it is.
        let mut vectors = unsafe { Vectors::of_message(&header) };
        let rest = vectors.rest(done);
        let wanted = rest.iter().map(|vector| vector.iov_len).sum();
        let wide = flags | DONTWAIT | if write { libc::MSG_NOSIGNAL } else { 0 };
        let moved = if done == 0 {
            // The header itself, into which a receive writes.
            // SAFETY: as above.
            unsafe { super::vectors::pass(s.ptr.cast(), s.fd, wide, write) }
        } else {
            // Address and control data went with the first part.
            (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
            (header.msg_iov, header.msg_iovlen) = (rest.as_mut_ptr(), rest.len());
            // SAFETY: as above, with fewer vectors.
            unsafe { super::vectors::pass(&raw mut header, s.fd, wide, write) }
        };
        let all = flags & libc::MSG_WAITALL != 0 && kind(s) == Kind::Stream;
        self.after_transfer(moved, if write { OUT } else { IN }, flags, all.then_some(wanted))
    }

    /// What a transfer on a socket means. With `all`, it goes on until so many bytes are done.
    fn after_transfer(
        &mut self,
        moved: Result<usize, Errno>,
        events: u32,
        flags: i32,
        all: Option<usize>,
    ) -> Attempt {
        let before = *self.progress;
        match moved {
            Err(Errno::AGAIN) if flags & (DONTWAIT | libc::MSG_ERRQUEUE) != 0 => {
                if before > 0 {
                    Attempt::Done(signed(before))
                } else {
                    again()
                }
            }
            Err(Errno::AGAIN) => Attempt::Wait(events),
            Err(_) if before > 0 => Attempt::Done(signed(before)),
            Err(errno) => Attempt::Done(-errno.raw_os_error()),
            Ok(moved) => {
                let sum = before.saturating_add(u32::try_from(moved).unwrap_or(u32::MAX));
                if moved > 0 && all.is_some_and(|all| moved < all) && flags & DONTWAIT == 0 {
                    *self.progress = sum;
                    return Attempt::Wait(events);
                }
                Attempt::Done(signed(sum))
            }
        }
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn accept(&mut self, flags: i32, aux: u64) -> Attempt {
        let s = self.submission;
        // accept4(2) has no flag that keeps it from waiting.
        Class::of(s).into_iter().for_each(|class| class.ensure_nonblocking(s.fd));
        let length = plain::pointer(aux).cast_mut().cast();
        // SAFETY: room for an address at `ptr`, its length at `aux` (`payload::accept`); or null, for none.
        let fd = unsafe { libc::accept4(s.fd, s.ptr.cast(), length, flags) };
        match outcome(i64::from(fd)) {
            Err(Errno::AGAIN) => Attempt::Wait(IN),
            Err(errno) => Attempt::Done(-errno.raw_os_error()),
            Ok(_) => Attempt::Done(fd),
        }
    }

    /// # Safety
    /// As [`Tried::run`].
    unsafe fn connect(&mut self, len: u32) -> Attempt {
        let s = self.submission;
        if *self.progress > 0 {
            return connected(s.fd);
        }
        let was = set_nonblocking(s.fd, true);
        // SAFETY: an address of `len` bytes at `ptr` (`payload::connect`).
        let code = unsafe { libc::connect(s.fd, s.ptr.cast_const().cast(), len) };
        let answer = outcome(code);
        if !was {
            set_nonblocking(s.fd, false);
        }
        match answer {
            Ok(_) => Attempt::Done(0),
            Err(Errno::INPROGRESS) => {
                *self.progress = 1;
                Attempt::Wait(OUT)
            }
            // The queue of a Unix listener is full, and nothing tells when it is not.
            Err(Errno::AGAIN) if !was => Attempt::Later,
            Err(errno) => Attempt::Done(-errno.raw_os_error()),
        }
    }
}

/// Whether a connection that was begun is there.
fn connected(fd: RawFd) -> Attempt {
    let mut error: libc::c_int = 0;
    let mut size: libc::socklen_t = 4;
    // SAFETY: SO_ERROR is an int of four bytes; both are on this stack.
    let read = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut size,
        )
    };
    if read != 0 || error != 0 {
        return Attempt::Done(if read != 0 { -Errno::last().raw_os_error() } else { -error });
    }
    if ready_now(fd, OUT) & OUT == 0 { Attempt::Wait(OUT) } else { Attempt::Done(0) }
}

/// Both ends must be ready; then a thread moves the bytes, since one of the two may still wait in the middle.
fn splice(s: &Submission) -> Attempt {
    if is_closed_to(s.fd, libc::O_WRONLY) || is_closed_to(s.other, libc::O_RDONLY) {
        // The wrong end of a pipe, which would never be ready: the call says what is wrong.
        Attempt::Block
    } else if ready_now(s.fd, IN) == 0 {
        Attempt::Wait(IN)
    } else if ready_now(s.other, OUT) == 0 {
        Attempt::Wait(OUT)
    } else {
        Attempt::Block
    }
}

/// Whether a descriptor was opened for nothing but this.
fn is_closed_to(fd: RawFd, mode: i32) -> bool {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_ACCMODE == mode
}

/// How often one call is made in a row that is interrupted. It may be the word of the file, and the table comes back too.
const TRIES: u32 = 16;

/// One call on all of the vectors.
///
/// # Safety
/// The vectors lead to memory that is valid for the direction of the call.
#[inline]
pub(super) unsafe fn vectored_call(
    fd: RawFd,
    vectors: &[libc::iovec],
    offset: u64,
    flags: i32,
    write: bool,
) -> Result<usize, Errno> {
    let count = libc::c_int::try_from(vectors.len()).map_err(|_| Errno::INVAL)?;
    let at = offset.cast_signed();
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let moved = if write {
            // SAFETY: the caller's promise.
            unsafe { libc::pwritev2(fd, vectors.as_ptr(), count, at, flags) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { libc::preadv2(fd, vectors.as_ptr(), count, at, flags) }
        };
        match outcome(moved) {
            Err(Errno::INTR) if tries > 0 => {}
            // No file with positions: as the ring of the kernel does, at its end.
            Err(Errno::SPIPE) if offset != CURSOR => {
                // SAFETY: the caller's promise.
                return unsafe { vectored_call(fd, vectors, CURSOR, flags, write) };
            }
            other => return other,
        }
    }
}

/// The offset behind `moved` bytes.
pub(super) fn further(offset: u64, moved: usize) -> u64 {
    if offset == CURSOR { CURSOR } else { offset.saturating_add(u64::try_from(moved).unwrap_or(0)) }
}

/// Leaves at most `most` bytes in the vectors.
fn shorten(vectors: &mut [libc::iovec], mut most: usize) {
    for vector in vectors {
        vector.iov_len = vector.iov_len.min(most);
        most -= vector.iov_len;
    }
}

fn outcome<T: TryInto<usize>>(code: T) -> Result<usize, Errno> {
    code.try_into().map_err(|_| Errno::last())
}

fn result(code: i64) -> i32 {
    done_code(outcome(code))
}

fn done_code(moved: Result<usize, Errno>) -> i32 {
    match moved {
        Ok(moved) => whole(moved),
        Err(errno) => -errno.raw_os_error(),
    }
}

fn done(moved: Result<usize, Errno>) -> Attempt {
    Attempt::Done(done_code(moved))
}

/// Whether a socket refuses the offset: it takes the cursor, and 0.
fn is_place(offset: u64) -> bool {
    !matches!(offset, 0 | CURSOR)
}

/// What the kernel's ring answers for a place in a socket.
fn no_places() -> Attempt {
    Attempt::Done(-Errno::SPIPE.raw_os_error())
}

fn again() -> Attempt {
    Attempt::Done(-Errno::AGAIN.raw_os_error())
}

/// At most `MAX_TRANSFER`, which fits.
pub(super) fn whole(moved: usize) -> i32 {
    i32::try_from(moved).unwrap_or(i32::MAX)
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn rest_of(progress: u32) -> usize {
    usize::try_from(progress).unwrap_or(usize::MAX)
}

pub(super) fn max_transfer() -> usize {
    rest_of(MAX_TRANSFER)
}
