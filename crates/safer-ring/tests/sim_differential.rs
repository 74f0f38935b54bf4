//! The calm simulation and the kernel of this machine give the same results for the same calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Debug;
use std::io::{self, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use safer_ring::fs::{self, File, Permissions};
use safer_ring::net::{
    Keepalive, TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use safer_ring::pipe;
use safer_ring::sim::{Config, World};
use safer_ring::{
    Address, FallocateMode, Fd, Interest, Mode, OpError, OpenHow, OpenOptions, PipeOptions,
    RenameMode, Ring, RingOf, Shared, Shutdown, SocketKind,
};

/// The choices of a script, the same for both kernels.
struct Dice(World);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(World::new(Config::calm(seed)))
    }

    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.0.random(limit.try_into().unwrap())).unwrap()
    }

    fn name(&self, root: &str) -> String {
        let all = ["a", "b", "dir", "dir/a", "dir/b", "a/x", "link", "dir/..", "missing/a", "b/"];
        format!("{root}/{}", all[self.below(all.len())])
    }
}

/// A result in words: its value, or the number of its error.
fn told<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("errno {errno}"),
            None => format!("{:?}", error.kind()),
        },
    }
}

fn count<B>(result: Result<(usize, B), OpError<B>>) -> io::Result<usize> {
    result.map(|(count, _)| count).map_err(|failed| failed.error)
}

fn data(result: Result<(usize, Vec<u8>), OpError<Vec<u8>>>) -> io::Result<Vec<u8>> {
    result.map(|(count, buffer)| buffer[..count].to_vec()).map_err(|failed| failed.error)
}

fn u(n: usize) -> u64 {
    n.try_into().unwrap()
}

/// Calls on names and files.
async fn files<M: Mode>(ring: RingOf<M>, root: String, dice: Dice) -> Vec<String> {
    let (mut log, mut open): (Vec<String>, Vec<Fd<M>>) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        let name = dice.name(&root);
        let which = dice.below(11);
        let line = match which {
            0 => told(ring.mkdir(&name, 0o755).await),
            1 => told(ring.unlink(&name).await),
            2 => told(ring.rmdir(&name).await),
            3 => {
                let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
                let mode = modes[dice.below(3)];
                told(ring.rename(&name, dice.name(&root), mode).await)
            }
            4 => told(ring.link(&name, dice.name(&root)).await),
            5 => told(ring.symlink(["a", "dir", "link", "none"][dice.below(4)], &name).await),
            6 => {
                let look = |stat: safer_ring::Metadata| {
                    let size = if stat.is_dir() { 0 } else { stat.len() };
                    let names = if stat.is_dir() { 0 } else { stat.nlink() };
                    (size, names, stat.is_dir(), stat.is_symlink())
                };
                let link = told(ring.statx_link(&name).await.map(look));
                format!("{} {link}", told(ring.statx(&name).await.map(look)))
            }
            _ => {
                let options = OpenOptions::new().read(dice.below(4) > 0);
                let options = match dice.below(4) {
                    0 => options.append(true).create(true),
                    1 => options.write(true).create_new(true),
                    2 => options.write(true).create(true).truncate(dice.below(2) > 0),
                    _ => options,
                };
                let file = ring.open(&name, &options).await;
                let file = file.map(|fd| open.push(fd));
                told(file)
            }
        };
        log.push(format!("{which} {} {line}", name.strip_prefix(&root).unwrap()));
        if let Some(fd) = open.get(dice.below(open.len().max(1))) {
            log.push(on_file(&ring, fd, &dice).await);
        }
    }
    log
}

/// A call on an open file.
async fn on_file<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, dice: &Dice) -> String {
    let (at, len) = (u(dice.below(3000)), dice.below(2000));
    let bytes = vec![u8::try_from(dice.below(256)).unwrap(); len];
    match dice.below(9) {
        0 => told(count(ring.write_at_owned(fd, bytes, at).await)),
        1 => told(data(ring.read_at_owned(fd, vec![0; len], at).await)),
        2 => told(count(ring.write_owned(fd, bytes).await)),
        3 => told(data(ring.read_owned(fd, vec![0; len]).await)),
        4 => told(ring.ftruncate(fd, at).await),
        5 => {
            // Not every file system can make a range of zeroes in one step.
            let modes =
                [FallocateMode::Allocate, FallocateMode::KeepSize, FallocateMode::PunchHole];
            told(ring.fallocate(fd, modes[dice.below(3)], at, u(len)).await)
        }
        6 => told(ring.fsync(fd).await),
        7 => told(count(ring.write_vectored_at(fd, vec![bytes, vec![1, 2, 3]], at).await)),
        _ => told(ring.statx_fd(fd).await.map(|stat| if stat.is_dir() { 0 } else { stat.len() })),
    }
}

