//! Files that outlive a crash: a log that is appended to and synced, and a file that is replaced as a whole.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use safer_ring::sim::World;
use safer_ring::{Fd, Mode, OpenOptions, RenameMode, RingOf};

use crate::run::{Lane, Verdict, byte, bytes};
use crate::script::Act;

/// What the program has been told is safe.
#[derive(Debug, Default)]
pub(crate) struct Safe {
    /// The name of the log.
    named: Cell<bool>,
    /// Bytes of the log.
    bytes: Cell<usize>,
    /// The version of the other file, and the last one that was begun.
    version: Cell<u8>,
    begun: Cell<u8>,
}

/// Runs until an error: after one, nothing more is known to be safe.
pub(crate) async fn run<M: Mode>(lane: Lane<M>, acts: Vec<Act>, safe: Rc<Safe>) -> Verdict {
    // An error is no fault here; what is checked is what is left.
    let _ = write(&lane, acts, &safe).await;
    Ok(())
}

async fn write<M: Mode>(lane: &Lane<M>, acts: Vec<Act>, safe: &Safe) -> io::Result<()> {
    let ring = &lane.ring;
    let log = create(lane, &name("log", lane.number)).await?;
    ring.fsync(&log).await?;
    let dir = ring.open(directory(lane.number), &OpenOptions::new().read(true)).await?;
    ring.fsync(&dir).await?;
    safe.named.set(true);
    let mut end = 0;
    for act in acts {
        match act {
            Act::Pause { us } => ring.timeout(std::time::Duration::from_micros(us.into())).await?,
            Act::Write { len, .. } => {
                put(lane, &log, end, bytes(lane.number, end, len)).await?;
                end += len;
            }
            Act::Sync => {
                ring.fsync(&log).await?;
                safe.bytes.set(end);
            }
            Act::Replace => {
                let version = safe.begun.get() + 1;
                let new = create(lane, &name("new", lane.number)).await?;
                put(lane, &new, 0, vec![version; size(version)]).await?;
                ring.fsync(&new).await?;
                safe.begun.set(version);
                let (from, to) = (name("new", lane.number), name("now", lane.number));
                ring.rename(from, to, RenameMode::Replace).await?;
                ring.fsync(&dir).await?;
                safe.version.set(version);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A directory for each lane: a sync of one that fails has lost names for good, those of others too, who are not told.
pub(crate) async fn make_directories<M: Mode>(ring: &RingOf<M>, lanes: usize) -> io::Result<()> {
    for lane in 0..lanes {
        ring.mkdir(directory(lane), 0o755).await?;
    }
    ring.fsync(&ring.open("/", &OpenOptions::new().read(true)).await?).await
}

fn directory(lane: usize) -> String {
    format!("/journal{lane}")
}

fn name(what: &str, lane: usize) -> String {
    format!("{}/{what}", directory(lane))
}

fn size(version: u8) -> usize {
    usize::from(version) * 700
}

async fn create<M: Mode>(lane: &Lane<M>, path: &str) -> io::Result<Fd<M>> {
    let options = OpenOptions::new().write(true).create(true).truncate(true);
    lane.ring.open(path, &options).await
}

async fn put<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    mut at: usize,
    mut data: Vec<u8>,
) -> io::Result<()> {
    while !data.is_empty() {
        let offset = u64::try_from(at).unwrap_or(u64::MAX);
        let (count, back) = lane.ring.write_at_owned(fd, data, offset).await?;
        data = back.get(count..).unwrap_or_default().to_vec();
        at += count;
    }
    Ok(())
}

/// What a crash has left is what was safe, and nothing that nobody has written.
pub(crate) fn check(world: &World, lane: usize, safe: &Safe) -> Verdict {
    let wrong =
        |what: std::fmt::Arguments<'_>| Err(format!("lane {lane}, after the crash: {what}"));
    match world.read_file(name("log", lane)) {
        Err(error) if safe.named.get() => return wrong(format_args!("the log: {error}")),
        Err(_) => {}
        Ok(log) => {
            let bytes = safe.bytes.get();
            if log.len() < bytes {
                return wrong(format_args!("{} of {bytes} safe bytes are there", log.len()));
            }
            let odd = log.iter().enumerate().find(|(place, found)| {
                let unsafe_and_unwritten = *place >= bytes && **found == 0;
                **found != byte(lane, *place) && !unsafe_and_unwritten
            });
            if let Some((place, _)) = odd {
                return wrong(format_args!("byte {place} is another one ({bytes} are safe)"));
            }
            world.note(format_args!("{bytes} bytes are safe"));
        }
    }
    let (version, begun) = (safe.version.get(), safe.begun.get());
    match world.read_file(name("now", lane)) {
        Err(_) if version == 0 => Ok(()),
        Err(error) => wrong(format_args!("version {version}: {error}")),
        Ok(now) => {
            let found = now.first().copied().unwrap_or(0);
            let is_whole = now == vec![found; size(found)] && found > 0;
            if is_whole && (version..=begun).contains(&found) {
                Ok(())
            } else {
                wrong(format_args!("version {found}, {} bytes, and not {version}", now.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safer_ring::sim::Config;

    /// A log of 3000 bytes of which so many are synced, and a crash.
    fn crashed(seed: u64, synced: bool, told: usize) -> Verdict {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world.block_on(make_directories(&ring, 1)).unwrap().unwrap();
        let pool = safer_ring::BufferPool::new(1, 1);
        let lane = Lane { number: 0, world: world.clone(), ring, pool };
        let safe = Rc::new(Safe::default());
        let mut acts = vec![Act::Write { at: 0, len: 3000, fate: crate::script::Fate::Await }];
        acts.extend(synced.then_some(Act::Sync));
        world.block_on(run(lane, acts, Rc::clone(&safe))).unwrap().unwrap();
        safe.bytes.set(safe.bytes.get().max(told));
        world.crash();
        check(&world, 0, &safe)
    }

    #[test]
    fn a_record_that_is_acknowledged_before_its_sync_is_missed() {
        for seed in 0..20 {
            crashed(seed, true, 0).unwrap();
            crashed(seed, false, 0).unwrap();
        }
        assert!((0..20).any(|seed| crashed(seed, false, 3000).is_err()));
    }

    #[test]
    fn a_version_that_is_older_or_torn_is_found() {
        let world = World::new(Config::calm(1));
        let ring = world.ring().unwrap();
        world.block_on(make_directories(&ring, 1)).unwrap().unwrap();
        let pool = safer_ring::BufferPool::new(1, 1);
        let lane = Lane { number: 0, world: world.clone(), ring, pool };
        let safe = Rc::new(Safe::default());
        let acts = vec![Act::Replace, Act::Replace];
        world.block_on(run(lane, acts, Rc::clone(&safe))).unwrap().unwrap();
        world.crash();
        check(&world, 0, &safe).unwrap();
        safe.version.set(3);
        safe.begun.set(3);
        check(&world, 0, &safe).unwrap_err();
        safe.version.set(1);
        check(&world, 0, &safe).unwrap();
        safe.begun.set(1);
        check(&world, 0, &safe).unwrap_err();
    }
}
