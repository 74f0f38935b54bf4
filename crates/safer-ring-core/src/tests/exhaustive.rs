//! Every short script of events, in families that each fit into a few seconds.

use super::model::Kind;
use super::script::{Alphabet, walk};
use super::world::Res;
use crate::Limits;

const WIDE: Limits = Limits { max_slots: 3, max_in_flight: 16, max_chain: 3 };
/// Room for one operation and one request to cancel.
const NARROW: Limits = Limits { max_slots: 3, max_in_flight: 2, max_chain: 2 };

const NOTHING: Alphabet = Alphabet {
    name: "",
    limits: WIDE,
    kinds: &[],
    at_once: false,
    chain: 0,
    links: &[Kind::Recv],
    deadlines: &[],
    ops: 2,
    rooms: &[8],
    results: &[Res::Success],
    wakers: 0,
    cancel: true,
    cancel_all: false,
    group: false,
    internal: 0,
    length: 7,
};

/// One operation of each kind, with every way to come back.
pub(crate) const LIFE: Alphabet = Alphabet {
    name: "life",
    kinds: &[Kind::Recv, Kind::Peek, Kind::Send, Kind::Fsync, Kind::Close, Kind::Raw],
    results: &[
        Res::Success,
        Res::Interrupted,
        Res::NotReady,
        Res::More,
        Res::Notification,
        Res::Cancelled,
        Res::Failed,
        Res::Expired,
    ],
    ops: 1,
    wakers: 2,
    cancel_all: true,
    length: 10,
    ..NOTHING
};

/// A slot that is used again, with late and doubled completions of its earlier use.
pub(crate) const REUSE: Alphabet = Alphabet {
    name: "reuse",
    limits: Limits { max_slots: 1, ..WIDE },
    kinds: &[Kind::Peek, Kind::Send, Kind::Raw],
    results: &[Res::Success, Res::Interrupted],
    ops: 3,
    length: 12,
    ..NOTHING
};

/// Two operations that get in each other's way.
pub(crate) const PAIR: Alphabet = Alphabet {
    name: "pair",
    kinds: &[Kind::Peek, Kind::Send],
    results: &[Res::Success, Res::Interrupted, Res::NotReady],
    wakers: 1,
    length: 8,
    ..NOTHING
};

/// A ring that is full nearly always.
pub(crate) const FULL: Alphabet = Alphabet {
    name: "full",
    limits: NARROW,
    kinds: &[Kind::Peek, Kind::Send, Kind::Raw],
    results: &[Res::Success, Res::NotReady],
    ops: 3,
    internal: 2,
    cancel_all: true,
    length: 7,
    ..NOTHING
};

/// A chain of two, an operation beside it, and little room.
pub(crate) const CHAIN: Alphabet = Alphabet {
    name: "chain",
    kinds: &[Kind::Send],
    chain: 2,
    ops: 3,
    rooms: &[1, 8],
    results: &[Res::Success, Res::Interrupted],
    length: 8,
    ..NOTHING
};

/// A chain of three.
const LONG_CHAIN: Alphabet = Alphabet {
    name: "long chain",
    limits: Limits { max_slots: 4, ..WIDE },
    kinds: &[Kind::Raw],
    chain: 3,
    ops: 4,
    results: &[Res::Success],
    wakers: 1,
    length: 7,
    ..NOTHING
};

/// A chain of three whose members come back in every way and in every order.
pub(crate) const CHAIN_AGAIN: Alphabet = Alphabet {
    name: "chain again",
    chain: 3,
    links: &[Kind::Recv, Kind::Fsync],
    ops: 3,
    results: &[Res::Success, Res::Interrupted, Res::Cancelled, Res::Failed],
    length: 9,
    ..NOTHING
};

/// A chain of two of all kinds, which may have to wait for their descriptors.
pub(crate) const PAIR_AGAIN: Alphabet = Alphabet {
    name: "pair again",
    chain: 2,
    links: &[Kind::Recv, Kind::Send, Kind::Close, Kind::Raw],
    ops: 2,
    results: &[
        Res::Success,
        Res::Short,
        Res::Interrupted,
        Res::NotReady,
        Res::Cancelled,
        Res::Failed,
    ],
    length: 9,
    ..NOTHING
};

/// Operations that go to the kernel at once, if nothing keeps them from it: a chain, a request to
/// cancel, something that was put back, a full ring.
pub(crate) const AT_ONCE: Alphabet = Alphabet {
    name: "at once",
    limits: Limits { max_slots: 3, max_in_flight: 3, max_chain: 2 },
    kinds: &[Kind::Peek, Kind::Send],
    at_once: true,
    chain: 2,
    ops: 3,
    results: &[Res::Success, Res::Interrupted],
    length: 6,
    ..NOTHING
};

pub(crate) const TIMERS: Alphabet = Alphabet {
    name: "timers",
    kinds: &[Kind::Peek],
    deadlines: &[10, 20],
    ops: 3,
    wakers: 1,
    cancel_all: true,
    length: 6,
    ..NOTHING
};

pub(crate) const GROUPS: Alphabet =
    Alphabet { name: "groups", kinds: &[Kind::Peek], wakers: 1, group: true, length: 8, ..NOTHING };

pub(crate) const FAMILIES: &[Alphabet] =
    &[LIFE, REUSE, PAIR, FULL, CHAIN, LONG_CHAIN, CHAIN_AGAIN, PAIR_AGAIN, AT_ONCE, TIMERS, GROUPS];

/// Fails with the script on which table and model part. The least number of states keeps the
/// family from shrinking unnoticed.
fn covers(alphabet: &Alphabet, states: usize) {
    let coverage = walk(alphabet).unwrap();
    std::println!("{}: {coverage:?}", alphabet.name);
    assert!(coverage.states >= states, "{}: only {coverage:?}", alphabet.name);
}

#[test]
fn every_script_of_one_operation() {
    covers(&LIFE, 6_000);
}

#[test]
fn every_script_that_uses_a_slot_again() {
    covers(&REUSE, 7_000);
}

#[test]
fn every_script_of_two_operations() {
    covers(&PAIR, 6_000);
}

#[test]
fn every_script_in_a_full_ring() {
    covers(&FULL, 40_000);
}

#[test]
fn every_script_of_a_chain() {
    covers(&CHAIN, 8_000);
}

#[test]
fn every_script_of_a_long_chain() {
    covers(&LONG_CHAIN, 15_000);
}

#[test]
fn every_script_of_a_chain_that_begins_again() {
    covers(&CHAIN_AGAIN, 15_000);
}

#[test]
fn every_script_of_a_pair_that_begins_again() {
    covers(&PAIR_AGAIN, 10_000);
}

#[test]
fn every_script_that_goes_at_once() {
    covers(&AT_ONCE, 12_000);
}

#[test]
fn every_script_of_timers() {
    covers(&TIMERS, 8_000);
}

#[test]
fn every_script_of_a_group() {
    covers(&GROUPS, 4_000);
}
