//! Memory that is registered with a ring, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::{Exec, content, direct_file, everywhere, file_with, of_the_kernel, pattern};
use common::{with_built, with_ring, within_deadline};
use safer_ring::{
    BackendChoice, BackendKind, BufferPool, Fd, IoBuf as _, Mode, RegisterError, Ring, RingOf,
};

everywhere!(
    reads_and_writes_name_registered_memory,
    direct_reads_name_registered_memory,
    what_is_unregistered_is_read_as_before,
    only_positional_transfers_name_it,
    pools_that_are_gone_make_room_for_others,
    more_pools_than_there_is_room_for_are_refused,
    a_dropped_read_gives_its_registered_buffer_back,
    a_pool_outlives_its_handle_in_the_ring,
    other_pools_and_rings_are_refused_with_a_reason,
    batches_and_chains_name_registered_memory,
    a_registered_pool_is_dropped_on_another_thread,
    devices_are_read_into_registered_memory,
);

fn pool(count: usize, size: usize) -> BufferPool {
    BufferPool::contiguous(count, size, 4096).unwrap()
}

/// Whether the ring registers memory; if not it must say so, and there is nothing to count.
fn registers<M: Mode>(ring: &RingOf<M>, pool: &BufferPool) -> bool {
    let registered = ring.register_buffers(pool);
    if ring.features().has_registered_buffers() {
        registered.unwrap();
        return true;
    }
    assert_eq!(registered, Err(RegisterError::Unsupported));
    false
}

fn reads_and_writes_name_registered_memory<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let pool = pool(4, 8192);
        let counted = u64::from(registers(&ring, &pool));
        let (data, file) = (pattern(8192), file_with(b""));
        let mut buffer = pool.take().unwrap();
        assert_eq!(buffer.extend_from_slice(&data), 8192);
        let (n, buffer) = ring.write_at_owned(&file, buffer, 10).await.unwrap();
        assert_eq!((n, ring.snapshot().registered_buffers), (8192, counted));
        assert_eq!(content(&file)[10..], data);
        drop(buffer);
        for at in [10, 5000] {
            let (n, buffer) = ring.read_at_owned(&file, pool.take().unwrap(), at).await.unwrap();
            assert_eq!(buffer[..n], content(&file)[at as usize..]);
        }
        // A part of a buffer, and one from elsewhere.
        let mut part = pool.take().unwrap();
        assert_eq!(part.resize(8192), 8192);
        let (n, part) = ring.read_at_owned(&file, part.slice(4000..4100), 10).await.unwrap();
        assert_eq!((n, &part.into_inner()[4000..4100]), (100, &data[..100]));
        assert_eq!(ring.snapshot().registered_buffers, 4 * counted);
        let (n, _) = ring.read_at_owned(&file, vec![0; 100], 10).await.unwrap();
        assert_eq!((n, ring.snapshot().registered_buffers), (100, 4 * counted));
        assert_eq!(pool.stats().taken, 0);
    });
}

fn direct_reads_name_registered_memory<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (pool, file) = (pool(2, 1 << 20), direct_file(3 << 20));
        let counted = u64::from(registers(&ring, &pool));
        let mut buffer = pool.take().unwrap();
        for turn in 0..3 {
            let n;
            (n, buffer) = ring.read_at_owned(&file, buffer, turn << 20).await.unwrap();
            assert!(n == 1 << 20 && buffer.iter().all(|byte| *byte == 0x5A));
            assert_eq!(ring.snapshot().registered_buffers, counted * (turn + 1));
        }
    });
}

fn what_is_unregistered_is_read_as_before<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (pool, file) = (pool(2, 4096), file_with(b"unchanged"));
        let counted = u64::from(registers(&ring, &pool));
        // Once more, or once too often: nothing.
        assert_eq!(u64::from(registers(&ring, &pool)), counted);
        let buffer = pool.take().unwrap();
        if counted == 1 {
            assert_eq!(ring.unregister_buffers(&pool), Err(RegisterError::InUse));
        }
        let (n, buffer) = ring.read_at_owned(&file, buffer, 0).await.unwrap();
        assert_eq!((n, &buffer[..]), (9, &b"unchanged"[..]));
        drop(buffer);
        for _ in 0..2 {
            let _ = ring.unregister_buffers(&pool);
            let (n, buffer) = ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap();
            assert_eq!((n, &buffer[..]), (9, &b"unchanged"[..]));
            assert_eq!(ring.snapshot().registered_buffers, counted);
        }
        let again = u64::from(registers(&ring, &pool));
        drop(ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap());
        assert_eq!(ring.snapshot().registered_buffers, counted + again);
    });
}