/// Calls on pipes; a read only where something is to be had.
async fn pipes<M: Mode>(ring: RingOf<M>, _: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for _ in 0..8 {
        let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
        let (other, target) = ring.pipe(PipeOptions::default()).await.unwrap();
        let (mut there, mut copied) = (0, 0);
        for _ in 0..12 {
            let len = 1 + dice.below(3000);
            match dice.below(6) {
                0 | 1 if there + len < 60_000 => {
                    let sent = count(ring.write_owned(&writer, vec![7; len]).await);
                    there += *sent.as_ref().unwrap();
                    log.push(told(sent));
                }
                2 if there > 0 => {
                    let got = data(ring.read_owned(&reader, vec![0; len]).await).unwrap();
                    there -= got.len();
                    log.push(format!("{got:?}"));
                }
                3 if there > 0 && copied == 0 => {
                    let len = u32::try_from(len).unwrap();
                    let teed = ring.tee(&reader, &target, len).await.unwrap();
                    copied = teed;
                    log.push(format!("tee {teed}"));
                }
                4 if copied > 0 => {
                    let got = data(ring.read_owned(&other, vec![0; len]).await).unwrap();
                    copied -= got.len();
                    log.push(format!("{}", got.len()));
                }
                _ => {
                    let events = told(ring.poll(&writer, Interest::WRITABLE).await);
                    log.push(events);
                }
            }
        }
        log.push(told(count(ring.write_owned(&reader, vec![1]).await)));
        log.push(told(data(ring.read_owned(&writer, vec![1]).await)));
        if dice.below(2) == 0 {
            drop(writer);
            for _ in 0..40 {
                log.push(told(data(ring.read_owned(&reader, vec![0; 2000]).await)));
            }
            log.push(told(ring.poll(&reader, Interest::READABLE).await));
        } else {
            drop(reader);
            log.push(told(count(ring.write_owned(&writer, vec![1]).await)));
        }
    }
    log
}

/// Calls on Unix streams.
async fn sockets<M: Mode>(ring: RingOf<M>, root: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for n in 0..8 {
        let at = Address::unix(format!("{root}/s{n}")).unwrap();
        let server = ring.socket(&at, SocketKind::Stream).await.unwrap();
        let client = ring.socket(&at, SocketKind::Stream).await.unwrap();
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.listen(&server, 4).await));
        log.push(told(ring.bind(&server, at.clone()).await));
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.listen(&server, 4).await));
        log.push(told(count(ring.send(&client, vec![1]).await)));
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.connect(&client, at.clone()).await));
        let (peer, _) = ring.accept(&server).await.unwrap();
        let mut there = 0;
        for _ in 0..10 {
            let len = 1 + dice.below(2000);
            if dice.below(2) == 0 {
                let sent = count(ring.send(&client, vec![9; len]).await).unwrap();
                there += sent;
                log.push(format!("sent {sent}"));
            } else if there > 0 {
                let got = data(ring.recv(&peer, vec![0; len]).await).unwrap();
                there -= got.len();
                log.push(format!("{}", got.len()));
            }
        }
        match dice.below(3) {
            0 => {
                log.push(told(ring.shutdown(&client, Shutdown::Write).await));
                log.push(told(count(ring.send(&client, vec![1]).await)));
                for _ in 0..30 {
                    log.push(told(data(ring.recv(&peer, vec![0; 900]).await)));
                }
            }
            1 => {
                drop(peer);
                log.push(told(data(ring.recv(&client, vec![0; 9]).await)));
                log.push(told(data(ring.recv(&client, vec![0; 9]).await)));
                log.push(told(count(ring.send(&client, vec![1]).await)));
            }
            _ => {
                drop(client);
                for _ in 0..30 {
                    log.push(told(data(ring.recv(&peer, vec![0; 900]).await)));
                }
                log.push(told(count(ring.send(&peer, vec![1]).await)));
            }
        }
    }
    log
}

