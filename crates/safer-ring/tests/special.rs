//! Batches, chains, timers, polls and raw entries, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use common::{
    Exec, content, everywhere, failure, file_with, must_fail, must_fail_plainly, of_the_kernel,
    with_built, with_ring,
};
use futures_util::{future::join_all, join, poll};
use safer_ring::{
    BufferPool, Failure, FallocateMode, Fd, Interest, Mode, OpenOptions, Operation, Payload,
    RenameMode, Ring, RingOf, SpliceFlags, sys,
};

everywhere!(
    a_nop_completes,
    a_timeout_ends_not_early,
    timeouts_end_in_the_order_of_their_deadlines,
    a_dropped_timeout_wakes_nobody_and_a_very_long_one_is_fine,
    poll_sees_what_is_there,
    a_dropped_poll_leaves_nothing_in_flight,
    a_batch_is_one_enter,
    a_failing_member_of_a_batch_fails_alone,
    a_refused_member_of_a_batch_says_so,
    an_operation_that_runs_can_be_added_to_a_batch,
    a_batch_can_be_filled_again,
    a_batch_goes_on_without_a_dropped_handle,
    the_handles_of_a_dropped_batch_can_be_awaited,
    a_thousand_members_fit_through_eight_entries,
    an_empty_batch_is_over_at_once,
    operations_behind_a_full_queue_are_submitted_before_anybody_waits,
    a_chain_runs_in_order,
    a_chain_of_three_runs_in_order,
    a_failing_first_member_ends_the_chain_with_its_buffers_back,
    a_failing_second_member_ends_the_rest,
    an_error_of_any_operation_ends_its_chain,
    a_file_is_replaced_by_one_chain,
    a_short_read_ends_the_chain_with_its_numbers,
    a_short_vectored_read_ends_the_chain_with_its_numbers,
    a_short_splice_ends_the_chain_with_its_numbers,
    a_short_receive_that_waits_for_all_ends_the_chain_with_its_numbers,
    a_chain_that_is_too_long_is_refused_with_its_buffers_back,
    a_refused_member_refuses_the_chain,
    a_timer_in_a_chain_is_refused_and_the_ring_goes_on,
    a_chain_waits_for_room_as_a_unit,
    a_chain_that_is_dropped_in_flight_ends,
    a_chain_that_is_dropped_before_it_starts_does_nothing,
    a_raw_entry_runs_and_gives_back_what_it_kept,
    a_raw_read_fills_what_it_kept,
    a_raw_multishot_delivers_all_its_completions,
    a_raw_multishot_poll_reports_until_it_is_cancelled,
    a_dropped_raw_multishot_ends,
    completions_that_do_not_fit_are_not_lost,
);

fn pipe<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Fd::new(OwnedFd::from(reader)), Fd::new(OwnedFd::from(writer)))
}

/// Waits until the ring has nothing of its users in flight. Local rings keep one poll for wakes.
async fn quiet<M: Mode>(ring: &RingOf<M>) {
    loop {
        let snapshot = ring.snapshot();
        if snapshot.orphans == 0 && snapshot.queued == 0 && snapshot.in_flight <= 1 {
            return;
        }
        ring.timeout(Duration::from_millis(1)).await.unwrap();
    }
}

fn a_nop_completes<E: Exec>() {
    with_ring::<E>(1, async |ring| {
        for _ in 0..100 {
            ring.nop().await.unwrap();
        }
        drop(ring.nop());
        assert_eq!(ring.snapshot().submitted, 100);
        assert_eq!(ring.snapshot().completed, 100);
    });
}

fn a_timeout_ends_not_early<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        for millis in [0, 1, 20] {
            let duration = Duration::from_millis(millis);
            let start = Instant::now();
            ring.timeout(duration).await.unwrap();
            assert!(start.elapsed() >= duration);
        }
    });
}

