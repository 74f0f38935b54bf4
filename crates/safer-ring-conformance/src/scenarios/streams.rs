//! Streams of bytes: connections and pipes.

use safer_ring::{Ended, Fd, Mode};

use crate::env::{Env, Trouble, Verdict, seen};
use crate::environments::Tag;
use crate::far::{Far, fill};
use crate::kit::{
    both, ended, moved, moved_all, pattern, start, text, turn, until, whole, word, yes,
};
use crate::scenario::{Expect, Need, Scenario, row};

/// The row of docs/BACKENDS.md about pipes that do not know `RWF_NOWAIT`.
const PIPES: &str = "pipes before kernel 6.4 or so, which do not know `RWF_NOWAIT`";

const SHORT: Expect = Expect::Differs { seen: "4096 of 20000", row: PIPES };

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, recv_gives_what_was_sent, [Recv, Send], "5 'bytes'; 5 'bytes'"),
    row!(Success, recv_waits, [Recv], "5 'later'"),
    row!(Short, recv_gives_less_than_it_has_room_for, [Recv], "3 'abc', then 3 'def'"),
    row!(Short, recv_leaves_what_it_has_no_room_for, [Recv], "4 'abcd', 2 'ef'"),
    row!(Eof, recv_from_a_peer_that_has_gone, [Recv], "4 'last', 0 '', 0 ''"),
    row!(Eof, a_waiting_recv_sees_the_end, [Recv], "0 ''"),
    row!(Error, recv_of_a_file, [Recv], "ENOTSOCK 'kept'"),
    row!(Error, recv_of_a_socket_that_is_not_connected, [Recv], "ENOTCONN 'kept'"),
    row!(Error, a_reset_reaches_a_waiting_recv, [Recv], "ECONNRESET 'kept'"),
    row!(Success, recv_with_waitall_waits_for_all, [Recv], "6 'abcdef'"),
    row!(Success, recv_with_peek_takes_nothing, [Recv], "3 'abc', 3 'abc', 6 'abcdef'"),
    row!(Error, recv_with_dontwait_does_not_wait, [Recv], "EAGAIN 'kept'"),
    row!(Cancel, recv_is_cancelled, [Recv], "cancelled 'kept'; later: 1 'x'"),
    row!(Cancel, recv_that_has_its_bytes_is_completed, [Recv], "completed 1 'x'"),
    row!(Cancel, recv_with_a_time_limit, [Recv], "TimedOut 'kept'; later: 1 'x'"),
    row!(Cancel, a_limit_that_is_not_reached_changes_nothing, [Recv], "1 'x'"),
    row!(Success, recv_of_a_nonblocking_socket_waits, [Recv], "5 'later'").needs(Need::Flags),
    row!(Success, receives_at_the_same_time_share_what_comes, [Recv], "a b c"),
    row!(Success, read_of_a_socket, [Read, Write], "5 'bytes', 5 'bytes'"),
    row!(
        Error,
        a_socket_has_no_places,
        [Read, Write],
        "ESPIPE 'kept', ESPIPE 'kept'; at 0: 5 'bytes'"
    ),
    row!(
        Error,
        a_socket_has_no_places_for_many_buffers,
        [ReadVectored, WriteVectored],
        "ESPIPE 'kept', ESPIPE 'kept'"
    ),
    row!(Success, read_into_many_buffers_of_a_socket, [ReadVectored], "5 'abc|de'"),
    row!(Cancel, read_into_many_buffers_is_cancelled, [ReadVectored], "cancelled 'ab|cd'"),
    row!(Error, send_to_a_peer_that_has_gone, [Send], "EPIPE 'kept'"),
    row!(Error, send_on_a_file, [Send], "ENOTSOCK 'kept'"),
    row!(Error, send_on_a_socket_that_is_not_connected, [Send], "ENOTCONN 'kept'"),
    row!(Success, send_waits_for_room, [Send], "waited: yes; 5 'bytes'"),
    row!(Cancel, send_that_waits_is_cancelled, [Send], "cancelled 'kept'"),
    row!(Error, send_with_dontwait_does_not_wait, [Send], "EAGAIN 'kept'"),
    row!(Success, send_vectored_joins_its_buffers, [SendMsg], "4 'ab|cd'; peer: abcd"),
    row!(Success, write_to_a_socket_of_many_buffers, [WriteVectored], "4 'ab|cd'; peer: abcd"),
    row!(Cancel, write_of_many_buffers_is_cancelled, [WriteVectored], "cancelled 'ab|cd'"),
    row!(Error, write_to_a_peer_that_has_gone, [Write], "EPIPE 'kept'"),
    row!(Success, a_megabyte_in_both_directions, [Recv, Send], "1048576 and 1048576, equal: yes"),
    row!(Success, read_exact_takes_what_comes_in_parts, [Recv], "ok 'abcdef'"),
    row!(Eof, read_exact_of_too_little, [Recv], "UnexpectedEof after 3"),
    row!(Success, write_all_goes_on_until_all_is_sent, [Send], "2000000 of 2000000"),
    row!(Success, a_pipe_carries_bytes, [Read, Write], "5 'bytes', 5 'bytes'"),
    row!(Success, a_read_of_a_pipe_waits, [Read], "5 'later'"),
    row!(Cancel, a_read_of_a_pipe_is_cancelled, [Read], "cancelled 'kept'; later: 1 'x'"),
    row!(Eof, a_read_of_a_pipe_sees_the_end, [Read], "0 ''"),
    row!(Error, a_write_to_a_pipe_without_readers, [Write], "EPIPE 'kept'"),
    row!(Error, the_wrong_end_of_a_pipe, [Read, Write], "EBADF 'kept', EBADF 'kept'"),
    row!(Success, a_large_write_to_a_pipe, [Write], "20000 of 20000")
        .but(&[(Tag::ShortPipeWrites, SHORT)]),
    row!(Cancel, a_write_to_a_full_pipe_is_cancelled, [Write], "cancelled 'kept'"),
    row!(Success, a_write_to_a_full_pipe_waits, [Write], "waited: yes; 4 'more'"),
    row!(Success, a_nonblocking_pipe_waits_all_the_same, [Read], "5 'later'").needs(Need::Flags),
    row!(Success, positions_are_ignored_by_a_pipe, [Read, Write], "1 'x', 1 'x'"),
];

