//! What is left when the power of a simulated world goes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::ffi::OsStr;

use safer_ring::sim::{Calls, Config, Damage, Errno, Fault, World};
use safer_ring::{Fd, OpenOptions, RenameMode, Ring, Shared};

fn options() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

fn errno(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

async fn sync_dir(ring: &Ring, path: &str) {
    let dir = ring.open(path, &OpenOptions::new().read(true)).await.unwrap();
    ring.fsync(&dir).await.unwrap();
}

async fn put(ring: &Ring, path: &str, data: &[u8]) -> Fd<Shared> {
    let file = ring.open(path, &options()).await.unwrap();
    let (n, _) = ring.write_at_owned(&file, data.to_vec(), 0).await.unwrap();
    assert_eq!(n, data.len());
    file
}

#[test]
fn what_was_synced_is_there_and_the_rest_is_torn_by_sectors() {
    let (mut old, mut new, mut torn) = (0, 0, 0);
    for seed in 0..100 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let file = world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 2048]).await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                ring.write_at_owned(&file, vec![2; 2048], 0).await.unwrap();
                put(&ring, "/lost", b"nobody synced this name").await;
                file
            })
            .unwrap();
        world.crash();
        let error = world.block_on(ring.fsync(&file)).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "what was open is dead");
        drop(file);
        assert_eq!(world.descriptors(), 0);
        let left = world.read_file("/file").unwrap();
        assert_eq!(left.len(), 2048);
        for sector in left.chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "seed {seed}: inside a sector");
        }
        match left.chunks(512).filter(|sector| sector[0] == 2).count() {
            0 => old += 1,
            4 => new += 1,
            _ => torn += 1,
        }
        // The next start goes on with what there is.
        let again = world.block_on(put(&ring, "/file", b"x")).unwrap();
        drop(again);
        assert_eq!(world.read_file("/file").unwrap()[..2], [b'x', left[1]]);
    }
    assert!(old > 0 && new > 0 && torn > 50, "{old} old, {new} new, {torn} torn");
}

#[test]
fn a_rename_is_lost_or_whole_and_safe_with_its_directory() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..100 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let synced = seed % 2 == 0;
        world
            .block_on(async {
                let file = put(&ring, "/old", b"old").await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                let file = put(&ring, "/new", b"new!").await;
                ring.fsync(&file).await.unwrap();
                ring.rename("/new", "/old", RenameMode::Replace).await.unwrap();
                if synced {
                    sync_dir(&ring, "/").await;
                }
            })
            .unwrap();
        world.crash();
        let (left, names) = (world.read_file("/old").unwrap(), world.list("/").unwrap());
        match left.as_slice() {
            b"new!" => {
                assert_eq!(names, ["old", "tmp"], "seed {seed}");
                after += 1;
            }
            b"old" => {
                assert!(!synced && (names == ["old", "tmp"] || names == ["new", "old", "tmp"]));
                before += 1;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(before > 10 && after > 50, "{before} before, {after} after");
}

#[test]
fn a_sync_that_fails_has_lost_what_it_should_have_written() {
    let mut torn = 0;
    for seed in 0..100 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 2048]).await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                ring.write_at_owned(&file, vec![2; 2048], 0).await.unwrap();
                world.reconfigure(|config| config.errors = 1000);
                let failed = errno(ring.fsync(&file).await.unwrap_err());
                assert!([libc::EIO, libc::ENOSPC, libc::EDQUOT].contains(&failed), "{failed}");
                world.reconfigure(|config| config.errors = 0);
                // It is no use to try again.
                ring.fsync(&file).await.unwrap();
            })
            .unwrap();
        assert_eq!(world.read_file("/file").unwrap(), [2; 2048], "the cache has it");
        world.crash();
        let left = world.read_file("/file").unwrap();
        assert!(left.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
        torn += usize::from(left != [2; 2048]);
    }
    assert!(torn > 50, "{torn}");
}

