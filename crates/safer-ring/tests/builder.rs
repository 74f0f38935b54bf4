//! How rings are made: limits, flags, fallbacks, bad input, on a real kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use common::{
    Exec, everywhere, file_with, must_fail, must_fail_plainly, of_the_kernel, with_built,
    with_ring, within_deadline,
};
use futures_util::{future::join_all, join, poll};
use safer_ring::{
    Address, BufferPool, Builder, Cause, Fd, Mode, OpenOptions, OwnedBuffer, RegisterError, Ring,
    RingOf, SetupError, Shared, SocketKind, sys,
};
use sys::{Errno, opcode, setup};

type LocalRing = RingOf<safer_ring::Local>;

everywhere!(
    bad_numbers_of_entries_are_refused_before_any_system_call,
    too_few_or_too_many_completions_are_refused,
    features_say_what_the_kernel_gave,
    the_number_of_completions_is_as_asked,
    every_setup_flag_can_be_left_out,
    operations_without_an_opcode_run_as_plain_calls,
    an_operation_without_opcode_and_plain_form_is_unsupported,
    a_chain_with_a_member_that_has_no_opcode_touches_no_other_operation,
    a_restricted_ring_works_and_refuses_other_opcodes,
    sqpoll_runs_everything,
    sqpoll_submits_what_waits_behind_a_full_queue,
    iopoll_refuses_what_cannot_be_polled_with_the_buffer,
    iopoll_reads_a_file_opened_for_direct_io,
    io_wq_workers_can_be_limited,
    a_cpu_that_is_not_there_is_refused,
);

fn refusal<E: Exec>(builder: Builder<Shared>) -> SetupError {
    E::builder(builder).build().expect_err("it must be refused")
}

/// The basic operations, each with its result.
async fn exercise<M: Mode>(ring: &RingOf<M>) {
    let file = file_with(b"");
    ring.nop().await.unwrap();
    ring.write_at_owned(&file, "content", 0).await.unwrap();
    let (_, read) = ring.read_at_owned(&file, Vec::with_capacity(9), 0).await.unwrap();
    assert_eq!(read, b"content");
    let (write, sync) = ring.write_at_owned(&file, "C", 0).then(ring.fsync(&file)).await;
    write.unwrap();
    sync.unwrap();
    let (reader, writer) = ring.pipe(Default::default()).await.unwrap();
    let read = ring.read_owned(&reader, vec![0; 9]);
    let (read, write) = join!(read, ring.write_owned(&writer, "piped"));
    write.unwrap();
    assert_eq!(read.unwrap().1, b"piped");
    let mut waits = ring.read_owned(&reader, vec![0; 9]);
    assert!(poll!(&mut waits).is_pending());
    ring.timeout(Duration::from_millis(1)).await.unwrap();
    drop(waits);
    let mut batch = ring.batch();
    let reads: Vec<_> = (0..40).map(|_| batch.read_at(&file, vec![0; 7], 0)).collect();
    batch.submit().await;
    for read in reads {
        assert_eq!(read.await.unwrap().1, b"Content");
    }
    must_fail_plainly(ring.open("/none", &OpenOptions::new().read(true)).await, libc::ENOENT);
    assert_eq!(ring.statx_fd(&file).await.unwrap().len(), 7);
    ring.close(file).await.unwrap();
}

fn bad_numbers_of_entries_are_refused_before_any_system_call<E: Exec>() {
    for asked in [0, 32_769, u32::MAX] {
        let error = refusal::<E>(Ring::builder().entries(asked));
        assert_eq!(error, SetupError::Entries { asked });
        assert_eq!(error.errno(), None);
        assert_eq!(error.to_string(), format!("a ring has 1 to 32768 entries, not {asked}"));
        let io = std::io::Error::from(error);
        assert_eq!(io.kind(), std::io::ErrorKind::InvalidInput);
    }
    with_ring::<E>(32_768, async |ring| {
        assert_eq!(ring.features().entries, 32_768);
        ring.nop().await.unwrap();
    });
    with_ring::<E>(5, async |ring| assert_eq!(ring.features().entries, 8));
}

