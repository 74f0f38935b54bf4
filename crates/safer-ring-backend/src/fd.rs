//! Descriptors as handles that an operation keeps alive.
//!
//! Two kinds of owners share a descriptor: the handles of its users ([`Fd`]) and the guards in the slots of operations in
//! flight. It is closed when the last of either is gone. When the last *handle* goes, armed receives that only
//! wait for a next one are cancelled, so they do not keep it open.
//!
//! # Safety
//! A handle takes its guard out of its place when it is dropped or consumed, and is not used afterwards.
//!
//! Tests: close_reports_and_a_shared_descriptor_is_given_back, dropping_a_stream_ends_its_armed_receive
#![allow(unsafe_code, reason = "moves the guard out of a handle")]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::{self, Rc};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{self, Arc};
use std::task::{Context, Poll};
use std::time::Duration;

use safer_ring_buf::quietly;
use safer_ring_buf::sync::ForkMutex;
use safer_ring_core::Key;

use crate::adopt::Descriptor;
use crate::beside;
use crate::engine::Class;
use crate::error::Failure;
use crate::local::{self, LocalCell};
use crate::mode::{Local, Mode, Shared};
use crate::operation::Operation;
use crate::payload::{self, Settled};
use crate::shared::SharedCell;
use crate::stream::{Answer, GivenUp, NO_TICKET, Sides, Stream, Ticket};

