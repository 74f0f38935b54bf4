//! Byte streams: TCP, Unix sockets, pipes. Both directions carry a checked sequence.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join;
use rustix::net::{Shutdown as PeerShutdown, sockopt};
use safer_ring::{Fd, IoBuf, OpError, RingOf, Shutdown};

use super::dice::{Dice, mix};
use super::fate::{Fate, Probe, Storm, meet, nap, pass};
use super::host::{Child, Host, supervise};
use super::pattern;
use super::peer::{Peer, Post, UNKNOWN, WritePlan, read_stream, write_stream};
use super::tally::{Act, Count, Point, Scenario};
use super::trail::Ended;
use super::world::{Damage, LARGEST, Status, World};
use crate::num::count;

/// Who ends a stream, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Everything arrives.
    Clean,
    /// The peer goes away in the middle: what arrived must be right, and nothing may hang.
    RudePeer,
    /// This side goes away in the middle.
    RudeRing,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    ending: Ending,
    inbound: u64,
    outbound: u64,
    /// The peer ends its direction while the other goes on.
    half_close: bool,
    /// This side says that it has sent everything, before it drops its handles.
    shutdown: bool,
    /// Tasks are not aborted, and receives are awaited without a limit: a lost wake-up would be seen.
    calm: bool,
}

impl Plan {
    fn roll(dice: &mut Dice) -> Self {
        let calm = dice.one_in(4);
        let most = if calm { 20_000 } else { dice.pick(&[2_000, 60_000, 400_000], 2_000) };
        let ending = match dice.below(10) {
            0 if !calm => Ending::RudePeer,
            1 if !calm => Ending::RudeRing,
            _ => Ending::Clean,
        };
        Self {
            ending,
            inbound: dice.below(most),
            outbound: dice.below(most),
            half_close: dice.one_in(2),
            shutdown: dice.one_in(2),
            calm,
        }
    }
}

/// One connection, as this side sees it. The handles go when the last reference goes.
pub(crate) struct Conn<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    /// Numbers of the two directions.
    streams: (u64, u64),
    reader: Fd<M>,
    writer: Fd<M>,
    is_socket: bool,
    plan: Plan,
    got: AtomicU64,
    /// No more is to be received.
    ended: AtomicBool,
    /// Bytes that were sent, or will be by sends that were dropped.
    sent: AtomicU64,
    broken: AtomicBool,
    /// What the peer has written in all, once it knows.
    total: Arc<AtomicU64>,
}

impl<M: Host> Conn<M> {
    pub(crate) fn calm(&self) -> bool {
        self.plan.calm
    }

    pub(crate) fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    fn received_all(&self) -> bool {
        let got = self.got.load(Ordering::Acquire);
        let enough = self.plan.ending == Ending::RudeRing && got >= self.plan.inbound / 2;
        // Where the peer does not end its direction, the number of bytes is the end.
        let open_end = match self.plan.ending {
            Ending::Clean => !self.plan.half_close,
            Ending::RudePeer => false,
            Ending::RudeRing => true,
        };
        let all = got >= self.total.load(Ordering::Acquire)
            || (self.plan.calm && got >= self.plan.inbound);
        self.ended.load(Ordering::Acquire) || enough || (all && open_end) || self.world.failed()
    }

