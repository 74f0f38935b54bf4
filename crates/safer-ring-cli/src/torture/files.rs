//! Positional reads and writes. A write that was dropped in flight runs to its end: the block holds it in the end, whole.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use safer_ring::{Fd, IoBuf, PooledBuffer, RingOf, Slice};

use super::dice::{Dice, mix};
use super::fate::{Fate, Probe, meet, nap, pass};
use super::host::{Child, Host, supervise};
use super::pattern;
use super::tally::{Act, Count, Point, Scenario};
use super::world::{ALIGNED, Damage, Status, World, lock};
use crate::data::{BLOCK, Data};
use crate::num::count;

/// Blocks of the file.
const BLOCKS: usize = 256;
/// Tasks that work on it.
const WORKERS: u64 = 3;

/// What is known of one block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The version that it held last for certain; versions count up.
    now: u64,
    /// The version of a write that was dropped in flight and not yet seen, and when that was.
    coming: Option<(u64, Instant)>,
    /// When the last such write was seen. A read that was under way then may have come too early for it.
    seen: Option<Instant>,
    /// Somebody reads it.
    readers: u32,
    /// Somebody writes it.
    writing: bool,
}

/// A file and what it must hold.
pub(crate) struct Region<M: Host> {
    ring: RingOf<M>,
    world: Arc<World>,
    status: Arc<Status>,
    fd: Fd<M>,
    direct: bool,
    number: u64,
    blocks: Mutex<Vec<Block>>,
}

/// Blocks that somebody works on; they are free again when this goes, also in the middle of an abort.
struct Claim<'a> {
    blocks: &'a Mutex<Vec<Block>>,
    first: usize,
    len: usize,
    /// The version that is being written; none for a read.
    version: Option<u64>,
    since: Instant,
    outcome: Outcome,
}

/// What became of the write of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    NotBegun,
    Dropped,
    Done,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut blocks = lock(self.blocks);
        for block in blocks.iter_mut().skip(self.first).take(self.len) {
            match (self.version, self.outcome) {
                (None, _) => block.readers -= 1,
                (Some(_), Outcome::NotBegun) => block.writing = false,
                (Some(version), Outcome::Dropped) => {
                    block.coming = Some((version, Instant::now()));
                    block.writing = false;
                }
                (Some(version), Outcome::Done) => {
                    block.now = version;
                    block.writing = false;
                }
            }
        }
    }
}

impl<M: Host> Region<M> {
    pub(crate) fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// The stream whose first bytes are the contents of a block.
    fn stream(&self, block: usize, version: u64) -> u64 {
        mix(&[self.world.seed, self.number, count(block), version])
    }

