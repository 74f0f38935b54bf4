//! The future of one operation.
//!
//! # Safety
//! A variant of a future's state is moved out of its place, which is then overwritten with "over". That is what
//! `mem::replace` does, without copying the room of the other variants, which are ten times as large. The state
//! is `ManuallyDrop`, so that overwriting it drops nothing.
//!
//! A shared reference to an operation gives no way to what was lent, so it may be shared between threads.
//!
//! Tests: read_and_write_return_the_buffer, ten_thousand_operations_through_eight_entries, a_body_of_reads_is_boxed
#![allow(unsafe_code, reason = "moves one variant out of a state")]

use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, Waker};

use safer_ring_buf::quietly;
use safer_ring_core::{Key, Op};
use safer_ring_sys::Errno;

use crate::chain::{Broken, Chain, Chained};
use crate::driver::{Driver, Refused, output_of};
use crate::error::Failure;
use crate::fd::cancel_takers;
use crate::member::Member;
use crate::mode::{Mode, Shared};
use crate::payload::{self, Done, More, Payload};
use crate::plain::{self, Plainly};
use crate::request::{Parts, Request, Resources};
use crate::stream::{Answer, NO_TICKET, Role, Sides, Ticket, WAITS};
use crate::wake::give_way;

/// An operation that gives back what was lent to it.
///
/// It does nothing until it is first polled: then the buffer, the descriptor and all else that the kernel
/// needs move into the ring, which keeps them until the kernel is done, whatever becomes of this future.
/// It is `Unpin` and `'static`; with [`Shared`](crate::Shared) it is `Send`.
///
/// # Dropping it
/// Before the first poll: the buffer is dropped, nothing has happened. Later, nothing is lost:
///
/// * a receive, a read at the cursor and an accept stay armed, without a system call; what they take in is handed to the
///   next one on the same [`Fd`](crate::Fd), in order, or to one of the same ring that waits already. When the last handle
///   of the descriptor goes they are cancelled; where one stays armed already, further ones are.
/// * a send or a write at the cursor runs to its end, with all of its bytes, before later ones on the same handle; its
///   error is told to the next, or to the next sync, shutdown or close. One that waits for such a one when it is dropped
///   follows it, and so do shutdowns and syncs; behind one that failed nothing is written.
/// * positional writes, syncs and what changes directories run to their end in the background.
/// * positional reads, polls, timers, connects and opens are cancelled; a descriptor that still arrives is closed and
///   counted.
///
/// Memory is freed after the kernel's last completion in each case.
///
/// # After its end
/// Polled again it is pending for ever, and so is what is made of it then: `cancel`, `timeout`. There is nothing left to give,
/// and the library panics on no use of it. In a loop, `select!` on `&mut operation` and leave the loop when it has ended.
///
/// # Ending it early
/// [`Operation::cancel`] tells whether it was cancelled or had ended, and gives the buffer back in both cases;
/// [`Operation::timeout`] and [`Operation::deadline`] end it after a time.
#[must_use = "an operation does nothing until it is awaited or submitted with its batch"]
pub struct Operation<M: Mode, P: Payload> {
    /// Dropped out of line, if there is anything to drop: it is over in nearly every case.
    state: ManuallyDrop<State<M, P>>,
    /// Bytes it has to move for its chain to go on.
    wanted: Option<u32>,
    /// Whether it waits for what dropped operations still do on its descriptor, and as whom.
    waits: Ticket,
}

enum State<M: Mode, P: Payload> {
    Ready {
        ring: M::Ring,
        request: Request<M::Guard, P>,
    },
    Live(Live<M, P>),
    /// Refused before it began.
    Failed(P::Output),
    Over,
}

/// A ring, and what is to be done on it.
type Begin<M, P> = (<M as Mode>::Ring, Parts<<M as Mode>::Guard, P>);

/// An operation in the table.
pub(crate) struct Live<M: Mode, P: Payload> {
    pub(crate) cell: M::Cell,
    pub(crate) key: Key,
    pub(crate) rest: P::Rest,
}