fn too_few_or_too_many_completions_are_refused<E: Exec>() {
    for completions in [0, 1, 63, 65_537, u32::MAX] {
        let error = refusal::<E>(Ring::builder().entries(64).completions(completions));
        assert!(matches!(error, SetupError::Conflict { .. }), "{error:?}");
        assert!(error.to_string().contains("completion"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
    }
    let none = E::builder(Ring::builder().max_rings(0)).build();
    assert!(matches!(none, Err(SetupError::Conflict { .. })), "{none:?}");
}

fn features_say_what_the_kernel_gave<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8), async |ring| {
        let features = ring.features();
        assert!(features.supports(opcode::NOP) && features.supports(opcode::READ));
        assert!(!features.supports(200));
        assert!(features.has_feature(sys::feat::NODROP));
        assert_eq!(features.entries, 8);
        assert!(features.completions >= 8);
        assert!(!features.restricted);
        let names: Vec<_> = features.opcode_names().collect();
        assert!(names.contains(&"NOP") && names.contains(&"OPENAT2"), "{names:?}");
        let shown = features.to_string();
        assert!(shown.starts_with("io_uring, 8 entries"), "{shown}");
        assert!(format!("{ring:?}").contains("features"));
    });
}

fn the_number_of_completions_is_as_asked<E: Exec>() {
    with_built::<E>(Ring::builder().entries(8).completions(64), async |ring| {
        assert_eq!(ring.features().completions, 64);
        exercise(&ring).await;
    });
}

fn every_setup_flag_can_be_left_out<E: Exec>() {
    let all = setup::SUBMIT_ALL
        | setup::COOP_TASKRUN
        | setup::TASKRUN_FLAG
        | setup::SINGLE_ISSUER
        | setup::DEFER_TASKRUN
        | setup::NO_SQARRAY;
    // DEFER_TASKRUN needs SINGLE_ISSUER: without the one alone the kernel refuses, and the next step is taken.
    let sets = setup::NAMES.iter().map(|(flag, _)| flag & all).filter(|flag| *flag != 0);
    for without in sets.chain([all]) {
        let builder = Ring::builder().entries(8).without_setup_flags(without);
        with_built::<E>(builder, async |ring| {
            assert!(!ring.features().has_setup_flag(without), "{}", ring.features());
            exercise(&ring).await;
        });
    }
}

