//! Two pipes with a splice between them: what goes into the one comes out of the other, and a tee shows what is on its way.

use std::rc::Rc;

use safer_ring::sim::JoinHandle;
use safer_ring::{Fd, Interest, Mode, PipeOptions, SpliceFlags};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate, Kind};
use crate::streams::{Book, check, send_one, whole};

/// Makes the pipes and starts the three sides.
pub(crate) async fn start<M: Mode>(
    lane: Lane<M>,
    acts: Vec<Act>,
) -> Result<Vec<JoinHandle<Verdict>>, String> {
    let pipe = async || lane.ring.pipe(PipeOptions::default()).await;
    let made = (pipe().await, pipe().await);
    let (Ok((from, writer)), Ok((reader, to))) = made else {
        return Err(lane.wrong("set-up: no pipes"));
    };
    let (world, book) = (lane.world.clone(), Rc::new(Book::default()));
    let sender = send(lane.clone(), acts.clone(), writer, Rc::clone(&book));
    let mover = splice(lane.clone(), acts.clone(), from, to);
    let receiver = receive(lane, acts, reader, book);
    Ok(vec![world.spawn(sender), world.spawn(mover), world.spawn(receiver)])
}

async fn send<M: Mode>(lane: Lane<M>, acts: Vec<Act>, fd: Fd<M>, book: Rc<Book>) -> Verdict {
    for act in acts {
        match act {
            Act::Pause { us } => lane.pause(us).await?,
            Act::Send { len, list, fate } => {
                let place = (book.sent.get(), len);
                let moved = send_one(&lane, Kind::Pipe, &fd, place, list, fate).await?;
                book.sent.set(book.sent.get() + moved);
            }
            _ => {}
        }
    }
    fd.settle().await.map_err(|error| lane.wrong(format_args!("settle: {error}")))
}

/// Moves all there is, and looks at some of it first.
async fn splice<M: Mode>(lane: Lane<M>, acts: Vec<Act>, from: Fd<M>, to: Fd<M>) -> Verdict {
    // How much has been moved, as long as that is known.
    let mut moved = Some(0);
    for act in acts {
        if let Act::Move { len, tee, fate } = act {
            if let (true, Some(moved)) = (tee, moved) {
                look(&lane, &from, moved, len).await?;
            }
            if move_one(&lane, (&from, &to), len, fate, &mut moved).await? {
                return Ok(());
            }
        }
    }
    while !move_one(&lane, (&from, &to), 5000, Fate::Await, &mut moved).await? {}
    Ok(())
}

/// Tells whether that was the end.
async fn move_one<M: Mode>(
    lane: &Lane<M>,
    (from, to): (&Fd<M>, &Fd<M>),
    len: u32,
    fate: Fate,
    moved: &mut Option<usize>,
) -> Result<bool, String> {
    let splice = lane.ring.splice(from, None, to, None, len, SpliceFlags::default());
    match meet(splice, fate).await {
        Met::Ended(Ok(0)) => return Ok(true),
        Met::Ended(Ok(count)) => *moved = moved.map(|moved| moved + count),
        Met::Ended(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {}
        Met::Ended(Err(error)) => return Err(lane.wrong(format_args!("a splice: {error}"))),
        Met::Cancelled | Met::Unborn => {}
        // It moves what it moves.
        Met::Dropped => *moved = None,
    }
    Ok(false)
}

/// A tee shows what comes next, and leaves it there.
async fn look<M: Mode>(lane: &Lane<M>, from: &Fd<M>, moved: usize, len: u32) -> Verdict {
    let wrong = |error: std::io::Error| lane.wrong(format_args!("a tee: {error}"));
    let (reader, writer) = lane.ring.pipe(PipeOptions::default()).await.map_err(wrong)?;
    let count = lane.ring.tee(from, &writer, len).await.map_err(wrong)?;
    drop(writer);
    let (mut seen, mut rest) = (Vec::new(), count);
    while rest > 0 {
        let read = lane.ring.read_owned(&reader, vec![0; rest]).await;
        let (count, data) = read.map_err(|failed| wrong(failed.error))?;
        if count == 0 || count > rest {
            return Err(lane.wrong(format_args!("{rest} bytes of a tee are missing")));
        }
        seen.extend(data.into_iter().take(count));
        rest -= count;
    }
    if seen == bytes(lane.number, moved, seen.len()) {
        Ok(())
    } else {
        Err(lane.wrong(format_args!("a tee shows other bytes at {moved}")))
    }
}

async fn receive<M: Mode>(lane: Lane<M>, acts: Vec<Act>, fd: Fd<M>, book: Rc<Book>) -> Verdict {
    let mut got = 0;
    for act in acts {
        match act {
            Act::Rest { us } => lane.pause(us).await?,
            Act::Watch { fate } => watch(&lane, &fd, fate).await?,
            Act::Receive { room, .. } if !read(&lane, &fd, room, &mut got).await? => {
                return whole(&lane, got, &book);
            }
            _ => {}
        }
    }
    loop {
        watch(&lane, &fd, Fate::Await).await?;
        if !read(&lane, &fd, 3000, &mut got).await? {
            return whole(&lane, got, &book);
        }
    }
}

/// Until there is something to read, or the end.
async fn watch<M: Mode>(lane: &Lane<M>, fd: &Fd<M>, fate: Fate) -> Verdict {
    match meet(lane.ring.poll(fd, Interest::READABLE), fate).await {
        Met::Ended(Ok(events)) => {
            let events = Interest::from_bits(events);
            let fits = events.contains(Interest::READABLE) || events.contains(Interest::HANG_UP);
            if fits { Ok(()) } else { Err(lane.wrong(format_args!("a poll: {events:?}"))) }
        }
        Met::Ended(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Ok(()),
        Met::Ended(Err(error)) => Err(lane.wrong(format_args!("a poll: {error}"))),
        Met::Cancelled | Met::Unborn | Met::Dropped => Ok(()),
    }
}

/// Tells whether there was something.
async fn read<M: Mode>(
    lane: &Lane<M>,
    fd: &Fd<M>,
    room: usize,
    got: &mut usize,
) -> Result<bool, String> {
    let read = lane.ring.read_owned(fd, vec![0; room]).await;
    let (count, data) = read.map_err(|failed| lane.wrong(failed.error))?;
    check(lane, got, data.get(..count).unwrap_or_default())?;
    Ok(count > 0)
}
