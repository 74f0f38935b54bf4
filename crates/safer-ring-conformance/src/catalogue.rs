//! Which scenario shows what: rows of what a drop means, pitfalls of io_uring, classes of bugs of other libraries.
//!
//! Each entry names scenarios, or tests of the workspace where a scenario cannot show it, or says why nothing can.
//! The tests of this file compare the names with the tables, with the documents and with the sources.

mod peers;

pub use peers::PEER_BUGS;

/// How an entry is shown.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// By these scenarios.
    By(&'static [&'static str]),
    /// By these tests of the workspace: it needs a kernel that misbehaves, a process of its own, or the insides.
    Elsewhere(&'static [&'static str]),
    /// By these scenarios, and by these tests.
    Both(&'static [&'static str], &'static [&'static str]),
    /// Not at all, and why.
    Not(&'static str),
}

/// What is shown, and how.
pub type Entry = (&'static str, Shown);

use Shown::{Both, By, Elsewhere, Not};

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

/// Pitfalls of io_uring, by the part of the work that they lie in: the bold words of each row of `docs/PITFALLS.md`.
pub const PITFALLS: &[Entry] = &[
    // Submission.
    ("a failed enter keeps its entries", Elsewhere(&["a_failed_enter_keeps_the_operation"])),
    (
        "enter takes fewer than there are",
        Elsewhere(&["ten_thousand_operations_under_random_faults_end_exactly_once"]),
    ),
    (
        "an interrupted enter",
        Elsewhere(&[
            "a_storm_of_signals_fails_nothing_and_ends_no_timer_early",
            "every_operation_works_in_a_storm_of_signals",
        ]),
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
    (
        "an entry is touched after it was submitted",
        Elsewhere(&["what_was_published_is_not_touched_before_the_kernel_has_taken_it"]),
    ),
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
    (
        "the submitting thread ends",
        Elsewhere(&[
            "what_a_thread_leaves_in_flight_goes_on_after_its_end",
            "what_a_thread_has_dropped_is_kept_after_its_end",
        ]),
    ),
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
    (
        "a device does not take registered memory",
        Elsewhere(&["devices_are_read_into_registered_memory"]),
    ),
    (
        "a datagram that finds no room is sent empty",
        Elsewhere(&["a_datagram_for_a_full_receiver_is_not_sent_empty"]),
    ),
    (
        "an accept takes the wake-up of a connection with it",
        Elsewhere(&["a_connection_reaches_another_accept_if_the_one_that_it_woke_was_cancelled"]),
    ),
    ("a chain goes on behind a failure", Elsewhere(&["an_error_of_any_operation_ends_its_chain"])),
    (
        "a close reports the error of its file",
        Elsewhere(&["a_handle_in_the_error_of_a_close_is_open", "a_dropped_close_closes_once"]),
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
        "registered buffers count as locked memory",
        Elsewhere(&[
            "a_pool_beyond_the_limit_of_locked_memory_is_refused_and_works",
            "more_pools_than_there_is_room_for_are_refused",
        ]),
    ),
    (
        "notifications of zero-copy sends",
        Elsewhere(&["a_notification_does_not_replace_the_result"]),
    ),
    // Set-up and threads.
    (
        "SINGLE_ISSUER: another thread enters",
        Both(
            &["a_shared_ring_is_used_from_many_threads", "another_thread_wakes_the_ring"],
            &["a_registered_pool_is_dropped_on_another_thread"],
        ),
    ),
    (
        "an accepted descriptor is not valid with DEFER_TASKRUN",
        By(&["accept_waits", "accepts_at_the_same_time"]),
    ),
    ("SQPOLL reads entries late", By(&["sqpoll_is_a_mode_of_io_uring"])),
    ("IOPOLL is for disks", By(&["iopoll_is_a_mode_of_io_uring"])),
    ("rings made and dropped in a row run out of memory", By(&["fifty_rings_in_a_row"])),
    (
        "a later ring cannot be made",
        Elsewhere(&[
            "a_thread_that_comes_after_the_filter_falls_back_alone",
            "a_filter_that_comes_after_the_first_ring_does_not_kill_the_program",
        ]),
    ),
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
    (
        "signals",
        Elsewhere(&[
            "a_storm_of_signals_fails_nothing_and_ends_no_timer_early",
            "every_operation_works_in_a_storm_of_signals",
        ]),
    ),
    (
        "credentials that change after the ring was made",
        Not(
            "rings are not made with a personality; what SQPOLL keeps is the kernel's, and said in the document",
        ),
    ),
    // Surroundings.
    ("io_uring is blocked", By(&["auto_gives_a_ring_that_works", "a_ring_says_what_runs_it"])),
    ("placement", By(&["pages_and_workers_of_a_node"])),
];
