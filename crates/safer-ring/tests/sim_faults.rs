//! What goes wrong in a simulated world: drawn from the seed, and asked for by name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use safer_ring::fs::File;
use safer_ring::net::{TcpListener, TcpStream, UnixStream};
use safer_ring::pipe;
use safer_ring::sim::{Calls, Config, Errno, Fault, Stuck, World};
use safer_ring::{Ended, OpenOptions, PipeOptions, RenameMode, Ring};

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

fn options() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

/// Two ends of a connection.
async fn connection(ring: &Ring) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(ring, "localhost:0").await.unwrap();
    let client = TcpStream::connect(ring, listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[test]
fn what_is_put_off_is_polled_for_and_tried_again() {
    let mut requeued = 0;
    for seed in 0..30 {
        let world = World::new(Config { not_now: 500, ..Config::calm(seed) });
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (client, server) = connection(&ring).await;
                let (reader, writer) = pipe::pipe(&ring).await.unwrap();
                let (one, other) = UnixStream::pair(&ring).unwrap();
                for n in 0..20u8 {
                    client.write_all(vec![n; 3]).await.unwrap();
                    assert_eq!(server.read_exact(vec![0; 3]).await.unwrap(), [n; 3]);
                    writer.write_all(vec![n; 3]).await.unwrap();
                    assert_eq!(reader.read_exact(vec![0; 3]).await.unwrap(), [n; 3]);
                    one.write_all(vec![n; 3]).await.unwrap();
                    assert_eq!(other.read_exact(vec![0; 3]).await.unwrap(), [n; 3]);
                }
                // It waits for the descriptor, not for the next try: nothing is there.
                let none = server.read(vec![0; 3]).timeout(Duration::from_secs(1)).await;
                assert_eq!(none.unwrap_err().error.kind(), io::ErrorKind::TimedOut);
            })
            .unwrap();
        requeued += ring.snapshot().requeued;
        let told = |what: &str| world.trace().iter().filter(|line| line.contains(what)).count();
        let (put_off, polls) = (told("suffers resource temporarily"), told("poll first"));
        assert!(put_off > 20 && polls >= put_off, "seed {seed}: {put_off}, {polls} polls");
        assert_eq!((world.findings(), world.operations().len()), (vec![], 0));
    }
    assert!(requeued > 30 * 40, "{requeued}");
}

#[test]
fn a_disk_puts_nothing_off() {
    let world = World::new(Config { not_now: 500, ..Config::calm(1) });
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let file = ring.open("/file", &options()).await.unwrap();
            for _ in 0..20 {
                ring.write_owned(&file, b"there".to_vec()).await.unwrap();
                ring.read_owned(&file, vec![0; 5]).await.unwrap();
            }
        })
        .unwrap();
    assert!(!world.trace().iter().any(|line| line.contains("suffers")), "{:?}", world.trace());
}

/// What both ends of a connection are told, one after the other, once it has broken.
async fn told(ring: &Ring, end: &TcpStream) -> Vec<i32> {
    let mut told = Vec::new();
    loop {
        match ring.recv(end.fd(), vec![0; 64]).await {
            Ok((0, _)) => break,
            Ok((count, _)) => told.push(-i32::try_from(count).unwrap()),
            Err(failed) => told.push(errno(&failed.error)),
        }
    }
    let failed = ring.send(end.fd(), vec![1]).await.unwrap_err();
    told.push(errno(&failed.error));
    told
}