/// Calls at the edges, found to differ by the conformance suite.
async fn edges<M: Mode>(ring: RingOf<M>, root: String, _: Dice) -> Vec<String> {
    let mut log = Vec::new();
    let options = OpenOptions::new().read(true).write(true).create(true);
    let file = ring.open(format!("{root}/file"), &options).await.unwrap();
    log.push(told(data(ring.read_at_owned(&file, vec![0; 4], 1 << 63).await)));
    log.push(told(data(ring.read_at_owned(&file, Vec::new(), 1 << 63).await)));
    for resolve in [1 << 40, 0x08] {
        let how = OpenHow { resolve, ..OpenHow::default() };
        let opened = ring.openat2(Some(&file), format!("{root}/file"), how).await;
        log.push(told(opened.map(drop)));
    }
    let at = Address::unix(format!("{root}/socket")).unwrap();
    let four = Address::from(SocketAddr::from(([127, 0, 0, 1], 9)));
    let six = Address::from("[::1]:9".parse::<SocketAddr>().unwrap());
    for (like, to) in [(&four, &six), (&four, &at), (&at, &four)] {
        for kind in [SocketKind::Stream, SocketKind::Datagram] {
            let socket = ring.socket(like, kind).await.unwrap();
            log.push(told(ring.connect(&socket, to.clone()).await));
        }
    }
    let server = ring.socket(&at, SocketKind::Stream).await.unwrap();
    ring.bind(&server, at.clone()).await.unwrap();
    ring.listen(&server, 4).await.unwrap();
    let client = ring.socket(&at, SocketKind::Stream).await.unwrap();
    ring.connect(&client, at).await.unwrap();
    let (peer, _) = ring.accept(&server).await.unwrap();
    log.push(told(count(ring.write_at_owned(&client, vec![1; 4], 7).await)));
    log.push(told(count(ring.write_at_owned(&client, vec![1; 4], 0).await)));
    log.push(told(data(ring.read_at_owned(&peer, vec![0; 4], 7).await)));
    // Closed with bytes that nobody has read: both directions end, and a send tells of the end, a receive of the reset.
    ring.close(peer).await.unwrap();
    let hung_up = ring.poll(&client, Interest::PRIORITY).await.map(Interest::from_bits);
    log.push(told(hung_up.map(|seen| seen.contains(Interest::HANG_UP))));
    log.push(told(count(ring.send(&client, vec![1]).await)));
    log.push(told(data(ring.recv(&client, vec![0; 4]).await)));
    log.push(told(data(ring.recv(&client, vec![0; 4]).await)));
    log
}

/// A result of a call that gives nothing but its success.
fn set(result: io::Result<()>) -> String {
    told(result)
}

/// What the options of a TCP socket are; sizes that were not asked for are the machine's own matter.
fn tcp_options(socket: &TcpSocket<Shared>) -> String {
    let one = (told(socket.nodelay()), told(socket.reuseaddr()), told(socket.reuseport()));
    let two = (told(socket.linger()), told(socket.keepalive()), told(socket.ttl()));
    let three = (told(socket.only_v6()), told(socket.quickack()));
    let error = socket.take_error().map(|error| error.and_then(|error| error.raw_os_error()));
    format!("{one:?} {two:?} {three:?} {}", told(error))
}

/// Options of sockets, set and asked in any order.
async fn options<R>(ring: RingOf<Shared>, _: R, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for six in [false, true] {
        let socket =
            if six { TcpSocket::new_v6(&ring).await } else { TcpSocket::new_v4(&ring).await };
        let socket = socket.unwrap();
        log.push(tcp_options(&socket));
        for _ in 0..60 {
            let (on, n) = (dice.below(2) == 0, dice.below(700));
            let seconds = Duration::from_millis([0, 1, 999, 1000, 1001, 90_000, 40_000_000][n % 7]);
            let which = dice.below(12);
            log.push(match which {
                0 => set(socket.set_nodelay(on)),
                1 => set(socket.set_reuseaddr(on)),
                2 => set(socket.set_reuseport(on)),
                3 => set(socket.set_linger(on.then_some(seconds))),
                4 => {
                    let probes = u32::try_from(n).unwrap();
                    let (idle, interval) = (on.then_some(seconds), Some(seconds));
                    let keepalive = Keepalive { idle, interval, probes: Some(probes) };
                    set(socket.set_keepalive((n % 5 > 0).then_some(keepalive)))
                }
                5 => set(socket.set_ttl(u32::try_from(n / 2).unwrap())),
                6 => set(socket.set_only_v6(on)),
                7 => set(socket.set_quickack(on)),
                8 => {
                    let asked = set(socket.set_send_buffer_size(n * 100));
                    format!("{asked} {}", told(socket.send_buffer_size()))
                }
                9 => {
                    let asked = set(socket.set_recv_buffer_size(n * 100));
                    format!("{asked} {}", told(socket.recv_buffer_size()))
                }
                10 if n % 20 == 0 => told(socket.bind(here(six)).await),
                _ => tcp_options(&socket),
            });
        }
        log.extend(datagram_options(&ring, six, &dice).await);
    }
    log
}

