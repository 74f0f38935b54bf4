//! Contexts: commands in, events out.
//!
//! # Safety
//! The kernel is given the addresses of memory that a slot owns, and the slot keeps it until the kernel has told that the
//! command has ended, or that it never took it.
//!
//! Tests: reads_and_writes_give_their_buffers_back, a_dropped_context_frees_nothing_too_early, what_is_refused_comes_back_in_order
#![allow(unsafe_code, reason = "gives the kernel addresses of buffers")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::time::{Duration, Instant};

use safer_ring_buf::IoBuf;
use safer_ring_sys::{AioContext, Errno, IoEvent, Iocb, Timespec, aio_cmd};

use crate::asked;
use crate::contract::rules;

use super::command::{Buffers, Command, Order, poll_events};
use super::error::{Error, MAX_CAPACITY, SetupError, SubmitError};
use super::slots::{Slots, Work};

/// Events that one system call fetches at most.
const FETCH: usize = 256;

/// A context of Linux AIO: up to `capacity` commands at a time, with buffers of the type `B`.
///
/// It is for reads and overwrites of files opened with `O_DIRECT`, and for syncs; these run in the background. For cached
/// files and for sockets other means are better: a ring, a thread pool, epoll.
///
/// # What blocks
/// * [`submit`](Context::submit): reads and writes without `O_DIRECT`, until the data are in memory, unless they have
///   [`rwf::NOWAIT`](super::rwf::NOWAIT), which gives `EAGAIN` instead; writes that make a file longer or fill a hole (on
///   ext4); a device whose queue is full; pipes, sockets and terminals that are not in non-blocking mode.
/// * [`events`](Context::events): up to its time limit; without one, as long as the commands take. A poll can take for
///   ever, and [`cancel`](Context::cancel) ends it. Disk I/O cannot be cancelled.
/// * Dropping: see below.
///
/// # Dropping
/// Polls are cancelled, and what is in flight is waited for, 10 ms at most. What is still in flight then is left to a
/// thread, which waits for it and frees context and buffers; where no thread can be made, or a filter forbids io_destroy(2),
/// they are leaked. No buffer is freed before its command has ended. Events that were not fetched are dropped with their
/// buffers. The kernel takes its time to take even an idle context down (25 to 45 ms were measured), so it is nothing to
/// make and drop for each file. `mem::forget` leaks it with everything in it.
///
/// # Forked children
/// A context belongs to the process that made it. In a forked child every call is refused ([`Error::Forked`]) and dropping
/// does nothing, not even to the buffers. Memory that an `O_DIRECT` read fills must not be shared by fork(2) while it is
/// in flight: see the notes of open(2).
///
/// Linux 2.6; polls and syncs 4.19. Manual pages: aio(7) has nothing to do with this; see io_setup(2), io_submit(2),
/// io_getevents(2).
pub struct Context<B: IoBuf> {
    inner: ManuallyDrop<Inner<B>>,
}

/// What a context owns. The kernel's part is dropped first, which waits until it uses nothing of the rest.
pub(super) struct Inner<B: IoBuf> {
    pub(super) kernel: AioContext,
    pub(super) slots: Slots<B>,
    /// Ended, and not yet given to the caller.
    pub(super) ended: VecDeque<Ended<B>>,
    room: Vec<MaybeUninit<IoEvent>>,
    unknown: u64,
}

/// A command that has ended, its buffers still in parts.
pub(super) struct Ended<B: IoBuf> {
    ticket: Ticket,
    work: Work<B>,
    res: i64,
    /// What it had asked for, if it has failed.
    asked: Option<Iocb>,
}

/// Names a command in flight, for [`Context::cancel`] and to know its [`Event`] by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How a command has ended, with its buffers.
#[derive(Debug)]
pub struct Event<B> {
    /// The command's ticket.
    pub ticket: Ticket,
    /// The command's [`data`](Command::data).
    pub data: u64,
    /// Bytes moved; 0 for a sync; the [`poll_events`] of a poll.
    pub result: io::Result<usize>,
    /// The buffers. After a read those with a length have that of what was read; after an error they are as they were.
    pub buffers: Buffers<B>,
    asked: Option<Iocb>,
}

