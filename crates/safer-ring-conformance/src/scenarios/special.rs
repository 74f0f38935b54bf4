//! No-ops, polls, timers, batches, chains.

use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use safer_ring::{Fd, Interest, Mode};

use crate::env::{Env, Verdict, seen};
use crate::environments::Tag;
use crate::kit::{ended, moved, plain, poll_once, start, text, turn, until, word, yes};
use crate::scenario::{Expect, Need, Scenario, row};

const TOO_LONG: &str = "a chain is one submission, with a place for each member";

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, a_nop_completes, [Nop], "ok, submitted: 1"),
    row!(Drop, a_dropped_nop_is_nothing, [Nop], "left: 0"),
    row!(Success, poll_sees_what_is_there, [Poll], "readable: yes, writable: no"),
    row!(Success, poll_waits, [Poll], "readable: yes"),
    row!(Success, poll_sees_a_hang_up, [Poll], "hang-up: yes"),
    row!(Success, poll_of_a_file_is_immediate, [Poll], "readable: yes, writable: yes"),
    row!(Error, poll_of_what_is_only_a_place, [Poll], "EBADF").needs(Need::Place),
    row!(Success, poll_sees_kept_bytes, [Poll], "readable: yes; 4 'kept'"),
    row!(Cancel, poll_is_cancelled, [Poll], "cancelled: yes"),
    row!(Drop, a_dropped_poll_ends, [Poll], "asked to end: 1, left: 0"),
    row!(Success, a_timer_ends_not_early, [Timeout], "ok, early: no"),
    row!(Success, timers_end_in_the_order_of_their_deadlines, [Timeout], "1 2 3"),
    row!(Success, a_timer_of_no_time, [Timeout], "ok"),
    row!(Cancel, a_timer_is_cancelled, [Timeout], "cancelled: yes"),
    row!(Drop, a_dropped_timer_ends_nothing_else, [Timeout], "ok"),
    row!(Success, a_timer_of_all_time_can_be_had, [Timeout], "pending: yes"),
    row!(Success, a_batch_gives_each_member_its_result, [Read, Write, Nop], "ok, 3 'abc', 1 'x'")
        .but(&[(Tag::Faulty, Expect::Skip("the write of a batch may come before its read"))]),
    row!(Error, a_member_that_fails_fails_alone, [Read, Nop], "EBADF 'kept', ok"),
    row!(Cancel, a_member_of_a_batch_is_cancelled, [Recv], "cancelled: yes, ok"),
    row!(Drop, a_dropped_member_goes_by_its_own_row, [Write, Recv], "file: x; next: 1 'y'"),
    row!(Success, a_chain_runs_in_order, [Write, Fsync, Read], "1 'x', ok, 1 'x'").but(&[(
        Tag::Tiny,
        Expect::Otherwise { seen: "ChainTooLong, ChainTooLong, ChainTooLong", why: TOO_LONG },
    )]),
    row!(
        Short,
        a_short_read_ends_its_chain,
        [Read, Write],
        "3 'abc', ChainShort(0:3/10) 'kept'; file: abc"
    )
    .but(&[(
        Tag::Tiny,
        Expect::Otherwise {
            seen: "ChainTooLong '', ChainTooLong 'kept'; file: abc",
            why: TOO_LONG,
        },
    )]),
    row!(
        Error,
        a_failed_member_ends_its_chain,
        [Read, Write],
        "EBADF 'lent', ChainFailed(0:EBADF) 'kept'"
    )
    .but(&[(
        Tag::Tiny,
        Expect::Otherwise { seen: "ChainTooLong 'lent', ChainTooLong 'kept'", why: TOO_LONG },
    )]),
    row!(Error, a_timer_in_a_chain_is_refused, [Timeout, Nop], "EINVAL"),
];

async fn a_nop_completes<M: Mode>(env: &Env<M>) -> Verdict {
    let done = env.ring().nop().await;
    seen!("{}, submitted: {}", plain(&done), env.ring().snapshot().submitted)
}

async fn a_dropped_nop_is_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    for _ in 0..10 {
        let _ = poll_once(&mut env.ring().nop());
    }
    ended(env.ring()).await?;
    seen!("left: {}", env.ring().operations().len())
}

