//! Datagrams, addresses, control data.

use std::net::SocketAddr;

use safer_ring::{Address, Control, ControlMessage, Ended, Fd, Mode, OpError, Received};

use crate::env::{Env, Trouble, Verdict, seen};
use crate::far::{Far, fill};
use crate::kit::{ended, moved, poll_once, start, text, turn, word, yes};
use crate::scenario::{Need, Scenario, row};

use super::names::closes_on_exec;

pub(super) const TABLE: &[Scenario] = &[
    row!(
        Success,
        a_datagram_has_the_address_of_its_sender,
        [RecvMsg, SendMsg],
        "4 'ping', sender right: yes"
    ),
    row!(Success, a_connected_datagram_socket, [Recv, Send], "4 'ping', 4 'pong'"),
    row!(Short, a_cut_datagram_says_so, [RecvMsg], "2 'ab' cut: yes; 4 'next' cut: no"),
    row!(Success, an_empty_datagram_arrives, [RecvMsg, SendMsg], "0 '' cut: no"),
    row!(Success, a_message_waits, [RecvMsg], "5 'later' cut: no"),
    row!(Eof, a_message_from_a_peer_that_has_gone, [RecvMsg], "0 '' cut: no"),
    row!(Error, a_message_from_a_file, [RecvMsg], "ENOTSOCK 'kept'"),
    row!(
        Cancel,
        receiving_a_message_is_cancelled,
        [RecvMsg],
        "cancelled 'kept'; later: 1 'x' cut: no"
    ),
    row!(
        Success,
        a_descriptor_arrives_owned,
        [RecvMsg, SendMsg],
        "1 'x', descriptors: 1, closes on exec: yes, works: yes"
    )
    .needs(Need::Control),
    row!(
        Short,
        control_data_that_does_not_fit_says_so,
        [RecvMsg],
        "1 'x', descriptors: 0, cut: yes"
    )
    .needs(Need::Control),
    row!(Error, a_message_to_nobody, [SendMsg], "EDESTADDRREQ 'kept'"),
    row!(Error, a_message_that_is_too_long, [SendMsg], "EMSGSIZE, 65508 back"),
    row!(Error, a_message_on_a_file, [SendMsg], "ENOTSOCK 'kept'"),
    row!(Error, a_port_where_nobody_listens, [Recv, Send], "1 '?'; ECONNREFUSED 'kept'"),
    row!(Cancel, sending_a_message_is_cancelled, [SendMsg], "cancelled 'kept'"),
    row!(
        Drop,
        a_dropped_message_is_handed_to_the_next,
        [RecvMsg],
        "3 'one', sender right: yes; 3 'two'"
    ),
    row!(Drop, descriptors_of_a_dropped_message_are_handed_on, [RecvMsg], "1 'x', descriptors: 1")
        .needs(Need::Control),
    row!(
        Drop,
        descriptors_that_nobody_asks_for_are_closed,
        [RecvMsg],
        "1 'x'; the other end sees it: 0 ''"
    )
    .needs(Need::Control),
    row!(Drop, a_dropped_message_is_sent, [SendMsg], "4 'left' cut: no"),
    row!(Drop, dropped_datagrams_keep_their_boundaries, [Recv], "3 'one', 3 'two', 5 'three'"),
];

const TRUNC: u32 = 0x20;
const CTRUNC: u32 = 0x8;

type Result2<B> = Result<Received<B>, OpError<B>>;

fn message(result: &Result2<Vec<u8>>) -> String {
    match result {
        Ok(got) => {
            let cut = yes(got.flags & TRUNC != 0);
            format!("{} '{}' cut: {cut}", got.count, text(&got.buffer))
        }
        Err(error) => format!("{} '{}'", word(&error.error), text(&error.buffer)),
    }
}

fn descriptors(control: &[ControlMessage]) -> usize {
    let count = |message: &ControlMessage| match message {
        ControlMessage::Descriptors(fds) => fds.len(),
        _ => 0,
    };
    control.iter().map(count).sum()
}

/// A socket by IP for the ring and its address, and one beside it.
async fn udp<M: Mode>(env: &Env<M>) -> Result<(Fd<M>, SocketAddr, Far<M>), Trouble> {
    let near = env.udp().await?;
    let address = near.local_addr()?;
    Ok((near.into_fd()?, address, env.udp().await?))
}

