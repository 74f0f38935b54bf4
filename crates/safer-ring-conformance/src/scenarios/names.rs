//! Opening and closing; what works on names.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::task::Poll;

use rustix::fs::{FileType, Mode as Permissions, mknodat};
use safer_ring::pipe::{PipeReader, PipeWriter};
use safer_ring::{
    Ended, Fd, Mode, OpenHow, OpenOptions, PipeOptions, RenameMode, RingOf, SetupError,
};

use crate::env::{Env, Observed, Trouble, Verdict, seen};
use crate::environments::Tag;
use crate::kit::{ended, moved, plain, poll_once, start, text, turn, word, yes};
use crate::scenario::{Expect, Need, Scenario, row};

/// The row of docs/BACKENDS.md about what a thread has begun.
const BEGUN: &str = "cancelling what a thread or a disk has begun";

/// Why two ends of a FIFO cannot be opened in a ring with one place.
const WORKERS: &str =
    "the kernel makes as many workers for files as there are places, and the first open holds it";

/// The row about FIFOs.
const FIFO: &str = "a FIFO opened with `Ring::open`";

pub(super) const TABLE: &[Scenario] = &[
    row!(Success, open_makes_a_file_and_writes_it, [OpenAt, Write], "3 'new'; file: new"),
    row!(Success, open_at_starts_from_its_directory, [OpenAt], "5 'inner'"),
    row!(Success, what_is_opened_closes_on_exec, [OpenAt, OpenAt2], "yes, yes").needs(Need::Exec),
    row!(Error, open_of_what_is_not_there, [OpenAt], "ENOENT"),
    row!(Error, open_of_what_is_there_and_must_not_be, [OpenAt], "EEXIST"),
    row!(Error, open_below_what_is_no_directory, [OpenAt], "ENOTDIR"),
    row!(Error, open_of_a_directory_for_writing, [OpenAt], "EISDIR"),
    row!(Error, open_of_a_name_with_a_zero_byte, [OpenAt, OpenAt2], "InvalidInput, InvalidInput"),
    row!(Error, open_of_a_name_that_is_too_long, [OpenAt], "ENAMETOOLONG"),
    row!(Error, open_with_options_that_exclude_each_other, [OpenAt], "InvalidInput"),
    row!(Cancel, open_of_a_fifo_is_cancelled, [OpenAt], "cancelled: yes")
        .needs(Need::SpecialFile)
        .but(&[(Tag::Fallback, Expect::Differs { seen: "cancelled: no", row: BEGUN })]),
    row!(Drop, a_dropped_open_of_a_fifo_leaves_nothing_behind, [OpenAt], "readers left: no")
        .needs(Need::SpecialFile),
    row!(Success, a_fifo_waits_for_its_other_end, [OpenAt], "waited: yes; 5 'bytes'")
        .needs(Need::SpecialFile)
        .but(&[(Tag::FewWorkers, Expect::Skip(WORKERS))]),
    row!(Success, a_small_ring_has_more_workers_if_asked, [OpenAt], "waited: yes; 5 'bytes'")
        .needs(Need::Builder),
    row!(Success, a_fifo_by_its_plain_name, [OpenAt], "waited: no").needs(Need::SpecialFile).but(
        &[
            (Tag::Fallback, Expect::Differs { seen: "waited: yes", row: FIFO }),
            (Tag::SlowOpens, Expect::Differs { seen: "waited: yes", row: FIFO }),
        ],
    ),
    row!(Success, openat2_stays_below, [OpenAt2], "5 'inner'; out: EXDEV; link: ELOOP"),
    row!(Error, openat2_of_what_is_not_there, [OpenAt2], "ENOENT"),
    row!(Error, openat2_with_flags_that_nobody_knows, [OpenAt2], "EINVAL"),
    row!(Drop, a_dropped_openat2_of_a_fifo_leaves_nothing_behind, [OpenAt2], "readers left: no")
        .needs(Need::SpecialFile),
    row!(Success, close_closes, [Close], "ok; the other end sees it: 0 ''"),
    row!(Error, close_of_what_is_shared, [Close], "Busy, handle back: yes; then ok"),
    row!(Drop, a_dropped_close_closes, [Close], "the other end sees it: 0 ''"),
    row!(Life, the_last_handle_closes, [Close], "the other end sees it: 0 ''"),
    row!(Success, statx_tells_size_and_kind, [Statx], "7 file; directory; link"),
    row!(Success, statx_of_an_open_file_without_a_name, [Statx], "7"),
    row!(Error, statx_of_what_is_not_there, [Statx], "ENOENT"),
    row!(Drop, a_dropped_statx_leaves_nothing_behind, [Statx], "left: 0"),
    row!(Success, rename_replaces, [RenameAt], "ok; b: from a; a there: no"),
    row!(Success, rename_exchanges, [RenameAt], "ok; a: of b, b: of a"),
    row!(Error, rename_without_replacing, [RenameAt], "EEXIST; b: of b"),
    row!(Error, rename_of_what_is_not_there, [RenameAt], "ENOENT"),
    row!(Success, unlink_and_rmdir_remove, [UnlinkAt], "ok, ok; left: 0"),
    row!(Error, unlink_of_a_directory, [UnlinkAt], "EISDIR; rmdir of a file: ENOTDIR"),
    row!(Error, unlink_of_what_is_not_there, [UnlinkAt], "ENOENT; rmdir of a full one: ENOTEMPTY"),
    row!(Success, mkdir_makes_a_directory, [MkdirAt], "ok; there: yes"),
    row!(Error, mkdir_of_what_is_there, [MkdirAt], "EEXIST; below nothing: ENOENT"),
    row!(Success, symlink_says_its_target, [SymlinkAt], "ok; says 'anywhere'"),
    row!(Error, symlink_over_what_is_there, [SymlinkAt], "EEXIST; to nothing: ENOENT"),
    row!(Success, link_is_a_second_name, [LinkAt], "ok; names: 2"),
    row!(Error, link_of_what_is_not_there, [LinkAt], "ENOENT; over what is there: EEXIST"),
    row!(
        Drop,
        dropped_names_run_to_their_end,
        [RenameAt, UnlinkAt, MkdirAt, SymlinkAt, LinkAt],
        "moved: yes, removed: yes, made: yes, soft: yes, hard: yes"
    ),
];

