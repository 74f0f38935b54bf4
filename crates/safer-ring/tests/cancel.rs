//! Ending operations early: what became of them is known, and the buffer comes back in every case.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::net::{poll_once, settled, unix_pair, until};
use common::tracked::Morgue;
use common::{Exec, everywhere, failure, file_with, pattern, with_ring};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use safer_ring::{Ended, Failure, Fd, Mode, OpenOptions, Phase, RingOf};

everywhere! {
    an_operation_that_has_not_started_is_cancelled_without_the_kernel,
    a_connection_reaches_another_accept_if_the_one_that_it_woke_was_cancelled,
    a_receive_is_cancelled_and_gives_its_buffer_back,
    a_receive_that_has_its_bytes_is_completed,
    a_cancelled_receive_takes_nothing,
    a_part_of_a_receive_for_all_is_reported,
    what_has_ended_is_completed_with_its_error,
    operations_without_buffers_are_cancelled,
    a_vectored_receive_gives_its_buffers_back,
    a_receive_that_waits_for_a_dropped_one_is_cancelled,
    a_member_of_a_batch_is_cancelled,
    a_timeout_gives_the_buffer_back,
    an_operation_in_time_has_its_result,
    a_deadline_that_has_passed_does_not_start_twice,
    a_timed_operation_can_be_dropped,
    a_hundred_thousand_timers_end,
    ten_thousand_operations_time_out,
    cancels_reach_the_kernel_through_a_full_queue,
    a_ring_is_drained,
    draining_ends_armed_receives_and_keeps_their_bytes,
    what_is_left_after_draining_is_named,
    a_wait_for_draining_that_is_over_changes_nothing,
    the_oldest_operation_is_known,
}

/// The kernel wakes one accept for a connection. Where that one is cancelled before it has looked, the others are not told.
fn a_connection_reaches_another_accept_if_the_one_that_it_woke_was_cancelled<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Fd::new(listener);
        for other_lives in [true, false] {
            let mut first = ring.accept(&listener);
            assert!(poll_once(&mut first).is_pending());
            let mut second = ring.accept(&listener);
            assert!(poll_once(&mut second).is_pending());
            ring.nop().await.unwrap();
            if !other_lives {
                drop(second);
                second = ring.accept(&listener);
                assert!(poll_once(&mut second).is_pending(), "it waits for the one that is armed");
            }
            // Wakes the first one, as a rule.
            let _client = TcpStream::connect(address).unwrap();
            if first.cancel().await.is_cancelled() {
                second.await.unwrap();
            }
        }
    });
}

fn an_operation_that_has_not_started_is_cancelled_without_the_kernel<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = unix_pair();
        let Ended::Cancelled(buffer) = ring.recv(&a, vec![5; 10]).cancel().await else { panic!() };
        assert_eq!(buffer, [5; 10]);
        assert_eq!(ring.snapshot().submitted, 0);
    });
}

fn a_receive_is_cancelled_and_gives_its_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let (a, _b) = unix_pair();
        for handed_over in [true, false] {
            let mut receive = ring.recv(&a, morgue.buffer(10));
            assert!(poll_once(&mut receive).is_pending());
            if handed_over {
                ring.nop().await.unwrap();
            }
            let Ended::Cancelled(buffer) = receive.cancel().await else { panic!() };
            assert_eq!(morgue.alive(), 1);
            drop(buffer);
            assert_eq!(morgue.alive(), 0);
        }
        morgue.assert_untouched();
        assert_eq!(ring.snapshot().cancelled, 2);
    });
}

fn a_receive_that_has_its_bytes_is_completed<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        for _ in 0..50 {
            let mut receive = ring.recv(&a, vec![0; 10]);
            assert!(poll_once(&mut receive).is_pending());
            ring.nop().await.unwrap();
            b.write_all(b"here").unwrap();
            // The two race; neither way is a byte lost.
            match receive.cancel().await {
                Ended::Completed(received) => assert_eq!(received.unwrap().1, b"here"),
                Ended::Cancelled(buffer) => {
                    assert_eq!(buffer, [0; 10]);
                    assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"here");
                }
            }
        }
    });
}