/// Nothing is pinned in place: the kernel's view is in the ring, never in the future.
impl<M: Mode, P: Payload> Unpin for Operation<M, P> {}

// SAFETY: through a shared reference nobody reaches what is lent, its rest or an output: they are private, what takes them
// takes the operation by `&mut` or by value, and what there is for `&self` (`ring`, `any_ring`, `op`, `must_ask`, `Debug`)
// looks at the ring and the descriptors, which are `Sync` of a shared ring, at the name, and at plain data.
unsafe impl<P: Payload> Sync for Operation<Shared, P> {}

impl<M: Mode, P: Payload> Operation<M, P> {
    /// An operation on `ring`; an `Err` is its output, given when it is awaited.
    #[inline]
    pub fn new(ring: &M::Ring, request: Result<Request<M::Guard, P>, P::Output>) -> Self {
        let state = match request {
            Ok(request) => State::Ready { ring: ring.clone(), request },
            Err(output) => State::Failed(output),
        };
        Self { state: ManuallyDrop::new(state), wanted: None, waits: NO_TICKET }
    }

    /// Runs `next` after this operation, and only if this one succeeds in full: one submission of linked
    /// entries. See [`Chain`].
    pub fn then<Q: Payload>(self, next: Operation<M, Q>) -> Chain<M, Self, Operation<M, Q>> {
        Chain::new(self, next)
    }

    /// One that is to be begun.
    pub(crate) fn new_over() -> Self {
        Self { state: ManuallyDrop::new(State::Over), wanted: None, waits: NO_TICKET }
    }

    fn take_state(&mut self) -> State<M, P> {
        ManuallyDrop::into_inner(mem::replace(&mut self.state, ManuallyDrop::new(State::Over)))
    }

    #[cold]
    #[inline(never)]
    fn give_up(&mut self) {
        if self.waits != NO_TICKET {
            if let State::Ready { request, .. } = &*self.state {
                request.leave(self.waits);
            }
            if self.follows() {
                return;
            }
        }
        if let State::Live(live) = self.take_state() {
            live.orphan();
        }
    }

    /// A send or sync that waits for a dropped one runs to its end like any other that was started: behind that one.
    /// Tells whether it is taken care of.
    fn follows(&mut self) -> bool {
        let State::Ready { request, .. } = &mut *self.state else { return false };
        // One that moves bytes from one descriptor to another has not begun while it waits for either.
        let follows = matches!(Role::of(request.op()), Some(Role::Give | Role::Sync));
        let over = !follows || request.follow();
        let State::Ready { ring, request } = self.take_state() else { return true };
        if over {
            return true;
        }
        // Nothing is left to wait for: it runs from now on, without an owner from the beginning.
        let (op, resources, rest) = request.into_parts();
        let Ok((cell, _hold)) = M::cell(ring) else {
            drop(ManuallyDrop::into_inner(resources));
            return true;
        };
        M::with(&cell, |driver| {
            match P::submit(driver, op, resources, &rest, None) {
                Ok(key) => driver.orphan(key),
                Err(refused) => driver.keep_refused(refused),
            }
            if M::INLINE {
                driver.flush();
                M::park(driver, &cell);
            }
        });
        true
    }

    /// Counts as started: what it waits for has to end first.
    pub(crate) fn waiting(mut self) -> Self {
        self.waits = WAITS;
        self
    }

    /// The ring of an operation that has not started.
    pub(crate) fn ring(&self) -> Option<&M::Ring> {
        match &*self.state {
            State::Ready { ring, .. } => Some(ring),
            _ => None,
        }
    }

    /// Its ring, whether or not it has started; `None` when it is over, or the ring has been closed.
    pub(crate) fn any_ring(&self) -> Option<M::Ring> {
        match &*self.state {
            State::Ready { ring, .. } => Some(ring.clone()),
            State::Live(live) => M::ring_of(&live.cell),
            State::Failed(_) | State::Over => None,
        }
    }

    /// What it will do, of an operation that has not started.
    pub(crate) fn op(&self) -> Option<&Op> {
        match &*self.state {
            State::Ready { request, .. } => Some(request.op()),
            _ => None,
        }
    }

