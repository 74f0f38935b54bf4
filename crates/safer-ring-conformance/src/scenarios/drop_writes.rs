//! What a drop means: writes, syncs, sends, and the handles of descriptors.

use safer_ring::{Fd, Mode, Shutdown};

use crate::env::{Env, Observed, Trouble, Verdict, seen};
use crate::far::fill;
use crate::kit::{ended, moved, pattern, plain, poll_once, start, text, turn, until, word, yes};
use crate::scenario::{Need, Scenario, row};

use super::streams::take;

use super::drops::drop_receive;

pub(super) const TABLE: &[Scenario] = &[
    // Positional writes and syncs.
    row!(Drop, a_dropped_positional_write_is_done, [Write], "file: done"),
    row!(Drop, a_dropped_vectored_write_is_done, [WriteVectored], "file: abcd"),
    row!(Drop, a_sync_waits_for_dropped_writes, [Write, Fsync], "ok; file: done"),
    row!(Drop, a_dropped_sync_runs_to_its_end, [Fsync], "begun: 1, asked to end: 0"),
    row!(Drop, a_dropped_fallocate_runs_to_its_end, [Fallocate], "size 100"),
    row!(Drop, a_dropped_ftruncate_runs_to_its_end, [Ftruncate], "file: abc"),
    row!(
        Drop,
        the_error_of_a_dropped_write_is_told_to_a_sync,
        [Write, Fsync],
        "Earlier(ENOSPC), then EINVAL"
    )
    .needs(Need::SpecialFile),
    // Sends.
    row!(Drop, a_dropped_send_is_sent_before_the_next, [Send], "in order: yes"),
    row!(Drop, a_dropped_send_that_waits_is_sent_whole, [Send], "2000000 bytes, equal: yes"),
    row!(Drop, a_dropped_write_of_many_buffers_is_sent_whole, [WriteVectored], "1000000 bytes"),
    row!(
        Drop,
        the_error_of_a_dropped_send_is_told_to_the_next,
        [Send],
        "Earlier(EPIPE) 'kept', then EPIPE 'own'"
    ),
    row!(
        Drop,
        the_error_of_a_dropped_send_is_told_to_a_shutdown,
        [Send, Shutdown],
        "Earlier(EPIPE)"
    ),
    row!(
        Drop,
        the_error_of_a_dropped_send_is_told_by_a_close,
        [Send, Close],
        "Earlier(EPIPE), and the handle is gone"
    ),
    row!(
        Drop,
        a_shutdown_waits_for_dropped_sends,
        [Send, Shutdown],
        "ok; all bytes: yes, then the end"
    ),
    row!(Drop, a_forgotten_write_is_done, [Write], "file: done"),
    // Handles.
    row!(Drop, a_dropped_stream_closes_after_its_sends, [Send], "all bytes: yes, then the end"),
    row!(Drop, a_dropped_stream_ends_its_armed_receive, [Recv], "left: 0; peer: 0 bytes"),
    row!(Drop, a_settled_stream_keeps_its_bytes, [Recv], "ok; holders 1; 4 'kept'"),
    row!(Drop, drained_receives_keep_their_bytes, [Recv], "complete: yes; 1 'x'"),
];

async fn a_dropped_positional_write_is_done<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let _ = poll_once(&mut env.ring().write_at_owned(&file, b"done".to_vec(), 0));
    ended(env.ring()).await?;
    seen!("file: {}", text(&env.content(&path)?))
}

async fn a_dropped_vectored_write_is_done<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let _ = poll_once(&mut env.ring().write_vectored_at(&file, vec!["ab", "cd"], 0));
    ended(env.ring()).await?;
    seen!("file: {}", text(&env.content(&path)?))
}

async fn a_sync_waits_for_dropped_writes<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let _ = poll_once(&mut env.ring().write_at_owned(&file, b"done".to_vec(), 0));
    let synced = env.ring().fsync(&file).await;
    seen!("{}; file: {}", plain(&synced), text(&env.content(&path)?))
}