const READ: OpenOptions = OpenOptions::new().read(true);
const WRITE: OpenOptions = OpenOptions::new().write(true);

async fn open_makes_a_file_and_writes_it<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.path("new");
    let file = env.ring().open(&path, &WRITE.create_new(true)).await?;
    let wrote = env.ring().write_owned(&file, b"new".to_vec()).await;
    seen!("{}; file: {}", moved(&wrote), text(&env.content(&path)?))
}

async fn open_at_starts_from_its_directory<M: Mode>(env: &Env<M>) -> Verdict {
    env.file_at("inner", b"inner").await?;
    let directory = env.ring().open(env.path(""), &READ).await?;
    let file = env.ring().open_at(&directory, "inner", &READ).await?;
    seen!("{}", moved(&env.ring().read_at_owned(&file, vec![0; 9], 0).await))
}

async fn what_is_opened_closes_on_exec<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let first = env.ring().open(&path, &READ).await?;
    let second = env.ring().openat2(None, &path, OpenHow::default()).await?;
    seen!("{}, {}", yes(closes_on_exec(&first)?), yes(closes_on_exec(&second)?))
}

pub(super) fn closes_on_exec<M: Mode>(fd: &Fd<M>) -> Result<bool, Trouble> {
    Ok(rustix::io::fcntl_getfd(fd)?.contains(rustix::io::FdFlags::CLOEXEC))
}

async fn open_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().open(env.path("none"), &READ).await))
}

async fn open_of_what_is_there_and_must_not_be<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    seen!("{}", plain(&env.ring().open(path, &WRITE.create_new(true)).await))
}

