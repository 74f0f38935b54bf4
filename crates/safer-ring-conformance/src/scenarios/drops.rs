//! What a drop means: reads, receives, accepts.

use safer_ring::{BufferPool, Fd, Mode, RingOf};

use crate::env::{Env, Observed, Trouble, Verdict, seen};
use crate::kit::{ended, moved, pattern, poll_once, start, text, turn, until, whole, yes};
use crate::morgue::{Morgue, reads_are_over};
use crate::scenario::{Need, Scenario, row};

pub(super) const TABLE: &[Scenario] = &[
    // Before the first poll nothing has happened.
    row!(Drop, a_write_that_never_started_is_not_done, [Write], "file: ''; submitted: none"),
    row!(Drop, a_buffer_that_was_never_lent_comes_back, [Read], "back: yes"),
    // Positional reads.
    row!(
        Drop,
        a_dropped_positional_read_releases_its_buffer,
        [Read],
        "back: yes, touched: no, kept bytes: 0"
    ),
    row!(
        Drop,
        a_dropped_vectored_read_releases_its_buffers,
        [ReadVectored],
        "back: 2 of 2, touched: no"
    ),
    row!(
        Drop,
        a_dropped_direct_read_releases_its_buffer_after_its_end,
        [Read],
        "back: yes, touched: no"
    )
    .needs(Need::DirectIo),
    // Receives.
    row!(Drop, bytes_that_come_after_the_drop_go_to_the_next, [Recv], "6 'before'"),
    row!(Drop, bytes_that_were_there_at_the_drop_go_to_the_next, [Recv], "5 'while'"),
    row!(Drop, bytes_of_a_receive_that_was_over_go_to_the_next, [Recv], "5 'after'"),
    row!(Drop, the_next_receive_may_wait_already, [Recv], "5 'later'"),
    row!(Drop, a_smaller_buffer_takes_a_part, [Recv], "2 'ab', 1 'c', 3 'def'"),
    row!(
        Drop,
        a_dropped_receive_costs_no_system_call,
        [Recv],
        "enters: 0, submitted: 0, cancelled: 0"
    ),
    row!(Drop, receives_dropped_in_turn_keep_the_order, [Recv], "1000 bytes, in order: yes"),
    row!(
        Drop,
        kept_bytes_are_found_by_other_kinds_of_receive,
        [Recv, Read, ReadVectored, RecvMsg],
        "'a' 'b' 'c' 'd'"
    ),
    row!(Drop, a_dropped_vectored_receive_keeps_its_bytes, [ReadVectored], "4 'abcd'"),
    row!(Drop, the_end_seen_by_a_dropped_receive_is_told, [Recv], "0 '', 0 ''"),
    row!(Drop, the_error_seen_by_a_dropped_receive_is_told, [Recv], "ECONNRESET 'kept'"),
    row!(Drop, a_part_of_a_dropped_receive_for_all_is_kept, [Recv], "3 'abc'"),
    row!(Drop, a_dropped_peek_takes_nothing, [Recv], "3 'abc'"),
    row!(Drop, a_dropped_read_of_a_pipe_keeps_its_bytes, [Read], "5 'bytes'"),
    row!(Drop, a_dropped_read_at_the_cursor_loses_nothing, [Read], "10 '0123456789'"),
    row!(Drop, a_dropped_read_exact_loses_nothing, [Recv], "ok 'abcdef'"),
    row!(Drop, what_was_unread_comes_first, [Recv], "4 'back', 1 'x'"),
    row!(Drop, a_forgotten_receive_keeps_the_order, [Recv], "first: nothing, next: 1 'b'"),
    // Accepts.
    row!(
        Drop,
        a_connection_after_the_drop_goes_to_the_next,
        [Accept],
        "the first: yes, the second: yes"
    ),
    row!(Drop, a_connection_before_the_drop_goes_to_the_next, [Accept], "the first: yes"),
    row!(Drop, kept_connections_are_closed_with_their_listener, [Accept], "peer: 0 bytes"),
];

async fn a_write_that_never_started_is_not_done<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let before = env.ring().snapshot().submitted;
    drop(env.ring().write_at_owned(&file, b"never".to_vec(), 0));
    let submitted = env.ring().snapshot().submitted - before;
    let none = if submitted == 0 { "none" } else { "some" };
    seen!("file: '{}'; submitted: {none}", text(&env.content(&path)?))
}

async fn a_buffer_that_was_never_lent_comes_back<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let pool = BufferPool::new(1, 64);
    let Some(buffer) = pool.take() else { return Err("an empty pool".into()) };
    drop(env.ring().read_at_owned(&file, buffer, 0));
    seen!("back: {}", yes(pool.take().is_some()))
}

async fn a_dropped_positional_read_releases_its_buffer<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(&pattern(4096)).await?;
    let mut morgue = Morgue::new(1, 4096)?;
    let _ = poll_once(&mut env.ring().read_at_owned(&file, morgue.buffer()?, 0));
    morgue.all(env.ring()).await?;
    ended(env.ring()).await?;
    seen!("back: yes, touched: {}, kept bytes: {}", morgue.touched(), file.kept_bytes())
}

