//! Sockets and turns of a ring.

use std::future::Future;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use safer_ring::{Fd, Mode, RecvStream, Ring, RingOf};

/// The loopback addresses that this machine has.
pub(crate) fn loopbacks() -> Vec<SocketAddr> {
    let candidates: [SocketAddr; 2] = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    candidates.into_iter().filter(|address| TcpListener::bind(address).is_ok()).collect()
}

/// Two ends of a TCP connection.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Two ends of a Unix connection, as handles.
pub(crate) fn unix_pair<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (a, b) = UnixStream::pair().unwrap();
    (Fd::new(a), Fd::new(b))
}

/// A UDP socket whose sends never wait, and the peer: where that is full, what is sent is dropped.
pub(crate) fn never_full<M: Mode>() -> (Fd<M>, UdpSocket) {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    near.connect(far.local_addr().unwrap()).unwrap();
    (Fd::new(near), far)
}

/// A pair of sockets that keep messages apart.
pub(crate) fn message_pair(kind: SocketType) -> (Fd, UnixStream) {
    let flags = SocketFlags::CLOEXEC;
    let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
    (Fd::new(near), far.into())
}

/// One message, for the way that a stream has from then on: a runtime is known after the first receive.
pub(crate) async fn greet(stream: &mut RecvStream, far: &mut impl Write) {
    for _ in 0..2 {
        tokio::task::yield_now().await;
        far.write_all(b"hello").unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap()[..], *b"hello");
    }
}

/// The two ends of a pipe: to read from, to write to.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// Whether the descriptor closes on exec.
pub(crate) fn closes_on_exec(fd: &impl AsFd) -> bool {
    // SAFETY: fcntl(2) with F_GETFD takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFD) };
    assert!(flags >= 0);
    flags & libc::FD_CLOEXEC != 0
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets the ring work until `done`; fails after the deadline.
pub(crate) async fn until<M: Mode>(ring: &RingOf<M>, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + super::deadline() / 2;
    while !done() {
        assert!(Instant::now() < end, "{what}: not so: {:?}", ring.snapshot());
        ring.timeout(Duration::from_millis(1)).await.unwrap();
    }
}

/// Lets the ring work until nothing is in flight that somebody has started, but for receives that were dropped and stay
/// armed.
pub(crate) async fn settled<M: Mode>(ring: &RingOf<M>) {
    until(ring, "nothing is in flight", || {
        let now = ring.snapshot();
        // The ring's own: the timer of the wait in this loop, the watch on the bell.
        now.orphans == now.kept && now.queued == 0 && now.in_flight - now.kept <= 2 * now.rings
    })
    .await;
}

/// Starts a receive and drops it.
pub(crate) fn drop_receive<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, size: usize) {
    let mut receive = ring.recv(fd, Vec::with_capacity(size));
    assert!(poll_once(&mut receive).is_pending());
}

/// Lets the ring work until no dropped operation is left in the kernel.
pub(crate) async fn ended<M: Mode>(ring: &RingOf<M>) {
    until(ring, "dropped operations have ended", || ring.snapshot().orphans == 0).await;
}

/// Lets the ring hand over and take in what there is.
pub(crate) async fn turn<M: Mode>(ring: &RingOf<M>) {
    ring.nop().await.unwrap();
}

/// A ring for any thread.
pub(crate) fn shared(entries: u32) -> Ring {
    RingOf::<safer_ring::Shared>::new(entries).unwrap()
}
