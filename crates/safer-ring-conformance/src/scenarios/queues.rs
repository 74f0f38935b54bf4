//! Many operations, little room, wakers, threads.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use safer_ring::{Mode, OpError, OpenOptions, Operation, Payload};

use crate::env::{Env, RECORD, Trouble, Verdict, seen};
use crate::environments::Tag;
use crate::far::Far;
use crate::kit::{moved, pattern, poll_once, start, turn, until, yes};
use crate::scenario::{Expect, Need, Scenario, row};

pub(super) const TABLE: &[Scenario] = &[
    row!(Queue, two_thousand_operations_pass, [Nop], "2000 ended, submitted and completed: yes"),
    row!(
        Queue,
        parked_receives_hold_nobody_back,
        [Recv, Nop],
        "others: ok; 100 of 100 got their byte"
    ),
    row!(Queue, completions_reach_their_own_operation, [Recv], "32 of 32 right"),
    row!(Queue, cancellations_pass_a_full_queue, [Recv], "cancelled: 64 of 64"),
    row!(Queue, a_batch_of_a_hundred_passes, [Nop], "100 ended"),
    row!(Queue, drops_in_a_full_queue_leave_nothing, [Recv], "left: 0; then ok"),
    row!(Queue, operations_started_and_not_awaited_go_to_the_kernel, [Write], "file: 16 bytes"),
    row!(Queue, a_stale_completion_ends_nothing, [Recv], "16 'new'"),
    row!(Queue, a_thousand_timers_end, [Timeout], "1000 ended"),
    row!(Queue, the_last_waker_is_woken, [Recv], "first: 0, last: woken"),
    row!(Queue, many_descriptors_of_one_file, [Read], "20 of 20 right"),
    row!(Queue, reads_and_writes_through_one_pipe, [Read, Write], "100000 bytes, in order: yes"),
    row!(Queue, another_thread_wakes_the_ring, [Recv], "5 'later'").needs(Need::Threads),
    row!(
        Queue,
        threads_race_for_the_last_place,
        [Write],
        "4000 written, each once and whole: yes; stale: 0"
    )
    .needs(Need::Threads)
    .but(&[(Tag::Local, Expect::Skip("a local ring is for one thread"))]),
    row!(Queue, nothing_is_left_over, [Nop], "in flight of users: 0, stale: 0")
        .but(&[(Tag::Faulty, Expect::Skip("there are completions of nothing, which are counted"))]),
];

async fn two_thousand_operations_pass<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = env.ring();
    let mut ended = 0;
    for _ in 0..20 {
        let mut nops: Vec<_> = (0..100).map(|_| ring.nop()).collect();
        // Begun all together; what is over is not to be polled again.
        let early: Vec<_> = nops.iter_mut().map(poll_once).collect();
        for (nop, early) in nops.into_iter().zip(early) {
            match early {
                Poll::Ready(done) => done?,
                Poll::Pending => nop.await?,
            }
            ended += 1;
        }
    }
    let now = ring.snapshot();
    let same = (now.submitted, now.completed) == (2000, 2000);
    seen!("{ended} ended, submitted and completed: {}", yes(same))
}

type Received = Result<(usize, Vec<u8>), OpError<Vec<u8>>>;

/// Connections with a receive that waits on each.
#[allow(clippy::type_complexity, reason = "the payload has no name")]
async fn park<M: Mode>(
    env: &Env<M>,
    count: usize,
) -> Result<Vec<(Operation<M, impl Payload<Output = Received>>, Far<M>)>, Trouble> {
    let mut all = Vec::new();
    for _ in 0..count {
        let (near, far) = env.stream().await?;
        let mut receive = env.ring().recv(&near, vec![0; 4]);
        start(&mut receive)?;
        all.push((receive, far));
    }
    Ok(all)
}