const PEEK: u32 = 0x2;
const DONTWAIT: u32 = 0x40;
const WAITALL: u32 = 0x100;

/// "cancelled 'buffer'", or how it ended.
macro_rules! told {
    ($ended:expr, $moved:ident, $lent:expr) => {
        match $ended {
            Ended::Cancelled(buffer) => format!("cancelled '{}'", $lent(&buffer)),
            Ended::Completed(result) => format!("completed {}", $moved(&result)),
        }
    };
}

fn single(buffer: &[u8]) -> String {
    text(buffer)
}

fn joined(buffers: &[Vec<u8>]) -> String {
    buffers.iter().map(|buffer| text(buffer)).collect::<Vec<_>>().join("|")
}

/// Reads so many bytes with the ring.
pub(super) async fn take<M: Mode>(
    env: &Env<M>,
    fd: &Fd<M>,
    mut count: usize,
) -> Result<(), Trouble> {
    while count > 0 {
        let (moved, _) = env.ring().read_owned(fd, vec![0; count.min(65_536)]).await?;
        if moved == 0 {
            return Err("the end came early".into());
        }
        count -= moved;
    }
    Ok(())
}

async fn recv_gives_what_was_sent<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let sent = env.ring().send(&far, b"bytes".to_vec()).await;
    let received = env.ring().recv(&near, vec![0; 100]).await;
    seen!("{}; {}", moved(&sent), moved(&received))
}

async fn recv_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 100]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    far.write_all(b"later").await?;
    seen!("{}", moved(&receive.await))
}

async fn recv_gives_less_than_it_has_room_for<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"abc").await?;
    let first = env.ring().recv(&near, vec![0; 100]).await;
    far.write_all(b"def").await?;
    let second = env.ring().recv(&near, vec![0; 100]).await;
    seen!("{}, then {}", moved(&first), moved(&second))
}

async fn recv_leaves_what_it_has_no_room_for<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"abcdef").await?;
    let first = env.ring().recv(&near, Vec::with_capacity(4)).await;
    let second = env.ring().recv(&near, vec![0; 100]).await;
    seen!("{}, {}", moved(&first), moved(&second))
}

async fn recv_from_a_peer_that_has_gone<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"last").await?;
    drop(far);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(moved(&env.ring().recv(&near, vec![0; 9]).await));
    }
    seen!("{}", all.join(", "))
}

async fn a_waiting_recv_sees_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    drop(far);
    seen!("{}", moved(&receive.await))
}

