//! The adapter of files behaves as tokio's own: each program here runs over both.
#![cfg(feature = "tokio")]
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::fs::File as StdFile;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice, Read as _, Seek as _, SeekFrom, Write as _};
use std::pin::pin;
use std::task::Poll;

use common::alone::alone;
use common::{Exec, everywhere, pattern, with_ring};
use safer_ring::fs::File;
use safer_ring::io::AsyncFile;
use safer_ring::{BackendKind, Mode, RingOf};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _, AsyncWrite,
    AsyncWriteExt as _,
};

/// Files of tokio or of ours, and what runs futures that use them.
trait Files: Sized + 'static {
    type File: AsyncRead + AsyncWrite + AsyncSeek + Unpin;
    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output;
    fn take(&self, file: StdFile) -> Self::File;
}

struct Theirs;

impl Files for Theirs {
    type File = tokio::fs::File;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { body(self).await })
    }

    fn take(&self, file: StdFile) -> Self::File {
        tokio::fs::File::from_std(file)
    }
}

struct Ours<E: Exec>(RingOf<E::M>, std::marker::PhantomData<E>);

impl<E: Exec> Files for Ours<E> {
    type File = AsyncFile<E::M>;

    fn run<F: Future>(self, body: impl FnOnce(Self) -> F) -> F::Output {
        let ring = self.0.clone();
        E::run(&ring, async { body(self).await })
    }

    fn take(&self, file: StdFile) -> Self::File {
        File::from_std(&self.0, file).into_io()
    }
}

macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        over_both!(@ tokio_fs, super::Theirs; $($name)*);
        over_both!(@ local_fs, super::ours::<crate::common::OnLocal>(); $($name)*);
        over_both!(@ pollster_fs, super::ours::<crate::common::OnPollster>(); $($name)*);
        over_both!(@ tokio_ours, super::ours::<crate::common::OnTokio>(); $($name)*);
    };
    (@ $module:ident, $files:expr; $($name:ident)*) => {
        mod $module {
            $(#[test] fn $name() {
                crate::common::within_deadline(|| super::Files::run($files, super::$name));
            })*
        }
    };
}

fn ours<E: Exec>() -> Ours<E> {
    Ours(common::flavour::ring::<E>(), std::marker::PhantomData)
}

over_both!(
    a_file_is_written_and_read_back,
    every_seek_from_every_place,
    a_read_after_a_write_sees_it,
    a_write_after_a_read_is_where_the_reader_stands,
    what_is_appended_is_at_the_end,
    the_end_of_a_file_can_move,
    a_full_device_is_told_once,
    a_pipe_is_read_and_cannot_be_sought_in,
    random_calls_agree_with_a_model,
);

fn file_of(content: &[u8]) -> StdFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

async fn a_file_is_written_and_read_back<F: Files>(files: F) {
    let std = file_of(b"");
    let mut file = files.take(std.try_clone().unwrap());
    let all = pattern(1_000_000);
    file.write_all(&all).await.unwrap();
    file.flush().await.unwrap();
    assert!(content_at(&std) == all);
    file.rewind().await.unwrap();
    let mut got = Vec::new();
    assert_eq!(file.read_to_end(&mut got).await.unwrap(), all.len());
    assert!(got == all);
    file.shutdown().await.unwrap();
}