fn a_cancelled_receive_takes_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        let mut receive = ring.recv(&a, vec![0; 10]);
        assert!(poll_once(&mut receive).is_pending());
        assert!(receive.cancel().await.is_cancelled());
        b.write_all(b"later").unwrap();
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"later");
        assert_eq!(ring.snapshot().adopted_bytes, 0);
    });
}

fn a_part_of_a_receive_for_all_is_reported<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = common::net::tcp_pair();
        let a = Fd::new(a);
        for timed in [false, true] {
            const MSG_WAITALL: u32 = 0x100;
            let mut receive = ring.recv_with(&a, vec![0; 10], MSG_WAITALL);
            assert!(poll_once(&mut receive).is_pending());
            b.write_all(b"part").unwrap();
            // Until the kernel has taken the part in.
            let queued = || {
                let peer = std::net::TcpStream::from(a.duplicate().unwrap());
                peer.set_nonblocking(true).unwrap();
                let empty = peer.peek(&mut [0; 8]).is_err();
                peer.set_nonblocking(false).unwrap();
                empty
            };
            until(&ring, "the part is taken", queued).await;
            let received = if timed {
                receive.timeout(Duration::from_millis(1)).await
            } else {
                let Ended::Completed(received) = receive.cancel().await else { panic!() };
                received
            };
            assert_eq!(received.unwrap(), (4, b"part".to_vec()));
        }
    });
}

fn what_has_ended_is_completed_with_its_error<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file: Fd<E::M> = Fd::new(tempfile::tempfile().unwrap());
        let mut receive = ring.recv(&file, vec![7; 4]);
        let _ = poll_once(&mut receive).is_pending();
        ring.nop().await.unwrap();
        let mut receive = ring.recv(&file, vec![7; 4]);
        if poll_once(&mut receive).is_pending() {
            ring.nop().await.unwrap();
            ring.nop().await.unwrap();
            let Ended::Completed(Err(error)) = receive.cancel().await else { panic!() };
            assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
            assert_eq!(error.into_buffer(), [7; 4]);
        }
    });
}

fn operations_without_buffers_are_cancelled<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let listener = Fd::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut accept = ring.accept(&listener);
        assert!(poll_once(&mut accept).is_pending());
        assert!(accept.cancel().await.is_cancelled());
        let mut sleep = ring.timeout(Duration::from_secs(1000));
        assert!(poll_once(&mut sleep).is_pending());
        assert!(sleep.cancel().await.is_cancelled());
        let opened = ring.open("/proc/self/exe", &OpenOptions::new().read(true)).cancel().await;
        assert!(opened.is_cancelled());
    });
}

fn a_vectored_receive_gives_its_buffers_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = unix_pair();
        let mut receive = ring.read_vectored(&a, vec![vec![1; 3], vec![2; 4]]);
        assert!(poll_once(&mut receive).is_pending());
        let Ended::Cancelled(buffers) = receive.cancel().await else { panic!() };
        assert_eq!(buffers, [vec![1; 3], vec![2; 4]]);
    });
}

fn a_receive_that_waits_for_a_dropped_one_is_cancelled<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        let mut first = ring.recv(&a, vec![0; 10]);
        assert!(poll_once(&mut first).is_pending());
        drop(first);
        let mut second = ring.recv(&a, vec![3; 10]);
        assert!(poll_once(&mut second).is_pending());
        let Ended::Cancelled(buffer) = second.cancel().await else { panic!() };
        assert_eq!(buffer, [3; 10]);
        let error = ring.recv(&a, vec![4; 10]).timeout(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.into_buffer()), (ErrorKind::TimedOut, vec![4; 10]));
        b.write_all(b"kept").unwrap();
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"kept");
    });
}

fn a_member_of_a_batch_is_cancelled<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = unix_pair();
        let mut batch = ring.batch();
        let receive = batch.add(ring.recv(&a, vec![9; 10]));
        let nop = batch.add(ring.nop());
        assert!(poll_once(&mut Box::pin(batch.submit())).is_pending());
        nop.await.unwrap();
        let Ended::Cancelled(buffer) = receive.cancel().await else { panic!() };
        assert_eq!(buffer, [9; 10]);
    });
}

