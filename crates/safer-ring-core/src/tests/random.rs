//! Long random scripts: what short ones cannot reach.

use proptest::prelude::*;

use super::model::Kind;
use super::script::Alphabet;
use super::world::{Res, World};
use crate::{Key, Limits, Tag, decode};

pub(super) const EVERYTHING: Alphabet = Alphabet {
    name: "everything",
    limits: Limits { max_slots: 12, max_in_flight: 8, max_chain: 4 },
    kinds: &[Kind::Recv, Kind::Peek, Kind::Send, Kind::Fsync, Kind::Close, Kind::Raw],
    at_once: true,
    chain: 3,
    links: &[Kind::Recv, Kind::Send, Kind::Fsync, Kind::Close, Kind::Raw],
    deadlines: &[10, 10, 20, 30, 40],
    ops: 60,
    rooms: &[1, 2, 8, 8],
    results: &[
        Res::Success,
        Res::Success,
        Res::Short,
        Res::Interrupted,
        Res::NotReady,
        Res::More,
        Res::Notification,
        Res::Cancelled,
        Res::Failed,
    ],
    wakers: 2,
    cancel: true,
    cancel_all: false,
    group: true,
    internal: 2,
    length: 0,
};

/// Plays a script in which each number chooses among the events that are possible then.
fn play(alphabet: &Alphabet, choices: &[u16]) -> Result<(), TestCaseError> {
    let mut world = World::new(alphabet.limits);
    let mut script = std::vec::Vec::new();
    for choice in choices {
        let events = alphabet.events(&world);
        let event = events[usize::from(*choice) % events.len()];
        script.push(event);
        let verdict = world.apply(event).and_then(|()| world.check_state());
        prop_assert!(verdict.is_ok(), "{script:?}: {verdict:?}");
    }
    let verdict = world.check();
    prop_assert!(verdict.is_ok(), "{script:?}: {verdict:?}");
    Ok(())
}

/// 128 scripts each; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 128;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn long_scripts(choices in proptest::collection::vec(any::<u16>(), 1..200)) {
        play(&EVERYTHING, &choices)?;
    }

    #[test]
    fn long_scripts_in_little_room(choices in proptest::collection::vec(any::<u16>(), 1..120)) {
        let limits = Limits { max_slots: 6, max_in_flight: 2, max_chain: 2 };
        play(&Alphabet { limits, chain: 2, cancel_all: true, ..EVERYTHING }, &choices)?;
    }

    #[test]
    fn a_key_survives_the_kernel(index: u32, generation: u32) {
        let key = Key::new(index, generation);
        prop_assert_eq!(key.index(), index);
        prop_assert_eq!(key.generation(), generation & 0x0fff_ffff);
        for tag in [Tag::Operation, Tag::Cancel, Tag::Timer, Tag::Wake] {
            prop_assert_ne!(key.user_data(tag), 0);
            prop_assert_eq!(decode(key.user_data(tag)), Some((tag, key)));
        }
    }

    #[test]
    fn a_word_is_a_key_or_nothing(word: u64) {
        match decode(word) {
            Some((tag, key)) => prop_assert_eq!(key.user_data(tag), word),
            None => prop_assert!(!(1..=4).contains(&(word & 15))),
        }
    }

    #[test]
    fn timers_end_in_order(deadlines in proptest::collection::vec((0u64..50, any::<bool>()), 0..60)) {
        let mut table = crate::Table::new(Limits::default());
        let mut kept = std::vec::Vec::new();
        let mut dropped = std::vec::Vec::new();
        for (number, (deadline, keep)) in deadlines.iter().enumerate() {
            let key = table.insert_deadline(crate::Op::Timeout, number, *deadline).unwrap();
            if *keep { kept.push((*deadline, number, key)) } else { dropped.push(key) }
        }
        for key in dropped {
            prop_assert!(matches!(table.orphan(key), crate::Orphaned::NotSubmitted(_)));
        }
        kept.sort_unstable_by_key(|(deadline, number, _)| (*deadline, *number));
        for (deadline, number, key) in kept {
            prop_assert_eq!(table.next_deadline(), Some(deadline));
            prop_assert!(deadline == 0 || table.expire(deadline - 1).is_none());
            prop_assert!(matches!(table.expire(deadline), Some(crate::Outcome::Wake(None))));
            let (_, taken, completion) = table.take(key).unwrap();
            prop_assert_eq!((taken, completion.res), (number, -62));
        }
        prop_assert!(table.is_empty() && table.next_deadline().is_none());
    }
}
