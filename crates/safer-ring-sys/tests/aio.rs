//! Linux AIO on the real kernel.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::kernel_is;
use safer_ring_sys::mmap::Mapping;
use safer_ring_sys::{
    AioContext, Errno, IoEvent, Iocb, Timespec, address, aio_cmd, aio_flag, iovec, rwf,
};

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;
const AT_ONCE: Option<Timespec> = Some(Timespec { tv_sec: 0, tv_nsec: 0 });

/// A context, or `None`, said aloud, where this machine has no AIO.
fn context(nr_events: u32) -> Option<AioContext> {
    match AioContext::setup(nr_events) {
        Ok(context) => Some(context),
        Err(errno @ (Errno::NOSYS | Errno::PERM)) => {
            eprintln!("SKIPPED: AIO is not available here: {errno}");
            None
        }
        Err(errno) => panic!("io_setup: {errno}"),
    }
}

/// A file of `BLOCKS` blocks, each filled with its number, without a name; `None`, said aloud, where the file system
/// has no `O_DIRECT`.
fn file(name: &str, flags: i32) -> Option<File> {
    let path = std::env::temp_dir().join(format!("safer-ring-aio-{name}-{}", std::process::id()));
    let mut plain = File::create(&path).unwrap();
    for block in 0..BLOCKS {
        plain.write_all(&[block as u8; BLOCK]).unwrap();
    }
    plain.sync_all().unwrap();
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
    std::fs::remove_file(&path).unwrap();
    match opened {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && flags & libc::O_DIRECT != 0 => {
            eprintln!("SKIPPED: no O_DIRECT in {}", std::env::temp_dir().display());
            None
        }
        opened => Some(opened.unwrap()),
    }
}