async fn a_datagram_has_the_address_of_its_sender<M: Mode>(env: &Env<M>) -> Verdict {
    let (a, from, _) = udp(env).await?;
    let (b, to, _) = udp(env).await?;
    let to = Address::from(to);
    env.ring().send_msg(&a, b"ping".to_vec(), Some(&to), Control::new()).await?;
    let got = env.ring().recv_msg(&b, vec![0; 100], 0).await?;
    let sender = got.address.as_ref().and_then(Address::ip) == Some(from);
    seen!("{} '{}', sender right: {}", got.count, text(&got.buffer), yes(sender))
}

async fn a_connected_datagram_socket<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _, far) = udp(env).await?;
    env.ring().connect(&near, far.local_addr()?).await?;
    let sent = env.ring().send(&near, b"ping".to_vec()).await;
    let from = far.sender().await?;
    far.send_to(b"pong", from).await?;
    seen!("{}, {}", moved(&sent), moved(&env.ring().recv(&near, vec![0; 10]).await))
}

async fn a_cut_datagram_says_so<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.datagrams().await?;
    far.write_all(b"abcdef").await?;
    far.write_all(b"next").await?;
    let first = env.ring().recv_msg(&near, Vec::with_capacity(2), 0).await;
    let second = env.ring().recv_msg(&near, vec![0; 9], 0).await;
    seen!("{}; {}", message(&first), message(&second))
}

async fn an_empty_datagram_arrives<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.datagrams().await?;
    let far = far.into_fd()?;
    env.ring().send_msg(&far, Vec::new(), None, Control::new()).await?;
    seen!("{}", message(&env.ring().recv_msg(&near, vec![0; 9], 0).await))
}

async fn a_message_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.datagrams().await?;
    let mut receive = env.ring().recv_msg(&near, vec![0; 9], 0);
    start(&mut receive)?;
    turn(env.ring()).await?;
    far.write_all(b"later").await?;
    seen!("{}", message(&receive.await))
}

async fn a_message_from_a_peer_that_has_gone<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop(far);
    seen!("{}", message(&env.ring().recv_msg(&near, vec![0; 9], 0).await))
}

async fn a_message_from_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"content").await?;
    seen!("{}", message(&env.ring().recv_msg(&file, b"kept".to_vec(), 0).await))
}

async fn receiving_a_message_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.datagrams().await?;
    let mut receive = env.ring().recv_msg(&near, b"kept".to_vec(), 0);
    start(&mut receive)?;
    turn(env.ring()).await?;
    let ended = match receive.cancel().await {
        Ended::Cancelled(buffer) => format!("cancelled '{}'", text(&buffer)),
        Ended::Completed(result) => format!("completed {}", message(&result)),
    };
    far.write_all(b"x").await?;
    seen!("{ended}; later: {}", message(&env.ring().recv_msg(&near, vec![0; 9], 0).await))
}

async fn send_descriptor<M: Mode>(
    env: &Env<M>,
    socket: &Fd<M>,
    passed: &impl std::os::fd::AsFd,
) -> Result<(), Trouble> {
    let mut control = Control::new();
    control.descriptors(&[passed.as_fd()])?;
    env.ring().send_msg(socket, b"x".to_vec(), None, control).await?;
    Ok(())
}

async fn a_descriptor_arrives_owned<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let (reader, writer) = env.pipe().await?;
    send_descriptor(env, &far, &writer).await?;
    drop(writer);
    let got = env.ring().recv_msg(&near, vec![0; 9], 64).await?;
    let count = descriptors(&got.control);
    let mut fds = Vec::new();
    for message in got.control {
        if let ControlMessage::Descriptors(found) = message {
            fds.extend(found);
        }
    }
    let Some(fd) = fds.pop() else { return Err("no descriptor".into()) };
    let passed: Fd<M> = Fd::new(fd);
    env.ring().write_owned(&passed, "through").await?;
    let (_, bytes) = env.ring().read_owned(&reader, vec![0; 9]).await?;
    seen!(
        "{} '{}', descriptors: {count}, closes on exec: {}, works: {}",
        got.count,
        text(&got.buffer),
        yes(closes_on_exec(&passed)?),
        yes(bytes == b"through")
    )
}

async fn control_data_that_does_not_fit_says_so<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let (_reader, writer) = env.pipe().await?;
    send_descriptor(env, &far, &writer).await?;
    let got = env.ring().recv_msg(&near, vec![0; 9], 0).await?;
    seen!(
        "{} '{}', descriptors: {}, cut: {}",
        got.count,
        text(&got.buffer),
        descriptors(&got.control),
        yes(got.flags & CTRUNC != 0)
    )
}

