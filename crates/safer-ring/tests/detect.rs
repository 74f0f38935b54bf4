//! Where io_uring is blocked, a ring says why and what to do, and the program lives on. Each case has a process of its own.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use common::alone::alone_with_any_backend as alone;
use common::net::poll_once;
use common::seccomp::{Calls, Deed, install};
use safer_ring::sys::Errno;
use safer_ring::sys::trial::Call;
use safer_ring::{
    BackendChoice, BackendKind, Builder, Cause, ChosenBy, Fd, Mode, OpenOptions, Report, Ring,
    RingOf, SetupError, Shared, detect, local,
};

const STRICT: BackendChoice = BackendChoice::Only(BackendKind::IoUring);
const VARIABLE: &str = "SAFER_RING_BACKEND";

fn builder() -> Builder<Shared> {
    Ring::builder().entries(8)
}

fn strictly<M: Mode>(builder: Builder<M>) -> Result<RingOf<M>, SetupError> {
    builder.backend(STRICT).build()
}

/// What a strict ring of either kind, and detection, say of this process: all the same.
#[track_caller]
fn refused() -> Report {
    let error = strictly(builder()).unwrap_err();
    let local = strictly(builder().local()).unwrap_err();
    assert_eq!(error, local);
    let report = error.report().unwrap_or_else(|| panic!("{error}")).clone();
    assert_eq!(report.backend, None);
    assert_eq!(std::io::Error::from(error).kind(), kind_of(&report));
    let detected = detect().unwrap();
    assert_eq!((detected.cause, detected.errno), (report.cause, report.errno));
    assert_eq!(detected.backend, Some(BackendKind::Fallback));
    report
}

fn kind_of(report: &Report) -> std::io::ErrorKind {
    let errno = |errno: Errno| std::io::Error::from(errno).kind();
    report.errno.map_or(std::io::ErrorKind::Unsupported, errno)
}

#[track_caller]
fn says(report: &Report, parts: &[&str]) {
    let text = report.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in {text:?}"));
}

/// The rest of the process is unharmed: it makes files and threads, and its children are its own.
fn works_on() {
    assert!(File::open("/dev/null").is_ok());
    std::thread::spawn(|| {}).join().unwrap();
    // SAFETY: asks for children that have ended; there is none left of the library's.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert_eq!((left, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
}

/// A program that leaves the choice to the library goes on, and loses nothing.
fn falls_back() {
    let ring = builder().build().unwrap();
    assert_eq!(ring.report().backend, Some(BackendKind::Fallback), "{}", ring.report());
    assert_eq!(ring.features().backend, BackendKind::Fallback);
    pollster::block_on(program(&ring));
    let ring = builder().local().build().unwrap();
    assert_eq!(ring.report().backend, Some(BackendKind::Fallback), "{}", ring.report());
    ring.block_on(program(&ring));
    works_on();
}

async fn program<M: Mode>(ring: &RingOf<M>) {
    let file: Fd<M> = Fd::new(tempfile::tempfile().unwrap());
    let (count, text) = ring.write_at_owned(&file, b"written".to_vec(), 0).await.unwrap();
    ring.fsync(&file).await.unwrap();
    assert_eq!(ring.read_at_owned(&file, vec![0; count], 0).await.unwrap().1, text);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let (near, far): (Fd<M>, Fd<M>) = (Fd::new(near), Fd::new(far));
    drop(poll_once(&mut ring.recv(&near, vec![0; 8])));
    ring.send(&far, b"kept".to_vec()).await.unwrap();
    let (count, bytes) = ring.recv(&near, vec![0; 8]).await.unwrap();
    assert_eq!(&bytes[..count], b"kept");
    let opened = ring.open("/proc/self/exe", &OpenOptions::new().read(true)).await.unwrap();
    ring.close(opened).await.unwrap();
    ring.timeout(Duration::from_millis(1)).await.unwrap();
}

fn has_io_uring() -> bool {
    let found = detect().unwrap();
    if !found.is_io_uring() {
        eprintln!("skipped: no io_uring here to be blocked: {found}");
    }
    found.is_io_uring()
}