#[test]
fn a_connection_that_breaks_is_over_for_both_ends() {
    let (mut resets, mut silent, mut pieces) = (0, 0, 0);
    for seed in 0..120 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (client, server) = connection(&ring).await;
                client.write_all(vec![7; 40]).await.unwrap();
                world.reconfigure(|config| config.breaks = 1000);
                let sends = seed % 2 == 0;
                let failed = if sends {
                    ring.send(client.fd(), vec![1; 9]).await.unwrap_err().error
                } else {
                    ring.recv(client.fd(), vec![1; 9]).await.unwrap_err().error
                };
                world.reconfigure(|config| config.breaks = 0);
                // Once, and then it has ended.
                assert_eq!(told(&ring, &client).await, [libc::EPIPE], "seed {seed}");
                let other = told(&ring, &server).await;
                let (lost, heard) = match errno(&failed) {
                    libc::ETIMEDOUT | libc::EHOSTUNREACH => (&mut silent, libc::ETIMEDOUT),
                    libc::ECONNRESET | libc::EPIPE => (&mut resets, libc::ECONNRESET),
                    other => panic!("{other}"),
                };
                *lost += 1;
                let (came, rest) = other.split_at(other.len() - 2);
                assert_eq!(rest, [heard, libc::EPIPE], "seed {seed}");
                pieces += i32::from(came.iter().any(|count| *count != -40));
                let shut = ring.shutdown(client.fd(), safer_ring::Shutdown::Write).await;
                assert_eq!(errno(&shut.unwrap_err()), libc::ENOTCONN);
            })
            .unwrap();
    }
    assert!(resets > 20 && silent > 20 && pieces > 20, "{resets}, {silent}, {pieces}");
}

#[test]
fn a_connection_is_reset_when_a_test_says_so() {
    for seed in 0..20 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (client, server) = connection(&ring).await;
                let waits = world.spawn({
                    let (ring, fd) = (ring.clone(), server.fd().clone());
                    async move { ring.recv(&fd, vec![0; 9]).await }
                });
                ring.timeout(Duration::from_secs(1)).await.unwrap();
                world.reset(&client).unwrap();
                let failed = waits.await.unwrap_err();
                assert_eq!(errno(&failed.error), libc::ECONNRESET);
                assert_eq!(told(&ring, &client).await, [libc::ECONNRESET, libc::EPIPE]);
                assert_eq!(errno(&world.reset(&server).unwrap_err()), libc::ENOTCONN);
            })
            .unwrap();
        let other = World::new(Config::calm(seed));
        let file = world.block_on(File::create(&ring, "/file")).unwrap().unwrap();
        assert_eq!(errno(&world.reset(&file).unwrap_err()), libc::ENOTSOCK);
        assert_eq!(errno(&other.reset(&file).unwrap_err()), libc::EBADF);
        let own = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(errno(&world.reset(&own).unwrap_err()), libc::EBADF);
    }
}

#[test]
fn errors_of_a_descriptor_are_those_of_what_it_leads_to() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (client, _server) = connection(&ring).await;
                let (_reader, writer) = pipe::pipe(&ring).await.unwrap();
                let file = File::create(&ring, "/file").await.unwrap();
                world.reconfigure(|config| config.errors = 1000);
                let disk = ring.write_owned(file.fd(), vec![1]).await.unwrap_err().error;
                let pipe = ring.write_owned(writer.fd(), vec![1]).await.unwrap_err().error;
                let stream = ring.write_owned(client.fd(), vec![1]).await.unwrap_err().error;
                let made = ring.open("/new", &options()).await.unwrap_err();
                let closed = file.close().await.unwrap_err().error;
                for (what, error) in
                    [("disk", disk), ("pipe", pipe), ("stream", stream), ("open", made)]
                {
                    seen.insert((what, errno(&error)));
                }
                seen.insert(("close", closed.raw_os_error().unwrap()));
            })
            .unwrap();
        // A close that has failed has closed, once.
        assert_eq!((world.descriptors(), world.findings()), (0, vec![]), "seed {seed}");
    }
    let of = |what: &str| {
        let mine = seen.iter().filter(|(of, _)| *of == what);
        mine.map(|(_, errno)| *errno).collect::<Vec<_>>()
    };
    assert_eq!(of("disk"), [libc::EIO, libc::ENOSPC, libc::EDQUOT]);
    assert_eq!(of("close"), [libc::EIO, libc::ENOSPC, libc::EDQUOT]);
    assert_eq!(of("pipe"), [libc::ENOMEM]);
    assert_eq!(of("stream"), [libc::ENOMEM, libc::ENOBUFS]);
    assert!(of("open").contains(&libc::EACCES) && of("open").contains(&libc::ENOSPC));
}