async fn a_dropped_vectored_read_releases_its_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(&pattern(100)).await?;
    let mut morgue = Morgue::new(2, 64)?;
    let _ = poll_once(&mut env.ring().read_vectored_at(&file, morgue.buffers(), 0));
    morgue.all(env.ring()).await?;
    ended(env.ring()).await?;
    seen!("back: 2 of 2, touched: {}", morgue.touched())
}

async fn a_dropped_direct_read_releases_its_buffer_after_its_end<M: Mode>(env: &Env<M>) -> Verdict {
    const SIZE: usize = 1 << 20;
    let file = match env.direct(SIZE)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let mut morgue = Morgue::new(1, SIZE)?;
    let mut read = env.ring().read_at_owned(&file, morgue.buffer()?, 0);
    if poll_once(&mut read).is_pending() {
        // Handed over, and not waited for.
        turn(env.ring()).await?;
    }
    drop(read);
    morgue.all(env.ring()).await?;
    reads_are_over(env.ring(), &file, SIZE).await?;
    seen!("back: yes, touched: {}", morgue.touched())
}

/// Starts a receive and drops it.
pub(super) fn drop_receive<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>) -> Result<(), Trouble> {
    start(&mut ring.recv(fd, vec![0; 64]))
}

async fn bytes_that_come_after_the_drop_go_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    far.write_all(b"before").await?;
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn bytes_that_were_there_at_the_drop_go_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 64]);
    start(&mut receive)?;
    far.write_all(b"while").await?;
    drop(receive);
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn bytes_of_a_receive_that_was_over_go_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 64]);
    start(&mut receive)?;
    far.write_all(b"after").await?;
    until(env.ring(), "it is over", || env.ring().operations().is_empty()).await?;
    drop(receive);
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn the_next_receive_may_wait_already<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut first = env.ring().recv(&near, vec![0; 64]);
    let mut second = env.ring().recv(&near, vec![0; 64]);
    start(&mut first)?;
    start(&mut second)?;
    turn(env.ring()).await?;
    drop(first);
    far.write_all(b"later").await?;
    seen!("{}", moved(&second.await))
}

async fn a_smaller_buffer_takes_a_part<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    far.write_all(b"abcdef").await?;
    let mut all = Vec::new();
    for room in [2, 1, 9] {
        all.push(moved(&env.ring().recv(&near, Vec::with_capacity(room)).await));
    }
    seen!("{}", all.join(", "))
}

async fn a_dropped_receive_costs_no_system_call<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    let before = env.ring().snapshot();
    for _ in 0..100 {
        drop_receive(env.ring(), &near)?;
    }
    let after = env.ring().snapshot();
    let (enters, submitted) = (after.enters - before.enters, after.submitted - before.submitted);
    seen!("enters: {enters}, submitted: {submitted}, cancelled: {}", after.cancel_requests)
}

async fn receives_dropped_in_turn_keep_the_order<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let sent = pattern(1000);
    let mut got = Vec::new();
    for (round, chunk) in sent.chunks(7).enumerate() {
        let mut receive = env.ring().recv(&near, Vec::with_capacity(1 + round % 5));
        if let std::task::Poll::Ready(received) = poll_once(&mut receive) {
            got.extend(received?.1);
        }
        drop(receive);
        far.write_all(chunk).await?;
        if round % 3 == 0 {
            turn(env.ring()).await?;
            got.extend(env.ring().recv(&near, Vec::with_capacity(1 + round % 11)).await?.1);
        }
    }
    drop(far);
    loop {
        let (count, bytes) = env.ring().recv(&near, vec![0; 64]).await?;
        got.extend(bytes);
        if count == 0 {
            break;
        }
    }
    seen!("{} bytes, in order: {}", got.len(), yes(got == sent))
}

async fn kept_bytes_are_found_by_other_kinds_of_receive<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let ring = env.ring();
    let mut all = Vec::new();
    for (at, word) in ["a", "b", "c", "d"].iter().enumerate() {
        drop_receive(ring, &near)?;
        turn(ring).await?;
        far.write_all(word.as_bytes()).await?;
        let bytes = match at {
            0 => ring.recv(&near, vec![0; 9]).await?.1,
            1 => ring.read_owned(&near, vec![0; 9]).await?.1,
            2 => ring.read_vectored(&near, vec![vec![0; 9]]).await?.1.concat(),
            _ => ring.recv_msg(&near, vec![0; 9], 0).await?.buffer,
        };
        all.push(format!("'{}'", text(&bytes)));
    }
    seen!("{}", all.join(" "))
}

async fn a_dropped_vectored_receive_keeps_its_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut read = env.ring().read_vectored(&near, vec![vec![0; 2], vec![0; 2]]);
    start(&mut read)?;
    turn(env.ring()).await?;
    drop(read);
    far.write_all(b"abcd").await?;
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn the_end_seen_by_a_dropped_receive_is_told<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    drop(far);
    let first = env.ring().recv(&near, vec![0; 64]).await;
    let second = env.ring().recv(&near, vec![0; 64]).await;
    seen!("{}, {}", moved(&first), moved(&second))
}

