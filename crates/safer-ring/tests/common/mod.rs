//! What the tests share.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses a part of it")]

use std::cell::Cell;
use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Seek as _, Write as _};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::time::Duration;

use safer_ring::{
    BackendChoice, BackendKind, Builder, Failure, Fd, Local, Mode, OpError, Ring, RingOf, Shared,
};

/// How much slower than a machine this is: more than once where the processor is emulated (`cargo xtask vm`).
pub(crate) fn slowness() -> u32 {
    if std::env::var_os("SAFER_RING_GUEST").is_some() { 10 } else { 1 }
}

/// A hang becomes a failure after this time; later on a slow machine.
pub(crate) fn deadline() -> Duration {
    Duration::from_secs(if slowness() > 1 { 120 } else { 30 })
}

/// Whether the kernel is of this version or newer.
pub(crate) fn kernel_is(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Runs a test body on a thread of its own; one that does not end fails.
#[track_caller]
pub(crate) fn within_deadline(body: impl FnOnce() + Send + 'static) {
    let (done, over) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        // The receiver is gone only if the deadline has passed.
        let _ = done.send(());
    });
    match over.recv_timeout(deadline()) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs: not over after {:?}", deadline()),
        // A panic in the body drops the sender; joining it passes the panic on.
        _ => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// A mode, and how a builder for it is made.
pub(crate) trait Settings: Mode {
    /// The same settings for a ring of this mode.
    fn of(shared: Builder<Shared>) -> Builder<Self>;
}

impl Settings for Local {
    fn of(shared: Builder<Shared>) -> Builder<Local> {
        shared.local()
    }
}

impl Settings for Shared {
    fn of(shared: Builder<Shared>) -> Builder<Shared> {
        shared
    }
}

/// A way to hold a ring and to run a future with it.
pub(crate) trait Exec: 'static {
    /// How the ring is held.
    type M: Settings;
    /// The same settings for this kind of ring.
    fn builder(shared: Builder<Shared>) -> Builder<Self::M> {
        Self::M::of(shared)
    }
    /// Runs a future to its end.
    fn run<F: Future>(ring: &RingOf<Self::M>, future: F) -> F::Output;
}

/// `local::Ring::block_on`.
pub(crate) enum OnLocal {}
/// A shared ring under pollster.
pub(crate) enum OnPollster {}
/// A shared ring under a multi-thread tokio runtime.
pub(crate) enum OnTokio {}
/// One of these two, which [`by`] has chosen for the thread: what is for both is compiled once.
pub(crate) enum OnShared {}

/// What runs the futures of [`OnShared`].
#[derive(Clone, Copy)]
pub(crate) enum Executor {
    Pollster,
    Tokio,
}

thread_local! {
    static EXECUTOR: Cell<Option<Executor>> = const { Cell::new(None) };
}

/// Runs `body` with this executor, on this thread.
pub(crate) fn by<T>(executor: Executor, body: impl FnOnce() -> T) -> T {
    EXECUTOR.set(Some(executor));
    body()
}

/// Runs a future by way of one type, so that an executor is compiled once and not for each future.
fn plainly<F: Future>(future: F, run: impl FnOnce(Pin<&mut dyn Future<Output = ()>>)) -> F::Output {
    let mut output = None;
    run(pin!(async { output = Some(future.await) }));
    output.expect("an executor runs a future to its end")
}

impl Exec for OnLocal {
    type M = Local;
    fn run<F: Future>(ring: &RingOf<Local>, future: F) -> F::Output {
        plainly(future, |future| ring.block_on(future))
    }
}

impl Exec for OnPollster {
    type M = Shared;
    fn run<F: Future>(_: &RingOf<Shared>, future: F) -> F::Output {
        plainly(future, |future| pollster::block_on(future))
    }
}

impl Exec for OnTokio {
    type M = Shared;
    fn run<F: Future>(_: &RingOf<Shared>, future: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        plainly(future, |future| runtime.block_on(future))
    }
}

impl Exec for OnShared {
    type M = Shared;
    fn run<F: Future>(ring: &RingOf<Shared>, future: F) -> F::Output {
        match EXECUTOR.get().expect("chosen for the thread") {
            Executor::Pollster => OnPollster::run(ring, future),
            Executor::Tokio => OnTokio::run(ring, future),
        }
    }
}

