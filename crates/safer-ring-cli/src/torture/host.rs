//! The two ways to run everything: one thread with its own ring, and tasks of a runtime that migrate.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use safer_ring::{Local, Mode, RingOf, Shared};

use super::accept::Listening;
use super::datagram::Exchange;
use super::dice::Dice;
use super::fate::nap;
use super::files::Region;
use super::lanes::Lane;
use super::opens::Opening;
use super::stream::Conn;
use super::tally::Count;
use super::world::{Damage, Status, World, lock};

/// What may be aborted at any time and started again: all that must survive is in what it refers to.
pub(crate) enum Child<M: Host> {
    Receive(Arc<Conn<M>>),
    Send(Arc<Conn<M>>),
    ReceiveDatagrams(Arc<Exchange<M>>),
    SendDatagrams(Arc<Exchange<M>>),
    Accept(Arc<Listening<M>>),
    Blocks(Arc<Region<M>>),
    Open(Arc<Opening<M>>),
}

impl<M: Host> Clone for Child<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Receive(conn) => Self::Receive(Arc::clone(conn)),
            Self::Send(conn) => Self::Send(Arc::clone(conn)),
            Self::ReceiveDatagrams(exchange) => Self::ReceiveDatagrams(Arc::clone(exchange)),
            Self::SendDatagrams(exchange) => Self::SendDatagrams(Arc::clone(exchange)),
            Self::Accept(listening) => Self::Accept(Arc::clone(listening)),
            Self::Blocks(region) => Self::Blocks(Arc::clone(region)),
            Self::Open(opening) => Self::Open(Arc::clone(opening)),
        }
    }
}

impl<M: Host> Child<M> {
    /// Works until there is nothing left to do.
    pub(crate) async fn episode(self, dice: Dice) {
        match self {
            Self::Receive(conn) => conn.receive(dice).await,
            Self::Send(conn) => conn.send(dice).await,
            Self::ReceiveDatagrams(exchange) => exchange.receive(dice).await,
            Self::SendDatagrams(exchange) => exchange.send(dice).await,
            Self::Accept(listening) => listening.accept(dice).await,
            Self::Blocks(region) => region.work(dice).await,
            Self::Open(opening) => opening.work(dice).await,
        }
    }

    fn calm(&self) -> bool {
        match self {
            Self::Receive(conn) | Self::Send(conn) => conn.calm(),
            Self::Accept(listening) => listening.calm(),
            _ => false,
        }
    }

    fn place(&self) -> (&RingOf<M>, &Arc<World>, &Arc<Status>) {
        match self {
            Self::Receive(c) | Self::Send(c) => (c.ring(), c.world(), c.status()),
            Self::ReceiveDatagrams(x) | Self::SendDatagrams(x) => (x.ring(), x.world(), x.status()),
            Self::Accept(listening) => (listening.ring(), listening.world(), listening.status()),
            Self::Blocks(region) => (region.ring(), region.world(), region.status()),
            Self::Open(opening) => (opening.ring(), opening.world(), opening.status()),
        }
    }
}

/// Runs a child to its end, aborting it again and again unless it is calm.
pub(crate) async fn supervise<M: Host>(child: Child<M>, seed: u64) {
    let mut dice = Dice::new(&[seed]);
    if child.calm() {
        return child.episode(Dice::new(&[dice.any()])).await;
    }
    loop {
        let time = dice.pause(30_000) + Duration::from_micros(50);
        let choices = Dice::new(&[dice.any()]);
        if M::episode_until(child.clone(), choices, time, dice.one_in(2)).await {
            return;
        }
        let (_, world, status) = child.place();
        world.tally.count(status.scenario, Count::Kills, 1);
    }
}

/// The future of an episode against a timer: whether the episode ended.
async fn race<M: Host>(child: Child<M>, dice: Dice, time: Duration) -> bool {
    let ring = child.place().0.clone();
    let timer = std::pin::pin!(nap(&ring, time));
    let episode = std::pin::pin!(child.episode(dice));
    matches!(select(episode, timer).await, Either::Left(_))
}