#[test]
fn the_nth_operation_on_a_path_fails_and_no_other() {
    for seed in 0..30 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        let sync = Fault::error(Calls::Sync, Errno::IO).path("/log").nth(2).times(2);
        let sync = world.inject(sync).unwrap();
        let rename = Fault::error(Calls::Rename, Errno::NOSPC).path("/new");
        let rename = world.inject(rename).unwrap();
        let open =
            world.inject(Fault::error(Calls::Open, Errno::MFILE).path("/tmp/../log")).unwrap();
        let never = world.inject(Fault::error(Calls::Any, Errno::IO).path("/no")).unwrap();
        world
            .block_on(async {
                let failed = ring.open("log", &options()).await.unwrap_err();
                assert_eq!(errno(&failed), libc::EMFILE);
                let log = ring.open("/log", &options()).await.unwrap();
                let other = ring.open("/other", &options()).await.unwrap();
                let mut ends = Vec::new();
                for _ in 0..5 {
                    ring.fsync(&other).await.unwrap();
                    ends.push(ring.fsync(&log).await.map_err(|error| errno(&error)));
                }
                let io = Err(libc::EIO);
                assert_eq!(ends, [Ok(()), io, io, Ok(()), Ok(())], "seed {seed}");
                let replace = RenameMode::Replace;
                ring.rename("/other", "/older", replace).await.unwrap();
                let failed = ring.rename("/log", "/new", replace).await.unwrap_err();
                assert_eq!(errno(&failed), libc::ENOSPC);
                ring.rename("/log", "/new", replace).await.unwrap();
            })
            .unwrap();
        assert_eq!((sync.seen(), sync.hits()), (5, 2), "seed {seed}");
        assert_eq!((rename.seen(), rename.hits(), open.hits(), never.seen()), (2, 1, 1, 0));
    }
}

#[test]
fn a_fault_of_a_descriptor_is_of_what_it_leads_to() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let (client, server) = connection(&ring).await;
            let fault = Fault::error(Calls::Write, Errno::CONNRESET).on(&client).times(u64::MAX);
            let fault = world.inject(fault).unwrap();
            server.write_all("well").await.unwrap();
            let second = client.fd().try_clone().unwrap();
            let failed = ring.send(&second, vec![1]).await.unwrap_err();
            assert_eq!(errno(&failed.error), libc::ECONNRESET);
            let heard = ring.recv(server.fd(), vec![0; 9]).await.unwrap_err();
            assert_eq!(errno(&heard.error), libc::ECONNRESET, "the peer is told too");
            fault.release();
            let failed = ring.send(&second, vec![1]).await.unwrap_err();
            assert_eq!((errno(&failed.error), fault.seen()), (libc::EPIPE, 1));
            let own = std::fs::File::open("/dev/null").unwrap();
            let refused = world.inject(Fault::hold(Calls::Any).on(&own)).unwrap_err();
            assert_eq!(errno(&refused), libc::EBADF);
            world.inject(Fault::error(Calls::Any, Errno::IO).on(&client)).unwrap();
            world.crash();
            // The first socket of the new time has nothing to do with the first of the old one.
            let (client, _server) = connection(&ring).await;
            client.write_all("well").await.unwrap();
        })
        .unwrap();
}

