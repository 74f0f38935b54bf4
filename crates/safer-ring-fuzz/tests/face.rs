//! Targets on the public API, against the real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use safer_ring::io::AsyncStream;
use safer_ring::{BackendChoice, BackendKind, Local, Ring, RingOf, local, net};
use safer_ring_fuzz::{Bytes, drive};
use tokio::io::{
    AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf,
};

/// Bytes of a write at most, so that all of an input's fit into a socket.
const PIECE: usize = 64;
/// Turns of the ring after which what was left to it has been sent.
const TURNS: usize = 1000;

/// The byte at a place of a direction.
fn pattern(at: usize) -> u8 {
    u8::try_from(at.wrapping_mul(7) % 251).unwrap()
}

fn piece(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(pattern).collect()
}

/// An adapter, the other end, and how much has gone each way.
struct Pair {
    near: AsyncStream<net::UnixStream<Local>>,
    far: UnixStream,
    /// Sent by the far end, and read of it here.
    sent: usize,
    read: usize,
    /// Accepted here, and read by the far end.
    accepted: usize,
    arrived: usize,
    /// The adapter in front of this one may have left bytes to the ring, which a flush of this one does not wait for.
    inherited: bool,
}

impl Pair {
    fn new(ring: &RingOf<Local>, bytes: &mut Bytes<'_>) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let (read, write) = (bytes.below(PIECE) + 1, bytes.below(PIECE) + 1);
        let near = net::UnixStream::from_std(ring, near);
        let near = AsyncStream::with_capacities(read, write, near);
        Self { near, far, sent: 0, read: 0, accepted: 0, arrived: 0, inherited: false }
    }

    fn check_read(&mut self, got: &[u8]) {
        assert_eq!(got, piece(self.read, got.len()), "at {}", self.read);
        self.read += got.len();
        assert!(self.read <= self.sent);
    }

    async fn step(mut self, ring: &RingOf<Local>, bytes: &mut Bytes<'_>) -> Self {
        let context = &mut Context::from_waker(Waker::noop());
        let what = bytes.below(9);
        let length = bytes.below(PIECE + 1);
        match what {
            0 => {
                self.far.write_all(&piece(self.sent, length)).unwrap();
                self.sent += length;
            }
            1 => {
                let mut place = vec![0; length];
                let mut place = ReadBuf::new(&mut place);
                let polled = Pin::new(&mut self.near).poll_read(context, &mut place);
                if let Poll::Ready(result) = polled {
                    result.unwrap();
                    assert!(length == 0 || !place.filled().is_empty(), "an end that is none");
                    self.check_read(place.filled());
                }
            }
            2 => {
                let polled = Pin::new(&mut self.near).poll_fill_buf(context);
                if let Poll::Ready(there) = polled {
                    let there = there.unwrap().to_vec();
                    let there = &there[..there.len().min(length)];
                    self.check_read(there);
                    Pin::new(&mut self.near).consume(there.len());
                }
            }
            3 => {
                let data = piece(self.accepted, length);
                if let Poll::Ready(count) = Pin::new(&mut self.near).poll_write(context, &data) {
                    let count = count.unwrap();
                    assert!(count <= length && (count > 0 || length == 0));
                    self.accepted += count;
                }
            }
            4 => {
                if let Poll::Ready(result) = Pin::new(&mut self.near).poll_flush(context) {
                    result.unwrap();
                    self.collect();
                    let all = self.inherited || self.arrived == self.accepted;
                    assert!(all, "flushed, and not there");
                }
            }
            5 => self.collect(),
            6 => self.near.flush().await.unwrap(),
            7 => {
                // What was read ahead must not be lost on the way back.
                self.inherited |= self.arrived < self.accepted;
                let stream = self.near.into_inner();
                self.near =
                    AsyncStream::with_capacities(length + 1, bytes.below(PIECE) + 1, stream);
            }
            _ => ring.nop().await.unwrap(),
        }
        self
    }

    /// The far end reads all that is there.
    fn collect(&mut self) {
        let mut place = [0; 4096];
        while let Ok(count) = self.far.read(&mut place) {
            assert_eq!(place[..count], piece(self.arrived, count), "at {}", self.arrived);
            self.arrived += count;
        }
        assert!(self.arrived <= self.accepted, "more has arrived than was accepted");
    }

    async fn finish(mut self, ring: &RingOf<Local>) {
        self.near.flush().await.unwrap();
        self.collect();
        for _ in 0..TURNS {
            if self.arrived < self.accepted && self.inherited {
                ring.nop().await.unwrap();
                self.collect();
            }
        }
        assert_eq!(self.arrived, self.accepted, "bytes are missing on the far side");
        self.far.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        self.near.read_to_end(&mut rest).await.unwrap();
        self.check_read(&rest);
        assert_eq!(self.read, self.sent, "bytes are missing");
    }
}

#[test]
fn adapters_beside_a_reference() {
    let ring = local::Ring::new(8).unwrap();
    drive("adapters", |input| {
        ring.block_on(async {
            let mut bytes = Bytes::new(input);
            let mut pair = Pair::new(&ring, &mut bytes);
            while !bytes.is_empty() {
                pair = pair.step(&ring, &mut bytes).await;
            }
            pair.finish(&ring).await;
        });
    });
}

/// A ring of any settings is made and works, or is refused with a reason.
#[test]
fn builders_of_any_kind() {
    drive("builder", |input| {
        let mut bytes = Bytes::new(input);
        let mut builder = Ring::builder();
        while !bytes.is_empty() {
            builder = match bytes.below(11) {
                0 => builder.entries(u32::from(bytes.word())),
                1 => builder.entries(bytes.long()),
                2 => builder.completions(u32::from(bytes.word())),
                3 => builder.sqpoll(Duration::from_millis(bytes.byte().into())),
                4 => builder.iopoll(bytes.flip()).wide_completions(bytes.flip()),
                5 => builder.io_wq_workers(bytes.byte().into(), bytes.long()),
                6 => builder.restricted(bytes.flip()),
                7 => builder.without_setup_flags(bytes.long()),
                8 => builder.without_opcodes(&[bytes.byte(), bytes.byte()]),
                9 => builder.max_rings(bytes.byte().into()),
                _ => builder.backend(match bytes.below(3) {
                    0 => BackendChoice::Auto,
                    1 => BackendChoice::Only(BackendKind::IoUring),
                    _ => BackendChoice::Only(BackendKind::Fallback),
                }),
            };
        }
        match builder.local().build() {
            // Without its opcode it is refused.
            Ok(ring) => drop(ring.block_on(async { ring.nop().await })),
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    });
}
