//! In the table, the queues, the pool and the leases.

use super::super::Mutant;
use super::super::Suite::{Lib, Model, Test};
use super::{BACKEND, BUF, CORE, FACE, SYS, mutant};

pub(super) const ALL: &[Mutant] = &[
    // The table.
    mutant(
        "free-on-cancel",
        "A request to cancel ends nothing; only the final completion does.",
        "crates/safer-ring-core/src/settle.rs",
        (
            "            State::InFlight | State::Polling => self.request_cancel(index),\n",
            "            State::InFlight | State::Polling => {
                self.request_cancel(index);
                let outcome = self.settle(index, CANCELLED);
                self.announce(outcome);
            }\n",
        ),
        (CORE, Lib, "every_script_of_one_operation"),
    ),
    mutant(
        "orphan-freed-in-flight",
        "What has lost its owner stays in its slot while the kernel has it.",
        "crates/safer-ring-core/src/settle.rs",
        (
            "            State::InFlight | State::Polling => true,\n",
            "            State::InFlight | State::Polling => finishes,\n",
        ),
        (CORE, Lib, "every_script_of_one_operation"),
    ),
    mutant(
        "generation-ignored",
        "A completion of an earlier use of a slot is ignored.",
        "crates/safer-ring-core/src/complete.rs",
        (
            "        let known = slot.stamp == key.stamp() || planted!(GenerationIgnored);\n",
            "        let known = true;\n",
        ),
        (CORE, Lib, "every_script_that_uses_a_slot_again"),
    ),
    mutant(
        "generation-kept",
        "Each use of a slot has a name of its own.",
        "crates/safer-ring-core/src/slot.rs",
        (
            "            self.stamp = self.stamp.wrapping_add(NEXT_GENERATION);\n",
            "            self.stamp = self.stamp.wrapping_add(NEXT_GENERATION - NEXT_GENERATION);\n",
        ),
        (CORE, Lib, "every_script_that_uses_a_slot_again"),
    ),
    mutant(
        "generation-saturates",
        "Generations wrap around, and the tag stays what it is.",
        "crates/safer-ring-core/src/slot.rs",
        ("self.stamp.wrapping_add(NEXT_GENERATION)", "self.stamp.saturating_add(NEXT_GENERATION)"),
        (CORE, Lib, "the_generation_wraps_without_touching_the_tag"),
    ),
    mutant(
        "cancel-dropped-when-full",
        "A request to cancel is not lost for lack of room.",
        "crates/safer-ring-core/src/settle.rs",
        (
            "let lost = planted!(CancelLost) && self.in_flight >= self.operation_limit;",
            "let lost = self.in_flight >= self.operation_limit;",
        ),
        (CORE, Lib, "every_script_in_a_full_ring"),
    ),
    mutant(
        "cancel-waits-for-room",
        "Requests to cancel have room of their own.",
        "crates/safer-ring-core/src/table.rs",
        (
            "let one = self.cancels_in_flight == 0 && !planted!(CancelWaitsForRoom);",
            "let one = false;",
        ),
        (CORE, Lib, "every_script_in_a_full_ring"),
    ),
    mutant(
        "cancel-inside-chain",
        "Nothing is staged between the members of a chain.",
        "crates/safer-ring-core/src/table.rs",
        (
            "let chained = self.chain_left > 0 && !planted!(CancelInsideChain);",
            "let chained = false;",
        ),
        (CORE, Lib, "every_script_of_a_chain"),
    ),
    mutant(
        "chain-ended-by-interruption",
        "An interrupted member and those behind it are tried again.",
        "crates/safer-ring-core/src/chain.rs",
        (
            "            _ => slot.op().restarts() && link.tries < CHAIN_TRIES,\n",
            "            _ => false,\n",
        ),
        (FACE, Test("sim_chains"), "a_log_of_chains_sees_no_interruption_and_loses_no_record"),
    ),
    mutant(
        "chain-again-unlinked",
        "The members of a chain that begins again run in order.",
        "crates/safer-ring-core/src/chain.rs",
        (
            "slot.following = if planted!(ChainUnlinked) { 0 } else { members };",
            "slot.following = 0;",
        ),
        (FACE, Test("sim_chains"), "an_interrupted_chain_of_three_keeps_its_order"),
    ),
    mutant(
        "chain-not-split",
        "The error of each operation ends its chain.",
        "crates/safer-ring-core/src/chain.rs",
        ("            if last && !planted!(ChainNotSplit) {\n", "            if last && false {\n"),
        (FACE, Test("special"), "an_error_of_any_operation_ends_its_chain"),
    ),
    mutant(
        "chain-short-goes-on",
        "Nothing runs behind a member of a chain that is short.",
        "crates/safer-ring-core/src/chain.rs",
        (
            "let enough = |moved| link.wanted.is_none_or(|wanted| moved >= wanted);",
            "let enough = |_: u32| true;",
        ),
        (CORE, Lib, "every_script_of_a_pair_that_begins_again"),
    ),
    mutant(
        "chain-split",
        "A chain goes to the kernel whole or not yet.",
        "crates/safer-ring-core/src/table.rs",
        ("let fits = entries <= room || planted!(ChainSplit);", "let fits = room > 0;"),
        (BACKEND, Lib, "members_of_a_chain_go_out_together_or_not_yet"),
    ),
    mutant(
        "cancel-outlives-slot",
        "A slot is used again only when its request to cancel has been answered.",
        "crates/safer-ring-core/src/slot.rs",
        ("if self.has(CANCEL_IN_FLIGHT) && !planted!(CancelOutlivesSlot) {", "if false {"),
        (CORE, Lib, "every_script_that_uses_a_slot_again"),
    ),
    mutant(
        "drop-frees",
        "A table that is dropped leaks what the kernel may still use.",
        "crates/safer-ring-core/src/slot.rs",
        ("if self.in_kernel() && !planted!(DropFrees) {", "if false {"),
        (BACKEND, Lib, "a_kernel_that_never_answers_keeps_the_memory_and_the_descriptors"),
    ),
    mutant(
        "interruption-delivered",
        "An interrupted operation is tried again.",
        "crates/safer-ring-core/src/complete.rs",
        ("        EINTR => slot.op().restarts() ||", "        EINTR => "),
        (BACKEND, Lib, "an_interrupted_operation_is_tried_again"),
    ),
    mutant(
        "given-up-delivered",
        "A cancellation that nobody asked for is not a result.",
        "crates/safer-ring-core/src/complete.rs",
        (
            "        ECANCELED => slot.op().restarts() && !cancel,\n",
            "        ECANCELED => slot.op().restarts() && cancel,\n",
        ),
        (CORE, Lib, "a_cancellation_nobody_asked_for_is_not_a_result"),
    ),
    mutant(
        "final-on-more",
        "A completion with more to come ends nothing.",
        "crates/safer-ring-core/src/complete.rs",
        ("if flags & F_MORE != 0 && !planted!(FinalOnMore) {", "if false {"),
        (CORE, Lib, "every_script_of_one_operation"),
    ),
    mutant(
        "notification-taken-for-result",
        "The notification of a send is not its result.",
        "crates/safer-ring-core/src/complete.rs",
        (
            "let res = if noted { slot.completion().res } else { res };",
            "let res = if noted { res } else { res };",
        ),
        (CORE, Lib, "a_notification_does_not_replace_the_result"),
    ),
    mutant(
        "first-waker-kept",
        "The waker of the last poll is the one that is woken.",
        "crates/safer-ring-core/src/table.rs",
        ("is_some_and(|old| old.will_wake(waker) || planted!(FirstWakerKept))", "is_some()"),
        (CORE, Lib, "every_script_of_one_operation"),
    ),
    // The queues.
    mutant(
        "head-not-published",
        "The head of the completion queue is published before a completion is given out.",
        "crates/safer-ring-sys/src/queue.rs",
        (
            "        self.head = self.head.wrapping_add(entries);
        // Release: the entries are read before the kernel may overwrite them.
        self.shared(self.parts.head).store(self.head, Ordering::Release);\n",
            "        self.shared(self.parts.head).store(self.head, Ordering::Release);
        self.head = self.head.wrapping_add(entries);\n",
        ),
        (SYS, Test("queues"), "a_completion_that_was_given_out_has_left_its_place"),
    ),
    mutant(
        "tail-not-published",
        "The kernel sees an entry when it is published.",
        "crates/safer-ring-sys/src/queue.rs",
        (
            "            self.shared(self.parts.tail).store(self.tail, Ordering::Release);\n",
            "            self.shared(self.parts.tail).load(Ordering::Acquire);\n",
        ),
        (SYS, Test("queues"), "full_empty_and_unpublished"),
    ),
    mutant(
        "indices-compared",
        "Indices wrap around: only their difference means anything.",
        "crates/safer-ring-sys/src/queue.rs",
        (
            "        self.parts.count.saturating_sub(self.pending())\n",
            "        self.parts.count.saturating_sub(
            self.tail.saturating_sub(self.shared(self.parts.head).load(Ordering::Acquire)),
        )\n",
        ),
        (SYS, Test("queues"), "submissions_cross_the_wrap_in_order"),
    ),
    mutant(
        "fillers-given-out",
        "Entries that only fill a gap are no completions.",
        "crates/safer-ring-sys/src/queue.rs",
        (
            "            filled += usize::from(place.flags & cqe_flags::SKIP == 0);\n",
            "            filled += 1;\n",
        ),
        (SYS, Test("queues"), "fillers_are_left_out"),
    ),
    mutant(
        "seen-entry-taken-back",
        "What the kernel has seen is not taken back.",
        "crates/safer-ring-sys/src/queue.rs",
        (
            "if self.parts.layout != Layout::Small || self.pending() == 0 {",
            "if self.parts.layout != Layout::Small || self.room() == self.parts.count + 1 {",
        ),
        (SYS, Test("queues"), "what_the_kernel_has_taken_is_not_taken_back"),
    ),
    // Locks.
    mutant(
        "lost-lock-taken-for-free",
        "A forked child does not use what a thread that it has not was changing.",
        "crates/safer-ring-buf/src/fork_mutex.rs",
        (
            "if lost { Taken::FromTheLost } else { Taken::Free };\n",
            "if lost { Taken::Free } else { Taken::Free };\n",
        ),
        (BUF, Lib, "a_child_takes_a_lock_that_another_thread_of_its_parent_held"),
    ),
    // The pool and the leases.
    mutant(
        "pool-wake-lost",
        "A buffer that comes back wakes who waits for it.",
        "crates/safer-ring-buf/src/pool.rs",
        (
            "        if let Some(waker) = waker {\n            quietly(|| waker.wake());\n        }\n",
            "        drop(waker);\n",
        ),
        (BUF, Model, "a_buffer_that_comes_back_reaches_each_who_waits"),
    ),
    mutant(
        "pool-queue-entered-late",
        "A waiter looks again when it enters the queue.",
        "crates/safer-ring-buf/src/pool.rs",
        (
            "        match state.claim(self.pool.shared.count) {\n",
            "        match None::<Claim> {\n",
        ),
        (BUF, Model, "a_buffer_that_comes_back_reaches_each_who_waits"),
    ),
    mutant(
        "pool-leaver-keeps",
        "A waiter that leaves passes on what it was given.",
        "crates/safer-ring-buf/src/pool.rs",
        (
            "let next = served.and_then(|raw| state.give(raw));",
            "let next = served.and_then(|_raw| None::<Waker>);",
        ),
        (BUF, Model, "a_waiter_that_leaves_passes_on_what_it_was_given"),
    ),
    mutant(
        "slice-end-ignored",
        "A slice lends its range and nothing behind it.",
        "crates/safer-ring-buf/src/lease.rs",
        (
            "self.capacity = self.capacity.min(end).saturating_sub(begin);",
            "self.capacity = self.capacity.saturating_sub(begin);",
        ),
        (BUF, Test("slices"), "slices_match_the_model"),
    ),
];