async fn every_seek_from_every_place<F: Files>(files: F) {
    const LEN: i64 = 20;
    let all = pattern(20);
    for begin in [0, 1, 10, 20, 25] {
        for read in [0, 3] {
            let all = &all;
            for (to, expected) in [
                (SeekFrom::Start(0), Some(0)),
                (SeekFrom::Start(7), Some(7)),
                (SeekFrom::Start(30), Some(30)),
                (SeekFrom::End(0), Some(LEN)),
                (SeekFrom::End(-5), Some(LEN - 5)),
                (SeekFrom::End(5), Some(LEN + 5)),
                (SeekFrom::End(-21), None),
                (SeekFrom::Current(0), Some(i64::MAX)),
                (SeekFrom::Current(2), Some(i64::MAX)),
                (SeekFrom::Current(-1), Some(i64::MAX)),
                (SeekFrom::Current(-26), None),
                (SeekFrom::Start(u64::MAX), None),
            ] {
                let mut file = files.take(file_of(all));
                file.seek(SeekFrom::Start(begin)).await.unwrap();
                let mut part = vec![0; read];
                let count = file.read(&mut part).await.unwrap();
                let place = i64::try_from(begin).unwrap() + i64::try_from(count).unwrap();
                let expected = match (to, expected) {
                    (SeekFrom::Current(by), Some(_)) => Some(place + by).filter(|to| *to >= 0),
                    (_, expected) => expected,
                };
                let sought = file.seek(to).await;
                let case = format!("{to:?} from {place}: {sought:?}");
                let stands = match expected {
                    Some(expected) => {
                        assert_eq!(sought.unwrap(), u64::try_from(expected).unwrap(), "{case}");
                        expected
                    }
                    None => {
                        assert_eq!(sought.unwrap_err().kind(), ErrorKind::InvalidInput, "{case}");
                        place
                    }
                };
                assert_eq!(i64::try_from(file.stream_position().await.unwrap()).unwrap(), stands);
                let mut rest = Vec::new();
                file.read_to_end(&mut rest).await.unwrap();
                let from = usize::try_from(stands.min(LEN)).unwrap();
                assert_eq!(rest, all[from..], "{case}");
            }
        }
    }
}

async fn a_read_after_a_write_sees_it<F: Files>(files: F) {
    let mut file = files.take(file_of(b"0123456789"));
    file.write_all(b"abc").await.unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"3456789");
    file.seek(SeekFrom::Start(1)).await.unwrap();
    file.write_all(b"XY").await.unwrap();
    file.rewind().await.unwrap();
    rest.clear();
    file.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"aXY3456789");
}

async fn a_write_after_a_read_is_where_the_reader_stands<F: Files>(files: F) {
    let std = file_of(b"0123456789");
    let mut file = files.take(std.try_clone().unwrap());
    assert_eq!(file.read(&mut [0; 4]).await.unwrap(), 4);
    file.write_all(b"abc").await.unwrap();
    file.flush().await.unwrap();
    assert_eq!(content_at(&std), b"0123abc789");
    assert_eq!(file.stream_position().await.unwrap(), 7);
}

async fn what_is_appended_is_at_the_end<F: Files>(files: F) {
    let named = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(named.path(), b"begin ").unwrap();
    let mut options = std::fs::OpenOptions::new();
    let std = options.read(true).append(true).open(named.path()).unwrap();
    let mut file = files.take(std);
    assert_eq!(file.read(&mut [0; 2]).await.unwrap(), 2);
    file.write_all(b"one").await.unwrap();
    file.flush().await.unwrap();
    assert_eq!(file.stream_position().await.unwrap(), 9);
    file.seek(SeekFrom::Start(1)).await.unwrap();
    file.write_all(b"two").await.unwrap();
    assert_eq!(file.read(&mut [0; 8]).await.unwrap(), 0, "it stands behind what it wrote");
    assert_eq!(std::fs::read(named.path()).unwrap(), b"begin onetwo");
}

async fn the_end_of_a_file_can_move<F: Files>(files: F) {
    let std = file_of(b"first");
    // Through a descriptor with a cursor of its own.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&std));
    let mut file = files.take(std.try_clone().unwrap());
    let mut got = Vec::new();
    file.read_to_end(&mut got).await.unwrap();
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b" more").unwrap();
    file.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"first more");
}

async fn a_full_device_is_told_once<F: Files>(files: F) {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut file = files.take(full);
    let told = match file.write_all(b"no room").await {
        Ok(()) => file.flush().await,
        told => told,
    };
    assert_eq!(told.unwrap_err().kind(), ErrorKind::StorageFull);
    file.flush().await.unwrap();
}

async fn a_pipe_is_read_and_cannot_be_sought_in<F: Files>(files: F) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut file = files.take(StdFile::from(std::os::fd::OwnedFd::from(reader)));
    writer.write_all(b"through").unwrap();
    drop(writer);
    let mut got = [0; 3];
    file.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"thr");
    let error = file.seek(SeekFrom::Start(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSeekable);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"ough");
}

/// A generator of numbers: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Polls a call so many times and drops it.
async fn abort_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            return Some(output);
        }
    }
    None
}