fn only_positional_transfers_name_it<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let pool = pool(2, 4096);
        registers(&ring, &pool);
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer): (Fd<E::M>, Fd<E::M>) =
            (Fd::new(OwnedFd::from(reader)), Fd::new(OwnedFd::from(writer)));
        let mut buffer = pool.take().unwrap();
        assert_eq!(buffer.extend_from_slice(b"through"), 7);
        let (n, buffer) = ring.write_owned(&writer, buffer).await.unwrap();
        assert_eq!(n, 7);
        let (n, buffer) = ring.read_owned(&reader, buffer).await.unwrap();
        assert_eq!((n, &buffer[..]), (7, &b"through"[..]));
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (one, other) = (Fd::new(one), Fd::new(other));
        let (n, buffer) = ring.send(&one, buffer).await.unwrap();
        assert_eq!(n, 7);
        let (n, buffer) = ring.recv(&other, buffer).await.unwrap();
        assert_eq!((n, &buffer[..]), (7, &b"through"[..]));
        assert_eq!(ring.snapshot().registered_buffers, 0);
    });
}

fn pools_that_are_gone_make_room_for_others<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // More than the kernel's table of a ring holds.
        for turn in 1..=200 {
            // Another file each time: on a shared ring, reads of one that is in memory become plain calls.
            let file = file_with(&pattern(4096));
            let pool = pool(1, 4096);
            let counted = u64::from(registers(&ring, &pool));
            let (n, buffer) = ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap();
            assert_eq!((n, &buffer[..]), (4096, &pattern(4096)[..]));
            assert_eq!(ring.snapshot().registered_buffers, turn * counted);
        }
    });
}

fn more_pools_than_there_is_room_for_are_refused<E: Exec>() {
    with_built::<E>(of_the_kernel(), async |ring| {
        if !ring.features().has_registered_buffers() {
            return;
        }
        let mut pools: Vec<_> = (0..64).map(|_| pool(1, 4096)).collect();
        for pool in &pools {
            ring.register_buffers(pool).unwrap();
        }
        let one_more = pool(1, 4096);
        let refused = ring.register_buffers(&one_more).unwrap_err();
        assert!(matches!(refused, RegisterError::Refused(_)), "{refused}");
        ring.unregister_buffers(&pools.pop().unwrap()).unwrap();
        ring.register_buffers(&one_more).unwrap();
        let file = file_with(b"here");
        for pool in pools.iter().chain([&one_more]) {
            let (n, buffer) = ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap();
            assert_eq!((n, &buffer[..]), (4, &b"here"[..]));
        }
        assert_eq!(ring.snapshot().registered_buffers, 64);
    });
}

fn a_dropped_read_gives_its_registered_buffer_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (pool, file) = (pool(4, 1 << 18), direct_file(1 << 20));
        let registered = registers(&ring, &pool);
        for turn in 0..50 {
            let mut reads = Vec::new();
            for n in 0..4 {
                let mut read = Box::pin(ring.read_at_owned(&file, pool.take().unwrap(), n << 18));
                if futures_util::poll!(&mut read).is_pending() {
                    reads.push(read);
                }
            }
            if turn % 2 == 1
                && let Some(read) = reads.pop()
            {
                drop(read.await.unwrap());
            }
            drop(reads);
            let done = ring.drain(Instant::now() + Duration::from_secs(60)).await;
            assert!(done.is_complete(), "{done}");
            assert_eq!(pool.stats().taken, 0);
        }
        if registered {
            ring.unregister_buffers(&pool).unwrap();
        }
    });
}

fn a_pool_outlives_its_handle_in_the_ring<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let pool = pool(2, 4096);
        registers(&ring, &pool);
        let memory = pool.memory().unwrap();
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        drop(pool);
        let file = file_with(b"still there");
        let (n, first) = ring.read_at_owned(&file, first, 0).await.unwrap();
        assert_eq!((n, &first[..]), (11, &b"still there"[..]));
        drop((first, second));
        assert!(memory.is_over());
        // The address is not given to anybody else while the kernel knows it: a vector at it would be read past.
        let (n, vector) = ring.read_at_owned(&file, vec![0; 8192], 0).await.unwrap();
        assert_eq!((n, &vector[..11]), (11, &b"still there"[..]));
    });
}

fn a_registered_pool_is_dropped_on_another_thread<E: Exec>() {
    const SIZE: usize = 1 << 18;
    with_ring::<E>(8, async |ring| {
        let (pool, file) = (pool(4, SIZE), direct_file(SIZE));
        registers(&ring, &pool);
        let memory = pool.memory().unwrap();
        let mut read = Box::pin(ring.read_at_owned(&file, pool.take().unwrap(), 0));
        let early = futures_util::poll!(&mut read);
        let mut dropped = Box::pin(ring.read_at_owned(&file, pool.take().unwrap(), 0));
        drop((futures_util::poll!(&mut dropped), dropped));
        let spare = pool.take().unwrap();
        // That thread may not unregister anything: with SINGLE_ISSUER the kernel refuses it.
        std::thread::spawn(move || drop((pool, spare))).join().unwrap();
        // Who asks for memory now must not get what the reads are still about.
        let others: Vec<Vec<u8>> = (0..16).map(|_| vec![0xA5; SIZE]).collect();
        let (n, bytes) = match early {
            std::task::Poll::Ready(end) => end.unwrap(),
            std::task::Poll::Pending => read.await.unwrap(),
        };
        assert!(n == SIZE && bytes.iter().all(|byte| *byte == 0x5A));
        drop(bytes);
        let done = ring.drain(Instant::now() + Duration::from_secs(60)).await;
        assert!(done.is_complete() && memory.is_over(), "{done}");
        assert!(others.iter().flatten().all(|byte| *byte == 0xA5));
    });
}

