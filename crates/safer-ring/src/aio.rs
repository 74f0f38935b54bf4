//! Linux AIO, safe and at its own level: contexts, commands, events. No futures, no threads, no ring.
//!
//! It is for programs that want `O_DIRECT` reads, overwrites and syncs in the background where io_uring is not allowed:
//! the runtimes of containers let these system calls through. Everywhere else, and for everything else, a
//! [`Ring`](crate::Ring) does more with less. The repository's `docs/GUIDE-aio.md` is the chapter on it: when to use it,
//! what blocks, what its limits are.
//!
//! * A [`Command`] has its buffers, of the same types as elsewhere ([`IoBuf`](crate::IoBuf),
//!   [`IoBufMut`](crate::IoBufMut)); submitting moves them into the [`Context`]; the [`Event`] or the [`SubmitError`] gives
//!   them back.
//! * Descriptors are borrowed, from anything that has [`AsFd`](std::os::fd::AsFd), until the submission is over; the kernel
//!   holds the open file from then on.
//! * Whatever is dropped, no buffer is freed while the kernel may use it.
//!
//! ```
//! use safer_ring::aio::{Command, Context};
//!
//! # fn main() -> std::io::Result<()> {
//! # let path = std::env::temp_dir().join(format!("safer-ring-aio-doc-{}", std::process::id()));
//! let file = std::fs::File::options().read(true).write(true).create(true).open(&path)?;
//! # std::fs::remove_file(&path)?;
//! # match Context::<Vec<u8>>::new(8) {
//! #     Err(safer_ring::aio::SetupError::Unavailable { .. }) => return Ok(()),
//! #     _ => {}
//! # }
//! let mut context = Context::new(8)?;
//! context.submit([
//!     Command::write(&file, b"first".to_vec(), 0).data(1),
//!     Command::write(&file, b"second".to_vec(), 4096).data(2),
//! ])?;
//! // All of them, however long they take. They come in any order.
//! for event in context.events(2, None)? {
//!     let written = event.result?;
//!     let buffer = event.buffers.one().expect("a write has one");
//!     assert_eq!(written, buffer.len());
//! }
//! context.submit([Command::fdatasync(&file)])?;
//! context.events(1, None)?.remove(0).result?;
//!
//! context.submit([Command::read(&file, Vec::with_capacity(16), 4096)])?;
//! let event = context.events(1, None)?.remove(0);
//! assert_eq!(event.result?, 6);
//! assert_eq!(event.buffers.one().unwrap(), b"second");
//! # Ok(())
//! # }
//! ```

pub use safer_ring_backend::aio::{
    Buffers, Command, Context, Error, Event, Priority, SetupError, SubmitError, Ticket,
    poll_events, rwf,
};