#[test]
fn an_operation_is_held_until_it_is_released() {
    for seed in 0..20 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let held = world.inject(Fault::hold(Calls::Write).path("/file").nth(2)).unwrap();
        world
            .block_on(async {
                let file = ring.open("/file", &options()).await.unwrap();
                ring.write_at_owned(&file, b"one".to_vec(), 0).await.unwrap();
                let task = world.spawn({
                    let (ring, file) = (ring.clone(), file.clone());
                    async move { ring.write_at_owned(&file, b"two".to_vec(), 0).await.unwrap().0 }
                });
                ring.timeout(Duration::from_secs(3600)).await.unwrap();
                assert!(!task.is_finished() && held.hits() == 1);
                assert!(world.operations()[0].contains("is held"), "{:?}", world.operations());
                ring.write_at_owned(&file, b"three".to_vec(), 0).await.unwrap();
                assert_eq!(world.read_file("/file").unwrap(), b"three");
                held.release();
                assert_eq!(task.await, 3);
                assert_eq!(world.read_file("/file").unwrap(), b"twoee");
                // What nobody releases can be cancelled.
                world.inject(Fault::hold(Calls::Sync)).unwrap();
                let ended = ring.fsync(&file).cancel().await;
                assert!(matches!(ended, Ended::Cancelled(())), "{ended:?}");
            })
            .unwrap();
        // Nor does time help.
        world.inject(Fault::hold(Calls::Open)).unwrap();
        let stuck = world.block_on(ring.open("/file", &options())).unwrap_err();
        let Stuck::Deadlock { operations } = stuck else { panic!("{stuck}") };
        assert!(operations[0].contains("open") && operations[0].contains("is held"));
    }
}

/// Appends records of 600 bytes, each synced.
async fn append(ring: Ring, acknowledged: Rc<Cell<usize>>) -> io::Result<()> {
    let log = File::create(&ring, "/log").await?;
    ring.fsync(&ring.open("/", &OpenOptions::new().read(true)).await?).await?;
    for number in 1..10u8 {
        log.write_all(vec![number; 600]).await.map_err(|failed| failed.error)?;
        log.sync_data().await?;
        acknowledged.set(number.into());
    }
    Ok(())
}

#[test]
fn the_power_goes_with_the_nth_operation_and_the_program_with_it() {
    let (mut torn, mut whole) = (0, 0);
    for seed in 0..60 {
        for after in [false, true] {
            let world = World::new(Config::calm(seed));
            let ring = world.ring().unwrap();
            let fault = if after { Fault::crash_after } else { Fault::crash };
            let third = world.inject(fault(Calls::Write).path("/log").nth(3)).unwrap();
            let acknowledged = Rc::new(Cell::new(0));
            let ran = world.block_on(append(ring.clone(), Rc::clone(&acknowledged)));
            assert_eq!(ran.map(|ended| ended.is_ok()), Err(Stuck::Crashed));
            assert_eq!((third.hits(), acknowledged.get()), (1, 2));
            let left = world.read_file("/log").unwrap();
            assert!(left.len() <= 1800 && left[..600] == [1; 600] && left[600..1200] == [2; 600]);
            match left.len() {
                1800 if left[1200..] == [3; 600] => whole += 1,
                _ => torn += 1,
            }
            // The next program runs, and whatever was open is closed.
            world.block_on(ring.open("/log", &options())).unwrap().unwrap();
            assert_eq!((world.descriptors(), world.operations().len()), (0, 0));
        }
    }
    assert!(torn > 20 && whole > 20, "{torn} torn, {whole} whole");
}

#[test]
fn nothing_is_done_between_the_crash_and_the_end_of_the_program() {
    let mut went_on = false;
    for seed in 0..40 {
        let calm = seed % 2 == 0;
        let world = World::new(if calm { Config::calm(seed) } else { Config::new(seed) });
        let ring = world.ring().unwrap();
        world.inject(Fault::crash_after(Calls::Sync)).unwrap();
        let ran = world.run_steps(u64::MAX, async {
            let file = ring.open("/file", &options()).await.unwrap();
            // Where the kernel answers at once, the program goes on before anybody can stop it.
            went_on |= ring.fsync(&file).await.is_ok();
            drop(ring.open("/later", &options()).await);
        });
        assert_eq!(ran, Ok(None));
        assert!(!world.list("/").unwrap().iter().any(|name| name == "later"), "seed {seed}");
    }
    assert!(went_on);
}

