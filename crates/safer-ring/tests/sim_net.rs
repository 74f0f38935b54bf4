//! Sockets of a simulated world.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;

use safer_ring::sim::{Config, World};
use safer_ring::{Address, Control, Fd, Mode, PipeOptions, RingOf, Shared, Shutdown, SocketKind};

fn address(port: u16) -> Address {
    Address::Ip(SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn listener<M: Mode>(ring: &RingOf<M>, at: &Address) -> Fd<M> {
    let fd = ring.socket(at, SocketKind::Stream).await.unwrap();
    ring.bind(&fd, at.clone()).await.unwrap();
    ring.listen(&fd, 8).await.unwrap();
    fd
}

async fn connected<M: Mode>(ring: &RingOf<M>, to: &Address) -> Fd<M> {
    let fd = ring.socket(to, SocketKind::Stream).await.unwrap();
    ring.connect(&fd, to.clone()).await.unwrap();
    fd
}

async fn send_all<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, mut data: Vec<u8>) {
    while !data.is_empty() {
        let (n, back) = ring.send(fd, data).await.unwrap();
        data = back[n..].to_vec();
    }
}

async fn receive_all<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let (n, buffer) = ring.recv(fd, vec![0; 999]).await.unwrap();
        if n == 0 {
            return all;
        }
        all.extend_from_slice(&buffer[..n]);
    }
}

/// Three clients at a time, each of which sends, says that it is done, and gets all of it back.
fn echo(world: &World, at: &Address) {
    let ring = world.ring().unwrap();
    let tasks = world.clone();
    let to = at.clone();
    world
        .block_on(async move {
            let server = listener(&ring, &to).await;
            let mut clients = Vec::new();
            for n in 0..3u8 {
                let (ring, to) = (ring.clone(), to.clone());
                clients.push(tasks.spawn(async move {
                    let fd = connected(&ring, &to).await;
                    let data: Vec<u8> = (0..9000u32).map(|at| at.to_le_bytes()[0] ^ n).collect();
                    send_all(&ring, &fd, data.clone()).await;
                    ring.shutdown(&fd, Shutdown::Write).await.unwrap();
                    assert_eq!(receive_all(&ring, &fd).await, data);
                }));
            }
            for _ in 0..3 {
                let (fd, _) = ring.accept(&server).await.unwrap();
                let ring = ring.clone();
                clients.push(tasks.spawn(async move {
                    let data = receive_all(&ring, &fd).await;
                    send_all(&ring, &fd, data).await;
                    ring.close(fd).await.unwrap();
                }));
            }
            for client in clients {
                client.await;
            }
        })
        .unwrap();
    assert_eq!(world.descriptors(), 0);
}

#[test]
fn an_echo_server_gives_everything_back_in_order() {
    for seed in 0..12 {
        for at in [address(80), Address::unix("/tmp/echo").unwrap()] {
            echo(&World::new(Config::calm(seed)), &at);
            echo(&World::new(Config { socket_bytes: 500, ..Config::new(seed) }), &at);
        }
    }
}

fn errno(error: std::io::Error) -> Option<i32> {
    error.raw_os_error()
}

