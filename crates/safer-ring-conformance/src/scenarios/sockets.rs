//! Making, binding, listening, accepting, connecting, shutting down.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_getfl};
use safer_ring::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use safer_ring::{Address, Ended, Fd, Mode, Shutdown, SocketKind};

use crate::env::{Env, Trouble, Verdict, seen};
use crate::environments::Tag;
use crate::kit::{both, ended, moved, plain, poll_once, start, turn, until, yes};
use crate::scenario::{Expect, Need, Scenario, row};

use super::names::closes_on_exec;

pub(super) const TABLE: &[Scenario] = &[
    row!(
        Success,
        a_socket_is_made_bound_and_listens,
        [Socket, Bind, Listen, Accept, Connect],
        "accepted: yes, closes on exec: yes, yes"
    )
    .needs(Need::Exec),
    row!(Error, a_socket_of_no_family, [Socket], "EAFNOSUPPORT"),
    row!(Drop, a_dropped_socket_is_closed, [Socket], "left: 0"),
    row!(Error, bind_to_an_address_in_use, [Bind], "EADDRINUSE"),
    row!(Error, bind_of_a_file, [Bind], "ENOTSOCK"),
    row!(Drop, a_dropped_bind_is_carried_out, [Bind], "bound: yes"),
    row!(Error, listen_on_a_file, [Listen], "ENOTSOCK"),
    row!(Drop, a_dropped_listen_is_carried_out, [Listen], "connected: yes"),
    row!(Success, accept_gives_the_peer, [Accept], "peer right: yes, closes on exec: yes")
        .needs(Need::Exec),
    row!(Success, accept_waits, [Accept], "peer right: yes"),
    row!(Error, accept_on_a_socket_that_does_not_listen, [Accept], "EINVAL"),
    row!(Error, accept_on_a_file, [Accept], "ENOTSOCK"),
    row!(Cancel, accept_is_cancelled, [Accept], "cancelled: yes; the next has the connection: yes"),
    row!(Success, accepts_at_the_same_time, [Accept], "4 of 4 connections"),
    row!(Success, accept_without_an_address, [Accept], "ok"),
    row!(Success, a_listening_socket_keeps_its_mode, [Accept], "non-blocking: no")
        .needs(Need::Flags)
        .but(&[(
            Tag::Fallback,
            Expect::Differs { seen: "non-blocking: yes", row: "listening sockets" },
        )]),
    row!(Success, a_connected_socket_keeps_its_mode, [Connect], "ok; non-blocking: no")
        .needs(Need::Flags)
        .but(&[(
            Tag::Fallback,
            // For the length of connect(2), and no longer.
            Expect::Differs { seen: "ok; non-blocking: no", row: "connecting" },
        )]),
    row!(Error, connect_where_nobody_listens, [Connect], "ECONNREFUSED"),
    row!(Error, connect_of_what_is_connected, [Connect], "EISCONN"),
    row!(Error, connect_to_a_family_that_does_not_fit, [Connect], "EAFNOSUPPORT"),
    row!(Error, connect_to_a_name_that_is_not_there, [Connect], "ENOENT"),
    row!(Success, connect_waits_for_room_in_the_backlog, [Connect], "waited: yes; ok").but(&[(
        Tag::Fallback,
        Expect::Differs { seen: "waited: yes; ok", row: "a full backlog of a Unix listener" },
    )]),
    row!(Cancel, connect_that_waits_is_cancelled, [Connect], "cancelled: yes"),
    row!(Drop, a_dropped_connect_ends, [Connect], "left: 0"),
    row!(Success, connect_of_a_nonblocking_socket, [Connect], "ok").needs(Need::Flags),
    row!(Success, shutdown_of_one_side, [Shutdown], "ok; peer: 0 ''; back: 1 'x'"),
    row!(Success, shutdown_ends_a_waiting_receive, [Shutdown, Recv], "ok; 0 ''"),
    row!(Error, shutdown_of_what_is_not_connected, [Shutdown], "ENOTCONN"),
    row!(Error, shutdown_of_a_file, [Shutdown], "ENOTSOCK"),
    row!(Drop, a_dropped_shutdown_is_carried_out, [Shutdown], "peer: 0 ''"),
    row!(
        Success,
        unix_sockets_are_made_by_name,
        [Socket, Bind, Listen, Accept, Connect],
        "ok; 5 'bytes'"
    ),
    row!(Success, ipv6_is_as_ipv4, [Socket, Bind, Listen, Accept, Connect], "peer right: yes"),
];

