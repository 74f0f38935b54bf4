//! Lanes of a world in which operations fail: what one of them gives back is what it was lent, what did not fail has moved
//! its bytes, in order, and everything is closed in the end.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use safer_ring::sim::JoinHandle;
use safer_ring::{Fd, IoBufMut, Mode, OpError, OpenOptions, PipeOptions};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate, Kind};
use crate::streams::{check, connection};

/// Attempts at something that a lane cannot do without.
const TRIES: u32 = 50;
/// Bytes of a file.
const SIZE: usize = 20_000;

/// What the sides of a stream know.
#[derive(Debug, Default)]
struct Book {
    /// Bytes that have been sent.
    sent: Cell<usize>,
    /// Those of the last send, whose fate nobody knows.
    perhaps: Cell<usize>,
}

/// Starts a lane. One that cannot be set up in all of its attempts does nothing.
pub(crate) async fn start<M: Mode>(
    lane: Lane<M>,
    kind: Kind,
    acts: Vec<Act>,
) -> Result<Vec<JoinHandle<Verdict>>, String> {
    let world = lane.world.clone();
    match kind {
        Kind::StormFile => return Ok(vec![world.spawn(file(lane, acts))]),
        Kind::StormTable => return Ok(vec![world.spawn(table(lane, acts))]),
        _ => {}
    }
    for _ in 0..TRIES {
        let made = match kind {
            Kind::StormPipe => lane.ring.pipe(PipeOptions::default()).await,
            _ => connection(&lane, Kind::Tcp).await,
        };
        if let Ok((reader, writer)) = made {
            let book = Rc::new(Book::default());
            let sender = send(lane.clone(), kind, acts.clone(), writer, Rc::clone(&book));
            return Ok(vec![
                world.spawn(sender),
                world.spawn(receive(lane, kind, acts, reader, book)),
            ]);
        }
        lane.pause(5000).await?;
    }
    Ok(Vec::new())
}

/// How many bytes were moved. None: nobody knows.
fn moved<M: Mode, B: Deref<Target = [u8]>>(
    lane: &Lane<M>,
    data: &[u8],
    met: Met<Result<(usize, B), OpError<B>>>,
) -> Result<Option<usize>, String> {
    match met {
        Met::Ended(Ok((count, back))) if (1..=data.len()).contains(&count) && *back == *data => {
            Ok(Some(count))
        }
        Met::Ended(Ok((count, _))) => Err(lane.wrong(format_args!("{count} bytes of others"))),
        Met::Ended(Err(failed)) if *failed.buffer == *data => Ok(Some(0)),
        Met::Ended(Err(failed)) => {
            Err(lane.wrong(format_args!("other bytes came back: {}", failed.error)))
        }
        Met::Cancelled | Met::Unborn => Ok(Some(0)),
        Met::Dropped => Ok(None),
    }
}

async fn send_some<M: Mode>(
    lane: &Lane<M>,
    kind: Kind,
    fd: &Fd<M>,
    data: &[u8],
    fate: Fate,
) -> Result<Option<usize>, String> {
    // Too much for a buffer goes without one.
    let pooled = lane
        .pool
        .take()
        .and_then(|mut buffer| (buffer.extend_from_slice(data) == data.len()).then_some(buffer));
    match (kind, pooled) {
        (Kind::StormPipe, Some(buffer)) => {
            moved(lane, data, meet(lane.ring.write_owned(fd, buffer), fate).await)
        }
        (Kind::StormPipe, None) => {
            moved(lane, data, meet(lane.ring.write_owned(fd, data.to_vec()), fate).await)
        }
        (_, Some(buffer)) => moved(lane, data, meet(lane.ring.send(fd, buffer), fate).await),
        (_, None) => moved(lane, data, meet(lane.ring.send(fd, data.to_vec()), fate).await),
    }
}