async fn recv_of_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"content").await?;
    seen!("{}", moved(&env.ring().recv(&file, b"kept".to_vec()).await))
}

async fn recv_of_a_socket_that_is_not_connected<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", moved(&env.ring().recv(&env.unconnected(false).await?, b"kept".to_vec()).await))
}

async fn a_reset_reaches_a_waiting_recv<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.tcp().await?;
    env.ring().send(&near, "unread").await?;
    far.peek(6).await?;
    let mut receive = env.ring().recv(&near, b"kept".to_vec());
    start(&mut receive)?;
    turn(env.ring()).await?;
    // Bytes that nobody has read make the close a reset.
    drop(far);
    seen!("{}", moved(&receive.await))
}

async fn recv_with_waitall_waits_for_all<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv_with(&near, Vec::with_capacity(6), WAITALL);
    start(&mut receive)?;
    far.write_all(b"abc").await?;
    turn(env.ring()).await?;
    far.write_all(b"def").await?;
    seen!("{}", moved(&receive.await))
}

async fn recv_with_peek_takes_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"abcdef").await?;
    let first = env.ring().recv_with(&near, Vec::with_capacity(3), PEEK).await;
    let second = env.ring().recv_with(&near, Vec::with_capacity(3), PEEK).await;
    let third = env.ring().recv(&near, vec![0; 9]).await;
    seen!("{}, {}, {}", moved(&first), moved(&second), moved(&third))
}

async fn recv_with_dontwait_does_not_wait<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    seen!("{}", moved(&env.ring().recv_with(&near, b"kept".to_vec(), DONTWAIT).await))
}

async fn recv_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, b"kept".to_vec());
    start(&mut receive)?;
    turn(env.ring()).await?;
    let ended = told!(receive.cancel().await, moved, single);
    far.write_all(b"x").await?;
    seen!("{ended}; later: {}", moved(&env.ring().recv(&near, vec![0; 9]).await))
}

async fn recv_that_has_its_bytes_is_completed<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    far.write_all(b"x").await?;
    until(env.ring(), "it has its byte", || env.ring().operations().is_empty()).await?;
    seen!("{}", told!(receive.cancel().await, moved, single))
}

async fn recv_with_a_time_limit<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let limit = std::time::Duration::from_millis(2);
    let late = env.ring().recv(&near, b"kept".to_vec()).timeout(limit).await;
    far.write_all(b"x").await?;
    let later = env.ring().recv(&near, vec![0; 9]).await;
    seen!("{}; later: {}", moved(&late), moved(&later))
}

async fn a_limit_that_is_not_reached_changes_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let limit = std::time::Duration::from_secs(3600);
    let mut receive = env.ring().recv(&near, vec![0; 9]).timeout(limit);
    start(&mut receive)?;
    turn(env.ring()).await?;
    far.write_all(b"x").await?;
    seen!("{}", moved(&receive.await))
}

async fn recv_of_a_nonblocking_socket_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    let far: Far<M> = Far::Unix(far);
    near.set_nonblocking(true)?;
    let near: Fd<M> = Fd::new(near);
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    start(&mut receive)?;
    far.write_all(b"later").await?;
    seen!("{}", moved(&receive.await))
}

async fn receives_at_the_same_time_share_what_comes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut receives: Vec<_> =
        (0..3).map(|_| env.ring().recv(&near, Vec::with_capacity(1))).collect();
    for receive in &mut receives {
        start(receive)?;
    }
    turn(env.ring()).await?;
    far.write_all(b"abc").await?;
    let mut all = Vec::new();
    for receive in receives {
        all.push(text(&receive.await?.1));
    }
    // Which of them gets which is the kernel's choice.
    all.sort();
    seen!("{}", all.join(" "))
}

async fn read_of_a_socket<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let wrote = env.ring().write_owned(&far, b"bytes".to_vec()).await;
    let read = env.ring().read_owned(&near, vec![0; 100]).await;
    seen!("{}, {}", moved(&wrote), moved(&read))
}

async fn a_socket_has_no_places<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"bytes").await?;
    let read = env.ring().read_at_owned(&near, b"kept".to_vec(), 1 << 40).await;
    let wrote = env.ring().write_at_owned(&near, b"kept".to_vec(), 1).await;
    let first = env.ring().read_at_owned(&near, vec![0; 100], 0).await;
    seen!("{}, {}; at 0: {}", moved(&read), moved(&wrote), moved(&first))
}