#[test]
fn a_slow_disk_is_slow_for_files_and_names_and_for_nothing_else() {
    let slow = Config { slow_disk: 1000, slowest_disk: Duration::from_secs(9), ..Config::calm(3) };
    let world = World::new(slow);
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let (reader, writer) = ring.pipe(PipeOptions::default()).await.unwrap();
            let (client, server) = connection(&ring).await;
            for _ in 0..20 {
                ring.write_owned(&writer, b"there".to_vec()).await.unwrap();
                assert_eq!(ring.read_owned(&reader, vec![0; 5]).await.unwrap().1, b"there");
                ring.write_owned(client.fd(), b"there".to_vec()).await.unwrap();
                assert_eq!(ring.read_owned(server.fd(), vec![0; 5]).await.unwrap().1, b"there");
            }
            assert_eq!(world.now(), Duration::ZERO);
            let mut before = Duration::ZERO;
            let slower = |before: &mut Duration, what: &str| {
                assert!(world.now() > *before, "{what} takes its time");
                *before = world.now();
            };
            let file = ring.open("/file", &options()).await.unwrap();
            slower(&mut before, "open");
            ring.ftruncate(&file, 100).await.unwrap();
            slower(&mut before, "ftruncate");
            ring.statx("/file").await.unwrap();
            slower(&mut before, "statx");
            ring.rename("/file", "/other", RenameMode::Replace).await.unwrap();
            slower(&mut before, "rename");
            ring.mkdir("/dir", 0o700).await.unwrap();
            slower(&mut before, "mkdir");
            ring.read_at_owned(&file, vec![0; 5], 0).await.unwrap();
            slower(&mut before, "read");
        })
        .unwrap();
}

#[test]
fn a_task_that_is_aborted_is_dropped_where_it_is() {
    for seed in 0..40 {
        let world = World::new(Config::new(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let (client, server) = connection(&ring).await;
                let reads = world.spawn({
                    let server = server.fd().clone();
                    let ring = ring.clone();
                    async move { ring.recv(&server, vec![0; 9]).await.map(|(count, _)| count) }
                });
                ring.timeout(Duration::from_millis(world.random(3))).await.unwrap();
                assert!(!reads.is_finished());
                reads.abort();
                // What the dropped receive takes in goes to the next.
                client.write_all("kept").await.unwrap();
                assert_eq!(server.read_exact(vec![0; 4]).await.unwrap(), b"kept");
                client.shutdown(Shutdown::Write).await.unwrap();
                let quick = world.spawn(async { 7 });
                while !quick.is_finished() {
                    ring.timeout(Duration::from_millis(1)).await.unwrap();
                }
                assert_eq!(quick.await, 7);
            })
            .unwrap();
        drop(ring);
        assert_eq!((world.descriptors(), world.findings()), (0, vec![]), "seed {seed}");
    }
}

#[test]
fn a_task_that_aborts_itself_or_outlives_its_run_is_dropped() {
    struct Guard(Rc<Cell<u32>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let dropped = Rc::new(Cell::new(0));
    let own = Rc::new(Cell::new(None::<safer_ring::sim::JoinHandle<()>>));
    let (mine, guard, timer) = (Rc::clone(&own), Guard(Rc::clone(&dropped)), ring.clone());
    own.set(Some(world.spawn(async move {
        let _guard = guard;
        mine.take().unwrap().abort();
        timer.timeout(Duration::from_secs(1)).await.unwrap();
        unreachable!("aborted");
    })));
    let (guard, timer) = (Guard(Rc::clone(&dropped)), ring.clone());
    let long = world.spawn(async move {
        let _guard = guard;
        timer.timeout(Duration::from_secs(3600)).await.unwrap();
    });
    world.block_on(ring.timeout(Duration::from_secs(9))).unwrap().unwrap();
    assert_eq!((dropped.get(), long.is_finished()), (2, true), "with its handle still there");
}
