//! An operation together with exactly the memory and descriptors that it needs.
//!
//! The fields are private to this module: the only way to a [`Request`] is a constructor of
//! [`crate::payload`], and each of those pairs an [`Op`] with a lease that fits it. So any request may be
//! submitted in safe code (invariant 4: in flight a buffer exists only as raw parts).

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::task::Waker;

use safer_ring_buf::{Lease, quietly};
use safer_ring_core::Op;

use crate::fd::Guard;
use crate::mode::Mode;
use crate::payload::{self, Payload};
use crate::stream::{Answer, Follow, Role, Sides, Ticket};

/// What a slot of the table owns while the kernel works.
pub struct Resources<K> {
    pub(crate) lease: Lease,
    pub(crate) fd: Option<K>,
    pub(crate) other: Option<K>,
}

impl<K: Guard> fmt::Debug for Resources<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources")
            .field("fd", &self.fd.as_ref().map(Guard::raw))
            .field("other", &self.other.as_ref().map(Guard::raw))
            .finish_non_exhaustive()
    }
}

/// What a [`Request`] is made of.
pub(crate) type Parts<K, P> = (Op, ManuallyDrop<Resources<K>>, <P as Payload>::Rest);

/// A request, or the output of one that was refused when it was made.
pub type Made<M, P> = Result<Request<<M as Mode>::Guard, P>, <P as Payload>::Output>;

/// An operation that has not been submitted yet.
pub struct Request<K, P: Payload> {
    op: Op,
    resources: Resources<K>,
    rest: P::Rest,
    payload: PhantomData<fn() -> P>,
}

impl<K, P: Payload> Request<K, P> {
    /// Pairs the parts. The caller (a constructor of `payload`) vouches that `lease` was made for
    /// `op` and that `rest` came with it.
    #[inline(always)]
    pub(crate) fn new(op: Op, lease: Lease, rest: P::Rest) -> Self {
        Self {
            op,
            resources: Resources { lease, fd: None, other: None },
            rest,
            payload: PhantomData,
        }
    }

    /// The parts of one that has not run, together again.
    pub(crate) fn again(op: Op, resources: Resources<K>, rest: P::Rest) -> Self {
        Self { op, resources, rest, payload: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn op(&self) -> &Op {
        &self.op
    }

    /// Whether a descriptor of it keeps something on its side, so that it has to [`ask`](Request::ask) before it goes to the kernel.
    #[inline(always)]
    pub(crate) fn must_ask(&self) -> bool
    where
        K: Guard,
    {
        let Resources { fd, other, .. } = &self.resources;
        let marked = |fd: &Option<K>| fd.as_ref().is_some_and(|fd| fd.marks().meets(P::ASKS));
        P::ASKS.meets(Sides::BOTH) && (marked(fd) || marked(other))
    }

    /// Asks its descriptors what to do first. `linked` tells whether it is a member of a chain, which cannot take from
    /// what is kept.
    #[cold]
    pub(crate) fn ask(
        &mut self,
        waker: &Waker,
        ticket: &mut Ticket,
        linked: bool,
    ) -> Answer<K::Home>
    where
        K: Guard,
    {
        let Resources { lease, fd, other } = &mut self.resources;
        if let Some(other) = other.as_ref().filter(|other| other.is_marked()) {
            let answer = other.with_stream(|stream| stream.ask_target(waker));
            if !matches!(answer, Answer::Go) {
                return answer;
            }
        }
        let (Some(role), Some(fd)) = (Role::of(&self.op), fd) else { return Answer::Go };
        let takes = matches!(role, Role::Take | Role::Peek | Role::Accept);
        let role = if linked && takes { Role::Drain } else { role };
        fd.with_stream(|stream| {
            let fill = |item: &mut _| P::receive(lease, &self.rest, &self.op, item);
            stream.ask(role, (waker, ticket), || payload::keeps_rest(fd), fill)
        })
    }

    /// It waits no more for what its descriptor keeps.
    #[cold]
    pub(crate) fn leave(&self, ticket: Ticket)
    where
        K: Guard,
    {
        if let Some(fd) = &self.resources.fd {
            let waker = fd.with_stream(|stream| stream.leave(ticket));
            quietly(|| drop(waker));
        }
    }

    /// Leaves the operation to its descriptor, to be run behind what it waits for. `false` if nothing is left to wait for.
    #[cold]
    pub(crate) fn follow(&mut self) -> bool
    where
        K: Guard,
    {
        let Resources { lease, fd, .. } = &mut self.resources;
        let (Some(role), Some(fd)) = (Role::of(&self.op), fd) else { return true };
        let lent = std::mem::replace(lease, Lease::empty());
        match fd.with_stream(|stream| stream.enqueue(role, self.op, lent)) {
            Follow::Queued => true,
            Follow::Now(back) => {
                *lease = back;
                false
            }
            Follow::Never(back) => {
                *lease = back;
                true
            }
        }
    }

    pub(crate) fn on(mut self, fd: K) -> Self {
        self.resources.fd = Some(fd);
        self
    }

    pub(crate) fn and(mut self, other: K) -> Self {
        self.resources.other = Some(other);
        self
    }

    /// The resources go into a slot, or to whoever refuses them; nobody else drops them. `ManuallyDrop` spares
    /// the hot path the code for a panic on the way.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> Parts<K, P> {
        (self.op, ManuallyDrop::new(self.resources), self.rest)
    }
}

impl<K, P: Payload> fmt::Debug for Request<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("op", &self.op).finish_non_exhaustive()
    }
}
