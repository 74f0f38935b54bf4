//! Accepts: each connection carries its number, and each must be accepted exactly once.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join;
use rustix::net::sockopt;
use safer_ring::{Fd, RingOf};
use tokio::sync::Notify;

use super::dice::{Dice, mix};
use super::fate::{Fate, Probe, Storm, meet, pass};
use super::host::{Child, Host, supervise};
use super::peer::{Peer, Post, UNKNOWN, idle};
use super::tally::{Act, Count, Scenario};
use super::world::{Damage, Status, World, lock};

const NUMBER: usize = 8;

/// One listener and what has arrived at it.
pub(crate) struct Listening<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    fd: Fd<M>,
    plan: Plan,
    /// Accepted and not yet served.
    queue: Mutex<VecDeque<Fd<M>>>,
    arrived: Notify,
    accepted: AtomicU64,
    served: Mutex<HashSet<u64>>,
    /// How many connections there are in all, once the client knows.
    total: Arc<AtomicU64>,
    /// The listener is about to go, before everything is accepted.
    closing: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    connections: u64,
    /// The accepting task is not aborted, and accepts are awaited without a limit.
    calm: bool,
    /// The listener goes away in the middle.
    rude: bool,
}

impl<M: Host> Listening<M> {
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

    fn over(&self) -> bool {
        let accepted = self.accepted.load(Ordering::Acquire);
        let enough = self.plan.rude && accepted >= self.plan.connections / 2;
        let all = accepted >= self.total.load(Ordering::Acquire)
            || (self.plan.calm && accepted >= self.plan.connections);
        all || enough || self.world.failed()
    }

    /// Accepts until there is nothing more, dropping most accepts.
    pub(crate) async fn accept(&self, mut dice: Dice) {
        let mut storm = Storm::default();
        while !self.over() {
            let blows = storm.blows(&mut dice);
            let fate = match Fate::roll(&mut dice, self.plan.calm) {
                _ if blows => Fate::Polled,
                Fate::Patient(_) if self.plan.calm => Fate::Complete,
                fate => fate,
            };
            let clone = self.fd.clone();
            let fd = if dice.one_in(2) { &clone } else { &self.fd };
            let inner = self.ring.accept(fd);
            let probe = Probe::new(&self.world, &self.status, Act::Accept, inner, |_| ());
            match meet(&self.ring, probe, fate).await {
                None => {}
                Some(Ok((connection, _))) => {
                    self.world.tally.count(self.status.scenario, Count::Accepted, 1);
                    lock(&self.queue).push_back(connection);
                    self.accepted.fetch_add(1, Ordering::AcqRel);
                    self.arrived.notify_one();
                    self.status.beat();
                }
                Some(Err(error)) => {
                    let what = format!("accept failed: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
            }
            if !blows && dice.one_in(4) {
                pass().await;
            }
        }
        self.closing.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// Answers what was accepted; not aborted, since it is not what is tested here.
    async fn serve(&self) {
        loop {
            let next = lock(&self.queue).pop_front();
            match next {
                Some(connection) => {
                    if let Err(error) = self.answer(&connection).await
                        && !self.plan.rude
                    {
                        let what = format!("an accepted connection: {error}");
                        self.world.fail(&self.status, what, Damage::Other);
                    }
                }
                None if self.closing.load(Ordering::Acquire) => return,
                None => self.arrived.notified().await,
            }
        }
    }

    async fn answer(&self, connection: &Fd<M>) -> io::Result<()> {
        let mut number = Vec::new();
        while number.len() < NUMBER {
            let room = Vec::with_capacity(NUMBER - number.len());
            let (n, bytes) = self.ring.recv(connection, room).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            number.extend_from_slice(&bytes);
        }
        let number = number.first_chunk().map_or(UNKNOWN, |bytes| u64::from_le_bytes(*bytes));
        if number >= self.plan.connections {
            let what = format!("connection {number} was never made");
            self.world.fail(&self.status, what, Damage::Other);
        }
        if !lock(&self.served).insert(number) {
            let what = format!("connection {number} was accepted twice");
            self.world.fail(&self.status, what, Damage::Duplicated(1));
        }
        self.ring.send(connection, vec![1]).await?;
        self.status.beat();
        Ok(())
    }
}

/// Where a client connects to.
#[derive(Clone, Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(UnixAddr),
}

impl Address {
    fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).map(OwnedFd::from),
            Self::Unix(address) => UnixStream::connect_addr(address).map(OwnedFd::from),
        }
    }
}