    /// Claims some blocks to be read, or to be written where nothing is known to be on its way to them.
    fn claim(&self, dice: &mut Dice, write: bool) -> Option<Claim<'_>> {
        let len = usize::try_from(1 + dice.below(count(ALIGNED / BLOCK))).unwrap_or(1);
        let first = usize::try_from(dice.below(count(BLOCKS - len))).unwrap_or(0);
        let mut blocks = lock(&self.blocks);
        let chosen = blocks.get_mut(first..first + len)?;
        let free = |block: &Block| {
            let unread = block.readers == 0 && block.coming.is_none();
            !block.writing && (!write || unread)
        };
        if !chosen.iter().all(free) {
            return None;
        }
        let mut version = None;
        for block in chosen {
            block.writing = write;
            block.readers += u32::from(!write);
            version = version.max(write.then_some(block.now + 1));
        }
        let (since, outcome) = (Instant::now(), Outcome::NotBegun);
        Some(Claim { blocks: &self.blocks, first, len, version, since, outcome })
    }

    /// Works until the run stops.
    pub(crate) async fn work(&self, mut dice: Dice) {
        while !self.world.stopping() {
            let fate = Fate::roll(&mut dice, true);
            match dice.below(16) {
                0..8 => self.read(&mut dice, fate).await,
                8..15 => self.write(&mut dice, fate).await,
                _ => self.sync(&mut dice, fate).await,
            }
            if dice.one_in(4) {
                pass().await;
            }
        }
    }

    fn buffer(&self) -> Option<PooledBuffer> {
        self.world.pools.take_aligned()
    }

    async fn read(&self, dice: &mut Dice, fate: Fate) {
        let Some(claim) = self.claim(dice, false) else { return pass().await };
        let Some(buffer) = self.buffer() else { return pass().await };
        let wanted = claim.len * BLOCK;
        let at = count(claim.first * BLOCK);
        let read = self.ring.read_at_owned(&self.fd, buffer.slice(..wanted), at);
        let probe = Probe::new(&self.world, &self.status, Act::Read, read, |_| ());
        match meet(&self.ring, probe, fate).await {
            None => {}
            Some(Ok((_, bytes))) => self.verify(&claim, &bytes),
            Some(Err(error)) => self.complain("read", &error.error),
        }
    }

    fn complain(&self, what: &str, error: &io::Error) {
        self.world.fail(&self.status, format!("{what} failed: {error}"), Damage::Other);
    }

    /// Compares what was read with what must be there.
    fn verify(&self, claim: &Claim<'_>, bytes: &Slice<PooledBuffer>) {
        if bytes.len() != claim.len * BLOCK {
            let what = format!("{} of {} bytes were read", bytes.len(), claim.len * BLOCK);
            return self.world.fail(&self.status, what, Damage::Other);
        }
        for (block, contents) in (claim.first..).zip(bytes.chunks_exact(BLOCK)) {
            self.judge(block, contents, claim.since);
        }
        self.world.tally.count(self.status.scenario, Count::BlocksVerified, count(claim.len));
        self.world.tally.count(self.status.scenario, Count::BytesReceived, count(bytes.len()));
        self.status.beat();
    }

    /// What a read has found that began at `began`.
    fn judge(&self, number: usize, contents: &[u8], began: Instant) {
        let mut blocks = lock(&self.blocks);
        let Some(block) = blocks.get_mut(number) else { return };
        let holds = |version| pattern::matches(contents, self.stream(number, version), 0);
        if let Some((version, since)) = block.coming {
            if holds(version) {
                (block.now, block.coming) = (version, None);
                block.seen = Some(Instant::now());
            } else if since.elapsed() > self.world.patience {
                // Until then it may be old, or in the middle of being written.
                let old = if holds(block.now) { "the version before it" } else { "neither" };
                let what = format!(
                    "block {number}: the dropped write of version {version} was not done: the block holds {old}"
                );
                drop(blocks);
                self.world.fail(&self.status, what, Damage::Lost(count(BLOCK)));
            }
        } else if !holds(block.now) && block.seen.is_none_or(|seen| seen < began) {
            let now = block.now;
            let older = (0..now).rev().take(1000).find(|version| holds(*version));
            let found = older.map_or("no version".to_owned(), |v| format!("version {v}"));
            let what = format!("block {number}: version {now} expected, {found} found");
            drop(blocks);
            self.world.fail(&self.status, what, Damage::Lost(count(BLOCK)));
        }
    }

    async fn write(&self, dice: &mut Dice, fate: Fate) {
        let Some(mut claim) = self.claim(dice, true) else { return pass().await };
        let Some(mut buffer) = self.buffer() else { return pass().await };
        let Some(version) = claim.version else { return };
        let (first, wanted) = (claim.first, claim.len * BLOCK);
        buffer.resize(wanted);
        for (block, contents) in (first..).zip(buffer.chunks_exact_mut(BLOCK)) {
            pattern::fill(contents, self.stream(block, version), 0);
        }
        let write = self.ring.write_at_owned(&self.fd, buffer, count(first * BLOCK));
        let outcome = &mut claim.outcome;
        let gone = |point| {
            if point != Point::Unpolled {
                *outcome = Outcome::Dropped;
            }
        };
        let probe = Probe::new(&self.world, &self.status, Act::Write, write, gone);
        match meet(&self.ring, probe, fate).await {
            None => {}
            Some(Ok((n, _))) if n == wanted => {
                claim.outcome = Outcome::Done;
                self.world.tally.count(self.status.scenario, Count::BytesSent, count(n));
                self.status.beat();
            }
            Some(Ok((n, _))) => {
                let what = format!("{n} of {wanted} bytes were written");
                self.world.fail(&self.status, what, Damage::Other);
            }
            Some(Err(error)) => self.complain("write", &error.error),
        }
    }

    async fn sync(&self, dice: &mut Dice, fate: Fate) {
        let sync =
            if dice.one_in(2) { self.ring.fsync(&self.fd) } else { self.ring.fdatasync(&self.fd) };
        let probe = Probe::new(&self.world, &self.status, Act::Sync, sync, |_| ());
        if let Some(Err(error)) = meet(&self.ring, probe, fate).await {
            self.complain("fsync", &error);
        }
    }

    /// Waits for the writes that were dropped, and reads everything once more.
    async fn settle(&self) {
        let mut unseen = true;
        let step = ALIGNED / BLOCK;
        while unseen && !self.world.failed() {
            for first in (0..BLOCKS).step_by(step) {
                let Some(buffer) = self.buffer() else { break };
                let at = count(first * BLOCK);
                let (version, outcome) = (None, Outcome::NotBegun);
                let (blocks, since) = (&self.blocks, Instant::now());
                let claim = Claim { blocks, first, len: step, version, since, outcome };
                lock(&self.blocks).iter_mut().skip(first).take(step).for_each(|b| b.readers += 1);
                match self.ring.read_at_owned(&self.fd, buffer.slice(..), at).await {
                    Ok((_, bytes)) => self.verify(&claim, &bytes),
                    Err(error) => self.complain("read", &error.error),
                }
            }
            unseen = lock(&self.blocks).iter().any(|block| block.coming.is_some());
            if unseen {
                nap(&self.ring, Duration::from_millis(1)).await;
            }
        }
        if let Err(error) = self.ring.fsync(&self.fd).await {
            self.complain("the last fsync", &error);
        }
    }
}