async fn send<M: Mode>(
    lane: Lane<M>,
    kind: Kind,
    acts: Vec<Act>,
    fd: Fd<M>,
    book: Rc<Book>,
) -> Verdict {
    for act in acts {
        match act {
            Act::Pause { us } => lane.pause(us).await?,
            Act::Send { len, fate, .. } => {
                let data = bytes(lane.number, book.sent.get(), len);
                let count = match send_some(&lane, kind, &fd, &data, fate).await? {
                    Some(count) => count,
                    // It is sent whole, or its error is told.
                    None if fd.settle().await.is_ok() => len,
                    None => {
                        book.perhaps.set(len);
                        return Ok(());
                    }
                };
                book.sent.set(book.sent.get() + count);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn receive<M: Mode>(
    lane: Lane<M>,
    kind: Kind,
    acts: Vec<Act>,
    fd: Fd<M>,
    book: Rc<Book>,
) -> Verdict {
    let mut got = 0;
    let mut over = false;
    for act in acts {
        match act {
            _ if over => break,
            Act::Rest { us } => lane.pause(us).await?,
            Act::Receive { room, fate, .. } => {
                over = receive_one(&lane, kind, &fd, room, fate, &mut got).await?;
            }
            Act::Arrive { count, .. } if kind == Kind::StormTcp => {
                over = arrive(&lane, &fd, count, &mut got).await?;
            }
            _ => {}
        }
    }
    while !over {
        over = receive_one(&lane, kind, &fd, 3000, Fate::Await, &mut got).await?;
    }
    let (sent, perhaps) = (book.sent.get(), book.perhaps.get());
    if (sent..=sent + perhaps).contains(&got) {
        Ok(())
    } else {
        Err(lane.wrong(format_args!("{got} of {sent} (+ {perhaps}) bytes came")))
    }
}

/// Tells whether this is the end.
async fn receive_one<M: Mode>(
    lane: &Lane<M>,
    kind: Kind,
    fd: &Fd<M>,
    room: usize,
    fate: Fate,
    got: &mut usize,
) -> Result<bool, String> {
    match lane.pool.take() {
        Some(mut buffer) if got.is_multiple_of(2) => {
            buffer.resize(room);
            take_in(lane, kind, fd, buffer, fate, got).await
        }
        _ => take_in(lane, kind, fd, vec![0; room], fate, got).await,
    }
}

async fn take_in<M: Mode, B: IoBufMut + Deref<Target = [u8]>>(
    lane: &Lane<M>,
    kind: Kind,
    fd: &Fd<M>,
    buffer: B,
    fate: Fate,
    got: &mut usize,
) -> Result<bool, String> {
    let len = buffer.len();
    let operation = match kind {
        Kind::StormPipe => lane.ring.read_owned(fd, buffer),
        _ => lane.ring.recv(fd, buffer),
    };
    match meet(operation, fate).await {
        Met::Ended(Ok((count, data))) => {
            let data = data.get(..count).ok_or_else(|| lane.wrong("more bytes than room"))?;
            check(lane, got, data)?;
            Ok(data.is_empty())
        }
        Met::Ended(Err(failed)) if failed.buffer.len() != len => {
            Err(lane.wrong(format_args!("another length came back: {}", failed.error)))
        }
        Met::Ended(Err(_)) | Met::Cancelled | Met::Unborn | Met::Dropped => Ok(false),
    }
}

/// A part of what comes, until an error; tells whether this is the end.
async fn arrive<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    count: u8,
    got: &mut usize,
) -> Result<bool, String> {
    let mut arrives = lane.ring.recv_stream(fd);
    for _ in 0..count {
        match arrives.next().await {
            None => return Ok(true),
            Some(Ok(buffer)) => check(lane, got, &buffer)?,
            Some(Err(_)) => return Ok(false),
        }
    }
    Ok(false)
}

/// A file on a disk that may be full. What is not known has no byte.
async fn file<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let options = OpenOptions::new().read(true).write(true).create(true);
    let path = format!("/tmp/storm{}", lane.number);
    let Some(fd) = insist(async || lane.ring.open(path.as_str(), &options).await).await else {
        return Ok(());
    };
    let mut known: Vec<Option<u8>> = vec![None; SIZE];
    let mut writes = 0;
    for act in acts {
        match act {
            Act::Pause { us } | Act::Rest { us } => lane.pause(us).await?,
            Act::Sync => {
                // Whatever comes of it, what is read is what was written.
                let _ = lane.ring.fsync(&fd).await;
            }
            Act::Write { at, len, fate } => {
                writes += 1;
                let data = bytes(lane.number, at + writes * 7919, len);
                let written = write(&lane, &fd, (at, &data), fate).await?;
                let (count, told) = written.map_or((len, false), |count| (count, true));
                for (place, byte) in known.iter_mut().skip(at).zip(data.iter().take(count)) {
                    *place = told.then_some(*byte);
                }
            }
            Act::Read { at, len, fate } => read(&lane, &fd, (at, len), fate, &known).await?,
            _ => {}
        }
    }
    let mut at = 0;
    while at < SIZE {
        read(&lane, &fd, (at, 4096), Fate::Await, &known).await?;
        at += 2048;
    }
    Ok(())
}

async fn insist<T>(mut work: impl AsyncFnMut() -> io::Result<T>) -> Option<T> {
    for _ in 0..TRIES {
        if let Ok(done) = work().await {
            return Some(done);
        }
    }
    None
}

async fn write<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    (at, data): (usize, &[u8]),
    fate: Fate,
) -> Result<Option<usize>, String> {
    let offset = u64::try_from(at).unwrap_or(u64::MAX);
    let operation = lane.ring.write_at_owned(fd, data.to_vec(), offset);
    let met = meet(operation, fate).await;
    // Some of it may be there.
    let failed = matches!(met, Met::Ended(Err(_)));
    let written = moved(lane, data, met)?;
    if written.is_none() {
        // It has ended then, one way or the other.
        let _ = fd.settle().await;
    }
    Ok(written.filter(|_| !failed))
}

async fn read<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    (at, len): (usize, usize),
    fate: Fate,
    known: &[Option<u8>],
) -> Verdict {
    let offset = u64::try_from(at).unwrap_or(u64::MAX);
    match meet(lane.ring.read_at_owned(fd, vec![0; len], offset), fate).await {
        Met::Ended(Ok((count, data))) => {
            let known = known.get(at..).unwrap_or_default();
            if count == 0 && known.iter().any(Option::is_some) {
                return Err(lane.wrong(format_args!("a read of nothing at {at}")));
            }
            let odd = data.iter().take(count).zip(known);
            match odd.enumerate().find(|(_, (found, known))| known.is_some_and(|k| k != **found)) {
                Some((place, _)) => {
                    Err(lane.wrong(format_args!("byte {} is another one", at + place)))
                }
                None => Ok(()),
            }
        }
        Met::Ended(Err(failed)) if failed.buffer != vec![0; len] => {
            Err(lane.wrong(format_args!("another buffer came back: {}", failed.error)))
        }
        Met::Ended(Err(_)) | Met::Cancelled | Met::Unborn | Met::Dropped => Ok(()),
    }
}

