//! Lanes that carry bytes or messages in one direction: each byte arrives, once, in order.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use safer_ring::sim::JoinHandle;
use safer_ring::{Address, Fd, Mode, PipeOptions, RingBuffer, Shutdown, SocketKind};

use crate::fate::{Met, meet, poll_some};
use crate::run::{Lane, Verdict, byte, bytes};
use crate::script::{Act, Fate, Kind};

/// Room for any message.
const MESSAGE: usize = 65_536;
/// Messages are shorter than that, so that sockets hold some.
const LONGEST: usize = 9000;

/// What both sides know.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Bytes that have been handed over: all of them must arrive.
    pub(crate) sent: Cell<usize>,
    /// Messages.
    messages: Cell<usize>,
}

/// Makes a connection and starts its two sides.
pub(crate) async fn start<M: Mode>(
    lane: Lane<M>,
    kind: Kind,
    acts: Vec<Act>,
) -> Result<Vec<JoinHandle<Verdict>>, String> {
    let made = match kind {
        Kind::Pipe => lane.ring.pipe(PipeOptions::default()).await,
        Kind::Datagram => messengers(&lane).await,
        _ => connection(&lane, kind).await,
    };
    let (reader, writer) = made.map_err(|error| lane.wrong(format_args!("set-up: {error}")))?;
    let book = Rc::new(Book::default());
    let world = lane.world.clone();
    let sender = send(lane.clone(), kind, acts.clone(), writer, Rc::clone(&book));
    Ok(vec![world.spawn(sender), world.spawn(receive(lane, kind, acts, reader, book))])
}

/// Where a lane listens.
pub(crate) fn place<M: Mode>(lane: &Lane<M>, kind: Kind, part: &str) -> std::io::Result<Address> {
    let port = u16::try_from(lane.number).unwrap_or(0) + 100;
    match kind {
        Kind::Tcp | Kind::Accepts => Ok(Address::Ip(SocketAddr::from(([127, 0, 0, 1], port)))),
        _ => Address::unix(format!("/tmp/{part}{}", lane.number)),
    }
}

pub(crate) async fn connection<M: Mode>(
    lane: &Lane<M>,
    kind: Kind,
) -> std::io::Result<(Fd<M>, Fd<M>)> {
    let (ring, at) = (&lane.ring, place(lane, kind, "stream")?);
    let server = ring.socket(&at, SocketKind::Stream).await?;
    ring.bind(&server, at.clone()).await?;
    ring.listen(&server, 4).await?;
    let writer = ring.socket(&at, SocketKind::Stream).await?;
    ring.connect(&writer, at).await?;
    let (reader, _) = ring.accept(&server).await?;
    Ok((reader, writer))
}

async fn messengers<M: Mode>(lane: &Lane<M>) -> std::io::Result<(Fd<M>, Fd<M>)> {
    let (ring, at) = (&lane.ring, place(lane, Kind::Datagram, "box")?);
    let reader = ring.socket(&at, SocketKind::Datagram).await?;
    ring.bind(&reader, at.clone()).await?;
    let writer = ring.socket(&at, SocketKind::Datagram).await?;
    ring.connect(&writer, at).await?;
    Ok((reader, writer))
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
            Act::Send { len, list, fate } => {
                let len = if kind == Kind::Datagram { len.min(LONGEST) } else { len };
                let moved = send_one(&lane, kind, &fd, (book.sent.get(), len), list, fate).await?;
                book.sent.set(book.sent.get() + moved);
                if moved > 0 {
                    book.messages.set(book.messages.get() + 1);
                }
            }
            _ => {}
        }
    }
    match kind {
        Kind::Datagram => {
            // One byte more than there ever is in order says that it is over.
            let data = vec![!byte(lane.number, book.sent.get())];
            let end = lane.ring.send(&fd, data).await;
            end.map(drop).map_err(|failed| lane.wrong(format_args!("the end: {}", failed.error)))
        }
        // The last handle goes while dropped sends are on their way.
        _ if book.messages.get().is_multiple_of(2) => Ok(()),
        Kind::Pipe => {
            fd.settle().await.map_err(|error| lane.wrong(format_args!("settle: {error}")))
        }
        _ => {
            let shut = lane.ring.shutdown(&fd, Shutdown::Write).await;
            shut.map_err(|error| lane.wrong(format_args!("shutdown: {error}")))
        }
    }
}