#[test]
fn connections_end_and_are_reset_as_those_of_a_kernel() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let refused = ring.socket(&address(1), SocketKind::Stream).await.unwrap();
            let error = ring.connect(&refused, address(1)).await.unwrap_err();
            assert_eq!(errno(error), Some(libc::ECONNREFUSED));
            let server = listener(&ring, &address(1)).await;
            let second = ring.socket(&address(1), SocketKind::Stream).await.unwrap();
            let error = ring.bind(&second, address(1)).await.unwrap_err();
            assert_eq!(errno(error), Some(libc::EADDRINUSE));
            // An end, with nothing unread: the peer may send once more before it learns.
            let client = connected(&ring, &address(1)).await;
            let (one, peer) = ring.accept(&server).await.unwrap();
            assert_eq!(peer.unwrap().ip().unwrap().port(), 32_768);
            ring.close(one).await.unwrap();
            assert_eq!(ring.recv(&client, vec![0; 4]).await.unwrap().0, 0);
            assert_eq!(ring.send(&client, b"late".to_vec()).await.unwrap().0, 4);
            let error = ring.send(&client, b"later".to_vec()).await.unwrap_err().error;
            assert_eq!(errno(error), Some(libc::EPIPE));
            // An end with something unread is a reset.
            let client = connected(&ring, &address(1)).await;
            let (one, _) = ring.accept(&server).await.unwrap();
            ring.send(&client, b"unread".to_vec()).await.unwrap();
            ring.close(one).await.unwrap();
            let error = ring.recv(&client, vec![0; 4]).await.unwrap_err().error;
            assert_eq!(errno(error), Some(libc::ECONNRESET));
            assert_eq!(ring.recv(&client, vec![0; 4]).await.unwrap().0, 0);
            // Those that nobody accepted end with the listener.
            let waiting = connected(&ring, &address(1)).await;
            ring.close(server).await.unwrap();
            let error = ring.recv(&waiting, vec![0; 4]).await.unwrap_err().error;
            assert_eq!(errno(error), Some(libc::ECONNRESET));
        })
        .unwrap();
}

#[test]
fn datagrams_keep_their_bounds_and_tell_their_senders() {
    for seed in 0..40 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let unix = |name: &str| Address::unix(format!("/tmp/{name}")).unwrap();
                for (one, other) in [(address(5), address(6)), (unix("a"), unix("b"))] {
                    let from: Fd<Shared> = ring.socket(&one, SocketKind::Datagram).await.unwrap();
                    let to = ring.socket(&one, SocketKind::Datagram).await.unwrap();
                    ring.bind(&from, one.clone()).await.unwrap();
                    ring.bind(&to, other.clone()).await.unwrap();
                    for text in [&b"first"[..], b"the second"] {
                        let to = Some(&other);
                        let sent = ring.send_msg(&from, text.to_vec(), to, Control::new());
                        assert_eq!(sent.await.unwrap().0, text.len());
                    }
                    let got = ring.recv_msg(&to, vec![0; 64], 0).await.unwrap();
                    assert_eq!(&got.buffer[..got.count], b"first");
                    let told = format!("{}", got.address.unwrap());
                    assert_eq!(told, format!("{one}"), "seed {seed}");
                    let got = ring.recv_msg(&to, vec![0; 6], 0).await.unwrap();
                    assert_eq!((got.count, got.flags & 0x20), (6, 0x20), "cut, and said so");
                }
            })
            .unwrap();
    }
}

/// The numbers that come of 0 to 8, sent before the first of them is received, to a socket of `at`'s kind.
fn datagrams(config: Config, at: &Address, to: &Address) -> Vec<u8> {
    let world = World::new(config);
    let ring = world.ring().unwrap();
    let numbers = world.block_on(async {
        let sender = ring.socket(at, SocketKind::Datagram).await.unwrap();
        let receiver = ring.socket(at, SocketKind::Datagram).await.unwrap();
        ring.bind(&receiver, to.clone()).await.unwrap();
        for number in 0..9 {
            let sent = ring.send_msg(&sender, vec![number], Some(to), Control::new()).await;
            assert_eq!(sent.unwrap().0, 1, "nobody tells the sender");
        }
        let mut numbers = Vec::new();
        let patience = std::time::Duration::from_secs(1);
        while let Ok(got) = ring.recv_msg(&receiver, vec![0; 9], 0).timeout(patience).await {
            assert_eq!(got.count, 1);
            numbers.push(got.buffer[0]);
        }
        numbers
    });
    numbers.unwrap()
}

#[test]
fn datagrams_are_lost_doubled_and_early_where_a_test_wants_that() {
    let all: Vec<u8> = (0..9).collect();
    let (udp, unix) = (address(6), Address::unix("/tmp/receiver").unwrap());
    let (mut lost, mut doubled, mut early) = (0, 0, 0);
    for seed in 0..30 {
        let calm = Config::calm(seed);
        let one = |config| datagrams(config, &udp, &udp);
        let some = one(Config { lost_datagrams: 300, ..calm.clone() });
        assert!(some.is_sorted() && some.windows(2).all(|two| two[0] != two[1]));
        lost += 9 - some.len();
        let more = one(Config { doubled_datagrams: 300, ..calm.clone() });
        assert!(all.iter().all(|number| more.contains(number)), "{more:?}");
        doubled += more.len() - 9;
        let mut mixed = one(Config { early_datagrams: 300, ..calm.clone() });
        early += usize::from(!mixed.is_sorted());
        mixed.sort_unstable();
        assert_eq!(mixed, all);
        let bad = Config { lost_datagrams: 1000, doubled_datagrams: 1000, ..calm };
        assert_eq!(datagrams(bad, &unix, &unix), all, "a Unix socket has no network");
    }
    assert!(lost > 40 && doubled > 40 && early > 20, "{lost}, {doubled}, {early}");
}

