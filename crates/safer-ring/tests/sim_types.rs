//! The types of `net`, `fs` and `pipe` in a simulated world: what they ask beside the ring is answered there, and time is its
//! time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::io::{self, ErrorKind, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use safer_ring::fs::{self, File};
use safer_ring::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixListener, UnixStream};
use safer_ring::sim::{Config, World};
use safer_ring::{Mode, OpenOptions, Ring, RingOf, Shutdown, pipe};

/// A server as somebody writes it: it takes a client, keeps what it says at the end of a file, counts by UDP, and answers
/// with the last bytes of the file.
async fn serve<M: Mode>(ring: RingOf<M>, listener: TcpListener<M>, log: String) -> io::Result<u64> {
    let counter = UdpSocket::bind(&ring, "localhost:0").await?;
    let count = UdpSocket::bind(&ring, (Ipv4Addr::LOCALHOST, 0)).await?;
    count.connect(counter.local_addr()?).await?;
    let (stream, from) = listener.accept().await?;
    assert_eq!(stream.peer_addr()?, from);
    stream.set_nodelay(true)?;
    stream.set_keepalive(Some(Default::default()))?;
    assert!(stream.nodelay()? && stream.keepalive()?.is_some());
    let file = File::create(&ring, &log).await?;
    let (mut buffer, mut parts) = (vec![0; 700], 0u64);
    loop {
        let count_of_bytes;
        (count_of_bytes, buffer) = stream.read(buffer).await?;
        if count_of_bytes == 0 {
            break;
        }
        file.seek(SeekFrom::End(0)).await?;
        file.write_all(buffer[..count_of_bytes].to_vec()).await?;
        count.send("part").await?;
        let got = counter.recv_from(vec![0; 9]).await?;
        assert_eq!((&got.buffer[..], got.address), (&b"part"[..], count.local_addr()?));
        parts += 1;
    }
    file.sync_data().await?;
    let size = file.stream_position().await?;
    let last = File::open(&ring, &log).await?;
    last.seek(SeekFrom::End(-5)).await?;
    stream.write_all(last.read_exact(vec![0; 5]).await?).await?;
    stream.shutdown(Shutdown::Write).await?;
    assert!(parts > 0);
    Ok(size)
}

async fn client<M: Mode>(ring: RingOf<M>, to: SocketAddr) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(&ring, to).await?;
    let data: Vec<u8> = (0..9000u32).map(|at| at.to_le_bytes()[0]).collect();
    stream.write_all(data).await?;
    stream.shutdown(Shutdown::Write).await?;
    let told = stream.read_exact(vec![0; 5]).await?;
    assert_eq!(stream.read(vec![0; 5]).await?.0, 0);
    Ok(told)
}

const LAST: [u8; 5] = [0x23, 0x24, 0x25, 0x26, 0x27];

#[test]
fn a_server_runs_in_a_world_as_on_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log").to_str().unwrap().to_owned();
    let ring = Ring::new(16).unwrap();
    let (size, told) = pollster::block_on(async {
        let listener = TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let asking = std::thread::spawn({
            let ring = ring.clone();
            move || pollster::block_on(client(ring, to)).unwrap()
        });
        (serve(ring.clone(), listener, log).await.unwrap(), asking.join().unwrap())
    });
    assert_eq!((size, &told[..]), (9000, &LAST[..]));
    for seed in 0..40 {
        for config in [Config::calm(seed), Config::new(seed)] {
            let world = World::new(config);
            let (ring, local) = (world.ring().unwrap(), world.local_ring_with(2, 2).unwrap());
            world
                .block_on(async {
                    let listener = TcpListener::bind(&local, "localhost:0").await.unwrap();
                    let to = listener.local_addr().unwrap();
                    let told = world.spawn(client(ring, to));
                    let size = serve(local, listener, "/log".to_owned()).await.unwrap();
                    assert_eq!((size, told.await.unwrap()), (9000, LAST.to_vec()), "seed {seed}");
                })
                .unwrap();
            assert_eq!((world.descriptors(), world.read_file("/log").unwrap().len()), (0, 9000));
        }
    }
}