#[test]
fn a_ring_that_works_reports_io_uring() {
    alone("a_ring_that_works_reports_io_uring", || {
        if !has_io_uring() {
            return;
        }
        for report in [
            Ring::new(8).unwrap().report().clone(),
            local::Ring::new(8).unwrap().report().clone(),
            detect().unwrap(),
        ] {
            assert_eq!((report.backend, report.cause), (Some(BackendKind::IoUring), None));
            assert_eq!(
                (report.to_string().as_str(), report.chosen_by),
                ("io_uring", ChosenBy::Nobody)
            );
        }
        assert_eq!(strictly(builder()).unwrap().report().chosen_by, ChosenBy::Builder);
        works_on();
    });
}

/// Three calls refused, by whichever errno, before or after the first ring.
fn all_refused_with(errno: Errno) {
    if !has_io_uring() {
        return;
    }
    install(Calls::All, Deed::Errno(errno.raw_os_error()));
    let report = refused();
    assert_eq!((report.cause, report.errno), (Some(Cause::Seccomp), Some(errno)));
    says(&report, &[errno.name().unwrap(), "io_uring_setup, io_uring_enter and io_uring_register"]);
    let calls = detect().unwrap().evidence.calls.unwrap();
    assert_eq!([calls.setup, calls.enter, calls.register], [Err(errno); 3]);
    falls_back();
}