fn has(bits: u32, what: Interest) -> &'static str {
    yes(Interest::from_bits(bits).contains(what))
}

async fn poll_sees_what_is_there<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    env.ring().write_owned(&writer, "x").await?;
    let bits = env.ring().poll(&reader, Interest::READABLE | Interest::WRITABLE).await?;
    seen!(
        "readable: {}, writable: {}",
        has(bits, Interest::READABLE),
        has(bits, Interest::WRITABLE)
    )
}

async fn poll_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut poll = env.ring().poll(&near, Interest::READABLE);
    start(&mut poll)?;
    turn(env.ring()).await?;
    start(&mut poll)?;
    far.write_all(b"x").await?;
    seen!("readable: {}", has(poll.await?, Interest::READABLE))
}

async fn poll_sees_a_hang_up<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut poll = env.ring().poll(&near, Interest::PRIORITY);
    start(&mut poll)?;
    turn(env.ring()).await?;
    drop(far);
    seen!("hang-up: {}", has(poll.await?, Interest::HANG_UP))
}

async fn poll_of_a_file_is_immediate<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let bits = env.ring().poll(&file, Interest::READABLE | Interest::WRITABLE).await?;
    seen!(
        "readable: {}, writable: {}",
        has(bits, Interest::READABLE),
        has(bits, Interest::WRITABLE)
    )
}

async fn poll_of_what_is_only_a_place<M: Mode>(env: &Env<M>) -> Verdict {
    use rustix::fs::{Mode as Permissions, OFlags, open};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place: Fd<M> = Fd::new(open(env.file_at("file", b"").await?, flags, Permissions::empty())?);
    seen!("{}", plain(&env.ring().poll(&place, Interest::READABLE).await))
}

async fn poll_sees_kept_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    near.unread(b"kept".to_vec());
    let bits = env.ring().poll(&near, Interest::READABLE).await?;
    let kept = env.ring().recv(&near, vec![0; 9]).await;
    seen!("readable: {}; {}", has(bits, Interest::READABLE), moved(&kept))
}

async fn poll_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let mut poll = env.ring().poll(&near, Interest::READABLE);
    start(&mut poll)?;
    turn(env.ring()).await?;
    seen!("cancelled: {}", yes(poll.cancel().await.is_cancelled()))
}

async fn a_dropped_poll_ends<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let mut poll = env.ring().poll(&near, Interest::READABLE);
    start(&mut poll)?;
    turn(env.ring()).await?;
    let before = env.ring().snapshot().cancel_requests;
    drop(poll);
    until(env.ring(), "it has ended", || env.ring().operations().is_empty()).await?;
    let now = env.ring().snapshot();
    seen!("asked to end: {}, left: {}", now.cancel_requests - before, now.orphans)
}

async fn a_timer_ends_not_early<M: Mode>(env: &Env<M>) -> Verdict {
    let (begin, time) = (env.ring().now(), Duration::from_millis(3));
    let ended = env.ring().timeout(time).await;
    seen!("{}, early: {}", plain(&ended), yes(env.ring().now() - begin < time))
}

/// Puts its number into the list when it is woken.
struct Turn(u8, Arc<Mutex<Vec<u8>>>);

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        if let Ok(mut list) = self.1.lock() {
            list.push(self.0);
        }
    }
}

async fn timers_end_in_the_order_of_their_deadlines<M: Mode>(env: &Env<M>) -> Verdict {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut timers = Vec::new();
    // On an emulated processor it takes long to start one: their ends are counted from one beginning.
    let begin = Instant::now();
    for number in [3, 1, 2] {
        let end = begin + Duration::from_millis(u64::from(number) * 50);
        let left = end.saturating_duration_since(Instant::now());
        let mut timer = Box::pin(env.ring().timeout(left));
        let waker = Waker::from(Arc::new(Turn(number, Arc::clone(&woken))));
        if timer.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return Err("it ended at once".into());
        }
        timers.push(timer);
    }
    let list = || woken.lock().map(|list| list.clone()).unwrap_or_default();
    until(env.ring(), "all are woken", || list().len() == 3).await?;
    seen!("{}", crate::kit::list(list()))
}

async fn a_timer_of_no_time<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().timeout(Duration::ZERO).await))
}