fn a_timeout_gives_the_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let morgue = Morgue::new();
        let (a, _b) = unix_pair();
        let started = Instant::now();
        let limit = Duration::from_millis(20);
        let error = ring.recv(&a, morgue.buffer(10)).timeout(limit).await.unwrap_err();
        assert!(started.elapsed() >= limit);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(failure(&error.error), Some(Failure::TimedOut));
        assert_eq!(morgue.alive(), 1);
        drop(error);
        assert_eq!(morgue.alive(), 0);
        let error = ring.recv(&a, vec![1]).deadline(started).await.unwrap_err();
        assert_eq!(error.into_buffer(), [1]);
    });
}

fn an_operation_in_time_has_its_result<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let hour = Duration::from_secs(3600);
        let file = file_with(&pattern(100));
        let (n, bytes) = ring.read_at_owned(&file, vec![0; 200], 0).timeout(hour).await.unwrap();
        assert_eq!((n, bytes), (100, pattern(100)));
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        let mut receive = ring.recv(&a, vec![0; 10]).deadline(Instant::now() + hour);
        assert!(poll_once(&mut receive).is_pending());
        b.write_all(b"in time").unwrap();
        assert_eq!(receive.await.unwrap().1, b"in time");
        settled(&ring).await;
        let error = ring.recv(&file, vec![0; 1]).timeout(hour).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    });
}

fn a_deadline_that_has_passed_does_not_start_twice<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = file_with::<E::M>(b"");
        // What ends at once has its result, however late it is.
        let past = Instant::now();
        for _ in 0..10 {
            match ring.write_at_owned(&file, b"x".to_vec(), 0).deadline(past).await {
                Ok((n, _)) => assert_eq!(n, 1),
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
        }
        settled(&ring).await;
    });
}

fn a_timed_operation_can_be_dropped<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        let mut receive = ring.recv(&a, vec![0; 10]).timeout(Duration::from_secs(3600));
        assert!(poll_once(&mut receive).is_pending());
        drop(receive);
        b.write_all(b"kept").unwrap();
        assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"kept");
        assert_eq!(ring.operations(), [], "nor is a timer left");
    });
}

fn a_hundred_thousand_timers_end<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // All in the same 50 ms, where they are begun within a second.
        let at = Instant::now() + Duration::from_secs(1);
        let due = |number: u64| at + Duration::from_micros(number % 50_000);
        let mut timers: Vec<_> =
            (0..100_000).map(|number| ring.timeout(due(number) - Instant::now())).collect();
        for timer in &mut timers {
            if let std::task::Poll::Ready(ended) = poll_once(timer) {
                ended.unwrap();
            }
        }
        let before = ring.snapshot();
        ring.timeout(at.saturating_duration_since(Instant::now())).await.unwrap();
        until(&ring, "all have ended", || ring.snapshot().completed >= 100_000).await;
        let after = ring.snapshot();
        // A turn in 50 us at most, and two enters for each.
        assert!(after.enters - before.enters < 2500, "many end in one turn: {after:?}");
        drop(timers);
    });
}

/// Ten thousand receives with a time limit; in debug builds a hundred thousand take long.
fn ten_thousand_operations_time_out<E: Exec>() {
    with_ring::<E>(64, async |ring| {
        let pairs: Vec<_> = (0..100).map(|_| unix_pair::<E::M>()).collect();
        let mut all: FuturesUnordered<_> = (0..10_000)
            .map(|at| {
                let receive = ring.recv(&pairs[at % 100].0, vec![0; 16]);
                receive.timeout(Duration::from_millis(10 + u64::try_from(at % 7).unwrap()))
            })
            .collect();
        let mut count = 0;
        while let Some(ended) = all.next().await {
            let error = ended.unwrap_err();
            assert_eq!((error.kind(), error.into_buffer().len()), (ErrorKind::TimedOut, 16));
            count += 1;
        }
        assert_eq!(count, 10_000);
        settled(&ring).await;
        assert_eq!(ring.snapshot().orphans, 0);
    });
}

fn cancels_reach_the_kernel_through_a_full_queue<E: Exec>() {
    with_ring::<E>(2, async |ring| {
        let pairs: Vec<_> = (0..200).map(|_| unix_pair::<E::M>()).collect();
        let mut receives: Vec<_> = pairs.iter().map(|(a, _)| ring.recv(a, vec![0; 4])).collect();
        for receive in &mut receives {
            assert!(poll_once(receive).is_pending());
        }
        let mut all: FuturesUnordered<_> = receives.into_iter().map(|r| r.cancel()).collect();
        while let Some(ended) = all.next().await {
            assert!(ended.is_cancelled());
        }
        assert_eq!(ring.snapshot().cancelled, 200);
    });
}