macro_rules! all_refused {
    ($($name:ident: $errno:ident;)*) => {
        $(#[test] fn $name() { alone(stringify!($name), || all_refused_with(Errno::$errno)); })*
    };
}

all_refused! {
    a_filter_with_eperm_is_named: PERM;
    a_filter_with_enosys_is_named: NOSYS;
    a_filter_with_eacces_is_named: ACCESS;
    a_filter_with_eopnotsupp_is_named: OPNOTSUPP;
}

#[test]
fn a_filter_over_the_setup_alone_is_named() {
    alone("a_filter_over_the_setup_alone_is_named", || {
        if has_io_uring() {
            install(Calls::Setup, Deed::Errno(libc::EPERM));
            let report = refused();
            assert_eq!(
                (report.cause, report.errno),
                (Some(Cause::SeccompSetup), Some(Errno::PERM))
            );
            falls_back();
        }
    });
}

#[test]
fn a_ring_that_takes_nothing_is_found_out() {
    alone("a_ring_that_takes_nothing_is_found_out", || {
        let before = common::alone::descriptors();
        // Not proven before: the descriptor is to be had, and only the proof tells.
        install(Calls::Enter, Deed::Errno(libc::EPERM));
        if detect().unwrap().evidence.calls.unwrap().setup.is_err() {
            return eprintln!("skipped: no io_uring here");
        }
        let report = refused();
        assert_eq!((report.cause, report.errno), (Some(Cause::SeccompEnter), Some(Errno::PERM)));
        let open = common::alone::describe_descriptors();
        assert_eq!(common::alone::descriptors(), before, "refusals leave nothing open: {open:?}");
        falls_back();
    });
}

#[test]
fn without_registration_a_local_ring_works_and_a_shared_one_says_why_not() {
    const NAME: &str = "without_registration_a_local_ring_works_and_a_shared_one_says_why_not";
    alone(NAME, || {
        if !has_io_uring() {
            return;
        }
        install(Calls::Register, Deed::Errno(libc::EPERM));
        let ring = strictly(builder().local()).unwrap();
        ring.block_on(ring.nop()).unwrap();
        let error = strictly(builder()).unwrap_err();
        assert_eq!(
            (error.cause(), error.errno()),
            (Some(Cause::SeccompRegister), Some(Errno::PERM))
        );
        says(error.report().unwrap(), &["io_uring_register", "seccomp"]);
        assert_eq!(detect().unwrap().cause, Some(Cause::SeccompRegister), "for a shared ring");
        works_on();
    });
}

/// Not proven before, so the first call would end the process.
fn killed_at(calls: Calls, deed: Deed) {
    install(calls, deed);
    let report = refused();
    assert_eq!((report.cause, report.errno), (Some(Cause::SeccompKills), None));
    let first = if calls == Calls::Enter { Call::Enter } else { Call::Setup };
    assert_eq!(report.evidence.killed_at, Some(first));
    assert_eq!(report.evidence.calls, None, "the calls are not made");
    says(&report, &["kills", "SAFER_RING_BACKEND=fallback"]);
    falls_back();
}

#[test]
fn a_thread_that_comes_after_the_filter_falls_back_alone() {
    alone("a_thread_that_comes_after_the_filter_falls_back_alone", || {
        if !has_io_uring() {
            return;
        }
        let ring = builder().build().unwrap();
        pollster::block_on(program(&ring));
        install(Calls::Setup, Deed::Errno(libc::EPERM));
        let before = ring.snapshot();
        let other = ring.clone();
        std::thread::spawn(move || pollster::block_on(program(&other))).join().unwrap();
        let snapshot = ring.snapshot();
        assert_eq!((snapshot.rings, snapshot.threaded > 0), (before.rings + 1, true));
        pollster::block_on(program(&ring));
        assert_eq!(ring.report().backend, Some(BackendKind::IoUring), "of its first kernel ring");
        falls_back();
    });
}

#[test]
fn a_filter_that_kills_does_not_kill_the_program() {
    alone("a_filter_that_kills_does_not_kill_the_program", || killed_at(Calls::All, Deed::Kill));
}

#[test]
fn a_filter_that_traps_does_not_kill_the_program() {
    alone("a_filter_that_traps_does_not_kill_the_program", || killed_at(Calls::All, Deed::Trap));
}

#[test]
fn a_filter_that_kills_at_the_second_call_does_not_kill_the_program() {
    alone("a_filter_that_kills_at_the_second_call_does_not_kill_the_program", || {
        killed_at(Calls::Enter, Deed::Kill);
    });
}

#[test]
fn a_filter_that_comes_after_the_first_ring_does_not_kill_the_program() {
    alone("a_filter_that_comes_after_the_first_ring_does_not_kill_the_program", || {
        if !has_io_uring() {
            return;
        }
        let ring = strictly(builder()).unwrap();
        pollster::block_on(ring.nop()).unwrap();
        install(Calls::Setup, Deed::Kill);
        // Its kernel ring can be made no more: it shares the one that is there.
        std::thread::spawn(move || pollster::block_on(ring.nop()).unwrap()).join().unwrap();
        assert_eq!(refused().cause, Some(Cause::SeccompKills));
        works_on();
    });
}

/// Restrictions of this task and its children (`IORING_REGISTER_RESTRICTIONS` on descriptor -1): NOP is allowed, and
/// nothing else. Tells whether the kernel has that (7.0).
fn allow_nop_only() -> bool {
    /// `struct io_uring_task_restriction` with one `struct io_uring_restriction`.
    #[repr(C)]
    #[derive(Default)]
    struct Rules {
        flags: u16,
        count: u16,
        reserved: [u32; 3],
        opcode: u16,
        sqe_op: u8,
        padding: u8,
        more: [u32; 3],
    }
    const SQE_OP: u16 = 1;
    const RESTRICTIONS: u32 = 11;
    let rules = Rules { count: 1, opcode: SQE_OP, sqe_op: 0, ..Rules::default() };
    // SAFETY: prctl(2) with numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let call = libc::SYS_io_uring_register;
    // SAFETY: io_uring_register(2) reads the structure on this stack.
    let result = unsafe { libc::syscall(call, -1, RESTRICTIONS, &raw const rules, 1) };
    result == 0
}

#[test]
fn opcodes_that_the_parent_took_away_are_found_out() {
    alone("opcodes_that_the_parent_took_away_are_found_out", || {
        if !has_io_uring() {
            return;
        }
        if !allow_nop_only() {
            return eprintln!("skipped: no restrictions of tasks before kernel 7.0");
        }
        // The proof before it is not believed by `detect`.
        let report = detect().unwrap();
        assert_eq!(
            (report.cause, report.errno),
            (Some(Cause::TaskRestriction), Some(Errno::ACCESS)),
            "{report}"
        );
        assert_eq!(strictly(builder().local()).unwrap_err().cause(), report.cause);
        works_on();
    });
}

#[test]
fn the_environment_decides_for_auto_alone() {
    alone("the_environment_decides_for_auto_alone", || {
        if !has_io_uring() {
            return;
        }
        let set = |value: &str| {
            // SAFETY: the other thread of this process waits for this one and reads no variable.
            unsafe { std::env::set_var(VARIABLE, value) };
        };
        set("io_uring");
        assert_eq!(Ring::new(8).unwrap().report().chosen_by, ChosenBy::Environment);
        set("fallback");
        let detected = detect().unwrap();
        assert_eq!(detected.backend, Some(BackendKind::Fallback));
        assert_eq!(
            (detected.cause, detected.chosen_by),
            (Some(Cause::Environment), ChosenBy::Environment)
        );
        assert!(strictly(builder()).unwrap().report().is_io_uring(), "the builder is asked first");
        set("uring");
        let error = Ring::new(8).unwrap_err();
        assert_eq!(error, SetupError::Environment { value: "uring".to_owned() });
        assert!(error.to_string().contains("auto, io_uring or fallback"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
        assert!(detect().is_err());
    });
}

#[test]
fn no_child_is_made_if_the_environment_says_that_io_uring_is_allowed() {
    const NAME: &str = "no_child_is_made_if_the_environment_says_that_io_uring_is_allowed";
    if std::env::var_os(VARIABLE).is_none_or(|value| value != "io_uring") {
        // The same filter that a child finds out about.
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([NAME, "--exact", "--nocapture"]).env(VARIABLE, "io_uring");
        let status =
            common::seccomp::confine(&mut command, Calls::All, Deed::Kill).status().unwrap();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
        return;
    }
    let _ = Ring::new(8);
    panic!("the filter ends this process");
}

#[test]
fn a_forked_child_finds_out_for_itself() {
    alone("a_forked_child_finds_out_for_itself", || {
        if !has_io_uring() {
            return;
        }
        // SAFETY: fork(2). The child makes a ring, as programs do that fork before they start threads; no other thread
        // of this process runs anything that takes locks.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            install(Calls::Enter, Deed::Errno(libc::EPERM));
            let cause = strictly(builder().local()).err().and_then(|error| error.cause());
            let code = i32::from(cause != Some(Cause::SeccompEnter));
            // SAFETY: ends the child without the destructors of the test harness.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "the child believed its parent's proof");
        assert!(strictly(builder()).is_ok());
    });
}

#[test]
fn without_descriptors_the_cause_is_descriptors() {
    alone("without_descriptors_the_cause_is_descriptors", || {
        if !has_io_uring() {
            return;
        }
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: a limit on this stack.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        for result in [builder().build().map(drop), builder().local().build().map(drop)] {
            let error = result.unwrap_err();
            assert_eq!(
                (error.cause(), error.errno()),
                (Some(Cause::Descriptors), Some(Errno::MFILE))
            );
            says(error.report().unwrap(), &["RLIMIT_NOFILE, now 64", "ulimit -n"]);
        }
        let detected = detect().unwrap();
        assert_eq!((detected.backend, detected.cause), (None, Some(Cause::Descriptors)));
        drop(held);
        assert!(Ring::new(8).is_ok(), "it passes");
        works_on();
    });
}

const OTHER_USER: u32 = 4_242_425;

/// Runs the calling test again as a user for whom limits hold. Tells whether this is that process.
fn as_nobody(name: &str) -> bool {
    const CHILD: &str = "SAFER_RING_TEST_NOBODY";
    if std::env::var_os(CHILD).is_some_and(|chosen| chosen == name) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(CHILD, name);
    // SAFETY: geteuid(2) takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        // A number that belongs to nobody else, so that nothing else counts.
        command.uid(OTHER_USER).gid(OTHER_USER);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    eprint!("{complaints}");
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.contains("1 passed"), "{name} is not the name of a test:\n{said}");
    false
}

#[test]
fn without_lockable_memory_the_cause_is_memlock() {
    if !as_nobody("without_lockable_memory_the_cause_is_memlock") || !has_io_uring() {
        return;
    }
    let limit = |bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a limit on this stack.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    };
    limit(64 << 10);
    let made = Ring::builder().entries(2048).local().build();
    let counted = match &made {
        // 2048 entries are too many; fewer fit.
        Ok(ring) => ring.features().entries < 2048,
        Err(error) => panic!("64 KiB are enough for a small ring: {error}"),
    };
    drop(made);
    limit(0);
    match builder().local().build() {
        Ok(ring) => {
            assert!(!counted, "the limit counts: {}", ring.features());
            eprintln!("skipped: this kernel does not count rings as locked memory");
        }
        Err(error) => {
            assert_eq!((error.cause(), error.errno()), (Some(Cause::Memlock), Some(Errno::NOMEM)));
            says(error.report().unwrap(), &["RLIMIT_MEMLOCK, now 0 KiB", "ulimit -l"]);
            let auto = builder().local().backend(BackendChoice::Auto).build().unwrap_err();
            assert_eq!(auto.cause(), Some(Cause::Memlock), "it stays an error");
        }
    }
}