fn timeouts_end_in_the_order_of_their_deadlines<E: Exec>() {
    with_ring::<E>(1, async |ring| {
        let order = std::cell::RefCell::new(Vec::new());
        let mut unit = Duration::from_millis(1);
        // All are begun before the first one is due, which takes longer where the machine stands still.
        let begun = loop {
            let start = Instant::now();
            let mut begun = [50, 10, 30, 20, 40].map(|units| (units, ring.timeout(unit * units)));
            let mut waiting = 0;
            for (_, timer) in &mut begun {
                waiting += u32::from(poll!(timer).is_pending());
            }
            if waiting == 5 && start.elapsed() < unit * 5 {
                break begun;
            }
            unit *= 2;
        };
        // Those that are found ended at once are told in the order in which they are asked.
        let mut sorted = begun;
        sorted.sort_by_key(|(units, _)| *units);
        let order_of = &order;
        join_all(sorted.map(|(units, timer)| async move {
            timer.await.unwrap();
            order_of.borrow_mut().push(units);
        }))
        .await;
        assert_eq!(*order.borrow(), [10, 20, 30, 40, 50]);
    });
}

fn a_dropped_timeout_wakes_nobody_and_a_very_long_one_is_fine<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut long = ring.timeout(Duration::MAX);
        let mut hour = ring.timeout(Duration::from_secs(3600));
        assert!(poll!(&mut long).is_pending());
        assert!(poll!(&mut hour).is_pending());
        ring.timeout(Duration::from_millis(2)).await.unwrap();
        assert!(poll!(&mut long).is_pending());
        drop(hour);
        drop(long);
        ring.nop().await.unwrap();
        assert_eq!(ring.snapshot().orphans, 0, "no system call is needed to end a timer");
    });
}

fn poll_sees_what_is_there<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let events = ring.poll(&writer, Interest::WRITABLE).await.unwrap();
        assert!(Interest::from_bits(events).contains(Interest::WRITABLE));
        let mut wait = ring.poll(&reader, Interest::READABLE);
        assert!(poll!(&mut wait).is_pending());
        let (events, _) = join!(wait, ring.write_owned(&writer, "x"));
        assert!(Interest::from_bits(events.unwrap()).contains(Interest::READABLE));
        drop(writer);
        let both = Interest::READABLE | Interest::PRIORITY;
        let events = Interest::from_bits(ring.poll(&reader, both).await.unwrap());
        assert!(events.contains(Interest::HANG_UP) && events.contains(Interest::READABLE));
        let file = file_with(b"");
        let events = ring.poll(&file, Interest::READABLE).await;
        // Regular files cannot be polled; the kernel says that they are ready.
        assert!(Interest::from_bits(events.unwrap()).contains(Interest::READABLE));
    });
}

fn a_dropped_poll_leaves_nothing_in_flight<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, _writer) = pipe();
        for _ in 0..50 {
            let mut wait = ring.poll(&reader, Interest::READABLE);
            assert!(poll!(&mut wait).is_pending());
            drop(wait);
        }
        quiet(&ring).await;
        assert_eq!(reader.holders(), 1);
    });
}

fn a_batch_is_one_enter<E: Exec>() {
    with_ring::<E>(64, async |ring| {
        if common::in_memory(&std::env::temp_dir()) {
            return eprintln!("skipped: reads in memory are run by workers of some kernels");
        }
        let file = file_with(&[b'x'; 4096]);
        // The first wait of a local ring arms its wake-up; that is not the batch's. Reads of cached pages end while they
        // are submitted; what a worker of the kernel has to finish is waited for in further calls.
        ring.nop().await.unwrap();
        let mut batch = ring.batch();
        for _ in 0..5 {
            let before = ring.snapshot();
            let nop = batch.nop();
            let reads: Vec<_> =
                (0..32).map(|at| batch.read_at(&file, vec![0; 16], at * 16)).collect();
            assert_eq!(ring.snapshot().enters, before.enters, "nothing is submitted one by one");
            batch.submit().await;
            assert_eq!(ring.snapshot().enters - before.enters, 1);
            nop.await.unwrap();
            for read in reads {
                assert_eq!(read.await.unwrap().1, [b'x'; 16]);
            }
            assert_eq!(ring.snapshot().enters - before.enters, 1, "the results were there");
        }
    });
}

fn a_failing_member_of_a_batch_fails_alone<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let (reader, _writer) = pipe();
        let mut batch = ring.batch();
        let good = batch.read_at(&file, vec![0; 7], 0);
        let bad = batch.write(&reader, b"kept".to_vec());
        let other = batch.write_at(&file, "C", 0);
        batch.submit().await;
        assert_eq!(must_fail(bad.await, libc::EBADF), b"kept");
        assert_eq!(other.await.unwrap().0, 1);
        assert_eq!(good.await.unwrap().0, 7);
    });
}

