//! Reading and writing files; what sets their size and brings them to the disk.

use safer_ring::{FallocateMode, Fd, Mode, OpenOptions, OwnedBuffer};

use crate::env::{Env, Observed, Verdict, seen};
use crate::kit::{both, moved, moved_all, number, pattern, plain, text, yes};
use crate::scenario::{Need, Scenario, row};

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, read_at_gives_what_is_there, [Read], "4 '2345'; cursor: 3 '012'"),
    row!(Success, read_at_the_cursor_moves_it, [Read], "4 '0123', 4 '4567', 2 '89'"),
    row!(Success, read_fills_only_the_length_it_had, [Read], "3 'abc', capacity kept: yes"),
    row!(Short, read_of_more_than_there_is, [Read], "3 'abc'"),
    row!(Eof, read_at_the_end, [Read], "0 ''; beyond: 0 ''"),
    row!(Success, read_into_no_room, [Read], "0 ''"),
    row!(Error, read_of_what_is_for_writing_only, [Read], "EBADF 'as it was'"),
    row!(Error, read_of_a_directory, [Read], "EISDIR 'as it was'"),
    row!(Error, read_at_an_offset_no_file_has, [Read], "EINVAL 'as it was'"),
    row!(Error, read_at_the_offset_that_means_the_cursor, [Read], "EINVAL 'kept'"),
    row!(Success, write_at_a_place, [Write], "2 'XY'; file: 01XY456789"),
    row!(Success, write_at_the_cursor_moves_it, [Write], "2 'AB', 2 'CD'; file: ABCD456789"),
    row!(Success, write_behind_the_end_leaves_a_hole, [Write], "1 'x'; file: ab\\x00\\x00x"),
    row!(Success, write_of_nothing, [Write], "0 ''; file: kept"),
    row!(Error, write_of_what_is_for_reading_only, [Write], "EBADF 'kept'; file: content"),
    row!(Error, write_at_an_offset_no_file_has, [Write], "EINVAL 'kept'"),
    row!(Error, write_at_the_offset_that_means_the_cursor, [Write], "EINVAL 'kept'"),
    row!(Error, write_to_a_full_device, [Write], "ENOSPC 'kept'").needs(Need::SpecialFile),
    row!(Success, appended_writes_ignore_the_offset, [Write], "1 'x'; file: contentx"),
    row!(Success, an_offset_beyond_four_gigabytes, [Read, Write], "3 'far'; read: 3 'far'")
        .needs(Need::LargeFile),
    row!(
        Success,
        a_large_file_comes_back_as_it_went,
        [Read, Write],
        "4194304 of 4194304, equal: yes"
    ),
    row!(Success, a_written_buffer_may_be_static, [Write], "6; file: static"),
    row!(Success, reads_at_the_same_time, [Read], "16 of 16 right"),
    row!(Success, read_into_many_buffers, [ReadVectored], "7 '012|3456|'"),
    row!(Success, read_into_many_buffers_at_a_place, [ReadVectored], "5 '34|567'; cursor: 1 '0'"),
    row!(Short, read_into_more_buffers_than_there_is, [ReadVectored], "3 'ab|c|'"),
    row!(Eof, read_into_many_buffers_at_the_end, [ReadVectored], "0 '|'"),
    row!(Error, read_into_too_many_buffers, [ReadVectored], "InvalidInput, 1025 back"),
    row!(Error, vectored_read_of_what_is_for_writing, [ReadVectored], "EBADF 'as|it|was'"),
    row!(Success, write_many_buffers, [WriteVectored], "6 'ab|cd|ef'; file: abcdef"),
    row!(Success, write_many_buffers_at_a_place, [WriteVectored], "3 'X|YZ'; file: 0XYZ456789"),
    row!(Success, write_of_empty_buffers_among_others, [WriteVectored], "2 'a||b'; file: ab"),
    row!(Error, vectored_write_of_what_is_for_reading, [WriteVectored], "EBADF 'as|it|was'"),
    row!(Error, write_too_many_buffers, [WriteVectored], "InvalidInput, 1025 back"),
    row!(Success, direct_reads_and_writes, [Read, Write], "8192 of 0x5a; 4096; read back: yes")
        .needs(Need::DirectIo),
    row!(Short, a_direct_read_near_the_end, [Read], "1000 of 4096").needs(Need::DirectIo),
    row!(Error, a_direct_read_that_is_not_aligned, [Read], "refused: yes, buffer back: yes")
        .needs(Need::DirectIo),
    row!(Success, a_direct_write_that_extends, [Write], "4096; size 4096").needs(Need::DirectIo),
    row!(Success, fsync_and_fdatasync, [Fsync], "ok, ok"),
    row!(Error, fsync_of_a_pipe, [Fsync], "EINVAL, EINVAL"),
    row!(Success, fallocate_makes_room, [Fallocate], "size 1000; kept size 1000"),
    row!(Success, fallocate_clears, [Fallocate], "0\\x00\\x003"),
    row!(Error, fallocate_of_nothing, [Fallocate], "EINVAL"),
    row!(Error, fallocate_of_what_is_for_reading, [Fallocate], "EBADF"),
    row!(Success, ftruncate_cuts_and_extends, [Ftruncate], "abc, abc\\x00\\x00"),
    row!(Error, ftruncate_of_a_pipe, [Ftruncate], "EINVAL"),
    row!(Error, ftruncate_beyond_what_a_file_can_be, [Ftruncate], "EINVAL"),
];