async fn open_below_what_is_no_directory<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    seen!("{}", plain(&env.ring().open(path.join("below"), &READ).await))
}

async fn open_of_a_directory_for_writing<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().open(env.path(""), &WRITE).await))
}

async fn open_of_a_name_with_a_zero_byte<M: Mode>(env: &Env<M>) -> Verdict {
    let first = env.ring().open("a\0b", &READ).await;
    let second = env.ring().openat2(None, "a\0b", OpenHow::default()).await;
    seen!("{}, {}", plain(&first), plain(&second))
}

async fn open_of_a_name_that_is_too_long<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().open(env.path(&"x".repeat(300)), &READ).await))
}

async fn open_with_options_that_exclude_each_other<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().open(env.path("new"), &READ.create(true)).await))
}

/// Makes a FIFO.
fn named<M: Mode>(env: &Env<M>) -> Result<PathBuf, Trouble> {
    let path = env.path("fifo");
    mknodat(rustix::fs::CWD, &path, FileType::Fifo, Permissions::RUSR | Permissions::WUSR, 0)?;
    Ok(path)
}

/// Makes a FIFO; gives its name, and a name that io_uring does not look up at once, so that opening it waits.
fn fifo<M: Mode>(env: &Env<M>) -> Result<(PathBuf, String, OwnedFd), Trouble> {
    use rustix::fs::OFlags;
    let path = named(env)?;
    let place = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Permissions::empty())?;
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok((path, link, place))
}