fn a_refused_member_of_a_batch_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut batch = ring.batch();
        let refused = batch.add(ring.unlink("with\0zero"));
        let closed = batch.add(ring.open("/", &OpenOptions::new()));
        let nop = batch.nop();
        batch.submit().await;
        nop.await.unwrap();
        assert_eq!(refused.await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(closed.await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

fn an_operation_that_runs_can_be_added_to_a_batch<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let mut read = ring.read_owned(&reader, vec![0; 8]);
        assert!(poll!(&mut read).is_pending());
        let mut batch = ring.batch();
        let read = batch.add(read);
        let write = batch.write(&writer, "bytes");
        batch.submit().await;
        assert_eq!(write.await.unwrap().0, 5);
        assert_eq!(read.await.unwrap().1, b"bytes");
    });
}

fn a_batch_can_be_filled_again<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let mut batch = ring.batch();
        for round in 0..20_u8 {
            let write = batch.write_at(&file, vec![round], u64::from(round));
            batch.submit().await;
            write.await.unwrap();
        }
        assert_eq!(content(&file), (0..20).collect::<Vec<u8>>());
    });
}

fn a_batch_goes_on_without_a_dropped_handle<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, _writer) = pipe();
        let mut batch = ring.batch();
        let never = batch.read(&reader, vec![0; 8]);
        let nop = batch.nop();
        drop(never);
        batch.submit().await;
        nop.await.unwrap();
        // In flight: the batch waits for it, until its handle is dropped.
        let (other, _writer) = pipe();
        let never = batch.read(&other, vec![0; 8]);
        let nop = batch.nop();
        let mut submit = Box::pin(batch.submit());
        assert!(poll!(&mut submit).is_pending());
        ring.timeout(Duration::from_millis(1)).await.unwrap();
        assert!(poll!(&mut submit).is_pending());
        drop(never);
        submit.await;
        nop.await.unwrap();
        drop((reader, other));
        quiet(&ring).await;
    });
}

fn the_handles_of_a_dropped_batch_can_be_awaited<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let mut batch = ring.batch();
        let read = batch.read_at(&file, vec![0; 7], 0);
        let nop = batch.nop();
        drop(batch);
        assert_eq!(read.await.unwrap().1, b"content");
        nop.await.unwrap();
        let mut batch = ring.batch();
        let read = batch.read_at(&file, vec![0; 7], 0);
        drop(batch.submit());
        drop(batch);
        assert_eq!(read.await.unwrap().1, b"content");
    });
}

fn a_thousand_members_fit_through_eight_entries<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let mut batch = ring.batch();
        let writes: Vec<_> = (0..1000_u64)
            .map(|at| batch.write_at(&file, at.to_le_bytes().to_vec(), at * 8))
            .collect();
        batch.submit().await;
        for write in writes {
            assert_eq!(write.await.unwrap().0, 8);
        }
        let expected: Vec<u8> = (0..1000_u64).flat_map(u64::to_le_bytes).collect();
        assert_eq!(content(&file), expected);
        let snapshot = ring.snapshot();
        assert_eq!((snapshot.queued, snapshot.orphans), (0, 0));
    });
}

fn an_empty_batch_is_over_at_once<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut batch = ring.batch();
        batch.submit().await;
        drop(batch.nop());
        batch.submit().await;
    });
}

fn operations_behind_a_full_queue_are_submitted_before_anybody_waits<E: Exec>() {
    let builder = Ring::builder().entries(4).completions(64);
    with_built::<E>(builder, async |ring| {
        let (reader, writer) = pipe();
        let reads = (0..20).map(|_| ring.read_owned(&reader, vec![0; 1]));
        let writes = (0..20).map(|_| ring.write_owned(&writer, "x"));
        let (reads, writes) = join!(join_all(reads), join_all(writes));
        assert!(reads.into_iter().all(|read| read.unwrap().1 == b"x"));
        assert!(writes.into_iter().all(|write| write.unwrap().0 == 1));
    });
}

fn a_chain_runs_in_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        let write = ring.write_at_owned(&file, b"durable".to_vec(), 0);
        let (write, sync) = write.then(ring.fsync(&file)).await;
        assert_eq!(write.unwrap(), (7, b"durable".to_vec()));
        sync.unwrap();
        let (sync, nop) = ring.nop().then(ring.nop()).await;
        sync.unwrap();
        nop.unwrap();
    });
}