/// Sends, and tells how many bytes will arrive.
pub(crate) async fn send_one<M: Mode>(
    lane: &Lane<M>,
    kind: Kind,
    fd: &Fd<M>,
    (place, len): (usize, usize),
    list: bool,
    fate: Fate,
) -> Result<usize, String> {
    let data = bytes(lane.number, place, len);
    let result = if list && kind != Kind::Datagram {
        let (one, two) = data.split_at(len / 3);
        let list = vec![one.to_vec(), two.to_vec()];
        let operation = match kind {
            Kind::Pipe => lane.ring.write_vectored(fd, list),
            _ => lane.ring.send_vectored(fd, list),
        };
        plain(meet(operation, fate).await, |output| match output {
            Ok((count, _)) => Ok(count),
            Err(failed) => Err(failed.error),
        })
    } else {
        let operation = match kind {
            Kind::Pipe => lane.ring.write_owned(fd, data),
            _ => lane.ring.send(fd, data),
        };
        plain(meet(operation, fate).await, |output| match output {
            Ok((count, _)) => Ok(count),
            Err(failed) => Err(failed.error),
        })
    };
    match result {
        Met::Ended(Ok(0)) => Err(lane.wrong("a send of nothing")),
        Met::Ended(Ok(count)) if count > len => Err(lane.wrong("a send of more than there is")),
        Met::Ended(Ok(count)) => Ok(count),
        Met::Ended(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Ok(0),
        Met::Ended(Err(error)) => Err(lane.wrong(format_args!("a send: {error}"))),
        Met::Cancelled | Met::Unborn => Ok(0),
        // It is sent all the same, and whole.
        Met::Dropped => Ok(len),
    }
}

/// The same with another output.
fn plain<T, U>(met: Met<T>, map: impl FnOnce(T) -> U) -> Met<U> {
    match met {
        Met::Ended(output) => Met::Ended(map(output)),
        Met::Cancelled => Met::Cancelled,
        Met::Unborn => Met::Unborn,
        Met::Dropped => Met::Dropped,
    }
}

async fn receive<M: Mode>(
    lane: Lane<M>,
    kind: Kind,
    acts: Vec<Act>,
    fd: Fd<M>,
    book: Rc<Book>,
) -> Verdict {
    let (mut got, mut held) = (0, Vec::new());
    for act in acts {
        match act {
            Act::Rest { us } => lane.pause(us).await?,
            Act::Receive { room, list, fate } => {
                match receive_one(&lane, kind, &fd, room, list, fate).await? {
                    Some(data) if over(&lane, kind, got, &data) => return whole(&lane, got, &book),
                    Some(data) => check(&lane, &mut got, &data)?,
                    None => {}
                }
            }
            Act::Arrive { count, polls, hold } => {
                held.clear();
                if arrive(&lane, &fd, (count, polls), &mut got, &mut held).await? {
                    return whole(&lane, got, &book);
                }
                if !hold {
                    held.clear();
                }
            }
            _ => {}
        }
    }
    let is_stream = matches!(kind, Kind::Tcp | Kind::Unix);
    loop {
        if is_stream && got % 2 == 0 && arrive(&lane, &fd, (5, 0), &mut got, &mut held).await? {
            return whole(&lane, got, &book);
        }
        held.clear();
        let data = receive_one(&lane, kind, &fd, 3000, false, Fate::Await).await?;
        let data = data.unwrap_or_default();
        if over(&lane, kind, got, &data) {
            return whole(&lane, got, &book);
        }
        check(&lane, &mut got, &data)?;
    }
}

/// A part of what comes, by a stream of receives that is dropped behind it. Tells whether this is the end.
async fn arrive<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    (count, polls): (u8, u8),
    got: &mut usize,
    held: &mut Vec<RingBuffer>,
) -> Result<bool, String> {
    let mut arrives = lane.ring.recv_stream(fd);
    for _ in 0..count {
        let next = arrives.next();
        let mut next = std::pin::pin!(next);
        let came = match polls {
            0 => Some(next.await),
            polls => poll_some(&mut next, polls).await,
        };
        match came {
            None => break,
            Some(None) => return Ok(true),
            Some(Some(Ok(buffer))) if buffer.is_empty() => {
                return Err(lane.wrong("an empty buffer"));
            }
            Some(Some(Ok(buffer))) => {
                check(lane, got, &buffer)?;
                held.push(buffer);
            }
            Some(Some(Err(error))) => {
                return Err(lane.wrong(format_args!("a stream of receives: {error}")));
            }
        }
    }
    Ok(false)
}