/// Opens the other end for writing, which works as soon as somebody reads.
async fn writer<M: Mode>(env: &Env<M>, path: &Path) -> Result<Option<Fd<M>>, Trouble> {
    use rustix::fs::OFlags;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Permissions::empty()) {
        Ok(fd) => Ok(Some(Fd::new(fd))),
        Err(rustix::io::Errno::NXIO) => {
            env.ring().timeout(std::time::Duration::from_millis(1)).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What has begun on the fallback cannot be cancelled, and nothing tells that it has: one of many tries meets it.
async fn open_of_a_fifo_is_cancelled<M: Mode>(env: &Env<M>) -> Verdict {
    let (path, link, _place) = fifo(env)?;
    let on_threads = env.ring().features().backend == safer_ring::BackendKind::Fallback;
    for _ in 0..if on_threads { 1000 } else { 3 } {
        if !cancel_open(env, &path, &link, on_threads).await? {
            return seen!("cancelled: no");
        }
    }
    seen!("cancelled: yes")
}

/// Opens and cancels; whether it was cancelled.
async fn cancel_open<M: Mode>(
    env: &Env<M>,
    path: &Path,
    link: &str,
    on_threads: bool,
) -> Result<bool, Trouble> {
    let mut open = env.ring().open(link, &READ);
    start(&mut open)?;
    turn(env.ring()).await?;
    let mut cancel = Box::pin(open.cancel());
    let mut met = None;
    loop {
        match poll_once(&mut cancel) {
            Poll::Ready(Ended::Completed(Err(error))) => return Err(error.into()),
            Poll::Ready(outcome) => return Ok(outcome.is_cancelled()),
            // The thread goes on waiting until somebody comes.
            Poll::Pending if on_threads && met.is_none() => met = writer(env, path).await?,
            Poll::Pending => turn(env.ring()).await?,
        }
    }
}

async fn a_fifo_waits_for_its_other_end<M: Mode>(env: &Env<M>) -> Verdict {
    both_ends(env.ring(), &named(env)?).await
}

async fn a_small_ring_has_more_workers_if_asked<M: Mode>(env: &Env<M>) -> Verdict {
    let path = named(env)?;
    match env.builder()?.entries(1).io_wq_workers(4, 0).build() {
        Ok(ring) => env.drive(&ring, both_ends(&ring, &path)).await,
        Err(SetupError::Refused { step, errno }) => {
            Ok(Observed::Skipped(format!("{step}: {errno}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens both ends; the one to read from first.
async fn both_ends<M: Mode>(ring: &RingOf<M>, path: &Path) -> Verdict {
    let mut reader = Box::pin(PipeReader::open(ring, path));
    // Its steps before the one that waits.
    for _ in 0..10 {
        if poll_once(&mut reader).is_ready() {
            return seen!("waited: no");
        }
        turn(ring).await?;
    }
    let (reader, writer) = crate::kit::both(reader, PipeWriter::open(ring, path)).await;
    writer?.write_all("bytes").await?;
    seen!("waited: yes; {}", moved(&reader?.read(vec![0; 9]).await))
}

async fn a_fifo_by_its_plain_name<M: Mode>(env: &Env<M>) -> Verdict {
    let path = named(env)?;
    let mut open = env.ring().open(&path, &READ);
    let mut waited = poll_once(&mut open).is_pending();
    if waited {
        turn(env.ring()).await?;
        turn(env.ring()).await?;
        waited = poll_once(&mut open).is_pending();
    }
    // Who waits is let go.
    if waited {
        let mut met = None;
        while met.is_none() {
            met = writer(env, &path).await?;
        }
        open.await?;
    }
    seen!("waited: {}", yes(waited))
}

/// Whether anybody has the FIFO open for reading after all is over.
async fn readers_left<M: Mode>(env: &Env<M>, path: &Path) -> Verdict {
    // What a thread has begun ends when somebody comes.
    if env.ring().features().backend == safer_ring::BackendKind::Fallback {
        let mut met = None;
        while met.is_none() && env.ring().snapshot().orphans > 0 {
            met = writer(env, path).await?;
        }
    }
    ended(env.ring()).await?;
    seen!("readers left: {}", yes(writer(env, path).await?.is_some()))
}

async fn a_dropped_open_of_a_fifo_leaves_nothing_behind<M: Mode>(env: &Env<M>) -> Verdict {
    let (path, link, _place) = fifo(env)?;
    let mut open = env.ring().open(&link, &READ);
    start(&mut open)?;
    turn(env.ring()).await?;
    drop(open);
    readers_left(env, &path).await
}

async fn a_dropped_openat2_of_a_fifo_leaves_nothing_behind<M: Mode>(env: &Env<M>) -> Verdict {
    let (path, link, _place) = fifo(env)?;
    let mut open = env.ring().openat2(None, &link, OpenHow::default());
    start(&mut open)?;
    turn(env.ring()).await?;
    drop(open);
    readers_left(env, &path).await
}

async fn openat2_stays_below<M: Mode>(env: &Env<M>) -> Verdict {
    const NO_SYMLINKS: u64 = 4;
    const BENEATH: u64 = 8;
    env.file_at("inner", b"inner").await?;
    env.symlink("inner", "link").await?;
    let directory = env.ring().open(env.path(""), &READ).await?;
    let below = OpenHow { resolve: BENEATH, ..OpenHow::default() };
    let file = env.ring().openat2(Some(&directory), "inner", below).await?;
    let read = env.ring().read_at_owned(&file, vec![0; 9], 0).await;
    let out = env.ring().openat2(Some(&directory), "../x", below).await;
    let straight = OpenHow { resolve: NO_SYMLINKS, ..OpenHow::default() };
    let link = env.ring().openat2(Some(&directory), "link", straight).await;
    seen!("{}; out: {}; link: {}", moved(&read), plain(&out), plain(&link))
}

async fn openat2_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().openat2(None, env.path("none"), OpenHow::default()).await))
}

async fn openat2_with_flags_that_nobody_knows<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let how = OpenHow { resolve: 1 << 40, ..OpenHow::default() };
    seen!("{}", plain(&env.ring().openat2(None, path, how).await))
}

async fn close_closes<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let closed = match env.ring().close(writer).await {
        Ok(()) => "ok".to_owned(),
        Err(error) => word(&error.error),
    };
    let end = env.ring().read_owned(&reader, vec![0; 4]).await;
    seen!("{closed}; the other end sees it: {}", moved(&end))
}

async fn close_of_what_is_shared<M: Mode>(env: &Env<M>) -> Verdict {
    let (_reader, writer) = env.pipe().await?;
    let second = writer.clone();
    let Err(error) = env.ring().close(writer).await else { return seen!("ok") };
    let (reason, handle) = (word(&error.error), error.buffer);
    let back = handle.is_some();
    drop(second);
    let then = match handle {
        Some(handle) => env.ring().close(handle).await.map_err(std::io::Error::from),
        None => Ok(()),
    };
    seen!("{reason}, handle back: {}; then {}", yes(back), plain(&then))
}

async fn a_dropped_close_closes<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.pipe().await?;
    let mut close = env.ring().close(writer);
    let _ = poll_once(&mut close);
    drop(close);
    let end = env.ring().read_owned(&reader, vec![0; 4]).await;
    seen!("the other end sees it: {}", moved(&end))
}

async fn the_last_handle_closes<M: Mode>(env: &Env<M>) -> Verdict {
    let (reader, writer) = env.ring().pipe(PipeOptions::Stream).await?;
    let second = writer.clone();
    drop(writer);
    drop(second);
    let end = env.ring().read_owned(&reader, vec![0; 4]).await;
    seen!("the other end sees it: {}", moved(&end))
}

async fn statx_tells_size_and_kind<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"content").await?;
    env.symlink("file", "link").await?;
    let file = env.ring().statx(&path).await?;
    let directory = env.ring().statx(env.path("")).await?;
    let link = env.ring().statx_link(env.path("link")).await?;
    let kind = |is: bool, name: &'static str| if is { name } else { "something else" };
    seen!(
        "{} {}; {}; {}",
        file.len(),
        kind(file.is_file(), "file"),
        kind(directory.is_dir(), "directory"),
        kind(link.is_symlink(), "link")
    )
}

