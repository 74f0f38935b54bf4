//! Since which kernel there is what, as one table.
//!
//! The versions stand where the constants do ([`opcode`], [`crate::uapi::flags`], [`register_op`]): those of mainline.
//! A test compares them with what the running kernel says of itself (`tests/kernels.rs`), and `docs/KERNELS.md` is
//! made from them. A distribution can carry newer code under an older number, so programs ask the kernel
//! ([`crate::probe`]) and not this table.

use crate::uapi::flags::{enter, feat, setup, sqe_flags};
use crate::uapi::opcode;
use crate::uapi::register::register_op;

/// What an [`Entry`] is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request (`IORING_OP_*`).
    Opcode,
    /// A flag of io_uring_setup(2) (`IORING_SETUP_*`).
    SetupFlag,
    /// A feature that io_uring_setup(2) reports (`IORING_FEAT_*`).
    Feature,
    /// A flag of io_uring_enter(2) (`IORING_ENTER_*`).
    EnterFlag,
    /// A flag of a submission entry (`IOSQE_*`).
    EntryFlag,
    /// An operation of io_uring_register(2) (`IORING_REGISTER_*`, `IORING_UNREGISTER_*`).
    RegisterOp,
}

/// One line of the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// The kernel's name for it, without the prefix of its kind.
    pub name: &'static str,
    /// Its number; of a flag, its value.
    pub value: u32,
    /// First kernel that has it: major, minor.
    pub since: (u8, u8),
}

/// Every entry, kind by kind, in the order of their values.
pub fn entries() -> impl Iterator<Item = Entry> {
    let opcodes = (0..).zip(opcode::NAMES).zip(opcode::SINCE).map(|((value, name), since)| Entry {
        kind: Kind::Opcode,
        name,
        value,
        since,
    });
    let entry_flags = sqe_flags::NAMES.iter().map(|&(value, name)| (u32::from(value), name));
    opcodes
        .chain(table(Kind::SetupFlag, setup::NAMES, setup::SINCE))
        .chain(table(Kind::Feature, feat::NAMES, feat::SINCE))
        .chain(table(Kind::EnterFlag, enter::NAMES, enter::SINCE))
        .chain(joined(Kind::EntryFlag, entry_flags, sqe_flags::SINCE))
        .chain(table(Kind::RegisterOp, register_op::NAMES, register_op::SINCE))
}

fn table(
    kind: Kind,
    names: &'static [(u32, &'static str)],
    since: &'static [(u8, u8)],
) -> impl Iterator<Item = Entry> {
    joined(kind, names.iter().copied(), since)
}

fn joined(
    kind: Kind,
    names: impl Iterator<Item = (u32, &'static str)>,
    since: &'static [(u8, u8)],
) -> impl Iterator<Item = Entry> {
    names.zip(since).map(move |((value, name), &since)| Entry { kind, name, value, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_is_in_the_table_with_its_version() {
        let count = |kind| entries().filter(|entry| entry.kind == kind).count();
        assert_eq!(count(Kind::Opcode), opcode::COUNT);
        assert_eq!(count(Kind::SetupFlag), setup::NAMES.len());
        assert_eq!(count(Kind::Feature), feat::NAMES.len());
        assert_eq!(count(Kind::EnterFlag), enter::NAMES.len());
        assert_eq!(count(Kind::EntryFlag), sqe_flags::NAMES.len());
        assert_eq!(count(Kind::RegisterOp), register_op::NAMES.len());
        let named = |name| entries().find(|entry: &Entry| entry.name == name).unwrap();
        let taskrun = named("DEFER_TASKRUN");
        assert_eq!((taskrun.value, taskrun.since), (1 << 13, (6, 1)));
        let skip = named("CQE_SKIP_SUCCESS");
        assert_eq!((skip.kind, skip.value, skip.since), (Kind::EntryFlag, 64, (5, 17)));
        assert_eq!(named("ZCRX_IFQ").since, (6, 15));
    }
}
