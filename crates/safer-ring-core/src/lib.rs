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
//! * Only a final completion (no `IORING_CQE_F_MORE`) ends an operation; a cancellation request
//!   never does, nor does dropping the owner.
//! * A completion that is late, doubled or unknown is counted and ignored.
//! * A request to cancel waits in the slot of its target, so it cannot be lost for lack of room.
//! * A table that is dropped forgets what the kernel still uses and drops the rest.
//! * The table never runs foreign code except `Waker::clone`: wakers and resources are handed
//!   back, so that a driver can fire and drop them outside its own borrow or lock.
//!
//! # The life of a slot
//!
//! ```text
//!            insert            stage              final completion         take
//!   Free ─────────────▶ Queued ───────▶ InFlight ──────────────────▶ Done ──────▶ Free
//!    ▲                  │ ▲  ▲             │ -EAGAIN, owner waits     ▲ │
//!    │ orphan           │ │  │ -EINTR      ▼                          │ │ take, while the cancel
//!    ├──────────────────┘ │  └──────── QueuedPoll                     │ ▼ has no completion yet
//!    │                    │ ready         │ stage                      │ Draining ─────────▶ Free
//!    │                    └─────────── Polling ── -ECANCELED ──────────┤       cancel's own CQE
//!    │  insert_deadline                                                │
//!    └───────────────── Armed ───────────── expire, cancel ────────────┘
//! ```
//!
//! What is cancelled while it waits in the queue goes straight to `Done`. The complete graph, as the
//! tests observe it, is in `tests/transitions.dot`.
//!
//! An orphan (its owner is gone) takes the same road; its passage through `Done` ends at once in
//! [`Outcome::Release`], with which the driver closes what the kernel made for nobody.
//!
//! # Who may wait
//!
//! At most [`Limits::max_in_flight`] completions are outstanding, so a completion queue of that
//! size cannot overflow; further operations wait in the queue of the table. Part of that room is
//! kept for requests to cancel (see [`limits`]), without which operations that never end by
//! themselves could fill the ring and lock out the requests that would end them.
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

#[cfg(test)]
mod tests;

pub use group::Group;
pub use key::{Key, Tag, decode};
pub use limits::Limits;
pub use op::{CURSOR, OnDrop, Op};
pub use outcome::{Completion, Orphaned, Outcome, Polled, Staged, Stats};
pub use slot::{Phase, StateView};
pub use table::Table;
