//! Linux AIO, safe: contexts, commands, events; `io_submit(2)` and its relatives.
//!
//! What it is for, what blocks and what its limits are stands at [`Context`].
//!
//! * A buffer moves into the context with its command and comes back with its event, or with the refusal. In between it
//!   exists as raw parts in a slot, which only the command's event empties, or the end of the kernel's context.
//! * A descriptor is borrowed until it has been submitted: the kernel holds the open file from then on.
//! * `aio_data` is index and generation of a slot, never an address.

mod command;
mod context;
mod end;
mod error;
mod lent;
mod slots;

pub use command::{Buffers, Command, Priority, poll_events};
pub use context::{Context, Event, Ticket};
pub use error::{Error, SetupError, SubmitError};
pub use safer_ring_sys::rwf;