impl<B> Event<B> {
    /// Why the command may have failed, the likely cause first: those that the error and the numbers of the command leave.
    /// Empty if it has not failed, or if no rule is known to be broken. Of the descriptor, which may be closed by now,
    /// nothing is known: [`rules::explain`] with its facts tells more.
    ///
    /// ```
    /// # use safer_ring_backend::aio::{Buffers, Command, Context};
    /// # fn main() -> std::io::Result<()> {
    /// # let Ok(mut context) = Context::<Vec<u8>>::new(1) else { return Ok(()) };
    /// let socket = std::os::unix::net::UnixDatagram::unbound()?;
    /// context.submit([Command::read(&socket, vec![0; 8], 512)])?;
    /// let event = context.events(1, None)?.remove(0);
    /// assert_eq!(event.causes()[0].rule.text, "a socket has no offsets: aio_offset must be 0");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn causes(&self) -> Vec<rules::Cause> {
        match (&self.result, self.asked) {
            (Err(error), Some(asked)) => causes(error, &asked),
            _ => Vec::new(),
        }
    }
}

fn causes(error: &io::Error, asked: &Iocb) -> Vec<rules::Cause> {
    let Some(name) = error.raw_os_error().and_then(|raw| Errno::from_raw_os_error(raw)?.name())
    else {
        return Vec::new();
    };
    let memory = rules::Pointer::writable(asked.aio_buf);
    let iocb = rules::Iocb {
        place: memory,
        opcode: asked.aio_lio_opcode,
        buf: asked.aio_buf,
        memory: rules::Memory::Writable,
        nbytes: asked.aio_nbytes,
        offset: asked.aio_offset,
        rw_flags: asked.aio_rw_flags,
        ..rules::Iocb::default()
    };
    let call = rules::Call::IoSubmit(rules::IoSubmit { nr: 1, array: memory, iocbs: vec![iocb] });
    let vectored = matches!(asked.aio_lio_opcode, aio_cmd::PREADV | aio_cmd::PWRITEV);
    let mut causes = asked::causes(name, &call, if vectored { 0 } else { asked.aio_nbytes });
    // The kernel has taken the command.
    causes.retain(|cause| cause.rule.place == rules::Place::Result);
    causes
}

impl<B: IoBuf> Context<B> {
    /// Makes a context with room for so many commands, which count until their events have been fetched.
    ///
    /// # Errors
    /// [`SetupError`], which says what to do: among others, all contexts of the machine share a limit.
    pub fn new(capacity: u32) -> Result<Context<B>, SetupError> {
        if capacity == 0 || capacity > MAX_CAPACITY {
            return Err(SetupError::Capacity { asked: capacity });
        }
        let kernel =
            AioContext::setup(capacity).map_err(|errno| SetupError::of(errno, capacity))?;
        let slots = Slots::new(capacity);
        let room = vec![MaybeUninit::uninit(); slots.capacity().min(FETCH)];
        let inner = Inner { kernel, slots, ended: VecDeque::new(), room, unknown: 0 };
        Ok(Context { inner: ManuallyDrop::new(inner) })
    }

    /// How many commands may be in flight at a time.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.slots.capacity()
    }

    /// Commands in flight: submitted, and their events not fetched.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.slots.in_flight()
    }

    /// Events of the kernel that belong to no command. They are ignored, and there should be none.
    #[must_use]
    pub fn unknown_events(&self) -> u64 {
        self.inner.unknown
    }

    /// Hands commands to the kernel, in their order, and gives their tickets in the same order. One command is an array of
    /// one. They may run and end in any order. What can block is listed [above](Context#what-blocks).
    ///
    /// # Errors
    /// The first refusal ends the submission; see [`SubmitError`]. Errors of the transfer itself, such as `EIO`, `ENOSPC`
    /// or the `EINVAL` of a misaligned `O_DIRECT` transfer, come with the event. Refused are: [`Error::Full`]; `EBADF`, a
    /// descriptor that is not open for this; `EINVAL`, a file or kernel that cannot do this; `EOPNOTSUPP`, flags that it
    /// does not know; `EOVERFLOW` or `EINVAL`, an end beyond `i64::MAX`; `EPERM`, a priority that is not allowed; and what
    /// [`Error`] lists.
    pub fn submit<'f>(
        &mut self,
        commands: impl IntoIterator<Item = Command<'f, B>>,
    ) -> Result<Vec<Ticket>, SubmitError<'f, B>> {
        let mut waiting: VecDeque<_> = commands.into_iter().collect();
        let mut taken = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            if let Err(error) = self.inner.hand_over(&mut waiting, &mut taken) {
                return Err(SubmitError { error, taken, rest: waiting.into() });
            }
        }
        Ok(taken)
    }

    /// Fetches the events that are there, and waits until there are `min`, or as many as commands are in flight if those
    /// are fewer; at most until `timeout` has passed. With a `timeout` of zero, or a `min` of 0, it does not wait. Signals
    /// do not end the wait.
    ///
    /// # Errors
    /// [`Error::Forked`]; `ENOMEM` and the like. Events that were fetched before come with the next call.
    pub fn events(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Event<B>>, Error> {
        self.inner.fetch(min, timeout)?;
        let mut events = Vec::with_capacity(self.inner.ended.len());
        while let Some(ended) = self.inner.ended.pop_front() {
            events.push(ended.into_event());
        }
        Ok(events)
    }

    /// Ends a poll that waits: its event comes, with `ECANCELED`, or with what was there first.
    ///
    /// # Errors
    /// [`Error::NotCancellable`]: it is no poll, or its event is there. [`Error::Ended`]: its event has been fetched.
    /// [`Error::Forked`].
    pub fn cancel(&mut self, ticket: Ticket) -> Result<(), Error> {
        self.inner.cancel(ticket.0)
    }
}

