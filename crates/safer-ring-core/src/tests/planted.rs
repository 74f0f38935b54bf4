//! Would the exhaustive scripts notice? Each mistake is planted into the table and must be found.

use std::string::String;
use std::vec::Vec;

use super::exhaustive::{
    AT_ONCE, CHAIN, CHAIN_AGAIN, FULL, GROUPS, LIFE, PAIR, PAIR_AGAIN, REUSE, TIMERS,
};
use super::mistake::{ALL, Mistake, with};
use super::script::{Alphabet, walk};

/// The family of scripts that finds it.
fn family(mistake: Mistake) -> &'static Alphabet {
    match mistake {
        Mistake::GenerationIgnored
        | Mistake::GenerationKept
        | Mistake::CancelOutlivesSlot
        | Mistake::LeftInQueue => &REUSE,
        Mistake::StagedTwice | Mistake::DropFrees | Mistake::DuplicateAccepted => &PAIR,
        Mistake::CancelLost | Mistake::CancelNotCounted | Mistake::CancelWaitsForRoom => &FULL,
        Mistake::CancelInsideChain | Mistake::ChainSplit => &CHAIN,
        Mistake::ChainRequeued
        | Mistake::ChainUnlinked
        | Mistake::ChainNotSplit
        | Mistake::OvertakenGoesOn => &CHAIN_AGAIN,
        Mistake::ShortGoesOn => &PAIR_AGAIN,
        Mistake::TimerLeftArmed => &TIMERS,
        Mistake::GroupWakesEarly => &GROUPS,
        Mistake::AtOnceNotCounted | Mistake::AtOnceIntoFullRing | Mistake::AheadOfCancels => {
            &AT_ONCE
        }
        Mistake::FreedOnCancel
        | Mistake::FreedOnOrphan
        | Mistake::CancelLostOnRequeue
        | Mistake::FinalOnMore
        | Mistake::MoreCounted
        | Mistake::WakerDropped
        | Mistake::FirstWakerKept
        | Mistake::PollTakenForResult
        | Mistake::InterruptionDelivered
        | Mistake::NotificationTakenForResult
        | Mistake::TakenBackFromQueue
        | Mistake::KeptIsCancelled => &LIFE,
    }
}

#[test]
fn every_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for mistake in ALL {
        match with(Some(*mistake), || walk(family(*mistake))) {
            Ok(coverage) => missed.push((*mistake, coverage)),
            Err(script) => std::println!("{mistake:?}: {script}"),
        }
    }
    assert!(missed.is_empty(), "nothing found {missed:?}");
}

#[test]
fn a_mistake_stays_in_its_thread() {
    let outside = with(Some(Mistake::DropFrees), || {
        let other = std::thread::spawn(|| super::mistake::planted(Mistake::DropFrees));
        (super::mistake::planted(Mistake::DropFrees), other.join().unwrap())
    });
    assert_eq!(outside, (true, false));
    assert!(!super::mistake::planted(Mistake::DropFrees));
}

/// The states and their changes, observed and as kept in the repository.
#[test]
fn the_state_graph_is_the_one_on_file() {
    for family in super::exhaustive::FAMILIES {
        walk(&Alphabet { length: family.length.min(6), ..*family }).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transitions.dot");
    let observed: String = super::graph::dot();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(path, &observed).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert_eq!(observed, kept, "UPDATE_SNAPSHOTS=1 rewrites {path}");
}
