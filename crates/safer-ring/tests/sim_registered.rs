//! Registered memory in a simulated world, whose kernel refuses it as it likes, and looks at what each operation names.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use safer_ring::sim::{Config, JoinHandle, World};
use safer_ring::{BufferPool, Fd, Mode, OpenOptions, Operation, Payload, RegisterError, RingOf};

/// Bytes of a file.
const SIZE: usize = 6000;
/// Bytes of a buffer.
const ROOM: usize = 1024;

/// What the programs of some worlds were told.
#[derive(Debug, Default)]
struct Seen {
    registered: usize,
    unregistered: usize,
    /// `RLIMIT_MEMLOCK`.
    limits: usize,
    in_use: usize,
    interrupted: usize,
    /// Operations that named a slot.
    named: usize,
    dropped: usize,
    errors: usize,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.registered += other.registered;
        self.unregistered += other.unregistered;
        self.limits += other.limits;
        self.in_use += other.in_use;
        self.dropped += other.dropped;
        self.errors += other.errors;
    }
}

/// Lines of a world's trace in which there are all of these.
fn lines(world: &World, all: &[&str]) -> usize {
    let trace = world.trace();
    trace.iter().filter(|line| all.iter().all(|text| line.contains(text))).count()
}

/// Polls it so many times, with turns for others in between, or until its end.
async fn polled<M: Mode, P: Payload>(
    operation: &mut Operation<M, P>,
    polls: Option<u64>,
) -> Option<P::Output>
where
    Operation<M, P>: Unpin,
{
    let Some(mut polls) = polls else { return Some(operation.await) };
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match Pin::new(&mut *operation).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

/// A file, what must be in it, and pools that others use too.
struct Lane<M: Mode> {
    world: World,
    ring: RingOf<M>,
    pools: Vec<BufferPool>,
    fd: Fd<M>,
    /// Nothing where nobody knows.
    bytes: Vec<Option<u8>>,
    /// Writes that were dropped on their way.
    loose: Vec<(usize, Vec<u8>)>,
    chains: bool,
    stormy: bool,
    seen: Seen,
}

impl<M: Mode> Lane<M> {
    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.world.random(u64::try_from(limit).unwrap())).unwrap()
    }

    fn failed(&mut self, error: &std::io::Error) {
        let errno = error.raw_os_error();
        let wanted = [libc::EIO, libc::ENOMEM, libc::ENOSPC, libc::EDQUOT].map(Some);
        // Of a dropped write the next sync tells.
        let late = error.to_string().starts_with("an earlier write ");
        assert!(self.stormy && (late || wanted.contains(&errno)), "{error}");
        self.seen.errors += 1;
    }

    fn put(&mut self, at: usize, data: &[u8], known: bool) {
        for (place, byte) in self.bytes.iter_mut().skip(at).zip(data) {
            *place = known.then_some(*byte);
        }
    }

    fn check(&self, at: usize, data: &[u8]) {
        assert!(!data.is_empty(), "a read of nothing at {at}");
        for (found, known) in data.iter().zip(&self.bytes[at..]) {
            assert!(known.is_none_or(|known| known == *found), "behind {at}");
        }
    }

    /// What a write that failed has left is not known where the disk is to blame.
    fn forget(&mut self, at: usize, data: &[u8], error: &std::io::Error) {
        if error.raw_os_error() == Some(libc::EIO) {
            self.put(at, data, false);
        }
    }

    fn not_written(&mut self, at: usize, data: &[u8], error: &std::io::Error) {
        self.forget(at, data, error);
        self.failed(error);
    }

    /// Dropped writes come to their end.
    async fn settle(&mut self) {
        if self.loose.is_empty() {
            return;
        }
        let synced = self.ring.fsync(&self.fd).await;
        for (at, data) in std::mem::take(&mut self.loose) {
            self.put(at, &data, synced.is_ok());
        }
        if let Err(error) = synced
            && error.kind() != std::io::ErrorKind::WriteZero
        {
            self.failed(&error);
        }
    }

    /// Registers a pool, or undoes that. What must be so is so whatever others do meanwhile.
    fn register(&mut self) {
        let pool = &self.pools[self.below(self.pools.len())];
        match self.ring.register_buffers(pool) {
            Ok(()) => self.seen.registered += 1,
            Err(RegisterError::Limit(bytes)) => {
                assert_eq!(bytes, pool.memory().unwrap().len());
                self.seen.limits += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn unregister(&mut self) {
        let pool = &self.pools[self.below(self.pools.len())];
        let taken = pool.stats().taken;
        match self.ring.unregister_buffers(pool) {
            Ok(()) => {
                assert_eq!(taken, 0);
                self.seen.unregistered += 1;
            }
            Err(RegisterError::InUse) => self.seen.in_use += usize::from(taken > 0),
            Err(error) => panic!("{error}"),
        }
    }

    async fn transfer(&mut self) {
        self.settle().await;
        let Some(mut buffer) = self.pools[self.below(self.pools.len())].take() else { return };
        let at = self.below(SIZE);
        let offset = u64::try_from(at).unwrap();
        buffer.resize(1 + self.below(ROOM));
        let polls = (self.below(3) == 0).then(|| 1 + self.world.random(4));
        if self.below(2) == 0 {
            buffer.fill_with(|| self.below(256).to_le_bytes()[0]);
            let data = buffer.to_vec();
            if self.chains && self.below(2) == 0 {
                return self.chain(at, buffer).await;
            }
            let mut write = self.ring.write_at_owned(&self.fd, buffer, offset);
            match polled(&mut write, polls).await {
                Some(Ok((count, back))) => {
                    assert!(count > 0 && back[..] == data);
                    self.put(at, &data[..count], true);
                }
                Some(Err(failed)) => self.not_written(at, &data, &failed.error),
                None => {
                    self.seen.dropped += 1;
                    self.put(at, &data, false);
                    self.loose.push((at, data));
                }
            }
        } else {
            let mut read = self.ring.read_at_owned(&self.fd, buffer, offset);
            match polled(&mut read, polls).await {
                Some(Ok((count, back))) => self.check(at, &back[..count]),
                Some(Err(failed)) => self.failed(&failed.error),
                None => self.seen.dropped += 1,
            }
        }
    }

    /// A read of what a write before it has written.
    async fn chain(&mut self, at: usize, buffer: safer_ring::PooledBuffer) {
        let (data, offset) = (buffer.to_vec(), u64::try_from(at).unwrap());
        let Some(mut room) = self.pools[0].take() else { return };
        room.resize(data.len());
        let write = self.ring.write_at_owned(&self.fd, buffer, offset);
        let (written, read) = write.then(self.ring.read_at_owned(&self.fd, room, offset)).await;
        let moved = match written {
            Ok((count, _)) => count,
            Err(failed) => {
                self.forget(at, &data, &failed.error);
                return self.broken(&failed.error);
            }
        };
        self.put(at, &data[..moved], true);
        match read {
            Ok((count, back)) => self.check(at, &back[..count]),
            Err(failed) => self.broken(&failed.error),
        }
    }

    /// What is written short ends a chain, and its members are not tried again by themselves.
    fn broken(&mut self, error: &std::io::Error) {
        let again = [libc::ECANCELED, libc::EINTR].map(Some).contains(&error.raw_os_error());
        if !again && !error.to_string().starts_with("not run: ") {
            self.failed(error);
        }
    }

    async fn run(mut self, steps: usize) -> Seen {
        for _ in 0..steps {
            match self.below(8) {
                0 => self.register(),
                1 => self.unregister(),
                2 => {
                    self.ring.timeout(Duration::from_micros(self.world.random(3000))).await.unwrap()
                }
                _ => self.transfer().await,
            }
        }
        self.settle().await;
        for at in (0..SIZE).step_by(ROOM / 2) {
            let Some(mut buffer) = self.pools[self.below(self.pools.len())].take() else {
                continue;
            };
            buffer.resize(ROOM);
            let offset = u64::try_from(at).unwrap();
            match self.ring.read_at_owned(&self.fd, buffer, offset).await {
                Ok((count, back)) => self.check(at, &back[..count]),
                Err(failed) => self.failed(&failed.error),
            }
        }
        self.seen
    }
}

/// A file with something in it.
async fn file<M: Mode>(ring: &RingOf<M>, path: String) -> (Fd<M>, Vec<Option<u8>>) {
    let options = OpenOptions::new().read(true).write(true).create(true);
    let fd = ring.open(path, &options).await.unwrap();
    let all: Vec<u8> = (0..SIZE + ROOM).map(|at| at.to_le_bytes()[0]).collect();
    let (mut rest, mut at) = (all.clone(), 0);
    while !rest.is_empty() {
        let (count, back) = ring.write_at_owned(&fd, rest, at).await.unwrap();
        (rest, at) = (back[count..].to_vec(), at + u64::try_from(count).unwrap());
    }
    (fd, all.into_iter().map(Some).collect())
}

/// Lanes on rings that share their pools, and what must be so at the end.
fn run<M: Mode>(world: &World, rings: Vec<RingOf<M>>, chains: bool, seen: &mut Seen) {
    let seed = world.seed();
    let pools: Vec<_> = (0..3).map(|_| BufferPool::contiguous(4, ROOM, 64).unwrap()).collect();
    let mut errors = 0;
    world.reconfigure(|config| std::mem::swap(&mut config.errors, &mut errors));
    let program = async {
        let mut running: Vec<JoinHandle<Seen>> = Vec::new();
        for (number, ring) in rings.iter().cycle().take(4).enumerate() {
            let (fd, bytes) = file(ring, format!("/tmp/{number}")).await;
            let lane = Lane {
                world: world.clone(),
                ring: ring.clone(),
                pools: pools.clone(),
                fd,
                bytes,
                loose: Vec::new(),
                chains,
                stormy: errors > 0,
                seen: Seen::default(),
            };
            running.push(world.spawn(lane.run(40)));
        }
        world.reconfigure(|config| config.errors = errors);
        for lane in running {
            seen.add(&lane.await);
        }
        world.reconfigure(|config| config.errors = 0);
        // What was dropped ends.
        for ring in &rings {
            ring.timeout(Duration::from_secs(60)).await.unwrap();
        }
    };
    let ran = world.block_on(program);
    ran.unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}\n{}", world.trace().join("\n")));
    let counted: u64 = rings.iter().map(|ring| ring.snapshot().registered_buffers).sum();
    for ring in &rings {
        let end = ring.snapshot();
        assert_eq!((end.queued, end.orphans), (0, 0), "seed {seed}: {:?}", ring.operations());
    }
    for pool in &pools {
        assert_eq!(pool.stats().taken, 0, "seed {seed}");
        for ring in &rings {
            // Nothing is in flight any more, but a call that hands over what is left may be refused.
            let done = (0..100).any(|_| ring.unregister_buffers(pool).is_ok());
            assert!(done, "seed {seed}");
        }
    }
    drop(rings);
    assert_eq!((world.descriptors(), world.findings()), (0, Vec::new()), "seed {seed}");
    let named = lines(world, &[" names slot "]);
    // What a chain leaves out names nothing.
    let counted = usize::try_from(counted).unwrap();
    assert!(if chains { named <= counted } else { named == counted }, "{named} of {counted}");
    seen.named += named;
    seen.interrupted += lines(world, &[" registers ", "EINTR"]);
    // No buffer is out, wherever it was dropped.
    let memories: Vec<_> = pools.iter().map(|pool| pool.memory().unwrap()).collect();
    drop(pools);
    assert!(memories.iter().all(|memory| memory.is_over()), "seed {seed}");
}

/// One world: some rings of one kind.
fn run_seed(config: Config, chains: bool, seen: &mut Seen) -> World {
    let seed = config.seed;
    let world = World::new(Config { trace_lines: 100_000, ..config });
    // A chain of two has to fit.
    let fewest = if chains { 2 } else { 1 };
    let entries = [fewest, 3, 64][usize::try_from(seed % 3).unwrap()];
    if seed.is_multiple_of(2) {
        let rings = (0..2).map(|_| world.ring_with(entries, entries).unwrap()).collect();
        run(&world, rings, chains, seen);
    } else {
        let rings = (0..3).map(|_| world.local_ring_with(entries, entries).unwrap()).collect();
        run(&world, rings, chains, seen);
    }
    world
}

#[test]
fn registered_memory_comes_and_goes() {
    let mut seen = Seen::default();
    for seed in 0..100 {
        run_seed(Config::new(seed), false, &mut seen);
    }
    assert!(seen.named > 2000 && seen.dropped > 500, "{seen:?}");
    assert!(seen.registered > 500 && seen.unregistered > 300, "{seen:?}");
    assert!(seen.limits > 100 && seen.in_use > 200 && seen.interrupted > 10, "{seen:?}");
    assert_eq!(seen.errors, 0);
}

#[test]
fn registered_memory_comes_and_goes_in_a_storm() {
    let mut seen = Seen::default();
    for seed in 0..100 {
        let storm = Config { interrupts: 200, ..Config::stormy(seed) };
        run_seed(storm, seed % 4 > 1, &mut seen);
    }
    assert!(seen.named > 2000 && seen.errors > 100 && seen.interrupted > 100, "{seen:?}");
    assert!(seen.unregistered > 300 && seen.limits > 100 && seen.in_use > 200, "{seen:?}");
}

#[test]
fn members_of_chains_name_registered_memory_when_they_begin() {
    let mut seen = Seen::default();
    for seed in 0..60 {
        let whole = if seed % 2 == 0 { 0 } else { 250 };
        run_seed(Config { short: whole, ..Config::new(seed) }, true, &mut seen);
    }
    assert!(seen.named > 1000, "{seen:?}");
}

#[test]
fn registering_is_a_function_of_the_seed() {
    let run = |seed| {
        let world = run_seed(Config::new(seed), true, &mut Seen::default());
        (world.trace_hash(), world.trace(), world.now())
    };
    for seed in 0..8 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(2).0, run(8).0);
}