/// A world in a storm: every failure is told, nothing is left, and the seed gives the same again.
fn storm(seed: u64) -> (u64, bool) {
    // So many that some seeds get through.
    let world = World::new(Config { errors: 10, breaks: 4, ..Config::stormy(seed) });
    let ring = world.ring().unwrap();
    let well = Rc::new(Cell::new(false));
    let seen = Rc::clone(&well);
    let (tasks, quiet) = (world.clone(), ring.clone());
    world
        .block_on(async move {
            let Ok(listener) = TcpListener::bind(&ring, "127.0.0.1:80").await else { return };
            let to = listener.local_addr().unwrap();
            let asking = tasks.spawn(client(ring.clone(), to));
            let served = serve(ring, listener, "/log".to_owned());
            let served = tasks.spawn(served);
            let told = asking.await;
            if told.is_ok() {
                seen.set(served.await.is_ok());
            }
        })
        .unwrap();
    // What was dropped with the tasks ends.
    world.block_on(quiet.timeout(Duration::from_secs(60))).unwrap().unwrap();
    assert_eq!(world.descriptors(), 0, "seed {seed}");
    (world.trace_hash(), well.get())
}

#[test]
fn worlds_of_parallel_tests_do_not_meet() {
    let alone: Vec<(u64, bool)> = (0..24).map(storm).collect();
    assert!(alone.iter().any(|(_, well)| *well) && alone.iter().any(|(_, well)| !well));
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| (0..24).map(storm).collect::<Vec<_>>())).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), alone);
    }
}

#[test]
fn deadlines_and_ages_are_of_the_clock_of_the_world() {
    const MINUTE: Duration = Duration::from_secs(60);
    for seed in 0..20 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        let begun = Instant::now();
        world
            .block_on(async {
                let (reader, _writer) = pipe::pipe(&ring).await.unwrap();
                for by_machine in [false, true] {
                    let now = world.now();
                    assert_eq!(ring.now(), world.instant());
                    let soon = if by_machine { Instant::now() } else { ring.now() } + 10 * MINUTE;
                    let late = reader.read(vec![0; 4]).deadline(soon).await.unwrap_err();
                    assert_eq!(late.error.kind(), ErrorKind::TimedOut);
                    let taken = world.now() - now;
                    assert!(taken >= 10 * MINUTE && taken < 11 * MINUTE, "seed {seed}: {taken:?}");
                }
                // A time that is over is over: the operation has no time at all.
                let past = ring.now() - MINUTE;
                let late = reader.read(vec![0; 4]).deadline(past).await.unwrap_err();
                assert_eq!(late.error.kind(), ErrorKind::TimedOut);
                // What waits is as old as the world says.
                let waiting = ring.clone();
                let read =
                    world.spawn(async move { reader.read(vec![0; 4]).timeout(90 * MINUTE).await });
                waiting.timeout(30 * MINUTE).await.unwrap();
                let old = ring.operations();
                let age = old.iter().map(|operation| operation.age).max().unwrap();
                assert!(age >= 29 * MINUTE && age < 31 * MINUTE, "seed {seed}: {old:?}");
                // A drain waits for it, and gives up when the world's clock says so.
                let now = world.now();
                let drained = ring.drain(ring.now() + 20 * MINUTE).await;
                assert_eq!((drained.is_complete(), drained.left().len()), (false, 1));
                let taken = world.now() - now;
                assert!(taken >= 20 * MINUTE && taken < 21 * MINUTE, "seed {seed}: {taken:?}");
                let drained = ring.drain(ring.now() + 120 * MINUTE).await;
                assert!(drained.is_complete(), "seed {seed}: {drained}");
                assert_eq!(read.await.unwrap_err().error.kind(), ErrorKind::TimedOut);
            })
            .unwrap();
        assert!(world.now() > 100 * MINUTE && begun.elapsed() < MINUTE);
    }
}