fn eventfd() -> OwnedFd {
    // SAFETY: makes a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    assert!(fd >= 0);
    // SAFETY: new, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Reads and clears the counter.
fn count(eventfd: &OwnedFd) -> u64 {
    let mut value = 0_u64;
    // SAFETY: the kernel writes 8 bytes.
    let read = unsafe { libc::read(eventfd.as_raw_fd(), (&raw mut value).cast(), 8) };
    if read == 8 { value } else { 0 }
}

fn command(opcode: u16, file: &impl AsRawFd, data: u64) -> Iocb {
    Iocb {
        aio_data: data,
        aio_lio_opcode: opcode,
        aio_fildes: file.as_raw_fd() as u32,
        ..Iocb::default()
    }
}

/// A read or write of one block.
fn block(opcode: u16, file: &File, memory: &Mapping, at: usize, number: usize) -> Iocb {
    let place = memory.at::<u8>((at * BLOCK) as u32, BLOCK as u32).unwrap();
    Iocb {
        aio_buf: address(place.as_ptr()),
        aio_nbytes: BLOCK as u64,
        aio_offset: (number * BLOCK) as i64,
        ..command(opcode, file, number as u64)
    }
}

/// Submits all of them; every test keeps the memory until it has fetched the events or destroyed the context.
fn submit(context: &AioContext, commands: &mut [Iocb]) -> Result<usize, Errno> {
    let all: Vec<*mut Iocb> = commands.iter_mut().map(|command| &raw mut *command).collect();
    // SAFETY: the structures are alive during the call; the memory is kept by the tests, see above.
    unsafe { context.submit(&all) }
}

/// Waits for `n` events.
fn events(context: &AioContext, n: usize) -> Vec<IoEvent> {
    let mut room = vec![MaybeUninit::uninit(); n];
    let mut all = Vec::new();
    while all.len() < n {
        match context.getevents(1, &mut room[all.len()..], None) {
            Ok(some) => all.extend_from_slice(some),
            Err(Errno::INTR) => {}
            Err(errno) => panic!("io_getevents: {errno}"),
        }
    }
    all
}

/// What the bytes of a block are, if they are all the same.
fn byte(memory: &Mapping, at: usize) -> u8 {
    let place = memory.at::<[u8; BLOCK]>((at * BLOCK) as u32, 1).unwrap();
    // SAFETY: inside the mapping, which was zeroed; nothing is in flight when the tests look.
    let block = unsafe { place.read() };
    assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
    block[0]
}

#[test]
fn direct_reads_overwrites_and_syncs_complete_and_are_counted() {
    let (Some(context), Some(file)) = (context(64), file("direct", libc::O_DIRECT)) else { return };
    let memory = Mapping::anonymous(32 * BLOCK).unwrap();
    let bell = eventfd();
    let ring = |command: Iocb| Iocb {
        aio_flags: aio_flag::RESFD,
        aio_resfd: bell.as_raw_fd() as u32,
        ..command
    };
    let mut reads: Vec<Iocb> =
        (0..16).map(|n| ring(block(aio_cmd::PREAD, &file, &memory, n, n + 100))).collect();
    assert_eq!(submit(&context, &mut reads), Ok(16));
    let mut got = events(&context, 16);
    got.sort_by_key(|event| event.data);
    for (n, event) in got.iter().enumerate() {
        let obj = address(&raw const reads[n]);
        let expected = IoEvent { data: n as u64 + 100, obj, res: BLOCK as i64, res2: 0 };
        assert_eq!(*event, expected);
        assert_eq!(byte(&memory, n), n as u8 + 100);
    }
    assert_eq!(count(&bell), 16);

    // Blocks 100..116 over blocks 0..16, and back into other memory.
    let mut writes: Vec<Iocb> =
        (0..16).map(|n| ring(block(aio_cmd::PWRITE, &file, &memory, n, n))).collect();
    writes[3].aio_rw_flags = rwf::DSYNC;
    assert_eq!(submit(&context, &mut writes), Ok(16));
    assert!(events(&context, 16).iter().all(|event| event.res == BLOCK as i64));
    let mut syncs = [command(aio_cmd::FSYNC, &file, 1), ring(command(aio_cmd::FDSYNC, &file, 2))];
    assert_eq!(submit(&context, &mut syncs), Ok(2));
    assert!(events(&context, 2).iter().all(|event| event.res == 0));
    assert_eq!(count(&bell), 17, "one for each command that asked for it");

    let vector: Vec<iovec> = (16..32)
        .map(|at| iovec {
            iov_base: memory.at::<u8>((at * BLOCK) as u32, 1).unwrap().as_ptr().cast(),
            iov_len: BLOCK,
        })
        .collect();
    let mut vectored = Iocb {
        aio_buf: address(vector.as_ptr()),
        aio_nbytes: vector.len() as u64,
        ..command(aio_cmd::PREADV, &file, 0)
    };
    assert_eq!(submit(&context, std::slice::from_mut(&mut vectored)), Ok(1));
    drop(vector);
    assert_eq!(events(&context, 1)[0].res, 16 * BLOCK as i64);
    assert!((0..16).all(|n| byte(&memory, n + 16) == n as u8 + 100));
    assert_eq!(context.destroy(), Ok(()));
}

#[test]
fn destroying_waits_for_direct_reads() {
    let Some(file) = file("destroy", libc::O_DIRECT) else { return };
    let mut marked = Vec::new();
    for _ in 0..20 {
        let Some(context) = context(BLOCKS as u32) else { return };
        let memory = Mapping::anonymous(BLOCKS * BLOCK).unwrap();
        let mut reads: Vec<Iocb> =
            (0..BLOCKS).map(|n| block(aio_cmd::PREAD, &file, &memory, n, n / 2)).collect();
        assert!(submit(&context, &mut reads).unwrap() > BLOCKS / 2);
        assert_eq!(context.destroy(), Ok(()));
        // From here on the memory is ours.
        // SAFETY: the whole of a mapping that nobody else uses, if what is tested holds.
        unsafe { memory.start().write_bytes(0xEE, BLOCKS * BLOCK) };
        marked.push(memory);
    }
    for memory in marked {
        assert!((0..BLOCKS).all(|n| byte(&memory, n) == 0xEE), "it was written to afterwards");
    }
}

#[test]
fn what_is_refused_says_why_and_takes_nothing() {
    let (Some(context), Some(file)) = (context(8), file("refused", 0)) else { return };
    let memory = Mapping::anonymous(4 * BLOCK).unwrap();
    let read = || block(aio_cmd::PREAD, &file, &memory, 0, 7);
    let refuse = |mut command: Iocb| submit(&context, std::slice::from_mut(&mut command));
    assert_eq!(submit(&context, &mut []), Ok(0));
    assert_eq!(refuse(command(aio_cmd::NOOP, &file, 0)), Err(Errno::INVAL));
    assert_eq!(refuse(Iocb { aio_reserved2: 1, ..read() }), Err(Errno::INVAL));
    assert_eq!(refuse(Iocb { aio_nbytes: u64::MAX, ..read() }), Err(Errno::INVAL));
    assert_eq!(refuse(Iocb { aio_offset: -1, ..read() }), Err(Errno::INVAL));
    assert_eq!(refuse(Iocb { aio_fildes: u32::MAX, ..read() }), Err(Errno::BADF));
    assert_eq!(refuse(Iocb { aio_rw_flags: 1 << 30, ..read() }), Err(Errno::OPNOTSUPP));
    let no_eventfd = Iocb { aio_flags: aio_flag::RESFD, aio_resfd: read().aio_fildes, ..read() };
    assert_eq!(refuse(no_eventfd), Err(Errno::INVAL));

    // In a row, what comes before a refused one is taken; the refusal shows when it is first.
    let mut row = [read(), Iocb { aio_fildes: u32::MAX, ..read() }, read()];
    assert_eq!(submit(&context, &mut row), Ok(1));
    assert_eq!(submit(&context, &mut row[1..]), Err(Errno::BADF));
    assert_eq!(events(&context, 1)[0].res, BLOCK as i64);
    assert_eq!(byte(&memory, 0), 7);

    let mut room = [MaybeUninit::uninit(); 2];
    assert_eq!(context.getevents(3, &mut room, AT_ONCE), Err(Errno::INVAL));
    assert_eq!(context.getevents(0, &mut room, None), Ok(&mut [][..]));
    assert_eq!(context.getevents(2, &mut room, AT_ONCE), Ok(&mut [][..]));
    for (tv_sec, tv_nsec) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        let wrong = Some(Timespec { tv_sec, tv_nsec });
        assert_eq!(context.getevents(1, &mut room, wrong), Err(Errno::INVAL));
    }
    assert_eq!(context.cancel(std::ptr::null()), Err(Errno::FAULT));
    assert_eq!(AioContext::setup(0).unwrap_err(), Errno::INVAL);
    assert_eq!(AioContext::setup(5_000_000).unwrap_err(), Errno::INVAL);
    assert_eq!(AioContext::setup(4_000_000).unwrap_err(), Errno::AGAIN, "fs.aio-max-nr");
}

