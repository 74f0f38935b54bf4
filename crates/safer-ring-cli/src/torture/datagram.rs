//! Datagrams: UDP and Unix sockets. Each carries its number, and none may be missing, doubled or out of order.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join;
use rustix::net::sockopt;
use safer_ring::{Control, Fd, IoBuf, OpError, PooledBuffer, RingOf};

use super::dice::{Dice, mix};
use super::fate::{Fate, Probe, Storm, meet, nap, pass};
use super::host::{Child, Host, supervise};
use super::pattern;
use super::peer::{Peer, Post, UNKNOWN, idle, wait_for};
use super::tally::{Act, Count, Point, Scenario};
use super::trail::Ended;
use super::world::{Damage, Status, World};
use crate::num::count;

/// Bytes of the largest datagram; receives always have room for it, since the rest of a datagram is lost by design.
const LARGEST: usize = 1400;
const HEAD: usize = 8;
/// Most datagrams on their way: they fit into the smallest receive buffer in use, so the kernel drops none.
const WINDOW: u64 = 24;

/// Writes the datagram of a number: the number, and bytes that depend on it.
fn make(bytes: &mut [u8], stream: u64, number: u64) {
    if let Some((head, body)) = bytes.split_first_chunk_mut::<HEAD>() {
        *head = number.to_le_bytes();
        pattern::fill(body, stream ^ number, 0);
    }
}

/// Checks that a datagram is the one that is due.
fn check(bytes: &[u8], stream: u64, due: u64) -> Result<(), (String, Damage)> {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD>() else {
        return Err((format!("a datagram of {} bytes", bytes.len()), Damage::Other));
    };
    let number = u64::from_le_bytes(*head);
    let what = || format!("datagram {number} came when {due} was due");
    if number > due && number < due + 1000 {
        return Err((what(), Damage::Lost(number - due)));
    }
    if number < due {
        return Err((what(), Damage::Duplicated(1)));
    }
    if number > due || !pattern::matches(body, stream ^ number, 0) {
        return Err((format!("datagram {due} has the wrong contents"), Damage::Other));
    }
    Ok(())
}

/// A pair of sockets, this side's view.
pub(crate) struct Exchange<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    fd: Fd<M>,
    streams: (u64, u64),
    got: Arc<AtomicU64>,
    /// How many the peer sends in all, once it knows.
    total: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    peer_got: Arc<AtomicU64>,
    /// Datagrams to send.
    outbound: u64,
}

impl<M: Host> Exchange<M> {
    pub(crate) fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    fn received(&self, result: io::Result<(usize, safer_ring::Slice<PooledBuffer>)>) {
        let due = self.got.load(Ordering::Acquire);
        match result {
            Ok((_, bytes)) => {
                if let Err((what, damage)) = check(&bytes, self.streams.0, due) {
                    self.world.fail(&self.status, what, damage);
                }
                let (tally, scenario) = (&self.world.tally, self.status.scenario);
                tally.count(scenario, Count::DatagramsReceived, 1);
                tally.count(scenario, Count::BytesReceived, count(bytes.len()));
                self.got.store(due + 1, Ordering::Release);
            }
            Err(error) => {
                let what = format!("receive failed after {due} datagrams: {error}");
                self.world.fail(&self.status, what, Damage::Other);
            }
        }
        self.status.beat();
    }

    /// Receives until there is nothing more, dropping most receives.
    pub(crate) async fn receive(&self, mut dice: Dice) {
        let mut storm = Storm::default();
        while self.got.load(Ordering::Acquire) < self.total.load(Ordering::Acquire)
            && !self.world.failed()
        {
            let Some(buffer) = self.world.pools.take(LARGEST) else {
                nap(&self.ring, Duration::from_micros(50)).await;
                continue;
            };
            let buffer = buffer.slice(..LARGEST);
            let blows = storm.blows(&mut dice);
            let fate = if blows { Fate::Polled } else { Fate::roll(&mut dice, false) };
            let clone = self.fd.clone();
            let fd = if dice.one_in(2) { &clone } else { &self.fd };
            let (world, status, ring) = (&self.world, &self.status, &self.ring);
            match dice.below(3) {
                0 => {
                    let inner = ring.recv(fd, buffer);
                    let probe = Probe::new(world, status, Act::Receive, inner, |_| ());
                    if let Some(result) = meet(ring, probe, fate).await {
                        self.received(result.map_err(OpError::into));
                    }
                }
                1 => {
                    let inner = ring.recv_msg(fd, buffer, 0);
                    let probe = Probe::new(world, status, Act::Message, inner, |_| ());
                    if let Some(result) = meet(ring, probe, fate).await {
                        let result = result.map(|message| (message.count, message.buffer));
                        self.received(result.map_err(OpError::into));
                    }
                }
                _ => {
                    let inner = ring.read_owned(fd, buffer);
                    let probe = Probe::new(world, status, Act::StreamRead, inner, |_| ());
                    if let Some(result) = meet(ring, probe, fate).await {
                        self.received(result.map_err(OpError::into));
                    }
                }
            }
            if !blows && dice.one_in(4) {
                pass().await;
            }
        }
    }