fn name_of<M: Mode>(env: &Env<M>, socket: &Fd<M>) -> Result<SocketAddr, Trouble> {
    Ok(TcpStream::from_fd(env.ring(), socket.clone()).local_addr()?)
}

/// A listener made with the ring, and its address.
async fn listening<M: Mode>(env: &Env<M>, at: SocketAddr) -> Result<(Fd<M>, SocketAddr), Trouble> {
    let ring = env.ring();
    let listener = ring.socket(&Address::from(at), SocketKind::Stream).await?;
    ring.bind(&listener, at).await?;
    ring.listen(&listener, 16).await?;
    let address = if at.port() == 0 { name_of(env, &listener)? } else { at };
    Ok((listener, address))
}

async fn stream_socket<M: Mode>(env: &Env<M>) -> Result<Fd<M>, Trouble> {
    Ok(env.ring().socket(&Address::from(env.loopback()), SocketKind::Stream).await?)
}

async fn a_socket_is_made_bound_and_listens<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = listening(env, env.loopback()).await?;
    let client = stream_socket(env).await?;
    let (accepted, connected) =
        both(env.ring().accept(&listener), env.ring().connect(&client, address)).await;
    connected?;
    let (server, _) = accepted?;
    let (first, second) = (closes_on_exec(&server)?, closes_on_exec(&client)?);
    seen!("accepted: yes, closes on exec: {}, {}", yes(first), yes(second))
}

async fn a_socket_of_no_family<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().socket_raw(250, 1, 0).await))
}

async fn a_dropped_socket_is_closed<M: Mode>(env: &Env<M>) -> Verdict {
    for _ in 0..10 {
        let like = Address::from(env.loopback());
        let _ = poll_once(&mut env.ring().socket(&like, SocketKind::Stream));
    }
    ended(env.ring()).await?;
    seen!("left: {}", env.ring().operations().len())
}

async fn bind_to_an_address_in_use<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address) = env.listener().await?;
    let socket = stream_socket(env).await?;
    seen!("{}", plain(&env.ring().bind(&socket, address).await))
}

async fn bind_of_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    seen!("{}", plain(&env.ring().bind(&file, env.loopback()).await))
}

async fn a_dropped_bind_is_carried_out<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = stream_socket(env).await?;
    let _ = poll_once(&mut env.ring().bind(&socket, env.loopback()));
    ended(env.ring()).await?;
    seen!("bound: {}", yes(name_of(env, &socket)?.port() != 0))
}

async fn listen_on_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    seen!("{}", plain(&env.ring().listen(&file, 1).await))
}

async fn a_dropped_listen_is_carried_out<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = stream_socket(env).await?;
    let at = env.loopback();
    env.ring().bind(&socket, at).await?;
    let _ = poll_once(&mut env.ring().listen(&socket, 4));
    ended(env.ring()).await?;
    let at = if at.port() == 0 { name_of(env, &socket)? } else { at };
    seen!("connected: {}", yes(env.client(at).await.is_ok()))
}

async fn accept_gives_the_peer<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let client = env.client(address).await?;
    let (server, peer) = env.ring().accept(&listener).await?;
    let right = peer.and_then(|peer| peer.ip()) == Some(client.local_addr()?);
    seen!("peer right: {}, closes on exec: {}", yes(right), yes(closes_on_exec(&server)?))
}

async fn accept_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let mut accept = env.ring().accept(&listener);
    start(&mut accept)?;
    turn(env.ring()).await?;
    let client = env.client(address).await?;
    let (_, peer) = accept.await?;
    seen!("peer right: {}", yes(peer.and_then(|peer| peer.ip()) == Some(client.local_addr()?)))
}

async fn accept_on_a_socket_that_does_not_listen<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = stream_socket(env).await?;
    seen!("{}", plain(&env.ring().accept(&socket).await))
}

async fn accept_on_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    seen!("{}", plain(&env.ring().accept(&file).await))
}