#[test]
fn a_full_context_refuses_until_events_are_fetched() {
    let (Some(context), Some(file)) = (context(1), file("full", 0)) else { return };
    let memory = Mapping::anonymous(BLOCK).unwrap();
    let mut taken = 0;
    let errno = loop {
        let mut read = block(aio_cmd::PREAD, &file, &memory, 0, 9);
        match submit(&context, std::slice::from_mut(&mut read)) {
            Ok(count) => taken += count,
            Err(errno) => break errno,
        }
    };
    assert_eq!(errno, Errno::AGAIN);
    assert_eq!(events(&context, taken).len(), taken);
    let mut read = block(aio_cmd::PREAD, &file, &memory, 0, 9);
    assert_eq!(submit(&context, std::slice::from_mut(&mut read)), Ok(1));
    assert_eq!(events(&context, 1)[0].res, BLOCK as i64);
}

#[test]
fn polls_end_by_their_event_by_cancellation_and_with_the_context() {
    let Some(context) = context(8) else { return };
    if !kernel_is(4, 19) {
        return eprintln!("SKIPPED: no poll before Linux 4.19");
    }
    let (reader, mut writer) = std::io::pipe().unwrap();
    let poll =
        |data| Iocb { aio_buf: libc::POLLIN as u64, ..command(aio_cmd::POLL, &reader, data) };
    let mut polls = [poll(1), poll(2)];
    assert_eq!(submit(&context, &mut polls), Ok(2));
    assert_eq!(context.cancel(&raw const polls[1]), Ok(()));
    let event = events(&context, 1)[0];
    assert_eq!((event.data, event.res), (2, 0));
    assert_eq!(context.cancel(&raw const polls[1]), Err(Errno::INVAL), "it has ended");
    writer.write_all(b"x").unwrap();
    let event = events(&context, 1)[0];
    assert_eq!(event.data, 1);
    assert_eq!(event.res & i64::from(libc::POLLIN), i64::from(libc::POLLIN), "{event:?}");
    let (idle, _writer) = std::io::pipe().unwrap();
    let mut waits = Iocb { aio_buf: libc::POLLIN as u64, ..command(aio_cmd::POLL, &idle, 3) };
    assert_eq!(submit(&context, std::slice::from_mut(&mut waits)), Ok(1));
    drop(context);
}

/// A signal handler that does nothing, without `SA_RESTART`.
fn interruptible(signal: i32) {
    extern "C" fn nothing(_: i32) {}
    let handler = nothing as extern "C" fn(i32);
    // SAFETY: all zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler does nothing, so it may run anywhere.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

#[test]
fn a_signal_ends_the_wait() {
    let Some(context) = context(1) else { return };
    interruptible(libc::SIGUSR1);
    let ended = AtomicBool::new(false);
    // SAFETY: a number.
    let waiter = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                // SAFETY: the thread waits for the scope, so it exists.
                unsafe { libc::pthread_kill(waiter, libc::SIGUSR1) };
                std::thread::yield_now();
            }
        });
        let result = context.getevents(1, &mut [MaybeUninit::uninit()], None).map(|_| ());
        ended.store(true, Ordering::Release);
        assert_eq!(result, Err(Errno::INTR));
    });
}

#[test]
fn a_context_is_used_by_several_threads() {
    let (Some(context), Some(file)) = (context(64), file("threads", 0)) else { return };
    let memory = Mapping::anonymous(4 * BLOCK).unwrap();
    std::thread::scope(|scope| {
        for at in 0..4 {
            let (context, file, memory) = (&context, &file, &memory);
            scope.spawn(move || {
                let mut read = block(aio_cmd::PREAD, file, memory, at, at + 1);
                assert_eq!(submit(context, std::slice::from_mut(&mut read)), Ok(1));
                assert_eq!(events(context, 1)[0].res, BLOCK as i64);
            });
        }
    });
    assert!((0..4).all(|at| byte(&memory, at) == at as u8 + 1));
}
