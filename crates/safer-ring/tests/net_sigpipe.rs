//! A closed peer is an error and no signal, in a process that has not switched `SIGPIPE` off, as Rust programs do.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

mod common;

use common::alone::alone;
use common::net::pipe;
use common::{Exec, OnLocal, OnPollster, must_fail, with_ring};
use safer_ring::net::{TcpListener, TcpStream, UnixDatagram, UnixStream};

fn let_the_signal_kill() {
    // SAFETY: signal(2) with the default action; no handler.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

fn sends_to_closed_peers<E: Exec>() {
    with_ring::<E>(16, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        drop(b);
        must_fail(a.write("x").await, libc::EPIPE);
        a.write_all("x").await.unwrap_err();
        must_fail(a.write_vectored(vec!["x", "y"]).await, libc::EPIPE);
        a.write_all_vectored(vec!["x", "y"]).await.unwrap_err();
        let (reader, _writer) = pipe();
        must_fail(a.send_with_fds("x", &[reader]).await, libc::EPIPE);
        let (a, _b) = UnixDatagram::pair(&ring).unwrap();
        a.shutdown(std::net::Shutdown::Write).await.unwrap();
        must_fail(a.send("x").await, libc::EPIPE);
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(&ring, listener.local_addr().unwrap()).await.unwrap();
        stream.shutdown(std::net::Shutdown::Write).await.unwrap();
        must_fail(stream.write("x").await, libc::EPIPE);
        stream.write_all("x").await.unwrap_err();
        assert_eq!(must_fail(stream.write_vectored(vec!["x"]).await, libc::EPIPE), ["x"]);
        stream.write_all_vectored(vec!["x", "y"]).await.unwrap_err();
    });
}

#[test]
fn a_closed_peer_of_a_local_ring_sends_no_signal() {
    alone("a_closed_peer_of_a_local_ring_sends_no_signal", || {
        let_the_signal_kill();
        sends_to_closed_peers::<OnLocal>();
    });
}

#[test]
fn a_closed_peer_of_a_shared_ring_sends_no_signal() {
    alone("a_closed_peer_of_a_shared_ring_sends_no_signal", || {
        let_the_signal_kill();
        sends_to_closed_peers::<OnPollster>();
    });
}