    fn received<B: Deref<Target = [u8]>>(&self, result: io::Result<(usize, B)>) {
        let got = self.got.load(Ordering::Acquire);
        match result {
            Ok((0, _)) => {
                let total = self.total.load(Ordering::Acquire);
                if self.plan.ending == Ending::Clean && got != total {
                    let missing = total.saturating_sub(got);
                    let what = format!("the stream ended after {got} of {total} bytes");
                    self.world.fail(&self.status, what, Damage::Lost(missing));
                }
                self.ended.store(true, Ordering::Release);
            }
            Ok((n, bytes)) => {
                if bytes.len() != n {
                    let what = format!("{n} bytes announced, {} in the buffer", bytes.len());
                    self.world.fail(&self.status, what, Damage::Other);
                }
                if let Err(wrong) = pattern::check(&bytes, self.streams.0, got) {
                    self.world.fail_bytes(
                        &self.status,
                        self.streams.0,
                        "received by the ring",
                        &wrong,
                    );
                }
                self.got.store(got + count(n), Ordering::Release);
                self.world.tally.count(self.status.scenario, Count::BytesReceived, count(n));
            }
            Err(error) => {
                if self.plan.ending == Ending::Clean {
                    let what = format!("receive failed after {got} bytes: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
                self.ended.store(true, Ordering::Release);
            }
        }
        self.status.beat();
    }

    /// Receives until there is nothing more, dropping most receives.
    pub(crate) async fn receive(&self, mut dice: Dice) {
        let mut storm = Storm::default();
        let mut arrives = None;
        // All receives beside a multishot one take from one queue. Two that are in the kernel each for itself may end in any
        // order, the end of the stream before its last bytes.
        let beside = self.ring.features().has_multishot_receive();
        while !self.received_all() {
            let Some(buffer) = self.world.pools.take(dice.bytes(LARGEST)) else {
                nap(&self.ring, Duration::from_micros(50)).await;
                continue;
            };
            let room = dice.bytes(buffer.capacity()).min(buffer.capacity());
            let buffer = buffer.slice(..room);
            let blows = storm.blows(&mut dice);
            let fate = if blows { Fate::Polled } else { self.fate(&mut dice) };
            // Any handle of the descriptor will do.
            let clone = self.reader.clone();
            let fd = if dice.one_in(2) { &clone } else { &self.reader };
            let way = if self.is_socket { dice.below(5) } else { 2 };
            if way < 3 && (!beside || dice.one_in(2)) {
                arrives = None;
            }
            match way {
                0 => {
                    let probe = self.probe(Act::Receive, self.ring.recv(fd, buffer));
                    if let Some(result) = meet(&self.ring, probe, fate).await {
                        self.received(result.map_err(OpError::into));
                    }
                }
                1 => {
                    let probe = self.probe(Act::Message, self.ring.recv_msg(fd, buffer, 0));
                    if let Some(result) = meet(&self.ring, probe, fate).await {
                        let result = result.map(|message| (message.count, message.buffer));
                        self.received(result.map_err(OpError::into));
                    }
                }
                2 => {
                    let probe = self.probe(Act::StreamRead, self.ring.read_owned(fd, buffer));
                    if let Some(result) = meet(&self.ring, probe, fate).await {
                        self.received(result.map_err(OpError::into));
                    }
                }
                _ => {
                    drop(buffer);
                    let stream = arrives.get_or_insert_with(|| self.ring.recv_stream(fd));
                    let probe = self.probe(Act::Stream, stream.next());
                    match meet(&self.ring, probe, fate).await {
                        Some(Some(result)) => {
                            self.received(result.map(|buffer| (buffer.len(), buffer)));
                        }
                        Some(None) => self.received(Ok((0, Vec::new()))),
                        None => {}
                    }
                }
            }
            if !blows && dice.one_in(4) {
                pass().await;
            }
        }
    }

    fn fate(&self, dice: &mut Dice) -> Fate {
        match Fate::roll(dice, self.plan.calm) {
            Fate::Patient(_) if self.plan.calm => Fate::Complete,
            fate => fate,
        }
    }

    fn probe<F: Future + Unpin>(&self, act: Act, inner: F) -> Probe<'_, F, fn(Point)> {
        Probe::new(&self.world, &self.status, act, inner, |_| ())
    }

    fn sent_all(&self) -> bool {
        let sent = self.sent.load(Ordering::Acquire);
        let enough = self.plan.ending == Ending::RudeRing && sent >= self.plan.outbound / 2;
        sent >= self.plan.outbound
            || enough
            || self.broken.load(Ordering::Acquire)
            || self.world.stopping()
    }

    /// Counts bytes as sent.
    fn add_sent(&self, n: usize) {
        self.sent.fetch_add(count(n), Ordering::AcqRel);
        self.world.tally.count(self.status.scenario, Count::BytesSent, count(n));
    }

    fn after_send(&self, result: io::Result<usize>) {
        match result {
            Ok(0) => self.world.fail(&self.status, "a send moved nothing", Damage::Other),
            Ok(n) => self.add_sent(n),
            Err(error) => {
                if self.plan.ending == Ending::Clean {
                    let sent = self.sent.load(Ordering::Acquire);
                    let what = format!("send failed after {sent} bytes: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
                self.broken.store(true, Ordering::Release);
            }
        }
        self.status.beat();
    }

    /// Sends until there is nothing more, dropping most sends: one that had begun goes out in full all the same.
    pub(crate) async fn send(&self, mut dice: Dice) {
        while !self.sent_all() {
            let offset = self.sent.load(Ordering::Acquire);
            let left = usize::try_from(self.plan.outbound - offset).unwrap_or(LARGEST);
            let len = dice.bytes(left.min(LARGEST));
            let Some(mut buffer) = self.world.pools.take(len) else {
                nap(&self.ring, Duration::from_micros(50)).await;
                continue;
            };
            buffer.resize(len);
            pattern::fill(&mut buffer, self.streams.1, offset);
            // The peer reads all of it, or goes away.
            let fate = Fate::roll(&mut dice, true);
            let way = if self.is_socket { dice.below(2) } else { 1 };
            let act = if way == 0 { Act::Send } else { Act::StreamWrite };
            let note = |ended| {
                let span = (offset, count(len));
                self.status.trail.note(self.streams.1, act, span, ended);
            };
            let gone = |point| {
                // It will go out all the same, once it had begun.
                if point != Point::Unpolled {
                    note(Ended::Dropped(point));
                    self.add_sent(len);
                }
            };
            let (world, status, fd) = (&self.world, &self.status, &self.writer);
            let sent = if way == 0 {
                let probe = Probe::new(world, status, act, self.ring.send(fd, buffer), gone);
                meet(&self.ring, probe, fate).await
            } else {
                let write = self.ring.write_owned(fd, buffer);
                let probe = Probe::new(world, status, act, write, gone);
                meet(&self.ring, probe, fate).await
            };
            if let Some(result) = sent {
                note(Ended::Sent(result.as_ref().map_or(0, |(n, _)| count(*n))));
                self.after_send(result.map(|(n, _)| n).map_err(OpError::into));
            }
            if dice.one_in(4) {
                pass().await;
            }
        }
    }
}

/// One connection after the other.
pub(crate) struct Lane<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    number: u64,
    /// Where connections are made; none for pipes and pairs.
    listener: Option<TcpListener>,
    writing: Peer,
    reading: Peer,
}

/// The four ends of a new connection: this side's reader and writer, the peer's reader and writer.
struct Ends {
    reader: OwnedFd,
    writer: Option<OwnedFd>,
    peer_reader: Arc<OwnedFd>,
    peer_writer: Arc<OwnedFd>,
}

impl<M: Host> Lane<M> {
    pub(crate) fn new(
        ring: &RingOf<M>,
        world: &Arc<World>,
        scenario: Scenario,
        number: u64,
    ) -> io::Result<Self> {
        let name = format!("{} {number}", scenario.name());
        let listener = match scenario {
            Scenario::Tcp => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?),
            _ => None,
        };
        Ok(Self {
            ring: ring.clone(),
            world: Arc::clone(world),
            writing: Peer::start(&format!("{name} w"))?,
            reading: Peer::start(&format!("{name} r"))?,
            status: world.lane(scenario, name),
            number,
            listener,
        })
    }

    pub(crate) async fn run(self) {
        let mut turn = 0;
        while !self.world.stopping() {
            let mut dice = Dice::new(&[self.world.seed, self.number, turn, 7]);
            turn += 1;
            match self.open(&mut dice) {
                Ok(ends) => self.connection(ends, turn, &mut dice).await,
                Err(error) => {
                    let what = format!("no connection: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
            }
        }
        self.status.finish();
    }

    fn open(&self, dice: &mut Dice) -> io::Result<Ends> {
        let (own, peer): (OwnedFd, OwnedFd) = match (self.status.scenario, &self.listener) {
            (Scenario::Pipes, _) => {
                let (reader, peer_writer) = io::pipe()?;
                let (peer_reader, writer) = io::pipe()?;
                return Ok(Ends {
                    reader: reader.into(),
                    writer: Some(writer.into()),
                    peer_reader: Arc::new(peer_reader.into()),
                    peer_writer: Arc::new(peer_writer.into()),
                });
            }
            (_, Some(listener)) => {
                let client = TcpStream::connect(listener.local_addr()?)?;
                let (server, _) = listener.accept()?;
                client.set_nodelay(dice.one_in(2))?;
                server.set_nodelay(dice.one_in(2))?;
                if dice.one_in(2) {
                    (client.into(), server.into())
                } else {
                    (server.into(), client.into())
                }
            }
            _ => {
                let (own, peer) = UnixStream::pair()?;
                (own.into(), peer.into())
            }
        };
        if dice.one_in(2) {
            // So that sends are short or have to wait.
            let size = dice.pick(&[2048, 8192, 32_768], 8192);
            sockopt::set_socket_send_buffer_size(&own, size)?;
            sockopt::set_socket_recv_buffer_size(&peer, size)?;
        }
        let peer = Arc::new(peer);
        Ok(Ends { reader: own, writer: None, peer_reader: Arc::clone(&peer), peer_writer: peer })
    }

    async fn connection(&self, ends: Ends, turn: u64, dice: &mut Dice) {
        let plan = Plan::roll(dice);
        let is_socket = ends.writer.is_none();
        let streams = (mix(&[self.number, turn, 1]), mix(&[self.number, turn, 2]));
        self.status.begin(format!("connection {turn}, {plan:?}"));
        self.world.tally.count(self.status.scenario, Count::Streams, 1);
        let total = Arc::new(AtomicU64::new(UNKNOWN));
        let half_close = plan.half_close && plan.ending == Ending::Clean;
        let inbound = WritePlan {
            bytes: plan.inbound,
            whole: plan.calm,
            end: match plan.ending {
                Ending::RudePeer => Some(PeerShutdown::Both),
                _ => half_close.then_some(PeerShutdown::Write),
            },
            total: Arc::clone(&total),
        };
        let post = |stream| Post {
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            stream,
        };
        let (writer, reader) = (post(streams.0), post(streams.1));
        let (peer_writer, peer_reader) = (ends.peer_writer, ends.peer_reader);
        // A pipe is ended by closing it.
        let closes = !is_socket && inbound.end.is_some();
        let wrote = self.writing.run(move || {
            let error = write_stream(&writer, &peer_writer, &inbound);
            (error, if closes { None } else { Some(peer_writer) })
        });
        let read = self.reading.run(move || read_stream(&reader, &peer_reader));

        let reader = Fd::new(ends.reader);
        let conn = Arc::new(Conn {
            ring: self.ring.clone(),
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            streams,
            writer: ends.writer.map_or_else(|| reader.clone(), Fd::new),
            reader,
            is_socket,
            plan,
            got: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            total,
        });
        let seed = [self.world.seed, self.number, turn];
        let receiving = supervise(Child::Receive(Arc::clone(&conn)), mix(&seed) ^ 1);
        let sending = supervise(Child::Send(Arc::clone(&conn)), mix(&seed) ^ 2);
        join(receiving, sending).await;
        let sent = self.end(conn, dice).await;

        // The peer must see the end now, whatever was left armed or on its way.
        let (Ok((write_error, end)), Ok((read, read_error))) = (wrote.await, read.await) else {
            return self.world.fail(&self.status, "the peer died", Damage::Other);
        };
        drop(end);
        if plan.ending == Ending::Clean {
            for error in [write_error, read_error].into_iter().flatten() {
                self.world.fail(&self.status, format!("the peer: {error}"), Damage::Other);
            }
            if read < sent {
                let trail = self.status.trail.around(streams.1, read);
                let what = format!("the peer got {read} of {sent} bytes that were sent{trail}");
                self.world.fail(&self.status, what, Damage::Lost(sent - read));
            }
        }
        if read > sent {
            let what = format!("the peer got {read} bytes, and only {sent} were sent");
            self.world.fail(&self.status, what, Damage::Duplicated(read - sent));
        }
    }

    /// Ends this side of a connection; gives how many bytes the peer must get.
    async fn end(&self, conn: Arc<Conn<M>>, dice: &mut Dice) -> u64 {
        let announces = conn.plan.shutdown && conn.is_socket && conn.plan.ending == Ending::Clean;
        if announces && let Err(error) = self.ring.shutdown(&conn.writer, Shutdown::Write).await {
            let what = format!("shutdown failed: {error}");
            self.world.fail(&self.status, what, Damage::Other);
        }
        // Armed receives that nothing will arrive for: they end when the handles go.
        for _ in 0..dice.below(3) {
            if let Some(buffer) = self.world.pools.take(64) {
                let receive = self.ring.read_owned(&conn.reader, buffer);
                let probe = conn.probe(Act::StreamRead, receive);
                let unasked = meet(&self.ring, probe, Fate::Polled).await;
                if let Some(Ok((n @ 1.., _))) = unasked
                    && conn.plan.ending == Ending::Clean
                {
                    let what = format!("{n} bytes came after the end");
                    self.world.fail(&self.status, what, Damage::Duplicated(count(n)));
                }
            }
        }
        conn.sent.load(Ordering::Acquire)
    }
}
