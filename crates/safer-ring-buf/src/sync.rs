//! The primitives of what is concurrent in these crates: those of the standard library, as plain re-exports, and a lock for what
//! forked children may meet; in a build with `--cfg safer_ring_loom`, those of the model checker, under which `cargo xtask loom` runs the same code in every
//! interleaving.
//!
//! A flag of our own, since `--cfg loom` would also change other people's crates, and ours in other people's models.
//!
//! Reference counts are not among them: `Waker` wants those of the standard library.

#[cfg(not(safer_ring_loom))]
pub use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    thread_local,
};

pub use crate::fork_mutex::{ForkMutex, ForkMutexGuard};
#[cfg(not(safer_ring_loom))]
pub use crate::fork_mutex::{ForkMutex as Lock, ForkMutexGuard as LockGuard};

#[cfg(safer_ring_loom)]
pub use loom::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    thread_local,
};

#[cfg(safer_ring_loom)]
pub use self::model::{Lock, LockGuard};

#[cfg(safer_ring_loom)]
mod model {
    use std::sync::PoisonError;

    pub use loom::sync::MutexGuard as LockGuard;

    /// The model checker's lock. Nothing forks there.
    #[derive(Debug, Default)]
    pub struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub fn lock_or(&self, _: impl FnOnce() -> T) -> LockGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub fn lock(&self) -> LockGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
