//! The loops on Safer-Ring, the same for both kinds of ring.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::ops::DerefMut;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

use safer_ring::net::TcpStream;
use safer_ring::{BufferPool, Fd, IoBuf as _, IoBufMut, Mode, OpError, OwnedBuffer, RingOf};

use super::lane::Lane;
use super::{check_message, closed, message, race};
use crate::bench::plan::{MESSAGE, Scenario};
use crate::data::{BLOCK, Offsets, check, mark};
use crate::num::count;

/// No operation, one at a time.
pub(super) async fn nops<M: Mode>(ring: RingOf<M>, ops: u64, mut lane: Lane) -> io::Result<Lane> {
    for _ in 0..ops {
        let started = lane.start();
        ring.nop().await?;
        lane.stop(started, 1);
    }
    Ok(lane)
}

/// No operation, a batch at a time.
pub(super) async fn nop_batches<M: Mode>(
    ring: RingOf<M>,
    depth: usize,
    ops: u64,
    mut lane: Lane,
) -> io::Result<Lane> {
    let mut batch = ring.batch();
    let mut members = Vec::with_capacity(depth);
    for _ in 0..ops / count(depth) {
        let started = lane.start();
        members.extend((0..depth).map(|_| batch.nop()));
        batch.submit().await;
        for member in members.drain(..) {
            member.await?;
        }
        lane.stop(started, count(depth));
    }
    Ok(lane)
}

/// What the loops of the file scenarios need of a buffer: it may be lent, and its bytes can be seen.
pub(super) trait Block: IoBufMut + DerefMut<Target = [u8]> {}

impl<B: IoBufMut + DerefMut<Target = [u8]>> Block for B {}

/// Page-aligned buffers for the lanes of a file scenario.
pub(super) fn buffers(scenario: &Scenario, depth: usize) -> io::Result<Vec<OwnedBuffer>> {
    let aligned = |_| OwnedBuffer::aligned(scenario.block, BLOCK).map_err(io::Error::other);
    (0..depth).map(aligned).collect()
}

/// Reads of a file, a batch at a time.
pub(super) async fn read_batches<M: Mode, B: Block>(
    ring: RingOf<M>,
    file: Fd<M>,
    mut buffers: Vec<B>,
    mut offsets: Vec<Offsets>,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, Vec<B>)> {
    let mut batch = ring.batch();
    let depth = count(buffers.len());
    let mut members = Vec::with_capacity(buffers.len());
    for _ in 0..ops / depth {
        let started = lane.start();
        for (buffer, offsets) in buffers.drain(..).zip(&mut offsets) {
            let at = offsets.next();
            members.push((batch.read_at(&file, buffer, at), at));
        }
        batch.submit().await;
        for (member, at) in members.drain(..) {
            let (n, buffer) = member.await?;
            check(buffer.get(..n).unwrap_or_default(), buffer.capacity_mut(), at)?;
            buffers.push(buffer);
        }
        lane.stop(started, depth);
    }
    Ok((lane, buffers))
}

/// Reads of a file, one at a time; several of these run side by side.
pub(super) async fn reads<M: Mode, B: Block>(
    ring: RingOf<M>,
    file: Fd<M>,
    mut buffer: B,
    mut offsets: Offsets,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, B)> {
    for _ in 0..ops {
        let (at, started) = (offsets.next(), lane.start());
        let n;
        (n, buffer) = ring.read_at_owned(&file, buffer, at).await?;
        check(buffer.get(..n).unwrap_or_default(), buffer.capacity_mut(), at)?;
        lane.stop(started, 1);
    }
    Ok((lane, buffer))
}

/// Writes of a file, one at a time; several of these run side by side.
pub(super) async fn writes<M: Mode, B: Block>(
    ring: RingOf<M>,
    file: Fd<M>,
    mut buffer: B,
    mut offsets: Offsets,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, B)> {
    for _ in 0..ops {
        let (at, started) = (offsets.next(), lane.start());
        mark(&mut buffer, at / count(BLOCK));
        let n;
        (n, buffer) = ring.write_at_owned(&file, buffer, at).await?;
        if n != buffer.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        lane.stop(started, 1);
    }
    Ok((lane, buffer))
}

/// Serves one connection until it closes, which no run expects.
pub(super) async fn echo<M: Mode>(
    ring: RingOf<M>,
    socket: Fd<M>,
    served: impl Fn(u64),
) -> io::Result<()> {
    let mut arrives = TcpStream::from_fd(&ring, socket.clone()).recv_stream();
    while let Some(message) = arrives.next().await {
        let message = message?.into_inner();
        let received = message.len();
        let (mut sent, mut buffer) = ring.send(&socket, message).await?;
        while sent < received {
            let (more, rest) =
                ring.send(&socket, buffer.slice(sent..received)).await.map_err(io::Error::from)?;
            sent += more;
            buffer = rest.into_inner();
        }
        served(count(received));
    }
    Err(closed())
}

/// The sockets of the drop scenario with a buffer for each receive of a step.
pub(super) struct Race<M: Mode> {
    pub(super) near: Vec<Fd<M>>,
    pub(super) far: Vec<UnixStream>,
    pub(super) step: u64,
}

impl<M: Mode> Race<M> {
    pub(super) fn new(scenario: &Scenario) -> io::Result<Self> {
        let pairs = super::Pairs::new(scenario)?;
        Ok(Self { near: pairs.near.into_iter().map(Fd::new).collect(), far: pairs.far, step: 0 })
    }
}

/// Receives race: the one on an idle socket is dropped when the other is done, and issued again at that socket's next
/// turn.
pub(super) async fn races<M: Mode>(
    ring: RingOf<M>,
    mut sockets: Race<M>,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, Race<M>)> {
    // Buffers of dropped receives come back to the pool when the kernel is done with them.
    let pool = BufferPool::new(2 * sockets.near.len() + 2, MESSAGE);
    let empty = || io::Error::other("dropped receives do not give their buffers back");
    let mut buffer = pool.take().ok_or_else(empty)?;
    for _ in 0..ops {
        let started = lane.start();
        let (idle, ready) = race(sockets.step, sockets.near.len());
        let (Some(idle), Some(socket)) = (sockets.near.get(idle), sockets.near.get(ready)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut peer = sockets.far.get(ready).ok_or(io::ErrorKind::NotFound)?;
        peer.write_all(&message(sockets.step))?;
        let loser = ring.recv(idle, pool.take().ok_or_else(empty)?);
        let winner = ring.recv(socket, buffer);
        let n;
        (n, buffer) = second_of(loser, winner).await?;
        check_message(buffer.get(..n).unwrap_or_default(), sockets.step)?;
        sockets.step += 1;
        lane.stop(started, 1);
    }
    Ok((lane, sockets))
}

/// Waits for either; the first must not win, and is dropped when the second has.
async fn second_of<T, B>(
    loser: impl Future<Output = T>,
    winner: impl Future<Output = Result<(usize, B), OpError<B>>>,
) -> io::Result<(usize, B)> {
    let (mut loser, mut winner) = (pin!(loser), pin!(winner));
    poll_fn(|context| {
        if loser.as_mut().poll(context).is_ready() {
            let error = io::Error::other("a receive finished without a message");
            return Poll::Ready(Err(error));
        }
        winner.as_mut().poll(context).map_err(io::Error::from)
    })
    .await
}