async fn parked_receives_hold_nobody_back<M: Mode>(env: &Env<M>) -> Verdict {
    let parked = park(env, 100).await?;
    let others = crate::kit::plain(&env.ring().nop().await);
    let mut right = 0;
    for (receive, far) in parked {
        far.write_all(b"x").await?;
        right += usize::from(receive.await?.1 == b"x");
    }
    seen!("others: {others}; {right} of 100 got their byte")
}

async fn completions_reach_their_own_operation<M: Mode>(env: &Env<M>) -> Verdict {
    let mut parked = park(env, 32).await?;
    turn(env.ring()).await?;
    // In another order than they were started.
    for (at, (_, far)) in parked.iter_mut().enumerate().rev() {
        far.write_all(&[u8::try_from(at)?]).await?;
    }
    let mut right = 0;
    for (at, (receive, _)) in parked.into_iter().enumerate() {
        right += usize::from(receive.await?.1 == [u8::try_from(at)?]);
    }
    seen!("{right} of 32 right")
}

async fn cancellations_pass_a_full_queue<M: Mode>(env: &Env<M>) -> Verdict {
    let parked = park(env, 64).await?;
    let mut cancels = Vec::new();
    let mut peers = Vec::new();
    for (receive, far) in parked {
        let mut cancel = receive.cancel();
        if let Poll::Ready(ended) = poll_once(&mut cancel) {
            cancels.push(Err(ended.is_cancelled()));
        } else {
            cancels.push(Ok(cancel));
        }
        peers.push(far);
    }
    let mut cancelled = 0;
    for cancel in cancels {
        let is = match cancel {
            Ok(cancel) => cancel.await.is_cancelled(),
            Err(is) => is,
        };
        cancelled += usize::from(is);
    }
    seen!("cancelled: {cancelled} of {}", peers.len())
}

async fn a_batch_of_a_hundred_passes<M: Mode>(env: &Env<M>) -> Verdict {
    let mut batch = env.ring().batch();
    let members: Vec<_> = (0..100).map(|_| batch.nop()).collect();
    batch.submit().await;
    let mut ended = 0;
    for member in members {
        member.await?;
        ended += 1;
    }
    seen!("{ended} ended")
}

async fn drops_in_a_full_queue_leave_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    drop(park(env, 64).await?);
    let done = crate::kit::plain(&env.ring().nop().await);
    until(env.ring(), "all have ended", || env.ring().operations().is_empty()).await?;
    seen!("left: {}; then {done}", env.ring().operations().len())
}

async fn operations_started_and_not_awaited_go_to_the_kernel<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let mut writes: Vec<_> =
        (0..16).map(|at| env.ring().write_at_owned(&file, vec![b'x'], at)).collect();
    let early = writes.iter_mut().map(poll_once).filter(Poll::is_ready).count();
    let size = || env.content(&path).map_or(0, |content| content.len());
    until(env.ring(), "all are written", || size() == 16).await?;
    drop((writes, early));
    seen!("file: {} bytes", size())
}

async fn a_stale_completion_ends_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (mut right, ring) = (0, env.ring());
    for _ in 0..16 {
        // An operation is dropped, and its place in the table used again at once.
        let (old, old_far) = env.stream().await?;
        start(&mut ring.recv(&old, vec![0; 9]))?;
        turn(ring).await?;
        drop(old);
        let (new, new_far) = env.stream().await?;
        let mut receive = ring.recv(&new, vec![0; 9]);
        start(&mut receive)?;
        // Nobody may be left to see this.
        let _ = old_far.write_all(b"old").await;
        turn(ring).await?;
        new_far.write_all(b"new").await?;
        right += usize::from(receive.await?.1 == b"new");
    }
    seen!("{right} 'new'")
}