/// Some workers on one file.
pub(crate) struct Lane<M: Host> {
    region: Arc<Region<M>>,
}

impl<M: Host> Lane<M> {
    /// Makes and fills the file; an error also where the file system refuses direct I/O.
    pub(crate) fn new(
        ring: &RingOf<M>,
        world: &Arc<World>,
        data: &Data,
        direct: bool,
        number: u64,
    ) -> io::Result<Self> {
        let file: &File = match (&data.direct, direct) {
            (Ok(file), true) => file,
            (Err(refusal), true) => return Err(io::Error::other(refusal.clone())),
            (_, false) => &data.buffered,
        };
        let fd = file.as_fd().try_clone_to_owned()?;
        let scenario = if direct { Scenario::Direct } else { Scenario::Files };
        let region = Region {
            ring: ring.clone(),
            world: Arc::clone(world),
            status: world.lane(scenario, format!("{} {number}", scenario.name())),
            fd: Fd::new(fd),
            direct,
            number,
            blocks: Mutex::new(vec![Block::default(); BLOCKS]),
        };
        let mut contents = vec![0; BLOCKS * BLOCK];
        for (block, bytes) in contents.chunks_exact_mut(BLOCK).enumerate() {
            pattern::fill(bytes, region.stream(block, 0), 0);
        }
        std::os::unix::fs::FileExt::write_all_at(&*data.buffered, &contents, 0)?;
        data.buffered.sync_all()?;
        Ok(Self { region: Arc::new(region) })
    }

    pub(crate) async fn run(self) {
        let region = self.region;
        region.status.begin(format!("{BLOCKS} blocks, direct: {}", region.direct));
        let seed = mix(&[region.world.seed, region.number]);
        let workers = (0..WORKERS)
            .map(|worker| supervise(Child::Blocks(Arc::clone(&region)), mix(&[seed, worker])));
        join_all(workers).await;
        region.status.begin("waiting for dropped writes".to_owned());
        region.settle().await;
        region.status.finish();
    }
}
