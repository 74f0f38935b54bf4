//! Contexts of Linux AIO at bad moments: dropped with reads in flight, in a forked child, under signals, behind a filter.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{self, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::alone::alone;
use common::child::in_child;
use common::tracked::{Morgue, Tracked};
use common::{deadline, direct_file, within_deadline};
use safer_ring::aio::{Command, Context, Error, SetupError, poll_events};
use safer_ring::{Fd, IoBuf, sys::Errno};

const MIB: usize = 1 << 20;

fn context<B: IoBuf>(capacity: u32) -> Option<Context<B>> {
    match Context::new(capacity) {
        Ok(context) => Some(context),
        Err(error @ SetupError::Unavailable { .. }) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Looks again and again until `done`.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    while !done() {
        assert!(Instant::now() < end, "{what}: not so");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Drops a context with so many direct reads of 1 MiB in flight.
fn drop_with_reads(count: u32) {
    let file: Fd = direct_file(MIB);
    let Some(mut context) = context::<Tracked>(count) else { return };
    let morgue = Morgue::new();
    let reads = (0..count).map(|_| Command::read(&file, morgue.buffer(MIB), 0));
    let taken = context.submit(reads).unwrap().len();
    assert_eq!((taken, morgue.alive()), (count as usize, count as usize));
    drop(context);
    drop(file);
    eventually("all are released", || morgue.released() == count as usize);
    // Reads of other memory, meanwhile: whatever is still under way would show in what was released.
    let file: Fd = direct_file(MIB);
    let mut other = Context::new(4).unwrap();
    other.submit((0..4).map(|_| Command::read(&file, morgue.buffer(MIB), 0))).unwrap();
    let events = other.events(4, None).unwrap();
    morgue.assert_untouched();
    drop(events);
}

#[test]
fn a_dropped_context_frees_nothing_too_early() {
    for _ in 0..10 {
        drop_with_reads(4);
    }
}

/// So many reads that the drop does not see the end of them: a thread does.
#[test]
fn a_context_dropped_with_much_in_flight_is_left_to_a_thread() {
    drop_with_reads(96);
}

#[test]
fn a_forgotten_context_frees_nothing() {
    let file: Fd = direct_file(MIB);
    let Some(mut context) = context::<Tracked>(2) else { return };
    let morgue = Morgue::new();
    context.submit([Command::read(&file, morgue.buffer(MIB), 0)]).unwrap();
    std::mem::forget(context);
    assert_eq!((morgue.alive(), morgue.released()), (1, 0));
    std::mem::forget(morgue);
}

#[test]
fn fetched_and_unfetched_buffers_of_a_dropped_context_are_released_once() {
    let Some(mut context) = context::<Tracked>(8) else { return };
    let morgue = Morgue::new();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    context.submit((0..8).map(|_| Command::read(&zero, morgue.buffer(64), 0))).unwrap();
    let events = context.events(8, None).unwrap();
    assert_eq!(events.len(), 8);
    context.submit((0..4).map(|_| Command::read(&zero, morgue.buffer(64), 0))).unwrap();
    drop(context);
    assert_eq!((morgue.alive(), morgue.released()), (8, 4));
    drop(events);
    assert_eq!((morgue.alive(), morgue.released()), (0, 12));
}

#[test]
fn a_context_dropped_with_polls_that_would_wait_for_ever_ends() {
    within_deadline(|| {
        let (reader, writer) = io::pipe().unwrap();
        let Some(mut context) = context::<Vec<u8>>(8) else { return };
        context.submit((0..8).map(|_| Command::poll(&reader, poll_events::IN))).unwrap();
        drop(context);
        // The polls have held the pipe open; they have ended.
        drop(reader);
        let mut writer = writer;
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    alone("a_forked_child_is_refused_and_the_parent_goes_on", || {
        let Some(context) = context::<Tracked>(4) else { return };
        let mut context = ManuallyDrop::new(context);
        let morgue = Morgue::new();
        let (reader, mut writer) = io::pipe().unwrap();
        let zero = std::fs::File::open("/dev/zero").unwrap();
        let tickets = context
            .submit([
                Command::poll(&reader, poll_events::IN).data(1),
                Command::read(&zero, morgue.buffer(64), 0).data(2),
            ])
            .unwrap();
        let status = in_child(|| {
            let refused = context.submit([Command::read(&zero, morgue.buffer(8), 0)]).unwrap_err();
            if refused.error != Error::Forked || refused.rest.len() != 1 {
                return 1;
            }
            drop(refused);
            if context.events(1, None).map(drop) != Err(Error::Forked) {
                return 2;
            }
            if context.cancel(tickets[0]) != Err(Error::Forked) {
                return 3;
            }
            // SAFETY: the child's copy, not used again.
            unsafe { ManuallyDrop::drop(&mut context) };
            // The child's own works, and the parent's buffer was not touched.
            let Ok(mut own) = Context::new(2) else { return 4 };
            own.submit([Command::read(&zero, morgue.buffer(8), 0)]).unwrap();
            let ended = own.events(1, None).unwrap().len();
            drop(own);
            if ended == 1 && morgue.alive() == 1 { 0 } else { 5 }
        });
        assert_eq!(status, 0);
        writer.write_all(b"x").unwrap();
        let mut context = ManuallyDrop::into_inner(context);
        let mut events = context.events(2, None).unwrap();
        events.sort_by_key(|event| event.data);
        assert_eq!(events[0].result.as_ref().unwrap(), &1);
        assert_eq!(events[1].result.as_ref().unwrap(), &64);
    });
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn signals_do_not_end_the_wait_for_events() {
    alone("signals_do_not_end_the_wait_for_events", || {
        // SAFETY: a structure of numbers; zeroes are an empty mask and no flags, also not `SA_RESTART`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int) = count_signal;
        action.sa_sigaction = handler as usize;
        let signal = libc::SIGUSR1;
        // SAFETY: the handler only counts.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
        let Some(mut context) = context::<Vec<u8>>(1) else { return };
        let (reader, mut writer) = io::pipe().unwrap();
        context.submit([Command::poll(&reader, poll_events::IN)]).unwrap();
        // SAFETY: a number.
        let waiter = unsafe { libc::pthread_self() };
        let sent = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while SIGNALS.load(Ordering::Relaxed) < 100 {
                    // SAFETY: the thread waits for the scope, so it exists.
                    unsafe { libc::pthread_kill(waiter, signal) };
                    std::thread::yield_now();
                }
                sent.store(true, Ordering::Release);
                writer.write_all(b"x").unwrap();
            });
            let events = context.events(1, None).unwrap();
            assert!(sent.load(Ordering::Acquire), "it waited through all of them");
            assert_eq!(events[0].result.as_ref().unwrap(), &1);
        });
    });
}

/// Makes a system call fail with `errno`, in this thread and those that it makes, for ever.
fn forbid(call: libc::c_long, errno: i32) -> bool {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, answer) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_RET);
    let mut filter = [
        statement(load, 0, 0, 0),
        statement(equal, 0, 1, call as u32),
        statement(answer, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    let allowed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    let (mode, program) = (libc::SECCOMP_MODE_FILTER, &raw const program);
    // SAFETY: the kernel copies the program, which lives until then.
    allowed && unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, program) } == 0
}

