//! In what wakes threads, the driver and the adapters.

use super::super::Mutant;
use super::super::Suite::{Lib, Model, Test};
use super::{BACKEND, FACE, mutant};

pub(super) const ALL: &[Mutant] = &[
    // Wake-ups.
    mutant(
        "remote-wake-stored",
        "The owner sees what came before each of several wakes.",
        "crates/safer-ring-backend/src/wake.rs",
        (
            "            self.remote.swap(true, Ordering::AcqRel);\n",
            "            self.remote.store(true, Ordering::Release);\n",
        ),
        (BACKEND, Model, "a_sleeper_hears_of_both_that_wake_it"),
    ),
    mutant(
        "bell-hushed-by-a-store",
        "The owner sees what came before a ring that wrote nothing.",
        "crates/safer-ring-backend/src/wake.rs",
        (
            "        self.rung.swap(false, Ordering::AcqRel);\n",
            "        self.rung.store(false, Ordering::Release);\n",
        ),
        (BACKEND, Model, "a_sleeper_hears_of_both_that_wake_it"),
    ),
    mutant(
        "bell-hushed-too-early",
        "The count is taken before the bell may be rung again.",
        "crates/safer-ring-backend/src/wake.rs",
        (
            "        self.count.clear();\n        self.rung.swap(false, Ordering::AcqRel);\n",
            "        self.rung.swap(false, Ordering::AcqRel);\n        self.count.clear();\n",
        ),
        (BACKEND, Model, "a_bell_that_was_hushed_rings_again"),
    ),
    mutant(
        "sleeps-over-a-letter",
        "A thread sleeps only if no letter has come.",
        "crates/safer-ring-backend/src/letters.rs",
        (
            "            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
        to_sleep.is_ok()\n",
            "            self.state.swap(ASLEEP, Ordering::AcqRel);
        to_sleep != ASLEEP\n",
        ),
        (BACKEND, Model, "a_letter_is_collected_before_its_owner_sleeps_for_good"),
    ),
    mutant(
        "letter-announced-early",
        "A letter is in the box before the owner hears of it.",
        "crates/safer-ring-backend/src/letters.rs",
        (
            "        {
            let mut letters = self.lock();
            if letters.closed {
                return Err(letter);
            }
            letters.waiting.push_back(letter);
        }
        if self.state.swap(MAIL, Ordering::AcqRel) == ASLEEP {
            self.bell.ring();
        }
        Ok(())\n",
            "        if self.state.swap(MAIL, Ordering::AcqRel) == ASLEEP {
            self.bell.ring();
        }
        let mut letters = self.lock();
        if letters.closed {
            return Err(letter);
        }
        letters.waiting.push_back(letter);
        Ok(())\n",
        ),
        (BACKEND, Model, "a_letter_is_collected_before_its_owner_sleeps_for_good"),
    ),
    mutant(
        "letter-into-closed-box",
        "A letter that comes too late comes back.",
        "crates/safer-ring-backend/src/letters.rs",
        ("            if letters.closed {\n", "            if false {\n"),
        (BACKEND, Model, "a_letter_to_a_closing_box_comes_back_or_is_among_those_left"),
    ),
    mutant(
        "bell-in-two-pollers",
        "Changes of who hears a bell are made one at a time.",
        "crates/safer-ring-backend/src/listener.rs",
        (
            "        bell.reactor_hears(false);
        // Dropped behind the change.
        let before = change.give_to_runtime(Arc::clone(&ear));\n",
            "        drop(change);
        bell.reactor_hears(false);
        let before = self.change().give_to_runtime(Arc::clone(&ear));\n",
        ),
        (BACKEND, Model, "a_runtime_and_a_plain_thread_that_choose_at_once_leave_the_bell_in_one_poller"),
    ),
    mutant(
        "late-end-of-a-runtime",
        "A runtime that ends gives back a bell only if it still has it.",
        "crates/safer-ring-backend/src/listener.rs",
        (
            "        if change.is_heard_by(ear) {\n            change.hand_to_reactor",
            "        if !change.is_heard_by(ear) {\n            change.hand_to_reactor",
        ),
        (BACKEND, Model, "a_runtime_that_ends_while_another_takes_the_bell_leaves_it_in_one_poller"),
    ),
    mutant(
        "rests-after-the-look",
        "The reactor is at rest before it looks, so that what comes behind the look wakes it.",
        "crates/safer-ring-backend/src/reactor.rs",
        (
            "        if worst != Hearing::Idle {
            self.0.store(false, Ordering::SeqCst);
        }\n",
            "        self.0.store(worst == Hearing::Idle, Ordering::SeqCst);\n",
        ),
        (BACKEND, Model, "the_reactor_rests_only_while_nothing_is_in_flight"),
    ),
    mutant(
        "quiet-and-unheard",
        "The reactor hears a quiet ring that it does not look after any more.",
        "crates/safer-ring-backend/src/shared/bell.rs",
        ("                self.listener.rest(self);\n", ""),
        (FACE, Test("listener"), "a_quiet_ring_is_heard_by_the_reactor_until_something_waits_again"),
    ),
    mutant(
        "never-gives-way",
        "What ends at once gives way now and then.",
        "crates/safer-ring-backend/src/shared/budget.rs",
        (
            "    LEFT.set(if left == 0 { AT_ONCE } else { left - 1 });\n    left != 0\n",
            "    LEFT.set(if left == 0 { AT_ONCE } else { left - 1 });\n    true\n",
        ),
        (FACE, Test("fairness"), "operations_that_end_as_they_are_handed_over_give_way"),
    ),
    mutant(
        "panic-silences",
        "A waker that panics does not silence those after it.",
        "crates/safer-ring-backend/src/wake.rs",
        (
            "wakers.drain(..).for_each(|waker| quietly(|| waker.wake()));",
            "wakers.drain(..).for_each(Waker::wake);",
        ),
        (FACE, Test("drops"), "a_panicking_waker_does_not_silence_those_after_it"),
    ),
    mutant(
        "waker-fired-under-the-lock",
        "Wakers are fired outside of the lock.",
        "crates/safer-ring-backend/src/shared.rs",
        (
            "        conclude(dead, retired, wakers);
        let mut state = lock(&self.state);\n",
            "        let mut state = lock(&self.state);
        conclude(dead, retired, wakers);\n",
        ),
        (FACE, Test("teardown"), "a_waker_starts_operations_on_a_shared_ring"),
    ),
    mutant(
        "waker-fired-under-the-borrow",
        "Wakers are fired outside of the borrow.",
        "crates/safer-ring-backend/src/local.rs",
        (
            "        drop(driver);\n        let Aftermath {",
            "        let _driver = driver;\n        let Aftermath {",
        ),
        (FACE, Test("teardown"), "a_waker_starts_operations_on_a_local_ring"),
    ),
    // The driver.
    mutant(
        "interrupted-enter-is-fatal",
        "A system call that a signal interrupted is made again.",
        "crates/safer-ring-backend/src/driver/turn.rs",
        (
            "                Errno::INTR => {}\n",
            "                Errno::INTR => {
                    self.fail_pending(errno);
                    return Err(errno);
                }\n",
        ),
        (BACKEND, Lib, "an_interrupted_enter_is_made_again"),
    ),
    mutant(
        "busy-enter-is-fatal",
        "A kernel that is busy is asked again.",
        "crates/safer-ring-backend/src/driver/turn.rs",
        (
            "Errno::AGAIN | Errno::BUSY | Errno::NOMEM => {",
            "Errno::AGAIN | Errno::NOMEM => {",
        ),
        (BACKEND, Lib, "a_kernel_that_refuses_for_ever_loses_nothing_and_lets_the_caller_go"),
    ),
    mutant(
        "sleeps-over-the-bell",
        "A thread does not sleep when its bell has been rung on the way.",
        "crates/safer-ring-backend/src/driver/turn.rs",
        ("let idle = !self.rung && ", "let idle = "),
        (BACKEND, Lib, "a_bell_that_is_heard_while_something_is_handed_over_rings_again"),
    ),
    mutant(
        "overflow-ignored",
        "Completions that did not fit into the queue are fetched.",
        "crates/safer-ring-backend/src/uring/mod.rs",
        (" != 0 && self.fetch_overflowed()", " != 0 && self.ready()"),
        (BACKEND, Lib, "completions_that_the_kernel_holds_back_are_fetched_by_a_look"),
    ),
    mutant(
        "late-descriptor-leaked",
        "A descriptor that arrives for nobody is closed.",
        "crates/safer-ring-backend/src/driver/orphan.rs",
        ("drop(unsafe { adopt(number) });", "std::mem::forget(unsafe { adopt(number) });"),
        (FACE, Test("drops"), "a_late_open_is_closed_and_counted"),
    ),
    mutant(
        "adoption-skipped",
        "Bytes that arrive for a dropped receive reach the next one.",
        "crates/safer-ring-backend/src/driver/orphan.rs",
        (
            "let item = item.map(Item::new);",
            "let item = item.map(Item::new).filter(|_| false);",
        ),
        (FACE, Test("adoption"), "a_dropped_receive_before_while_and_after_data_arrives"),
    ),
    mutant(
        "adoption-reversed",
        "Bytes of dropped receives keep their order.",
        "crates/safer-ring-backend/src/stream.rs",
        (
            "            self.items.push_back(item);\n",
            "            self.items.push_front(item);\n",
        ),
        (BACKEND, Lib, "what_arrives_lies_behind_what_is_there"),
    ),
    mutant(
        "told-stream-deaf-to-its-handle",
        "A stream that a runtime tells of arrivals hears of what is put into its handle as well.",
        "crates/safer-ring-backend/src/stream.rs",
        (
            "        let Answer::Wait(old) = self.wait(waker, ticket) else { return (there, None) };
        (there, old)\n",
            "        let _ = (waker, ticket);
        (there, None)\n",
        ),
        (FACE, Test("told"), "a_stream_that_is_told_is_woken_for_what_is_given_back"),
    ),
    mutant(
        "read-in-part",
        "A plain read that finds a part in memory is left to the ring.",
        "crates/safer-ring-backend/src/plain.rs",
        (
            "                Ok(count) if count == transfer(lease.capacity()) => {\n",
            "                Ok(count) if count > 0 => {\n",
        ),
        (FACE, Test("plain_calls"), "a_read_that_is_not_all_in_memory_is_the_rings"),
    ),
    mutant(
        "begun-send-sent-again",
        "A ring goes on behind what a plain call has sent.",
        "crates/safer-ring-backend/src/plain.rs",
        (
            "        Ok(sent) if sent < len && flags & WAITALL != 0 => Plainly::Begun(sent),\n",
            "        Ok(sent) if sent < len && flags & WAITALL != 0 => Plainly::No,\n",
        ),
        (FACE, Test("plain_calls"), "a_send_that_does_not_fit_goes_on_in_the_ring"),
    ),
    mutant(
        "slow-reader-not-waited-for",
        "A multishot receive does not take in more and more of what nobody reads.",
        "crates/safer-ring-backend/src/stream.rs",
        ("        self.items.len() >= MOST_AHEAD\n", "        self.items.len() > 1 << 20\n"),
        (FACE, Test("multishot"), "a_slow_reader_holds_its_peer_back"),
    ),
    mutant(
        "closed-files-stay-registered",
        "A file that is closed leaves the ring that has registered it.",
        "crates/safer-ring-backend/src/fd.rs",
        ("            local::unregister_file(ring, place);\n", "            let _ = (ring, place);\n"),
        (FACE, Test("registered_files"), "a_file_is_closed_with_its_last_handle_although_it_is_registered"),
    ),
    mutant(
        "gone-pools-stay-registered",
        "A pool that is gone makes room for another one in the kernel's table of registered memory.",
        "crates/safer-ring-backend/src/uring/registered/buffers.rs",
        ("find(|part| part.memory.is_over())", "find(|_| false)"),
        (FACE, Test("registered"), "pools_that_are_gone_make_room_for_others"),
    ),
    mutant(
        "unregistered-memory-stays-in-its-slot",
        "Memory that is unregistered leaves its slot in the kernel's table.",
        "crates/safer-ring-backend/src/uring/registered/buffers.rs",
        ("            fill(table, slot, nothing, memory)?;\n", "            let _ = (&table, slot, nothing);\n"),
        (FACE, Test("sim_registered"), "registered_memory_comes_and_goes"),
    ),
    mutant(
        "closed-rings-free",
        "The end of a ring is no barrier: what the kernel may still use is not freed with it.",
        "crates/safer-ring-core/src/slot.rs",
        ("if self.in_kernel() && !planted!(DropFrees) {", "if false {"),
        (FACE, Test("sim"), "what_a_ring_leaves_behind_is_filled_when_nobody_is_there_any_more"),
    ),
    mutant(
        "missed-cancel-forgotten",
        "A cancellation that finds nothing is asked for again while the kernel has the operation.",
        "crates/safer-ring-core/src/complete.rs",
        ("        } else if res == ENOENT && slot.asks_again() {\n", "        } else if res == ENOENT && slot.asks_again() && false {\n"),
        (FACE, Test("sim"), "cancellations_that_find_nothing_are_asked_for_again"),
    ),
    mutant(
        "held-completions-stay-held",
        "Completions that did not fit into the queue are fetched.",
        "crates/safer-ring-backend/src/uring/mod.rs",
        (
            "self.ring.sq_flags() & sq_ring::CQ_OVERFLOW != 0 && self.fetch_overflowed()",
            "self.ring.sq_flags() & sq_ring::CQ_OVERFLOW > 1 << 20 && self.fetch_overflowed()",
        ),
        (FACE, Test("sim"), "completions_in_parts_and_beside_the_queue_lose_nothing"),
    ),
    mutant(
        "ended-receive-not-armed-again",
        "A multishot receive that ends unasked is armed again.",
        "crates/safer-ring-backend/src/driver/multishot.rs",
        (
            "        self.taker_is_over(key, fd, load, Some(resources));\n",
            "        if completion.res > 0 {\n            let wakers = &mut self.aftermath.wakers;\n            \
             fd.with_stream(|stream| stream.put(load.map(Item::new), wakers));\n            self.dirty = true;\n            \
             return self.keep_dead(resources);\n        }\n        self.taker_is_over(key, fd, load, Some(resources));\n",
        ),
        (FACE, Test("sim_multishot"), "streams_of_receives_give_every_byte_in_order"),
    ),
    mutant(
        "last-piece-lost",
        "What comes with the last completion of a multishot receive is not lost.",
        "crates/safer-ring-backend/src/driver/multishot.rs",
        ("(Ok(_), buffer) => buffer.map(Load::Picked),", "(Ok(_), _) => None,"),
        (FACE, Test("sim_multishot"), "streams_of_receives_give_every_byte_in_order"),
    ),
    mutant(
        "no-buffer-ends-the-stream",
        "A stream of receives does not end when a multishot receive finds no buffer.",
        "crates/safer-ring-backend/src/driver/multishot.rs",
        (
            "is_news(errno).then_some(Load::Error(errno))",
            "if errno == Errno::NOBUFS {\n                    Some(Load::Own(Vec::new()))\n                } else {\n                    \
             is_news(errno).then_some(Load::Error(errno))\n                }",
        ),
        (FACE, Test("sim_multishot"), "streams_of_receives_give_every_byte_in_order"),
    ),
    mutant(
        "short-send-abandoned",
        "A dropped send goes on until all is sent.",
        "crates/safer-ring-backend/src/driver/orphan.rs",
        (
            "let goes_on = moved > 0 && role == Role::Give && !ends && !payload::appends(&fd);",
            "let goes_on = moved > wanted && role == Role::Give && !ends && !payload::appends(&fd);",
        ),
        (FACE, Test("adoption_sends"), "a_send_that_ended_short_and_is_dropped_unseen_is_sent_whole"),
    ),
    mutant(
        "limit-never-over",
        "A dropped send ends when its time is over.",
        "crates/safer-ring-backend/src/driver/give_up.rs",
        (
            "            table.cancel(watch.giver);\n            self.timer_ended = true;\n",
            "            self.timer_ended = true;\n",
        ),
        (FACE, Test("giving_up"), "a_dropped_send_ends_at_its_limit"),
    ),
    mutant(
        "sends-after-an-abort",
        "Nothing is sent behind what was given up.",
        "crates/safer-ring-backend/src/stream.rs",
        (
            "            Role::Give if self.given_up => Answer::Fail(Failure::GivenUp),\n",
            "",
        ),
        (FACE, Test("giving_up"), "an_aborted_pipe_ends_behind_what_is_in_it"),
    ),
    mutant(
        "abort-without-reset",
        "An aborted TCP connection is reset.",
        "crates/safer-ring-backend/src/beside/mod.rs",
        (
            "    if rustix::net::connect_unspec(&fd).is_err() {\n",
            "    if true {\n",
        ),
        (FACE, Test("giving_up"), "a_half_aborts_the_whole"),
    ),
    mutant(
        "forked-waits-for-ever",
        "What a parent has begun ends in its forked child as refused.",
        "crates/safer-ring-backend/src/operation.rs",
        ("            if !driver.is_ours() {\n", "            if false {\n"),
        (FACE, Test("process"), "a_forked_child_is_refused_and_disturbs_nothing"),
    ),
    mutant(
        "late-error-forgotten",
        "The error of a dropped send is told to the next operation.",
        "crates/safer-ring-backend/src/stream.rs",
        (
            "        self.blame(fault.filter(|_| !self.given_up));\n        self.wake(wakers);\n",
            "        let _ = fault;\n        self.wake(wakers);\n",
        ),
        (FACE, Test("adoption_sends"), "the_error_of_a_dropped_send_is_told_to_the_next"),
    ),
    mutant(
        "panic-goes-on",
        "The panic of a waker does not come out of somebody else's operation.",
        "crates/safer-ring-buf/src/quiet.rs",
        ("        mem::forget(payload);\n", "        mem::drop(payload);\n        panic!(\"it goes on\");\n"),
        (FACE, Test("panics"), "a_drop_does_not_panic_for_the_waker_of_another_future"),
    ),
    mutant(
        "receive-takes-any-flag",
        "A receive has no flag with which the kernel counts bytes that it does not write.",
        "crates/safer-ring-backend/src/payload/flags.rs",
        ("if flags & !RECEIVES == 0 {", "if flags & !RECEIVES != flags | !0 {"),
        (FACE, Test("flags"), "a_flag_with_which_tcp_counts_bytes_that_it_does_not_write_is_refused"),
    ),
    mutant(
        "send-takes-any-flag",
        "A send has no flag with which the kernel reads a buffer that was given back.",
        "crates/safer-ring-backend/src/payload/flags.rs",
        ("if flags & !SENDS == 0 {", "if flags & !SENDS != flags | !0 {"),
        (FACE, Test("flags"), "a_flag_with_which_the_kernel_keeps_the_buffer_is_refused"),
    ),
    mutant(
        "child-uses-the-ring",
        "In a forked child the rings of the parent do nothing.",
        "crates/safer-ring-backend/src/driver/mod.rs",
        ("        fork::current() == self.epoch\n", "        fork::current() == self.epoch || self.epoch != 0\n"),
        (FACE, Test("process"), "a_forked_child_is_refused_and_disturbs_nothing"),
    ),
    mutant(
        "child-leaves-the-poller",
        "A forked child takes nothing out of its parent's poller.",
        "crates/safer-ring-backend/src/runtime/mod.rs",
        ("        if fork::current() != self.epoch {\n", "        if self.epoch == 0 {\n"),
        (FACE, Test("told"), "a_forked_child_takes_nothing_out_of_its_parents_poller"),
    ),
    mutant(
        "short-receive-taken-for-all",
        "A stream that is told asks until nothing is there.",
        "crates/safer-ring-backend/src/arrivals.rs",
        (
            "                M::count_plain(ring, PlainCall::Receive);\n",
            "                told.all_taken();
                M::count_plain(ring, PlainCall::Receive);\n",
        ),
        (FACE, Test("told"), "a_message_behind_another_is_not_left_in_the_socket"),
    ),
    // The adapters.
    mutant(
        "flush-does-not-wait",
        "A flush waits until the kernel has taken all.",
        "crates/safer-ring/src/io/writer.rs",
        ("        if self.behind {\n", "        if self.behind && self.idle.get().is_empty() {\n"),
        (FACE, Test("io_ends"), "a_flush_and_a_shutdown_wait_for_the_kernel_to_take_all"),
    ),
    mutant(
        "read-ahead-lost",
        "What was read ahead and not taken goes back to the stream.",
        "crates/safer-ring/src/io/ahead.rs",
        ("        rest.drain(..self.from.min(rest.len()));\n", "        rest.clear();\n"),
        (FACE, Test("io_ends"), "what_was_read_ahead_goes_back_to_the_stream"),
    ),
    mutant(
        "end-overtakes-the-sends",
        "What a dropped write half has accepted comes before the end.",
        "crates/safer-ring-backend/src/stream.rs",
        ("        self.givers > 0 || self.beside > 0 || !self.queue.is_empty()\n", "        self.givers > 9 && !self.queue.is_empty()\n"),
        (FACE, Test("net_tcp"), "what_a_dropped_write_half_has_accepted_comes_before_the_end"),
    ),
    mutant(
        "half-that-came-back-ends-its-direction",
        "A write half that leaves its adapter ends nothing.",
        "crates/safer-ring/src/io/stream.rs",
        ("        self.stream.keep_open();\n        S::from_handle", "        S::from_handle"),
        (FACE, Test("io_ends"), "a_write_half_that_leaves_its_adapter_ends_nothing"),
    ),
];
