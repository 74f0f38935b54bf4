//! Every constant of the table, and the relations between them.

/// Bounds of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Slots: operations that are queued, in flight, armed or waiting to be taken. The table
    /// grows up to this number and [`insert`](crate::Table::insert) refuses beyond it.
    pub max_slots: u32,
    /// Completions that may be outstanding. Operations that wait for a peer count as well, for as
    /// long as they wait: with more idle connections than this, all other operations stay in the
    /// queue, those included that the idle ones wait for.
    ///
    /// At the size of the completion queue, the queue cannot overflow. A larger number needs a
    /// kernel that keeps what does not fit (`IORING_FEAT_NODROP`, Linux 5.5) and a driver that
    /// fetches it; then this only bounds what the kernel may be asked to keep. The driver of this
    /// workspace does so and sets 2^22, far above any completion queue.
    pub max_in_flight: u32,
    /// Members of the longest chain; at most the size of the submission queue.
    pub max_chain: u32,
}

impl Limits {
    /// Limits under which a ring whose submission and completion queues have these sizes, in
    /// entries, never overflows.
    #[must_use]
    pub const fn for_ring(sq_entries: u32, cq_entries: u32) -> Limits {
        Limits { max_slots: MAX_SLOTS, max_in_flight: cq_entries, max_chain: sq_entries }
            .normalised()
    }

    /// Each limit raised to the least that works (one slot, one member, [`MIN_IN_FLIGHT`]), and a
    /// chain no longer than what may be in flight.
    #[must_use]
    pub const fn normalised(self) -> Limits {
        let max_in_flight = at_least(self.max_in_flight, MIN_IN_FLIGHT);
        let max_chain = at_most(at_least(self.max_chain, 1), operations_of(max_in_flight));
        Limits {
            max_slots: at_most(at_least(self.max_slots, 1), MAX_SLOTS),
            max_in_flight,
            max_chain: at_most(max_chain, MAX_CHAIN),
        }
    }

    /// How many of `max_in_flight` operations may use; the rest is for requests to cancel.
    #[must_use]
    pub const fn operations(self) -> u32 {
        operations_of(self.max_in_flight)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::for_ring(256, 512)
    }
}

/// Slots of the largest table: one value of the index is the end mark of the lists.
pub const MAX_SLOTS: u32 = u32::MAX - 1;

/// The smallest value of [`Limits::max_in_flight`]; less is raised to it, since an operation and
/// the request to cancel it must both fit.
pub const MIN_IN_FLIGHT: u32 = 2;

/// One part in this many of the completions in flight is kept for requests to cancel, and never
/// less than one: a request is answered promptly, so one at a time is enough to make progress.
pub const CANCEL_SHARE: u32 = 16;

/// Members of the longest chain that a member can count.
pub const MAX_CHAIN: u32 = 1 << 15;

/// How often a chain begins again with the same member, which was interrupted each time, until the interruption is told.
pub(crate) const CHAIN_TRIES: u16 = 1024;

const fn operations_of(max_in_flight: u32) -> u32 {
    max_in_flight - at_least(max_in_flight / CANCEL_SHARE, 1)
}

const fn at_least(value: u32, floor: u32) -> u32 {
    if value < floor { floor } else { value }
}

const fn at_most(value: u32, ceiling: u32) -> u32 {
    if value > ceiling { ceiling } else { value }
}

const _: () = {
    assert!(operations_of(MIN_IN_FLIGHT) >= 1, "one operation can always be in flight");
    assert!(operations_of(MIN_IN_FLIGHT) < MIN_IN_FLIGHT, "one cancel can always be in flight");
    assert!(operations_of(u32::MAX) < u32::MAX, "also in the largest ring");
    assert!(CANCEL_SHARE > 1, "operations keep the larger part");
    assert!(MAX_SLOTS < u32::MAX, "the end mark of the lists is no slot");
    assert!(MAX_CHAIN <= 1 << 15, "a member counts those after it in 16 bits");
};
