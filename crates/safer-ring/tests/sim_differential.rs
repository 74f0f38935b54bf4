//! The calm simulation and the kernel of this machine give the same results for the same calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use safer_ring::sim::{Config, World};
use safer_ring::{
    Address, FallocateMode, Fd, Interest, Mode, OpError, OpenHow, OpenOptions, PipeOptions,
    RenameMode, Ring, RingOf, Shutdown, SocketKind,
};

/// The choices of a script, the same for both kernels.
struct Dice(World);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(World::new(Config::calm(seed)))
    }

    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.0.random(limit.try_into().unwrap())).unwrap()
    }

    fn name(&self, root: &str) -> String {
        let all = ["a", "b", "dir", "dir/a", "dir/b", "a/x", "link", "dir/..", "missing/a", "b/"];
        format!("{root}/{}", all[self.below(all.len())])
    }
}

/// A result in words: its value, or the number of its error.
fn told<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("errno {errno}"),
            None => format!("{:?}", error.kind()),
        },
    }
}

fn count<B>(result: Result<(usize, B), OpError<B>>) -> io::Result<usize> {
    result.map(|(count, _)| count).map_err(|failed| failed.error)
}

fn data(result: Result<(usize, Vec<u8>), OpError<Vec<u8>>>) -> io::Result<Vec<u8>> {
    result.map(|(count, buffer)| buffer[..count].to_vec()).map_err(|failed| failed.error)
}

fn u(n: usize) -> u64 {
    n.try_into().unwrap()
}

/// Calls on names and files.
async fn files<M: Mode>(ring: RingOf<M>, root: String, dice: Dice) -> Vec<String> {
    let (mut log, mut open): (Vec<String>, Vec<Fd<M>>) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        let name = dice.name(&root);
        let which = dice.below(11);
        let line = match which {
            0 => told(ring.mkdir(&name, 0o755).await),
            1 => told(ring.unlink(&name).await),
            2 => told(ring.rmdir(&name).await),
            3 => {
                let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
                let mode = modes[dice.below(3)];
                told(ring.rename(&name, dice.name(&root), mode).await)
            }
            4 => told(ring.link(&name, dice.name(&root)).await),
            5 => told(ring.symlink(["a", "dir", "link", "none"][dice.below(4)], &name).await),
            6 => {
                let look = |stat: safer_ring::Metadata| {
                    let size = if stat.is_dir() { 0 } else { stat.len() };
                    let names = if stat.is_dir() { 0 } else { stat.nlink() };
                    (size, names, stat.is_dir(), stat.is_symlink())
                };
                let link = told(ring.statx_link(&name).await.map(look));
                format!("{} {link}", told(ring.statx(&name).await.map(look)))
            }
            _ => {
                let options = OpenOptions::new().read(dice.below(4) > 0);
                let options = match dice.below(4) {
                    0 => options.append(true).create(true),
                    1 => options.write(true).create_new(true),
                    2 => options.write(true).create(true).truncate(dice.below(2) > 0),
                    _ => options,
                };
                let file = ring.open(&name, &options).await;
                let file = file.map(|fd| open.push(fd));
                told(file)
            }
        };
        log.push(format!("{which} {} {line}", name.strip_prefix(&root).unwrap()));
        if let Some(fd) = open.get(dice.below(open.len().max(1))) {
            log.push(on_file(&ring, fd, &dice).await);
        }
    }
    log
}

/// A call on an open file.
async fn on_file<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, dice: &Dice) -> String {
    let (at, len) = (u(dice.below(3000)), dice.below(2000));
    let bytes = vec![u8::try_from(dice.below(256)).unwrap(); len];
    match dice.below(9) {
        0 => told(count(ring.write_at_owned(fd, bytes, at).await)),
        1 => told(data(ring.read_at_owned(fd, vec![0; len], at).await)),
        2 => told(count(ring.write_owned(fd, bytes).await)),
        3 => told(data(ring.read_owned(fd, vec![0; len]).await)),
        4 => told(ring.ftruncate(fd, at).await),
        5 => {
            // Not every file system can make a range of zeroes in one step.
            let modes =
                [FallocateMode::Allocate, FallocateMode::KeepSize, FallocateMode::PunchHole];
            told(ring.fallocate(fd, modes[dice.below(3)], at, u(len)).await)
        }
        6 => told(ring.fsync(fd).await),
        7 => told(count(ring.write_vectored_at(fd, vec![bytes, vec![1, 2, 3]], at).await)),
        _ => told(ring.statx_fd(fd).await.map(|stat| if stat.is_dir() { 0 } else { stat.len() })),
    }
}

