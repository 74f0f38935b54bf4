//! The waker of a running `block_on`, without its cost.
//!
//! A slot of the table keeps a waker. Where that is the waker of the `block_on` that drives the same ring, a
//! stand-in is kept in its place: cloning and dropping it do nothing, and finding it in a completion sets a
//! flag. So an operation that is awaited directly costs no reference count, which would be an atomic
//! read-modify-write twice.
//!
//! # Safety
//! The stand-in's data pointer is only compared, and its functions touch nothing, so the contract of
//! `RawWaker` (thread-safe, matching vtable) holds trivially.
//!
//! Tests: the_stand_in_is_told_apart
#![allow(unsafe_code, reason = "a waker from raw parts")]

use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Its address tells the stand-in from any other waker.
static MARK: u8 = 0;

static VTABLE: RawWakerVTable = RawWakerVTable::new(|_| raw(), |_| {}, |_| {}, |_| {});

#[inline(always)]
fn raw() -> RawWaker {
    RawWaker::new(ptr::from_ref(&MARK).cast(), &VTABLE)
}

/// Stands for the waker of the running `block_on`.
#[inline(always)]
pub(crate) fn stand_in() -> Waker {
    // SAFETY: the functions of the vtable ignore their argument and do nothing but copy it.
    unsafe { Waker::from_raw(raw()) }
}

/// Whether this is the stand-in.
#[inline]
pub(crate) fn is_stand_in(waker: &Waker) -> bool {
    ptr::eq(waker.data().cast(), &raw const MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_is_told_apart() {
        assert!(is_stand_in(&stand_in()));
        assert!(is_stand_in(&stand_in().clone()));
        assert!(!is_stand_in(Waker::noop()));
    }
}