fn devices_are_read_into_registered_memory<E: Exec>() {
    // Kernels before 5.18 hang in a read of some devices into registered memory.
    with_ring::<E>(8, async |ring| {
        let pool = pool(2, 4096);
        registers(&ring, &pool);
        for device in ["/dev/urandom", "/dev/zero"] {
            let device: Fd<E::M> = Fd::new(File::open(device).unwrap());
            let (n, bytes) = ring.read_at_owned(&device, pool.take().unwrap(), 0).await.unwrap();
            assert!((1..=4096).contains(&n) && bytes.len() == n, "{n}");
        }
        assert_eq!(ring.snapshot().registered_buffers, 0, "it is not named for them");
    });
}

fn other_pools_and_rings_are_refused_with_a_reason<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let loose = BufferPool::aligned(2, 4096, 4096).unwrap();
        assert_eq!(ring.register_buffers(&loose), Err(RegisterError::NotContiguous));
        assert_eq!(ring.unregister_buffers(&loose), Err(RegisterError::NotContiguous));
    });
    let fallback = Ring::builder().backend(BackendChoice::Only(BackendKind::Fallback));
    with_built::<E>(fallback, async |ring| {
        let pool = pool(1, 4096);
        let error = ring.register_buffers(&pool).unwrap_err();
        assert_eq!(error, RegisterError::Unsupported);
        assert!(error.to_string().contains("the pool works without"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Unsupported);
        let file = file_with(b"works");
        let (n, buffer) = ring.read_at_owned(&file, pool.take().unwrap(), 0).await.unwrap();
        assert_eq!((n, &buffer[..]), (5, &b"works"[..]));
    });
    with_built::<E>(of_the_kernel().restricted(true), async |ring| {
        assert_eq!(ring.register_buffers(&pool(1, 4096)), Err(RegisterError::Unsupported));
        let (n, _) = ring.read_at_owned(&file_with(b"works"), vec![0; 8], 0).await.unwrap();
        assert_eq!(n, 5);
    });
}

fn batches_and_chains_name_registered_memory<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (pool, file) = (pool(8, 4096), file_with(b""));
        let counted = u64::from(registers(&ring, &pool));
        let full = |byte| {
            let mut buffer = pool.take().unwrap();
            assert_eq!(buffer.resize(4096), 4096);
            buffer.fill(byte);
            buffer
        };
        let write = ring.write_at_owned(&file, full(1), 0);
        let (written, read) = write.then(ring.read_at_owned(&file, full(0), 0)).await;
        assert_eq!(written.unwrap().0, 4096);
        assert!(read.unwrap().1.iter().all(|byte| *byte == 1));
        let mut batch = ring.batch();
        let members: Vec<_> =
            (0..8u8).map(|n| batch.write_at(&file, full(n), u64::from(n) * 4096)).collect();
        batch.submit().await;
        for member in members {
            assert_eq!(member.await.unwrap().0, 4096);
        }
        assert_eq!(ring.snapshot().registered_buffers, 10 * counted);
        let all = content(&file);
        assert!(all.iter().enumerate().all(|(at, byte)| at / 4096 == usize::from(*byte)));
    });
}

#[test]
fn each_thread_of_a_shared_ring_registers_it() {
    within_deadline(|| {
        let ring = Ring::new(8).unwrap();
        let (pool, path) = (pool(4, 4096), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(path.path(), pattern(4096)).unwrap();
        let counted = u64::from(registers(&ring, &pool));
        let read = || {
            let file = Fd::new(File::open(path.path()).unwrap());
            let read = ring.read_at_owned(&file, pool.take().unwrap(), 0);
            let (n, buffer) = pollster::block_on(read).unwrap();
            assert_eq!((n, &buffer[..]), (4096, &pattern(4096)[..]));
        };
        read();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                // One after the other and side by side.
                scope.spawn(|| (0..10).for_each(|_| read()));
            }
        });
        assert_eq!(ring.snapshot().registered_buffers, 31 * counted);
        if counted == 1 {
            ring.unregister_buffers(&pool).unwrap();
        }
        std::thread::scope(|scope| drop(scope.spawn(read)));
        assert_eq!(ring.snapshot().registered_buffers, 31 * counted);
    });
}
