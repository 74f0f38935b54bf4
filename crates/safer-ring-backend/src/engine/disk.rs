//! Files opened with `O_DIRECT`, and flushes, by Linux AIO: no thread waits for them.
//!
//! * Reads, overwrites and flushes really are asynchronous there. A write that extends a file is not; `RWF_NOWAIT` makes
//!   the kernel say so (`EAGAIN`), and a thread does it.
//! * What AIO refuses, whatever the reason, a thread does too: it meets the same error, if it is one.
//! * A context takes its share of `fs.aio-max-nr`, which all processes share. Without one, everything goes to threads.
//!
//! # Safety
//! Commands name memory that their operations lent, which stays valid until the completion is posted: after the event.
//!
//! Tests: direct_files_on_the_fallback_use_aio
#![allow(unsafe_code, reason = "io_submit(2) gives the kernel addresses of lent memory")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::{AioContext, Errno, IoEvent, Iocb, Timespec, aio_cmd, aio_flag, rwf};

use super::attempt::max_transfer;
use crate::backend::Submission;
use crate::payload::address;
use crate::wake::new_eventfd;

/// Commands that a context is made for; the kernel rounds up. A thread has one context.
const COMMANDS: u32 = 128;
/// Commands and events that are passed at a time.
const BATCH: usize = 64;

/// The context of one engine, made when it is first needed.
#[derive(Debug)]
pub(super) struct Disk {
    context: Option<Context>,
    /// There is none to be had.
    refused: bool,
    queued: Vec<Iocb>,
    in_flight: usize,
}

#[derive(Debug)]
struct Context {
    aio: AioContext,
    bell: OwnedFd,
}

impl Disk {
    /// Without `allowed` there is no context, as where the machine has none left.
    pub(super) fn new(allowed: bool) -> Self {
        Self { context: None, refused: !allowed, queued: Vec::new(), in_flight: 0 }
    }

    /// The descriptor that is signalled for each completion, to be watched for edges; made with the context.
    ///
    /// # Errors
    /// There is no AIO, or none left.
    pub(super) fn open(&mut self) -> Option<(BorrowedFd<'_>, bool)> {
        if self.refused {
            return None;
        }
        let fresh = self.context.is_none();
        if fresh {
            let made = AioContext::setup(COMMANDS).and_then(|aio| {
                let bell = new_eventfd()?;
                Ok(Context { aio, bell })
            });
            match made {
                Ok(context) => self.context = Some(context),
                Err(_) => self.refused = true,
            }
        }
        self.context.as_ref().map(|context| (context.bell.as_fd(), fresh))
    }

    /// Puts an operation into the queue. `false`: there is no command for it.
    pub(super) fn push(&mut self, s: &Submission) -> bool {
        let Some(context) = &self.context else { return false };
        let Some(mut command) = command(s) else { return false };
        command.aio_flags = aio_flag::RESFD;
        command.aio_resfd = context.bell.as_raw_fd().cast_unsigned();
        self.queued.push(command);
        true
    }

    /// Takes back what has not been handed over.
    pub(super) fn take_back(&mut self, user_data: u64) -> bool {
        let found = self.queued.iter().position(|command| command.aio_data == user_data);
        found.is_some_and(|at| {
            self.queued.remove(at);
            true
        })
    }

    /// Hands over what is queued, as far as the context takes it. What it refuses goes to `refused`.
    pub(super) fn flush(&mut self, refused: &mut Vec<u64>) {
        let Some(context) = &self.context else { return };
        let mut done = 0;
        while let Some(rest) = self.queued.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let mut pointers = [std::ptr::null_mut(); BATCH];
            let batch = rest.len().min(BATCH);
            for (pointer, command) in pointers.iter_mut().zip(rest) {
                *pointer = &raw mut *command;
            }
            let pointers = pointers.get(..batch).unwrap_or_default();
            // SAFETY: pointers to commands in `queued`, which does not change meanwhile. Their memory is lent until the
            // completions are posted (`Backend::submit`), which is after their events.
            match unsafe { context.aio.submit(pointers) } {
                Ok(taken) => {
                    done += taken;
                    self.in_flight += taken;
                }
                // Full: more go when some have come back.
                Err(Errno::AGAIN) if self.in_flight > 0 => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    refused.extend(self.queued.get(done).map(|command| command.aio_data));
                    done += 1;
                }
            }
        }
        self.queued.drain(..done);
    }

    /// Takes in what has ended, as names and results.
    pub(super) fn reap(&mut self, ended: &mut Vec<(u64, i32)>) {
        let Some(context) = &self.context else { return };
        loop {
            let mut events = [const { MaybeUninit::<IoEvent>::uninit() }; BATCH];
            let found = match context.aio.getevents(0, &mut events, Some(Timespec::default())) {
                Ok(found) => found,
                Err(Errno::INTR) => continue,
                // In a forked child only, where nobody comes.
                Err(_) => return,
            };
            let count = found.len();
            self.in_flight = self.in_flight.saturating_sub(count);
            let result = |res: i64| i32::try_from(res).unwrap_or(i32::MAX);
            ended.extend(found.iter().map(|event| (event.data, result(event.res))));
            if count < BATCH {
                return;
            }
        }
    }

    /// Whether something waits for the context to have room.
    pub(super) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }
}

impl Drop for Disk {
    /// The end of a context waits for the disk, and for tens of milliseconds without any: a thread does it. If there can be
    /// none, the context stays.
    fn drop(&mut self) {
        // The bell is closed here: what is in flight keeps what it needs of it.
        let Some(Context { aio, bell: _ }) = self.context.take() else { return };
        if !aio.is_alive() {
            return;
        }
        let kept = std::sync::Arc::new(std::sync::Mutex::new(Some(aio)));
        let other = std::sync::Arc::clone(&kept);
        let take = |kept: &std::sync::Mutex<Option<AioContext>>| {
            kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        };
        let started = std::thread::Builder::new()
            .name("safer-ring-end".into())
            .spawn(move || drop(take(&other)));
        if started.is_err()
            && let Some(aio) = take(&kept)
        {
            aio.leak();
        }
    }
}

fn command(s: &Submission) -> Option<Iocb> {
    let len = |len: usize| u64::try_from(len.min(max_transfer())).unwrap_or(0);
    let at = |offset: u64| (offset != CURSOR).then(|| i64::try_from(offset).ok()).flatten();
    let (aio_lio_opcode, aio_nbytes, aio_offset) = match s.op {
        Op::Read { offset } => (aio_cmd::PREAD, len(s.capacity), at(offset)?),
        Op::Write { offset } => (aio_cmd::PWRITE, len(s.init), at(offset)?),
        Op::ReadVectored { offset, count } => (aio_cmd::PREADV, count.into(), at(offset)?),
        Op::WriteVectored { offset, count } => (aio_cmd::PWRITEV, count.into(), at(offset)?),
        Op::Fsync { datasync: false } => (aio_cmd::FSYNC, 0, 0),
        Op::Fsync { datasync: true } => (aio_cmd::FDSYNC, 0, 0),
        _ => return None,
    };
    let (writes, flushes) = (
        matches!(s.op, Op::Write { .. } | Op::WriteVectored { .. }),
        matches!(s.op, Op::Fsync { .. }),
    );
    Some(Iocb {
        aio_data: s.user_data,
        aio_lio_opcode,
        aio_fildes: s.fd.cast_unsigned(),
        aio_buf: if flushes { 0 } else { address(s.ptr) },
        aio_nbytes,
        aio_offset,
        aio_rw_flags: if writes { rwf::NOWAIT } else { 0 },
        ..Iocb::default()
    })
}