/// Any of the calls, one time in three dropped after some polls.
fn patience(dice: &mut Dice) -> usize {
    if dice.below(3) == 0 { dice.below(3) } else { usize::MAX }
}

/// A call that is awaited to its end, or polled some times and dropped.
async fn call<T>(patience: usize, call: impl Future<Output = T>) -> Option<T> {
    if patience == usize::MAX { Some(call.await) } else { abort_after(patience, call).await }
}

fn to_place(place: usize) -> u64 {
    u64::try_from(place).unwrap()
}

async fn random_calls_agree_with_a_model<F: Files>(files: F) {
    let seed = u64::from(std::process::id()) * 31 + 7;
    println!("seed {seed}");
    for round in 0..12 {
        let mut dice = Dice(seed + round);
        let mut model = pattern(dice.below(200_000));
        let mut place = 0;
        let std = file_of(&model);
        let mut file = files.take(std.try_clone().unwrap());
        for step in 0..150 {
            let size = [0, 1, 100, 9000, 150_000][dice.below(5)];
            let patience = patience(&mut dice);
            let case = format!("seed {seed} round {round} step {step}");
            match dice.below(6) {
                0 | 1 => {
                    let mut part = vec![0; size];
                    if let Some(count) = call(patience, file.read(&mut part)).await {
                        let count = count.unwrap();
                        let there = model.get(place..).unwrap_or_default();
                        assert_eq!(part[..count], there[..count], "{case}");
                        assert!(count > 0 || size == 0 || there.is_empty(), "{case}");
                        place += count;
                    }
                }
                2 | 3 => {
                    let bytes: Vec<u8> = pattern(size).iter().map(|byte| byte ^ 0x55).collect();
                    if let Some(count) = call(patience, file.write(&bytes)).await {
                        let count = count.unwrap();
                        if count > 0 && model.len() < place + count {
                            model.resize(place + count, 0);
                        }
                        model[place..place + count].copy_from_slice(&bytes[..count]);
                        place += count;
                    }
                }
                4 => {
                    if let Some(flushed) = call(patience, file.flush()).await {
                        flushed.unwrap();
                        assert!(content_at(&std) == model, "{case}");
                    }
                }
                _ => {
                    let to = dice.below(model.len() + 10);
                    if patience != usize::MAX {
                        // One that is dropped has happened or not.
                        let _ = abort_after(patience, file.seek(SeekFrom::Start(5))).await;
                    }
                    let sought = file.seek(SeekFrom::Start(to_place(to))).await.unwrap();
                    assert_eq!(sought, to_place(to), "{case}");
                    place = to.min(model.len());
                    if place != to {
                        file.seek(SeekFrom::Start(to_place(place))).await.unwrap();
                    }
                }
            }
        }
        assert_eq!(file.stream_position().await.unwrap(), to_place(place));
        file.shutdown().await.unwrap();
        assert!(content_at(&std) == model, "seed {seed} round {round}");
    }
}

/// The content, without a move of the cursor that tokio's file shares with it.
fn content_at(file: &StdFile) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut all = vec![0; len];
    file.read_exact_at(&mut all, 0).unwrap();
    all
}

everywhere!(
    lines_come_without_a_wrapper,
    the_file_comes_back_with_its_cursor,
    a_file_with_a_write_under_way_does_not_come_back,
    the_position_begins_at_the_cursor,
    a_seek_that_is_dropped_before_it_is_done_has_not_happened,
    reads_that_are_dropped_lose_nothing,
    writes_that_are_dropped_have_accepted_nothing,
    a_flush_and_a_shutdown_that_are_dropped_go_on,
    a_write_that_is_cut_short_is_continued,
);

fn a_write_that_is_cut_short_is_continued<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // A pipe takes a part, and the rest when there is room.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = StdFile::from(std::os::fd::OwnedFd::from(writer));
        let mut file = File::from_std(&ring, writer).into_io();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        for part in pattern(1_000_000).chunks(150_000) {
            file.write_all(part).await.unwrap();
        }
        file.flush().await.unwrap();
        drop(file);
        assert!(reader.join().unwrap() == pattern(1_000_000));
    });
}