/// A shared owner of a descriptor: what a slot holds while the kernel works on it.
///
/// The descriptor's number cannot be reused while a guard exists, so a queued operation can never
/// run on a file that it was not meant for.
pub trait Guard: Clone + AsFd + 'static {
    /// Leads to the kernel ring of an operation without keeping it open.
    type Home: Clone + 'static;

    /// Takes over `fd`, for one handle.
    fn of(fd: Descriptor) -> Self;
    /// The descriptor itself if this is its only guard, else the guard again.
    fn into_owned(self) -> Result<Descriptor, Self>;
    /// How many guards share the descriptor, those of handles included.
    fn holders(&self) -> usize;
    /// Counts one more handle.
    #[doc(hidden)]
    fn add_user(&self);
    /// Counts one handle less; tells whether it was the last.
    #[doc(hidden)]
    fn remove_user(&self) -> bool;
    /// How many handles there are.
    #[doc(hidden)]
    fn users(&self) -> usize;
    /// Which operations have to ask the stream before they go to the kernel.
    #[doc(hidden)]
    fn marks(&self) -> Sides;
    /// Whether any has to.
    #[doc(hidden)]
    fn is_marked(&self) -> bool {
        self.marks().meets(Sides::BOTH)
    }
    /// Works on the stream. `work` runs no foreign code but the clone of a waker.
    #[doc(hidden)]
    fn with_stream<T>(&self, work: impl FnOnce(&mut Stream<Self::Home>) -> T) -> T;
    /// What is known of the file.
    #[doc(hidden)]
    fn class(&self) -> &Class;
    /// Whether two of them lead to the same kernel ring.
    #[doc(hidden)]
    fn same_home(one: &Self::Home, other: &Self::Home) -> bool;
    /// The descriptor's number, for a submission entry.
    #[inline]
    fn raw(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A descriptor of one thread.
#[derive(Debug)]
pub struct LocalHandle {
    /// Before the descriptor, so that the file has left its place when that is closed.
    class: FileClass,
    fd: Descriptor,
    marks: Cell<Sides>,
    users: Cell<usize>,
    stream: RefCell<Option<Box<Stream<rc::Weak<LocalCell>>>>>,
}

/// What is known of a file that a ring may have registered. When its descriptor is closed or given away, it leaves that ring.
#[derive(Debug, Default)]
struct FileClass(Class);

impl Drop for FileClass {
    #[inline]
    fn drop(&mut self) {
        if let Some((ring, place)) = self.0.place() {
            local::unregister_file(ring, place);
        }
    }
}

/// A descriptor of any thread.
#[derive(Debug)]
pub struct SharedHandle {
    fd: Descriptor,
    class: Class,
    marks: AtomicU8,
    users: AtomicUsize,
    stream: ForkMutex<Option<Box<Stream<sync::Weak<SharedCell>>>>>,
}

impl AsFd for LocalHandle {
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for SharedHandle {
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Guard for Rc<LocalHandle> {
    type Home = rc::Weak<LocalCell>;

    fn of(fd: Descriptor) -> Self {
        let (marks, users) = (Cell::new(Sides::NONE), Cell::new(1));
        let class = FileClass::default();
        Self::new(LocalHandle { fd, class, marks, users, stream: RefCell::default() })
    }

    fn into_owned(self) -> Result<Descriptor, Self> {
        Self::try_unwrap(self).map(|handle| handle.fd)
    }

    fn holders(&self) -> usize {
        Self::strong_count(self)
    }

    fn add_user(&self) {
        self.users.set(self.users.get() + 1);
    }

    fn remove_user(&self) -> bool {
        self.users.set(self.users.get() - 1);
        self.users.get() == 0
    }

    fn users(&self) -> usize {
        self.users.get()
    }

    #[inline(always)]
    fn marks(&self) -> Sides {
        self.marks.get()
    }

    fn with_stream<T>(&self, work: impl FnOnce(&mut Stream<Self::Home>) -> T) -> T {
        let mut stream = self.stream.borrow_mut();
        let stream = stream.get_or_insert_default();
        let result = work(stream);
        self.marks.set(stream.marks());
        result
    }

    fn class(&self) -> &Class {
        &self.class.0
    }

    fn same_home(one: &Self::Home, other: &Self::Home) -> bool {
        rc::Weak::ptr_eq(one, other)
    }
}

impl Guard for Arc<SharedHandle> {
    type Home = sync::Weak<SharedCell>;

    fn of(fd: Descriptor) -> Self {
        let (marks, users) = (AtomicU8::new(0), AtomicUsize::new(1));
        let class = Class::default();
        Self::new(SharedHandle { fd, class, marks, users, stream: ForkMutex::default() })
    }

    fn into_owned(self) -> Result<Descriptor, Self> {
        Self::try_unwrap(self).map(|handle| handle.fd)
    }

    fn holders(&self) -> usize {
        Self::strong_count(self)
    }

    fn add_user(&self) {
        // As for the count of an `Arc`: a handle exists already.
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    fn remove_user(&self) -> bool {
        self.users.fetch_sub(1, Ordering::SeqCst) == 1
    }

    fn users(&self) -> usize {
        self.users.load(Ordering::SeqCst)
    }

    #[inline(always)]
    fn marks(&self) -> Sides {
        // In one order with the count of handles: of a handle that goes and a future that leaves a taker behind, one
        // must see the other, or nobody cancels the taker.
        Sides(self.marks.load(Ordering::SeqCst))
    }

    fn with_stream<T>(&self, work: impl FnOnce(&mut Stream<Self::Home>) -> T) -> T {
        let mut stream = self.stream.lock();
        let stream = stream.get_or_insert_default();
        let result = work(stream);
        self.marks.store(stream.marks().0, Ordering::SeqCst);
        result
    }

    fn class(&self) -> &Class {
        &self.class
    }

    fn same_home(one: &Self::Home, other: &Self::Home) -> bool {
        sync::Weak::ptr_eq(one, other)
    }
}

/// A shared handle on an open descriptor, as every operation takes it.
///
/// Cloning is cheap and opens nothing. The descriptor is closed when the last handle *and* the last
/// operation that uses it are gone. Any std type that owns a descriptor can be turned into one:
///
/// ```
/// # use safer_ring_backend as safer_ring;
/// use safer_ring::{Fd, Shared};
/// # fn main() -> std::io::Result<()> {
/// let file = std::fs::File::open("/dev/null")?;
/// let fd: Fd<Shared> = Fd::new(file);
/// # drop(fd); Ok(()) }
/// ```
///
/// # What it keeps
/// What arrives for a receive or an accept whose future was dropped is kept here, for the next one on any clone of this
/// handle; see [`Operation`](crate::Operation). It is not seen by other users of the descriptor, such as one
/// made by [`Fd::duplicate`].
pub struct Fd<M: Mode = Shared> {
    /// Taken out when the handle is dropped or consumed.
    guard: ManuallyDrop<M::Guard>,
}

impl<M: Mode> Fd<M> {
    /// Takes over the descriptor of `owner`: an `OwnedFd`, a std file, socket or pipe end.
    pub fn new(owner: impl Into<OwnedFd>) -> Self {
        Self::over(Descriptor::Real(owner.into()))
    }

    pub(crate) fn over(descriptor: Descriptor) -> Self {
        Self { guard: ManuallyDrop::new(M::Guard::of(descriptor)) }
    }

    /// The descriptor itself, if no other handle and no operation in flight shares it, and nothing that arrived for a
    /// dropped receive waits in it; else the handle again. A simulated descriptor ([`crate::sim`]) stays a handle.
    pub fn try_into_owned(self) -> Result<OwnedFd, Self> {
        if self.guard.is_marked() {
            return Err(self);
        }
        match self.try_into_closable()? {
            Descriptor::Real(fd) => Ok(fd),
            simulated => Err(Self::over(simulated)),
        }
    }

    /// As [`Fd::try_into_owned`] for closing: what waits in it is dropped.
    pub(crate) fn try_into_closable(self) -> Result<Descriptor, Self> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again: neither dropped nor read.
        let guard = unsafe { ManuallyDrop::take(&mut this.guard) };
        guard.into_owned().map_err(|guard| Self { guard: ManuallyDrop::new(guard) })
    }

    /// A handle on a second descriptor of the same open file (`dup(2)` with close-on-exec). What arrives for dropped receives
    /// is kept for this one only, not for the other.
    ///
    /// # Errors
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`: `EMFILE` above all.
    pub fn try_clone(&self) -> io::Result<Self> {
        beside::duplicate(self)
    }

    /// A second descriptor of the same open file (`dup(2)` with close-on-exec), for use elsewhere.
    ///
    /// # Errors
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`: `EMFILE` above all. `EBADF` for a descriptor of a simulated world, which is
    /// nothing elsewhere: [`Fd::try_clone`].
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// How many handles and operations in flight share the descriptor, this one included.
    pub fn holders(&self) -> usize {
        self.guard.holders()
    }

    /// How many handles share the descriptor, this one included. Operations in flight do not count.
    pub fn handles(&self) -> usize {
        self.guard.users()
    }

    /// How many bytes that arrived for dropped receives, or were given back, wait here for the next. No system call.
    pub fn kept_bytes(&self) -> usize {
        if self.guard.is_marked() {
            self.guard.with_stream(|stream| stream.kept_bytes())
        } else {
            0
        }
    }

    /// Drops what arrived for dropped receives or was given back: bytes, ends, errors, connections. What arrives later
    /// is kept as before.
    pub fn drop_kept(&self) {
        if self.guard.is_marked() {
            // Foreign code, which runs when the stream is not held any more.
            let items = self.guard.with_stream(Stream::take_items);
            drop(items);
        }
    }

    /// Gives bytes back that were read too many: the next receive, or read at the cursor, on any handle of this
    /// descriptor begins with them. No system call.
    pub fn unread(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let wakers = self.guard.with_stream(|stream| stream.unread(bytes));
            wakers.into_iter().for_each(|waker| quietly(|| waker.wake()));
        }
    }

    /// Waits until nothing of dropped futures works on the descriptor any more: receives that wait for a next one are
    /// cancelled (what they have taken in stays for the next), writes and sends run to their end.
    ///
    /// # Errors
    /// That of a write, send or sync whose future was dropped ([`Failure::Earlier`]), told once.
    ///
    /// # Dropping
    /// Nothing is lost; the receives have been cancelled.
    pub async fn settle(&self) -> io::Result<()> {
        Settle { fd: self, ticket: NO_TICKET }.await.map_err(Into::into)
    }

    /// The error of an earlier write, send or sync whose future was dropped, if it has ended and nobody has been told of
    /// it. It is told hereby. Waits for nothing; no system call.
    pub fn take_failure(&self) -> Option<Failure> {
        if self.guard.is_marked() { self.guard.with_stream(Stream::take_fault) } else { None }
    }

    /// Ends the writing direction of a socket without waiting: shutdown(2), now, or by `ring` once the sends of dropped futures
    /// have ended. An error of theirs stays for the next operation. Nothing happens on the last handle, if no operation uses
    /// the descriptor: it is closed next.
    pub fn end_writing(&self, ring: &M::Ring) {
        if self.holders() == 1 {
            return;
        }
        if self.guard.is_marked() && self.guard.with_stream(|stream| stream.is_giving()) {
            let end = payload::shutdown::<M>(self, beside::SHUT_WR);
            drop(Operation::<M, Settled>::new(ring, Ok(end)).waiting());
        } else {
            let _ = beside::end_writing(self);
        }
    }

    /// Bounds how long a send or a write at the cursor may take from when its future is dropped: one that has not ended by
    /// then is cancelled. What is left of it, and what waits behind it, is not written; its error, of the kind
    /// `TimedOut`, is told as that of any dropped send ([`Failure::Earlier`]). `None`, as it is at first: until its end.
    /// For sends that are dropped from now on, on any handle of this descriptor.
    ///
    /// A dropped send runs to its end, so a peer that stops reading keeps the send, its memory and the descriptor for as
    /// long as it likes. No option of the socket is set, and no system call made.
    pub fn set_send_limit(&self, limit: Option<Duration>) {
        self.guard.with_stream(|stream| stream.set_limit(limit));
    }

    /// What [`Fd::set_send_limit`] has set.
    pub fn send_limit(&self) -> Option<Duration> {
        self.guard.with_stream(|stream| stream.limit())
    }

    #[inline(always)]
    pub(crate) fn guard(&self) -> M::Guard {
        M::Guard::clone(&self.guard)
    }

    /// The last handle goes: nobody is left who could take what arrives.
    #[cold]
    fn abandon(&self) {
        let (items, takers) = self.guard.with_stream(Stream::abandon);
        // Foreign code, some of which wakes who waits for a buffer; the descriptor is closed after it.
        quietly(|| drop(items));
        cancel_takers::<M>(takers);
    }
}

/// Gives up what dropped futures have left on a descriptor, in all kernel rings of `ring`: sends, writes, syncs and receives
/// without owners are cancelled, what waits behind them never runs, what has arrived is dropped. From now on nothing is
/// sent on it ([`Failure::GivenUp`]), and an operation on it that loses its future is cancelled.
pub fn give_up<M: Mode>(ring: &M::Ring, fd: &Fd<M>) {
    let GivenUp { items, takers, queue, wakers } = fd.guard.with_stream(Stream::give_up);
    cancel_takers::<M>(takers);
    for cell in M::cells(ring) {
        M::with(&cell, |driver| {
            driver.give_up(&fd.guard);
            driver.flush();
        });
    }
    // Foreign code, and no lock is held.
    quietly(|| drop((items, queue)));
    wakers.into_iter().for_each(|waker| quietly(|| waker.wake()));
}

/// The future of [`Fd::settle`].
struct Settle<'a, M: Mode> {
    fd: &'a Fd<M>,
    ticket: Ticket,
}

impl<M: Mode> Future for Settle<'_, M> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { fd, ticket } = &mut *self;
        if !fd.guard.is_marked() {
            return Poll::Ready(Ok(()));
        }
        match fd.guard.with_stream(|stream| stream.settle(context.waker(), ticket)) {
            Answer::Wait(old) => {
                quietly(|| drop(old));
                Poll::Pending
            }
            Answer::Cancel(takers) => {
                cancel_takers::<M>(takers);
                Poll::Pending
            }
            Answer::Fail(failure) => Poll::Ready(Err(failure)),
            Answer::Go | Answer::Served(..) => Poll::Ready(Ok(())),
        }
    }
}