async fn a_timer_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let mut timer = env.ring().timeout(Duration::from_secs(3600));
    start(&mut timer)?;
    seen!("cancelled: {}", yes(timer.cancel().await.is_cancelled()))
}

async fn a_dropped_timer_ends_nothing_else<M: Mode>(env: &Env<M>) -> Verdict {
    let mut long = env.ring().timeout(Duration::from_secs(3600));
    start(&mut long)?;
    drop(long);
    seen!("{}", plain(&env.ring().timeout(Duration::from_millis(2)).await))
}

async fn a_timer_of_all_time_can_be_had<M: Mode>(env: &Env<M>) -> Verdict {
    let mut long = env.ring().timeout(Duration::MAX);
    start(&mut long)?;
    env.ring().timeout(Duration::from_millis(1)).await?;
    seen!("pending: {}", yes(start(&mut long).is_ok()))
}

async fn a_batch_gives_each_member_its_result<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let mut batch = env.ring().batch();
    let nop = batch.nop();
    let read = batch.read_at(&file, vec![0; 9], 0);
    let write = batch.write_at(&file, b"x".to_vec(), 100);
    batch.submit().await;
    let (nop, read, write) = (nop.await, read.await, write.await);
    seen!("{}, {}, {}", plain(&nop), moved(&read), moved(&write))
}

async fn a_member_that_fails_fails_alone<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    let mut batch = env.ring().batch();
    let read = batch.read(&writer, b"kept".to_vec());
    let nop = batch.nop();
    batch.submit().await;
    seen!("{}, {}", moved(&read.await), plain(&nop.await))
}

async fn a_member_of_a_batch_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let mut batch = env.ring().batch();
    let receive = batch.recv(&near, vec![0; 9]);
    let nop = batch.nop();
    start(&mut Box::pin(batch.submit()))?;
    let nop = nop.await;
    let cancelled = receive.cancel().await.is_cancelled();
    seen!("cancelled: {}, {}", yes(cancelled), plain(&nop))
}

async fn a_dropped_member_goes_by_its_own_row<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let (near, far) = env.stream().await?;
    let mut batch = env.ring().batch();
    let write = batch.write_at(&file, b"x".to_vec(), 0);
    let receive = batch.recv(&near, vec![0; 9]);
    start(&mut Box::pin(batch.submit()))?;
    drop((write, receive));
    env.ring().fsync(&file).await?;
    far.write_all(b"y").await?;
    let next = env.ring().recv(&near, vec![0; 9]).await;
    seen!("file: {}; next: {}", text(&env.content(&path)?), moved(&next))
}

async fn a_chain_runs_in_order<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    let ring = env.ring();
    let write = ring.write_at_owned(&file, b"x".to_vec(), 0);
    let read = ring.read_at_owned(&file, Vec::with_capacity(1), 0);
    let ((wrote, synced), read) = write.then(ring.fsync(&file)).then(read).await;
    match (&wrote, &read) {
        (Err(a), Err(b)) => {
            seen!("{}, {}, {}", word(&a.error), plain(&synced), word(&b.error))
        }
        _ => seen!("{}, {}, {}", moved(&wrote), plain(&synced), moved(&read)),
    }
}

async fn a_short_read_ends_its_chain<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"abc").await?;
    let read = env.ring().read_at_owned(&file, Vec::with_capacity(10), 0);
    let write = env.ring().write_at_owned(&file, b"kept".to_vec(), 0);
    let (read, wrote) = read.then(write).await;
    let content = text(&env.content(&path)?);
    seen!("{}, {}; file: {content}", moved(&read), moved(&wrote))
}

async fn a_failed_member_ends_its_chain<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    let read = env.ring().read_owned(&writer, b"lent".to_vec());
    let write = env.ring().write_owned(&writer, b"kept".to_vec());
    let (read, wrote) = read.then(write).await;
    seen!("{}, {}", moved(&read), moved(&wrote))
}

async fn a_timer_in_a_chain_is_refused<M: Mode>(env: &Env<M>) -> Verdict {
    let (_, timer) = env.ring().nop().then(env.ring().timeout(Duration::ZERO)).await;
    seen!("{}", plain(&timer))
}