const NO_PLACE: u64 = 1 << 63;

/// The file of `Env::file_at`, opened for one direction.
async fn opened<M: Mode>(
    env: &Env<M>,
    content: &[u8],
    write: bool,
) -> Result<Fd<M>, crate::Trouble> {
    let path = env.file_at("one way", content).await?;
    let options = OpenOptions::new().read(!write).write(write);
    Ok(env.ring().open(&path, &options).await?)
}

async fn read_at_gives_what_is_there<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    let read = env.ring().read_at_owned(&file, Vec::with_capacity(4), 2).await;
    let cursor = env.ring().read_owned(&file, Vec::with_capacity(3)).await;
    seen!("{}; cursor: {}", moved(&read), moved(&cursor))
}

async fn read_at_the_cursor_moves_it<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(moved(&env.ring().read_owned(&file, Vec::with_capacity(4)).await));
    }
    seen!("{}", all.join(", "))
}

async fn read_fills_only_the_length_it_had<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let room = Vec::with_capacity(100);
    let capacity = room.capacity();
    let (count, buffer) = env.ring().read_at_owned(&file, room, 0).await?;
    let kept = buffer.capacity() == capacity;
    seen!("{count} '{}', capacity kept: {}", text(&buffer), yes(kept))
}

async fn read_of_more_than_there_is<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, vec![9; 100], 0).await))
}

async fn read_at_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let end = env.ring().read_at_owned(&file, vec![9; 10], 3).await;
    let beyond = env.ring().read_at_owned(&file, vec![9; 10], 1 << 40).await;
    seen!("{}; beyond: {}", moved(&end), moved(&beyond))
}

async fn read_into_no_room<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, Vec::new(), 0).await))
}

async fn read_of_what_is_for_writing_only<M: Mode>(env: &Env<M>) -> Verdict {
    let file = opened(env, b"content", true).await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, b"as it was".to_vec(), 0).await))
}

async fn read_of_a_directory<M: Mode>(env: &Env<M>) -> Verdict {
    let directory = env.ring().open(env.path(""), &OpenOptions::new().read(true)).await?;
    seen!("{}", moved(&env.ring().read_at_owned(&directory, b"as it was".to_vec(), 0).await))
}

async fn read_at_an_offset_no_file_has<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, b"as it was".to_vec(), NO_PLACE).await))
}

async fn read_at_the_offset_that_means_the_cursor<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, b"kept".to_vec(), u64::MAX).await))
}

