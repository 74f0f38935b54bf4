//! Which statements about the system calls of Linux AIO and io_uring hold on the kernel that runs.
//!
//! Each [`Probe`] makes a call, or a few, in a child process of its own, and compares what came out with what its
//! statement says. [`run`] gives a [`Verdict`]; [`report`] one for each statement.
#![deny(unsafe_code)]

mod aio;
mod child;
mod env;
mod expect;
mod kernel;
mod memory;
mod predict;
mod probes;
mod queue;
mod raw;
mod report;
mod ring;

pub use env::Place;
pub use expect::{Expect, Observed};
pub use kernel::{kernel, release};
pub use predict::{Predictions, predictions};
pub use probes::{Probe, Verdict, probes, run};
pub use report::{Found, Report, report};
