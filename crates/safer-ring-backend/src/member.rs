//! The handle of one member of a batch.
//!
//! # Safety
//! As in `operation`: a variant of the state is moved out of its place, which is then overwritten with "over".
//!
//! Tests: a_failing_member_of_a_batch_fails_alone, a_member_of_a_batch_is_cancelled
#![allow(unsafe_code, reason = "moves one variant out of a state")]

use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use safer_ring_core::Key;

use crate::mode::Mode;
use crate::operation::{Live, Operation, Polled};
use crate::payload::Payload;

/// The handle of an operation that was given to a [`Batch`](crate::Batch): the result of that member.
///
/// Ready once the batch has been submitted and has ended; awaiting it earlier works too. Dropping it is
/// dropping the operation's future; see [`Operation`].
#[must_use = "the result of the member is in its handle; dropping it may cancel the operation"]
pub struct Member<M: Mode, P: Payload> {
    /// As in [`Operation`].
    state: ManuallyDrop<MemberState<M, P>>,
}

enum MemberState<M: Mode, P: Payload> {
    Live(Live<M, P>),
    /// Not submitted with the batch: something goes before it on its descriptor. Boxed, since it is rare and large.
    Later(Box<Operation<M, P>>),
    Failed(P::Output),
    Over,
}

/// As for [`Operation`].
impl<M: Mode, P: Payload> Unpin for Member<M, P> {}

impl<M: Mode, P: Payload> Member<M, P> {
    #[inline]
    pub(crate) fn live(cell: M::Cell, key: Key, rest: P::Rest) -> Self {
        Self { state: ManuallyDrop::new(MemberState::Live(Live { cell, key, rest })) }
    }

    #[inline(always)]
    fn take_live(&mut self) -> Option<Live<M, P>> {
        let MemberState::Live(live) = &*self.state else { return None };
        // SAFETY: a valid place. The state is overwritten below without being dropped, so this has one owner.
        let live = unsafe { ptr::read(live) };
        self.state = ManuallyDrop::new(MemberState::Over);
        Some(live)
    }

    #[cold]
    pub(crate) fn later(operation: Operation<M, P>) -> Self {
        Self { state: ManuallyDrop::new(MemberState::Later(Box::new(operation))) }
    }

    #[cold]
    fn poll_other(&mut self, context: &mut Context<'_>) -> Poll<P::Output> {
        if let MemberState::Later(operation) = &mut *self.state {
            let polled = Pin::new(&mut **operation).poll(context);
            if polled.is_ready() {
                drop(self.take_state());
            }
            return polled;
        }
        match self.take_state() {
            MemberState::Failed(output) => Poll::Ready(output),
            _ => Poll::Pending,
        }
    }

    fn take_state(&mut self) -> MemberState<M, P> {
        ManuallyDrop::into_inner(mem::replace(
            &mut self.state,
            ManuallyDrop::new(MemberState::Over),
        ))
    }

    /// Asks for its cancellation; its end is awaited as before.
    pub(crate) fn request_cancel(&mut self) {
        match &mut *self.state {
            MemberState::Live(live) => live.request_cancel(),
            MemberState::Later(operation) => {
                operation.request_cancel();
            }
            MemberState::Failed(_) | MemberState::Over => {}
        }
    }

    #[cold]
    #[inline(never)]
    fn give_up(&mut self) {
        if let MemberState::Live(live) = self.take_state() {
            live.orphan();
        }
    }

    #[cold]
    pub(crate) fn failed(output: Option<P::Output>) -> Self {
        Self { state: ManuallyDrop::new(output.map_or(MemberState::Over, MemberState::Failed)) }
    }
}

impl<M: Mode, P: Payload> Future for Member<M, P> {
    type Output = P::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Output> {
        let this = self.get_mut();
        let Some(live) = this.take_live() else { return this.poll_other(cx) };
        match live.poll(cx.waker(), None) {
            Polled::Ended(output) => Poll::Ready(output),
            Polled::Pending(live) => {
                this.state = ManuallyDrop::new(MemberState::Live(live));
                Poll::Pending
            }
            Polled::Again(live) => {
                let mut operation = Operation::new_over();
                let polled = operation.begin_again(live, cx.waker());
                if polled.is_pending() {
                    *this = Self::later(operation);
                }
                polled
            }
            Polled::Gone => Poll::Pending,
        }
    }
}

impl<M: Mode, P: Payload> Drop for Member<M, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if !matches!(*self.state, MemberState::Over) {
            self.give_up();
        }
    }
}

impl<M: Mode, P: Payload> fmt::Debug for Member<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state {
            MemberState::Live(live) => return f.debug_tuple("Member").field(&live.key).finish(),
            MemberState::Later(_) => "waits for its descriptor",
            MemberState::Failed(_) => "refused",
            MemberState::Over => "over",
        };
        f.debug_tuple("Member").field(&state).finish()
    }
}