    /// What it asks for, of an operation that has not started; else a handle on what became of it.
    pub(crate) fn into_request(mut self) -> Result<Request<M::Guard, P>, Member<M, P>> {
        match self.take_state() {
            State::Ready { request, .. } => Ok(request),
            State::Failed(output) => Err(Member::failed(Some(output))),
            State::Live(live) => Err(Member::live(live.cell, live.key, live.rest)),
            State::Over => Err(Member::failed(None)),
        }
    }

    /// Puts the operation into the table without handing it to the kernel; afterwards it is live or
    /// has failed.
    pub(crate) fn enlist(&mut self, cell: &M::Cell, driver: &mut Driver<M::Guard>, following: u16) {
        let State::Ready { request, .. } = self.take_state() else {
            return;
        };
        let (op, resources, rest) = request.into_parts();
        self.wanted = P::wanted(&op, &resources.lease, &rest);
        let op = if P::AFTER_CHAIN { Op::Nop } else { op };
        self.state =
            ManuallyDrop::new(match driver.submit_linked(op, resources, following, self.wanted) {
                Ok(key) => State::Live(Live { cell: cell.clone(), key, rest }),
                Err(refused) => State::Failed(payload::refuse::<M::Guard, P>(refused, rest)),
            });
    }

    /// Ends an operation that has not started with `failure`.
    pub(crate) fn refuse(&mut self, failure: Failure) {
        match self.take_state() {
            State::Ready { request, .. } => {
                let (_, resources, rest) = request.into_parts();
                let refused = Refused::new(failure, resources);
                self.state =
                    ManuallyDrop::new(State::Failed(payload::refuse::<M::Guard, P>(refused, rest)));
            }
            other => self.state = ManuallyDrop::new(other),
        }
    }

    /// What a future that has not started is made of, which it no longer is.
    #[inline(always)]
    fn take_ready(&mut self) -> Option<Begin<M, P>> {
        let State::Ready { ring, request } = &*self.state else { return None };
        // SAFETY: a valid place. The state is overwritten below without being dropped, so the ring has one owner.
        let ring = unsafe { ptr::read(ring) };
        // SAFETY: as above, for the request.
        let parts = unsafe { ptr::read(request) }.into_parts();
        self.state = ManuallyDrop::new(State::Over);
        Some((ring, parts))
    }

    #[inline(always)]
    fn take_live(&mut self) -> Option<Live<M, P>> {
        let State::Live(live) = &*self.state else { return None };
        // SAFETY: a valid place. The state is overwritten below without being dropped, so this has one owner.
        let live = unsafe { ptr::read(live) };
        self.state = ManuallyDrop::new(State::Over);
        Some(live)
    }

    /// Whether it has to ask its descriptor before it starts.
    #[inline(always)]
    pub(crate) fn must_ask(&self) -> bool {
        matches!(&*self.state, State::Ready { request, .. } if request.must_ask())
    }

    /// Asks the descriptor, which keeps something, or has something that goes first. `None` to go on.
    #[cold]
    fn ask(&mut self, waker: &Waker) -> Option<Poll<P::Output>> {
        let State::Ready { request, .. } = &mut *self.state else { return None };
        let (result, spent) = match request.ask(waker, &mut self.waits, false) {
            Answer::Go => return None,
            Answer::Wait(old) => {
                quietly(|| drop(old));
                self.waits = self.waits.max(WAITS);
                return Some(Poll::Pending);
            }
            Answer::Cancel(takers) => {
                cancel_takers::<M>(takers);
                return Some(Poll::Pending);
            }
            Answer::Served(result, spent) => (Ok(result), spent),
            Answer::Fail(failure) => (Err(failure), None),
        };
        let State::Ready { request, .. } = self.take_state() else { return None };
        let (_, resources, rest) = request.into_parts();
        let resources = ManuallyDrop::into_inner(resources);
        let output = payload::served::<M::Guard, P>(resources, rest, result);
        // Foreign code, and no lock is held.
        quietly(|| drop(spent));
        Some(Poll::Ready(output))
    }