async fn a_socket_has_no_places_for_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"bytes").await?;
    let kept = || vec![b"kept".to_vec()];
    let read = env.ring().read_vectored_at(&near, kept(), 7).await;
    let wrote = env.ring().write_vectored_at(&near, kept(), 7).await;
    seen!("{}, {}", moved_all(&read), moved_all(&wrote))
}

fn rooms(sizes: &[usize]) -> Vec<Vec<u8>> {
    sizes.iter().map(|size| Vec::with_capacity(*size)).collect()
}

async fn read_into_many_buffers_of_a_socket<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"abcde").await?;
    seen!("{}", moved_all(&env.ring().read_vectored(&near, rooms(&[3, 4])).await))
}

async fn read_into_many_buffers_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.stream().await?;
    let mut read = env.ring().read_vectored(&near, vec![b"ab".to_vec(), b"cd".to_vec()]);
    start(&mut read)?;
    turn(env.ring()).await?;
    seen!("{}", told!(read.cancel().await, moved_all, joined))
}

async fn send_to_a_peer_that_has_gone<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop(far);
    seen!("{}", moved(&env.ring().send(&near, b"kept".to_vec()).await))
}

async fn send_on_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"content").await?;
    seen!("{}", moved(&env.ring().send(&file, b"kept".to_vec()).await))
}

async fn send_on_a_socket_that_is_not_connected<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = env.unconnected(true).await?;
    seen!("{}", moved(&env.ring().send(&socket, b"kept".to_vec()).await))
}

async fn send_waits_for_room<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let mut send = env.ring().send(&near, b"bytes".to_vec());
    start(&mut send)?;
    turn(env.ring()).await?;
    let waited = start(&mut send).is_ok();
    take(env, &far, filled).await?;
    seen!("waited: {}; {}", yes(waited), moved(&send.await))
}

async fn send_that_waits_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.pair().await?;
    fill(env, &near).await?;
    let mut send = env.ring().send(&near, b"kept".to_vec());
    start(&mut send)?;
    turn(env.ring()).await?;
    seen!("{}", told!(send.cancel().await, moved, single))
}

async fn send_with_dontwait_does_not_wait<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.pair().await?;
    fill(env, &near).await?;
    seen!("{}", moved(&env.ring().send_with(&near, b"kept".to_vec(), DONTWAIT).await))
}

async fn send_vectored_joins_its_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let sent = env.ring().send_vectored(&near, vec!["ab", "cd"]).await;
    let bytes = far.read_exact(4).await?;
    seen!("{}; peer: {}", moved_all(&sent), text(&bytes))
}

async fn write_to_a_socket_of_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let sent = env.ring().write_vectored(&near, vec!["ab", "cd"]).await;
    let bytes = far.read_exact(4).await?;
    seen!("{}; peer: {}", moved_all(&sent), text(&bytes))
}

async fn write_of_many_buffers_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.pair().await?;
    fill(env, &near).await?;
    let mut write = env.ring().write_vectored(&near, vec![b"ab".to_vec(), b"cd".to_vec()]);
    start(&mut write)?;
    turn(env.ring()).await?;
    seen!("{}", told!(write.cancel().await, moved_all, joined))
}

async fn write_to_a_peer_that_has_gone<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop(far);
    seen!("{}", moved(&env.ring().write_owned(&near, b"kept".to_vec()).await))
}

/// Sends all and receives as much.
async fn exchange<M: Mode>(env: &Env<M>, fd: &Fd<M>, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let size = bytes.len();
    let stream = safer_ring::net::UnixStream::from_fd(env.ring(), fd.clone());
    let (sent, received) = both(stream.write_all(bytes), stream.read_exact(vec![0; size])).await;
    sent?;
    Ok(received?)
}

async fn a_megabyte_in_both_directions<M: Mode>(env: &Env<M>) -> Verdict {
    const SIZE: usize = 1 << 20;
    let (near, far) = env.pair().await?;
    let mut back = pattern(SIZE);
    back.reverse();
    let (a, b) = both(exchange(env, &near, pattern(SIZE)), exchange(env, &far, back.clone())).await;
    let (a, b) = (a?, b?);
    seen!("{} and {}, equal: {}", a.len(), b.len(), yes(a == back && b == pattern(SIZE)))
}