fn here(six: bool) -> SocketAddr {
    if six { "[::1]:0".parse().unwrap() } else { "127.0.0.1:0".parse().unwrap() }
}

async fn datagram_options(ring: &RingOf<Shared>, six: bool, dice: &Dice) -> Vec<String> {
    let mut log = Vec::new();
    let socket = UdpSocket::bind(ring, here(six)).await.unwrap();
    for _ in 0..40 {
        let (on, n) = (dice.below(2) == 0, u32::try_from(dice.below(300)).unwrap());
        let which = dice.below(6);
        log.push(match which {
            0 => set(socket.set_broadcast(on)),
            1 => set(socket.set_multicast_loop(on)),
            2 => set(socket.set_multicast_ttl(n)),
            3 => set(socket.set_ttl(n)),
            4 => {
                let group =
                    [Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::new(10, 1, 2, 3)][dice.below(2)];
                let interface = Ipv4Addr::LOCALHOST;
                // Of an IPv6 socket the kernels of the matrix do not agree.
                match (six, on) {
                    (true, _) => String::new(),
                    (_, true) => set(socket.join_multicast_v4(group, interface)),
                    (_, false) => set(socket.leave_multicast_v4(group, interface)),
                }
            }
            _ => {
                let one = (told(socket.broadcast()), told(socket.multicast_loop()));
                format!("{one:?} {} {}", told(socket.multicast_ttl()), told(socket.ttl()))
            }
        });
    }
    log
}

/// An address in words: its port is the kernel's choice.
fn place(address: io::Result<SocketAddr>) -> String {
    told(address.map(|at| (at.ip(), at.port() > 0)))
}

/// Connections by the types of `net`, with whatever can be asked of them meanwhile.
async fn connections<R>(ring: RingOf<Shared>, _: R, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for _ in 0..6 {
        let six = dice.below(2) == 0;
        let anywhere = dice.below(3) == 0;
        let at = match (six, anywhere) {
            (true, true) => "[::]:0",
            (true, false) => "[::1]:0",
            (false, true) => "0.0.0.0:0",
            (false, false) => "127.0.0.1:0",
        };
        let socket = TcpSocket::new_for(&ring, &here(six)).await.unwrap();
        log.push(place(socket.local_addr()));
        let listener = TcpListener::bind(&ring, at).await.unwrap();
        let to = listener.local_addr().unwrap();
        log.push(place(Ok(to)));
        log.push(told(TcpListener::bind(&ring, to).await.map(drop)));
        let client = TcpStream::connect(&ring, to).await.unwrap();
        let (server, from) = listener.accept().await.unwrap();
        log.push(place(Ok(from)));
        for (stream, other) in [(&client, &server), (&server, &client)] {
            log.push(place(stream.local_addr()));
            log.push(told(Ok(stream.peer_addr().unwrap() == other.local_addr().unwrap())));
            let error = stream.take_error().map(|error| error.map(|error| error.kind()));
            log.push(told(error));
        }
        log.push(told(client.nodelay()));
        log.push(told(server.linger()));
        if dice.below(2) == 0 {
            drop(listener);
            // With SO_REUSEADDR the place is free, whoever is still connected to it.
            log.push(told(TcpListener::bind(&ring, to).await.map(drop)));
        }
        talk(&mut log, client, server, &dice).await;
    }
    log
}