#[test]
fn names_of_hosts_are_those_of_the_world() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let host = IpAddr::from([10, 0, 0, 7]);
    world.add_host("store.internal", [IpAddr::from([10, 0, 0, 9]), host]);
    world
        .block_on(async {
            let listener = TcpListener::bind(&ring, (host, 7000)).await.unwrap();
            // The first address refuses, the second answers.
            let client = TcpStream::connect(&ring, "store.internal:7000").await.unwrap();
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
            drop(TcpStream::connect(&ring, ("store.internal", 7000)).await.unwrap());
            let missing = TcpStream::connect(&ring, "example.com:80").await.unwrap_err();
            assert!(missing.to_string().contains("no host of this name"), "{missing}");
            let portless = TcpStream::connect(&ring, "store.internal").await.unwrap_err();
            assert_eq!(portless.kind(), ErrorKind::InvalidInput);
        })
        .unwrap();
}

#[test]
fn a_port_is_shared_by_those_who_all_want_to_share_it() {
    let mut taken = [0; 3];
    for seed in 0..30 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let at: SocketAddr = "127.0.0.1:9000".parse().unwrap();
                let mut listeners = Vec::new();
                for _ in 0..3 {
                    let socket = TcpSocket::new_v4(&ring).await.unwrap();
                    socket.set_reuseport(true).unwrap();
                    socket.bind(at).await.unwrap();
                    listeners.push(socket.listen(8).await.unwrap());
                }
                let alone = TcpSocket::new_v4(&ring).await.unwrap();
                let refused = alone.bind(at).await.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::AddrInUse);
                let _client = TcpStream::connect(&ring, at).await.unwrap();
                for (place, listener) in listeners.iter().enumerate() {
                    let second = Duration::from_secs(1);
                    let waited = ring.accept(listener.fd()).timeout(second).await;
                    taken[place] += usize::from(waited.is_ok());
                }
            })
            .unwrap();
    }
    assert_eq!(taken.iter().sum::<usize>(), 30);
    assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
}

#[test]
fn a_group_is_heard_by_those_who_have_joined_it_while_the_sender_wants_it() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let group = Ipv4Addr::new(239, 1, 1, 1);
            let to = SocketAddr::from((group, 5000));
            let sender = UdpSocket::bind(&ring, "127.0.0.1:0").await.unwrap();
            sender.send_to("nobody", to).await.unwrap();
            let member = UdpSocket::bind(&ring, "0.0.0.0:5000").await.unwrap();
            member.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED).unwrap();
            sender.send_to("all", to).await.unwrap();
            let got = member.recv_from(vec![0; 9]).await.unwrap();
            assert_eq!((&got.buffer[..], got.address), (&b"all"[..], sender.local_addr().unwrap()));
            sender.set_multicast_loop(false).unwrap();
            sender.send_to("others", to).await.unwrap();
            member.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED).unwrap();
            sender.set_multicast_loop(true).unwrap();
            sender.send_to("none", to).await.unwrap();
            let silence = member.recv(vec![0; 9]).timeout(Duration::from_secs(9)).await;
            assert_eq!(silence.unwrap_err().error.kind(), ErrorKind::TimedOut);
            let everybody = SocketAddr::from(([255, 255, 255, 255], 5000));
            let refused = sender.send_to("everybody", everybody).await.unwrap_err();
            assert_eq!(refused.error.kind(), ErrorKind::PermissionDenied);
            sender.set_broadcast(true).unwrap();
            sender.send_to("everybody", everybody).await.unwrap();
            assert_eq!(member.recv(vec![0; 9]).await.unwrap().1, b"everybody");
        })
        .unwrap();
}

