//! Ten thousand operations that wait at the same time, a random half of which is dropped before, while and after what they
//! wait for comes. Each test has a process of its own, which counts its descriptors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use common::alone::{alone, alone_with_any_backend, describe_descriptors, descriptors};
use common::net::{poll_once, settled, until};
use common::tracked::Morgue;
use common::{Exec, OnLocal, OnPollster, OnTokio, deadline, direct_file, slowness, with_built};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use safer_ring::{BackendChoice, BackendKind, Builder, Fd, Interest, Mode, Ring, RingOf, Shared};

/// Receives on each socket and reads of each pipe, and bytes that come there.
const EACH: usize = 16;
/// Accepts of each listener, and connections to it.
const ACCEPTS: usize = 50;
/// Polls of each socket that nobody reads.
const POLLS: usize = 60;
/// Direct reads, which end by themselves.
const BLOCKS: usize = 400;

/// How many there are of each kind: with [`EACH`] and its like ten thousand operations that wait, and a thousand timers.
#[derive(Clone, Copy)]
struct Crowd {
    sockets: usize,
    pipes: usize,
    listeners: usize,
    watched: usize,
    timers: usize,
}

impl Crowd {
    fn here() -> Self {
        let part = |count: usize| count / slowness() as usize;
        Self {
            sockets: part(300),
            pipes: part(100),
            listeners: 12,
            watched: part(50),
            timers: part(1000),
        }
    }