impl<B: IoBuf> Drop for Context<B> {
    fn drop(&mut self) {
        // SAFETY: taken once, here; nothing uses the field afterwards.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        inner.end();
    }
}

impl<B: IoBuf> fmt::Debug for Context<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// A command that is lent and not yet in a slot.
type Staged<'f, B> = (Order<'f>, Work<B>, Iocb);

impl<B: IoBuf> Inner<B> {
    /// One system call: as many of `waiting` as there is room for and as are in order. Those that the kernel takes leave
    /// it.
    fn hand_over<'f>(
        &mut self,
        waiting: &mut VecDeque<Command<'f, B>>,
        taken: &mut Vec<Ticket>,
    ) -> Result<(), Error> {
        let staged = self.stage(waiting)?;
        let mut orders = Vec::with_capacity(staged.len());
        for (order, work, iocb) in staged {
            // There is room: `stage` has counted.
            if let Some(key) = self.slots.insert(work, iocb) {
                orders.push((order, key));
            }
        }
        let iocbs = self.slots.iocbs(orders.iter().map(|(_, key)| *key));
        // SAFETY:
        // - Structures: in the slots, at their own addresses, not used by anybody during the call.
        // - Memory: each slot owns its command's as a lease. It is given up after the command's event (`fetch`), below if
        //   the kernel has not taken the command, or after `destroy` (`end`); `ManuallyDrop` keeps `Inner` from being
        //   dropped in another way.
        // - Exclusive or shared use of that memory is what a lease promises (`Lease::from_owner`).
        // - Descriptors: borrowed by the orders, which outlive the call.
        let result = unsafe { self.kernel.submit(&iocbs) };
        let count = result.unwrap_or(0).min(orders.len());
        // First out of the slots, then whole again, which runs code of the buffer's type.
        let refused: Vec<_> = orders.split_off(count);
        let refused: Vec<_> = refused
            .into_iter()
            .filter_map(|(order, key)| Some((order, self.slots.take(key)?)))
            .collect();
        taken.extend(orders.into_iter().map(|(_, key)| Ticket(key)));
        for (order, work) in refused.into_iter().rev() {
            // SAFETY: the kernel has taken the first `count` commands, and this is not one of them.
            let buffers = unsafe { work.lent.back() };
            waiting.push_front(Command { order, way: work.way, buffers });
        }
        match result {
            // So that a kernel that takes nothing and says nothing is not asked for ever.
            Ok(0) => Err(Error::Os(Errno::AGAIN)),
            Ok(_) => Ok(()),
            Err(errno) => Err(Error::Os(errno)),
        }
    }

    /// Lends the buffers of the commands that are in order, up to the first that is not, or that finds no room. An error
    /// if that is the first of all.
    fn stage<'f>(
        &self,
        waiting: &mut VecDeque<Command<'f, B>>,
    ) -> Result<Vec<Staged<'f, B>>, Error> {
        if !self.kernel.is_alive() {
            return Err(Error::Forked);
        }
        let room = self.slots.room();
        let mut staged = Vec::with_capacity(room.min(waiting.len()));
        let mut refusal = Error::Full { capacity: self.slots.capacity() };
        while staged.len() < room
            && let Some(command) = waiting.pop_front()
        {
            match prepare(command) {
                Ok(ready) => staged.push(ready),
                Err((error, command)) => {
                    waiting.push_front(command);
                    refusal = error;
                    break;
                }
            }
        }
        if staged.is_empty() { Err(refusal) } else { Ok(staged) }
    }

    /// Moves events into `ended`, until `min` are there or nothing is in flight or the time is over.
    pub(super) fn fetch(&mut self, min: usize, timeout: Option<Duration>) -> Result<(), Error> {
        if !self.kernel.is_alive() {
            return Err(Error::Forked);
        }
        // A time beyond what the clock can tell is no limit.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let missing = min.saturating_sub(self.ended.len()).min(self.slots.in_flight());
            let missing = missing.min(self.room.len());
            let left = match deadline {
                _ if missing == 0 => Some(Duration::ZERO),
                Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                None => None,
            };
            let fetched = match self.fetch_once(missing, left) {
                Ok(fetched) => fetched,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(Error::Os(errno)),
            };
            let more = fetched == self.room.len() && self.slots.in_flight() > 0;
            let over = left == Some(Duration::ZERO) || self.slots.in_flight() == 0;
            if !more && (over || self.ended.len() >= min) {
                return Ok(());
            }
        }
    }

    fn fetch_once(&mut self, min: usize, left: Option<Duration>) -> Result<usize, Errno> {
        let events = self.kernel.getevents(min, &mut self.room, left.map(Timespec::from))?;
        for event in events.iter() {
            let asked = if event.res < 0 { self.slots.asked(event.data) } else { None };
            match self.slots.take(event.data) {
                Some(work) => {
                    let ticket = Ticket(event.data);
                    self.ended.push_back(Ended { ticket, work, res: event.res, asked });
                }
                None => self.unknown = self.unknown.saturating_add(1),
            }
        }
        Ok(events.len())
    }

    pub(super) fn cancel(&mut self, key: u64) -> Result<(), Error> {
        if !self.kernel.is_alive() {
            return Err(Error::Forked);
        }
        let iocbs = self.slots.iocbs(std::iter::once(key));
        let iocb = iocbs.first().ok_or(Error::Ended)?;
        match self.kernel.cancel(*iocb) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::AGAIN) => Err(Error::NotCancellable),
            Err(errno) => Err(Error::Os(errno)),
        }
    }
}

