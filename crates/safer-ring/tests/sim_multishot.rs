//! Streams of receives in a simulated world, whose kernel ends its multishot receives as it likes: without being asked, of too
//! few buffers, in the middle of what arrives.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use safer_ring::net::{TcpListener, TcpStream, UnixStream};
use safer_ring::sim::{Config, JoinHandle, World};
use safer_ring::{Mode, RecvStream, RingBuffer, RingOf};

/// What the traces of some worlds have in them.
#[derive(Debug, Default)]
struct Seen {
    pieces: usize,
    unasked: usize,
    refused: usize,
    dry: usize,
    interrupted: usize,
    /// Pieces that came although the receive was to end.
    late: usize,
}

impl Seen {
    fn look(&mut self, world: &World) {
        let mut ending: Vec<String> = Vec::new();
        for line in world.trace() {
            let name = line.split_whitespace().find(|word| word.starts_with('#')).unwrap_or("");
            let has = |text: &str| usize::from(line.contains(text));
            let piece = has("recv multishot = ") * has(" in buffer ");
            self.pieces += piece;
            self.unasked += has(", unasked");
            self.refused += has("is given no buffer");
            self.dry += has("finds no buffer");
            self.interrupted += has("recv multishot suffers ");
            self.late += piece * usize::from(ending.iter().any(|other| other == name));
            if line.contains("is cancelled too late") {
                ending.push(name.to_owned());
            }
        }
    }
}

/// The byte at a place of a lane's stream.
fn byte(lane: usize, place: usize) -> u8 {
    (place.wrapping_mul(0x9e37_79b1).rotate_left(7) ^ (lane * 31)).to_le_bytes()[1]
}

/// Whether it came of the storm alone, and the same can be tried again.
fn may_go_on(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM | libc::EIO))
}

async fn send<M: Mode>(world: World, ring: RingOf<M>, lane: usize, to: TcpStream<M>, len: usize) {
    let mut place = 0;
    while place < len {
        let most = [1, 9, 700, 20_000][usize::try_from(world.random(4)).unwrap()];
        let data: Vec<u8> = (place..len.min(place + most)).map(|at| byte(lane, at)).collect();
        match ring.send(to.fd(), data).await {
            Ok((count, _)) => place += count,
            Err(failed) => assert!(may_go_on(&failed.error), "{failed}"),
        }
        if world.random(6) == 0 {
            ring.timeout(Duration::from_micros(world.random(900))).await.unwrap();
        }
    }
    to.shutdown(Shutdown::Write).await.unwrap();
}