#[test]
fn a_sync_of_a_directory_that_fails_has_lost_names() {
    let (mut all, mut some, mut none) = (0, 0, 0);
    for seed in 0..60 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let failed = world.inject(Fault::error(Calls::Sync, Errno::IO).path("/")).unwrap();
        world
            .block_on(async {
                for name in ["/a", "/b"] {
                    let file = put(&ring, name, b"there").await;
                    ring.fsync(&file).await.unwrap();
                }
                let dir = ring.open("/", &OpenOptions::new().read(true)).await.unwrap();
                assert_eq!(errno(ring.fsync(&dir).await.unwrap_err()), libc::EIO);
                // The next one is of what came later.
                put(&ring, "/c", b"").await;
                ring.fsync(&dir).await.unwrap();
            })
            .unwrap();
        assert_eq!(failed.hits(), 1);
        assert_eq!(world.list("/").unwrap(), ["a", "b", "c", "tmp"], "until the power goes");
        world.crash();
        match world.list("/").unwrap().join(OsStr::new(" ")).to_str() {
            Some("a b c tmp") => all += 1,
            Some("a c tmp") => some += 1,
            Some("c tmp") => none += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(all > 5 && some > 5 && none > 5, "{all}, {some}, {none}");
}

#[test]
fn a_synchronous_write_that_fails_has_lost_what_it_should_have_written() {
    let (mut seen, mut torn) = (0, 0);
    for seed in 0..60 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let failed = world.inject(Fault::error(Calls::Write, Errno::IO).nth(2)).unwrap();
        world
            .block_on(async {
                let log = ring
                    .open("/log", &options().custom_flags(libc::O_DSYNC.cast_unsigned()))
                    .await
                    .unwrap();
                sync_dir(&ring, "/").await;
                ring.write_at_owned(&log, vec![1; 1024], 0).await.unwrap();
                let error = ring.write_at_owned(&log, vec![2; 1024], 1024).await.unwrap_err().error;
                assert_eq!(errno(error), libc::EIO);
                ring.fsync(&log).await.unwrap();
            })
            .unwrap();
        assert_eq!(failed.hits(), 1);
        let now = world.read_file("/log").unwrap();
        assert_eq!(now, [[1; 1024], [2; 1024]].concat(), "written, and not on the disk");
        world.crash();
        let left = world.read_file("/log").unwrap();
        assert_eq!(left[..1024], [1; 1024], "seed {seed}: what was written before is safe");
        seen += usize::from(left.len() > 1024);
        torn += usize::from(left != now);
    }
    assert!(seen > 10 && torn > 10, "{seen} have some of it, {torn} lack some");
}

#[test]
fn a_write_that_fails_may_have_changed_sectors_of_the_file() {
    let (mut part, mut nothing) = (0, 0);
    for seed in 0..60 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world.inject(Fault::error(Calls::Write, Errno::IO).nth(2)).unwrap();
        world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 2000]).await;
                let error = ring.write_at_owned(&file, vec![2; 4000], 0).await.unwrap_err().error;
                assert_eq!(errno(error), libc::EIO);
            })
            .unwrap();
        let now = world.read_file("/file").unwrap();
        assert_eq!(now.len(), 2000, "it does not grow");
        for sector in now.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}: inside a sector");
        }
        if now == [1; 2000] { nothing += 1 } else { part += 1 }
    }
    assert!(part > 10 && nothing > 10, "{part} in part, {nothing} not at all");
}

#[test]
fn a_damaged_sector_is_an_error_until_it_is_written() {
    let world = World::new(Config::calm(1));
    let ring = world.ring().unwrap();
    let file = world.block_on(put(&ring, "/file", &[1; 2048])).unwrap();
    world.damage("/file", 700..701, Damage::Unreadable).unwrap();
    let read = |at, len| world.block_on(ring.read_at_owned(&file, vec![0; len], at)).unwrap();
    let write = |at, len| world.block_on(ring.write_at_owned(&file, vec![2; len], at)).unwrap();
    assert_eq!(read(0, 2048).unwrap().0, 512, "up to there");
    assert_eq!(errno(read(512, 9).unwrap_err().error), libc::EIO);
    assert_eq!(errno(read(1023, 9).unwrap_err().error), libc::EIO);
    assert_eq!(read(1024, 2048).unwrap().0, 1024, "behind it");
    assert_eq!(errno(world.read_file("/file").unwrap_err()), libc::EIO);
    assert_eq!(errno(write(600, 9).unwrap_err().error), libc::EIO, "it would have to be read");
    assert_eq!(write(512, 512).unwrap().0, 512);
    assert_eq!(world.read_file("/file").unwrap()[500..1030][11..14], [1, 2, 2]);
    // What is past the end, or nothing, cannot be damaged.
    for range in [0..2049, 5..5] {
        let refused = world.damage("/file", range, Damage::BitRot).unwrap_err();
        assert_eq!(errno(refused), libc::EINVAL);
    }
}