async fn a_message_to_nobody<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _, _) = udp(env).await?;
    let sent = env.ring().send_msg(&near, b"kept".to_vec(), None, Control::new()).await;
    seen!("{}", moved(&sent))
}

async fn a_message_that_is_too_long<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _, far) = udp(env).await?;
    let to = Address::from(far.local_addr()?);
    match env.ring().send_msg(&near, vec![0; 65_508], Some(&to), Control::new()).await {
        Ok((count, _)) => seen!("{count}"),
        Err(error) => seen!("{}, {} back", word(&error.error), error.buffer.len()),
    }
}

async fn a_message_on_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"content").await?;
    let sent = env.ring().send_msg(&file, b"kept".to_vec(), None, Control::new()).await;
    seen!("{}", moved(&sent))
}

async fn a_port_where_nobody_listens<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _, far) = udp(env).await?;
    env.ring().connect(&near, far.local_addr()?).await?;
    drop(far);
    let mut receive = env.ring().recv(&near, b"kept".to_vec());
    start(&mut receive)?;
    let sent = env.ring().send(&near, b"?".to_vec()).await;
    seen!("{}; {}", moved(&sent), moved(&receive.await))
}

async fn sending_a_message_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.pair().await?;
    fill(env, &near).await?;
    let mut send = env.ring().send_msg(&near, b"kept".to_vec(), None, Control::new());
    start(&mut send)?;
    turn(env.ring()).await?;
    match send.cancel().await {
        Ended::Cancelled(buffer) => seen!("cancelled '{}'", text(&buffer)),
        Ended::Completed(result) => seen!("completed {}", moved(&result)),
    }
}

async fn a_dropped_message_is_handed_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, to, far) = udp(env).await?;
    let mut receive = env.ring().recv_msg(&near, vec![0; 9], 0);
    start(&mut receive)?;
    turn(env.ring()).await?;
    drop(receive);
    far.send_to(b"one", to).await?;
    far.send_to(b"two", to).await?;
    let first = env.ring().recv_msg(&near, vec![0; 9], 0).await?;
    let sender = first.address.as_ref().and_then(Address::ip) == Some(far.local_addr()?);
    let second = env.ring().recv(&near, vec![0; 9]).await;
    let first = format!("{} '{}'", first.count, text(&first.buffer));
    seen!("{first}, sender right: {}; {}", yes(sender), moved(&second))
}

async fn descriptors_of_a_dropped_message_are_handed_on<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let (_reader, writer) = env.pipe().await?;
    let mut receive = env.ring().recv_msg(&near, vec![0; 9], 64);
    start(&mut receive)?;
    turn(env.ring()).await?;
    drop(receive);
    send_descriptor(env, &far, &writer).await?;
    let got = env.ring().recv_msg(&near, vec![0; 9], 64).await?;
    let count = descriptors(&got.control);
    seen!("{} '{}', descriptors: {count}", got.count, text(&got.buffer))
}

async fn descriptors_that_nobody_asks_for_are_closed<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let (reader, writer) = env.pipe().await?;
    let mut receive = env.ring().recv_msg(&near, vec![0; 9], 64);
    start(&mut receive)?;
    turn(env.ring()).await?;
    drop(receive);
    send_descriptor(env, &far, &writer).await?;
    drop(writer);
    let got = moved(&env.ring().recv(&near, vec![0; 9]).await);
    let end = env.ring().read_owned(&reader, vec![0; 9]).await;
    seen!("{got}; the other end sees it: {}", moved(&end))
}

async fn a_dropped_message_is_sent<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let mut send = env.ring().send_msg(&near, b"left".to_vec(), None, Control::new());
    let _ = poll_once(&mut send);
    drop(send);
    ended(env.ring()).await?;
    seen!("{}", message(&env.ring().recv_msg(&far, vec![0; 9], 0).await))
}

async fn dropped_datagrams_keep_their_boundaries<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.datagrams().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    drop(receive);
    let mut all = Vec::new();
    for word in ["one", "two", "three"] {
        far.write_all(word.as_bytes()).await?;
    }
    for _ in 0..3 {
        all.push(moved(&env.ring().recv(&near, vec![0; 9]).await));
    }
    seen!("{}", all.join(", "))
}
