//! Ends: of rings, of descriptors, of what is in flight.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::task::Poll;
use std::time::{Duration, Instant};

use safer_ring::{Mode, Phase};

use crate::env::{Env, Observed, Verdict, seen};
use crate::environments::Tag;
use crate::far::fill;
use crate::kit::{list, moved, plain, poll_once, start, text, turn, until, word, yes};
use crate::morgue::{Morgue, reads_are_over};
use crate::scenario::{Expect, Need, Scenario, row};

pub(super) const TABLE: &[Scenario] = &[
    row!(Life, a_dropped_ring_releases_its_buffers, [Recv], "4 'late', touched: no; peer: 0 bytes"),
    row!(Life, a_future_outlives_the_handles_of_its_ring, [Recv], "1 'x'")
        .but(&[(Tag::Local, Expect::Skip("it makes progress in the block_on of its own ring"))]),
    row!(Life, a_dropped_ring_keeps_direct_reads_alive, [Read], "back: 2 of 2, touched: no")
        .needs(Need::DirectIo),
    row!(Life, a_dropped_ring_finishes_its_writes, [Write], "file: done"),
    row!(Life, fifty_rings_in_a_row, [Nop], "50 of 50"),
    row!(Life, two_rings_at_the_same_time, [Write, Read], "5 'bytes'"),
    row!(Life, a_clone_keeps_the_ring, [Nop], "ok"),
    row!(Life, an_operation_keeps_its_file_open, [Recv], "number reused: no; 1 'x'")
        .needs(Need::Number),
    row!(Life, a_descriptor_in_use_is_not_given_away, [Recv], "refused: yes; given later: yes")
        .needs(Need::Number),
    row!(
        Life,
        a_descriptor_with_kept_bytes_is_not_given_away,
        [Recv],
        "refused: yes; given later: yes"
    )
    .needs(Need::Number),
    row!(Life, a_close_waits_for_what_was_dropped, [Send, Close], "ok; peer: 4 'left', then 0 ''"),
    row!(Life, a_close_beside_a_live_receive_is_refused, [Recv, Close], "Busy; 1 'x'"),
    row!(Life, a_drained_ring_has_nothing_left, [Write, Recv], "complete: yes, and goes on: ok"),
    row!(Life, what_is_left_after_draining_is_named, [Write], "write, orphaned: yes"),
    row!(
        Life,
        operations_are_listed,
        [Recv, Nop],
        "recv on its descriptor: yes, with the kernel: yes"
    )
    .but(&[(Tag::Faulty, Expect::Skip("one that is put off is polled for first"))]),
    row!(Life, what_arrives_too_late_is_counted, [Accept], "kept: 1, then taken: 0 left"),
    row!(Life, a_shared_ring_is_used_from_many_threads, [Nop], "400 of 400")
        .needs(Need::Threads)
        .but(&[(Tag::Local, Expect::Skip("a local ring is for one thread"))]),
    row!(Life, the_ring_lends_its_own_buffers, [Read], "5 'bytes', given back: yes"),
];

async fn a_dropped_ring_releases_its_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut morgue = Morgue::new(1, 64)?;
    let ring = env.another()?;
    let mut receive = ring.recv(&near, morgue.buffer()?);
    start(&mut receive)?;
    env.drive(&ring, ring.nop()).await?;
    drop(receive);
    drop(ring);
    morgue.all(env.ring()).await?;
    // What comes now is for others: a receive that is still there would take it, into memory that is not its own any more.
    far.write_all(b"late").await?;
    let next = moved(&env.ring().recv(&near, vec![0; 64]).await);
    drop(near);
    seen!("{next}, touched: {}; peer: {} bytes", morgue.touched(), far.read(8).await?.len())
}

async fn a_future_outlives_the_handles_of_its_ring<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let ring = env.another()?;
    let mut receive = ring.recv(&near, vec![0; 9]);
    start(&mut receive)?;
    drop(ring);
    far.write_all(b"x").await?;
    seen!("{}", moved(&receive.await))
}

/// A ring of one thread waits twice as long for what a disk does, and then leaks its memory.
const SLOW_DISK: Duration = Duration::from_millis(100);

async fn a_dropped_ring_keeps_direct_reads_alive<M: Mode>(env: &Env<M>) -> Verdict {
    const SIZE: usize = 1 << 20;
    let file = match env.direct(SIZE)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let mut morgue = Morgue::new(2, SIZE)?;
    let ring = env.another()?;
    let mut reads: Vec<_> =
        morgue.buffers().into_iter().map(|buffer| ring.read_at_owned(&file, buffer, 0)).collect();
    let early: Vec<_> = reads.iter_mut().map(poll_once).collect();
    env.drive(&ring, ring.nop()).await?;
    drop((reads, early));
    let begin = Instant::now();
    drop(ring);
    if !morgue.look() && begin.elapsed() > SLOW_DISK {
        return Ok(Observed::Skipped("its disk is slow, and the memory was leaked".to_owned()));
    }
    morgue.all(env.ring()).await?;
    reads_are_over(env.ring(), &file, SIZE).await?;
    seen!("back: 2 of 2, touched: {}", morgue.touched())
}

async fn a_dropped_ring_finishes_its_writes<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let ring = env.another()?;
    let _ = poll_once(&mut ring.write_at_owned(&file, b"done".to_vec(), 0));
    drop(ring);
    until(env.ring(), "it is written", || env.content(&path).is_ok_and(|bytes| !bytes.is_empty()))
        .await?;
    seen!("file: {}", text(&env.content(&path)?))
}

