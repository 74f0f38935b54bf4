//! Two tasks that take turns, and what is known about them from outside.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use safer_ring::{Fd, Mode, RecvStream, RingOf};

/// A step that takes so long is worth a word: the reactor's own looks are a second apart.
const LONG: Duration = Duration::from_millis(500);
/// The message that ends a pair.
const LAST: u64 = 1 << 40;

/// What two tasks share; a message written into `writes` of one is read from `reads` of the other.
pub(super) struct End {
    pub(super) reads: OwnedFd,
    pub(super) writes: OwnedFd,
}

/// The ends of a pair of tasks: a socket pair, two pipes, or two eventfds, in turn.
pub(super) fn ends(number: usize) -> io::Result<(End, End)> {
    match number % 3 {
        0 => {
            let (one, other) = UnixStream::pair()?;
            let end = |socket: UnixStream| -> io::Result<End> {
                Ok(End { reads: socket.try_clone()?.into(), writes: socket.into() })
            };
            Ok((end(one)?, end(other)?))
        }
        1 => {
            let ((from_one, to_one), (from_other, to_other)) = (io::pipe()?, io::pipe()?);
            let one = End { reads: from_one.into(), writes: to_other.into() };
            Ok((one, End { reads: from_other.into(), writes: to_one.into() }))
        }
        _ => {
            let (one, other) =
                (eventfd(0, EventfdFlags::CLOEXEC)?, eventfd(0, EventfdFlags::CLOEXEC)?);
            let (one_too, other_too) = (one.try_clone()?, other.try_clone()?);
            Ok((End { reads: one, writes: other }, End { reads: other_too, writes: one_too }))
        }
    }
}

/// What a side does at the moment.
mod state {
    pub(super) const NOT_STARTED: u8 = 0;
    pub(super) const WRITES: u8 = 1;
    pub(super) const READS: u8 = 2;
    pub(super) const ENDED: u8 = 3;
}

/// One side as it is seen from outside.
#[derive(Debug, Default)]
pub(super) struct Side {
    state: AtomicU8,
    steps: AtomicU64,
    thread: AtomicU64,
}

impl Side {
    pub(super) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Relaxed) == state::ENDED
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.load(Ordering::Relaxed) {
            state::NOT_STARTED => "has not started",
            state::WRITES => "writes",
            state::READS => "waits for its read",
            _ => "has ended",
        };
        let (steps, thread) =
            (self.steps.load(Ordering::Relaxed), self.thread.load(Ordering::Relaxed));
        write!(f, "{state} in step {steps}, last polled on thread {thread}")
    }
}

/// The sums of a round.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Reads that ended.
    pub(super) steps: AtomicU64,
    /// Reads that had to wait.
    pub(super) parked: AtomicU64,
    /// Those of them whose writer was on another thread.
    pub(super) crossed: AtomicU64,
    /// Steps that took longer than [`LONG`].
    pub(super) long: AtomicU64,
    /// The longest step, in nanoseconds.
    pub(super) longest: AtomicU64,
    /// Everybody is to end.
    pub(super) enough: AtomicBool,
}

/// A number for each thread, from 1.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static OWN: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

impl Sums {
    /// Enters a read that ended: where the task parked for it, if it did, and who wrote.
    fn enter(&self, parked_on: Option<u64>, writer: u64, took: Duration) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        if let Some(reader) = parked_on {
            self.parked.fetch_add(1, Ordering::Relaxed);
            self.crossed.fetch_add(u64::from(reader != writer), Ordering::Relaxed);
        }
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(ns, Ordering::Relaxed);
        if took > LONG {
            self.long.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How a side takes its messages in.
struct Reader<M: Mode> {
    ring: RingOf<M>,
    fd: Fd<M>,
    buffer: Vec<u8>,
    /// In place of a read for each.
    stream: Option<RecvStream<M>>,
}

/// One of two tasks. The one that leads begins, and ends both when there has been enough. With `streams` it reads by a stream of
/// receives, which in a task of tokio is told what arrives.
pub(super) async fn take_turns<M: Mode>(
    ring: RingOf<M>,
    end: End,
    leads: bool,
    streams: bool,
    (side, sums): (&Side, &Sums),
) -> io::Result<()> {
    let (fd, writes) = (Fd::<M>::new(end.reads), Fd::<M>::new(end.writes));
    let stream = streams.then(|| ring.recv_stream(&fd));
    let mut reader = Reader { ring: ring.clone(), fd, buffer: Vec::with_capacity(8), stream };
    let mut buffer = Vec::with_capacity(8);
    let mut my_turn = leads;
    loop {
        if my_turn {
            let is_last = leads && sums.enough.load(Ordering::Relaxed);
            side.state.store(state::WRITES, Ordering::Relaxed);
            let message = if is_last { LAST } else { thread_number() };
            buffer.clear();
            buffer.extend_from_slice(&message.to_ne_bytes());
            let n;
            (n, buffer) = ring.write_owned(&writes, buffer).await?;
            if n != 8 {
                return Err(io::Error::other(format!("{n} bytes of a message were written")));
            }
            if is_last {
                break;
            }
        }
        my_turn = true;
        side.state.store(state::READS, Ordering::Relaxed);
        if read_one(&mut reader, side, sums).await? == LAST {
            break;
        }
    }
    side.state.store(state::ENDED, Ordering::Relaxed);
    Ok(())
}

/// Waits for the message of the other side.
async fn read_one<M: Mode>(reader: &mut Reader<M>, side: &Side, sums: &Sums) -> io::Result<u64> {
    let Reader { ring, fd, buffer, stream } = reader;
    let since = Instant::now();
    let mut parked_on = None;
    let writer = match stream {
        Some(stream) => {
            let next = watched(stream.next(), side, &mut parked_on).await;
            message(&next.ok_or(io::ErrorKind::UnexpectedEof)??)?
        }
        None => {
            let mut lent = std::mem::take(buffer);
            lent.clear();
            let read = watched(ring.read_owned(fd, lent), side, &mut parked_on).await?;
            *buffer = read.1;
            message(buffer)?
        }
    };
    sums.enter(parked_on, writer, since.elapsed());
    side.steps.fetch_add(1, Ordering::Relaxed);
    Ok(writer)
}

/// Notes where a read is polled, and where its task parks for it.
async fn watched<F: Future>(read: F, side: &Side, parked_on: &mut Option<u64>) -> F::Output {
    let mut read = pin!(read);
    poll_fn(|context| {
        let thread = thread_number();
        side.thread.store(thread, Ordering::Relaxed);
        let polled = read.as_mut().poll(context);
        if polled.is_pending() {
            *parked_on = Some(thread);
        }
        polled
    })
    .await
}

fn message(bytes: &[u8]) -> io::Result<u64> {
    let whole = bytes.first_chunk::<8>().filter(|_| bytes.len() == 8);
    let whole = whole
        .ok_or_else(|| io::Error::other(format!("{} bytes of a message came", bytes.len())))?;
    Ok(u64::from_ne_bytes(*whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_that_waited_for_another_thread_are_counted_as_such() {
        let sums = Sums::default();
        for (parked_on, writer) in [(None, 1), (Some(1), 1), (Some(1), 2)] {
            sums.enter(parked_on, writer, Duration::from_millis(1));
        }
        sums.enter(None, 1, Duration::from_secs(1));
        let figures = [&sums.steps, &sums.parked, &sums.crossed, &sums.long, &sums.longest];
        let figures = figures.map(|figure| figure.load(Ordering::Relaxed));
        assert_eq!(figures, [4, 2, 1, 1, 1_000_000_000]);
    }
}