#[test]
fn a_filter_that_forbids_aio_is_told_apart() {
    alone("a_filter_that_forbids_aio_is_told_apart", || {
        for (errno, name, advice) in [
            (libc::ENOSYS, Errno::NOSYS, "CONFIG_AIO"),
            (libc::EPERM, Errno::PERM, "seccomp profile must allow io_setup"),
        ] {
            let status = in_child(|| {
                if !forbid(libc::SYS_io_setup, errno) {
                    return 77;
                }
                let Err(error) = Context::<Vec<u8>>::new(4) else { return 1 };
                if error != (SetupError::Unavailable { errno: name }) {
                    return 2;
                }
                if error.to_string().contains(advice) { 0 } else { 3 }
            });
            if status == 77 {
                return eprintln!("SKIPPED: no seccomp filters here");
            }
            assert_eq!(status, 0, "{name}");
        }
    });
}

#[test]
fn where_nothing_says_that_reads_have_ended_their_buffers_are_leaked() {
    alone("where_nothing_says_that_reads_have_ended_their_buffers_are_leaked", || {
        let file: Fd = direct_file(MIB);
        let Some(mut context) = context::<Tracked>(4) else { return };
        let morgue = Morgue::new();
        context.submit((0..4).map(|_| Command::read(&file, morgue.buffer(MIB), 0))).unwrap();
        let forbidden = [libc::SYS_io_getevents, libc::SYS_io_destroy];
        if !forbidden.into_iter().all(|call| forbid(call, libc::EPERM)) {
            return eprintln!("SKIPPED: no seccomp filters here");
        }
        assert_eq!(context.events(1, None).map(drop), Err(Error::Os(Errno::PERM)));
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        drop(context);
        eventually("the thread has ended", || threads() <= before);
        assert_eq!((morgue.alive(), morgue.released()), (4, 0));
    });
}

#[test]
fn a_context_gives_its_share_of_the_limit_back() {
    alone("a_context_gives_its_share_of_the_limit_back", || {
        // More than half of what is left: the next one fits only once this one is gone.
        let number = |name: &str| -> u32 {
            let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap();
            text.trim().parse().unwrap_or(u32::MAX)
        };
        let left = number("aio-max-nr").saturating_sub(number("aio-nr"));
        if !(64..1 << 20).contains(&left) || context::<Vec<u8>>(1).is_none() {
            return eprintln!("SKIPPED: {left} commands are left for this machine");
        }
        let half = left / 2 + left / 8;
        let (reader, _writer) = io::pipe().unwrap();
        for _ in 0..4 {
            let mut made = None;
            eventually("there is room", || {
                made = Context::<Vec<u8>>::new(half).ok();
                made.is_some()
            });
            made.unwrap().submit([Command::poll(&reader.as_fd(), poll_events::IN)]).unwrap();
        }
    });
}