fn operations_without_an_opcode_run_as_plain_calls<E: Exec>() {
    let absent = [
        opcode::SOCKET,
        opcode::BIND,
        opcode::LISTEN,
        opcode::SHUTDOWN,
        opcode::PIPE,
        opcode::FTRUNCATE,
        opcode::RENAMEAT,
        opcode::UNLINKAT,
        opcode::MKDIRAT,
        opcode::SYMLINKAT,
        opcode::LINKAT,
    ];
    with_built::<E>(of_the_kernel().entries(8).without_opcodes(&absent), async |ring| {
        let any = Address::from("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap());
        let listener = ring.socket(&any, SocketKind::Stream).await.unwrap();
        ring.bind(&listener, any.clone()).await.unwrap();
        ring.listen(&listener, 4).await.unwrap();
        let std = std::net::TcpListener::from(listener.duplicate().unwrap());
        let address = Address::from(std.local_addr().unwrap());
        let client = ring.socket(&address, SocketKind::Stream).await.unwrap();
        let (accepted, connected) = join!(ring.accept(&listener), ring.connect(&client, address));
        connected.unwrap();
        let (server, _) = accepted.unwrap();
        ring.send(&client, "hello").await.unwrap();
        ring.shutdown(&client, std::net::Shutdown::Write).await.unwrap();
        let (_, hello) = ring.recv(&server, Vec::with_capacity(9)).await.unwrap();
        assert_eq!(hello, b"hello");
        assert_eq!(ring.recv(&server, hello).await.unwrap().0, 0);
        // A send that is alone is one too, where the kernel sends all of what is begun (6.0).
        let sends = ring.features().supports(opcode::SENDMSG_ZC);
        assert_eq!(ring.snapshot().plain_calls, 5 + u64::from(sends));
        must_fail_plainly(
            ring.listen(&ring.pipe(Default::default()).await.unwrap().0, 1).await,
            libc::ENOTSOCK,
        );
        let file = file_with(b"content");
        ring.ftruncate(&file, 3).await.unwrap();
        must_fail_plainly(ring.mkdir("/", 0o700).await, libc::EEXIST);
        must_fail_plainly(ring.unlink("/none").await, libc::ENOENT);
        assert_eq!(ring.snapshot().plain_calls, 10 + u64::from(sends));
        // Many at once, more than the queue has places, and one that is dropped.
        let directory = tempfile::tempdir().unwrap();
        let make = |n: u32| ring.mkdir(directory.path().join(n.to_string()), 0o700);
        assert!(join_all((0..100).map(make)).await.into_iter().all(|made| made.is_ok()));
        assert_eq!(ring.snapshot().plain_calls, 110 + u64::from(sends));
        drop(make(100));
        let snapshot = ring.snapshot();
        assert_eq!((snapshot.queued, snapshot.orphans), (0, 0));
    });
}

fn an_operation_without_opcode_and_plain_form_is_unsupported<E: Exec>() {
    let builder = of_the_kernel().entries(8).without_opcodes(&[opcode::READ, 255]);
    with_built::<E>(builder, async |ring| {
        assert!(!ring.features().supports(opcode::READ));
        let file = file_with(b"content");
        let back = must_fail(ring.read_owned(&file, b"kept".to_vec()).await, libc::EOPNOTSUPP);
        assert_eq!(back, b"kept");
        let mut batch = ring.batch();
        let read = batch.read_at(&file, back, 0);
        let write = batch.write_at(&file, "C", 0);
        batch.submit().await;
        assert_eq!(must_fail(read.await, libc::EOPNOTSUPP), b"kept");
        assert_eq!(write.await.unwrap().0, 1);
    });
}

fn a_chain_with_a_member_that_has_no_opcode_touches_no_other_operation<E: Exec>() {
    let builder = of_the_kernel().entries(8).without_opcodes(&[opcode::FTRUNCATE]);
    with_built::<E>(builder, async |ring| {
        let file = file_with(b"content");
        // Writing to the read end fails, and would end whatever is linked to it.
        let (reader, _writer) = ring.pipe(Default::default()).await.unwrap();
        let bad = ring.write_owned(&reader, b"kept".to_vec());
        let chain = bad.then(ring.ftruncate(&file, 0));
        let (chain, other) = join!(chain, ring.nop());
        other.expect("an operation outside of the chain is no part of it");
        chain.0.unwrap_err();
        chain.1.unwrap_err();
        assert_eq!(ring.statx_fd(&file).await.unwrap().len(), 7, "the second did not run");
    });
}

fn a_restricted_ring_works_and_refuses_other_opcodes<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8).restricted(true), async |ring| {
        assert!(ring.features().restricted);
        assert!(!ring.features().supports(opcode::EPOLL_CTL));
        assert!(ring.features().to_string().contains("restricted"));
        exercise(&ring).await;
        let raw = |opcode, flags| {
            let entry = sys::Sqe { opcode, flags, fd: -1, ..sys::Sqe::default() };
            // SAFETY: the entry points to nothing and names no descriptor.
            unsafe { ring.raw(entry, None, ()) }
        };
        for forbidden in [opcode::EPOLL_CTL, opcode::FADVISE, opcode::MADVISE] {
            must_fail_plainly(raw(forbidden, 0).await.result, libc::EACCES);
        }
        must_fail_plainly(raw(opcode::NOP, sys::sqe_flags::ASYNC).await.result, libc::EACCES);
        raw(opcode::NOP, 0).await.result.unwrap();
        exercise(&ring).await;
    });
}