/// The next of a stream, or nothing after so many polls.
async fn within<M: Mode>(
    arrives: &mut RecvStream<M>,
    mut polls: u64,
) -> Option<Option<std::io::Result<RingBuffer>>> {
    let mut next = pin!(arrives.next());
    poll_fn(|context| match next.as_mut().poll(context) {
        Poll::Ready(came) => Poll::Ready(Some(came)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Receives until the end, by streams that are dropped sooner or later and by receives in between.
async fn receive<M: Mode>(
    world: World,
    lane: usize,
    from: TcpStream<M>,
    (len, errors): (usize, u32),
) {
    let mut place = 0;
    let may_go_on = |error: &std::io::Error| errors > 0 && may_go_on(error);
    let mut check = |data: &[u8]| {
        for found in data {
            assert_eq!(*found, byte(lane, place), "lane {lane}, byte {place}");
            place += 1;
        }
    };
    'all: loop {
        let mut arrives = from.recv_stream();
        let mut held = Vec::new();
        for _ in 0..world.random(12) {
            // Most wait for what comes; some go when it has not come soon.
            let came = match world.random(3) {
                0 => within(&mut arrives, world.random(6)).await,
                _ => Some(arrives.next().await),
            };
            match came {
                None => break,
                Some(None) => break 'all,
                Some(Some(Ok(buffer))) => {
                    check(&buffer);
                    held.push(buffer);
                }
                Some(Some(Err(error))) => assert!(may_go_on(&error), "{error}"),
            }
        }
        drop(arrives);
        if world.random(2) == 0 {
            match from.read(vec![0; 99]).await {
                Ok((0, _)) => break,
                Ok((count, data)) => check(&data[..count]),
                Err(failed) => assert!(may_go_on(&failed.error), "{failed}"),
            }
        }
    }
    assert_eq!(place, len, "lane {lane}");
    // It is over for good.
    let end = from.recv_stream().next().await;
    assert!(end.is_none() || end.is_some_and(|end| may_go_on(&end.unwrap_err())));
}

/// Connections, made before the storm.
async fn connections<M: Mode>(ring: &RingOf<M>, count: usize) -> Vec<[TcpStream<M>; 2]> {
    let listener = TcpListener::bind(ring, "localhost:0").await.unwrap();
    let mut made = Vec::new();
    for _ in 0..count {
        let to = TcpStream::connect(ring, listener.local_addr().unwrap()).await.unwrap();
        made.push([to, listener.accept().await.unwrap().0]);
    }
    made
}

/// Some lanes at once, on one ring.
async fn exchange<M: Mode>(world: &World, ring: RingOf<M>, lanes: usize, len: usize, errors: u32) {
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    let made = connections(&ring, lanes).await;
    world.reconfigure(|config| config.errors = errors);
    for (lane, [to, from]) in made.into_iter().enumerate() {
        running.push(world.spawn(send(world.clone(), ring.clone(), lane, to, len)));
        running.push(world.spawn(receive(world.clone(), lane, from, (len, errors))));
    }
    for lane in running {
        lane.await;
    }
    world.reconfigure(|config| config.errors = 0);
    // What was dropped ends.
    ring.timeout(Duration::from_secs(60)).await.unwrap();
}

/// The same in a world, with what must be so at the end.
fn run<M: Mode>(
    world: &World,
    ring: RingOf<M>,
    (lanes, len, errors): (usize, usize, u32),
    seen: &mut Seen,
) {
    let seed = world.seed();
    let ran = world.block_on(exchange(world, ring.clone(), lanes, len, errors));
    ran.unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}\n{}", world.trace().join("\n")));
    let end = ring.snapshot();
    assert_eq!((end.queued, end.orphans), (0, 0), "seed {seed}: {:?}", ring.operations());
    drop(ring);
    assert_eq!((world.descriptors(), world.findings()), (0, Vec::new()), "seed {seed}");
    seen.look(world);
}

#[test]
fn streams_of_receives_give_every_byte_in_order() {
    let mut seen = Seen::default();
    for seed in 0..100 {
        let socket_bytes = [500, 65_536][usize::from(seed % 3 == 0)];
        let world = World::new(Config { socket_bytes, ..Config::new(seed) });
        if seed % 2 == 0 {
            let ring = world.ring().unwrap();
            assert!(ring.features().has_multishot_receive());
            run(&world, ring, (4, 9000, 0), &mut seen);
        } else {
            run(&world, world.local_ring_with(2, 2).unwrap(), (4, 9000, 0), &mut seen);
        }
    }
    assert!(seen.pieces > 5000, "{seen:?}");
    assert!(seen.unasked > 100 && seen.refused > 50 && seen.interrupted > 50, "{seen:?}");
    assert!(seen.late > 10, "what came between a cancellation and the end: {seen:?}");
}

#[test]
fn streams_of_receives_in_a_storm_lose_nothing() {
    let mut seen = Seen::default();
    for seed in 0..60 {
        let storm = Config { no_buffers: 200, multishot_ends: 300, ..Config::stormy(seed) };
        let world = World::new(Config { errors: 0, breaks: 0, socket_bytes: 2000, ..storm });
        if seed % 2 == 0 {
            run(&world, world.ring_with(1, 1).unwrap(), (3, 9000, 30), &mut seen);
        } else {
            run(&world, world.local_ring().unwrap(), (3, 9000, 30), &mut seen);
        }
    }
    assert!(seen.unasked > 500 && seen.refused > 500, "{seen:?}");
}

#[test]
fn a_world_without_multishot_receives_receives_one_by_one() {
    for seed in 0..20 {
        let world = World::new(Config { multishot: false, ..Config::new(seed) });
        let ring = world.ring().unwrap();
        assert!(!ring.features().has_multishot_receive());
        let mut seen = Seen::default();
        run(&world, ring, (2, 5000, 0), &mut seen);
        assert_eq!((seen.pieces, seen.dry), (0, 0));
        assert!(!world.trace().iter().any(|line| line.contains("multishot")));
    }
}

#[test]
fn a_stream_of_receives_is_a_function_of_its_seed() {
    let run = |seed| {
        let world = World::new(Config::new(seed));
        run(&world, world.ring().unwrap(), (3, 5000, 0), &mut Seen::default());
        (world.trace_hash(), world.trace(), world.now())
    };
    for seed in 0..8 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).0, run(2).0);
}

