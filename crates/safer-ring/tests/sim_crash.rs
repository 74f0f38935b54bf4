//! What is left when the power of a simulated world goes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use safer_ring::sim::{Config, World};
use safer_ring::{Fd, OpenOptions, RenameMode, Ring, Shared};

fn options() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
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
    let mut lost = 0;
    for seed in 0..100 {
        let world = World::new(Config::calm(seed));
        let ring = world.ring().unwrap();
        let failed = world
            .block_on(async {
                let file = put(&ring, "/file", &[1; 512]).await;
                ring.fsync(&file).await.unwrap();
                sync_dir(&ring, "/").await;
                ring.write_at_owned(&file, vec![2; 512], 0).await.unwrap();
                world.reconfigure(|config| config.errors = 1000);
                let failed = ring.fsync(&file).await;
                world.reconfigure(|config| config.errors = 0);
                // It is no use to try again.
                ring.fsync(&file).await.unwrap();
                failed.unwrap_err()
            })
            .unwrap();
        assert_eq!(world.read_file("/file").unwrap(), [2; 512], "the cache has it");
        world.crash();
        let left = world.read_file("/file").unwrap();
        if failed.raw_os_error() == Some(libc::EIO) {
            assert_eq!(left, [1; 512]);
            lost += 1;
        } else {
            assert_eq!((failed.raw_os_error(), left), (Some(libc::ENOSPC), vec![2; 512]));
        }
    }
    assert!(lost > 20, "{lost}");
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
