//! Memory that is registered with a ring, and that reads and writes name by its slot.
//!
//! It is known by its addresses, and nothing is done to it by that. An operation that names a slot must lie in what is there
//! when it is taken, as the kernel has it (`EFAULT`); only the library names slots, so whatever else it names is a finding too.
//! From then on the operation has its memory, whatever becomes of the slot.

use std::ops::Range;

use safer_ring_sys::Errno;

use super::kernel::{Flight, Kernel};

/// The most that a table has room for (`IORING_MAX_REG_BUFFERS`).
const MOST: usize = 1 << 14;
/// The most that a slot holds (io_uring_register(2), `IORING_REGISTER_BUFFERS`).
const LARGEST: usize = 1 << 30;

/// How an operation comes to its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// By its address.
    No,
    /// By the slot that it names, where it has not been looked for.
    Slot(u16),
    /// It was found there.
    Found,
    /// It was not.
    Wrong,
}

/// The table of a ring.
#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Option<Range<usize>>>,
}

impl Kernel {
    /// Makes the table of a ring, with so many empty places.
    ///
    /// # Errors
    /// `EBUSY` if it has one, `EINVAL`, and those that the seed wants.
    pub(super) fn make_slots(&mut self, ring: usize, count: u32) -> Result<(), Errno> {
        let count = super::narrow(count.into());
        let made = self.registering(true).and_then(|()| match self.slots_of(ring) {
            Some(Some(_)) => Err(Errno::BUSY),
            Some(place) if (1..=MOST).contains(&count) => {
                *place = Some(Slots { places: vec![None; count] });
                Ok(())
            }
            _ => Err(Errno::INVAL),
        });
        self.note_registered(ring, format_args!("a table of {count} places"), made)
    }

    /// Registers memory in a slot, or empties it: no bytes at 0.
    ///
    /// # Errors
    /// `ENXIO` without a table, `EINVAL`, `EFAULT`, and those that the seed wants.
    pub(super) fn fill_slot(
        &mut self,
        ring: usize,
        slot: u16,
        start: usize,
        len: usize,
    ) -> Result<(), Errno> {
        let fills = (start, len) != (0, 0);
        let new = fills.then(|| start..start.saturating_add(len));
        let filled = self.registering(fills).and_then(|()| self.fill(ring, slot, new));
        if fills {
            self.note_registered(ring, format_args!("{len} bytes in slot {slot}"), filled)
        } else {
            self.note_registered(ring, format_args!("nothing in slot {slot}"), filled)
        }
    }

    fn fill(&mut self, ring: usize, slot: u16, new: Option<Range<usize>>) -> Result<(), Errno> {
        if new.as_ref().is_some_and(|new| new.start == 0 || !(1..=LARGEST).contains(&new.len())) {
            return Err(Errno::FAULT);
        }
        let slots = self.slots_of(ring).and_then(Option::as_mut).ok_or(Errno::NXIO)?;
        let overlaps = new.as_ref().is_some_and(|new| slots.overlaps(slot, new));
        let place = slots.places.get_mut(usize::from(slot)).ok_or(Errno::INVAL)?;
        let twice = new.is_some() && place.is_some();
        *place = new;
        if twice {
            self.find(format!("slot {slot} of ring {ring} is filled twice"));
        }
        if overlaps {
            self.find(format!("slot {slot} of ring {ring} has memory of another one"));
        }
        Ok(())
    }

    /// What becomes of a call that registers, before it does anything.
    fn registering(&mut self, fills: bool) -> Result<(), Errno> {
        // The library makes an interrupted call again until it is not: one in a row is enough.
        if !self.interrupted_registration && self.rng.chance(self.config.interrupts) {
            self.interrupted_registration = true;
            return Err(Errno::INTR);
        }
        self.interrupted_registration = false;
        if fills && self.rng.chance(self.config.refused_registrations) {
            return Err(Errno::NOMEM);
        }
        Ok(())
    }

    fn note_registered(
        &mut self,
        ring: usize,
        what: std::fmt::Arguments<'_>,
        answer: Result<(), Errno>,
    ) -> Result<(), Errno> {
        match answer {
            Ok(()) => self.note(format_args!("ring {ring} registers {what}")),
            Err(errno) => self.note(format_args!("ring {ring} registers {what}: {errno}")),
        }
        answer
    }

    /// An operation that names a slot comes to the memory in it: as it is taken, or as it begins if others of its chain come
    /// first. From then on it does not need the slot.
    pub(super) fn find_memory(&mut self, id: u64) {
        let Some(Flight { ring, fixed: Fixed::Slot(slot), lent, .. }) = self.flights.get(&id)
        else {
            return;
        };
        let (ring, slot, memory) = (*ring, *slot, lent.range());
        let found = self.memory_in(id, ring, slot, &memory);
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.fixed = found;
        }
    }

    /// Looks for the memory of an operation in the slot that it names.
    fn memory_in(&mut self, id: u64, ring: usize, slot: u16, memory: &Range<usize>) -> Fixed {
        let slots = self.slots_of(ring).and_then(|slots| slots.as_ref());
        let there = slots.and_then(|slots| slots.places.get(usize::from(slot))?.clone());
        let wrong = match there {
            Some(there) if there.start <= memory.start && memory.end <= there.end => None,
            Some(_) => Some("where its memory is not"),
            None => Some("which is empty"),
        };
        match wrong {
            None => {
                self.note(format_args!("#{id} names slot {slot}"));
                Fixed::Found
            }
            Some(wrong) => {
                self.find(format!("#{id} names slot {slot} of ring {ring}, {wrong}"));
                Fixed::Wrong
            }
        }
    }
}

impl Slots {
    /// Whether another slot has some of this memory.
    fn overlaps(&self, slot: u16, new: &Range<usize>) -> bool {
        self.places.iter().enumerate().any(|(place, there)| {
            let other = place != usize::from(slot);
            other && there.as_ref().is_some_and(|it| it.start < new.end && new.start < it.end)
        })
    }
}
