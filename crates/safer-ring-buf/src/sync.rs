//! The primitives of what is concurrent in these crates: those of the standard library, as plain re-exports; in a build
//! with `--cfg safer_ring_loom`, those of the model checker, under which `cargo xtask loom` runs the same code in every
//! interleaving.
//!
//! A flag of our own, since `--cfg loom` would also change other people's crates, and ours in other people's models.
//!
//! Reference counts are not among them: `Waker` wants those of the standard library.

#[cfg(not(safer_ring_loom))]
pub use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    thread_local,
};

#[cfg(safer_ring_loom)]
pub use loom::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    thread_local,
};