/// What two ends say to each other, until one of them goes.
async fn talk(log: &mut Vec<String>, client: TcpStream, server: TcpStream, dice: &Dice) {
    for _ in 0..dice.below(5) {
        let data = vec![7; 1 + dice.below(3000)];
        let len = data.len();
        client.write_all(data).await.unwrap();
        log.push(told(Ok(server.read_exact(vec![0; len]).await.unwrap().len())));
        let peeked = {
            server.write_all("answer").await.unwrap();
            client.peek(vec![0; 4]).await
        };
        log.push(told(data_of(peeked)));
        log.push(told(Ok(client.read_exact(vec![0; 6]).await.unwrap())));
    }
    match dice.below(4) {
        0 => {
            log.push(told(client.shutdown(Shutdown::Write).await));
            log.push(told(data_of(server.read(vec![0; 4]).await)));
            log.push(told(client.peer_addr().map(drop)));
            log.push(told(server.shutdown(Shutdown::Write).await));
            log.push(told(data_of(client.read(vec![0; 4]).await)));
        }
        1 => {
            // Whoever does not linger resets.
            server.write_all("unread").await.unwrap();
            server.set_linger(Some(Duration::ZERO)).unwrap();
            drop(server);
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(told(data_of(client.read(vec![0; 4]).await)));
            }
            // What had come before is there or not: the machine's own matter.
            log.push(format!("{:?}", seen.iter().any(|line| line == "errno 104")));
            log.push(told(client.peer_addr().map(drop)));
            log.push(told(client.shutdown(Shutdown::Write).await));
        }
        2 => {
            client.write_all("unread").await.unwrap();
            server.peek(vec![0; 1]).await.unwrap();
            server.close().await.unwrap();
            log.push(told(data_of(client.read(vec![0; 4]).await)));
            log.push(told(client.peer_addr().map(drop)));
        }
        _ => {
            server.close().await.unwrap();
            log.push(told(data_of(client.read(vec![0; 4]).await)));
            log.push(told(client.peer_addr().map(drop)));
            log.push(told(client.close().await.map_err(|failed| failed.error)));
        }
    }
}

fn data_of(result: Result<(usize, Vec<u8>), OpError<Vec<u8>>>) -> io::Result<Vec<u8>> {
    data(result)
}

/// Datagrams by the types of `net`: names, peers, and who gets what.
async fn datagrams<R>(ring: RingOf<Shared>, _: R, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for six in [false, true] {
        let anywhere = if six { "[::]:0" } else { "0.0.0.0:0" };
        let one = UdpSocket::bind(&ring, anywhere).await.unwrap();
        let other = UdpSocket::bind(&ring, here(six)).await.unwrap();
        let third = UdpSocket::bind(&ring, here(six)).await.unwrap();
        let to = other.local_addr().unwrap();
        for _ in 0..dice.below(4) {
            one.send_to(vec![1; 1 + dice.below(50)], to).await.unwrap();
            let got = other.recv_from(vec![0; 20]).await.unwrap();
            log.push(format!("{} {} {}", got.count, got.truncated, got.address.ip()));
        }
        log.push(place(one.local_addr()));
        log.push(told(one.peer_addr()));
        log.push(told(count(one.send("nowhere").await)));
        one.connect(to).await.unwrap();
        log.push(place(one.local_addr()));
        log.push(told(Ok(one.peer_addr().unwrap() == to)));
        // Whoever is connected hears its peer alone.
        third.send_to("not heard", one.local_addr().unwrap()).await.unwrap();
        other.send_to("heard", one.local_addr().unwrap()).await.unwrap();
        log.push(told(data(one.recv(vec![0; 20]).await)));
        // A second socket for the same address.
        log.push(told(UdpSocket::bind(&ring, to).await.map(drop)));
        if !six {
            let everybody = SocketAddr::from(([255, 255, 255, 255], 9));
            log.push(told(count(third.send_to("all", everybody).await)));
        }
        drop(other);
        log.push(told(count(one.send("lost").await)));
        log.push(told(data(one.recv(vec![0; 20]).await)));
    }
    log
}