fn a_chain_of_three_runs_in_order<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"");
        for _ in 0..50 {
            let write = ring.write_at_owned(&file, b"abc".to_vec(), 0);
            let again = ring.write_at_owned(&file, b"B".to_vec(), 1);
            let read = ring.read_at_owned(&file, Vec::with_capacity(3), 0);
            let ((write, again), read) = write.then(again).then(read).await;
            assert_eq!((write.unwrap().0, again.unwrap().0), (3, 1));
            assert_eq!(read.unwrap().1, b"aBc");
        }
    });
}

fn a_failing_first_member_ends_the_chain_with_its_buffers_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let (reader, _writer) = pipe();
        let bad = ring.write_owned(&reader, b"first".to_vec());
        let second = ring.write_at_owned(&file, b"second".to_vec(), 0);
        let ((first, second), third) = bad.then(second).then(ring.fsync(&file)).await;
        assert_eq!(must_fail(first, libc::EBADF), b"first");
        let expected = Failure::ChainFailed { member: 0, errno: sys::Errno::BADF };
        let second = second.unwrap_err();
        assert_eq!(failure(&second.error), Some(expected));
        assert_eq!(second.into_buffer(), b"second");
        assert_eq!(failure(&third.unwrap_err()), Some(expected));
        assert_eq!(content(&file), b"content");
    });
}

fn a_failing_second_member_ends_the_rest<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let (reader, _writer) = pipe();
        let first = ring.write_at_owned(&file, b"CON".to_vec(), 0);
        let bad = ring.write_owned(&reader, b"second".to_vec());
        let third = ring.write_at_owned(&file, b"third".to_vec(), 0);
        let ((first, second), third) = first.then(bad).then(third).await;
        let ran = first.is_ok();
        if ran {
            assert_eq!(first.unwrap().0, 3);
        } else {
            // Kernels before 5.17 look at all members first.
            assert!(!ring.features().supports(sys::opcode::SOCKET), "{first:?}");
            assert_eq!(must_fail(first, libc::ECANCELED), b"CON");
        }
        assert_eq!(must_fail(second, libc::EBADF), b"second");
        let third = third.unwrap_err();
        let expected = Failure::ChainFailed { member: 1, errno: sys::Errno::BADF };
        assert_eq!(failure(&third.error), Some(expected));
        assert_eq!(third.into_buffer(), b"third");
        assert_eq!(content(&file), if ran { b"CONtent" } else { b"content" });
    });
}

/// What is behind a member that fails must not have run, and names it.
async fn ends<M: Mode, T, P>(ring: &RingOf<M>, name: &str, bad: Operation<M, P>)
where
    P: Payload<Output = io::Result<T>>,
{
    let file = file_with(b"content");
    let write = ring.write_at_owned(&file, b"CON".to_vec(), 0);
    let ((nothing, failed), written) = ring.nop().then(bad).then(write).await;
    let errno = failed.err().unwrap_or_else(|| panic!("{name} succeeds")).raw_os_error();
    let written = written.err().unwrap_or_else(|| panic!("behind {name}, something has run"));
    if errno == Some(libc::EOPNOTSUPP) {
        assert_eq!(
            nothing.unwrap_err().raw_os_error(),
            errno,
            "{name}: the whole chain is refused"
        );
    } else {
        nothing.unwrap();
        let told = failure(&written.error);
        let Some(Failure::ChainFailed { member: 1, errno: told }) = told else {
            panic!("{name}: {told:?}")
        };
        assert_eq!(Some(told.raw_os_error()), errno, "{name}");
    }
    assert_eq!(content(&file), b"content", "{name}");
}