/// Writes beyond the largest size of a file that this process may make.
async fn meet_the_limit<M: Mode>(ring: RingOf<M>) {
    let std = tempfile::tempfile().unwrap();
    let mut file = File::from_std(&ring, std.try_clone().unwrap()).into_io();
    let mut told = Ok(());
    for _ in 0..3 {
        told = told.and(file.write_all(&pattern(40_000)).await);
    }
    told = told.and(file.flush().await);
    let error = told.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "{error}");
    file.flush().await.unwrap();
    assert_eq!((std.metadata().unwrap().len(), file.position()), (100_000, 100_000));
    file.rewind().await.unwrap();
    let mut got = Vec::new();
    file.read_to_end(&mut got).await.unwrap();
    let all = [pattern(40_000), pattern(40_000), pattern(20_000)].concat();
    assert!(got == all);
}

#[test]
fn the_position_stands_behind_what_a_failed_write_has_written() {
    alone("the_position_stands_behind_what_a_failed_write_has_written", || {
        let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: 100_000 };
        // SAFETY: reads the structure above; this process is for this test only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        // SAFETY: no handler is installed.
        assert_ne!(unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) }, libc::SIG_ERR);
        let ring = safer_ring::local::Ring::new(8).unwrap();
        ring.block_on(meet_the_limit(ring.clone()));
        pollster::block_on(meet_the_limit::<safer_ring::Shared>(RingOf::new(8).unwrap()));
    });
}

fn lines_come_without_a_wrapper<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut file = File::from_std(&ring, file_of(b"one\ntwo\nthree")).into_io();
        let mut line = String::new();
        file.read_line(&mut line).await.unwrap();
        assert_eq!(
            (line.as_str(), file.position(), file.buffer()),
            ("one\n", 4, &b"two\nthree"[..])
        );
        let mut rest = (&mut file).lines();
        assert_eq!(rest.next_line().await.unwrap().unwrap(), "two");
        assert_eq!(rest.next_line().await.unwrap().unwrap(), "three");
        assert_eq!(rest.next_line().await.unwrap(), None);
    });
}

fn the_file_comes_back_with_its_cursor<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let mut file = File::from_std(&ring, file_of(b"0123456789")).into_io();
        file.read_exact(&mut [0; 3]).await.unwrap();
        let file = file.into_inner().unwrap();
        assert_eq!(file.read(vec![0; 4]).await.unwrap().1, b"3456");
        let mut file = file.into_io();
        file.write_all(b"X").await.unwrap();
        file.flush().await.unwrap();
        let file = file.into_inner().unwrap();
        assert_eq!(file.read(vec![0; 4]).await.unwrap().1, b"89");
        file.close().await.unwrap();
    });
}

fn a_file_with_a_write_under_way_does_not_come_back<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let std = file_of(b"");
        let mut file = File::from_std(&ring, std.try_clone().unwrap()).into_io();
        let mut refused = 0;
        for _ in 0..50 {
            file.write_all(&pattern(60_000)).await.unwrap();
            file = match file.into_inner() {
                Ok(file) => file.into_io(),
                Err(mut back) => {
                    refused += 1;
                    back.flush().await.unwrap();
                    back.into_inner().unwrap().into_io()
                }
            };
        }
        assert_eq!(file.position(), 3_000_000);
        // Else it is nearly always done at once.
        assert!(refused == 50 || !ends_later(&ring), "refused {refused} times of 50");
        assert!(content_at(&std) == pattern(60_000).repeat(50));
    });
}

fn the_position_begins_at_the_cursor<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = File::from_std(&ring, file_of(b"0123456789"));
        file.read(vec![0; 2]).await.unwrap();
        let mut file = file.into_io();
        let mut got = [0; 2];
        file.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"23");
    });
}

/// Whether no operation ends in its first poll: on a local ring of the kernel. The fallback does what it can at once.
fn ends_later<M: Mode>(ring: &RingOf<M>) -> bool {
    let local = std::any::TypeId::of::<M>() == std::any::TypeId::of::<safer_ring::Local>();
    local && ring.features().backend == BackendKind::IoUring
}