    /// For a member of a chain: what to do before the chain can start.
    pub(crate) fn ask_linked(&mut self, waker: &Waker) -> Held {
        if !self.must_ask() {
            return Held::Free;
        }
        let State::Ready { request, .. } = &mut *self.state else { return Held::Free };
        match request.ask(waker, &mut self.waits, true) {
            Answer::Go | Answer::Served(..) => Held::Free,
            Answer::Wait(_) => Held::Waits,
            Answer::Cancel(takers) => {
                cancel_takers::<M>(takers);
                Held::Waits
            }
            Answer::Fail(failure) => Held::Fails(failure),
        }
    }

    /// Asks for the cancellation; the end is awaited as before. One that has not started ends as cancelled.
    #[doc(hidden)]
    pub fn request_cancel(&mut self) {
        match &*self.state {
            State::Ready { .. } => self.refuse(Failure::Os(Errno::CANCELED)),
            State::Live(live) => live.request_cancel(),
            State::Failed(_) | State::Over => {}
        }
    }

    #[inline(always)]
    fn start(&mut self, waker: &Waker) -> Poll<P::Output> {
        if self.must_ask()
            && let Some(answer) = self.ask(waker)
        {
            return answer;
        }
        // Polled again after its end: there is nothing to give and nobody to wake.
        let Some((ring, (op, resources, mut rest))) = self.take_ready() else {
            return Poll::Pending;
        };
        match plain::call::<M, P>(&ring, op, &resources) {
            Plainly::No => {}
            Plainly::Begun(sent) => return self.go_on(ring, (op, resources, rest), sent, waker),
            Plainly::Ended(result) => {
                return Poll::Ready(plain::ended::<M, P>(op, resources, rest, result));
            }
        }
        // The ring stays open until the operation is in its table.
        let (cell, _hold) = match M::cell(ring) {
            Ok(cell) => cell,
            Err(failure) => {
                let refused = Refused::new(failure, resources);
                return Poll::Ready(payload::refuse::<M::Guard, P>(refused, rest));
            }
        };
        let Some(mut driver) = M::enter(&cell) else {
            // A ring closes only after its last handle is gone, and this operation held one: so this is a forked child, and
            // another thread of its parent was inside.
            let refused = Refused::new(Failure::Forked, resources);
            return Poll::Ready(payload::refuse::<M::Guard, P>(refused, rest));
        };
        let key = match P::submit(&mut driver, op, resources, &rest, None) {
            Ok(key) => key,
            Err(refused) => {
                M::leave(&cell, driver);
                return Poll::Ready(payload::refuse::<M::Guard, P>(refused, rest));
            }
        };
        let looks = if M::INLINE {
            driver.flush();
            M::goes_on(&cell)
        } else {
            driver.hand_over_if_alone()
        };
        if looks {
            if let Some((resources, done)) = take_quietly::<M, P>(&mut driver, key) {
                drop(driver);
                return Poll::Ready(output_of::<M::Guard, P>(resources, rest, done));
            }
            match driver.finish_late::<P>(key, rest) {
                Ok(output) => {
                    M::leave(&cell, driver);
                    M::tidy(&cell);
                    return Poll::Ready(output);
                }
                Err(back) => rest = back,
            }
            if !M::INLINE {
                driver.was_in_vain();
            }
        }
        Self::begin_to_wait(&mut driver, &cell, key, waker);
        M::leave(&cell, driver);
        self.state = ManuallyDrop::new(State::Live(Live { cell, key, rest }));
        // Its end may be there, and not be looked at.
        if M::INLINE && !looks { give_way(waker) } else { Poll::Pending }
    }

    #[inline(always)]
    fn begin_to_wait(driver: &mut Driver<M::Guard>, cell: &M::Cell, key: Key, waker: &Waker) {
        if M::INLINE {
            driver.touch_one(key);
            M::waits();
        }
        driver.attach(key, waker);
        if M::INLINE && P::ASKS.meets(Sides::TAKES) {
            driver.ask_again(key);
        }
        M::park(driver, cell);
    }