async fn write_at_a_place<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"0123456789").await?;
    let wrote = env.ring().write_at_owned(&file, b"XY".to_vec(), 2).await;
    seen!("{}; file: {}", moved(&wrote), text(&env.content(&path)?))
}

async fn write_at_the_cursor_moves_it<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"0123456789").await?;
    let first = env.ring().write_owned(&file, b"AB".to_vec()).await;
    let second = env.ring().write_owned(&file, b"CD".to_vec()).await;
    let content = text(&env.content(&path)?);
    seen!("{}, {}; file: {content}", moved(&first), moved(&second))
}

async fn write_behind_the_end_leaves_a_hole<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"ab").await?;
    let wrote = env.ring().write_at_owned(&file, b"x".to_vec(), 4).await;
    seen!("{}; file: {}", moved(&wrote), text(&env.content(&path)?))
}

async fn write_of_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"kept").await?;
    let wrote = env.ring().write_at_owned(&file, Vec::new(), 0).await;
    seen!("{}; file: {}", moved(&wrote), text(&env.content(&path)?))
}

async fn write_of_what_is_for_reading_only<M: Mode>(env: &Env<M>) -> Verdict {
    let file = opened(env, b"content", false).await?;
    let wrote = env.ring().write_at_owned(&file, b"kept".to_vec(), 0).await;
    let content = text(&env.content(&env.path("one way"))?);
    seen!("{}; file: {content}", moved(&wrote))
}

async fn write_at_an_offset_no_file_has<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().write_at_owned(&file, b"kept".to_vec(), NO_PLACE).await))
}

async fn write_at_the_offset_that_means_the_cursor<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved(&env.ring().write_at_owned(&file, b"kept".to_vec(), u64::MAX).await))
}

async fn write_to_a_full_device<M: Mode>(env: &Env<M>) -> Verdict {
    let full = env.ring().open("/dev/full", &OpenOptions::new().write(true)).await;
    let full = match full {
        Ok(full) => full,
        Err(error) => return Ok(Observed::Skipped(format!("/dev/full: {error}"))),
    };
    seen!("{}", moved(&env.ring().write_owned(&full, b"kept".to_vec()).await))
}

async fn appended_writes_ignore_the_offset<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("log", b"content").await?;
    let log = env.ring().open(&path, &OpenOptions::new().append(true)).await?;
    let wrote = env.ring().write_at_owned(&log, b"x".to_vec(), 0).await;
    seen!("{}; file: {}", moved(&wrote), text(&env.content(&path)?))
}

async fn an_offset_beyond_four_gigabytes<M: Mode>(env: &Env<M>) -> Verdict {
    const FAR: u64 = 5 << 30;
    let (file, _) = env.file(b"").await?;
    let wrote = env.ring().write_at_owned(&file, b"far".to_vec(), FAR).await;
    let read = env.ring().read_at_owned(&file, vec![0; 10], FAR).await;
    seen!("{}; read: {}", moved(&wrote), moved(&read))
}

async fn a_large_file_comes_back_as_it_went<M: Mode>(env: &Env<M>) -> Verdict {
    const SIZE: usize = 4 << 20;
    let file = safer_ring::fs::File::create_new(env.ring(), env.path("large")).await?;
    file.write_all_at(pattern(SIZE), 0).await?;
    drop(file);
    let file = safer_ring::fs::File::open(env.ring(), env.path("large")).await?;
    let back = file.read_exact_at(vec![0; SIZE], 0).await?;
    seen!("{} of {SIZE}, equal: {}", back.len(), yes(back == pattern(SIZE)))
}

async fn a_written_buffer_may_be_static<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let (count, _) = env.ring().write_at_owned(&file, "static", 0).await?;
    seen!("{count}; file: {}", text(&env.content(&path)?))
}

