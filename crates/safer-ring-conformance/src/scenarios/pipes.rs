//! Pipes, splice and tee.

use safer_ring::{Mode, OpenOptions, PipeOptions, SpliceFlags};

use crate::env::{Env, Verdict, seen};
use crate::kit::{ended, moved, plain, poll_once, start, text, turn, yes};
use crate::scenario::{Need, Scenario, row};

use super::names::closes_on_exec;

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, a_pipe_is_made, [Pipe], "5 'bytes'; closes on exec: yes, yes").needs(Need::Exec),
    row!(Success, a_pipe_of_packets, [Pipe, Read, Write], "3 'one', 2 'th', 1 '4'")
        .needs(Need::Packets),
    row!(Drop, a_dropped_pipe_is_closed, [Pipe], "left: 0"),
    row!(Success, splice_from_a_file_into_a_pipe, [Splice], "4, 3; pipe: 2345012"),
    row!(Success, splice_from_a_pipe_into_a_file, [Splice], "5; file: ab\\x00bytes"),
    row!(Success, splice_from_pipe_to_pipe, [Splice], "5; 5 'bytes'"),
    row!(Success, splice_waits, [Splice], "5; 5 'bytes'"),
    row!(Short, splice_of_more_than_there_is, [Splice], "3"),
    row!(Eof, splice_at_the_end, [Splice], "0"),
    row!(Error, splice_without_a_pipe, [Splice], "EINVAL"),
    row!(Error, splice_to_the_wrong_end, [Splice], "EBADF"),
    row!(Error, splice_at_a_place_in_a_pipe, [Splice], "ESPIPE"),
    row!(Error, splice_at_the_offset_that_means_the_cursor, [Splice], "InvalidInput"),
    row!(Error, splice_of_what_was_kept, [Splice], "Unreceived; 4 'kept'"),
    row!(Drop, a_dropped_splice_is_carried_out, [Splice], "5 'bytes'"),
    row!(Success, tee_duplicates, [Tee], "5; 5 'bytes' and 5 'bytes'"),
    row!(Success, tee_waits, [Tee], "5; 5 'bytes'"),
    row!(Error, tee_of_a_file, [Tee], "EINVAL"),
    row!(Drop, a_dropped_tee_is_carried_out, [Tee], "5 'bytes'"),
];

const NONE: SpliceFlags = SpliceFlags::NONE;

async fn a_pipe_is_made<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.ring().pipe(PipeOptions::Stream).await?;
    env.ring().write_owned(&writer, "bytes").await?;
    let read = env.ring().read_owned(&reader, vec![0; 9]).await;
    let (first, second) = (closes_on_exec(&reader)?, closes_on_exec(&writer)?);
    seen!("{}; closes on exec: {}, {}", moved(&read), yes(first), yes(second))
}

async fn a_pipe_of_packets<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.ring().pipe(PipeOptions::Packets).await?;
    for packet in ["one", "three", "4"] {
        env.ring().write_owned(&writer, packet).await?;
    }
    let mut all = Vec::new();
    // The rest of a packet is lost.
    for room in [9, 2, 9] {
        all.push(moved(&env.ring().read_owned(&reader, Vec::with_capacity(room)).await));
    }
    seen!("{}", all.join(", "))
}

async fn a_dropped_pipe_is_closed<M: Mode>(env: &Env<M>) -> Verdict {
    for _ in 0..10 {
        let _ = poll_once(&mut env.ring().pipe(PipeOptions::Stream));
    }
    ended(env.ring()).await?;
    seen!("left: {}", env.ring().operations().len())
}

async fn splice_from_a_file_into_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    let (reader, writer) = env.pipe().await?;
    let first = env.ring().splice(&file, Some(2), &writer, None, 4, NONE).await?;
    let second = env.ring().splice(&file, None, &writer, None, 3, NONE).await?;
    let (_, bytes) = env.ring().read_owned(&reader, vec![0; 20]).await?;
    seen!("{first}, {second}; pipe: {}", text(&bytes))
}

async fn splice_from_a_pipe_into_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"ab").await?;
    let (reader, writer) = env.pipe().await?;
    env.ring().write_owned(&writer, "bytes").await?;
    let moved = env.ring().splice(&reader, None, &file, Some(3), 100, NONE).await?;
    seen!("{moved}; file: {}", text(&env.content(&path)?))
}