/// A mode as the program that uses it sees it.
pub(crate) trait Host: Mode {
    const NAME: &'static str;
    /// Whether the runtime's own timers can be used.
    const ON_TOKIO: bool;

    /// One episode, aborted after `time`; `apart` chooses among the ways to abort. Tells whether it ended by itself.
    fn episode_until(
        child: Child<Self>,
        dice: Dice,
        time: Duration,
        apart: bool,
    ) -> impl Future<Output = bool>;

    /// Makes a ring and runs the lanes that `make` gives side by side to their end.
    ///
    /// # Errors
    /// When there is no ring or no runtime.
    fn run(
        world: &Arc<World>,
        make: impl FnOnce(&RingOf<Self>) -> io::Result<Vec<Lane<Self>>>,
    ) -> io::Result<()>;
}

/// Publishes the ring's figures while lanes run, and waits for the last orphans afterwards.
async fn watch<M: Host>(ring: RingOf<M>, world: Arc<World>) {
    let mut settled = 0;
    let most = world.patience.as_millis() / 10;
    loop {
        nap(&ring, Duration::from_millis(10)).await;
        let now = ring.snapshot();
        *lock(&world.snapshot) = now;
        if !world.all_done() {
            continue;
        }
        let buffers = world.pools.out();
        if now.orphans == 0 && now.queued == 0 && buffers == 0 {
            return;
        }
        settled += 1;
        if settled > most {
            let place = world.lane(super::tally::Scenario::Opens, "after the last lane".to_owned());
            place.finish();
            let leaked = now.orphans.max(crate::num::count(buffers));
            let what = format!("{} orphans, {buffers} buffers in flight for ever", now.orphans);
            return world.fail(&place, what, Damage::Leaked(leaked));
        }
    }
}

impl Host for Local {
    const NAME: &'static str = "local";
    const ON_TOKIO: bool = false;

    async fn episode_until(child: Child<Self>, dice: Dice, time: Duration, _apart: bool) -> bool {
        race(child, dice, time).await
    }

    fn run(
        world: &Arc<World>,
        make: impl FnOnce(&RingOf<Self>) -> io::Result<Vec<Lane<Self>>>,
    ) -> io::Result<()> {
        let ring = RingOf::<Self>::new(256)?;
        let lanes = make(&ring)?;
        let watch = watch(ring.clone(), Arc::clone(world));
        ring.block_on(async {
            let mut running: FuturesUnordered<_> = lanes.into_iter().map(Lane::run).collect();
            let all = async { while running.next().await.is_some() {} };
            futures_util::future::join(all, watch).await;
        });
        Ok(())
    }
}

impl Host for Shared {
    const NAME: &'static str = "shared";
    const ON_TOKIO: bool = true;

    async fn episode_until(child: Child<Self>, dice: Dice, time: Duration, apart: bool) -> bool {
        if !apart {
            return race(child, dice, time).await;
        }
        let world = Arc::clone(child.place().1);
        let status = Arc::clone(child.place().2);
        let mut task = tokio::spawn(child.episode(dice));
        let ended = match tokio::time::timeout(time, &mut task).await {
            Ok(ended) => ended,
            Err(_) => {
                task.abort();
                // When this is over, the task's future has been dropped, on whatever thread.
                task.await
            }
        };
        match ended {
            Ok(()) => true,
            Err(error) => {
                if error.is_panic() {
                    world.fail(&status, format!("a task panicked: {error}"), Damage::Other);
                }
                false
            }
        }
    }

    fn run(
        world: &Arc<World>,
        make: impl FnOnce(&RingOf<Self>) -> io::Result<Vec<Lane<Self>>>,
    ) -> io::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
        let ring = RingOf::<Self>::new(256)?;
        let lanes = make(&ring)?;
        let result = runtime.block_on(async {
            let mut tasks: FuturesUnordered<_> =
                lanes.into_iter().map(|lane| tokio::spawn(lane.run())).collect();
            tasks.push(tokio::spawn(watch(ring.clone(), Arc::clone(world))));
            let mut result = Ok(());
            while let Some(ended) = tasks.next().await {
                result = result.and(ended);
            }
            result
        });
        drop(runtime);
        result.map_err(io::Error::other)
    }
}