impl<M: Mode> Drop for Settle<'_, M> {
    fn drop(&mut self) {
        if self.ticket != NO_TICKET {
            let waker = self.fd.guard.with_stream(|stream| stream.leave(self.ticket));
            quietly(|| drop(waker));
        }
    }
}

/// A way to a kernel ring, and the name of an operation in it.
pub(crate) type Taker<M> = (Option<<<M as Mode>::Guard as Guard>::Home>, Key);

/// Cancels armed operations without owners, wherever they are.
pub(crate) fn cancel_takers<M: Mode>(takers: Vec<Taker<M>>) {
    for (home, key) in takers {
        if let Some(cell) = home.and_then(|home| M::find(&home)) {
            M::with(&cell, |driver| {
                driver.cancel(key);
                if M::INLINE {
                    driver.flush();
                }
            });
        }
    }
}

impl<M: Mode> Drop for Fd<M> {
    #[inline]
    fn drop(&mut self) {
        if self.guard.remove_user() && self.guard.is_marked() {
            self.abandon();
        }
        // SAFETY: the handle is being dropped and does not use the guard again.
        unsafe { ManuallyDrop::drop(&mut self.guard) }
    }
}

impl<M: Mode> Clone for Fd<M> {
    fn clone(&self) -> Self {
        self.guard.add_user();
        Self { guard: self.guard.clone() }
    }
}

impl<M: Mode> AsFd for Fd<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }
}

impl<M: Mode> fmt::Debug for Fd<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.guard.raw()).finish()
    }
}

impl From<OwnedFd> for Fd<Shared> {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}

impl From<OwnedFd> for Fd<Local> {
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}