async fn accept_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let mut accept = env.ring().accept(&listener);
    start(&mut accept)?;
    turn(env.ring()).await?;
    let cancelled = accept.cancel().await.is_cancelled();
    let client = env.client(address).await?;
    let (_, peer) = env.ring().accept(&listener).await?;
    let right = peer.and_then(|peer| peer.ip()) == Some(client.local_addr()?);
    seen!("cancelled: {}; the next has the connection: {}", yes(cancelled), yes(right))
}

async fn accepts_at_the_same_time<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let mut accepts: Vec<_> = (0..4).map(|_| env.ring().accept(&listener)).collect();
    for accept in &mut accepts {
        start(accept)?;
    }
    turn(env.ring()).await?;
    let mut clients = Vec::new();
    let mut expected = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let client = env.client(address).await?;
        expected.insert(client.local_addr()?.port());
        clients.push(client);
    }
    for accept in accepts {
        let (_, peer) = accept.await?;
        expected.remove(&peer.and_then(|peer| peer.ip()).map_or(0, |peer| peer.port()));
    }
    seen!("{} of 4 connections", 4 - expected.len())
}

async fn accept_without_an_address<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.path("socket");
    let listener = UnixListener::bind(env.ring(), &path).await?;
    let _client = UnixStream::connect(env.ring(), &path).await?;
    seen!("{}", plain(&env.ring().accept(listener.fd()).await))
}

fn nonblocking(fd: &impl AsFd) -> Result<bool, Trouble> {
    Ok(fcntl_getfl(fd)?.contains(OFlags::NONBLOCK))
}

async fn a_listening_socket_keeps_its_mode<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address) = env.listener().await?;
    let _client = env.client(address).await?;
    env.ring().accept(&listener).await?;
    seen!("non-blocking: {}", yes(nonblocking(&listener)?))
}

async fn a_connected_socket_keeps_its_mode<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address) = env.listener().await?;
    let client = stream_socket(env).await?;
    let connected = env.ring().connect(&client, address).await;
    seen!("{}; non-blocking: {}", plain(&connected), yes(nonblocking(&client)?))
}

async fn connect_where_nobody_listens<M: Mode>(env: &Env<M>) -> Verdict {
    // Bound, so that nobody else gets the port, and not listening.
    let taken = stream_socket(env).await?;
    let at = env.loopback();
    env.ring().bind(&taken, at).await?;
    let at = if at.port() == 0 { name_of(env, &taken)? } else { at };
    let client = stream_socket(env).await?;
    seen!("{}", plain(&env.ring().connect(&client, at).await))
}

async fn connect_of_what_is_connected<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address) = env.listener().await?;
    let client = env.client(address).await?.into_fd()?;
    seen!("{}", plain(&env.ring().connect(&client, address).await))
}

async fn connect_to_a_family_that_does_not_fit<M: Mode>(env: &Env<M>) -> Verdict {
    let client = stream_socket(env).await?;
    let six: SocketAddr = "[::1]:9".parse()?;
    seen!("{}", plain(&env.ring().connect(&client, six).await))
}

async fn unix_socket<M: Mode>(env: &Env<M>, address: &Address) -> Result<Fd<M>, Trouble> {
    Ok(env.ring().socket(address, SocketKind::Stream).await?)
}

async fn connect_to_a_name_that_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    let nowhere = Address::unix(env.path("none"))?;
    let client = unix_socket(env, &nowhere).await?;
    seen!("{}", plain(&env.ring().connect(&client, nowhere).await))
}

/// A listener whose backlog is full, and the next client that connects: it waits.
async fn crowded<M: Mode>(env: &Env<M>) -> Result<(Fd<M>, Address, Vec<Fd<M>>), Trouble> {
    let address = Address::unix(env.path("socket"))?;
    let listener = unix_socket(env, &address).await?;
    env.ring().bind(&listener, address.clone()).await?;
    env.ring().listen(&listener, 1).await?;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let client = unix_socket(env, &address).await?;
        env.ring().connect(&client, address.clone()).await?;
        waiting.push(client);
    }
    Ok((listener, address, waiting))
}

async fn connect_waits_for_room_in_the_backlog<M: Mode>(env: &Env<M>) -> Verdict {
    let (listener, address, _waiting) = crowded(env).await?;
    let client = unix_socket(env, &address).await?;
    let mut connect = env.ring().connect(&client, address);
    start(&mut connect)?;
    turn(env.ring()).await?;
    let waited = start(&mut connect).is_ok();
    env.ring().accept(&listener).await?;
    seen!("waited: {}; {}", yes(waited), plain(&connect.await))
}

