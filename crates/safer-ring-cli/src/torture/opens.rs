//! Operations that make descriptors, and those that only wait: whatever arrives too late must not stay.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use safer_ring::{Address, Fd, Interest, OpenOptions, PipeOptions, RingOf, SocketKind};
use tempfile::TempDir;

use super::dice::{Dice, mix};
use super::fate::{Fate, Probe, meet, pass};
use super::host::{Child, Host, supervise};
use super::peer::Peer;
use super::tally::{Act, Count, Scenario};
use super::world::{Damage, Status, World};

/// Files that are opened; each holds its number.
const FILES: u64 = 16;

/// What the openers work on.
pub(crate) struct Opening<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    dir: TempDir,
    /// Never readable.
    silent: Fd<M>,
    sink: UnixAddr,
}

impl<M: Host> Opening<M> {
    pub(crate) fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    async fn meet<F: Future + Unpin>(&self, act: Act, inner: F, fate: Fate) -> Option<F::Output> {
        let probe = Probe::new(&self.world, &self.status, act, inner, |_| ());
        meet(&self.ring, probe, fate).await
    }

    fn expect<T>(&self, what: &str, result: Option<io::Result<T>>) -> Option<T> {
        match result? {
            Ok(value) => {
                self.status.beat();
                Some(value)
            }
            Err(error) => {
                self.world.fail(&self.status, format!("{what} failed: {error}"), Damage::Other);
                None
            }
        }
    }

    /// Works until the run stops.
    pub(crate) async fn work(&self, mut dice: Dice) {
        while !self.world.stopping() {
            let fate = Fate::roll(&mut dice, true);
            match dice.below(7) {
                0 | 1 => self.open(&mut dice, fate).await,
                2 => {
                    let made = self.meet(Act::Pipe, self.ring.pipe(PipeOptions::Stream), fate);
                    self.expect("pipe", made.await);
                }
                3 => self.connect(fate).await,
                4 => {
                    let like = Address::Unix(self.sink.clone());
                    let socket = self.ring.socket(&like, SocketKind::Stream);
                    self.expect("socket", self.meet(Act::Socket, socket, fate).await);
                }
                5 => {
                    // It never ends by itself.
                    let fate = match fate {
                        Fate::Complete => Fate::Polled,
                        other => other,
                    };
                    let poll = self.ring.poll(&self.silent, Interest::READABLE);
                    if self.meet(Act::Poll, poll, fate).await.is_some() {
                        let what = "a poll of a silent descriptor ended";
                        self.world.fail(&self.status, what, Damage::Other);
                    }
                }
                _ => {
                    let timer = self.ring.timeout(dice.pause(1000));
                    self.expect("timeout", self.meet(Act::Timeout, timer, fate).await);
                }
            }
            if dice.one_in(4) {
                pass().await;
            }
        }
    }

    async fn open(&self, dice: &mut Dice, fate: Fate) {
        let number = dice.below(FILES);
        let open = self.ring.open(self.path(number), &OpenOptions::new().read(true));
        let opened = self.meet(Act::Open, open, fate).await;
        let Some(fd) = self.expect("open", opened) else { return };
        let mut found = [0; 8];
        let read = fd.as_fd().try_clone_to_owned().map(std::fs::File::from);
        match read.and_then(|file| file.read_exact_at(&mut found, 0)) {
            Ok(()) if u64::from_le_bytes(found) == number => {}
            other => {
                let what = format!("file {number} was opened, and it says {found:?} ({other:?})");
                self.world.fail(&self.status, what, Damage::Other);
            }
        }
    }

    async fn connect(&self, fate: Fate) {
        let like = Address::Unix(self.sink.clone());
        let socket = self.ring.socket(&like, SocketKind::Stream).await;
        let Some(socket) = self.expect("socket", Some(socket)) else { return };
        let connected = self.meet(Act::Connect, self.ring.connect(&socket, like), fate).await;
        if self.expect("connect", connected).is_some() {
            self.world.tally.count(Scenario::Opens, Count::Made, 1);
        }
    }
}

/// Accepts and closes until it is told to end, by a last connection.
fn swallow(listener: &UnixListener, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        if listener.accept().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Two openers side by side.
pub(crate) struct Lane<M: Host> {
    opening: Arc<Opening<M>>,
    listener: UnixListener,
    sink: Peer,
    number: u64,
    _silence: std::io::PipeWriter,
}

impl<M: Host> Lane<M> {
    pub(crate) fn new(ring: &RingOf<M>, world: &Arc<World>, number: u64) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        for file in 0..FILES {
            std::fs::write(dir.path().join(file.to_string()), file.to_le_bytes())?;
        }
        let name = format!("safer-ring-torture-{}-{number}-sink", std::process::id());
        let sink = UnixAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&sink)?;
        let (silent, silence) = io::pipe()?;
        let opening = Opening {
            ring: ring.clone(),
            world: Arc::clone(world),
            status: world.lane(Scenario::Opens, format!("opens {number}")),
            dir,
            silent: Fd::new(silent),
            sink,
        };
        Ok(Self {
            opening: Arc::new(opening),
            listener,
            sink: Peer::start("sink")?,
            number,
            _silence: silence,
        })
    }

    pub(crate) async fn run(self) {
        let over = Arc::new(AtomicBool::new(false));
        let (listener, told) = (self.listener, Arc::clone(&over));
        let swallowing = self.sink.run(move || swallow(&listener, &told));
        let opening = &self.opening;
        opening.status.begin("opening, connecting, waiting".to_owned());
        let seed = mix(&[opening.world.seed, self.number]);
        let one = supervise(Child::Open(Arc::clone(opening)), seed ^ 1);
        join(one, supervise(Child::Open(Arc::clone(opening)), seed ^ 2)).await;
        over.store(true, Ordering::Release);
        // Refused if the sink has ended already, at an earlier connection.
        let _ = UnixStream::connect_addr(&opening.sink);
        if swallowing.await.is_err() {
            opening.world.fail(&opening.status, "the sink died", Damage::Other);
        }
        opening.status.finish();
    }
}