fn an_error_of_any_operation_ends_its_chain<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (pipe, _writer) = pipe();
        let missing = "/proc/self/no-such-file";
        ends(&ring, "fsync", ring.fsync(&pipe)).await;
        ends(&ring, "fdatasync", ring.fdatasync(&pipe)).await;
        ends(&ring, "fallocate", ring.fallocate(&pipe, FallocateMode::default(), 0, 9)).await;
        ends(&ring, "ftruncate", ring.ftruncate(&pipe, 0)).await;
        ends(&ring, "statx", ring.statx(missing)).await;
        ends(&ring, "open", ring.open(missing, &OpenOptions::new().read(true))).await;
        ends(&ring, "rename", ring.rename(missing, missing, RenameMode::default())).await;
        ends(&ring, "unlink", ring.unlink(missing)).await;
        ends(&ring, "rmdir", ring.rmdir(missing)).await;
        ends(&ring, "mkdir", ring.mkdir(missing, 0o755)).await;
        ends(&ring, "symlink", ring.symlink("x", missing)).await;
        ends(&ring, "link", ring.link(missing, missing)).await;
        ends(&ring, "shutdown", ring.shutdown(&pipe, std::net::Shutdown::Both)).await;
        ends(&ring, "listen", ring.listen(&pipe, 1)).await;
    });
}

fn a_file_is_replaced_by_one_chain<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let (new, old) = (directory.path().join("new"), directory.path().join("old"));
        std::fs::write(&old, "old").unwrap();
        let names = Fd::new(std::fs::File::open(directory.path()).unwrap());
        let file = Fd::new(std::fs::File::create(&new).unwrap());
        let write = ring.write_at_owned(&file, b"new".to_vec(), 0).then(ring.fsync(&file));
        let rename = ring.rename(&new, &old, RenameMode::default());
        let (((written, synced), renamed), named) =
            write.then(rename).then(ring.fsync(&names)).await;
        match renamed {
            Ok(()) => {
                assert_eq!(written.unwrap().0, 3);
                synced.unwrap();
                named.unwrap();
                assert_eq!(std::fs::read(&old).unwrap(), b"new");
            }
            // Kernels before 5.11 have no such entry, and the whole chain is refused.
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
                assert_eq!(must_fail(written, libc::EOPNOTSUPP), b"new");
            }
        }
    });
}

fn a_short_read_ends_the_chain_with_its_numbers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"short");
        let read = ring.read_at_owned(&file, Vec::with_capacity(100), 0);
        let write = ring.write_at_owned(&file, b"kept".to_vec(), 0);
        let (read, write) = read.then(write).await;
        assert_eq!(read.unwrap().1, b"short", "what was read is there");
        let write = write.unwrap_err();
        let expected = Failure::ChainShort { member: 0, wanted: 100, moved: 5 };
        assert_eq!(failure(&write.error), Some(expected));
        assert!(write.to_string().contains("5 of 100"), "{write}");
        assert_eq!(write.into_buffer(), b"kept");
        assert_eq!(content(&file), b"short");
    });
}

fn a_short_vectored_read_ends_the_chain_with_its_numbers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"short");
        let room = vec![Vec::with_capacity(4), Vec::with_capacity(4)];
        let (read, nop) = ring.read_vectored_at(&file, room, 0).then(ring.nop()).await;
        assert_eq!(read.unwrap().1, [&b"shor"[..], b"t"]);
        let expected = Failure::ChainShort { member: 0, wanted: 8, moved: 5 };
        assert_eq!(failure(&nop.unwrap_err()), Some(expected));
    });
}

fn a_short_splice_ends_the_chain_with_its_numbers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"short");
        let (_reader, writer) = pipe();
        let splice = ring.splice(&file, Some(0), &writer, None, 100, SpliceFlags::NONE);
        let (splice, write) = splice.then(ring.write_at_owned(&file, b"kept".to_vec(), 0)).await;
        assert_eq!(splice.unwrap(), 5);
        let write = write.unwrap_err();
        let expected = Failure::ChainShort { member: 0, wanted: 100, moved: 5 };
        assert_eq!(failure(&write.error), Some(expected));
        assert_eq!(write.into_buffer(), b"kept");
    });
}

fn a_short_receive_that_waits_for_all_ends_the_chain_with_its_numbers<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = Fd::new(OwnedFd::from(ours));
        theirs.write_all(b"short").unwrap();
        drop(theirs);
        let all = u32::try_from(libc::MSG_WAITALL).unwrap();
        let receive = ring.recv_with(&ours, Vec::with_capacity(100), all);
        let (receive, nop) = receive.then(ring.nop()).await;
        assert_eq!(receive.unwrap().1, b"short");
        let expected = Failure::ChainShort { member: 0, wanted: 100, moved: 5 };
        assert_eq!(failure(&nop.unwrap_err()), Some(expected));
        // Without that flag a short receive ends nothing.
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = Fd::new(OwnedFd::from(ours));
        theirs.write_all(b"short").unwrap();
        let (receive, nop) = ring.recv(&ours, Vec::with_capacity(100)).then(ring.nop()).await;
        assert_eq!(receive.unwrap().1, b"short");
        nop.unwrap();
    });
}

