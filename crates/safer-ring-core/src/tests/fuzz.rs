//! Scripts of events, with inputs that `cargo xtask fuzz` has found: see safer-ring-fuzz.

use safer_ring_fuzz::{Bytes, drive};

use super::random::EVERYTHING;
use super::script::Alphabet;
use super::world::World;
use crate::Limits;

/// Each byte chooses among the events that are possible then; the first ones how much room there is.
#[test]
fn table() {
    drive("table", |input| {
        let mut bytes = Bytes::new(input);
        // Of one member there is no chain.
        let chain = *bytes.one(&[0, 2, 3]).unwrap();
        let limits = Limits {
            max_slots: u32::from(bytes.byte() % 12) + 1,
            max_in_flight: u32::from(bytes.byte() % 8) + 1,
            max_chain: u32::from(bytes.byte() % 4) + 3,
        };
        let cancel_all = bytes.flip();
        let alphabet = Alphabet { limits, chain, cancel_all, ..EVERYTHING };
        let mut world = World::new(alphabet.limits);
        let mut script = std::vec::Vec::new();
        while !bytes.is_empty() {
            let events = alphabet.events(&world);
            let Some(event) = bytes.one(&events) else { break };
            script.push(*event);
            let verdict = world.apply(*event).and_then(|()| world.check_state());
            assert!(verdict.is_ok(), "{script:?}: {verdict:?}");
        }
        let verdict = world.check();
        assert!(verdict.is_ok(), "{script:?}: {verdict:?}");
    });
}