/// Unix sockets: pairs, names, credentials.
async fn unix_types(ring: RingOf<Shared>, root: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    let name = |at: io::Result<std::os::unix::net::SocketAddr>| {
        let path = |at: std::os::unix::net::SocketAddr| {
            let path = at.as_pathname().map(|path| path.strip_prefix(&root).unwrap().to_owned());
            (path, at.is_unnamed())
        };
        told(at.map(path))
    };
    for n in 0..4 {
        let (one, other) = UnixStream::pair(&ring).unwrap();
        log.push(name(one.local_addr()));
        log.push(name(one.peer_addr()));
        one.write_all(vec![1; 1 + dice.below(900)]).await.unwrap();
        log.push(told(data(other.read(vec![0; 1000]).await)));
        log.push(told(Ok(one.peer_cred().unwrap().pid == Some(std::process::id()))));
        drop(one);
        log.push(told(data(other.read(vec![0; 10]).await)));
        log.push(told(count(other.write("late").await)));
        let (one, other) = UnixDatagram::pair(&ring).unwrap();
        for len in [0, 1, dice.below(100)] {
            one.send(vec![2; len]).await.unwrap();
            log.push(told(data(other.recv(vec![0; 50]).await)));
        }
        log.push(name(one.peer_addr()));
        drop(other);
        log.push(told(count(one.send("late").await)));
        let at = format!("{root}/l{n}");
        let listener = UnixListener::bind(&ring, &at).await.unwrap();
        log.push(told(UnixListener::bind(&ring, &at).await.map(drop)));
        log.push(name(listener.local_addr()));
        let client = UnixStream::connect(&ring, &at).await.unwrap();
        let (server, from) = listener.accept().await.unwrap();
        log.push(name(Ok(from)));
        for stream in [&client, &server] {
            log.push(name(stream.local_addr()));
            log.push(name(stream.peer_addr()));
            log.push(told(Ok(stream.peer_cred().unwrap().pid == Some(std::process::id()))));
        }
        let nobody = UnixDatagram::unbound(&ring).await.unwrap();
        log.push(name(nobody.local_addr()));
        log.push(name(nobody.peer_addr()));
        log.push(told(count(nobody.send("nowhere").await)));
        let receiver = UnixDatagram::bind(&ring, format!("{root}/d{n}")).await.unwrap();
        nobody.send_to("hello", format!("{root}/d{n}")).await.unwrap();
        let got = receiver.recv_from(vec![0; 10]).await.unwrap();
        log.push(format!("{} {}", got.count, name(Ok(got.address))));
    }
    log
}

/// Files by the types of `fs`: cursors, second handles, permissions, directories, links.
async fn file_types(ring: RingOf<Shared>, root: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    let path = format!("{root}/file");
    let options = fs::OpenOptions::new().read(true).write(true).create(true);
    let options = if dice.below(3) == 0 { options.append(true) } else { options };
    let mut files = vec![options.open(&ring, &path).await.unwrap()];
    files.push(File::open(&ring, &root).await.unwrap());
    for _ in 0..80 {
        let file = &files[[0, 0, 0, 1, 2, 3][dice.below(6)].min(files.len() - 1)];
        let (at, len) = (u(dice.below(3000)), 1 + dice.below(500));
        let by = i64::try_from(dice.below(4000)).unwrap() - 2000;
        let which = dice.below(12);
        if which < 5 && file.metadata().await.unwrap().is_dir() {
            // What a place in a directory is, and where it ends, is the file system's own matter.
            continue;
        }
        log.push(match which {
            0 => told(file.seek(SeekFrom::Start(at)).await),
            1 => told(file.seek(SeekFrom::Current(by)).await),
            2 => told(file.seek(SeekFrom::End(by)).await),
            3 => told(file.rewind().await),
            4 => told(file.stream_position().await),
            5 => told(count(file.write(vec![8; len]).await)),
            6 => told(data(file.read(vec![0; len]).await)),
            7 => told(file.set_len(at).await),
            8 if files.len() < 4 => {
                let second = file.try_clone().unwrap();
                files.push(second);
                String::new()
            }
            9 => {
                let mode = [0o600, 0o644, 0o640][dice.below(3)];
                let set =
                    told(fs::set_permissions(&ring, &path, Permissions::from_mode(mode)).await);
                let seen = fs::metadata(&ring, &path).await.unwrap().mode() & 0o7777;
                format!("{set} {seen:o}")
            }
            10 => {
                let from = File::from_fd(&ring, file.fd().try_clone().unwrap());
                told(count(from.write(vec![9; len]).await))
            }
            _ => told(file.seek(SeekFrom::Start(1 << 63)).await),
        });
    }
    log.extend(directories(&ring, &root, &dice).await);
    log
}

