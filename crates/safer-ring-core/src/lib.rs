//! The operation table of Safer-Ring: who owns what while the kernel works.
//!
//! This crate decides, and does nothing else: it makes no system call, reads no clock, knows no
//! descriptor type, holds no lock and contains no `unsafe`. A driver owns a [`Table`], gives it
//! operations, asks it what to submit, and tells it what completed; the table answers with what
//! to do now. `R` is whatever an operation has lent to the kernel (buffers, descriptor guards,
//! paths): the table moves it in, keeps it, and moves it out, and never looks inside.
//!
//! # The contract
//!
//! * Ownership is a move into a slot. Resources leave a slot through one private function, which
//!   refuses while the kernel may still use them.
//! * [`Table::stage`] is one-way: what it handed out belongs to the kernel until the final
//!   completion, whatever becomes of the system call that was to submit it.
//! * Only a final completion (no `IORING_CQE_F_MORE`) ends what the kernel has; a cancellation
//!   request never does, nor does the loss of the owner.
//! * An operation whose effect was asked for ([`OnDrop::Finish`]) runs once it is in the table,
//!   whether or not the kernel had it when its owner left: [`Table::orphan`] takes back only what
//!   is to be cancelled or kept, and timers. Only an explicit cancellation, or the end of a chain
//!   before it, keeps it from running.
//! * What takes something in ([`OnDrop::Keep`]) stays armed without its owner, until it completes or
//!   the driver cancels it.
//! * A completion that says that nothing was done, and that nobody asked for, puts the operation
//!   back into the queue: `-EINTR`, `-EAGAIN` where a poll can help, and the `-ECANCELED` that the
//!   end of the submitting thread causes. In a chain it takes those behind it along, which the kernel
//!   has cancelled for it, and waits for them.
//! * A completion that is late, doubled or unknown is counted and ignored.
//! * A request to cancel waits in the slot of its target, so it cannot be lost for lack of room.
//! * A table that is dropped forgets what the kernel still uses and drops the rest.
//! * The table never runs foreign code except `Waker::clone`: wakers and resources are handed
//!   back, so that a driver can fire and drop them outside its own borrow or lock.
//!
//! # The short way
//!
//! Most operations meet an empty queue and complete with a success. For them there are entries
//! that decide less, each of which leads to the same state as the general one:
//! [`Table::may_go_at_once`] and [`Table::insert_in_flight`] for an insertion and the staging after
//! it, [`Table::make_room`] and [`Table::insert_into_room`] for [`Table::insert`],
//! [`Table::attach`] for the first [`Table::poll`], [`Table::join_new`] for [`Table::join`],
//! [`Table::complete_plain`] before [`Table::complete_other`] for [`Table::complete`], and
//! [`Table::take_result`], or [`Table::take_success`] of what has not failed, for [`Table::take`].
//!
//! # The life of a slot
//!
//! ```text
//!            insert             stage              final completion        take
//!   Free ─────────────▶ Queued ─────────▶ InFlight ─────────────────▶ Done ──────▶ Free
//!    ▲                  │ ▲ ▲                │ │                      ▲ │
//!    │ orphan           │ │ └── nothing done ┘ │ -EAGAIN              │ │ take, while the cancel
//!    ├──────────────────┘ │                    ▼                      │ ▼ has no completion yet
//!    │                    │                QueuedPoll                 │ Draining ────────▶ Free
//!    │                    │ poll is over       │ stage                │      cancel's own CQE
//!    │                    └───────────────  Polling ── if cancelled ──┤
//!    │                                                                │
//!    └──────────────▶ Armed ─────────────── expire, cancel ───────────┘
//!     insert_deadline, orphan
//! ```
//!
//! [`Table::insert_in_flight`] goes from `Free` through `Queued` in one step. `orphan` frees what is
//! queued unless it is to finish. What is cancelled while it waits in the queue goes
//! straight to `Done`. A member of a chain that comes back with nothing done is `Held` until those behind it
//! are back, and then queued with them. The complete graph, as the tests observe it, is in `tests/transitions.dot`.
//!
//! An orphan (its owner is gone) takes the same road, from the queue as well; its passage through
//! `Done` ends at once in [`Outcome::Release`], with which the driver closes what the kernel made
//! for nobody.
//!
//! # Who may wait
//!
//! At most [`Limits::max_in_flight`] completions are outstanding; further operations wait in the
//! queue of the table. A completion queue of that size cannot overflow, but operations that wait
//! for a peer can then hold back those the peer waits for. A driver whose kernel keeps what does
//! not fit into the completion queue may therefore set far more, as the one of this workspace does;
//! what holds an operation back then is only room in the submission queue, which each call to the
//! kernel makes anew.
//!
//! Whatever the number, part of it is kept for requests to cancel (see [`limits`]), without which
//! operations that never end by themselves could fill the ring and lock out the requests that
//! would end them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

/// Asks whether a test has planted this mistake; `false`, and no code, outside the tests.
#[cfg(test)]
macro_rules! planted {
    ($name:ident) => {
        crate::tests::mistake::planted(crate::tests::mistake::Mistake::$name)
    };
}
/// Asks whether a test has planted this mistake; `false`, and no code, outside the tests.
#[cfg(not(test))]
macro_rules! planted {
    ($name:ident) => {
        false
    };
}

mod chain;
mod complete;
mod deadline;
mod group;
mod intent;
mod key;
pub mod limits;
mod op;
mod outcome;
mod settle;
mod slot;
mod table;
mod view;

#[cfg(test)]
mod tests;

pub use group::Group;
pub use key::{Key, Tag, decode};
pub use limits::Limits;
pub use op::{CURSOR, OnDrop, Op};
pub use outcome::{Completion, Orphaned, Outcome, PAUSE, Polled, Staged, Stats};
pub use slot::{Phase, StateView};
pub use table::Table;