/// Descriptors of many kinds, held until there are too many.
async fn table<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let mut held: Vec<Fd<M>> = Vec::new();
    let options = OpenOptions::new().read(true).write(true).create(true);
    for act in acts {
        let full = match act {
            Act::Pause { us } | Act::Rest { us } => {
                lane.pause(us).await?;
                false
            }
            Act::Create { name, fate } => {
                let path = format!("/tmp/table{}-{name}", lane.number);
                match meet(lane.ring.open(path, &options), fate).await {
                    Met::Ended(Ok(fd)) => {
                        held.push(fd);
                        false
                    }
                    Met::Ended(Err(_)) => true,
                    Met::Cancelled | Met::Unborn | Met::Dropped => false,
                }
            }
            Act::Rename { .. } => match lane.ring.pipe(PipeOptions::default()).await {
                Ok((reader, writer)) => {
                    held.extend([reader, writer]);
                    false
                }
                Err(_) => true,
            },
            Act::Remove { .. } => {
                if let Some(fd) = held.pop()
                    && let Err(failed) = lane.ring.close(fd).await
                    // What a file answers comes when it is closed.
                    && failed.buffer.is_some()
                {
                    return Err(lane.wrong(format_args!("a close: {}", failed.error)));
                }
                false
            }
            _ => false,
        };
        if full {
            held.truncate(held.len() / 2);
        }
    }
    Ok(())
}