#[test]
fn a_smaller_buffer_has_less_room() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let socket = TcpSocket::new_v4(&ring).await.unwrap();
            socket.set_recv_buffer_size(2000).unwrap();
            socket.bind("127.0.0.1:70".parse().unwrap()).await.unwrap();
            let listener = socket.listen(8).await.unwrap();
            let client = TcpStream::connect(&ring, "127.0.0.1:70").await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            assert_eq!(server.recv_buffer_size().unwrap(), 4000, "that of the listener");
            assert_eq!(client.write(vec![1; 50_000]).await.unwrap().0, 4000);
            let (reader, writer) = pipe::pipe(&ring).await.unwrap();
            assert_eq!(writer.set_capacity(5000).unwrap(), 8192);
            assert_eq!(writer.write(vec![1; 50_000]).await.unwrap().0, 8192);
            assert_eq!(reader.set_capacity(4096).unwrap_err().kind(), ErrorKind::ResourceBusy);
        })
        .unwrap();
}

#[test]
fn a_second_descriptor_has_the_same_cursor_and_is_closed_for_itself() {
    let config = Config { descriptors: 3, ..Config::calm(1) };
    let world = World::new(config);
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let file = File::create_new(&ring, "/tmp/file").await.unwrap();
            let other = file.try_clone().unwrap();
            file.write_all("0123456789").await.unwrap();
            assert_eq!(other.stream_position().await.unwrap(), 10);
            other.seek(SeekFrom::Start(4)).await.unwrap();
            file.close().await.unwrap();
            assert_eq!(other.read_exact(vec![0; 3]).await.unwrap(), b"456");
            let (_, _third) = UnixStream::pair(&ring).unwrap();
            let _fourth = other.fd().try_clone().unwrap();
            assert_eq!(other.try_clone().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        })
        .unwrap();
    assert_eq!(world.descriptors(), 0);
}

#[test]
fn after_a_crash_nothing_that_was_open_answers() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let errno = |error: io::Error| error.raw_os_error();
    let (file, stream) = world
        .block_on(async {
            let listener = UnixListener::bind(&ring, "/tmp/socket").await.unwrap();
            let stream = UnixStream::connect(&ring, "/tmp/socket").await.unwrap();
            drop(listener);
            (File::create_new(&ring, "/tmp/file").await.unwrap(), stream)
        })
        .unwrap();
    world.crash();
    world
        .block_on(async {
            assert_eq!(errno(file.rewind().await.unwrap_err()), Some(libc::EIO));
            assert_eq!(errno(file.try_clone().unwrap_err()), Some(libc::EIO));
            assert_eq!(errno(stream.peer_addr().unwrap_err()), Some(libc::EIO));
            assert_eq!(errno(stream.set_send_buffer_size(9).unwrap_err()), Some(libc::EIO));
            drop((file, stream));
            fs::write(&ring, "/tmp/again", "there").await.unwrap();
            let mut entries = fs::read_dir(&ring, "/tmp").await.unwrap();
            let entry = entries.next_entry().await.unwrap().unwrap();
            assert_eq!(entry.file_name(), "again");
            let options = OpenOptions::new().read(true);
            let dir = ring.open("/tmp", &options).await.unwrap();
            assert_eq!(
                errno(File::from_fd(&ring, dir).read(vec![0; 4]).await.unwrap_err().error),
                Some(libc::EISDIR)
            );
        })
        .unwrap();
    assert_eq!(world.descriptors(), 0);
}

/// Found by `cargo xtask sim`: what was to be tried again was handed over only when the next timer was due, an hour later.
#[test]
fn what_is_tried_again_does_not_wait_for_the_next_timer() {
    for seed in 0..200 {
        let world = World::new(Config { interrupts: 500, ..Config::new(seed) });
        let ring = world.local_ring_with(2, 2).unwrap();
        world
            .block_on(async {
                let (reader, writer) = pipe::pipe(&ring).await.unwrap();
                let hour = Duration::from_secs(3600);
                let other = ring.clone();
                let timer = world.spawn(async move { other.timeout(hour).await });
                for _ in 0..10 {
                    writer.write_all("bytes").await.unwrap();
                    reader.read_exact(vec![0; 5]).await.unwrap();
                }
                assert!(world.now() < hour, "seed {seed}");
                drop(timer);
            })
            .unwrap();
    }
}