    fn waiting(self) -> usize {
        let bytes = EACH * (self.sockets + self.pipes);
        bytes + ACCEPTS * self.listeners + POLLS * self.watched + self.timers
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        (high % limit as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// An operation, by the place that it works on.
#[derive(Clone, Copy)]
enum What {
    Receive(usize),
    ReadPipe(usize),
    Accept(usize),
    Poll(usize),
    Timer,
    Block,
}

/// What came of one.
enum Got<M: Mode> {
    /// Bytes of a socket, or behind those of a pipe.
    Bytes(usize, Vec<u8>),
    Connection(usize, Fd<M>, SocketAddr),
    Nothing,
}

type Waiting<M> = Pin<Box<dyn Future<Output = Got<M>>>>;

/// What the operations work on, and the other sides.
struct Stage<M: Mode> {
    ring: RingOf<M>,
    morgue: Arc<Morgue>,
    /// Sockets, then pipes.
    near: Vec<Fd<M>>,
    far: Vec<Box<dyn std::io::Write>>,
    sockets: usize,
    listeners: Vec<(Fd<M>, SocketAddr)>,
    watched: Vec<(Fd<M>, UnixStream)>,
    file: Fd<M>,
}

impl<M: Mode> Stage<M> {
    fn new(ring: RingOf<M>, crowd: Crowd) -> Self {
        let (mut near, mut far) = (Vec::new(), Vec::<Box<dyn std::io::Write>>::new());
        for _ in 0..crowd.sockets {
            let (one, other) = UnixStream::pair().unwrap();
            near.push(Fd::new(one));
            far.push(Box::new(other));
        }
        for _ in 0..crowd.pipes {
            let (reader, writer) = std::io::pipe().unwrap();
            near.push(Fd::new(reader));
            far.push(Box::new(writer));
        }
        let listener = |_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            (Fd::new(listener), address)
        };
        let watched = |_| {
            let (one, other) = UnixStream::pair().unwrap();
            (Fd::new(one), other)
        };
        Self {
            ring,
            morgue: Morgue::new(),
            near,
            far,
            sockets: crowd.sockets,
            listeners: (0..crowd.listeners).map(listener).collect(),
            watched: (0..crowd.watched).map(watched).collect(),
            file: direct_file(1 << 20),
        }
    }

    fn begin(&self, what: What, random: &mut Random) -> Waiting<M> {
        let ring = &self.ring;
        match what {
            What::Receive(at) => {
                let receive = ring.recv(&self.near[at], self.morgue.buffer(1));
                Box::pin(async move { Got::Bytes(at, receive.await.unwrap().1.bytes().to_vec()) })
            }
            What::ReadPipe(at) => {
                let read = ring.read_owned(&self.near[at], self.morgue.buffer(1));
                Box::pin(async move { Got::Bytes(at, read.await.unwrap().1.bytes().to_vec()) })
            }
            What::Accept(at) => {
                let accept = ring.accept(&self.listeners[at].0);
                Box::pin(async move {
                    let (fd, peer) = accept.await.unwrap();
                    Got::Connection(at, fd, peer.and_then(|peer| peer.ip()).unwrap())
                })
            }
            What::Poll(at) => {
                let poll = ring.poll(&self.watched[at].0, Interest::READABLE);
                Box::pin(async move {
                    let events = Interest::from_bits(poll.await.unwrap());
                    assert!(events.contains(Interest::READABLE));
                    Got::Nothing
                })
            }
            What::Timer => {
                let timer = ring.timeout(Duration::from_secs(3600));
                Box::pin(async move {
                    timer.await.unwrap();
                    Got::Nothing
                })
            }
            What::Block => {
                let place = 4096 * random.below(256) as u64;
                let read = ring.read_at_owned(&self.file, self.morgue.buffer(4096), place);
                Box::pin(async move {
                    let (count, block) = read.await.unwrap();
                    assert!(count == 4096 && block.bytes().iter().all(|byte| *byte == 0x5A));
                    Got::Nothing
                })
            }
        }
    }
}

/// Something that comes from outside.
#[derive(Clone, Copy)]
enum Event {
    Byte(usize),
    Client(usize),
    Ready(usize),
}

/// All that there is to wait for, in random order.
fn plan(crowd: Crowd, random: &mut Random) -> (Vec<What>, Vec<Event>) {
    let (mut all, mut events) = (Vec::new(), Vec::new());
    for at in 0..crowd.sockets + crowd.pipes {
        let what = if at < crowd.sockets { What::Receive(at) } else { What::ReadPipe(at) };
        all.extend([what; EACH]);
        events.extend([Event::Byte(at); EACH]);
    }
    for at in 0..crowd.listeners {
        all.extend([What::Accept(at); ACCEPTS]);
        events.extend([Event::Client(at); ACCEPTS]);
    }
    for at in 0..crowd.watched {
        all.extend([What::Poll(at); POLLS]);
        events.push(Event::Ready(at));
    }
    all.extend(std::iter::repeat_n(What::Timer, crowd.timers));
    random.shuffle(&mut all);
    random.shuffle(&mut events);
    (all, events)
}

/// What has arrived at whom, by place.
struct Arrived<M: Mode> {
    bytes: Vec<Vec<u8>>,
    connections: Vec<Vec<(Fd<M>, SocketAddr)>>,
}

impl<M: Mode> Arrived<M> {
    fn take(&mut self, got: Got<M>) {
        match got {
            Got::Bytes(at, bytes) => self.bytes[at].extend(bytes),
            Got::Connection(at, fd, peer) => self.connections[at].push((fd, peer)),
            Got::Nothing => {}
        }
    }
}

/// Makes the events happen one by one, while futures are dropped; gives the clients of each listener.
async fn come<M: Mode>(
    stage: &mut Stage<M>,
    events: &[Event],
    waiting: &mut Vec<(What, Waiting<M>)>,
    random: &mut Random,
) -> Vec<Vec<TcpStream>> {
    let mut sent = vec![0; stage.far.len()];
    let mut clients: Vec<Vec<TcpStream>> = stage.listeners.iter().map(|_| Vec::new()).collect();
    for (count, event) in events.iter().enumerate() {
        match *event {
            Event::Byte(at) => {
                stage.far[at].write_all(&[sent[at]]).unwrap();
                sent[at] += 1;
            }
            Event::Client(at) => {
                clients[at].push(TcpStream::connect(stage.listeners[at].1).unwrap());
            }
            Event::Ready(at) => stage.watched[at].1.write_all(b"x").unwrap(),
        }
        if random.below(5) == 0 {
            let which = random.below(waiting.len());
            drop(waiting.swap_remove(which));
        }
        if count % 32 == 0 {
            stage.ring.nop().await.unwrap();
        }
    }
    clients
}

/// Waits for those that are left, and takes what nobody has waited for to the end.
async fn collect<M: Mode>(stage: &Stage<M>, waiting: Vec<(What, Waiting<M>)>) -> Arrived<M> {
    let mut arrived = Arrived {
        bytes: stage.near.iter().map(|_| Vec::new()).collect(),
        connections: stage.listeners.iter().map(|_| Vec::new()).collect(),
    };
    let mut accepts = Vec::new();
    for (what, future) in waiting {
        match what {
            What::Timer => drop(future),
            What::Accept(_) => accepts.push(future),
            _ => arrived.take(future.await),
        }
    }
    let ring = &stage.ring;
    // Not all of them end: see below.
    for mut accept in accepts {
        if let Poll::Ready(got) = poll_once(&mut accept) {
            arrived.take(got);
        }
    }
    for (at, bytes) in arrived.bytes.iter_mut().enumerate() {
        while bytes.len() < EACH {
            let rest = if at < stage.sockets {
                ring.recv(&stage.near[at], vec![0; EACH]).await.unwrap()
            } else {
                ring.read_owned(&stage.near[at], vec![0; EACH]).await.unwrap()
            };
            bytes.extend(rest.1);
        }
    }
    for (at, connections) in arrived.connections.iter_mut().enumerate() {
        accept_the_rest(stage, at, connections).await;
    }
    arrived
}

/// Takes the connections of a listener that no accept has given yet. The kernel has woken one accept for each, and some of those
/// were cancelled before they had looked.
async fn accept_the_rest<M: Mode>(
    stage: &Stage<M>,
    at: usize,
    connections: &mut Vec<(Fd<M>, SocketAddr)>,
) {
    while connections.len() < ACCEPTS {
        let (fd, peer) = stage.ring.accept(&stage.listeners[at].0).await.unwrap();
        connections.push((fd, peer.and_then(|peer| peer.ip()).unwrap()));
    }
}

async fn a_random_half<M: Mode>(ring: RingOf<M>) {
    let (crowd, mut random) = (Crowd::here(), Random(0x5EED_C0DE));
    let mut stage = Stage::new(ring, crowd);
    let (all, events) = plan(crowd, &mut random);
    let mut waiting: Vec<(What, Waiting<M>)> = Vec::new();
    for (count, what) in all.iter().enumerate() {
        let mut future = stage.begin(*what, &mut random);
        assert!(poll_once(&mut future).is_pending(), "nothing has come yet");
        waiting.push((*what, future));
        if count % 256 == 0 {
            stage.ring.nop().await.unwrap();
        }
    }
    assert_eq!(waiting.len(), crowd.waiting());
    let listed = stage.ring.operations().len();
    // Timers are the ring's own, and the kernel has at most one of them.
    assert!(listed >= crowd.waiting() - crowd.timers, "{listed} are there at the same time");

    // Before: a sixth, and what the disk is about to write to.
    for _ in 0..BLOCKS {
        let mut read = stage.begin(What::Block, &mut random);
        if poll_once(&mut read).is_pending() {
            waiting.push((What::Block, read));
        }
    }
    random.shuffle(&mut waiting);
    waiting.truncate(waiting.len() - crowd.waiting() / 6);
    stage.ring.nop().await.unwrap();
    // While.
    let clients = come(&mut stage, &events, &mut waiting, &mut random).await;
    // After.
    random.shuffle(&mut waiting);
    assert!(waiting.len() > crowd.waiting() / 2);
    waiting.truncate(crowd.waiting() / 2);
    let arrived = collect(&stage, waiting).await;

    for (at, mut bytes) in arrived.bytes.into_iter().enumerate() {
        bytes.sort_unstable();
        assert!(bytes.iter().copied().eq(0..EACH as u8), "place {at}: {bytes:?}");
    }
    for (connections, clients) in arrived.connections.iter().zip(&clients) {
        let mut there: Vec<_> = connections.iter().map(|(_, peer)| *peer).collect();
        let mut sent: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        there.sort_unstable();
        sent.sort_unstable();
        assert_eq!(there, sent);
    }
    drop((arrived.connections, clients));
    settled(&stage.ring).await;
    // With the last handles goes what is kept for them.
    let (ring, morgue) = (stage.ring.clone(), Arc::clone(&stage.morgue));
    drop(stage);
    settled(&ring).await;
    until(&ring, "every buffer is released", || morgue.alive() == 0).await;
    assert!(morgue.released() >= EACH * (crowd.sockets + crowd.pipes) + BLOCKS);
    morgue.assert_untouched();
    let now = ring.snapshot();
    assert_eq!((now.stale_completions, now.queued, now.orphans, now.kept), (0, 0, 0, 0), "{now:?}");
}

/// Whether the process may have so many descriptors, if need be after it has asked for them.
fn room_for_descriptors() -> bool {
    const NEEDED: u64 = 3000;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|now| now < NEEDED) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    if most < NEEDED {
        eprintln!("skipped: {NEEDED} descriptors are needed, and {most} can be had");
    }
    most >= NEEDED
}

fn crowd_on<E: Exec>(builder: impl Fn() -> Builder<Shared>) {
    if !room_for_descriptors() {
        return;
    }
    // The first ring of a process leaves what all of them share: its reactor.
    with_built::<E>(builder(), async |ring| ring.nop().await.unwrap());
    let before = descriptors();
    with_built::<E>(builder(), async |ring| a_random_half(ring).await);
    // A shared ring that had work in flight closes in the background.
    let end = Instant::now() + deadline() / 2;
    while descriptors() != before {
        assert!(Instant::now() < end, "was {before}: {:#?}", describe_descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ring() -> Builder<Shared> {
    Ring::builder().entries(64)
}

fn fallback() -> Builder<Shared> {
    ring().backend(BackendChoice::Only(BackendKind::Fallback))
}

#[test]
fn ten_thousand_wait_and_a_random_half_is_dropped_on_a_local_ring() {
    let name = "ten_thousand_wait_and_a_random_half_is_dropped_on_a_local_ring";
    alone(name, || crowd_on::<OnLocal>(ring));
}

#[test]
fn ten_thousand_wait_and_a_random_half_is_dropped_on_a_shared_ring() {
    let name = "ten_thousand_wait_and_a_random_half_is_dropped_on_a_shared_ring";
    alone(name, || crowd_on::<OnPollster>(ring));
}

#[test]
fn ten_thousand_wait_and_a_random_half_is_dropped_in_tokio() {
    let name = "ten_thousand_wait_and_a_random_half_is_dropped_in_tokio";
    alone(name, || crowd_on::<OnTokio>(ring));
}

#[test]
fn ten_thousand_wait_and_a_random_half_is_dropped_on_a_local_fallback() {
    let name = "ten_thousand_wait_and_a_random_half_is_dropped_on_a_local_fallback";
    alone_with_any_backend(name, || crowd_on::<OnLocal>(fallback));
}

#[test]
fn ten_thousand_wait_and_a_random_half_is_dropped_on_a_shared_fallback() {
    let name = "ten_thousand_wait_and_a_random_half_is_dropped_on_a_shared_fallback";
    alone_with_any_backend(name, || crowd_on::<OnPollster>(fallback));
}