async fn a_dropped_sync_runs_to_its_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let before = env.ring().snapshot();
    let _ = poll_once(&mut env.ring().fsync(&file));
    let begun = env.ring().snapshot().submitted - before.submitted;
    ended(env.ring()).await?;
    let asked = env.ring().snapshot().cancel_requests - before.cancel_requests;
    seen!("begun: {begun}, asked to end: {asked}")
}

async fn a_dropped_fallocate_runs_to_its_end<M: Mode>(env: &Env<M>) -> Verdict {
    use safer_ring::FallocateMode::Allocate;
    let (file, path) = env.file(b"").await?;
    if plain(&env.ring().fallocate(&file, Allocate, 0, 10).await) == "EOPNOTSUPP" {
        return Ok(Observed::Skipped("this file system has no fallocate".to_owned()));
    }
    let _ = poll_once(&mut env.ring().fallocate(&file, Allocate, 0, 100));
    ended(env.ring()).await?;
    seen!("size {}", env.content(&path)?.len())
}

async fn a_dropped_ftruncate_runs_to_its_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"abcdef").await?;
    let _ = poll_once(&mut env.ring().ftruncate(&file, 3));
    ended(env.ring()).await?;
    seen!("file: {}", text(&env.content(&path)?))
}

async fn the_error_of_a_dropped_write_is_told_to_a_sync<M: Mode>(env: &Env<M>) -> Verdict {
    let full = match std::fs::File::options().write(true).open("/dev/full") {
        Ok(full) => Fd::new(full),
        Err(error) => return Ok(Observed::Skipped(format!("/dev/full: {error}"))),
    };
    let mut write = env.ring().write_owned(&full, b"lost".to_vec());
    if poll_once(&mut write).is_ready() {
        // It was over at once, and the error was told to the future.
        drop(write);
        let mut batch = env.ring().batch();
        let member = batch.write(&full, b"lost".to_vec());
        batch.submit().await;
        drop(member);
    } else {
        drop(write);
    }
    let first = env.ring().fsync(&full).await;
    let second = env.ring().fsync(&full).await;
    seen!("{}, then {}", plain(&first), plain(&second))
}

async fn a_dropped_send_is_sent_before_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let mut first = env.ring().send(&near, vec![1; 100_000]);
    start(&mut first)?;
    drop(first);
    let mut second = env.ring().send(&near, vec![2; 10]);
    start(&mut second)?;
    let receive = async {
        take(env, &far, filled).await?;
        let mut got = Vec::new();
        while got.len() < 100_010 {
            got.extend(env.ring().recv(&far, vec![0; 65_536]).await?.1);
        }
        Ok::<_, Trouble>(got)
    };
    let (second, got) = crate::kit::both(second, receive).await;
    second?;
    let got = got?;
    let mut sent = vec![1; 100_000];
    sent.extend([2; 10]);
    seen!("in order: {}", yes(got == sent))
}

async fn a_dropped_send_that_waits_is_sent_whole<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let sent = pattern(2_000_000);
    let mut send = env.ring().send(&near, sent.clone());
    start(&mut send)?;
    drop(send);
    take(env, &far, filled).await?;
    let far = safer_ring::net::UnixStream::from_fd(env.ring(), far);
    let got = far.read_exact(vec![0; sent.len()]).await?;
    seen!("{} bytes, equal: {}", got.len(), yes(got == sent))
}

async fn a_dropped_write_of_many_buffers_is_sent_whole<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let mut write = env.ring().write_vectored(&near, vec![vec![1; 250_000]; 4]);
    start(&mut write)?;
    drop(write);
    take(env, &far, filled).await?;
    let far = safer_ring::net::UnixStream::from_fd(env.ring(), far);
    seen!("{} bytes", far.read_exact(vec![0; 1_000_000]).await?.len())
}

/// A connection whose dropped send has failed with `EPIPE`.
async fn broken<M: Mode>(env: &Env<M>) -> Result<Fd<M>, Trouble> {
    let (near, far) = env.pair().await?;
    fill(env, &near).await?;
    let mut send = env.ring().send(&near, vec![1; 1000]);
    start(&mut send)?;
    drop(send);
    turn(env.ring()).await?;
    drop(far);
    Ok(near)
}

