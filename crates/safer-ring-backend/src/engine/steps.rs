//! The steps of an operation: tried, put into a queue, given to a thread or the disk, taken back, ended.
//!
//! # Safety
//! What was submitted leads to lent memory and open descriptors (contract of `Backend::submit`) until its completion
//! is posted, by `Engine::end`.
//!
//! Tests: a_socket_with_only_an_error_to_tell_is_not_asked_all_the_time, a_number_that_is_used_again_is_another_file
#![allow(unsafe_code, reason = "runs operations on lent memory")]

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use safer_ring_core::Op;
use safer_ring_sys::Errno;

use super::alarms::Alarm;
use super::attempt::{self, Attempt, IN, OUT, Tried};
use super::class::Kind;
use super::poller::own;
use super::vectors;
use super::waits::{self, Entry, Line, NONE, Place};
use super::{Engine, RDHUP};
use crate::backend::Submission;
use crate::payload::WAITALL;

/// What poll(2) says of files that are always ready.
const ALWAYS: u32 = 0x1 | 0x4 | 0x40 | 0x100;
/// Until what nothing tells of is tried again.
const LATER: Duration = Duration::from_millis(1);

impl Engine {
    /// Tries an operation for the first time; `following` is the next member of its chain.
    pub(super) fn start(&mut self, s: &Submission, following: u32) {
        let mut dry = false;
        if attempt::is_polled(s)
            && let Some(events) = attempt::direction(&s.op)
            && let Some(watched) = self.waits.watched(s.fd)
        {
            dry = events == IN && watched.dry;
            let line = if events == IN { Line::In } else { Line::Out };
            if self.waits.first(s.fd, line).is_some() {
                // Behind those that wait already.
                let index = self.waits.insert(Entry::new(s, 0, following));
                self.waits.enqueue(index, s.fd, line);
                return;
            }
        }
        let (mut progress, nowait) = (0, self.nowait);
        // SAFETY: the contract of `Backend::submit`, until the operation has ended.
        let came = unsafe { Tried { submission: s, progress: &mut progress, dry, nowait }.run() };
        if let Attempt::Done(result) = came {
            self.note_dry(s, result);
            self.end(s, following, result);
        } else {
            let index = self.waits.insert(Entry::new(s, progress, following));
            self.follow_up(index, came);
        }
    }

    /// Tries an operation again that is in no queue any more.
    pub(super) fn retry(&mut self, index: u32) {
        let came = self.try_again(index);
        self.follow_up(index, came);
    }

    pub(super) fn try_again(&mut self, index: u32) -> Attempt {
        let nowait = self.nowait;
        let Some(entry) = self.waits.get(index) else { return Attempt::Done(0) };
        let Entry { submission, progress, .. } = entry;
        // SAFETY: the contract of `Backend::submit`, until the operation has ended.
        unsafe { Tried { submission, progress, dry: false, nowait }.run() }
    }

    /// Acts on what a try has given. The operation is in no queue.
    pub(super) fn follow_up(&mut self, index: u32, came: Attempt) {
        let Some(entry) = self.waits.get(index) else { return };
        let s = entry.submission;
        match came {
            Attempt::Done(result) => {
                self.note_dry(&s, result);
                self.finish(index, result);
            }
            Attempt::Wait(events) => {
                let polls = s.poll_first.is_some() || matches!(s.op, Op::Poll { .. });
                let (fd, line) = match (events, s.op) {
                    _ if polls => (s.fd, Line::Poll),
                    (OUT, Op::Splice { .. } | Op::Tee { .. }) => (s.other, Line::Out),
                    (IN, _) => (s.fd, Line::In),
                    _ => (s.fd, Line::Out),
                };
                self.waits.enqueue(index, fd, line);
                self.arm(fd);
            }
            Attempt::Later => {
                entry.place = Place::Later;
                match self.open_alarms() {
                    Ok(()) => self.alarms.set(LATER, Alarm::Retry(s.user_data)),
                    Err(errno) => self.finish(index, -errno.raw_os_error()),
                }
            }
            Attempt::Block => self.give_to_pool(index),
            Attempt::Disk => self.give_to_disk(index),
        }
    }

    pub(super) fn give_to_pool(&mut self, index: u32) {
        let Some(entry) = self.waits.get(index) else { return };
        entry.place = Place::Pool;
        self.helped.threads += 1;
        let (s, progress) = (entry.submission, entry.progress);
        // SAFETY: the contract of `Backend::submit` holds until the completion is posted, which waits for the result.
        if let Err(errno) = unsafe { self.pool.send(&s, progress, &self.inbox) } {
            self.finish(index, -errno.raw_os_error());
        }
    }

    fn give_to_disk(&mut self, index: u32) {
        let Some(entry) = self.waits.get(index) else { return };
        let watched = match self.disk.open() {
            Some((bell, true)) => self.poller.add_own(bell, own::DISK).is_ok(),
            Some((_, false)) => true,
            None => false,
        };
        if watched && self.disk.push(&entry.submission) {
            entry.place = Place::Disk;
            self.helped.aio += 1;
        } else {
            self.give_to_pool(index);
        }
    }

    /// A stream that gave less than there was room for has no more: the next receive need not try.
    #[inline]
    fn note_dry(&mut self, s: &Submission, result: i32) {
        let room = match s.op {
            Op::Recv { flags: 0 } | Op::Read { .. } => s.capacity,
            _ => return,
        };
        if attempt::kind(s) == Kind::Stream
            && let Some(watched) = self.waits.watched(s.fd)
        {
            watched.dry = usize::try_from(result).is_ok_and(|count| count > 0 && count < room);
        }
    }

