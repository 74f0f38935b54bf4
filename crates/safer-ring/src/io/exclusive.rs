//! `Sync` for what is only used through `&mut`.

use std::sync::{Mutex, PoisonError};

/// A value that nobody reaches through a shared reference, which therefore may be shared. The mutex says so to the
/// compiler and is never locked.
pub(super) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    pub(super) fn get(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