/// Calls on pipes; a read only where something is to be had.
async fn pipes<M: Mode>(ring: RingOf<M>, _: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for _ in 0..8 {
        let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
        let (other, target) = ring.pipe(PipeOptions::default()).await.unwrap();
        let (mut there, mut copied) = (0, 0);
        for _ in 0..12 {
            let len = 1 + dice.below(3000);
            match dice.below(6) {
                0 | 1 if there + len < 60_000 => {
                    let sent = count(ring.write_owned(&writer, vec![7; len]).await);
                    there += *sent.as_ref().unwrap();
                    log.push(told(sent));
                }
                2 if there > 0 => {
                    let got = data(ring.read_owned(&reader, vec![0; len]).await).unwrap();
                    there -= got.len();
                    log.push(format!("{got:?}"));
                }
                3 if there > 0 && copied == 0 => {
                    let len = u32::try_from(len).unwrap();
                    let teed = ring.tee(&reader, &target, len).await.unwrap();
                    copied = teed;
                    log.push(format!("tee {teed}"));
                }
                4 if copied > 0 => {
                    let got = data(ring.read_owned(&other, vec![0; len]).await).unwrap();
                    copied -= got.len();
                    log.push(format!("{}", got.len()));
                }
                _ => {
                    let events = told(ring.poll(&writer, Interest::WRITABLE).await);
                    log.push(events);
                }
            }
        }
        log.push(told(count(ring.write_owned(&reader, vec![1]).await)));
        log.push(told(data(ring.read_owned(&writer, vec![1]).await)));
        if dice.below(2) == 0 {
            drop(writer);
            for _ in 0..40 {
                log.push(told(data(ring.read_owned(&reader, vec![0; 2000]).await)));
            }
            log.push(told(ring.poll(&reader, Interest::READABLE).await));
        } else {
            drop(reader);
            log.push(told(count(ring.write_owned(&writer, vec![1]).await)));
        }
    }
    log
}

/// Calls on Unix streams.
async fn sockets<M: Mode>(ring: RingOf<M>, root: String, dice: Dice) -> Vec<String> {
    let mut log = Vec::new();
    for n in 0..8 {
        let at = Address::unix(format!("{root}/s{n}")).unwrap();
        let server = ring.socket(&at, SocketKind::Stream).await.unwrap();
        let client = ring.socket(&at, SocketKind::Stream).await.unwrap();
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.listen(&server, 4).await));
        log.push(told(ring.bind(&server, at.clone()).await));
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.listen(&server, 4).await));
        log.push(told(count(ring.send(&client, vec![1]).await)));
        log.push(told(ring.connect(&client, at.clone()).await));
        log.push(told(ring.connect(&client, at.clone()).await));
        let (peer, _) = ring.accept(&server).await.unwrap();
        let mut there = 0;
        for _ in 0..10 {
            let len = 1 + dice.below(2000);
            if dice.below(2) == 0 {
                let sent = count(ring.send(&client, vec![9; len]).await).unwrap();
                there += sent;
                log.push(format!("sent {sent}"));
            } else if there > 0 {
                let got = data(ring.recv(&peer, vec![0; len]).await).unwrap();
                there -= got.len();
                log.push(format!("{}", got.len()));
            }
        }
        match dice.below(3) {
            0 => {
                log.push(told(ring.shutdown(&client, Shutdown::Write).await));
                log.push(told(count(ring.send(&client, vec![1]).await)));
                for _ in 0..30 {
                    log.push(told(data(ring.recv(&peer, vec![0; 900]).await)));
                }
            }
            1 => {
                drop(peer);
                log.push(told(data(ring.recv(&client, vec![0; 9]).await)));
                log.push(told(data(ring.recv(&client, vec![0; 9]).await)));
                log.push(told(count(ring.send(&client, vec![1]).await)));
            }
            _ => {
                drop(client);
                for _ in 0..30 {
                    log.push(told(data(ring.recv(&peer, vec![0; 900]).await)));
                }
                log.push(told(count(ring.send(&peer, vec![1]).await)));
            }
        }
    }
    log
}

