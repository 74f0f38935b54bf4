//! What has to happen outside of a driver, once its lock or borrow is released.

use std::task::Waker;

use crate::notes::Notes;
use crate::request::Resources;

/// A descriptor whose receives in other kernel rings are to ask it once more: one of them, or all.
pub(crate) struct Nudge<K> {
    pub(crate) fd: K,
    pub(crate) all: bool,
}

/// What has to happen outside the driver's lock: wakers to fire, dead resources to drop.
pub(crate) struct Aftermath<K> {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) dead: Vec<Resources<K>>,
    /// Wakers to drop without firing them.
    pub(crate) retired: Vec<Waker>,
    /// Descriptors for which something arrived, while another operation of its kind waits in another kernel ring.
    pub(crate) nudges: Vec<Nudge<K>>,
    /// What is to be told.
    pub(crate) notes: Notes,
}

impl<K> Default for Aftermath<K> {
    fn default() -> Self {
        Self {
            wakers: Vec::new(),
            dead: Vec::new(),
            retired: Vec::new(),
            nudges: Vec::new(),
            notes: Notes::default(),
        }
    }
}

impl<K> Aftermath<K> {
    /// One with room for so many wakers, and for what a few dropped futures leave.
    pub(crate) fn prepared(wakers: usize) -> Self {
        Self {
            wakers: Vec::with_capacity(wakers),
            dead: Vec::with_capacity(2),
            retired: Vec::with_capacity(4),
            ..Self::default()
        }
    }
}