async fn splice_from_pipe_to_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    env.ring().write_owned(&source, "bytes").await?;
    let count = env.ring().splice(&from, None, &to, None, 100, NONE).await?;
    seen!("{count}; {}", moved(&env.ring().read_owned(&sink, vec![0; 9]).await))
}

async fn splice_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    let mut splice = env.ring().splice(&from, None, &to, None, 5, NONE);
    start(&mut splice)?;
    turn(env.ring()).await?;
    start(&mut splice)?;
    env.ring().write_owned(&source, "bytes").await?;
    let count = splice.await?;
    seen!("{count}; {}", moved(&env.ring().read_owned(&sink, vec![0; 9]).await))
}

async fn splice_of_more_than_there_is<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (_reader, writer) = env.pipe().await?;
    seen!("{}", env.ring().splice(&file, Some(0), &writer, None, 100, NONE).await?)
}

async fn splice_at_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (_reader, writer) = env.pipe().await?;
    seen!("{}", env.ring().splice(&file, Some(3), &writer, None, 100, NONE).await?)
}

async fn splice_without_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"abc").await?;
    let second = env.ring().open(path, &OpenOptions::new().write(true)).await?;
    seen!("{}", plain(&env.ring().splice(&file, Some(0), &second, Some(0), 3, NONE).await))
}

async fn splice_to_the_wrong_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (reader, _writer) = env.pipe().await?;
    seen!("{}", plain(&env.ring().splice(&file, Some(0), &reader, None, 3, NONE).await))
}

async fn splice_at_a_place_in_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (_reader, writer) = env.pipe().await?;
    seen!("{}", plain(&env.ring().splice(&file, Some(0), &writer, Some(1), 3, NONE).await))
}

async fn splice_at_the_offset_that_means_the_cursor<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (_reader, writer) = env.pipe().await?;
    let refused = env.ring().splice(&file, Some(u64::MAX), &writer, None, 3, NONE).await;
    seen!("{}", plain(&refused))
}

async fn splice_of_what_was_kept<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (_sink, to) = env.pipe().await?;
    from.unread(b"kept".to_vec());
    let refused = env.ring().splice(&from, None, &to, None, 4, NONE).await;
    drop(source);
    let kept = env.ring().read_owned(&from, vec![0; 9]).await;
    seen!("{}; {}", plain(&refused), moved(&kept))
}

async fn a_dropped_splice_is_carried_out<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    env.ring().write_owned(&source, "bytes").await?;
    let _ = poll_once(&mut env.ring().splice(&from, None, &to, None, 5, NONE));
    seen!("{}", moved(&env.ring().read_owned(&sink, vec![0; 9]).await))
}

async fn tee_duplicates<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    env.ring().write_owned(&source, "bytes").await?;
    let count = env.ring().tee(&from, &to, 100).await?;
    let copy = env.ring().read_owned(&sink, vec![0; 9]).await;
    let original = env.ring().read_owned(&from, vec![0; 9]).await;
    seen!("{count}; {} and {}", moved(&copy), moved(&original))
}

async fn tee_waits<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    let mut tee = env.ring().tee(&from, &to, 5);
    start(&mut tee)?;
    turn(env.ring()).await?;
    start(&mut tee)?;
    env.ring().write_owned(&source, "bytes").await?;
    let count = tee.await?;
    seen!("{count}; {}", moved(&env.ring().read_owned(&sink, vec![0; 9]).await))
}

async fn tee_of_a_file<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let (_reader, writer) = env.pipe().await?;
    seen!("{}", plain(&env.ring().tee(&file, &writer, 3).await))
}

async fn a_dropped_tee_is_carried_out<M: Mode>(env: &Env<M>) -> Verdict {
    let (from, source) = env.pipe().await?;
    let (sink, to) = env.pipe().await?;
    env.ring().write_owned(&source, "bytes").await?;
    let _ = poll_once(&mut env.ring().tee(&from, &to, 5));
    seen!("{}", moved(&env.ring().read_owned(&sink, vec![0; 9]).await))
}