async fn directories(ring: &Ring, root: &str, dice: &Dice) -> Vec<String> {
    let mut log = Vec::new();
    fs::create_dir(ring, format!("{root}/d")).await.unwrap();
    fs::create_dir(ring, format!("{root}/d/e")).await.unwrap();
    for _ in 0..dice.below(6) {
        let name = ["d/x", "d/y", "d/e/z", "w"][dice.below(4)];
        fs::write(ring, format!("{root}/{name}"), vec![1; dice.below(9)]).await.unwrap();
    }
    let linked = fs::symlink(ring, "d/../d/e", format!("{root}/link")).await;
    log.push(told(linked));
    for name in ["link", "d", "missing", "d/e/z"] {
        log.push(told(fs::read_link(ring, format!("{root}/{name}")).await));
        let real = fs::canonicalize(ring, format!("{root}/{name}")).await;
        let top = fs::canonicalize(ring, root).await.unwrap();
        log.push(told(real.map(|path| path.strip_prefix(&top).unwrap().to_owned())));
        let mut names = Vec::new();
        let listed = match fs::read_dir(ring, format!("{root}/{name}")).await {
            Err(error) => Err(error),
            Ok(mut entries) => {
                while let Some(entry) = entries.next_entry().await.unwrap() {
                    let kind = entry.file_type().await.unwrap();
                    names.push((entry.file_name().to_owned(), kind.is_dir(), kind.is_file()));
                }
                Ok(())
            }
        };
        names.sort();
        log.push(format!("{} {names:?}", told(listed)));
    }
    log.push(told(fs::remove_dir_all(ring, format!("{root}/d")).await));
    log.push(told(fs::remove_dir_all(ring, format!("{root}/link")).await));
    log.push(told(fs::metadata(ring, format!("{root}/d")).await.map(drop)));
    let memory = fs::anonymous(ring, "name").unwrap();
    memory.write_all("in memory").await.unwrap();
    memory.rewind().await.unwrap();
    log.push(told(data(memory.read(vec![0; 20]).await)));
    log.push(told(fs::anonymous(ring, &"n".repeat(250)).map(drop)));
    log.push(told(fs::anonymous(ring, "n\0").map(drop)));
    log
}

/// The size of a pipe.
async fn capacities<R>(ring: RingOf<Shared>, _: R, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    let (reader, writer) = pipe::pipe(&ring).await.unwrap();
    log.push(told(reader.capacity()));
    for _ in 0..20 {
        let bytes = [0, 1, 4096, 4097, 65_536, 100_000, 1 << 20][dice.below(7)];
        log.push(told(writer.set_capacity(bytes)));
        log.push(told(reader.capacity()));
    }
    log
}

fn compare<R, S>(
    real: impl Fn(Ring, String, Dice) -> R,
    simulated: impl Fn(Ring, String, Dice) -> S,
    seeds: u64,
) where
    R: Future<Output = Vec<String>>,
    S: Future<Output = Vec<String>>,
{
    let mut differences = Vec::new();
    for seed in 0..seeds {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        let ring = Ring::new(8).unwrap();
        let expected = pollster::block_on(real(ring, root, Dice::new(seed)));
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let found = world.block_on(simulated(ring, "/tmp".to_owned(), Dice::new(seed))).unwrap();
        let mut steps = expected.iter().zip(&found).enumerate();
        if let Some((step, (one, other))) = steps.find(|(_, (one, other))| one != other) {
            let before = &expected[step.saturating_sub(3)..step];
            differences.push(format!(
                "seed {seed}, step {step}: the kernel {one}, the simulation {other}, after {before:?}"
            ));
        } else {
            assert_eq!(expected.len(), found.len());
        }
        assert_eq!(world.descriptors(), 0);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn files_and_names_are_as_on_the_kernel() {
    compare(files, files, 40);
}

#[test]
fn pipes_are_as_on_the_kernel() {
    compare(pipes, pipes, 20);
}

#[test]
fn edges_are_as_on_the_kernel() {
    compare(edges, edges, 2);
}

#[test]
fn sockets_are_as_on_the_kernel() {
    compare(sockets, sockets, 20);
}

#[test]
fn options_of_sockets_are_as_on_the_kernel() {
    compare(options, options, 30);
}

#[test]
fn connections_by_type_are_as_on_the_kernel() {
    compare(connections, connections, 30);
}

#[test]
fn datagrams_by_type_are_as_on_the_kernel() {
    compare(datagrams, datagrams, 10);
}

#[test]
fn unix_sockets_by_type_are_as_on_the_kernel() {
    compare(unix_types, unix_types, 10);
}

#[test]
fn files_by_type_are_as_on_the_kernel() {
    compare(file_types, file_types, 40);
}

#[test]
fn capacities_of_pipes_are_as_on_the_kernel() {
    compare(capacities, capacities, 10);
}