async fn reads_at_the_same_time<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(&pattern(16_000)).await?;
    let mut reads: Vec<_> = (0..16_u64)
        .map(|at| env.ring().read_at_owned(&file, vec![0; 1000], at * 1000))
        .map(Box::pin)
        .collect();
    let mut early = Vec::new();
    for read in &mut reads {
        early.push(crate::kit::poll_once(read));
    }
    let mut right = 0;
    for (at, (read, early)) in reads.into_iter().zip(early).enumerate() {
        let read = match early {
            std::task::Poll::Ready(read) => read?,
            std::task::Poll::Pending => read.await?,
        };
        let wanted: Vec<u8> = pattern(16_000).into_iter().skip(at * 1000).take(1000).collect();
        right += usize::from(read == (1000, wanted));
    }
    seen!("{right} of 16 right")
}

fn rooms(sizes: &[usize]) -> Vec<Vec<u8>> {
    sizes.iter().map(|size| Vec::with_capacity(*size)).collect()
}

fn parts() -> Vec<Vec<u8>> {
    vec![b"as".to_vec(), b"it".to_vec(), b"was".to_vec()]
}

async fn read_into_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    seen!("{}", moved_all(&env.ring().read_vectored(&file, rooms(&[3, 4, 0])).await))
}

async fn read_into_many_buffers_at_a_place<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"0123456789").await?;
    let read = env.ring().read_vectored_at(&file, rooms(&[2, 3]), 3).await;
    let cursor = env.ring().read_owned(&file, Vec::with_capacity(1)).await;
    seen!("{}; cursor: {}", moved_all(&read), moved(&cursor))
}

async fn read_into_more_buffers_than_there_is<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved_all(&env.ring().read_vectored_at(&file, rooms(&[2, 2, 2]), 0).await))
}

async fn read_into_many_buffers_at_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", moved_all(&env.ring().read_vectored_at(&file, rooms(&[2, 2]), 3).await))
}

async fn read_into_too_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    let refused = env.ring().read_vectored_at(&file, rooms(&[1; 1025]), 0).await;
    match refused {
        Ok(_) => seen!("ok"),
        Err(error) => seen!("{:?}, {} back", error.kind(), error.buffer.len()),
    }
}

async fn vectored_read_of_what_is_for_writing<M: Mode>(env: &Env<M>) -> Verdict {
    let file = opened(env, b"content", true).await?;
    seen!("{}", moved_all(&env.ring().read_vectored_at(&file, parts(), 0).await))
}

async fn write_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let wrote = env.ring().write_vectored(&file, vec!["ab", "cd", "ef"]).await;
    seen!("{}; file: {}", moved_all(&wrote), text(&env.content(&path)?))
}

async fn write_many_buffers_at_a_place<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"0123456789").await?;
    let wrote = env.ring().write_vectored_at(&file, vec!["X", "YZ"], 1).await;
    seen!("{}; file: {}", moved_all(&wrote), text(&env.content(&path)?))
}

async fn write_of_empty_buffers_among_others<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let wrote = env.ring().write_vectored_at(&file, vec!["a", "", "b"], 0).await;
    seen!("{}; file: {}", moved_all(&wrote), text(&env.content(&path)?))
}

async fn vectored_write_of_what_is_for_reading<M: Mode>(env: &Env<M>) -> Verdict {
    let file = opened(env, b"content", false).await?;
    seen!("{}", moved_all(&env.ring().write_vectored_at(&file, parts(), 0).await))
}

async fn write_too_many_buffers<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    match env.ring().write_vectored_at(&file, vec!["x"; 1025], 0).await {
        Ok(_) => seen!("ok"),
        Err(error) => seen!("{:?}, {} back", error.kind(), error.buffer.len()),
    }
}

const BLOCK: usize = 4096;

fn block(byte: u8, len: usize) -> Result<OwnedBuffer, crate::Trouble> {
    let mut buffer = OwnedBuffer::aligned(len, BLOCK)?;
    buffer.fill(byte);
    Ok(buffer)
}

async fn direct_reads_and_writes<M: Mode>(env: &Env<M>) -> Verdict {
    let file = match env.direct(4 * BLOCK)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let (count, read) = env.ring().read_at_owned(&file, block(0, 2 * BLOCK)?, 4096).await?;
    let alike = read.iter().filter(|byte| **byte == 0x5A).count();
    let (wrote, _) = env.ring().write_at_owned(&file, block(1, BLOCK)?, 0).await?;
    let (_, back) = env.ring().read_at_owned(&file, block(0, BLOCK)?, 0).await?;
    let same = back.iter().all(|byte| *byte == 1);
    seen!("{} of 0x5a; {wrote}; read back: {}", alike.min(count), yes(same))
}