/// Waits in vain, to have something in flight.
async fn idle_receive<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>) -> impl Future + Unpin + use<M> {
    let mut receive = ring.recv(fd, vec![0; 10]);
    assert!(poll_once(&mut receive).is_pending());
    ring.nop().await.unwrap();
    receive
}

fn a_ring_is_drained<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let soon = || Instant::now() + common::deadline() / 2;
        assert!(ring.drain(soon()).await.is_complete());
        let file: Fd<E::M> = Fd::new(tempfile::tempfile().unwrap());
        let mut writes: Vec<_> = (0..100)
            .map(|at| ring.write_at_owned(&file, vec![at; 4096], 4096 * u64::from(at)))
            .collect();
        for write in &mut writes {
            let _ = poll_once(write);
        }
        drop(writes);
        let drained = ring.drain(soon()).await;
        assert!(drained.is_complete(), "{drained}");
        assert_eq!(drained.to_string(), "nothing in flight");
        let content = common::content(&file);
        assert!((0..100).all(|at| content[4096 * usize::from(at)] == at));
        // It is woken by the last completion.
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        let receive = idle_receive(&ring, &a).await;
        let mut drain = ring.drain(soon());
        assert!(poll_once(&mut drain).is_pending());
        b.write_all(b"x").unwrap();
        assert!(drain.await.is_complete());
        receive.await;
    });
}

fn draining_ends_armed_receives_and_keeps_their_bytes<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let a = Fd::new(a);
        for _ in 0..20 {
            drop(idle_receive(&ring, &a).await);
            assert_eq!(ring.snapshot().kept, 1);
            b.write_all(b"kept").unwrap();
            assert!(ring.drain(Instant::now() + common::deadline() / 2).await.is_complete());
            assert_eq!(ring.snapshot().in_flight.min(2), ring.snapshot().in_flight);
            assert_eq!(ring.recv(&a, vec![0; 10]).await.unwrap().1, b"kept");
        }
    });
}

fn what_is_left_after_draining_is_named<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let (a, b) = unix_pair();
        let receives = [idle_receive(&ring, &a).await, idle_receive(&ring, &b).await];
        let drained = ring.drain(Instant::now() + Duration::from_millis(30)).await;
        assert_eq!(drained.left().len(), 2);
        let number = a.as_fd().as_raw_fd();
        let first = drained.left().iter().find(|left| left.fd == Some(number)).unwrap();
        assert_eq!((first.name, first.phase, first.orphaned), ("recv", Phase::InFlight, false));
        assert!(drained.left()[0].age >= drained.left()[1].age);
        let text = drained.to_string();
        assert!(
            text.starts_with("2 operations, oldest ") && text.contains("recv on fd "),
            "{text}"
        );
        drop(receives);
    });
}

fn a_wait_for_draining_that_is_over_changes_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (a, _b) = unix_pair();
        let (c, _d) = unix_pair();
        // Keeps the ring from being drained.
        let live = idle_receive(&ring, &a).await;
        assert!(!ring.drain(Instant::now() + Duration::from_millis(5)).await.is_complete());
        let mut dropped = ring.drain(Instant::now() + common::deadline());
        assert!(poll_once(&mut dropped).is_pending());
        drop(dropped);
        drop(idle_receive(&ring, &c).await);
        let now = ring.snapshot();
        assert_eq!((now.kept, now.cancel_requests), (1, 0), "a dropped receive stays armed again");
        drop(live);
    });
}

fn the_oldest_operation_is_known<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        assert_eq!(ring.snapshot().oldest, None);
        let (a, b) = unix_pair();
        let old = idle_receive(&ring, &a).await;
        let wait = Duration::from_millis(50);
        ring.timeout(wait).await.unwrap();
        let young = idle_receive(&ring, &b).await;
        let oldest = ring.snapshot().oldest.unwrap();
        assert_eq!(oldest.fd, Some(a.as_fd().as_raw_fd()));
        // The clock behind it is a coarse one.
        assert!(oldest.age >= wait - Duration::from_millis(20), "{oldest}");
        drop((old, young));
    });
}
