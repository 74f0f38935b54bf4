//! The table of what is in flight.

use safer_ring_buf::IoBuf;
use safer_ring_sys::Iocb;

use super::lent::{Lent, Way};

/// A command in flight.
pub(super) struct Work<B: IoBuf> {
    pub(super) lent: Lent<B>,
    pub(super) way: Way<B>,
    pub(super) opcode: u16,
    /// What a poll has asked for.
    pub(super) events: u16,
    pub(super) data: u64,
}

struct Slot<B: IoBuf> {
    /// Counts the commands that have used this slot.
    generation: u32,
    work: Option<Work<B>>,
}

/// As many slots as a context has room for, each with an [`Iocb`] at an address of its own, by which it is cancelled.
pub(super) struct Slots<B: IoBuf> {
    iocbs: Box<[Iocb]>,
    slots: Vec<Slot<B>>,
    free: Vec<u32>,
}

impl<B: IoBuf> Slots<B> {
    pub(super) fn new(capacity: u32) -> Slots<B> {
        let iocbs = (0..capacity).map(|_| Iocb::default()).collect();
        let slots = (0..capacity).map(|_| Slot { generation: 0, work: None }).collect();
        Slots { iocbs, slots, free: (0..capacity).rev().collect() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts work into a slot, and its structure beside it, with the slot's key as `aio_data`. `None` without room, which
    /// is to be asked for before.
    pub(super) fn insert(&mut self, work: Work<B>, iocb: Iocb) -> Option<u64> {
        let index = self.free.pop()?;
        let place = self.iocbs.get_mut(at(index))?;
        let slot = self.slots.get_mut(at(index))?;
        let key = key(slot.generation, index);
        *place = Iocb { aio_data: key, ..iocb };
        slot.work = Some(work);
        Some(key)
    }

    /// Takes the work out again, whose key is invalid from then on. `None` for a key that is not valid.
    pub(super) fn take(&mut self, key: u64) -> Option<Work<B>> {
        let index = self.valid(key)?;
        let slot = self.slots.get_mut(at(index))?;
        let work = slot.work.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(work)
    }

    /// What a key that is valid has asked the kernel for.
    pub(super) fn asked(&self, key: u64) -> Option<Iocb> {
        self.iocbs.get(at(self.valid(key)?)).copied()
    }

    /// The structures of keys that are valid, at their addresses.
    pub(super) fn iocbs(&mut self, keys: impl Iterator<Item = u64>) -> Vec<*mut Iocb> {
        let first = self.iocbs.as_mut_ptr();
        keys.filter_map(|key| self.valid(key)).map(|index| first.wrapping_add(at(index))).collect()
    }

    /// The keys of what is in flight with this opcode.
    pub(super) fn keys(&self, opcode: u16) -> Vec<u64> {
        let used = (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.work.as_ref().is_some_and(|work| work.opcode == opcode));
        used.map(|(index, slot)| key(slot.generation, index)).collect()
    }

    fn valid(&self, found: u64) -> Option<u32> {
        let index = u32::try_from(found & u64::from(u32::MAX)).ok()?;
        let slot = self.slots.get(at(index))?;
        (slot.work.is_some() && key(slot.generation, index) == found).then_some(index)
    }
}

fn key(generation: u32, index: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(index)
}

fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aio::Buffers;

    fn work(events: u16) -> Work<Vec<u8>> {
        let way = Way::READ;
        let lent = way.lend(Buffers::One(vec![7; 8])).map_err(|_| "one is not too many").unwrap();
        Work { lent, way, opcode: 0, events, data: 0 }
    }

    #[test]
    fn a_key_names_one_command_and_nothing_afterwards() {
        let mut slots = Slots::new(2);
        let first = slots.insert(work(1), Iocb::default()).unwrap();
        let second = slots.insert(work(2), Iocb::default()).unwrap();
        assert!(slots.insert(work(3), Iocb::default()).is_none());
        assert_eq!((slots.room(), slots.in_flight(), slots.keys(0).len()), (0, 2, 2));
        assert_eq!(slots.take(first).unwrap().events, 1);
        assert!(slots.take(first).is_none(), "a doubled event");
        let third = slots.insert(work(3), Iocb::default()).unwrap();
        assert_ne!(third, first);
        assert!(slots.take(first).is_none(), "a late event");
        assert!(slots.take(2).is_none() && slots.take(u64::MAX).is_none(), "no such slot");
        assert_eq!(slots.iocbs([first, second, third].into_iter()).len(), 2);
        assert_eq!(slots.take(second).unwrap().events, 2);
        assert_eq!(slots.take(third).unwrap().events, 3);
        assert_eq!((slots.room(), slots.in_flight()), (2, 0));
    }

    #[test]
    fn each_command_has_an_address_of_its_own_that_stays() {
        let mut slots = Slots::new(3);
        let keys: Vec<u64> =
            (0..3).map(|n| slots.insert(work(n), Iocb::default()).unwrap()).collect();
        let places = slots.iocbs(keys.iter().copied());
        assert!(places[0] != places[1] && places[1] != places[2] && places[0] != places[2]);
        slots.take(keys[0]).unwrap();
        let mut slots = Box::new(slots);
        assert_eq!(slots.iocbs(keys.iter().copied()), places[1..]);
        assert!(keys.iter().zip(&slots.iocbs).all(|(key, iocb)| iocb.aio_data == *key));
    }
}