async fn statx_of_an_open_file_without_a_name<M: Mode>(env: &Env<M>) -> Verdict {
    let (file, path) = env.file(b"content").await?;
    env.remove(&path).await?;
    seen!("{}", env.ring().statx_fd(&file).await?.len())
}

async fn statx_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    seen!("{}", plain(&env.ring().statx(env.path("none")).await))
}

async fn a_dropped_statx_leaves_nothing_behind<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"content").await?;
    for _ in 0..10 {
        let mut statx = env.ring().statx(&path);
        let _ = poll_once(&mut statx);
    }
    ended(env.ring()).await?;
    seen!("left: {}", env.ring().operations().len())
}

async fn rename_replaces<M: Mode>(env: &Env<M>) -> Verdict {
    let (a, b) = (env.file_at("a", b"from a").await?, env.file_at("b", b"of b").await?);
    let renamed = env.ring().rename(&a, &b, RenameMode::Replace).await;
    let content = text(&env.content(&b)?);
    seen!("{}; b: {content}; a there: {}", plain(&renamed), yes(env.there(&a)))
}

async fn rename_exchanges<M: Mode>(env: &Env<M>) -> Verdict {
    let (a, b) = (env.file_at("a", b"of a").await?, env.file_at("b", b"of b").await?);
    let renamed = env.ring().rename(&a, &b, RenameMode::Exchange).await;
    if plain(&renamed) == "EINVAL" {
        return Ok(Observed::Skipped("this file system exchanges no names".to_owned()));
    }
    let (a, b) = (env.content(&a)?, env.content(&b)?);
    seen!("{}; a: {}, b: {}", plain(&renamed), text(&a), text(&b))
}

async fn rename_without_replacing<M: Mode>(env: &Env<M>) -> Verdict {
    let (a, b) = (env.file_at("a", b"of a").await?, env.file_at("b", b"of b").await?);
    let renamed = env.ring().rename(&a, &b, RenameMode::NoReplace).await;
    seen!("{}; b: {}", plain(&renamed), text(&env.content(&b)?))
}

async fn rename_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    let renamed = env.ring().rename(env.path("a"), env.path("b"), RenameMode::Replace).await;
    seen!("{}", plain(&renamed))
}

