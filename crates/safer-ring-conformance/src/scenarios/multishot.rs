//! Streams of receives: one entry of the ring for all that arrives, where the ring has that, and one receive after the other
//! where it has not.

use std::io;

use safer_ring::{Mode, RecvStream, RingBuffer};

use crate::env::{Env, Trouble, Verdict, seen};
use crate::kit::{both, moved, pattern, start, text, turn};
use crate::scenario::{Scenario, row};

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, a_stream_of_receives_gives_what_comes, [RecvMulti], "'one' 'two' 'three'"),
    row!(Success, a_stream_of_receives_moves_much, [RecvMulti, Send], "as sent"),
    row!(Success, many_streams_of_receives_at_the_same_time, [RecvMulti], "100 of 100"),
    row!(Eof, a_stream_of_receives_ends_behind_what_came, [RecvMulti], "'last' end end"),
    row!(
        Error,
        a_stream_of_receives_of_a_socket_that_is_not_connected,
        [RecvMulti],
        "ENOTCONN ENOTCONN"
    ),
    row!(Error, a_reset_reaches_a_stream_of_receives, [RecvMulti], "ECONNRESET end"),
    row!(
        Drop,
        bytes_of_a_dropped_stream_of_receives_go_to_the_next,
        [RecvMulti, Recv],
        "6 'before'"
    ),
    row!(Drop, streams_of_receives_dropped_in_turn_keep_the_order, [RecvMulti, Recv], "as sent"),
];

fn word(received: Option<io::Result<RingBuffer>>) -> String {
    match received {
        Some(Ok(buffer)) => format!("'{}'", text(&buffer)),
        Some(Err(error)) => crate::kit::word(&error),
        None => "end".to_owned(),
    }
}

async fn words<M: Mode>(arrives: &mut RecvStream<M>, count: usize) -> String {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(word(arrives.next().await));
    }
    all.join(" ")
}

fn as_sent(same: bool) -> &'static str {
    if same { "as sent" } else { "something else" }
}

async fn a_stream_of_receives_gives_what_comes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut arrives = env.ring().recv_stream(&near);
    let mut all = Vec::new();
    for bytes in ["one", "two", "three"] {
        start(&mut arrives.next())?;
        turn(env.ring()).await?;
        far.write_all(bytes.as_bytes()).await?;
        all.push(words(&mut arrives, 1).await);
    }
    seen!("{}", all.join(" "))
}

async fn a_stream_of_receives_moves_much<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let sent = pattern(300_000);
    let mut got = Vec::new();
    let send = async {
        let mut from = 0;
        while from < sent.len() {
            let part = sent.get(from..).unwrap_or_default().to_vec();
            from += env.ring().send(&far, part).await?.0;
        }
        Ok::<(), Trouble>(())
    };
    let receive = async {
        let mut arrives = env.ring().recv_stream(&near);
        while got.len() < sent.len() {
            let Some(buffer) = arrives.next().await else { return Err("an early end".into()) };
            got.extend_from_slice(&buffer?);
        }
        Ok::<(), Trouble>(())
    };
    let (send, receive) = both(send, receive).await;
    send?;
    receive?;
    seen!("{}", as_sent(got == sent))
}

async fn many_streams_of_receives_at_the_same_time<M: Mode>(env: &Env<M>) -> Verdict {
    let mut streams = Vec::new();
    for _ in 0..100 {
        let (near, far) = env.stream().await?;
        let mut arrives = env.ring().recv_stream(&near);
        start(&mut arrives.next())?;
        streams.push((arrives, far));
    }
    turn(env.ring()).await?;
    for (number, (_, far)) in (0..).zip(&streams) {
        far.write_all(&[number]).await?;
    }
    let mut right = 0;
    for (number, (arrives, _)) in (0..).zip(&mut streams) {
        let Some(buffer) = arrives.next().await else { continue };
        right += usize::from(buffer?[..] == [number]);
    }
    seen!("{right} of 100")
}

async fn a_stream_of_receives_ends_behind_what_came<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut arrives = env.ring().recv_stream(&near);
    start(&mut arrives.next())?;
    turn(env.ring()).await?;
    far.write_all(b"last").await?;
    drop(far);
    seen!("{}", words(&mut arrives, 3).await)
}

async fn a_stream_of_receives_of_a_socket_that_is_not_connected<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = env.unconnected(false).await?;
    seen!("{}", words(&mut env.ring().recv_stream(&socket), 2).await)
}

async fn a_reset_reaches_a_stream_of_receives<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.tcp().await?;
    env.ring().send(&near, "unread").await?;
    far.peek(6).await?;
    let mut arrives = env.ring().recv_stream(&near);
    start(&mut arrives.next())?;
    turn(env.ring()).await?;
    // Bytes that nobody has read make the close a reset.
    drop(far);
    seen!("{}", words(&mut arrives, 2).await)
}

async fn bytes_of_a_dropped_stream_of_receives_go_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let mut arrives = env.ring().recv_stream(&near);
    start(&mut arrives.next())?;
    turn(env.ring()).await?;
    far.write_all(b"before").await?;
    turn(env.ring()).await?;
    drop(arrives);
    seen!("{}", moved(&env.ring().recv(&near, vec![0; 64]).await))
}

async fn streams_of_receives_dropped_in_turn_keep_the_order<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    let sent = pattern(300);
    for (number, part) in sent.chunks(10).enumerate() {
        let mut arrives = env.ring().recv_stream(&near);
        if number == 0 {
            start(&mut arrives.next())?;
        }
        if number % 2 == 0 {
            turn(env.ring()).await?;
        }
        far.write_all(part).await?;
        if number % 3 == 0 {
            turn(env.ring()).await?;
        }
        // Asked, so that it is armed again, and what it may give is given back.
        if number % 4 == 1 {
            let buffer = arrives.next().await;
            let Some(Ok(buffer)) = buffer else { return Err("nothing came".into()) };
            near.unread(buffer.to_vec());
        }
    }
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(env.ring().recv(&near, vec![0; 64]).await.map_err(io::Error::from)?.1);
    }
    seen!("{}", as_sent(got == sent))
}