fn a_chain_that_is_too_long_is_refused_with_its_buffers_back<E: Exec>() {
    with_ring::<E>(2, async |ring| {
        let file = file_with(b"content");
        let first = ring.write_at_owned(&file, b"first".to_vec(), 0);
        let third = ring.write_at_owned(&file, b"third".to_vec(), 0);
        let ((first, second), third) = first.then(ring.nop()).then(third).await;
        let expected = Some(Failure::ChainTooLong { members: 3, limit: 2 });
        let first = first.unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(failure(&first.error), expected);
        assert_eq!(first.into_buffer(), b"first");
        assert_eq!(failure(&second.unwrap_err()), expected);
        assert_eq!(third.unwrap_err().into_buffer(), b"third");
        assert_eq!(content(&file), b"content");
        let (a, b) = ring.nop().then(ring.nop()).await;
        a.and(b).unwrap();
    });
}

fn a_refused_member_refuses_the_chain<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let write = ring.write_at_owned(&file, b"kept".to_vec(), 0);
        let (write, unlink) = write.then(ring.unlink("with\0zero")).await;
        assert_eq!(unlink.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let write = write.unwrap_err();
        assert!(failure(&write.error).is_some(), "{write}");
        assert_eq!(write.into_buffer(), b"kept");
        assert_eq!(content(&file), b"content");
        ring.nop().await.unwrap();
    });
}

fn a_timer_in_a_chain_is_refused_and_the_ring_goes_on<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        let soon = Duration::from_millis(1);
        let write = || ring.write_at_owned(&file, b"kept".to_vec(), 0);
        let (first, timer) = write().then(ring.timeout(soon)).await;
        assert_eq!(first.unwrap_err().into_buffer(), b"kept");
        timer.unwrap_err();
        let (timer, last) = ring.timeout(soon).then(write()).await;
        timer.unwrap_err();
        assert_eq!(last.unwrap_err().into_buffer(), b"kept");
        let ((first, timer), last) = write().then(ring.timeout(soon)).then(write()).await;
        assert_eq!(first.unwrap_err().into_buffer(), b"kept");
        timer.unwrap_err();
        assert_eq!(last.unwrap_err().into_buffer(), b"kept");
        assert_eq!(content(&file), b"content", "nothing ran");
        ring.nop().await.unwrap();
        let (a, b) = ring.nop().then(ring.nop()).await;
        a.and(b).unwrap();
        ring.timeout(soon).await.unwrap();
    });
}

fn a_chain_waits_for_room_as_a_unit<E: Exec>() {
    with_ring::<E>(4, async |ring| {
        let file = file_with(b"");
        for before in 0..9 {
            let nops = join_all((0..before).map(|_| ring.nop()));
            let write = ring.write_at_owned(&file, b"abc".to_vec(), 0);
            let read = ring.read_at_owned(&file, Vec::with_capacity(3), 0);
            let chain = write.then(ring.fdatasync(&file)).then(read);
            let after = join_all((0..before).map(|_| ring.nop()));
            let (nops, ((write, sync), read), after) = join!(nops, chain, after);
            assert!(nops.into_iter().chain(after).all(|nop| nop.is_ok()));
            assert_eq!(write.unwrap().0, 3);
            sync.unwrap();
            assert_eq!(read.unwrap().1, b"abc");
            ring.ftruncate(&file, 0).await.unwrap();
        }
    });
}

fn a_chain_that_is_dropped_in_flight_ends<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (reader, writer) = pipe();
        let file = file_with(b"content");
        let pool = BufferPool::new(2, 64);
        for _ in 0..20 {
            let (first, second) = (pool.acquire().await, pool.acquire().await);
            let read = ring.read_owned(&reader, first);
            let write = ring.write_at_owned(&file, second, 0);
            let mut chain = read.then(write);
            assert!(poll!(&mut chain).is_pending());
            drop(chain);
        }
        // Both buffers come back although nothing was ever written to the pipe.
        drop((pool.acquire().await, pool.acquire().await));
        quiet(&ring).await;
        assert_eq!((reader.holders(), writer.holders(), file.holders()), (1, 1, 1));
        assert_eq!(content(&file), b"content", "the read was cancelled, so the write did not run");
    });
}