    /// Goes on in its ring with a send, so many bytes of which have been sent.
    #[cold]
    fn go_on(
        &mut self,
        ring: M::Ring,
        (op, mut resources, rest): Parts<M::Guard, P>,
        sent: u32,
        waker: &Waker,
    ) -> Poll<P::Output> {
        if let Ok((cell, _hold)) = M::cell(ring) {
            let submitted = M::with(&cell, |driver| {
                // It waits, and its age counts from now.
                driver.touch();
                driver.submit_begun(op, resources, sent)
            });
            match submitted {
                Some(Ok(key)) => {
                    self.state = ManuallyDrop::new(State::Live(Live { cell, key, rest }));
                    return self.poll_live(waker, None);
                }
                Some(Err(back)) => resources = back,
                // As in `start`.
                None => return Poll::Pending,
            }
        }
        // A send for all of its bytes may end short, as one that is cancelled does.
        Poll::Ready(plain::ended::<M, P>(op, resources, rest, Ok(sent)))
    }

    /// Polls an operation that has been put into the table; as a member of a chain, with what has become of
    /// the chain so far and its place in it.
    #[inline(always)]
    pub(crate) fn poll_live(
        &mut self,
        waker: &Waker,
        chain: Option<(&mut Broken, u16)>,
    ) -> Poll<P::Output> {
        let Some(live) = self.take_live() else { return self.poll_failed() };
        let wanted = self.wanted;
        let chained = chain.map(|(broken, member)| Chained { broken, member, wanted });
        match live.poll(waker, chained) {
            Polled::Ended(output) => Poll::Ready(output),
            Polled::Pending(live) => {
                self.state = ManuallyDrop::new(State::Live(live));
                Poll::Pending
            }
            Polled::Again(live) => self.begin_again(live, waker),
            Polled::Gone => Poll::Pending,
        }
    }

    /// Starts once more, and finds what arrived for a dropped receive beside it.
    #[cold]
    pub(crate) fn begin_again(&mut self, live: Live<M, P>, waker: &Waker) -> Poll<P::Output> {
        let Live { cell, key, rest } = live;
        let Some((op, resources)) = M::with(&cell, |driver| driver.take_nudged(key)).flatten()
        else {
            return Poll::Pending;
        };
        let op = P::alone(op, &resources.lease);
        let request = Request::again(op, resources, rest);
        if let Some(ring) = M::ring_of(&cell) {
            self.state = ManuallyDrop::new(State::Ready { ring, request });
            return self.start(waker);
        }
        // The last handle on the ring is gone; this future is all that is left.
        let (_, resources, rest) = request.into_parts();
        let refused = Refused::new(Failure::Os(Errno::CANCELED), resources);
        Poll::Ready(payload::refuse::<M::Guard, P>(refused, rest))
    }

    #[cold]
    fn poll_failed(&mut self) -> Poll<P::Output> {
        match self.take_state() {
            State::Failed(output) => Poll::Ready(output),
            other => {
                self.state = ManuallyDrop::new(other);
                Poll::Pending
            }
        }
    }
}

impl<M: Mode, P: Payload> Live<M, P> {
    #[inline(always)]
    pub(crate) fn poll(self, waker: &Waker, mut chained: Option<Chained<'_>>) -> Polled<M, P> {
        let Self { cell, key, rest } = self;
        // As in `start`.
        let Some(mut driver) = M::enter(&cell) else { return Polled::Gone };
        if P::ASKS.meets(Sides::TAKES)
            && driver.has_nudged()
            && chained.is_none()
            && driver.was_nudged(key)
        {
            M::leave(&cell, driver);
            return Polled::Again(Self { cell, key, rest });
        }
        if P::AFTER_CHAIN && chained.is_some() && driver.has_passed(key) {
            M::leave(&cell, driver);
            return Polled::Again(Self { cell, key, rest });
        }
        let short = chained.is_none() && !(M::INLINE && driver.has_queued());
        if short && let Some((resources, done)) = take_quietly::<M, P>(&mut driver, key) {
            drop(driver);
            return Polled::Ended(output_of::<M::Guard, P>(resources, rest, done));
        }
        let finished = Self::poll_long(&cell, &mut driver, (key, rest), waker, chained.as_mut());
        M::leave(&cell, driver);
        M::tidy(&cell);
        match finished {
            Ok(finished) => Polled::Ended(finished),
            Err(rest) => Polled::Pending(Self { cell, key, rest }),
        }
    }