    fn add_sent(&self, len: usize) {
        self.sent.fetch_add(1, Ordering::AcqRel);
        self.world.tally.count(self.status.scenario, Count::DatagramsSent, 1);
        self.world.tally.count(self.status.scenario, Count::BytesSent, count(len));
    }

    /// Sends until there is nothing more, dropping most sends: one that had begun goes out all the same.
    pub(crate) async fn send(&self, mut dice: Dice) {
        loop {
            let number = self.sent.load(Ordering::Acquire);
            if number >= self.outbound || self.world.stopping() {
                return;
            }
            if number >= self.peer_got.load(Ordering::Acquire) + WINDOW {
                nap(&self.ring, Duration::from_micros(dice.below(200))).await;
                continue;
            }
            let len = HEAD + dice.bytes(LARGEST - HEAD);
            let Some(mut buffer) = self.world.pools.take(len) else {
                nap(&self.ring, Duration::from_micros(50)).await;
                continue;
            };
            buffer.resize(len);
            make(&mut buffer, self.streams.1, number);
            let fate = Fate::roll(&mut dice, true);
            let act = dice.pick(&[Act::Send, Act::SendMessage, Act::StreamWrite], Act::Send);
            let note = |ended| self.status.trail.note(self.streams.1, act, (number, 1), ended);
            let gone = |point| {
                // It will go out all the same, once it had begun.
                if point != Point::Unpolled {
                    note(Ended::Dropped(point));
                    self.add_sent(len);
                }
            };
            let (world, status, ring) = (&self.world, &self.status, &self.ring);
            let sent = match act {
                Act::Send => {
                    let inner = ring.send(&self.fd, buffer);
                    meet(ring, Probe::new(world, status, act, inner, gone), fate).await
                }
                Act::SendMessage => {
                    let inner = ring.send_msg(&self.fd, buffer, None, Control::new());
                    meet(ring, Probe::new(world, status, act, inner, gone), fate).await
                }
                _ => {
                    let inner = ring.write_owned(&self.fd, buffer);
                    meet(ring, Probe::new(world, status, act, inner, gone), fate).await
                }
            };
            match sent {
                None => {}
                Some(Ok((n, _))) if n == len => {
                    note(Ended::Sent(1));
                    self.add_sent(len);
                }
                Some(Ok((n, _))) => {
                    let what = format!("{n} of {len} bytes of a datagram were sent");
                    world.fail(status, what, Damage::Other);
                }
                Some(Err(error)) => {
                    let what = format!("send of datagram {number} failed: {error}");
                    world.fail(status, what, Damage::Other);
                }
            }
            status.beat();
            if dice.one_in(4) {
                pass().await;
            }
        }
    }
}

/// The peer sends: in bursts and pauses, never more than the window.
fn peer_sends(post: &Post, end: &OwnedFd, number: u64, got: &AtomicU64) -> u64 {
    let mut dice = post.dice(3);
    let mut room = [0; LARGEST];
    for due in 0..number {
        let fits = || due < got.load(Ordering::Acquire) + WINDOW;
        if post.world.stopping() || !wait_for(post, fits) {
            return due;
        }
        let len = HEAD + dice.bytes(LARGEST - HEAD);
        let Some(bytes) = room.get_mut(..len) else { return due };
        make(bytes, post.stream, due);
        if let Err(error) = rustix::io::write(end, bytes) {
            let what = format!("the peer cannot send: {error}");
            post.world.fail(&post.status, what, Damage::Other);
            return due;
        }
        idle(&mut dice);
    }
    number
}

/// The peer receives, until it has all and this side says so.
fn peer_receives(post: &Post, end: &OwnedFd, got: &AtomicU64, last: &AtomicU64) {
    let mut dice = post.dice(4);
    let mut room = [0; LARGEST];
    while !post.world.failed() {
        let due = got.load(Ordering::Acquire);
        match rustix::io::read(end, &mut room) {
            Ok(n) => {
                let bytes = room.get(..n).unwrap_or_default();
                if let Err((what, damage)) = check(bytes, post.stream, due) {
                    let trail = post.status.trail.around(post.stream, due);
                    let what = format!("the peer: {what}{trail}");
                    return post.world.fail(&post.status, what, damage);
                }
                got.store(due + 1, Ordering::Release);
                post.world.tally.count(post.status.scenario, Count::BytesVerified, count(n));
                post.status.beat();
            }
            // Nothing within the time that is set on the socket. The last is not the last until nothing follows it.
            Err(rustix::io::Errno::AGAIN) => {
                if due >= last.load(Ordering::Acquire) {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let what = format!("the peer cannot receive: {error}");
                return post.world.fail(&post.status, what, Damage::Other);
            }
        }
        if dice.one_in(4) {
            idle(&mut dice);
        }
    }
}

/// One pair of sockets after the other.
pub(crate) struct Lane<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    number: u64,
    sending: Peer,
    receiving: Peer,
}

