//! A file at its cursor, by the type of `fs`, beside a vector and a number.

use std::io::SeekFrom;

use safer_ring::fs::{File, OpenOptions};
use safer_ring::{Mode, OpError};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate};

/// What the file must be like.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    cursor: usize,
    /// Bytes that were made so far, so that all writes differ.
    made: usize,
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

pub(crate) async fn run<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let options = OpenOptions::new().read(true).write(true).create_new(true);
    let opened = options.open(&lane.ring, format!("/tmp/cursor{}", lane.number)).await;
    let file = opened.map_err(|error| lane.wrong(format_args!("an open: {error}")))?;
    let mut model = Model::default();
    for act in acts {
        match act {
            Act::Pause { us } => lane.pause(us).await?,
            Act::Seek { at, from } => seek(&lane, &file, &mut model, at, from).await?,
            Act::Sync => second_handle(&lane, &file, &model).await?,
            Act::Write { at, len, fate } => {
                let at = at % (model.bytes.len() + 1);
                seek(&lane, &file, &mut model, at, 0).await?;
                write(&lane, &file, &mut model, len, fate).await?;
            }
            Act::Read { len, fate, .. } => read(&lane, &file, &mut model, len, fate).await?,
            _ => {}
        }
    }
    seek(&lane, &file, &mut model, 0, 0).await?;
    while model.cursor < model.bytes.len() {
        read(&lane, &file, &mut model, 4096, Fate::Await).await?;
    }
    let closed = file.close().await;
    closed.map_err(|failed| lane.wrong(format_args!("a close: {}", failed.error)))
}

/// Ends what was dropped, and moves the cursor.
async fn seek<M: Mode>(
    lane: &Lane<M>,
    file: &File<M>,
    model: &mut Model,
    at: usize,
    from: u8,
) -> Verdict {
    let by = |from: usize| i64::try_from(at).unwrap_or(0) - i64::try_from(from).unwrap_or(0);
    let to = match from {
        0 => SeekFrom::Start(wide(at)),
        1 => SeekFrom::Current(by(model.cursor)),
        _ => SeekFrom::End(by(model.bytes.len())),
    };
    let found = file.seek(to).await;
    model.cursor = at;
    expect(lane, format_args!("{to:?}"), found, at)
}

fn expect<M: Mode>(
    lane: &Lane<M>,
    what: impl std::fmt::Display,
    found: std::io::Result<u64>,
    expected: usize,
) -> Verdict {
    match found {
        Ok(found) if found == wide(expected) => Ok(()),
        other => Err(lane.wrong(format_args!("{what}: {other:?}, and should be {expected}"))),
    }
}

/// A second handle stands where the first one does.
async fn second_handle<M: Mode>(lane: &Lane<M>, file: &File<M>, model: &Model) -> Verdict {
    expect(lane, "the position", file.stream_position().await, model.cursor)?;
    // Bytes that were read ahead are the first handle's own.
    let back = file.seek(SeekFrom::Start(wide(model.cursor))).await;
    expect(lane, "a seek to where it is", back, model.cursor)?;
    let second = file.try_clone();
    let second = second.map_err(|error| lane.wrong(format_args!("a second handle: {error}")))?;
    expect(lane, "the other position", second.stream_position().await, model.cursor)
}

async fn write<M: Mode>(
    lane: &Lane<M>,
    file: &File<M>,
    model: &mut Model,
    len: usize,
    fate: Fate,
) -> Verdict {
    let data = bytes(lane.number, model.made, len);
    model.made += len;
    let moved = match meet(file.write(data.clone()), fate).await {
        Met::Ended(Ok((count, _))) => count,
        Met::Ended(Err(OpError { error, .. })) if error.kind() == std::io::ErrorKind::TimedOut => 0,
        Met::Ended(Err(failed)) => {
            return Err(lane.wrong(format_args!("a write: {}", failed.error)));
        }
        Met::Cancelled | Met::Unborn => 0,
        // It is written all the same, and whole.
        Met::Dropped => len,
    };
    let end = model.cursor + moved;
    if model.bytes.len() < end {
        model.bytes.resize(end, 0);
    }
    if let (Some(place), Some(data)) = (model.bytes.get_mut(model.cursor..end), data.get(..moved)) {
        place.copy_from_slice(data);
    }
    model.cursor = end;
    // A read must not overtake what is still being written.
    expect(lane, "the position", file.stream_position().await, end)
}

async fn read<M: Mode>(
    lane: &Lane<M>,
    file: &File<M>,
    model: &mut Model,
    len: usize,
    fate: Fate,
) -> Verdict {
    let (count, data) = match meet(file.read(vec![0; len]), fate).await {
        Met::Ended(Ok(read)) => read,
        Met::Ended(Err(OpError { error, .. })) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Ok(());
        }
        Met::Ended(Err(failed)) => {
            return Err(lane.wrong(format_args!("a read: {}", failed.error)));
        }
        // What it has read goes to the next.
        Met::Cancelled | Met::Unborn | Met::Dropped => return Ok(()),
    };
    let end = model.cursor + count;
    let there = model.bytes.get(model.cursor.min(model.bytes.len())..).unwrap_or_default();
    let right = data.get(..count) == there.get(..count) && (count > 0 || there.is_empty());
    if !right {
        return Err(lane.wrong(format_args!("{count} bytes at {} are others", model.cursor)));
    }
    model.cursor = end;
    Ok(())
}