#[test]
fn bits_rot_on_the_disk_and_not_in_memory() {
    for seed in 0..20 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 1000]).await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                ring.write_at_owned(&file, vec![1; 100], 200).await.unwrap();
                world.damage("/file", 100..300, Damage::BitRot).unwrap();
                let read = ring.read_at_owned(&file, vec![0; 1000], 0).await.unwrap().1;
                for (at, byte) in read.iter().enumerate() {
                    let turned = (byte ^ 1).count_ones();
                    assert_eq!(turned, u32::from((100..200).contains(&at)), "byte {at}");
                }
            })
            .unwrap();
        world.crash();
        let left = world.read_file("/file").unwrap();
        assert!(left[100..200].iter().all(|byte| *byte != 1) && left[300..] == [1; 700]);
        // The write that was not synced has reached its sector and made it sound, or has not.
        assert!(left[200..300] == [1; 100] || left[200..300].iter().all(|byte| *byte != 1));
    }
}

#[test]
fn a_bad_sector_is_bad_again_if_its_write_has_not_reached_the_disk() {
    let (mut sound, mut bad) = (0, 0);
    for seed in 0..40 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 512]).await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                world.damage("/file", 0..1, Damage::Unreadable).unwrap();
                ring.write_at_owned(&file, vec![2; 512], 0).await.unwrap();
                assert_eq!(world.read_file("/file").unwrap(), [2; 512]);
            })
            .unwrap();
        world.crash();
        match world.read_file("/file") {
            Ok(left) => {
                assert_eq!(left, [2; 512]);
                sound += 1;
            }
            Err(_) => bad += 1,
        }
    }
    assert!(sound > 5 && bad > 5, "{sound} sound, {bad} bad");
}

#[test]
fn a_full_disk_takes_what_fits_and_no_more() {
    let world = World::new(Config { disk_bytes: 1000, ..Config::calm(1) });
    let ring = world.ring().unwrap();
    world
        .block_on(async {
            let file = ring.open("/file", &options()).await.unwrap();
            let (n, _) = ring.write_at_owned(&file, vec![1; 1500], 0).await.unwrap();
            assert_eq!(n, 1000);
            let full = ring.write_at_owned(&file, vec![1; 10], 1000).await.unwrap_err();
            assert_eq!(full.error.raw_os_error(), Some(libc::ENOSPC));
            ring.ftruncate(&file, 10).await.unwrap();
            assert_eq!(ring.write_at_owned(&file, vec![1; 10], 10).await.unwrap().0, 10);
        })
        .unwrap();
}

#[test]
fn operations_in_flight_end_when_the_power_goes() {
    for seed in 0..60 {
        let world = World::new(Config { slow_disk: 1000, ..Config::new(seed) });
        let ring = world.ring().unwrap();
        let other = world.clone();
        world
            .block_on(async {
                let file = ring.open("/file", &options()).await.unwrap();
                let writer = ring.clone();
                let task = world.spawn(async move {
                    let written = writer.write_at_owned(&file, vec![3; 4000], 0).await;
                    written.map(|(n, _)| n).map_err(|failed| (failed.error, failed.buffer))
                });
                ring.timeout(std::time::Duration::from_millis(20)).await.unwrap();
                other.crash();
                if let Err((error, buffer)) = task.await {
                    assert_eq!(error.raw_os_error(), Some(libc::EIO), "seed {seed}");
                    assert_eq!(buffer, [3; 4000]);
                }
            })
            .unwrap();
        assert_eq!((world.descriptors(), world.operations().len()), (0, 0));
    }
}