#[test]
fn a_calm_world_refuses_nothing_and_counts_each_operation() {
    let world = World::new(Config::calm(1));
    let ring = world.local_ring().unwrap();
    assert!(ring.features().has_registered_buffers());
    let pool = BufferPool::contiguous(2, ROOM, 64).unwrap();
    world
        .block_on(async {
            let (fd, _) = file(&ring, "/tmp/it".to_owned()).await;
            for turn in 0..100 {
                ring.register_buffers(&pool).unwrap();
                ring.register_buffers(&pool).unwrap();
                let buffer = pool.take().unwrap();
                let (count, buffer) = ring.read_at_owned(&fd, buffer, 3).await.unwrap();
                assert_eq!((count, buffer[0]), (ROOM, 3));
                assert_eq!(ring.snapshot().registered_buffers, turn + 1);
                assert_eq!(ring.unregister_buffers(&pool), Err(RegisterError::InUse));
                // At the cursor, and from elsewhere, nothing is named.
                let (_, buffer) = ring.read_owned(&fd, buffer).await.unwrap();
                drop(buffer);
                drop(ring.read_at_owned(&fd, vec![0; 10], 0).await.unwrap());
                ring.unregister_buffers(&pool).unwrap();
                drop(ring.read_at_owned(&fd, pool.take().unwrap(), 0).await.unwrap());
                assert_eq!(ring.snapshot().registered_buffers, turn + 1);
            }
        })
        .unwrap();
}

#[test]
fn a_table_of_a_world_has_as_many_places_as_that_of_a_kernel() {
    for config in [Config::calm(1), Config { interrupts: 500, ..Config::calm(2) }] {
        let world = World::new(config);
        let ring = world.ring().unwrap();
        let mut pools: Vec<_> =
            (0..64).map(|_| BufferPool::contiguous(1, 64, 64).unwrap()).collect();
        pools.iter().for_each(|pool| ring.register_buffers(pool).unwrap());
        let one_more = BufferPool::contiguous(1, 64, 64).unwrap();
        assert!(matches!(ring.register_buffers(&one_more), Err(RegisterError::Refused(_))));
        // One that is gone makes room.
        drop(pools.pop());
        ring.register_buffers(&one_more).unwrap();
        let refused = ring.register_buffers(&BufferPool::contiguous(1, 64, 64).unwrap());
        assert!(refused.is_err());
        ring.unregister_buffers(&pools[5]).unwrap();
        ring.register_buffers(&BufferPool::contiguous(1, 64, 64).unwrap()).unwrap();
        assert_eq!(world.findings(), [""; 0]);
    }
}