/// Polls a call once and drops it; tells whether it had not ended.
async fn give_up<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Lets the ring work, and comes back in a turn of its own, for tokio's budget of calls.
async fn others_run<M: Mode>(ring: &RingOf<M>) {
    ring.nop().await.unwrap();
    others_go().await;
}

async fn others_go() {
    let mut yielded = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn a_seek_that_is_dropped_before_it_is_done_has_not_happened<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let std = file_of(b"");
        let mut file = File::from_std(&ring, std.try_clone().unwrap()).into_io();
        let mut expected = Vec::new();
        let mut dropped = 0;
        for round in 0..50_u8 {
            file.write_all(&[round; 100]).await.unwrap();
            // It waits for the write, where that is under way.
            let given_up = give_up(file.seek(SeekFrom::Start(7))).await.is_none();
            if given_up {
                dropped += 1;
                assert_eq!(file.stream_position().await.unwrap(), expected.len() as u64 + 100);
            } else {
                file.seek(SeekFrom::End(0)).await.unwrap();
            }
            expected.extend([round; 100]);
        }
        assert!(dropped == 50 || !ends_later(&ring), "dropped {dropped} of 50");
        file.flush().await.unwrap();
        assert!(content_at(&std) == expected);
    });
}

fn reads_that_are_dropped_lose_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let text: String = (0..2000).map(|number| format!("line {number}\n")).collect();
        let file = File::from_std(&ring, file_of(text.as_bytes()));
        let mut file = AsyncFile::with_capacities(100, 100, file);
        let (mut got, mut dropped) = (Vec::new(), 0);
        for round in 0.. {
            let mut part = [0; 7];
            let read = match round % 4 {
                0 => {
                    give_up(file.read(&mut part)).await.map(|count| part[..count.unwrap()].to_vec())
                }
                1 => {
                    let filled = give_up(file.fill_buf()).await;
                    let filled = filled.map(|filled| filled.unwrap().first().copied());
                    filled.map(|first| {
                        file.consume(usize::from(first.is_some()));
                        first.into_iter().collect()
                    })
                }
                2 => {
                    let mut part = Vec::with_capacity(7);
                    let read = give_up(file.read_buf(&mut part)).await;
                    assert!(read.is_some() || part.is_empty());
                    read.map(|_| part)
                }
                // What it had is in the `Vec`, whether or not it has ended.
                _ => give_up(file.read_until(b'\n', &mut got)).await.map(|_| Vec::new()),
            };
            match read {
                None => {
                    dropped += 1;
                    others_run(&ring).await;
                }
                Some(bytes) => got.extend_from_slice(&bytes),
            }
            if got.len() == text.len() {
                break;
            }
        }
        assert!(dropped > 100 || !ends_later(&ring), "dropped {dropped}");
        assert!(got == text.as_bytes());
        assert_eq!(file.position(), text.len() as u64);
        assert_eq!(file.read(&mut [0; 7]).await.unwrap(), 0);
    });
}

fn writes_that_are_dropped_have_accepted_nothing<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let std = file_of(b"");
        let file = File::from_std(&ring, std.try_clone().unwrap());
        let mut file = AsyncFile::with_capacities(100, 100, file);
        let (sent, mut accepted, mut dropped) = (pattern(20_000), 0, 0);
        for round in 0.. {
            let rest = &sent[accepted..];
            let half = rest.len().min(120) / 2;
            let written = if round % 2 == 0 {
                let parts = [IoSlice::new(&rest[..half]), IoSlice::new(&rest[half..])];
                give_up(file.write_vectored(&parts)).await
            } else {
                give_up(file.write(rest)).await
            };
            match written {
                None => {
                    dropped += 1;
                    others_run(&ring).await;
                }
                Some(count) => accepted += count.unwrap(),
            }
            assert_eq!(file.position(), accepted as u64);
            if accepted == sent.len() {
                break;
            }
        }
        assert!(dropped > 100 || !ends_later(&ring), "dropped {dropped}");
        file.flush().await.unwrap();
        assert!(content_at(&std) == sent);
    });
}