fn sqpoll_runs_everything<E: Exec>() {
    let builder = of_the_kernel().entries(8).sqpoll(Duration::from_millis(5));
    with_built::<E>(builder, async |ring| {
        assert!(ring.features().has_setup_flag(setup::SQPOLL));
        for _ in 0..3 {
            exercise(&ring).await;
            // Long enough for the kernel's thread to fall asleep: it has to be woken.
            ring.timeout(Duration::from_millis(15)).await.unwrap();
        }
    });
}

fn sqpoll_submits_what_waits_behind_a_full_queue<E: Exec>() {
    let builder = of_the_kernel().entries(4).completions(64).sqpoll(Duration::from_millis(5));
    with_built::<E>(builder, async |ring| {
        for _ in 0..20 {
            let (reader, writer) = ring.pipe(Default::default()).await.unwrap();
            let reads = (0..20).map(|_| ring.read_owned(&reader, vec![0; 1]));
            let writes = (0..20).map(|_| ring.write_owned(&writer, "x"));
            let (reads, writes) = join!(join_all(reads), join_all(writes));
            assert!(reads.into_iter().all(|read| read.unwrap().1 == b"x"));
            assert!(writes.into_iter().all(|write| write.unwrap().0 == 1));
        }
    });
}

fn iopoll_refuses_what_cannot_be_polled_with_the_buffer<E: Exec>() {
    with_built::<E>(of_the_kernel().entries(8).iopoll(true), async |ring| {
        assert!(ring.features().has_setup_flag(setup::IOPOLL));
        let file = file_with(b"content");
        let back =
            must_fail(ring.read_at_owned(&file, b"kept".to_vec(), 0).await, libc::EOPNOTSUPP);
        assert_eq!(back, b"kept");
        let back = must_fail(ring.write_at_owned(&file, back, 0).await, libc::EOPNOTSUPP);
        assert_eq!(back, b"kept");
        let error = ring.fsync(&file).await.unwrap_err();
        let errno = error.raw_os_error();
        assert!(matches!(errno, Some(libc::EINVAL | libc::EOPNOTSUPP)), "{error}");
    });
}

fn iopoll_reads_a_file_opened_for_direct_io<E: Exec>() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("direct");
    std::fs::write(&path, [b'x'; 65_536]).unwrap();
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_DIRECT);
    // File systems without direct I/O say so here.
    let Ok(file) = options.read(true).open(&path) else { return };
    with_built::<E>(of_the_kernel().entries(8).iopoll(true), async |ring| {
        let file = Fd::new(file);
        let reads = (0..32_u64).map(|block| {
            let buffer = OwnedBuffer::aligned(4096, 4096).unwrap();
            ring.read_at_owned(&file, buffer, block % 16 * 4096)
        });
        for read in join_all(reads).await {
            match read {
                Ok((n, buffer)) => assert!(n == 4096 && buffer.iter().all(|byte| *byte == b'x')),
                // A file system that cannot be polled.
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
            }
        }
    });
}

fn io_wq_workers_can_be_limited<E: Exec>() {
    with_built::<E>(Ring::builder().entries(8).io_wq_workers(1, 2), async |ring| {
        let file = file_with(b"content");
        let syncs = join_all((0..40).map(|_| ring.fsync(&file))).await;
        assert!(syncs.into_iter().all(|sync| sync.is_ok()));
        exercise(&ring).await;
    });
    with_built::<E>(Ring::builder().io_wq_workers(0, 0), async |ring| exercise(&ring).await);
}

fn a_cpu_that_is_not_there_is_refused<E: Exec>() {
    let error = refusal::<E>(of_the_kernel().entries(8).sqpoll_cpu(100_000));
    assert!(matches!(error, SetupError::Mode { errno: Errno::INVAL, .. }), "{error:?}");
    let why = "; with SQ_AFF, sq_thread_cpu must be a CPU that is online, not 100000; pass another CPU, or leave SQ_AFF out";
    assert!(error.to_string().ends_with(why), "{error}");
    with_built::<E>(of_the_kernel().entries(8).sqpoll_cpu(0), async |ring| {
        ring.nop().await.unwrap();
    });
}

