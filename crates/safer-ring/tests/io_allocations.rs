//! In the steady state, calls of adapters allocate nothing. A test binary of its own: its allocator counts.
//!
//! # Safety
//! In the counting allocator, `common/counting.rs`.
//!
//! Tests: the_steady_state_of_adapters_allocates_nothing
#![cfg(all(feature = "tokio", feature = "futures"))]
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a counting allocator; tests"
)]

#[path = "common/counting.rs"]
mod counting;

use std::future::poll_fn;
use std::io::{self, SeekFrom};
use std::pin::{Pin, pin};
use std::task::Poll;

use counting::{Found, measure};
use futures_util::future::{join, maybe_done};
use safer_ring::net::UnixStream;
use safer_ring::{Mode, Ring, RingOf, fs, local, pipe};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _,
    ReadBuf,
};

const WARM_UP: u32 = 500;
const OPERATIONS: u32 = 3_000;

async fn measure_all<M: Mode>(ring: &RingOf<M>) -> io::Result<Found> {
    let mut found = Vec::with_capacity(16);

    let (a, b) = UnixStream::pair(ring)?;
    let (mut a, mut b) = (a.into_io(), b.into_io());
    let mut part = [0; 64];
    measure!(found, "write, flush, then read", {
        a.write_all(&[7; 64]).await?;
        a.flush().await?;
        b.read_exact(&mut part).await?;
    });
    measure!(found, "a read that waits for a write", {
        let (read, written) = join(b.read_exact(&mut part), a.write_all(&[7; 64])).await;
        written?;
        assert_eq!(read?, 64);
    });
    measure!(found, "a read that is dropped and called again", {
        let mut room = ReadBuf::new(&mut part);
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut b).poll_read(cx, &mut room)));
        assert!(polled.await.is_pending());
        a.write_all(&[7; 64]).await?;
        b.read_exact(&mut part).await?;
    });
    let large = vec![7; 400_000];
    let mut all = vec![0; 400_000];
    take_most_buffers(ring).await?;
    measure!(found, "400 kB to a peer that reads", {
        let write = async {
            a.write_all(&large).await?;
            a.flush().await
        };
        let (written, read) = join(write, b.read_exact(&mut all)).await;
        written?;
        read?;
    });
    measure!(found, "fill_buf", {
        a.write_all(&[7; 64]).await?;
        let count = b.fill_buf().await?.len();
        b.consume(count);
    });

    let (reader, writer) = pipe::pipe(ring).await?;
    let (mut reader, mut writer) = (reader.into_io(), writer.into_io());
    measure!(found, "pipe", {
        writer.write_all(&[7; 64]).await?;
        reader.read_exact(&mut part).await?;
    });

    let mut file = fs::File::from_std(ring, tempfile::tempfile()?).into_io();
    measure!(found, "write, seek, then read of a file", {
        file.write_all(&[7; 64]).await?;
        file.seek(SeekFrom::Start(0)).await?;
        file.read_exact(&mut part).await?;
        file.seek(SeekFrom::Start(0)).await?;
    });

    let (mut near, far) = UnixStream::pair(ring).map(|(near, far)| (near.into_io(), far))?;
    let mut arrives = far.recv_stream();
    measure!(found, "recv_stream", {
        near.write_all(&[7; 64]).await?;
        let mut count = 0;
        while count < 64 {
            count += arrives.next().await.unwrap()?.len();
        }
    });
    Ok(found)
}

/// Lets as much wait for readers as can, of several streams at a time: that takes more buffers than one of them ever does, and the
/// pool has them from then on.
async fn take_most_buffers<M: Mode>(ring: &RingOf<M>) -> io::Result<()> {
    let much = vec![7; 3_000_000];
    let mut writes = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (mut writer, mut reader) =
            UnixStream::pair(ring).map(|(a, b)| (a.into_io(), b.into_io()))?;
        assert!(futures_util::poll!(pin!(reader.fill_buf())).is_pending());
        let much = &much;
        writes.push(Box::pin(maybe_done(async move {
            writer.write_all(much).await?;
            writer.flush().await
        })));
        readers.push(reader);
    }
    for _ in 0..50 {
        for write in &mut writes {
            let _ = futures_util::poll!(write);
        }
        ring.nop().await?;
    }
    for (mut write, mut reader) in writes.into_iter().zip(readers) {
        let mut all = vec![0; much.len()];
        let ((), read) = join(write.as_mut(), reader.read_exact(&mut all)).await;
        write.as_mut().take_output().unwrap()?;
        read?;
    }
    Ok(())
}

/// Whether a read that waits has nothing in flight.
async fn waits_without_an_entry(ring: &Ring) -> io::Result<bool> {
    let (_far, near) = UnixStream::pair(ring)?;
    let mut near = near.into_io();
    let before = ring.snapshot().in_flight;
    assert!(futures_util::poll!(pin!(near.fill_buf())).is_pending());
    Ok(ring.snapshot().in_flight == before)
}

#[test]
fn the_steady_state_of_adapters_allocates_nothing() {
    counting::start();
    let ring = local::Ring::new(64).unwrap();
    let one_thread = ring.block_on(measure_all(&ring)).unwrap();
    let ring: Ring = Ring::new(64).unwrap();
    // Where a file system does not answer at once, a call waits: in tokio's poller, which allocates
    // nothing in its turns. Outside of a runtime, with the feature `smol`, it would be smol's, which does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let shared = runtime.block_on(async {
        counting::settled(&ring).await?;
        // Tokio makes its list of tasks that are put off when the first one is.
        tokio::task::yield_now().await;
        measure_all(&ring).await
    });
    let shared = shared.unwrap();
    // In a task, whose streams are told what arrives.
    let in_a_task = runtime.block_on(async {
        tokio::spawn(async move {
            // What a task's waker is is learnt by a task of its own, with the first ring that the runtime hears of.
            ring.timeout(std::time::Duration::from_millis(1)).await?;
            let found = measure_all(&ring).await?;
            let told = ring.features().has_multishot_receive();
            assert!(!told || waits_without_an_entry(&ring).await?, "its streams are told");
            io::Result::Ok(found)
        })
        .await
        .unwrap()
    });
    let in_a_task = in_a_task.unwrap();
    let clean = |found: &Found| found.iter().all(|(_, count)| *count == 0);
    assert!(
        clean(&one_thread) && clean(&shared) && clean(&in_a_task),
        "allocations in {OPERATIONS} calls: local {one_thread:?}, shared {shared:?}, in a task {in_a_task:?}"
    );
}