    /// Makes sure that somebody who waits for `fd` hears of it.
    pub(super) fn arm(&mut self, fd: RawFd) {
        let mut events = 0;
        if self.waits.first(fd, Line::In).is_some() {
            events |= IN | RDHUP;
        }
        if self.waits.first(fd, Line::Out).is_some() {
            events |= OUT;
        }
        let mut poll = self.waits.first(fd, Line::Poll);
        while let Some(index) = poll {
            events |= self.waits.get(index).map_or(0, |entry| wanted(&entry.submission));
            poll = self.waits.behind(index);
        }
        let Some(watched) = self.waits.watch(fd) else { return };
        if events == 0 || events & !watched.armed == 0 {
            return;
        }
        let Ok(data) = u64::try_from(fd) else { return };
        // SAFETY: the operations in its queues keep it open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        match self.poller.arm(borrowed, data, events, &mut watched.known) {
            Ok(()) => watched.armed = events,
            Err(errno) => self.cannot_watch(fd, errno),
        }
    }

    /// The poller does not take `fd`: a file that is always ready (`EPERM`), or a shortage.
    #[cold]
    fn cannot_watch(&mut self, fd: RawFd, errno: Errno) {
        for line in [Line::In, Line::Out, Line::Poll] {
            while let Some(index) = self.waits.first(fd, line) {
                self.waits.unlink(index);
                let asked = self.waits.get(index).map_or(0, |entry| wanted(&entry.submission));
                match (errno, line) {
                    (Errno::PERM, Line::Poll) => {
                        self.finish(index, (asked & ALWAYS).cast_signed());
                    }
                    (Errno::PERM, _) => self.give_to_pool(index),
                    _ => self.finish(index, -errno.raw_os_error()),
                }
            }
        }
    }

    /// Takes an operation back, if nobody works on it. Gives the answer to the request.
    pub(super) fn cancel_now(&mut self, target: u64) -> i32 {
        if self.alarms.cancel(Alarm::Timer(target)) {
            self.post.post(target, -Errno::CANCELED.raw_os_error());
            return 0;
        }
        let Some(entry) = self.waits.find(target) else {
            return -Errno::NOENT.raw_os_error();
        };
        let (place, index) = (entry.place, waits::slot(target));
        let begun = !matches!(entry.submission.op, Op::Connect { .. }) && entry.progress > 0;
        let part = i32::try_from(entry.progress).unwrap_or(i32::MAX);
        let taken = match place {
            Place::Chained => {
                self.waits.end_chain_before(index);
                true
            }
            Place::Later => self.alarms.cancel(Alarm::Retry(target)),
            Place::Queue(..) => {
                self.waits.unlink(index);
                true
            }
            Place::Pool => self.pool.take_back(target, &self.inbox),
            Place::Disk => self.disk.take_back(target),
        };
        if !taken {
            return -Errno::ALREADY.raw_os_error();
        }
        // A part of a transfer is a transfer.
        self.finish(index, if begun { part } else { -Errno::CANCELED.raw_os_error() });
        0
    }

    /// An operation has ended that is in no queue.
    pub(super) fn finish(&mut self, index: u32, result: i32) {
        if let Some(entry) = self.waits.remove(index) {
            self.end(&entry.submission, entry.following, result);
        }
    }

    #[inline]
    fn end(&mut self, s: &Submission, following: u32, result: i32) {
        self.post.post(s.user_data, result);
        if following != NONE {
            self.end_member(s, following, result);
        }
    }

    #[cold]
    fn end_member(&mut self, s: &Submission, following: u32, result: i32) {
        if !breaks(s, result) {
            self.due.push(following);
            return;
        }
        let mut next = following;
        while let Some(member) = self.waits.remove(next) {
            self.post.post(member.submission.user_data, -Errno::CANCELED.raw_os_error());
            next = member.following;
        }
    }
}

/// The events that a poll asks for.
pub(super) fn wanted(s: &Submission) -> u32 {
    match (s.poll_first, s.op) {
        (Some(events), _) | (None, Op::Poll { events }) => events,
        _ => 0,
    }
}

/// Whether a result ends the chain of its operation: an error, and less than was asked for (io_uring_enter(2),
/// `IOSQE_IO_LINK`).
fn breaks(s: &Submission, result: i32) -> bool {
    let Ok(moved) = usize::try_from(result) else { return true };
    let wanted = match s.op {
        Op::Read { .. } => s.capacity,
        Op::Write { .. } => s.init,
        Op::ReadVectored { count, .. } | Op::WriteVectored { count, .. } => {
            // SAFETY: `ptr` leads to `count` vectors, which live until the completion is taken.
            vectors_len(unsafe { vectors::Vectors::new(s.ptr, count) })
        }
        Op::Recv { flags } if flags & WAITALL != 0 => s.capacity,
        Op::Send { flags } if flags & WAITALL != 0 => s.init,
        Op::SendMsg { flags } | Op::RecvMsg { flags } if flags & WAITALL != 0 => {
            // SAFETY: `ptr` leads to a message header, which lives until the completion is taken.
            let header = unsafe { s.ptr.cast::<libc::msghdr>().read() };
            // SAFETY: its vectors are valid as it is.
            vectors_len(unsafe { vectors::Vectors::of_message(&header) })
        }
        Op::Splice { len, .. } | Op::Tee { len, .. } => usize::try_from(len).unwrap_or(usize::MAX),
        _ => 0,
    };
    moved < wanted.min(attempt::max_transfer())
}

fn vectors_len(mut vectors: vectors::Vectors<'_>) -> usize {
    vectors.rest(0).iter().map(|vector| vector.iov_len).sum()
}