async fn the_error_seen_by_a_dropped_receive_is_told<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let client = env.client(address).await?;
    let (server, _) = env.ring().accept(&listener).await?;
    env.ring().send(&server, "unread").await?;
    client.peek(6).await?;
    drop_receive(env.ring(), &server)?;
    turn(env.ring()).await?;
    // Bytes that nobody has read make the close a reset.
    drop(client);
    seen!("{}", moved(&env.ring().recv(&server, b"kept".to_vec()).await))
}

async fn a_part_of_a_dropped_receive_for_all_is_kept<M: Mode>(env: &Env<M>) -> Verdict {
    const WAITALL: u32 = 0x100;
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv_with(&near, vec![0; 6], WAITALL);
    start(&mut receive)?;
    turn(env.ring()).await?;
    far.write_all(b"abc").await?;
    turn(env.ring()).await?;
    drop(receive);
    ended(env.ring()).await?;
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn a_dropped_peek_takes_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    const PEEK: u32 = 0x2;
    let (near, far) = env.stream().await?;
    start(&mut env.ring().recv_with(&near, vec![0; 6], PEEK))?;
    turn(env.ring()).await?;
    far.write_all(b"abc").await?;
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn a_dropped_read_of_a_pipe_keeps_its_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    start(&mut env.ring().read_owned(&reader, vec![0; 64]))?;
    turn(env.ring()).await?;
    env.ring().write_owned(&writer, "bytes").await?;
    seen!("{}", moved(&env.ring().read_owned(&reader, vec![0; 64]).await))
}

async fn a_dropped_read_at_the_cursor_loses_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    let mut got = Vec::new();
    let mut read = env.ring().read_owned(&file, Vec::with_capacity(4));
    // Where nothing waits for a disk it may be over at once.
    if let std::task::Poll::Ready(read) = poll_once(&mut read) {
        got.extend(read?.1);
    }
    drop(read);
    loop {
        let (count, bytes) = env.ring().read_owned(&file, Vec::with_capacity(4)).await?;
        got.extend(bytes);
        if count == 0 {
            break;
        }
    }
    seen!("{} '{}'", got.len(), text(&got))
}

async fn a_dropped_read_exact_loses_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let stream = safer_ring::net::UnixStream::from_fd(env.ring(), near);
    far.write_all(b"abc").await?;
    let mut read = stream.read_exact(vec![0; 6]);
    start(&mut read)?;
    turn(env.ring()).await?;
    start(&mut read)?;
    drop(read);
    far.write_all(b"def").await?;
    seen!("{}", whole(&stream.read_exact(vec![0; 6]).await))
}

async fn what_was_unread_comes_first<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"x").await?;
    near.unread(b"back".to_vec());
    let first = env.ring().recv(&near, vec![0; 4]).await;
    let second = env.ring().recv(&near, vec![0; 4]).await;
    seen!("{}, {}", moved(&first), moved(&second))
}

async fn a_forgotten_receive_keeps_the_order<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut first = env.ring().recv(&near, vec![0; 1]);
    start(&mut first)?;
    turn(env.ring()).await?;
    std::mem::forget(first);
    far.write_all(b"a").await?;
    turn(env.ring()).await?;
    far.write_all(b"b").await?;
    // The library cannot know that it was forgotten: its byte is its own.
    let next = env.ring().recv(&near, Vec::with_capacity(1)).await;
    seen!("first: nothing, next: {}", moved(&next))
}

async fn a_connection_after_the_drop_goes_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    start(&mut env.ring().accept(&listener))?;
    turn(env.ring()).await?;
    let mut right = Vec::new();
    let clients = [env.client(address).await?, env.client(address).await?];
    for client in &clients {
        let (_, peer) = env.ring().accept(&listener).await?;
        right.push(peer.and_then(|peer| peer.ip()) == Some(client.local_addr()?));
    }
    let [first, second] = right.as_slice() else { return Err("two were accepted".into()) };
    seen!("the first: {}, the second: {}", yes(*first), yes(*second))
}

async fn a_connection_before_the_drop_goes_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let mut accept = env.ring().accept(&listener);
    start(&mut accept)?;
    turn(env.ring()).await?;
    let client = env.client(address).await?;
    until(env.ring(), "it is over", || env.ring().operations().is_empty()).await?;
    drop(accept);
    let (_, peer) = env.ring().accept(&listener).await?;
    seen!("the first: {}", yes(peer.and_then(|peer| peer.ip()) == Some(client.local_addr()?)))
}

async fn kept_connections_are_closed_with_their_listener<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    start(&mut env.ring().accept(&listener))?;
    turn(env.ring()).await?;
    let client = env.client(address).await?;
    let kept = || env.ring().snapshot().adopted_connections > 0;
    until(env.ring(), "the connection is kept", kept).await?;
    drop(listener);
    seen!("peer: {} bytes", client.read(8).await?.len())
}