    /// [`Live::poll`] of one that has not ended or has failed, is a member of a chain, or shares the ring with others that
    /// are to be handed over.
    #[inline(never)]
    fn poll_long(
        cell: &M::Cell,
        driver: &mut Driver<M::Guard>,
        (key, rest): (Key, P::Rest),
        waker: &Waker,
        mut chained: Option<&mut Chained<'_>>,
    ) -> Result<P::Output, P::Rest> {
        let mut finished = driver.finish::<P>(key, rest, chained.as_deref_mut());
        if let Err(rest) = finished {
            if !driver.is_ours() {
                return driver.finish_forked::<P>(key, rest);
            }
            finished = Err(rest);
            driver.poll(key, waker);
        }
        if M::INLINE && driver.has_queued() {
            driver.flush();
            // It may have ended in the flush, before its waker could be of use.
            finished = match finished {
                // Its waker has been fired: it starts when it is polled again.
                Err(rest) if P::AFTER_CHAIN && driver.has_passed(key) => Err(rest),
                Err(rest) => driver.finish::<P>(key, rest, chained),
                ended => ended,
            };
            M::park(driver, cell);
        }
        finished
    }

    /// Asks for the cancellation; the end is announced as any other.
    pub(crate) fn request_cancel(&self) {
        M::with(&self.cell, |driver| {
            driver.cancel(self.key);
            if M::INLINE {
                driver.flush();
            }
        });
    }

    /// The owner goes; what was lent stays until the kernel is done.
    #[inline]
    pub(crate) fn orphan(&self) {
        M::with(&self.cell, |driver| {
            driver.orphan(self.key);
            if M::INLINE {
                // A cancellation, if one was queued, must reach the kernel now.
                driver.flush();
            }
        });
    }
}

/// What an operation that has succeeded leaves in its slot, where the driver can be given up before its output is made: no
/// waker waits to be fired, whose panic would leak what was taken, and no other completion belongs to it. So the output is
/// made where it is wanted, and not carried past the leaving of the driver. One that has failed wants to know more of its
/// slot, and ends inside of the driver.
#[inline(always)]
fn take_quietly<M: Mode, P: Payload>(
    held: &mut M::Held<'_>,
    key: Key,
) -> Option<(ManuallyDrop<Resources<M::Guard>>, Done)> {
    if P::KEEPS_ALL || !M::is_quiet(held) {
        return None;
    }
    let (resources, count, flags) = held.table.take_success(key)?;
    Some((resources, Done { result: Ok(count), flags, more: More::default() }))
}

/// What a member of a chain has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "part of a sealed trait")]
pub enum Held {
    /// Nothing.
    Free,
    /// What went before it on its descriptor; the waker is kept.
    Waits,
    /// It cannot run.
    Fails(Failure),
}

/// What became of a live operation.
pub(crate) enum Polled<M: Mode, P: Payload> {
    Ended(P::Output),
    Pending(Live<M, P>),
    /// It has not run, and is to start again.
    Again(Live<M, P>),
    Gone,
}

impl<M: Mode, P: Payload> Future for Operation<M, P> {
    type Output = P::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Output> {
        let this = self.get_mut();
        match *this.state {
            State::Ready { .. } => this.start(cx.waker()),
            _ => this.poll_live(cx.waker(), None),
        }
    }
}

impl<M: Mode, P: Payload> Drop for Operation<M, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if !matches!(*self.state, State::Over) {
            self.give_up();
        }
    }
}

impl<M: Mode, P: Payload> fmt::Debug for Operation<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state {
            State::Ready { request, .. } => return request.fmt(f),
            State::Live(live) => return f.debug_tuple("Operation").field(&live.key).finish(),
            State::Failed(_) => "refused",
            State::Over => "over",
        };
        f.debug_tuple("Operation").field(&state).finish()
    }
}