#[test]
fn a_connected_datagram_socket_is_told_that_nobody_listens() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let socket = ring.socket(&address(5), SocketKind::Datagram).await.unwrap();
            let nobody = Some(&address(6));
            // Not one that names the receiver each time.
            ring.send_msg(&socket, vec![1], nobody, Control::new()).await.unwrap();
            ring.send_msg(&socket, vec![1], nobody, Control::new()).await.unwrap();
            ring.connect(&socket, address(6)).await.unwrap();
            // Once for each, by whatever comes next.
            ring.send(&socket, vec![1]).await.unwrap();
            let error = ring.recv(&socket, vec![0; 4]).await.unwrap_err().error;
            assert_eq!(errno(error), Some(libc::ECONNREFUSED));
            ring.send(&socket, vec![1]).await.unwrap();
            let error = ring.send(&socket, vec![1]).await.unwrap_err().error;
            assert_eq!(errno(error), Some(libc::ECONNREFUSED));
        })
        .unwrap();
}

#[test]
fn after_a_crash_addresses_are_free_and_nobody_is_there() {
    for seed in 0..20 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        for at in [address(80), Address::unix("/tmp/server").unwrap()] {
            let (server, client, receiver) = world
                .block_on(async {
                    let server = listener(&ring, &at).await;
                    let client = connected(&ring, &at).await;
                    ring.send(&client, b"before".to_vec()).await.unwrap();
                    let receiver = ring.socket(&address(6), SocketKind::Datagram).await.unwrap();
                    ring.bind(&receiver, address(6)).await.unwrap();
                    (server, client, receiver)
                })
                .unwrap();
            world.crash();
            // What was open may be dropped before what comes after the crash, or never.
            let kept = if seed % 2 == 0 {
                drop((server, client, receiver));
                None
            } else {
                Some((server, client, receiver))
            };
            world
                .block_on(async {
                    let nobody = ring.socket(&at, SocketKind::Stream).await.unwrap();
                    let refused = errno(ring.connect(&nobody, at.clone()).await.unwrap_err());
                    assert!(
                        matches!(refused, Some(libc::ECONNREFUSED | libc::ENOENT)),
                        "{refused:?}"
                    );
                    let again = ring.socket(&address(6), SocketKind::Datagram).await.unwrap();
                    ring.bind(&again, address(6)).await.unwrap();
                    let server = listener(&ring, &at).await;
                    let client = connected(&ring, &at).await;
                    ring.send(&client, b"after".to_vec()).await.unwrap();
                    let (one, _) = ring.accept(&server).await.unwrap();
                    assert_eq!(ring.recv(&one, vec![0; 9]).await.unwrap(), (5, b"after".to_vec()));
                })
                .unwrap();
            if let Some((server, client, _)) = &kept {
                let dead = world.block_on(ring.send(client, vec![1])).unwrap().unwrap_err().error;
                assert_eq!(errno(dead), Some(libc::EIO));
                let dead = world.block_on(ring.accept(server)).unwrap().unwrap_err();
                assert_eq!(errno(dead), Some(libc::EIO));
            }
            drop(kept);
            assert_eq!((world.descriptors(), world.findings()), (0, vec![]));
        }
    }
}

#[test]
fn a_pipe_of_packets_is_refused() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let error = world.block_on(ring.pipe(PipeOptions::Packets)).unwrap().unwrap_err();
    assert_eq!(errno(error), Some(libc::EOPNOTSUPP));
    assert_eq!(world.descriptors(), 0);
}
