//! Classes of bugs of other libraries.

use super::Entry;
use super::Shown::{Both, By, Elsewhere};

/// Classes of bugs of other libraries: the bold words of each row of `docs/OTHER-LIBRARIES.md`.
pub const PEER_BUGS: &[Entry] = &[
    (
        "The ring is dropped with work in flight, and its memory is freed.",
        Both(
            &["a_dropped_ring_keeps_direct_reads_alive", "a_dropped_ring_releases_its_buffers"],
            &["a_local_ring_dropped_in_the_middle_of_direct_reads_frees_nothing_too_early"],
        ),
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
        "Memory is freed with another layout than it was allocated with.",
        Elsewhere(&["what_is_freed_has_the_layout_of_its_allocation"]),
    ),
    (
        "A type that is of one thread is shared",
        Elsewhere(&["misuse_does_not_compile_and_its_neighbours_do"]),
    ),
    (
        "A safe function takes any submission entry",
        Elsewhere(&["misuse_does_not_compile_and_its_neighbours_do"]),
    ),
    (
        "The time of a linked timeout is freed.",
        Both(
            &["a_timer_in_a_chain_is_refused", "recv_with_a_time_limit"],
            &["a_dropped_driver_takes_its_timers_along"],
        ),
    ),
    (
        "Buffers given to the kernel for good are freed when unregistering fails.",
        Elsewhere(&[
            "a_registered_pool_is_dropped_on_another_thread",
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
    (
        "The identifiers of groups of buffers wrap",
        Both(
            &["many_streams_of_receives_at_the_same_time"],
            &["buffers_that_run_out_end_no_stream"],
        ),
    ),
    ("Indices are compared, not subtracted.", Elsewhere(&["ring_indices_wrap"])),
    (
        "Two threads fill the last place of the submission queue.",
        By(&["threads_race_for_the_last_place"]),
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
        Both(
            &["recv_of_a_nonblocking_socket_waits", "a_nonblocking_pipe_waits_all_the_same"],
            &[
                "every_operation_works_in_a_storm_of_signals",
                "an_interrupted_operation_is_tried_again",
                "a_kernel_that_refuses_for_ever_loses_nothing_and_lets_the_caller_go",
            ],
        ),
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
        "A writer sends more than it was given.",
        Elsewhere(&["random_calls_agree_with_a_model", "what_was_accepted_arrives"]),
    ),
    (
        "Without io_uring a descriptor serves one operation, and files are refused.",
        By(&[
            "reads_at_the_same_time",
            "the_next_receive_may_wait_already",
            "reads_and_writes_through_one_pipe",
        ]),
    ),
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