impl<M: Host> Lane<M> {
    pub(crate) fn new(
        ring: &RingOf<M>,
        world: &Arc<World>,
        scenario: Scenario,
        number: u64,
    ) -> io::Result<Self> {
        let name = format!("{} datagrams {number}", scenario.name());
        Ok(Self {
            ring: ring.clone(),
            world: Arc::clone(world),
            sending: Peer::start("datagrams w")?,
            receiving: Peer::start("datagrams r")?,
            status: world.lane(scenario, name),
            number,
        })
    }

    fn open(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let (own, peer) = if self.status.scenario == Scenario::Udp {
            let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            own.connect(peer.local_addr()?)?;
            peer.connect(own.local_addr()?)?;
            (own.into(), peer.into())
        } else {
            let (own, peer) = UnixDatagram::pair()?;
            (OwnedFd::from(own), OwnedFd::from(peer))
        };
        let limit = Some(Duration::from_millis(20));
        sockopt::set_socket_timeout(&peer, sockopt::Timeout::Recv, limit)?;
        Ok((own, peer))
    }

    pub(crate) async fn run(self) {
        let mut turn = 0;
        while !self.world.stopping() {
            turn += 1;
            match self.open() {
                Ok((own, peer)) => self.exchange(own, Arc::new(peer), turn).await,
                Err(error) => {
                    let what = format!("no sockets: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
            }
        }
        self.status.finish();
    }

    async fn exchange(&self, own: OwnedFd, peer: Arc<OwnedFd>, turn: u64) {
        let mut dice = Dice::new(&[self.world.seed, self.number, turn, 8]);
        let (inbound, outbound) = (dice.below(600), dice.below(600));
        let streams = (mix(&[self.number, turn, 3]), mix(&[self.number, turn, 4]));
        self.status.begin(format!("pair {turn}, {inbound} in, {outbound} out"));
        let exchange = Arc::new(Exchange {
            ring: self.ring.clone(),
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            fd: Fd::new(own),
            streams,
            got: Arc::default(),
            total: Arc::new(AtomicU64::new(UNKNOWN)),
            sent: Arc::default(),
            peer_got: Arc::default(),
            outbound,
        });
        let last = Arc::new(AtomicU64::new(UNKNOWN));
        let post = |stream| Post {
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            stream,
        };
        let (sender, receiver) = (post(streams.0), post(streams.1));
        let (end, got) = (Arc::clone(&peer), Arc::clone(&exchange.got));
        let total = Arc::clone(&exchange.total);
        let sent = self.sending.run(move || {
            let number = peer_sends(&sender, &end, inbound, &got);
            total.store(number, Ordering::Release);
        });
        let (peer_got, until) = (Arc::clone(&exchange.peer_got), Arc::clone(&last));
        let received =
            self.receiving.run(move || peer_receives(&receiver, &peer, &peer_got, &until));

        let seed = mix(&[self.world.seed, self.number, turn]);
        let receiving = supervise(Child::ReceiveDatagrams(Arc::clone(&exchange)), seed ^ 1);
        let sending = async {
            supervise(Child::SendDatagrams(Arc::clone(&exchange)), seed ^ 2).await;
            last.store(exchange.sent.load(Ordering::Acquire), Ordering::Release);
        };
        join(receiving, sending).await;
        // The socket must stay until the peer has everything: that which is dropped now is not lost.
        let died = sent.await.is_err() || received.await.is_err();
        if died {
            self.world.fail(&self.status, "the peer died", Damage::Other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_repeated_datagram_are_told_apart() {
        let mut bytes = [0; 100];
        make(&mut bytes, 5, 10);
        assert!(check(&bytes, 5, 10).is_ok());
        assert_eq!(check(&bytes, 5, 8).unwrap_err().1, Damage::Lost(2));
        assert_eq!(check(&bytes, 5, 11).unwrap_err().1, Damage::Duplicated(1));
        assert_eq!(check(&bytes, 6, 10).unwrap_err().1, Damage::Other);
        bytes[50] ^= 1;
        assert_eq!(check(&bytes, 5, 10).unwrap_err().1, Damage::Other);
        assert_eq!(check(&bytes[..3], 5, 10).unwrap_err().1, Damage::Other);
    }
}