/// Connects again and again, some connections at a time, and waits until each is answered. Gives the error that made it
/// stop.
fn connect(post: &Post, address: &Address, plan: Plan, total: &AtomicU64) -> Option<io::Error> {
    let mut dice = post.dice(5);
    let (mut made, mut error) = (0, None);
    while made < plan.connections && error.is_none() && (plan.calm || !post.world.stopping()) {
        let mut open = VecDeque::new();
        for _ in 0..=dice.below(6).min(plan.connections - made - 1) {
            match address.connect() {
                Ok(connection) => open.push_back(connection),
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
            if dice.one_in(3) {
                idle(&mut dice);
            }
        }
        for connection in &open {
            post.world.tally.count(post.status.scenario, Count::Made, 1);
            // A refusal shows in the answer.
            let _ = rustix::io::write(connection, &made.to_le_bytes());
            made += 1;
        }
        if made >= plan.connections || error.is_some() {
            total.store(made, Ordering::Release);
        }
        for connection in open {
            let mut answer = [0];
            let answered = matches!(rustix::io::read(&connection, &mut answer), Ok(1));
            if !answered && !plan.rude {
                let what = format!("a connection of the first {made} ended without an answer");
                post.world.fail(&post.status, what, Damage::Lost(1));
            }
            // Else thousands of addresses would be kept for a minute each.
            let _ = sockopt::set_socket_linger(&connection, Some(Duration::ZERO));
        }
        post.status.beat();
        idle(&mut dice);
    }
    total.store(made, Ordering::Release);
    error
}

/// One listener after the other.
pub(crate) struct Lane<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    number: u64,
    tcp: bool,
    client: Peer,
}

impl<M: Host> Lane<M> {
    pub(crate) fn new(
        ring: &RingOf<M>,
        world: &Arc<World>,
        number: u64,
        tcp: bool,
    ) -> io::Result<Self> {
        let kind = if tcp { "tcp" } else { "unix" };
        Ok(Self {
            ring: ring.clone(),
            world: Arc::clone(world),
            client: Peer::start("connecting")?,
            status: world.lane(Scenario::Accept, format!("accept {kind} {number}")),
            number,
            tcp,
        })
    }

    fn open(&self, turn: u64) -> io::Result<(OwnedFd, Address)> {
        if self.tcp {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = Address::Tcp(listener.local_addr()?);
            return Ok((listener.into(), address));
        }
        let name = format!("safer-ring-torture-{}-{}-{turn}", std::process::id(), self.number);
        let address = UnixAddr::from_abstract_name(name)?;
        Ok((UnixListener::bind_addr(&address)?.into(), Address::Unix(address)))
    }

    pub(crate) async fn run(self) {
        let mut turn = 0;
        while !self.world.stopping() {
            turn += 1;
            match self.open(turn) {
                Ok((listener, address)) => self.listen(listener, address, turn).await,
                Err(error) => {
                    let what = format!("no listener: {error}");
                    self.world.fail(&self.status, what, Damage::Other);
                }
            }
        }
        self.status.finish();
    }

    async fn listen(&self, listener: OwnedFd, address: Address, turn: u64) {
        let mut dice = Dice::new(&[self.world.seed, self.number, turn, 9]);
        let calm = dice.one_in(4);
        let connections = 1 + dice.below(if calm { 40 } else { 300 });
        let plan = Plan { connections, calm, rude: !calm && dice.one_in(4) };
        self.status.begin(format!("listener {turn}, {plan:?}"));
        let total = Arc::new(AtomicU64::new(UNKNOWN));
        let listening = Arc::new(Listening {
            ring: self.ring.clone(),
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            fd: Fd::new(listener),
            plan,
            queue: Mutex::default(),
            arrived: Notify::new(),
            accepted: AtomicU64::new(0),
            served: Mutex::default(),
            total: Arc::clone(&total),
            closing: AtomicBool::new(false),
        });
        let post = Post {
            world: Arc::clone(&self.world),
            status: Arc::clone(&self.status),
            stream: mix(&[self.number, turn, 5]),
        };
        let connecting = self.client.run(move || connect(&post, &address, plan, &total));
        let seed = mix(&[self.world.seed, self.number, turn]);
        let accepting = supervise(Child::Accept(Arc::clone(&listening)), seed);
        join(accepting, listening.serve()).await;
        // One more, which gets nothing or what nobody wants any more; it goes with the listener.
        let inner = self.ring.accept(&listening.fd);
        let probe = Probe::new(&self.world, &self.status, Act::Accept, inner, |_| ());
        let extra = meet(&self.ring, probe, Fate::Polled).await;
        if extra.is_some_and(|result| result.is_ok()) && !plan.rude {
            let what = "a connection was accepted that nobody had made";
            self.world.fail(&self.status, what, Damage::Duplicated(1));
        }
        drop(listening);
        // Connections that are left in the listener end with it, and the client sees that.
        match connecting.await {
            Ok(Some(error)) if !plan.rude => {
                self.world.fail(&self.status, format!("cannot connect: {error}"), Damage::Other);
            }
            Ok(_) => {}
            Err(_) => self.world.fail(&self.status, "the client died", Damage::Other),
        }
    }
}
