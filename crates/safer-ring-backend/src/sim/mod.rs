//! A kernel in memory, driven by a seed: rings, files, pipes, sockets and a clock without a system call.
//!
//! ```text
//!   Ring ── Driver ── RingBackend ── Port ─┐                    files, pipes, sockets: one tree of objects
//!   Ring ── Driver ── RingBackend ── Port ─┼── Kernel ── Flight: scheduled ─▶ (waits) ─▶ done ─▶ posted
//!   World::block_on: tasks by seed ────────┘                    the clock jumps to the next event
//! ```
//!
//! The queues are those of a kernel's ring (`program_side.rs` of the sys crate), and this is who takes the entries out and
//! posts completions. So the table, the driver, the futures and the adapters are the ones that run on io_uring.
//!
//! * `world.rs`: the handle; `exec.rs`: tasks, and when the clock moves; `port.rs`: one ring's side.
//! * `kernel.rs`: the life of an operation, `flights.rs` what can be told of it, `ends.rs` ends that it does not come to by itself;
//!   `ops.rs`: what each one does.
//! * `faults.rs`: what goes wrong, and how often; `errnos.rs`: with which error; `injected.rs`: what a test asks for.
//! * `multishot.rs`: receives that complete again and again, and the buffers that they pick.
//! * `registered.rs`: memory that operations name by its slot, and what the kernel checks of that.
//! * `lent.rs`: the only access to lent memory; `tree.rs`, `disk.rs`, `files.rs`: a file system that can lose power;
//!   `pipes.rs`, `sockets.rs` with `names.rs`, `options.rs` and `broken.rs`: the rest; `descriptors.rs`: numbers and what
//!   they lead to.
//! * `beside.rs`: what is answered to system calls that do not go through a ring; who asks is in `../beside/`.
//!
//! Everything is in vectors and ordered maps, and each choice is drawn from one generator, so that a run is a function of
//! its seed and of the program.

mod beside;
mod broken;
mod calls;
mod config;
mod descriptors;
mod disk;
mod ends;
mod errnos;
mod exec;
mod faults;
mod files;
mod flights;
mod injected;
mod kernel;
mod lent;
mod multishot;
mod names;
mod number;
mod ops;
mod options;
mod paths;
mod pipes;
mod port;
mod registered;
mod rng;
mod sockets;
#[cfg(test)]
mod tests;
mod tree;
mod world;

pub(crate) use beside::{Entry, From};
pub use config::Config;
pub use disk::Damage;
pub use exec::{JoinHandle, Stuck};
pub use injected::{Calls, Fault, Injected};
pub(crate) use kernel::Kernel;
pub(crate) use multishot::Shelf;
pub use number::Number;
pub(crate) use number::{is_simulated, look, machine_of};
pub(crate) use options::Name as OptionName;
pub(crate) use port::Port;
pub(crate) use world::Home;
pub use world::World;

/// A length as the 64 bits of a file's offsets.
fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// An offset of a file as a length in memory.
fn narrow(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// A count of bytes as the result of an operation.
fn result(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