/// A message at a time, each of which is kept, until nothing more is received. Then they go back, and it goes on.
async fn hold_all<M: Mode>(ring: &RingOf<M>) -> usize {
    let (far, near) = UnixStream::pair(ring).unwrap();
    let mut arrives = near.recv_stream();
    let (mut held, mut sent) = (Vec::new(), 0u16);
    loop {
        far.write_all(sent.to_le_bytes().to_vec()).await.unwrap();
        sent += 1;
        let late = ring.timeout(Duration::from_millis(100));
        let mut late = pin!(late);
        let mut next = pin!(arrives.next());
        let came = poll_fn(|context| match next.as_mut().poll(context) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending => late.as_mut().poll(context).map(|_| None),
        });
        match came.await {
            Some(came) => held.push(came.unwrap().unwrap()),
            None => break,
        }
        assert!(sent < 5000);
    }
    let count = held.len();
    let mut got: Vec<u8> = held.drain(..).flat_map(|buffer| buffer.to_vec()).collect();
    while got.len() < 2 * usize::from(sent) {
        got.extend_from_slice(&arrives.next().await.unwrap().unwrap());
    }
    let wanted: Vec<u8> = (0..sent).flat_map(u16::to_le_bytes).collect();
    assert!(got == wanted);
    count
}

#[test]
fn a_stream_waits_while_the_program_holds_every_buffer() {
    for config in [Config::calm(1), Config::new(1), Config::new(2)] {
        let world = World::new(Config { trace_lines: 1_000_000, ..config });
        let ring = world.ring().unwrap();
        let held = world.block_on(hold_all(&ring)).unwrap();
        assert!(held >= 1024, "{held}");
        drop(ring);
        // What it still had in flight ends in time, and takes the descriptor with it.
        let other = world.ring().unwrap();
        world.block_on(async { other.timeout(Duration::from_secs(60)).await }).unwrap().unwrap();
        assert_eq!((world.descriptors(), world.findings()), (0, Vec::new()));
    }
}

#[test]
fn a_burst_that_finds_no_buffer_is_received_all_the_same() {
    let mut seen = Seen::default();
    for seed in 0..6 {
        let config = if seed == 0 { Config::calm(seed) } else { Config::new(seed) };
        let world = World::new(Config { no_buffers: 0, ..config });
        let ring = world.local_ring_with(256, 512).unwrap();
        world
            .block_on(async {
                let pairs: Vec<_> = (0..150).map(|_| UnixStream::pair(&ring).unwrap()).collect();
                let mut streams: Vec<_> =
                    pairs.iter().map(|(near, _)| near.recv_stream()).collect();
                for round in 0..3_u8 {
                    for arrives in &mut streams {
                        assert!(within(arrives, 0).await.is_none());
                    }
                    // They are armed, and nobody takes in what they have.
                    ring.timeout(Duration::from_millis(50)).await.unwrap();
                    // All of them at once.
                    let mut batch = ring.batch();
                    for (number, (_, far)) in (0..).zip(&pairs) {
                        drop(batch.add(ring.send(far.fd(), vec![number, round])));
                    }
                    batch.submit().await;
                    for (number, arrives) in (0..).zip(&mut streams) {
                        let mut got = Vec::new();
                        while got.len() < 2 {
                            got.extend_from_slice(&arrives.next().await.unwrap().unwrap());
                        }
                        assert_eq!(got, [number, round], "seed {seed}");
                    }
                }
            })
            .unwrap();
        seen.look(&world);
    }
    assert!(seen.dry > 0 && seen.refused == 0, "{seen:?}");
}