/// Whether this is the end.
fn over<M: Mode>(lane: &Lane<M>, kind: Kind, got: usize, data: &[u8]) -> bool {
    match (kind, data) {
        (Kind::Datagram, [one]) => *one == !byte(lane.number, got),
        (_, data) => data.is_empty(),
    }
}

pub(crate) fn whole<M: Mode>(lane: &Lane<M>, got: usize, book: &Book) -> Verdict {
    let sent = book.sent.get();
    if got == sent { Ok(()) } else { Err(lane.wrong(format_args!("{got} of {sent} bytes came"))) }
}

pub(crate) fn check<M: Mode>(lane: &Lane<M>, got: &mut usize, data: &[u8]) -> Verdict {
    for found in data {
        let expected = byte(lane.number, *got);
        if *found != expected {
            let place = *got;
            return Err(
                lane.wrong(format_args!("byte {place} is {found}, and should be {expected}"))
            );
        }
        *got += 1;
    }
    Ok(())
}

/// What has come; `None` if the fate of it was another one.
async fn receive_one<M: Mode>(
    lane: &Lane<M>,
    kind: Kind,
    fd: &Fd<M>,
    room: usize,
    list: bool,
    fate: Fate,
) -> Result<Option<Vec<u8>>, String> {
    let room = if kind == Kind::Datagram { MESSAGE } else { room };
    let met = if list && kind != Kind::Datagram {
        let list = vec![vec![0; room / 2 + 1], vec![0; room / 2 + 1]];
        plain(meet(lane.ring.read_vectored(fd, list), fate).await, |output| match output {
            Ok((count, list)) => Ok((count, list.concat())),
            Err(failed) => Err(failed.error),
        })
    } else if let (true, Some(buffer)) = (kind == Kind::Unix, lane.pool.take()) {
        plain(meet(lane.ring.recv(fd, buffer), fate).await, |output| match output {
            Ok((count, buffer)) => Ok((count, buffer.to_vec())),
            Err(failed) => Err(failed.error),
        })
    } else {
        let operation = match kind {
            Kind::Pipe => lane.ring.read_owned(fd, vec![0; room]),
            _ => lane.ring.recv(fd, vec![0; room]),
        };
        plain(meet(operation, fate).await, |output| match output {
            Ok((count, buffer)) => Ok((count, buffer)),
            Err(failed) => Err(failed.error),
        })
    };
    match met {
        Met::Ended(Ok((count, data))) => match data.get(..count) {
            Some(data) => Ok(Some(data.to_vec())),
            None => Err(lane.wrong("more bytes than room")),
        },
        Met::Ended(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Ok(None),
        Met::Ended(Err(error)) => Err(lane.wrong(format_args!("a receive: {error}"))),
        Met::Cancelled | Met::Unborn | Met::Dropped => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use safer_ring::sim::{Config, World};
    use safer_ring::{BufferPool, Shared};

    use super::*;

    #[test]
    fn a_byte_that_is_lost_doubled_or_changed_is_found() {
        let world = World::new(Config::calm(1));
        let ring = world.ring().unwrap();
        let lane: Lane<Shared> = Lane { number: 3, world, ring, pool: BufferPool::new(1, 8) };
        let data = bytes(3, 0, 200);
        let (mut got, book) = (0, Book::default());
        check(&lane, &mut got, &data[..100]).unwrap();
        check(&lane, &mut got.clone(), &data[100..]).unwrap();
        check(&lane, &mut got.clone(), &data[101..]).unwrap_err();
        check(&lane, &mut got.clone(), &data[99..]).unwrap_err();
        book.sent.set(100);
        whole(&lane, got, &book).unwrap();
        book.sent.set(101);
        assert_eq!(whole(&lane, got, &book).unwrap_err(), "lane 3: 100 of 101 bytes came");
        assert!(over(&lane, Kind::Datagram, 5, &[!byte(3, 5)]) && over(&lane, Kind::Tcp, 5, &[]));
        assert!(!over(&lane, Kind::Datagram, 5, &[byte(3, 5)]));
    }
}