async fn a_thousand_timers_end<M: Mode>(env: &Env<M>) -> Verdict {
    let timer = |at: u64| env.ring().timeout(std::time::Duration::from_micros(at * 3));
    let mut timers: Vec<_> = (0..1000).map(timer).map(Some).collect();
    let mut ended = 0;
    for slot in &mut timers {
        if let Some(timer) = slot
            && poll_once(timer).is_ready()
        {
            *slot = None;
            ended += 1;
        }
    }
    for timer in timers.into_iter().flatten() {
        timer.await?;
        ended += 1;
    }
    seen!("{ended} ended")
}

#[derive(Default)]
struct Counter(AtomicU64);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn the_last_waker_is_woken<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let (first, last) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let mut receive = Box::pin(env.ring().recv(&near, vec![0; 9]));
    for counter in [&first, &last] {
        let waker = Waker::from(Arc::clone(counter));
        if receive.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return Err("it was over at once".into());
        }
    }
    turn(env.ring()).await?;
    far.write_all(b"x").await?;
    until(env.ring(), "somebody is woken", || {
        first.0.load(Ordering::SeqCst) + last.0.load(Ordering::SeqCst) > 0
    })
    .await?;
    let woken = last.0.load(Ordering::SeqCst) > 0;
    let last = if woken { "woken" } else { "not woken" };
    seen!("first: {}, last: {last}", first.0.load(Ordering::SeqCst))
}

async fn many_descriptors_of_one_file<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", &pattern(2000)).await?;
    let mut right = 0;
    for at in 0..20_u64 {
        let file = env.ring().open(&path, &OpenOptions::new().read(true)).await?;
        let (_, bytes) = env.ring().read_at_owned(&file, vec![0; 100], at * 100).await?;
        let place = usize::try_from(at * 100)?;
        right += usize::from(pattern(2000).get(place..place + 100) == Some(&bytes[..]));
    }
    seen!("{right} of 20 right")
}

async fn reads_and_writes_through_one_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let sent = pattern(100_000);
    let writer = safer_ring::pipe::PipeWriter::from_fd(env.ring(), writer);
    let reader = safer_ring::pipe::PipeReader::from_fd(env.ring(), reader);
    let (wrote, read) =
        crate::kit::both(writer.write_all(sent.clone()), reader.read_exact(vec![0; 100_000])).await;
    wrote?;
    let got = read?;
    seen!("{} bytes, in order: {}", got.len(), yes(got == sent))
}

async fn another_thread_wakes_the_ring<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
    let near = safer_ring::Fd::new(near);
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    let thread = std::thread::spawn(move || far.write_all(b"later").map(|()| far));
    let received = moved(&receive.await);
    thread.join().map_err(|_| "the thread panicked")??;
    seen!("{received}")
}

/// All of them through one kernel ring, whose queue has one place: whoever fills it fills the last. An entry that is lost never
/// runs, and one that is seen twice is written twice.
async fn threads_race_for_the_last_place<M: Mode>(env: &Env<M>) -> Verdict {
    const THREADS: usize = 4;
    const EACH: usize = 1000;
    let path = env.file_at("records", b"").await?;
    let appended = env.ring().open(&path, &OpenOptions::new().append(true)).await?;
    let (written, stale) = env.records(&appended, THREADS, EACH)?;
    let content = env.content(&path)?;
    let mut numbers: Vec<u32> = content
        .chunks(RECORD)
        .filter_map(|record| Some(u32::from_ne_bytes(record.try_into().ok()?)))
        .collect();
    numbers.sort_unstable();
    let all = u32::try_from(THREADS * EACH)?;
    let right = content.len() == RECORD * THREADS * EACH && numbers.into_iter().eq(0..all);
    seen!("{written} written, each once and whole: {}; stale: {stale}", yes(right))
}

async fn nothing_is_left_over<M: Mode>(env: &Env<M>) -> Verdict {
    for _ in 0..50 {
        turn(env.ring()).await?;
    }
    let (left, now) = (env.ring().operations().len(), env.ring().snapshot());
    seen!("in flight of users: {left}, stale: {}", now.stale_completions)
}