async fn the_error_of_a_dropped_send_is_told_to_the_next<M: Mode>(env: &Env<M>) -> Verdict {
    let near = broken(env).await?;
    let first = env.ring().send(&near, b"kept".to_vec()).await;
    let second = env.ring().send(&near, b"own".to_vec()).await;
    seen!("{}, then {}", moved(&first), moved(&second))
}

async fn the_error_of_a_dropped_send_is_told_to_a_shutdown<M: Mode>(env: &Env<M>) -> Verdict {
    let near = broken(env).await?;
    seen!("{}", plain(&env.ring().shutdown(&near, Shutdown::Write).await))
}

async fn the_error_of_a_dropped_send_is_told_by_a_close<M: Mode>(env: &Env<M>) -> Verdict {
    let near = safer_ring::net::UnixStream::from_fd(env.ring(), broken(env).await?);
    let Err(error) = near.close().await else { return seen!("ok") };
    let first = word(&error.error);
    let Some(fd) = error.buffer else { return seen!("{first}, and the handle is gone") };
    match env.ring().close(fd).await {
        Ok(()) => seen!("{first}, then ok"),
        Err(error) => seen!("{first}, then {}", word(&error.error)),
    }
}

/// Takes what fills a connection, then bytes to its end: whether all were there.
async fn all_and_the_end<M: Mode>(
    env: &Env<M>,
    far: &Fd<M>,
    filled: usize,
    sent: &[u8],
) -> Result<bool, Trouble> {
    take(env, far, filled).await?;
    let mut got = Vec::new();
    loop {
        let (count, bytes) = env.ring().recv(far, vec![0; 65_536]).await?;
        got.extend(bytes);
        if count == 0 {
            return Ok(got == sent);
        }
    }
}

async fn a_shutdown_waits_for_dropped_sends<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let sent = pattern(100_000);
    let mut send = env.ring().send(&near, sent.clone());
    start(&mut send)?;
    drop(send);
    let mut shut = env.ring().shutdown(&near, Shutdown::Write);
    start(&mut shut)?;
    let all = all_and_the_end(env, &far, filled, &sent);
    let (shut, all) = crate::kit::both(shut, all).await;
    seen!("{}; all bytes: {}, then the end", plain(&shut), yes(all?))
}

async fn a_forgotten_write_is_done<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let mut write = env.ring().write_at_owned(&file, b"done".to_vec(), 0);
    let _ = poll_once(&mut write);
    std::mem::forget(write);
    until(env.ring(), "it is written", || env.content(&path).is_ok_and(|bytes| !bytes.is_empty()))
        .await?;
    seen!("file: {}", text(&env.content(&path)?))
}

async fn a_dropped_stream_closes_after_its_sends<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.pair().await?;
    let filled = fill(env, &near).await?;
    let sent = pattern(100_000);
    let mut send = env.ring().send(&near, sent.clone());
    start(&mut send)?;
    drop(send);
    drop(near);
    let all = all_and_the_end(env, &far, filled, &sent).await?;
    seen!("all bytes: {}, then the end", yes(all))
}

async fn a_dropped_stream_ends_its_armed_receive<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    drop(near);
    until(env.ring(), "it has ended", || env.ring().operations().is_empty()).await?;
    let left = env.ring().operations().len();
    seen!("left: {left}; peer: {} bytes", far.read(8).await?.len())
}

async fn a_settled_stream_keeps_its_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    far.write_all(b"kept").await?;
    let settled = near.settle().await;
    let holders = near.holders();
    let kept = env.ring().recv(&near, vec![0; 64]).await;
    seen!("{}; holders {holders}; {}", plain(&settled), moved(&kept))
}

async fn drained_receives_keep_their_bytes<M: Mode>(env: &Env<M>) -> Verdict {
    let (near, far) = env.stream().await?;
    drop_receive(env.ring(), &near)?;
    turn(env.ring()).await?;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(15);
    let drained = env.ring().drain(end).await;
    far.write_all(b"x").await?;
    let next = env.ring().recv(&near, vec![0; 64]).await;
    seen!("complete: {}; {}", yes(drained.is_complete()), moved(&next))
}