fn a_flush_and_a_shutdown_that_are_dropped_go_on<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let std = file_of(b"");
        let mut file = File::from_std(&ring, std.try_clone().unwrap()).into_io();
        for round in 1..20_u64 {
            file.write_all(&[7; 1000]).await.unwrap();
            let flushed = give_up(file.flush()).await.is_some();
            let ended = give_up(file.shutdown()).await.is_some();
            assert!(!flushed && !ended || !ends_later(&ring), "the write is under way");
            while give_up(file.shutdown()).await.is_none() {
                others_run(&ring).await;
            }
            assert_eq!(std.metadata().unwrap().len(), 1000 * round);
        }
    });
}

/// A pipe as a file, whose calls wait for its other end: they meet time limits, lose races, and go with their tasks.
#[test]
fn time_limits_races_and_aborts_lose_nothing() {
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::Mutex;
    use tokio::time::timeout;
    const SOON: Duration = Duration::from_millis(2);

    common::within_deadline(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let ring: safer_ring::Ring = RingOf::new(16).unwrap();
        runtime.block_on(async {
            let (reader, writer) = std::io::pipe().unwrap();
            let of =
                |end: std::os::fd::OwnedFd| File::from_std(&ring, StdFile::from(end)).into_io();
            let (reader, mut writer) = (Arc::new(Mutex::new(of(reader.into()))), of(writer.into()));
            let mut near = reader.lock().await;
            let (mut part, mut room) = ([0; 8], Vec::with_capacity(8));
            assert!(timeout(SOON, near.read(&mut part)).await.is_err());
            assert!(timeout(SOON, near.fill_buf()).await.is_err());
            tokio::select! {
                biased;
                _ = near.read_buf(&mut room) => unreachable!("nothing was written"),
                () = tokio::time::sleep(SOON) => {}
            }
            drop(near);
            for round in 0..20_u8 {
                let theirs = Arc::clone(&reader);
                let task = tokio::spawn(async move {
                    let mut near = theirs.lock().await;
                    near.read_u8().await.unwrap()
                });
                // With the read in it, or before.
                tokio::time::sleep(SOON / u32::from(round % 4 + 1)).await;
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                writer.write_all(&[round; 3]).await.unwrap();
                let mut near = reader.lock().await;
                near.read_exact(&mut part[..3]).await.unwrap();
                assert_eq!(part[..3], [round; 3]);
            }
            // Until the pipe is full. A write that has met its limit was not accepted.
            let sent = pattern(1_000_000);
            let mut accepted = 0;
            while let Ok(count) = timeout(SOON, writer.write(&sent[accepted..])).await {
                accepted += count.unwrap();
            }
            assert!(timeout(SOON, writer.write_vectored(&[IoSlice::new(b"x")])).await.is_err());
            assert!(timeout(SOON, writer.flush()).await.is_err());
            assert!(timeout(SOON, writer.shutdown()).await.is_err());
            let mut near = reader.lock().await;
            let mut got = vec![0; accepted];
            // The last write was cut short by the pipe: the next call of the adapter goes on with it.
            let read = near.read_exact(&mut got);
            let (flushed, read) = futures_util::future::join(writer.flush(), read).await;
            flushed.unwrap();
            read.unwrap();
            assert!(got == sent[..accepted]);
            writer.write_all(b"and more").await.unwrap();
            writer.flush().await.unwrap();
            drop(writer);
            got.clear();
            near.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"and more");
        });
    });
}

/// Calls that are always ready give way to what is beside them: tokio's budget, in both.
async fn ready_calls_give_way<F: Files>(files: F) {
    let mut file = files.take(file_of(&pattern(5000)));
    let (begun, done) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
    let calls = async {
        let mut byte = [0];
        file.read_exact(&mut byte).await.unwrap();
        begun.set(true);
        while file.read(&mut byte).await.unwrap() > 0 {}
        done.set(true);
    };
    let turns = async {
        let mut turns = 0;
        while !done.get() {
            // The first read waits for the kernel.
            turns += u32::from(begun.get());
            others_go().await;
        }
        turns
    };
    let ((), turns) = futures_util::future::join(calls, turns).await;
    assert!(turns > 5000 / 256, "{turns} turns beside 5000 calls");
}

over_both!(@ budget_of_theirs, super::Theirs; ready_calls_give_way);
over_both!(@ budget_of_ours, super::ours::<crate::common::OnTokio>(); ready_calls_give_way);