fn a_chain_that_is_dropped_before_it_starts_does_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with(b"content");
        drop(ring.write_at_owned(&file, "gone", 0).then(ring.fsync(&file)));
        ring.nop().await.unwrap();
        assert_eq!(content(&file), b"content");
        assert_eq!((ring.snapshot().submitted, file.holders()), (1, 1));
    });
}

fn a_raw_entry_runs_and_gives_back_what_it_kept<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8), async |ring| {
        let entry = sys::Sqe { opcode: sys::opcode::NOP, ..sys::Sqe::default() };
        let kept = String::from("kept");
        // SAFETY: the entry points to nothing and names no descriptor.
        let output = unsafe { ring.raw(entry, None, kept) }.await;
        assert_eq!(output.result.unwrap(), 0);
        assert_eq!((output.keep.as_str(), output.earlier.len()), ("kept", 0));
        let entry = sys::Sqe { opcode: 250, ..sys::Sqe::default() };
        // SAFETY: as above; the kernel refuses the opcode.
        let output = unsafe { ring.raw(entry, None, 5_u8) }.await;
        assert_eq!(output.result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(output.keep, 5);
    });
}

fn a_raw_read_fills_what_it_kept<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8), async |ring| {
        let file = file_with(b"content");
        let mut memory = vec![0_u8; 7];
        let entry = sys::Sqe {
            opcode: sys::opcode::READ,
            fd: file.as_fd().as_raw_fd(),
            addr: memory.as_mut_ptr().expose_provenance() as u64,
            len: 7,
            // What the caller says about links and names is overruled.
            flags: sys::sqe_flags::IO_HARDLINK | sys::sqe_flags::CQE_SKIP_SUCCESS,
            user_data: u64::MAX,
            ..sys::Sqe::default()
        };
        // SAFETY: the vector's heap memory stays in place while it is kept; the descriptor is that of `file`.
        let output = unsafe { ring.raw(entry, Some(&file), memory) }.await;
        assert_eq!(output.result.unwrap(), 7);
        assert_eq!(output.keep, b"content");
    });
}

/// A multishot timer that fires `shots` times (for ever when 0), and its first interval.
fn multishot_timer(nanoseconds: i64, shots: u64) -> (sys::Sqe, Box<sys::Timespec>) {
    let interval = Box::new(sys::Timespec { tv_sec: 0, tv_nsec: nanoseconds });
    let entry = sys::Sqe {
        opcode: sys::opcode::TIMEOUT,
        fd: -1,
        addr: std::ptr::from_ref(&*interval).expose_provenance() as u64,
        len: 1,
        off: shots,
        op_flags: sys::timeout::MULTISHOT,
        ..sys::Sqe::default()
    };
    (entry, interval)
}

/// Whether the kernel has them, since 6.4; it does not say so, but by refusing one.
async fn has_multishot_timers<M: Mode>(ring: &RingOf<M>) -> bool {
    let (entry, interval) = multishot_timer(1, 1);
    // SAFETY: the interval is on the heap and kept; there is no descriptor.
    let output = unsafe { ring.raw(entry, None, interval) }.await;
    let refused = output.result.unwrap_err().raw_os_error() == Some(libc::EINVAL);
    if refused {
        eprintln!("skipped: this kernel has no multishot timers");
    }
    !refused
}

fn a_raw_multishot_delivers_all_its_completions<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(64), async |ring| {
        if !has_multishot_timers(&ring).await {
            return;
        }
        let (entry, interval) = multishot_timer(2_000_000, 5);
        // SAFETY: the interval is on the heap and kept; there is no descriptor.
        let output = unsafe { ring.raw(entry, None, interval) }.await;
        assert_eq!(output.result.unwrap_err().raw_os_error(), Some(libc::ETIME));
        assert_eq!(output.earlier.len(), 4);
        assert!(output.earlier.iter().all(|completion| {
            completion.result == -libc::ETIME && completion.flags & sys::cqe_flags::MORE != 0
        }));
        assert_eq!(output.flags & sys::cqe_flags::MORE, 0);
    });
}