#[test]
fn an_end_and_a_reset_come_behind_what_arrived() {
    for seed in 0..60 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                for reset in [false, true] {
                    let [to, from] = connections(&ring, 1).await.pop().unwrap();
                    let mut arrives = from.recv_stream();
                    assert!(within(&mut arrives, seed % 4).await.is_none());
                    to.write_all("last words").await.unwrap();
                    let mut got = Vec::new();
                    if reset {
                        // With bytes that nobody has read the close is a reset; what has arrived is not lost by it.
                        while got.len() < 10 {
                            got.extend_from_slice(&arrives.next().await.unwrap().unwrap());
                        }
                        from.write_all("unread").await.unwrap();
                        to.fd().settle().await.unwrap();
                    }
                    drop(to);
                    let end = loop {
                        match arrives.next().await {
                            Some(Ok(buffer)) => got.extend_from_slice(&buffer),
                            end => break end,
                        }
                    };
                    assert_eq!(got, b"last words", "seed {seed}");
                    let reset_seen =
                        end.map(|end| end.unwrap_err().kind()) == Some(ErrorKind::ConnectionReset);
                    assert_eq!(reset_seen, reset, "seed {seed}");
                    assert!(arrives.next().await.is_none(), "told once");
                }
            })
            .unwrap();
        drop(ring);
        assert_eq!((world.descriptors(), world.findings()), (0, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_ring_ends_under_streams_of_receives() {
    for seed in 0..60 {
        let world = World::new(Config::new(seed));
        let ring = world.local_ring().unwrap();
        let other = world.ring().unwrap();
        let steps = world.random(300);
        let streams = async {
            let mut all = Vec::new();
            for [to, from] in connections(&ring, 3).await {
                let mut arrives = from.recv_stream();
                drop(to.write_all(vec![7; 3000]));
                all.push((within(&mut arrives, 2).await, arrives, to, from));
            }
            std::future::pending::<()>().await;
            drop(all);
        };
        // Wherever they are when the program gives up.
        let ended = world.run_steps(steps, streams);
        assert!(!matches!(ended, Ok(Some(()))), "seed {seed}");
        drop(ring);
        world.block_on(other.timeout(Duration::from_secs(60))).unwrap().unwrap();
        assert_eq!(world.findings(), [""; 0], "seed {seed}");
        assert_eq!(world.descriptors(), 0, "seed {seed}: {:?}", world.operations());
    }
}

#[cfg(feature = "futures")]
#[test]
fn an_adapter_that_comes_and_goes_loses_nothing() {
    use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut seen = Seen::default();
    for seed in 0..60 {
        let world = World::new(Config { socket_bytes: 3000, ..Config::new(seed) });
        let ring = world.ring().unwrap();
        let chances = world.clone();
        world
            .block_on(async {
                let (far, mut near) = UnixStream::pair(&ring).unwrap();
                let sent: Vec<u8> = (0..20_000).map(|at| byte(1, at)).collect();
                let write = world.spawn({
                    let (mut far, sent) = (far.into_io(), sent.clone());
                    async move {
                        far.write_all(&sent).await.unwrap();
                        far.close().await.unwrap();
                    }
                });
                let mut got = Vec::new();
                let mut over = false;
                while !over {
                    let mut adapter = near.into_io();
                    for _ in 0..chances.random(9) {
                        let room = usize::try_from(1 + chances.random(4000)).unwrap();
                        let mut some = vec![0; room];
                        let count = adapter.read(&mut some).await.unwrap();
                        got.extend_from_slice(&some[..count]);
                        over |= count == 0;
                    }
                    // What it has read ahead is for whoever comes next.
                    near = adapter.into_inner();
                    let (count, some) = near.read(vec![0; 50]).await.unwrap();
                    got.extend_from_slice(&some[..count]);
                    over |= count == 0;
                }
                write.await;
                assert!(got == sent, "seed {seed}");
            })
            .unwrap();
        drop(ring);
        assert_eq!((world.descriptors(), world.findings()), (0, Vec::new()), "seed {seed}");
        seen.look(&world);
    }
    assert!(seen.pieces > 300 && seen.unasked > 20, "{seen:?}");
}