/// Names the part of a test that runs in a process of its own.
const CHILD: &str = "SAFER_RING_TEST_CHILD";

/// Runs the test `name` again in a process of its own, where [`is_child`] is true.
fn in_a_child(name: &str, prepare: impl FnOnce(&mut Command)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, name);
    prepare(&mut command);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{complained}");
    assert!(printed.contains("1 passed"), "the child ran something else: {printed}");
}

fn is_child(name: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|child| child == name)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn without_free_descriptors_a_ring_is_refused_and_nothing_leaks() {
    const NAME: &str = "without_free_descriptors_a_ring_is_refused_and_nothing_leaks";
    if !is_child(NAME) {
        return within_deadline(|| in_a_child(NAME, |_| {}));
    }
    // What is made once for the whole process is there afterwards.
    drop(RingOf::<Shared>::new(8).unwrap());
    drop(LocalRing::with_settings(8).unwrap());
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: a limit on this stack.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let mut held: Vec<OwnedFd> = Vec::new();
    while let Ok(fd) = File::open("/dev/null") {
        held.push(fd.into());
    }
    for room in 0..3 {
        let before = held.len();
        held.truncate(held.len() - usize::from(room > 0));
        let shared = RingOf::<Shared>::new(8).map(drop);
        if room == 0 {
            let error = shared.unwrap_err();
            assert_eq!(error.errno(), Some(Errno::MFILE), "{error}");
            assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
            let error = LocalRing::with_settings(8).map(drop).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::MFILE), "{error}");
        } else {
            // One place may be enough for a ring, but not for all that comes with it.
            for outcome in [shared, LocalRing::with_settings(8).map(drop)] {
                if let Err(error) = outcome {
                    assert_eq!(error.errno(), Some(Errno::MFILE), "{error}");
                }
            }
        }
        assert!(held.len() <= before);
    }
    held.clear();
    let before = open_descriptors();
    drop(RingOf::<Shared>::new(8).unwrap());
    drop(LocalRing::with_settings(8).unwrap());
    assert_eq!(open_descriptors(), before);
}

/// A local ring with the default settings.
trait WithSettings: Sized {
    fn with_settings(entries: u32) -> Result<Self, SetupError>;
}

impl WithSettings for LocalRing {
    fn with_settings(entries: u32) -> Result<Self, SetupError> {
        Ring::builder().entries(entries).local().build()
    }
}

/// Limits on locked memory do not bind root. The number belongs to nobody, and each test has its own, so nothing else counts.
fn as_nobody(command: &mut Command, uid: u32) {
    // SAFETY: geteuid(2) takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(uid);
    }
}

#[test]
fn with_little_lockable_memory_a_ring_is_smaller_or_refused() {
    const NAME: &str = "with_little_lockable_memory_a_ring_is_smaller_or_refused";
    if !is_child(NAME) {
        return within_deadline(|| {
            in_a_child(NAME, |command| as_nobody(command, 4_242_424));
        });
    }
    let limit = |bytes: u64| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: 1 << 20 };
        // SAFETY: a limit on this stack.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    };
    limit(1 << 20);
    let small = Ring::builder().entries(32_768).local().build().unwrap();
    let features = small.features();
    // Kernels from 5.12 to 6.13 do not count rings; then all entries are there and nothing was refused.
    // What an older kernel refuses of the flags has nothing to do with memory.
    let mut refusals = features.attempts.iter().map(|attempt| attempt.errno);
    let counted = refusals.clone().any(|errno| errno == Errno::NOMEM);
    assert_eq!(features.entries < 32_768, counted, "{features}");
    let known = |errno| matches!(errno, Errno::NOMEM | Errno::INVAL);
    assert!(refusals.all(known), "{features}");
    small.block_on(exercise(&small));
    drop(small);
    limit(0);
    let none = Ring::builder().entries(256).local().build();
    match none {
        Err(error) => {
            assert!(counted, "{error}");
            assert_eq!((error.errno(), error.cause()), (Some(Errno::NOMEM), Some(Cause::Memlock)));
            assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        }
        Ok(_) => assert!(!counted, "the limit is counted"),
    }
}

