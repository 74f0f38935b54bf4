//! Files that are registered with a ring of one thread (`IORING_REGISTER_FILES2`, kernel 6.15 here): an operation then need
//! not look its descriptor up, nor count that it is used.
//!
//! Nobody asks for it. A file on a disk or in memory is registered when it has been read or written for some time, and
//! leaves its place when its descriptor is closed or given away: the class in its handle sees to that
//! ([`LocalHandle`](crate::LocalHandle)), so the kernel holds no file longer than the program. Nothing of it is in flight
//! then, since each operation holds the descriptor. Sockets and pipes are left alone: they gain nothing measurable.

use std::sync::atomic::{AtomicU32, Ordering};

use safer_ring_sys::{Sqe, Uring, sqe_flags};

use crate::engine::Class;
use crate::uring::setup::steadily;

/// Places in the kernel's table. It must not be larger than `RLIMIT_NOFILE`.
pub(super) const PLACES: u32 = 256;
/// Reads and writes after which a file is registered: as many as pay for that.
const RIPE: u32 = 64;

/// The number of a ring that registers no files.
const NONE: u32 = u32::MAX;

static NEXT_RING: AtomicU32 = AtomicU32::new(1);

/// A key with which no file has a place.
pub(super) fn nowhere() -> u64 {
    Class::key(NONE)
}

/// The entry names its file by its place.
#[inline(always)]
pub(super) fn put_place(sqe: &mut Sqe, place: u32) {
    sqe.fd = place.cast_signed();
    sqe.flags |= sqe_flags::FIXED_FILE;
}

/// The table of one ring.
pub(in crate::uring) struct Files {
    /// No other ring of this process ever has this number; or [`NONE`].
    ring: u32,
    /// The kernel has a table, or has refused it.
    asked: bool,
    /// Places without a file, of those below `reached`.
    free: Vec<u32>,
    reached: u32,
    /// Places with a file.
    taken: u32,
}

impl Files {
    pub(super) fn new(may: bool) -> Self {
        let ring = if may { NEXT_RING.fetch_add(1, Ordering::Relaxed) } else { NONE };
        Self { ring, asked: false, free: Vec::new(), reached: 0, taken: 0 }
    }

    /// The number that [`Class::place`] gives with the places in this table, if there may be one.
    pub(in crate::uring) fn ring(&self) -> Option<u32> {
        Some(self.ring).filter(|ring| *ring != NONE)
    }

    /// How many files are registered.
    pub(in crate::uring) fn taken(&self) -> u32 {
        self.taken
    }

    /// What [`Class::place_in`] wants to know of this table.
    pub(super) fn key(&self) -> u64 {
        Class::key(self.ring)
    }

    /// Lets the entry of a read or write name its file by its place, if it has one. Tells whether it should get one.
    pub(super) fn name(&self, sqe: &mut Sqe, class: &Class) -> bool {
        match class.place_in(self.key(), PLACES) {
            Some(place) => {
                put_place(sqe, place);
                false
            }
            // One more operation of a file without a place.
            None if self.ring != NONE => {
                class.uses_until(RIPE) == Some(RIPE) && class.is_file(sqe.fd)
            }
            None => false,
        }
    }

    /// Registers a file, if there is room and the kernel agrees; else operations go on by its descriptor.
    #[cold]
    pub(in crate::uring) fn register(&mut self, ring: &Uring, class: &Class, fd: i32) {
        if !self.asked {
            // Refused once, it is not asked for again.
            let made = steadily(|| ring.register_files_sparse(PLACES));
            self.reached = if made.is_ok() { 0 } else { PLACES };
            self.asked = true;
        }
        let place = match self.free.last() {
            Some(place) => *place,
            None if self.reached < PLACES => self.reached,
            None => return,
        };
        if steadily(|| ring.files_update(place, &[fd])).is_err() {
            return;
        }
        if self.free.pop().is_none() {
            self.reached += 1;
        }
        self.taken += 1;
        class.set_place(self.ring, place);
    }

    /// A file leaves its place.
    pub(in crate::uring) fn unregister(&mut self, ring: &Uring, place: u32) {
        self.taken -= 1;
        // It cannot fail for a place that is taken; if it does, the place is not used again.
        if steadily(|| ring.files_update(place, &[-1])).is_ok() {
            self.free.push(place);
        }
    }

    /// All do, as the ring ends: it may take the kernel some time to get there by itself.
    pub(in crate::uring) fn unregister_all(&mut self, ring: &Uring) {
        let places = if self.taken > 0 { self.reached } else { 0 };
        for place in 0..places {
            if !self.free.contains(&place) {
                self.unregister(ring, place);
            }
        }
    }
}