fn a_raw_multishot_poll_reports_until_it_is_cancelled<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8), async |ring| {
        // Of the same kernel, 5.19, as `sys::cancel::FD`.
        if !ring.features().supports(sys::opcode::SOCKET) {
            return eprintln!("skipped: this kernel does not cancel by descriptor");
        }
        let (reader, writer) = pipe();
        let entry = sys::Sqe {
            opcode: sys::opcode::POLL_ADD,
            fd: reader.as_fd().as_raw_fd(),
            len: sys::poll::ADD_MULTI,
            op_flags: Interest::READABLE.bits(),
            ..sys::Sqe::default()
        };
        // SAFETY: no memory; the descriptor is that of `reader`.
        let mut polls = unsafe { ring.raw(entry, Some(&reader), ()) };
        assert!(poll!(&mut polls).is_pending());
        for _ in 0..3 {
            ring.write_owned(&writer, "x").await.unwrap();
            ring.timeout(Duration::from_millis(1)).await.unwrap();
            assert!(poll!(&mut polls).is_pending());
        }
        let entry = sys::Sqe {
            opcode: sys::opcode::ASYNC_CANCEL,
            fd: reader.as_fd().as_raw_fd(),
            op_flags: sys::cancel::FD,
            ..sys::Sqe::default()
        };
        // SAFETY: no memory; the descriptor is that of `reader`.
        unsafe { ring.raw(entry, Some(&reader), ()) }.await.result.unwrap();
        let output = polls.await;
        assert_eq!(output.result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        // The kernel may join reports that come close together.
        assert!((1..=3).contains(&output.earlier.len()), "{:?}", output.earlier);
    });
}

fn a_dropped_raw_multishot_ends<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8), async |ring| {
        if !has_multishot_timers(&ring).await {
            return;
        }
        for _ in 0..10 {
            let (entry, interval) = multishot_timer(100_000, 0);
            let alive = std::sync::Arc::new(());
            let seen = std::sync::Arc::downgrade(&alive);
            // SAFETY: the interval is on the heap and kept; there is no descriptor.
            let mut timer = unsafe { ring.raw(entry, None, (interval, alive)) };
            assert!(poll!(&mut timer).is_pending());
            ring.timeout(Duration::from_millis(2)).await.unwrap();
            drop(timer);
            while seen.strong_count() > 0 {
                ring.timeout(Duration::from_millis(1)).await.unwrap();
            }
        }
        quiet(&ring).await;
        assert_eq!(ring.snapshot().orphaned, 10);
    });
}

fn completions_that_do_not_fit_are_not_lost<E: Exec>() {
    let builder = of_the_kernel().entries(8).completions(8);
    with_built::<E>(builder, async |ring| {
        if !has_multishot_timers(&ring).await {
            return;
        }
        let file = file_with(b"content");
        let (entry, interval) = multishot_timer(10_000, 400);
        // SAFETY: the interval is on the heap and kept; there is no descriptor.
        let timer =
            futures_util::future::join(unsafe { ring.raw(entry, None, interval) }, ring.nop());
        let mut timer = Box::pin(timer);
        let mut over = poll!(&mut timer);
        for _ in 0..30 {
            // Nobody reaps during the pause, so that the timer fills the queue.
            let mut reads: Vec<_> =
                (0..6).map(|_| ring.read_at_owned(&file, vec![0; 7], 0)).collect();
            for read in &mut reads {
                // Shared rings hand it over here; the result is looked at below.
                if let std::task::Poll::Ready(result) = poll!(&mut *read) {
                    assert_eq!(result.unwrap().1, b"content");
                    *read = ring.read_at_owned(&file, vec![0; 7], 0);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
            for read in join_all(reads).await {
                assert_eq!(read.unwrap().1, b"content");
            }
        }
        while over.is_pending() {
            ring.timeout(Duration::from_millis(1)).await.unwrap();
            over = poll!(&mut timer);
        }
        let std::task::Poll::Ready((output, nop)) = over else { unreachable!() };
        nop.unwrap();
        assert_eq!(output.result.unwrap_err().raw_os_error(), Some(libc::ETIME));
        assert!(output.earlier.len() < 400);
        must_fail_plainly(ring.fsync(&pipe().0).await, libc::EINVAL);
        assert_eq!(ring.snapshot().stale_completions, 0);
    });
}