#[test]
fn a_pool_beyond_the_limit_of_locked_memory_is_refused_and_works() {
    const NAME: &str = "a_pool_beyond_the_limit_of_locked_memory_is_refused_and_works";
    if !is_child(NAME) {
        return within_deadline(|| {
            in_a_child(NAME, |command| as_nobody(command, 4_242_425));
        });
    }
    let ring = of_the_kernel().entries(8).local().build().unwrap();
    if !ring.features().has_registered_buffers() {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: a limit on this stack.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    let large = BufferPool::contiguous(16, 1 << 20, 4096).unwrap();
    let error = ring.register_buffers(&large).unwrap_err();
    assert_eq!(error, RegisterError::Limit(16 << 20));
    assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
    let small = BufferPool::contiguous(4, 4096, 4096).unwrap();
    ring.register_buffers(&small).unwrap();
    let file = Fd::new(File::open("/proc/self/exe").unwrap());
    for (pool, counted) in [(&large, 0), (&small, 1)] {
        let read = ring.read_at_owned(&file, pool.take().unwrap(), 0);
        assert!(ring.block_on(read).unwrap().1.starts_with(b"\x7fELF"));
        assert_eq!(ring.snapshot().registered_buffers, counted);
    }
}

#[test]
fn an_idle_polling_thread_uses_no_cpu() {
    const NAME: &str = "an_idle_polling_thread_uses_no_cpu";
    if !is_child(NAME) {
        return within_deadline(|| in_a_child(NAME, |_| {}));
    }
    fn cpu_time() -> Duration {
        // SAFETY: all zeroes are a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: a rusage on this stack.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
        let part = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
        };
        part(usage.ru_utime) + part(usage.ru_stime)
    }
    // The kernel takes less than a millisecond for its own choice, which is a second.
    for idle in [Duration::from_millis(10), Duration::ZERO, Duration::from_micros(500)] {
        let builder = of_the_kernel().entries(8).sqpoll(idle);
        idle_second(&builder.local().build().unwrap(), cpu_time);
    }
}

/// An idle second of a ring takes next to no CPU time of the process.
fn idle_second(ring: &RingOf<safer_ring::Local>, cpu_time: fn() -> Duration) {
    ring.block_on(async {
        let (reader, _writer) = ring.pipe(Default::default()).await.unwrap();
        let mut wait = ring.read_owned(&reader, vec![0; 8]);
        assert!(poll!(&mut wait).is_pending());
        ring.timeout(Duration::from_millis(200)).await.unwrap();
        let before = cpu_time();
        ring.timeout(Duration::from_secs(1)).await.unwrap();
        let used = cpu_time() - before;
        // The ends of the timers are a part of it, and slow where the processor is emulated.
        let slow = common::slowness();
        let most = slow * Duration::from_millis(50);
        assert!(used < most, "{used:?} of CPU time in an idle second");
    });
}

#[test]
fn a_bad_descriptor_number_in_a_raw_entry_is_an_error_not_a_crash() {
    within_deadline(|| {
        let ring = of_the_kernel().entries(8).build().unwrap();
        let entry = sys::Sqe { opcode: opcode::FSYNC, fd: 1 << 30, ..sys::Sqe::default() };
        // SAFETY: the entry points to nothing; no descriptor has that number.
        let output = pollster::block_on(unsafe { ring.raw(entry, None, ()) });
        must_fail_plainly(output.result, libc::EBADF);
        let null = Fd::<Shared>::new(File::open("/dev/null").unwrap());
        assert!(null.as_fd().as_raw_fd() >= 0);
    });
}
