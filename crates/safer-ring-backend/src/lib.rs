//! Driver and backends of Safer-Ring: the joint between the sans-I/O table and the kernel.
//!
//! This crate is an inner part of `safer-ring`; its API may change in any release. Use `safer-ring`.
//!
//! # What happens to an operation
//!
//! ```text
//!  Operation::poll ──> Driver::submit ──> Table (Queued) ──> Driver::stage ──> Backend::submit ──> kernel
//!                                                                                                   │
//!  Operation::poll <── wakers, after the loop <── Table (Done) <── Driver::reap <── Backend::reap <──┘
//! ```
//!
//! * A [`Request`] pairs an operation with exactly the memory and descriptors it needs, so that a
//!   mismatch cannot be written in safe code. Submitting moves both into a slot of the table.
//! * Only the slot's final completion moves them out again: to the future that waits, or, when that
//!   future is gone, to the place that closes and frees them.
//! * The [`Driver`] is a plain single-threaded struct. [`Local`] wraps it in `Rc<RefCell<..>>`,
//!   [`Shared`] in one `Arc<Mutex<..>>` per submitting thread.
#![deny(unsafe_code)]

mod addr;
mod adopt;
pub mod aio;
mod arrivals;
mod asked;
mod backend;
mod batch;
pub mod beside;
mod cancel;
mod chain;
mod clock;
mod closer;
mod config;
pub mod contract;
mod count;
mod detect;
mod drain;
mod driver;
mod engine;
mod error;
mod fd;
mod features;
mod letters;
mod listener;
mod local;
mod member;
mod mode;
mod notes;
mod operation;
pub mod payload;
mod placement;
mod plain;
mod reactor;
mod register;
mod request;
mod root;
mod runtime;
mod shared;
pub mod sim;
mod stream;
#[cfg(test)]
mod tests;
mod uring;
mod wake;

pub use addr::Address;
pub use adopt::Descriptor;
pub use arrivals::{Arrival, Arrivals};
pub use backend::{Backend, Helped, Named, Submission, Submitted, Wait};
pub use batch::{Batch, SubmitBatch};
pub use cancel::{Cancel, CancelMember, Ended, Timed};
pub use chain::{Chain, ChainLink};
pub use config::{BackendChoice, BackendKind, Config, FallbackParts, MAX_ENTRIES, Sqpoll};
pub use detect::{Cause, ChosenBy, Evidence, Report, detect};
pub use drain::{Drain, Drained, operations};
pub use driver::{Driver, InFlight, Snapshot};
pub use engine::Class;
pub use error::{Failure, OpError, SetupError, TransferError, WithoutBuffer};
pub use fd::{Fd, Guard, LocalHandle, SharedHandle, give_up};
pub use features::{Attempt, FeatureSource, Features};
pub use letters::LetterBox;
pub use local::{LocalCell, Tasks};
pub use member::Member;
pub use mode::{Local, Mode, Shared};
pub use operation::Operation;
pub use payload::Payload;
pub use placement::{MemoryPlacement, Place, RingPlacement, Wish, memory_on};
pub use register::{RegisterError, register, unregister};
pub use request::{Made, Request, Resources};
pub use shared::{SharedCell, SharedHeld, SharedRing};
pub use uring::RingBackend;
pub use wake::{Doorbell, give_way};

pub use safer_ring_buf as buf;
pub use safer_ring_core as core;
pub use safer_ring_core::Phase;
pub use safer_ring_sys as sys;
