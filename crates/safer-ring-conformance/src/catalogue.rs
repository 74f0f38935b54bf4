//! Which scenario shows what: rows of what a drop means, pitfalls of io_uring, classes of bugs of other libraries.
//!
//! Each entry names scenarios, or tests of the workspace where a scenario cannot show it, or says why nothing can.
//! The tests of this file compare the names with the tables, with the documents and with the sources.

/// How an entry is shown.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// By these scenarios.
    By(&'static [&'static str]),
    /// By these tests of the workspace: it needs a kernel that misbehaves, a process of its own, or the insides.
    Elsewhere(&'static [&'static str]),
    /// Not at all, and why.
    Not(&'static str),
}

/// What is shown, and how.
pub type Entry = (&'static str, Shown);

use Shown::{By, Elsewhere, Not};

/// What a drop means: the rows of the table of the design.
pub const DROPS: &[Entry] = &[
    (
        "positional read: cancelled, its memory released after its end",
        By(&[
            "a_dropped_positional_read_releases_its_buffer",
            "a_dropped_vectored_read_releases_its_buffers",
            "a_dropped_direct_read_releases_its_buffer_after_its_end",
        ]),
    ),
    (
        "positional write and sync: to the end",
        By(&[
            "a_dropped_positional_write_is_done",
            "a_dropped_vectored_write_is_done",
            "a_dropped_sync_runs_to_its_end",
            "a_sync_waits_for_dropped_writes",
            "the_error_of_a_dropped_write_is_told_to_a_sync",
        ]),
    ),
    (
        "receive: stays armed, its bytes go to the next in order, without a system call",
        By(&[
            "bytes_that_come_after_the_drop_go_to_the_next",
            "bytes_that_were_there_at_the_drop_go_to_the_next",
            "bytes_of_a_receive_that_was_over_go_to_the_next",
            "the_next_receive_may_wait_already",
            "a_dropped_receive_costs_no_system_call",
            "receives_dropped_in_turn_keep_the_order",
            "the_end_seen_by_a_dropped_receive_is_told",
            "the_error_seen_by_a_dropped_receive_is_told",
        ]),
    ),
    (
        "accept: its connection goes to the next, or is closed with the listener",
        By(&[
            "a_connection_after_the_drop_goes_to_the_next",
            "a_connection_before_the_drop_goes_to_the_next",
            "kept_connections_are_closed_with_their_listener",
        ]),
    ),
    (
        "send: to the end, before later ones, its error told to the next send, shutdown or close",
        By(&[
            "a_dropped_send_is_sent_before_the_next",
            "a_dropped_send_that_waits_is_sent_whole",
            "the_error_of_a_dropped_send_is_told_to_the_next",
            "the_error_of_a_dropped_send_is_told_to_a_shutdown",
            "the_error_of_a_dropped_send_is_told_by_a_close",
            "a_shutdown_waits_for_dropped_sends",
        ]),
    ),
    (
        "connect, open, socket, pipe: what arrives is closed",
        By(&[
            "a_dropped_connect_ends",
            "a_dropped_open_of_a_fifo_leaves_nothing_behind",
            "a_dropped_openat2_of_a_fifo_leaves_nothing_behind",
            "a_dropped_socket_is_closed",
            "a_dropped_pipe_is_closed",
        ]),
    ),
    ("timer, poll: cancelled", By(&["a_dropped_timer_ends_nothing_else", "a_dropped_poll_ends"])),
    ("a batch: each member by its own row", By(&["a_dropped_member_goes_by_its_own_row"])),
    (
        "mem::forget: as a drop, without the cancellation",
        By(&["a_forgotten_receive_keeps_the_order", "a_forgotten_write_is_done"]),
    ),
    (
        "a handle: queued work ends, then the descriptor is closed",
        By(&[
            "a_dropped_stream_closes_after_its_sends",
            "a_dropped_stream_ends_its_armed_receive",
            "a_close_waits_for_what_was_dropped",
        ]),
    ),
];

/// Pitfalls of io_uring, by the part of the work that they lie in.
pub const PITFALLS: &[Entry] = &[
    // Submission.
    ("a failed enter keeps its entries", Elsewhere(&["a_failed_enter_keeps_the_operation"])),
    (
        "enter takes fewer than there are",
        Elsewhere(&["ten_thousand_operations_under_random_faults_end_exactly_once"]),
    ),
    (
        "an interrupted enter",
        Elsewhere(&["a_storm_of_signals_fails_nothing_and_ends_no_timer_early"]),
    ),
    (
        "a full submission queue",
        By(&[
            "two_thousand_operations_pass",
            "cancellations_pass_a_full_queue",
            "drops_in_a_full_queue_leave_nothing",
        ]),
    ),
    ("a chain is torn by a full queue", By(&["a_chain_runs_in_order"])),
    (
        "arguments must live until they are read",
        By(&[
            "read_into_many_buffers",
            "write_many_buffers",
            "a_datagram_has_the_address_of_its_sender",
        ]),
    ),
    ("an entry is touched after it was submitted", Elsewhere(&["ring_indices_wrap"])),
    (
        "lengths above two gigabytes",
        Not("needs that much memory; lengths are cut in one place, `MAX_TRANSFER`"),
    ),
    // Completion.
    (
        "a late completion hits a slot used anew",
        By(&["a_stale_completion_ends_nothing", "nothing_is_left_over"]),
    ),
    ("completions that do not fit", Elsewhere(&["completions_that_do_not_fit_are_not_lost"])),
    (
        "one operation, many completions",
        Elsewhere(&["a_raw_multishot_delivers_all_its_completions"]),
    ),
    ("a wake-up is lost", By(&["another_thread_wakes_the_ring", "the_last_waker_is_woken"])),
    ("a thread in enter cannot be woken", By(&["another_thread_wakes_the_ring"])),
    (
        "completions come in small lots with DEFER_TASKRUN",
        By(&["a_batch_of_a_hundred_passes", "parked_receives_hold_nobody_back"]),
    ),
    // Cancellation.
    (
        "the completion of a cancellation is not that of its target",
        By(&["recv_is_cancelled", "recv_that_has_its_bytes_is_completed"]),
    ),
    (
        "a cancellation finds nothing, and its target goes on",
        By(&["connect_that_waits_is_cancelled", "a_dropped_connect_ends"]),
    ),
    (
        "a cancelled call ends with a number of the kernel's own",
        By(&["open_of_a_fifo_is_cancelled"]),
    ),
    (
        "a disk operation cannot be cancelled",
        By(&["a_dropped_direct_read_releases_its_buffer_after_its_end"]),
    ),
    (
        "a cancelled accept, open, socket or pipe has made something",
        By(&["accept_is_cancelled", "a_dropped_open_of_a_fifo_leaves_nothing_behind"]),
    ),
    (
        "a time limit loses the bytes of a read",
        By(&["recv_with_a_time_limit", "a_limit_that_is_not_reached_changes_nothing"]),
    ),
    (
        "mem::forget of a future",
        By(&["a_forgotten_receive_keeps_the_order", "a_forgotten_write_is_done"]),
    ),
    (
        "ECANCELED that nobody asked for",
        Elsewhere(&["a_cancellation_nobody_asked_for_is_not_a_result"]),
    ),
    ("the submitting thread ends", By(&["a_shared_ring_is_used_from_many_threads"])),
    // Files and descriptors.
    (
        "close does not end what is in flight",
        By(&[
            "a_close_beside_a_live_receive_is_refused",
            "a_dropped_stream_ends_its_armed_receive",
        ]),
    ),
    ("the file is looked up late", By(&["an_operation_keeps_its_file_open"])),
    (
        "a number is used anew",
        By(&["an_operation_keeps_its_file_open", "a_descriptor_in_use_is_not_given_away"]),
    ),
    ("O_APPEND ignores the offset", By(&["appended_writes_ignore_the_offset"])),
    (
        "non-blocking descriptors give EAGAIN",
        By(&[
            "recv_of_a_nonblocking_socket_waits",
            "a_nonblocking_pipe_waits_all_the_same",
            "connect_of_a_nonblocking_socket",
        ]),
    ),
    (
        "short transfers",
        By(&[
            "read_of_more_than_there_is",
            "a_direct_read_near_the_end",
            "read_exact_takes_what_comes_in_parts",
        ]),
    ),
    (
        "the end of a file is no error and no reason to go on",
        By(&["read_at_the_end", "read_exact_of_too_little"]),
    ),
    ("a short read in a chain", By(&["a_short_read_ends_its_chain"])),
    ("a timer in a chain", By(&["a_timer_in_a_chain_is_refused"])),
    ("registered files", Elsewhere(&["a_registered_file_is_given_back"])),
    (
        "buffered writes to one file are done one after the other",
        Not("a matter of speed; nothing can be seen"),
    ),
    (
        "too many workers of the kernel, or too few",
        By(&["limits_of_workers_are_taken", "a_small_ring_has_more_workers_if_asked"]),
    ),
    (
        "the name of a FIFO is in the cache",
        By(&["a_fifo_waits_for_its_other_end", "a_fifo_by_its_plain_name"]),
    ),
    (
        "a socket has no places",
        By(&["a_socket_has_no_places", "a_socket_has_no_places_for_many_buffers"]),
    ),
    // Buffers.
    (
        "buffers that move or are borrowed",
        Elsewhere(&["misuse_does_not_compile_and_its_neighbours_do"]),
    ),
    (
        "bytes that were not read are shown",
        By(&["read_of_more_than_there_is", "read_fills_only_the_length_it_had"]),
    ),
    (
        "a length that the kernel gives is more than there is",
        Elsewhere(&["a_broken_kernel_cannot_make_it_read_outside"]),
    ),
    (
        "provided and registered buffers",
        Elsewhere(&["direct_reads_name_registered_memory", "buffers_that_run_out_end_no_stream"]),
    ),
    (
        "notifications of zero-copy sends",
        Elsewhere(&["a_notification_does_not_replace_the_result"]),
    ),
    // Set-up and threads.
    (
        "SINGLE_ISSUER: another thread enters",
        By(&["two_rings_at_the_same_time", "a_shared_ring_is_used_from_many_threads"]),
    ),
    (
        "an accepted descriptor is not valid with DEFER_TASKRUN",
        By(&["accept_waits", "accepts_at_the_same_time"]),
    ),
    ("SQPOLL reads entries late", By(&["sqpoll_is_a_mode_of_io_uring"])),
    ("IOPOLL is for disks", By(&["iopoll_is_a_mode_of_io_uring"])),
    ("rings made and dropped in a row run out of memory", By(&["fifty_rings_in_a_row"])),
    ("unknown setup flags", By(&["absent_flags_are_absent", "many_entries_can_be_had"])),
    ("opcodes that this kernel lacks", By(&["absent_opcodes_run_as_system_calls"])),
    (
        "a ring of no or too many entries",
        By(&[
            "a_ring_of_no_entries_is_refused",
            "a_ring_of_too_many_entries_is_refused",
            "fewer_completions_than_entries_are_refused",
        ]),
    ),
    (
        "the ring counts as a descriptor",
        Elsewhere(&["without_free_descriptors_a_ring_is_refused_and_nothing_leaks"]),
    ),
    // The life of the process.
    ("fork", Elsewhere(&["a_forked_child_is_refused_and_disturbs_nothing"])),
    (
        "closing a ring is no barrier",
        By(&["a_dropped_ring_keeps_direct_reads_alive", "a_dropped_ring_releases_its_buffers"]),
    ),
    (
        "operations outlive their ring",
        By(&["a_dropped_ring_finishes_its_writes", "a_future_outlives_the_handles_of_its_ring"]),
    ),
    (
        "stuck requests at the end",
        By(&["what_is_left_after_draining_is_named", "a_drained_ring_has_nothing_left"]),
    ),
    ("signals", Elsewhere(&["a_storm_of_signals_fails_nothing_and_ends_no_timer_early"])),
    // Surroundings.
    ("io_uring is blocked", By(&["auto_gives_a_ring_that_works", "a_ring_says_what_runs_it"])),
    ("placement", By(&["pages_and_workers_of_a_node"])),
];

/// Classes of bugs of other libraries: the bold words of each row of `docs/OTHER-LIBRARIES.md`.
pub const PEER_BUGS: &[Entry] = &[
    (
        "The ring is dropped with work in flight, and its memory is freed.",
        By(&["a_dropped_ring_releases_its_buffers", "a_dropped_ring_keeps_direct_reads_alive"]),
    ),
    (
        "Closing the ring's descriptor is taken for a barrier.",
        By(&["a_dropped_ring_keeps_direct_reads_alive"]),
    ),
    (
        "`IORING_REGISTER_SYNC_CANCEL` is taken for a barrier.",
        By(&[
            "a_dropped_ring_keeps_direct_reads_alive",
            "a_dropped_direct_read_releases_its_buffer_after_its_end",
        ]),
    ),
    (
        "The dropped future frees the buffer",
        By(&[
            "a_dropped_positional_read_releases_its_buffer",
            "a_dropped_vectored_read_releases_its_buffers",
        ]),
    ),
    (
        "The buffer can be reached while the kernel writes.",
        Elsewhere(&["misuse_does_not_compile_and_its_neighbours_do"]),
    ),
    (
        "A waker or a destructor panics while completions are taken in.",
        Elsewhere(&["a_panicking_waker_does_not_silence_those_after_it"]),
    ),
    (
        "A safe function takes any submission entry",
        Elsewhere(&["misuse_does_not_compile_and_its_neighbours_do"]),
    ),
    (
        "The time of a linked timeout is freed.",
        By(&["a_timer_in_a_chain_is_refused", "recv_with_a_time_limit"]),
    ),
    (
        "Buffers given to the kernel for good are freed when unregistering fails.",
        Elsewhere(&[
            "what_is_unregistered_is_read_as_before",
            "a_pool_outlives_its_handle_in_the_ring",
        ]),
    ),
    (
        "Zero-copy sends whose buffer is used again at once.",
        Elsewhere(&["a_notification_does_not_replace_the_result"]),
    ),
    (
        "A dropped accept or open leaks what it makes.",
        By(&[
            "kept_connections_are_closed_with_their_listener",
            "a_dropped_open_of_a_fifo_leaves_nothing_behind",
            "a_dropped_pipe_is_closed",
            "descriptors_that_nobody_asks_for_are_closed",
        ]),
    ),
    (
        "The number of a descriptor is reused under an operation in the queue.",
        By(&["an_operation_keeps_its_file_open"]),
    ),
    (
        "Accepted sockets without close-on-exec",
        By(&[
            "accept_gives_the_peer",
            "what_is_opened_closes_on_exec",
            "a_pipe_is_made",
            "a_descriptor_arrives_owned",
        ]),
    ),
    (
        "Bytes of a dropped receive are lost.",
        By(&[
            "bytes_that_come_after_the_drop_go_to_the_next",
            "receives_dropped_in_turn_keep_the_order",
            "a_dropped_read_exact_loses_nothing",
            "a_dropped_message_is_handed_to_the_next",
        ]),
    ),
    (
        "A connection of a dropped accept is lost",
        By(&[
            "a_connection_after_the_drop_goes_to_the_next",
            "a_connection_before_the_drop_goes_to_the_next",
        ]),
    ),
    (
        "A dropped operation stays in the kernel for ever",
        By(&[
            "a_dropped_poll_ends",
            "a_dropped_connect_ends",
            "a_dropped_stream_ends_its_armed_receive",
            "a_dropped_raw_poll_ends",
        ]),
    ),
    (
        "The cancellation of a dropped future is itself dropped when the submission queue is full.",
        By(&["drops_in_a_full_queue_leave_nothing", "cancellations_pass_a_full_queue"]),
    ),
    (
        "Nobody can see that an operation was cancelled.",
        By(&[
            "recv_is_cancelled",
            "recv_that_has_its_bytes_is_completed",
            "recv_with_a_time_limit",
        ]),
    ),
    ("Identifiers of buffers are lost", By(&["the_ring_lends_its_own_buffers"])),
    ("Indices are compared, not subtracted.", Elsewhere(&["ring_indices_wrap"])),
    (
        "Two threads fill the last place of the submission queue.",
        By(&["a_shared_ring_is_used_from_many_threads"]),
    ),
    (
        "A failed submission is reported, and the entry stays in the queue.",
        Elsewhere(&["a_failed_enter_keeps_the_operation"]),
    ),
    (
        "A completion ends the wrong operation.",
        By(&["a_stale_completion_ends_nothing", "completions_reach_their_own_operation"]),
    ),
    (
        "Completions of others are thrown away",
        By(&["completions_reach_their_own_operation", "reads_at_the_same_time"]),
    ),
    (
        "A full submission queue panics.",
        By(&["two_thousand_operations_pass", "a_batch_of_a_hundred_passes"]),
    ),
    (
        "Completions that did not fit are never fetched.",
        Elsewhere(&["completions_that_do_not_fit_are_not_lost"]),
    ),
    ("Linked entries are torn apart", By(&["a_chain_runs_in_order"])),
    (
        "`EINTR`, `EAGAIN` and `EBUSY` end operations",
        By(&["recv_of_a_nonblocking_socket_waits", "a_nonblocking_pipe_waits_all_the_same"]),
    ),
    (
        "An error loses the buffer.",
        By(&[
            "read_of_what_is_for_writing_only",
            "write_of_what_is_for_reading_only",
            "vectored_read_of_what_is_for_writing",
            "send_to_a_peer_that_has_gone",
        ]),
    ),
    (
        "A length from the kernel or the peer is asserted.",
        By(&["a_cut_datagram_says_so", "control_data_that_does_not_fit_says_so"]),
    ),
    ("A short append is continued.", Elsewhere(&["an_append_that_is_cut_short_is_not_continued"])),
    (
        "An offset of 0 stands for the cursor",
        By(&[
            "read_at_gives_what_is_there",
            "read_at_the_offset_that_means_the_cursor",
            "write_at_the_offset_that_means_the_cursor",
        ]),
    ),
    (
        "A destructor panics",
        By(&["a_dropped_ring_releases_its_buffers", "a_future_outlives_the_handles_of_its_ring"]),
    ),
    (
        "The end of a runtime waits without limit",
        By(&["a_dropped_ring_releases_its_buffers", "what_is_left_after_draining_is_named"]),
    ),
    ("A panic loses the ring", Elsewhere(&["a_panic_in_a_local_block_on_leaves_the_ring_usable"])),
    ("Waiting burns a processor.", Elsewhere(&["waiting_uses_no_cpu_in_a_local_ring"])),
    (
        "A future is pending and nobody will wake it.",
        By(&["the_last_waker_is_woken", "a_thousand_timers_end"]),
    ),
    (
        "The library ends the process",
        By(&["a_ring_of_no_entries_is_refused", "auto_gives_a_ring_that_works"]),
    ),
    (
        "A forked child uses its parent's ring",
        Elsewhere(&["a_forked_child_is_refused_and_disturbs_nothing"]),
    ),
];