async fn fifty_rings_in_a_row<M: Mode>(env: &Env<M>) -> Verdict {
    let mut made = 0;
    for _ in 0..50 {
        made += usize::from(env.another().is_ok());
    }
    seen!("{made} of 50")
}

async fn two_rings_at_the_same_time<M: Mode>(env: &Env<M>) -> Verdict {
    // A descriptor belongs to no ring.
    let (reader, writer) = env.pipe().await?;
    let other = env.another()?;
    env.drive(&other, other.write_owned(&writer, b"bytes".to_vec())).await?;
    seen!("{}", moved(&env.ring().read_owned(&reader, vec![0; 9]).await))
}

async fn a_clone_keeps_the_ring<M: Mode>(env: &Env<M>) -> Verdict {
    let clone = env.ring().clone();
    drop(env.ring().clone());
    seen!("{}", plain(&clone.nop().await))
}

async fn an_operation_keeps_its_file_open<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let number = near.as_fd().as_raw_fd();
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    drop(near);
    let opened = [(); 20].map(|()| std::fs::File::open("/dev/null"));
    let reused = opened.iter().flatten().any(|file| file.as_raw_fd() == number);
    far.write_all(b"x").await?;
    seen!("number reused: {}; {}", yes(reused), moved(&receive.await))
}

async fn a_descriptor_in_use_is_not_given_away<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    let (refused, near) = match near.try_into_owned() {
        Ok(_) => return seen!("given away"),
        Err(near) => (true, near),
    };
    far.write_all(b"x").await?;
    receive.await?;
    seen!("refused: {}; given later: {}", yes(refused), yes(near.try_into_owned().is_ok()))
}

async fn a_descriptor_with_kept_bytes_is_not_given_away<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    near.unread(b"kept".to_vec());
    let near = match near.try_into_owned() {
        Ok(_) => return seen!("given away"),
        Err(near) => near,
    };
    near.drop_kept();
    seen!("refused: yes; given later: {}", yes(near.try_into_owned().is_ok()))
}

async fn a_close_waits_for_what_was_dropped<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let near = safer_ring::net::UnixStream::from_fd(env.ring(), near);
    let mut send = near.write_all(b"left".to_vec());
    let _ = poll_once(&mut send);
    drop(send);
    let closed = near.close().await.map_err(|error| error.error);
    let first = env.ring().recv(&far, vec![0; 9]).await;
    let second = env.ring().recv(&far, vec![0; 9]).await;
    seen!("{}; peer: {}, then {}", plain(&closed), moved(&first), moved(&second))
}

async fn a_close_beside_a_live_receive_is_refused<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    let Err(error) = env.ring().close(near).await else { return seen!("closed") };
    far.write_all(b"x").await?;
    seen!("{}; {}", word(&error.error), moved(&receive.await))
}

const SOON: Duration = Duration::from_secs(15);

async fn a_drained_ring_has_nothing_left<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    let (near, _far) = env.stream().await?;
    let _ = poll_once(&mut env.ring().write_at_owned(&file, b"x".to_vec(), 0));
    start(&mut env.ring().recv(&near, vec![0; 9]))?;
    let drained = env.ring().drain(env.ring().now() + SOON).await;
    let on = plain(&env.ring().nop().await);
    seen!("complete: {}, and goes on: {on}", yes(drained.is_complete()))
}

async fn what_is_left_after_draining_is_named<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    fill(env, &writer).await?;
    start(&mut env.ring().write_owned(&writer, vec![1; 10]))?;
    turn(env.ring()).await?;
    let drained = env.ring().drain(env.ring().now() + Duration::from_millis(2)).await;
    let left: Vec<_> = drained.left().iter().collect();
    let orphaned = left.iter().all(|operation| operation.orphaned);
    drop(reader);
    seen!("{}, orphaned: {}", list(left.iter().map(|left| left.name)), yes(orphaned))
}

async fn operations_are_listed<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    let all = env.ring().operations();
    let [one] = all.as_slice() else { return seen!("{} operations", all.len()) };
    let right = one.fd == Some(near.as_fd().as_raw_fd());
    let there = one.phase == Phase::InFlight;
    seen!("{} on its descriptor: {}, with the kernel: {}", one.name, yes(right), yes(there))
}

async fn what_arrives_too_late_is_counted<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    start(&mut env.ring().accept(&listener))?;
    turn(env.ring()).await?;
    let _client = env.client(address).await?;
    let kept = || env.ring().snapshot().adopted_connections;
    until(env.ring(), "it has come", || kept() > 0).await?;
    let count = kept();
    env.ring().accept(&listener).await?;
    seen!("kept: {count}, then taken: {} left", env.ring().operations().len())
}

async fn a_shared_ring_is_used_from_many_threads<M: Mode>(env: &Env<M>) -> Verdict {
    let ended = env.across_threads(4, 100)?;
    seen!("{ended} of 400")
}

async fn the_ring_lends_its_own_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    env.ring().write_owned(&writer, "bytes").await?;
    let (count, buffer) = env.ring().read_ring_buffer(&reader).await?;
    let bytes = text(&buffer);
    drop(buffer);
    drop(writer);
    // More often than there are buffers, were they not given back. Many at a time: a kernel thread that is woken for each
    // one is slow on an emulated processor.
    for _ in 0..22 {
        let mut waiting = Vec::new();
        for mut read in (0..50).map(|_| env.ring().read_ring_buffer(&reader)) {
            match poll_once(&mut read) {
                Poll::Ready(end) => drop(end?),
                Poll::Pending => waiting.push(read),
            }
        }
        for read in waiting {
            read.await?;
        }
    }
    seen!("{count} '{bytes}', given back: yes")
}