/// Calls at the edges, found to differ by the conformance suite.
async fn edges<M: Mode>(ring: RingOf<M>, root: String, _: Dice) -> Vec<String> {
    let mut log = Vec::new();
    let options = OpenOptions::new().read(true).write(true).create(true);
    let file = ring.open(format!("{root}/file"), &options).await.unwrap();
    log.push(told(data(ring.read_at_owned(&file, vec![0; 4], 1 << 63).await)));
    log.push(told(data(ring.read_at_owned(&file, Vec::new(), 1 << 63).await)));
    for resolve in [1 << 40, 0x08] {
        let how = OpenHow { resolve, ..OpenHow::default() };
        let opened = ring.openat2(Some(&file), format!("{root}/file"), how).await;
        log.push(told(opened.map(drop)));
    }
    let at = Address::unix(format!("{root}/socket")).unwrap();
    let four = Address::from(SocketAddr::from(([127, 0, 0, 1], 9)));
    let six = Address::from("[::1]:9".parse::<SocketAddr>().unwrap());
    for (like, to) in [(&four, &six), (&four, &at), (&at, &four)] {
        for kind in [SocketKind::Stream, SocketKind::Datagram] {
            let socket = ring.socket(like, kind).await.unwrap();
            log.push(told(ring.connect(&socket, to.clone()).await));
        }
    }
    let server = ring.socket(&at, SocketKind::Stream).await.unwrap();
    ring.bind(&server, at.clone()).await.unwrap();
    ring.listen(&server, 4).await.unwrap();
    let client = ring.socket(&at, SocketKind::Stream).await.unwrap();
    ring.connect(&client, at).await.unwrap();
    let (peer, _) = ring.accept(&server).await.unwrap();
    log.push(told(count(ring.write_at_owned(&client, vec![1; 4], 7).await)));
    log.push(told(count(ring.write_at_owned(&client, vec![1; 4], 0).await)));
    log.push(told(data(ring.read_at_owned(&peer, vec![0; 4], 7).await)));
    // Closed with bytes that nobody has read: both directions end, and a send tells of the end, a receive of the reset.
    ring.close(peer).await.unwrap();
    let hung_up = ring.poll(&client, Interest::PRIORITY).await.map(Interest::from_bits);
    log.push(told(hung_up.map(|seen| seen.contains(Interest::HANG_UP))));
    log.push(told(count(ring.send(&client, vec![1]).await)));
    log.push(told(data(ring.recv(&client, vec![0; 4]).await)));
    log.push(told(data(ring.recv(&client, vec![0; 4]).await)));
    log
}

fn compare<R, S>(
    real: impl Fn(Ring, String, Dice) -> R,
    simulated: impl Fn(Ring, String, Dice) -> S,
    seeds: u64,
) where
    R: Future<Output = Vec<String>>,
    S: Future<Output = Vec<String>>,
{
    let mut differences = Vec::new();
    for seed in 0..seeds {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        let ring = Ring::new(8).unwrap();
        let expected = pollster::block_on(real(ring, root, Dice::new(seed)));
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let found = world.block_on(simulated(ring, "/tmp".to_owned(), Dice::new(seed))).unwrap();
        let mut steps = expected.iter().zip(&found).enumerate();
        if let Some((step, (one, other))) = steps.find(|(_, (one, other))| one != other) {
            let before = &expected[step.saturating_sub(3)..step];
            differences.push(format!(
                "seed {seed}, step {step}: the kernel {one}, the simulation {other}, after {before:?}"
            ));
        } else {
            assert_eq!(expected.len(), found.len());
        }
        assert_eq!(world.descriptors(), 0);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn files_and_names_are_as_on_the_kernel() {
    compare(files, files, 40);
}

#[test]
fn pipes_are_as_on_the_kernel() {
    compare(pipes, pipes, 20);
}

#[test]
fn edges_are_as_on_the_kernel() {
    compare(edges, edges, 2);
}

#[test]
fn sockets_are_as_on_the_kernel() {
    compare(sockets, sockets, 20);
}