async fn unlink_and_rmdir_remove<M: Mode>(env: &Env<M>) -> Verdict {
    let file = env.file_at("file", b"").await?;
    env.directory("dir").await?;
    let unlinked = env.ring().unlink(&file).await;
    let removed = env.ring().rmdir(env.path("dir")).await;
    let left = env.names_in(&env.path(""))?;
    seen!("{}, {}; left: {left}", plain(&unlinked), plain(&removed))
}

async fn unlink_of_a_directory<M: Mode>(env: &Env<M>) -> Verdict {
    env.directory("dir").await?;
    let unlinked = env.ring().unlink(env.path("dir")).await;
    let removed = env.ring().rmdir(env.file_at("file", b"").await?).await;
    seen!("{}; rmdir of a file: {}", plain(&unlinked), plain(&removed))
}

async fn unlink_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    let unlinked = env.ring().unlink(env.path("none")).await;
    env.directory("full").await?;
    env.directory("full/inner").await?;
    let removed = env.ring().rmdir(env.path("full")).await;
    seen!("{}; rmdir of a full one: {}", plain(&unlinked), plain(&removed))
}

async fn mkdir_makes_a_directory<M: Mode>(env: &Env<M>) -> Verdict {
    let made = env.ring().mkdir(env.path("dir"), 0o700).await;
    seen!("{}; there: {}", plain(&made), yes(env.names_in(&env.path("dir")).is_ok()))
}

async fn mkdir_of_what_is_there<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let made = env.ring().mkdir(path, 0o700).await;
    let below = env.ring().mkdir(env.path("none/below"), 0o700).await;
    seen!("{}; below nothing: {}", plain(&made), plain(&below))
}

async fn symlink_says_its_target<M: Mode>(env: &Env<M>) -> Verdict {
    let made = env.ring().symlink("anywhere", env.path("link")).await;
    let says = safer_ring::fs::read_link(env.ring(), env.path("link")).await?;
    seen!("{}; says '{}'", plain(&made), says.display())
}

async fn symlink_over_what_is_there<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let made = env.ring().symlink("x", path).await;
    let empty = env.ring().symlink("", env.path("empty")).await;
    seen!("{}; to nothing: {}", plain(&made), plain(&empty))
}

async fn link_is_a_second_name<M: Mode>(env: &Env<M>) -> Verdict {
    let path = env.file_at("file", b"").await?;
    let made = env.ring().link(&path, env.path("second")).await;
    seen!("{}; names: {}", plain(&made), env.ring().statx(&path).await?.nlink())
}

async fn link_of_what_is_not_there<M: Mode>(env: &Env<M>) -> Verdict {
    let made = env.ring().link(env.path("none"), env.path("second")).await;
    let path = env.file_at("file", b"").await?;
    let over = env.ring().link(&path, &path).await;
    seen!("{}; over what is there: {}", plain(&made), plain(&over))
}

async fn dropped_names_run_to_their_end<M: Mode>(env: &Env<M>) -> Verdict {
    let ring = env.ring();
    let (moving, gone) = (env.file_at("moving", b"").await?, env.file_at("gone", b"").await?);
    let kept = env.file_at("kept", b"").await?;
    // Each is begun, and its future is gone at once.
    let _ = poll_once(&mut ring.rename(&moving, env.path("moved"), RenameMode::Replace));
    let _ = poll_once(&mut ring.unlink(&gone));
    let _ = poll_once(&mut ring.mkdir(env.path("made"), 0o700));
    let _ = poll_once(&mut ring.symlink("x", env.path("soft")));
    let _ = poll_once(&mut ring.link(&kept, env.path("hard")));
    ended(ring).await?;
    seen!(
        "moved: {}, removed: {}, made: {}, soft: {}, hard: {}",
        yes(env.there(&env.path("moved"))),
        yes(!env.there(&gone)),
        yes(env.there(&env.path("made"))),
        yes(env.there(&env.path("soft"))),
        yes(env.there(&env.path("hard")))
    )
}
