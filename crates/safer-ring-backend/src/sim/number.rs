//! Descriptors of simulated kernels: numbers that no process has.
//!
//! A number is `1 << 30`, the place of the world, the place of the descriptor in it. A process has one that high only where
//! an administrator has set `fs.nr_open` to more than a thousand times its default and `RLIMIT_NOFILE` with it.
//!
//! # Safety
//! A borrowed number is that of a [`Number`], which keeps it open in its world, and names nothing of this process.
//!
//! Tests: a_number_leads_to_its_world_and_no_further
#![allow(unsafe_code, reason = "BorrowedFd of a number that is not the kernel's")]

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use safer_ring_sys::Errno;

use super::kernel::{Kernel, Machine};

const BASE: RawFd = 1 << 30;
/// Bits of the place in a world.
const PLACE: u32 = 12;
/// Descriptors that a world can have open.
pub(super) const MOST: usize = 1 << PLACE;
/// Worlds that can be alive.
const WORLDS: usize = 1 << (30 - PLACE);

/// The kernels of this process by their place, and the place to look at first.
struct Places {
    all: Vec<Weak<Machine>>,
    next: usize,
}

static PLACES: Mutex<Places> = Mutex::new(Places { all: Vec::new(), next: 0 });

fn places() -> MutexGuard<'static, Places> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a number is one of a simulated kernel.
#[inline(always)]
pub(crate) fn is_simulated(fd: RawFd) -> bool {
    fd >= BASE
}

/// Makes a kernel and gives it a place. Places go round, so that one whose world is gone is not used again soon.
pub(super) fn place(make: impl FnOnce() -> Kernel) -> Arc<Machine> {
    let mut places = places();
    let mut at = places.next;
    for _ in 0..WORLDS {
        if places.all.get(at).is_none_or(|world| world.strong_count() == 0) {
            break;
        }
        at = (at + 1) % WORLDS;
    }
    let cell = Arc::new(Machine::new(at, make()));
    match places.all.get_mut(at) {
        Some(place) => *place = Arc::downgrade(&cell),
        None => places.all.push(Arc::downgrade(&cell)),
    }
    places.next = (at + 1) % WORLDS;
    cell
}

/// The number of a descriptor.
pub(super) fn number(world: usize, place: usize) -> RawFd {
    let word = i32::try_from((world << PLACE) | place).unwrap_or(0);
    BASE | word
}

/// The place of a number in its world.
pub(super) fn place_of(fd: RawFd) -> Option<usize> {
    let word = usize::try_from(fd).ok()?.checked_sub(1 << 30)?;
    Some(word & (MOST - 1))
}

/// Whether a number is one of the world of this place.
pub(super) fn is_of(fd: RawFd, world: usize) -> bool {
    let word = fd.checked_sub(BASE).and_then(|word| usize::try_from(word).ok());
    word.is_some_and(|word| word >> PLACE == world)
}

fn world_of(fd: RawFd) -> Option<Arc<Machine>> {
    let word = usize::try_from(fd.checked_sub(BASE)?).ok()?;
    let places = places();
    places.all.get(word >> PLACE)?.upgrade()
}

/// The world of a descriptor, or that it is gone; `None` for a descriptor of the process.
#[inline(always)]
pub(crate) fn machine_of(fd: RawFd) -> Option<Result<Arc<Machine>, Errno>> {
    is_simulated(fd).then(|| world_of(fd).ok_or(Errno::BADF))
}

/// What the library asks about a descriptor before it uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// `O_APPEND`.
    pub(crate) appends: bool,
    /// A socket whose messages stay apart.
    pub(crate) messages: bool,
}

/// What is known of a simulated descriptor; `None` for one of the process.
pub(crate) fn look(fd: RawFd) -> Option<Known> {
    if !is_simulated(fd) {
        return None;
    }
    let known = world_of(fd).and_then(|world| world.lock().known(fd));
    Some(known.unwrap_or(Known { appends: false, messages: false }))
}

/// An open descriptor of a simulated kernel; dropping it closes it.
#[derive(Debug)]
pub struct Number {
    fd: RawFd,
    /// `None` if the world is gone, and everything in it.
    world: Option<Arc<Machine>>,
}

impl Number {
    pub(crate) fn adopt(fd: RawFd) -> Self {
        Self { fd, world: world_of(fd) }
    }
}

impl AsFd for Number {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: not -1. It names no descriptor of this process, so whoever uses it there gets `EBADF`, and touches
        // nothing of anybody's.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl IntoRawFd for Number {
    fn into_raw_fd(mut self) -> RawFd {
        self.world = None;
        self.fd
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if let Some(world) = self.world.take() {
            world.lock().close_dropped(self.fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn a_number_leads_to_its_world_and_no_further() {
        let one = place(|| Kernel::new(&Config::calm(1)));
        let other = place(|| Kernel::new(&Config::calm(1)));
        let fd = one.lock().open_pipe(0).unwrap().0;
        assert!(is_simulated(fd) && !is_simulated(1_048_576));
        assert!(Arc::ptr_eq(&world_of(fd).unwrap(), &one));
        assert_eq!(look(fd).map(|known| known.appends), Some(false));
        assert!(look(0).is_none());
        assert_eq!((one.lock().descriptors(), other.lock().descriptors()), (2, 0));
        drop(Number::adopt(fd));
        assert_eq!(one.lock().descriptors(), 1);
        let taken = Number::adopt(fd).into_raw_fd();
        drop(one);
        assert!(world_of(taken).is_none());
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&Number::adopt(taken).as_fd()), taken);
    }
}