async fn a_direct_read_near_the_end<M: Mode>(env: &Env<M>) -> Verdict {
    let file = match env.direct(BLOCK + 1000)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let (count, _) = env.ring().read_at_owned(&file, block(0, BLOCK)?, 4096).await?;
    seen!("{count} of {BLOCK}")
}

async fn a_direct_read_that_is_not_aligned<M: Mode>(env: &Env<M>) -> Verdict {
    let file = match env.direct(4 * BLOCK)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let read = env.ring().read_at_owned(&file, vec![7; 100], 1).await;
    match read {
        Err(error) => {
            let back = error.buffer == [7; 100];
            let refused = number(error.raw_os_error()) == "EINVAL";
            seen!("refused: {}, buffer back: {}", yes(refused), yes(back))
        }
        Ok(_) => Ok(Observed::Skipped("this file system aligns direct reads itself".to_owned())),
    }
}

async fn a_direct_write_that_extends<M: Mode>(env: &Env<M>) -> Verdict {
    let file = match env.direct(0)? {
        Ok(file) => file,
        Err(why) => return Ok(Observed::Skipped(why)),
    };
    let (count, _) = env.ring().write_at_owned(&file, block(3, BLOCK)?, 0).await?;
    seen!("{count}; size {}", env.ring().statx_fd(&file).await?.len())
}

async fn fsync_and_fdatasync<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"content").await?;
    let ring = env.ring();
    let (full, data) = both(ring.fsync(&file), ring.fdatasync(&file)).await;
    seen!("{}, {}", plain(&full), plain(&data))
}

async fn fsync_of_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    let full = env.ring().fsync(&writer).await;
    let data = env.ring().fdatasync(&writer).await;
    seen!("{}, {}", plain(&full), plain(&data))
}

async fn fallocate_makes_room<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"").await?;
    let made = env.ring().fallocate(&file, FallocateMode::Allocate, 0, 1000).await;
    if plain(&made) == "EOPNOTSUPP" {
        return Ok(Observed::Skipped("this file system has no fallocate".to_owned()));
    }
    let first = env.content(&path)?.len();
    env.ring().fallocate(&file, FallocateMode::KeepSize, 0, 5000).await?;
    seen!("size {first}; kept size {}", env.content(&path)?.len())
}

async fn fallocate_clears<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"0123").await?;
    let cleared = env.ring().fallocate(&file, FallocateMode::PunchHole, 1, 2).await;
    if plain(&cleared) == "EOPNOTSUPP" {
        return Ok(Observed::Skipped("this file system punches no holes".to_owned()));
    }
    seen!("{}", text(&env.content(&path)?))
}

async fn fallocate_of_nothing<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", plain(&env.ring().fallocate(&file, FallocateMode::Allocate, 0, 0).await))
}

async fn fallocate_of_what_is_for_reading<M: Mode>(env: &Env<M>) -> Verdict {
    let file = opened(env, b"content", false).await?;
    seen!("{}", plain(&env.ring().fallocate(&file, FallocateMode::Allocate, 0, 100).await))
}

async fn ftruncate_cuts_and_extends<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"abcdef").await?;
    env.ring().ftruncate(&file, 3).await?;
    let cut = text(&env.content(&path)?);
    env.ring().ftruncate(&file, 5).await?;
    seen!("{cut}, {}", text(&env.content(&path)?))
}

async fn ftruncate_of_a_pipe<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    seen!("{}", plain(&env.ring().ftruncate(&writer, 0).await))
}

async fn ftruncate_beyond_what_a_file_can_be<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, _) = env.file(b"abc").await?;
    seen!("{}", plain(&env.ring().ftruncate(&file, u64::MAX).await))
}