/// For what only a ring of the kernel has, whatever `SAFER_RING_BACKEND` says.
pub(crate) fn of_the_kernel() -> Builder<Shared> {
    Ring::builder().backend(BackendChoice::Only(BackendKind::IoUring))
}

/// Makes a ring of `entries` and runs `body` with it.
pub(crate) fn with_ring<E: Exec>(entries: u32, body: impl AsyncFnOnce(RingOf<E::M>)) {
    with_built::<E>(Ring::builder().entries(entries), body);
}

/// Makes a ring and runs `body` with it.
pub(crate) fn with_built<E: Exec>(builder: Builder<Shared>, body: impl AsyncFnOnce(RingOf<E::M>)) {
    let ring = E::builder(builder).build().unwrap();
    E::run(&ring, body(ring.clone()));
}

/// Makes of each generic function `name::<E: Exec>()` three tests: `local::name`, `shared_pollster::name` and
/// `shared_tokio::name`.
macro_rules! everywhere {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(#[test] fn $name() { crate::common::within_deadline(super::$name::<crate::common::OnLocal>) })*
        }
        mod shared_pollster {
            use crate::common::{Executor::Pollster, OnShared, by, within_deadline};
            $(#[test] fn $name() { within_deadline(|| by(Pollster, super::$name::<OnShared>)) })*
        }
        mod shared_tokio {
            use crate::common::{Executor::Tokio, OnShared, by, within_deadline};
            $(#[test] fn $name() { within_deadline(|| by(Tokio, super::$name::<OnShared>)) })*
        }
    };
}
pub(crate) use everywhere;

/// The library's own reason in an error that is not the kernel's.
pub(crate) fn failure(error: &std::io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<Failure>().copied()
}

/// The number and the buffer of an operation that must fail with the kernel's `errno`.
#[track_caller]
pub(crate) fn must_fail<T: std::fmt::Debug, B>(result: Result<T, OpError<B>>, errno: i32) -> B {
    let error = result.expect_err("it must fail");
    assert_eq!(error.raw_os_error(), Some(errno), "{error}");
    error.into_buffer()
}

/// As [`must_fail`], for an operation without a buffer.
#[track_caller]
pub(crate) fn must_fail_plainly<T: std::fmt::Debug>(result: std::io::Result<T>, errno: i32) {
    let error = result.expect_err("it must fail");
    assert_eq!(error.raw_os_error(), Some(errno), "{error}");
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

pub(crate) mod alone;
pub(crate) mod child;
pub(crate) mod example;
#[cfg(feature = "tokio")]
pub(crate) mod flavour;
pub(crate) mod fuse;
pub(crate) mod naps;
pub(crate) mod net;
pub(crate) mod seccomp;
pub(crate) mod tracked;

/// An unnamed file with this content, at its start.
pub(crate) fn file_with<M: Mode>(content: &[u8]) -> Fd<M> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    Fd::new(file)
}

/// All that is in a file.
pub(crate) fn content<M: Mode>(fd: &Fd<M>) -> Vec<u8> {
    let mut file = File::from(fd.duplicate().unwrap());
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    all
}

/// Whether the files that [`direct_file`] and its like make are in memory, where direct I/O has no rules.
pub(crate) fn lacks_direct_rules() -> bool {
    in_memory(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Whether files in this directory are in memory, as all of them are in a guest. Such a file system has no rules for direct
/// I/O, cannot do all that fallocate(2) can, and may have reads run by a worker.
pub(crate) fn in_memory(directory: &std::path::Path) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    let kind = i128::from(rustix::fs::statfs(directory).unwrap().f_type);
    kind == TMPFS || kind == RAMFS
}

const O_DIRECT: i32 = 0o40_000;

/// A file of `len` bytes on a disk, since memory file systems refuse direct I/O.
pub(crate) fn direct_file<M: Mode>(len: usize) -> Fd<M> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().write_all(&vec![0x5A; len]).unwrap();
    file.as_file().sync_all().unwrap();
    let mut options = std::fs::OpenOptions::new();
    let opened = options.read(true).custom_flags(O_DIRECT).open(file.path());
    match opened {
        Ok(direct) => Fd::new(direct),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            eprintln!("no direct I/O on this file system: buffered reads instead");
            Fd::new(file.reopen().unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}