/// Lends a command's buffers and writes its structure; the command comes back if that cannot be.
fn prepare<'f, B: IoBuf>(
    command: Command<'f, B>,
) -> Result<Staged<'f, B>, (Error, Command<'f, B>)> {
    let Command { order, way, buffers } = command;
    let lent = match way.lend(buffers) {
        Ok(lent) => lent,
        Err(buffers) => return Err((Error::TooManyBuffers, Command { order, way, buffers })),
    };
    match order.iocb(&lent) {
        Ok(iocb) => {
            let Order { opcode, events, data, .. } = order;
            Ok((order, Work { lent, way, opcode, events, data }, iocb))
        }
        Err(error) => {
            // SAFETY: the kernel has not heard of it.
            let buffers = unsafe { lent.back() };
            Err((error, Command { order, way, buffers }))
        }
    }
}

impl<B: IoBuf> Ended<B> {
    fn into_event(self) -> Event<B> {
        let Ended { ticket, work: Work { lent, way, opcode, events, data }, res, asked } = self;
        let failure = match i32::try_from(res) {
            Ok(res) => Errno::from_result(res).err(),
            Err(_) => None,
        };
        // A poll ends without events only if it was cancelled.
        let failure = failure.or((opcode == aio_cmd::POLL && res == 0).then_some(Errno::CANCELED));
        let (result, buffers) = match failure {
            Some(errno) => {
                // SAFETY: this is the command's event: the kernel no longer uses its memory (io_getevents(2)).
                (Err(errno.into()), unsafe { lent.back() })
            }
            None if opcode == aio_cmd::POLL => {
                // What woke it may be told with it, asked for or not.
                let asked = events | poll_events::ERR | poll_events::HUP;
                let found = usize::try_from(res).unwrap_or(0) & usize::from(asked);
                (Ok(found), Buffers::None)
            }
            None => {
                let bytes = lent.cut(res);
                // SAFETY: as above, and the kernel has moved `bytes` in the order of the memory.
                (Ok(bytes), unsafe { way.moved(lent, bytes) })
            }
        };
        Event { ticket, data, result, buffers, asked }
    }
}