async fn connect_that_waits_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address, _waiting) = crowded(env).await?;
    let client = unix_socket(env, &address).await?;
    let mut connect = env.ring().connect(&client, address);
    start(&mut connect)?;
    turn(env.ring()).await?;
    match connect.cancel().await {
        Ended::Completed(result) => seen!("completed {}", plain(&result)),
        Ended::Cancelled(_) => seen!("cancelled: yes"),
    }
}

async fn a_dropped_connect_ends<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address, _waiting) = crowded(env).await?;
    let client = unix_socket(env, &address).await?;
    let mut connect = env.ring().connect(&client, address);
    start(&mut connect)?;
    turn(env.ring()).await?;
    drop(connect);
    until(env.ring(), "it has ended", || env.ring().operations().is_empty()).await?;
    seen!("left: {}", env.ring().operations().len())
}

async fn connect_of_a_nonblocking_socket<M: Mode>(env: &Env<M>) -> Verdict {
    let (_listener, address) = env.listener().await?;
    let client = stream_socket(env).await?;
    rustix::fs::fcntl_setfl(&client, fcntl_getfl(&client)? | OFlags::NONBLOCK)?;
    seen!("{}", plain(&env.ring().connect(&client, address).await))
}

async fn shutdown_of_one_side<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let shut = env.ring().shutdown(&near, Shutdown::Write).await;
    let peer = env.ring().recv(&far, vec![0; 9]).await;
    env.ring().send(&far, "x").await?;
    let back = env.ring().recv(&near, vec![0; 9]).await;
    seen!("{}; peer: {}; back: {}", plain(&shut), moved(&peer), moved(&back))
}

async fn shutdown_ends_a_waiting_receive<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, _far) = env.pair().await?;
    let mut receive = env.ring().recv(&near, vec![0; 9]);
    start(&mut receive)?;
    turn(env.ring()).await?;
    let shut = env.ring().shutdown(&near, Shutdown::Read).await;
    seen!("{}; {}", plain(&shut), moved(&receive.await))
}

async fn shutdown_of_what_is_not_connected<M: Mode>(env: &Env<M>) -> Verdict {
    let socket = stream_socket(env).await?;
    seen!("{}", plain(&env.ring().shutdown(&socket, Shutdown::Both).await))
}

async fn shutdown_of_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"").await?;
    seen!("{}", plain(&env.ring().shutdown(&file, Shutdown::Both).await))
}

async fn a_dropped_shutdown_is_carried_out<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let _ = poll_once(&mut env.ring().shutdown(&near, Shutdown::Write));
    seen!("peer: {}", moved(&env.ring().recv(&far, vec![0; 9]).await))
}

async fn unix_sockets_are_made_by_name<M: Mode>(env: &Env<M>) -> Verdict {
    let address = Address::unix(env.path("socket"))?;
    let listener = unix_socket(env, &address).await?;
    env.ring().bind(&listener, address.clone()).await?;
    env.ring().listen(&listener, 4).await?;
    let client = unix_socket(env, &address).await?;
    let connected = env.ring().connect(&client, address).await;
    let (server, _) = env.ring().accept(&listener).await?;
    env.ring().send(&client, "bytes").await?;
    let read = env.ring().recv(&server, vec![0; 9]).await;
    seen!("{}; {}", plain(&connected), moved(&read))
}

async fn ipv6_is_as_ipv4<M: Mode>(env: &Env<M>) -> Verdict {
    if let Err(error) = TcpListener::bind(env.ring(), "[::1]:0").await {
        return Ok(crate::env::Observed::Skipped(format!("no IPv6 here: {error}")));
    }
    let (listener, address) = listening(env, "[::1]:0".parse()?).await?;
    let client = env.ring().socket(&Address::from(address), SocketKind::Stream).await?;
    let (accepted, connected) =
        both(env.ring().accept(&listener), env.ring().connect(&client, address)).await;
    connected?;
    let peer = accepted?.1.and_then(|peer| peer.ip());
    seen!("peer right: {}", yes(peer == Some(name_of(env, &client)?)))
}