async fn read_exact_takes_what_comes_in_parts<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let stream = safer_ring::net::UnixStream::from_fd(env.ring(), near);
    let mut read = stream.read_exact(vec![0; 6]);
    start(&mut read)?;
    far.write_all(b"abc").await?;
    turn(env.ring()).await?;
    start(&mut read)?;
    far.write_all(b"def").await?;
    seen!("{}", whole(&read.await))
}

async fn read_exact_of_too_little<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    far.write_all(b"abc").await?;
    drop(far);
    let stream = safer_ring::net::UnixStream::from_fd(env.ring(), near);
    seen!("{}", whole(&stream.read_exact(vec![0; 6]).await))
}

async fn write_all_goes_on_until_all_is_sent<M: Mode>(env: &Env<M>) -> Verdict {
    const SIZE: usize = 2_000_000;
    let (near, far) = env.pair().await?;
    let stream = safer_ring::net::UnixStream::from_fd(env.ring(), near);
    let (sent, took) = both(stream.write_all(pattern(SIZE)), take(env, &far, SIZE)).await;
    took?;
    seen!("{} of {SIZE}", sent.map_err(|error| word(&error.error))?.len())
}

async fn a_pipe_carries_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let wrote = env.ring().write_owned(&writer, b"bytes".to_vec()).await;
    let read = env.ring().read_owned(&reader, vec![0; 100]).await;
    seen!("{}, {}", moved(&wrote), moved(&read))
}

async fn a_read_of_a_pipe_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let mut read = env.ring().read_owned(&reader, vec![0; 100]);
    start(&mut read)?;
    turn(env.ring()).await?;
    env.ring().write_owned(&writer, "later").await?;
    seen!("{}", moved(&read.await))
}

async fn a_read_of_a_pipe_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let mut read = env.ring().read_owned(&reader, b"kept".to_vec());
    start(&mut read)?;
    turn(env.ring()).await?;
    let ended = told!(read.cancel().await, moved, single);
    env.ring().write_owned(&writer, "x").await?;
    seen!("{ended}; later: {}", moved(&env.ring().read_owned(&reader, vec![0; 9]).await))
}

async fn a_read_of_a_pipe_sees_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let mut read = env.ring().read_owned(&reader, vec![0; 9]);
    start(&mut read)?;
    turn(env.ring()).await?;
    drop(writer);
    seen!("{}", moved(&read.await))
}

async fn a_write_to_a_pipe_without_readers<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    drop(reader);
    seen!("{}", moved(&env.ring().write_owned(&writer, b"kept".to_vec()).await))
}

async fn the_wrong_end_of_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let read = env.ring().read_owned(&writer, b"kept".to_vec()).await;
    let wrote = env.ring().write_owned(&reader, b"kept".to_vec()).await;
    seen!("{}, {}", moved(&read), moved(&wrote))
}

async fn a_large_write_to_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    let (count, bytes) = env.ring().write_owned(&writer, vec![1; 20_000]).await?;
    seen!("{count} of {}", bytes.len())
}

async fn a_write_to_a_full_pipe_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    fill(env, &writer).await?;
    let mut write = env.ring().write_owned(&writer, b"kept".to_vec());
    start(&mut write)?;
    turn(env.ring()).await?;
    seen!("{}", told!(write.cancel().await, moved, single))
}

async fn a_write_to_a_full_pipe_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let filled = fill(env, &writer).await?;
    let mut write = env.ring().write_owned(&writer, b"more".to_vec());
    start(&mut write)?;
    turn(env.ring()).await?;
    let waited = start(&mut write).is_ok();
    take(env, &reader, filled).await?;
    seen!("waited: {}; {}", yes(waited), moved(&write.await))
}

async fn a_nonblocking_pipe_waits_all_the_same<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let flags = rustix::fs::fcntl_getfl(&reader)?;
    rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK)?;
    let mut read = env.ring().read_owned(&reader, vec![0; 9]);
    start(&mut read)?;
    turn(env.ring()).await?;
    start(&mut read)?;
    env.ring().write_owned(&writer, "later").await?;
    let read = moved(&read.await);
    ended(env.ring()).await?;
    seen!("{read}")
}

async fn positions_are_ignored_by_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let wrote = env.ring().write_at_owned(&writer, b"x".to_vec(), 1 << 40).await;
    let read = env.ring().read_at_owned(&reader, vec![0; 9], 77).await;
    seen!("{}, {}", moved(&wrote), moved(&read))
}
