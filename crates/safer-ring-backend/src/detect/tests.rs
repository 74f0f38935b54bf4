//! Causes from recorded answers, and the way from a choice to a backend, in worlds made by hand.

use std::cell::{Cell, RefCell};

use super::proof::Flaw;
use super::*;

const PERM: Errno = Errno::PERM;
const NOSYS: Errno = Errno::NOSYS;
const ACCESS: Errno = Errno::ACCESS;
const BADF: Result<u32, Errno> = Err(Errno::BADF);
const INVAL: Result<u32, Errno> = Err(Errno::INVAL);

fn calls(
    setup: Result<u32, Errno>,
    enter: Result<u32, Errno>,
    register: Result<u32, Errno>,
) -> Answers {
    Answers { setup, enter, register }
}

/// An ordinary process of kernel 6.18, without filters.
fn host(calls: Answers) -> Evidence {
    Evidence {
        calls: Some(calls),
        seccomp: Some(0),
        seccomp_filters: Some(0),
        io_uring_disabled: Some(0),
        io_uring_group: Some(-1),
        in_io_uring_group: Some(false),
        sys_admin: Some(false),
        ipc_lock: Some(false),
        memlock: Some(8 << 20),
        nofile: Some(1024),
        security_modules: Some(vec!["capability".into(), "yama".into()]),
        release: "6.18.44".into(),
        version: "#1 SMP".into(),
        ..Evidence::default()
    }
}

/// The same under a filter.
fn filtered(calls: Answers) -> Evidence {
    Evidence { seccomp: Some(2), seccomp_filters: Some(1), security_modules: None, ..host(calls) }
}

fn all(errno: Errno) -> Answers {
    calls(Err(errno), Err(errno), Err(errno))
}

fn setup_only(errno: Errno) -> Answers {
    calls(Err(errno), BADF, INVAL)
}

/// What is the cause, of a ring that could not be made.
fn cause(errno: Errno, evidence: Evidence) -> Cause {
    classify(Trouble::Failed(errno), &evidence)
}

fn gvisor(evidence: Evidence) -> Evidence {
    Evidence { release: "4.19.0-gvisor".into(), io_uring_disabled: None, ..evidence }
}

#[test]
fn each_row_of_answers_has_its_cause() {
    // Docker and containerd; Podman; managed platforms.
    for errno in [PERM, NOSYS, ACCESS, Errno::OPNOTSUPP] {
        assert_eq!(cause(errno, filtered(all(errno))), Cause::Seccomp, "{errno}");
    }
    assert_eq!(cause(PERM, filtered(setup_only(PERM))), Cause::SeccompSetup);
    let enter = calls(Ok(3), Err(PERM), INVAL);
    assert_eq!(classify(Trouble::Flawed(Flaw::Enter(PERM)), &filtered(enter)), Cause::SeccompEnter);
    let register = calls(Ok(3), BADF, Err(PERM));
    assert_eq!(classify(Trouble::Refused(PERM), &filtered(register)), Cause::SeccompRegister);
    assert_eq!(classify(Trouble::Killed(Call::Setup), &Evidence::default()), Cause::SeccompKills);
    assert_eq!(classify(Trouble::Unprobed(None), &Evidence::default()), Cause::Unprobed);

    // No filter: the kernel itself, or a platform.
    assert_eq!(cause(NOSYS, host(all(NOSYS))), Cause::NoKernelSupport);
    assert_eq!(cause(Errno::OPNOTSUPP, host(all(Errno::OPNOTSUPP))), Cause::NotSupported);
    assert_eq!(cause(PERM, host(setup_only(PERM))), Cause::Unknown);

    // A kernel without io_uring below a filter that would let it pass: there is no switch for it.
    let built_without = Evidence { io_uring_disabled: None, ..filtered(all(NOSYS)) };
    assert_eq!(cause(NOSYS, built_without.clone()), Cause::NoKernelSupport);
    let old = Evidence { release: "5.15.0".into(), ..built_without.clone() };
    assert_eq!(cause(NOSYS, old), Cause::Seccomp, "5.15 has no switch, so nothing is known of it");
    let ancient = Evidence { release: "4.19.0".into(), ..built_without };
    assert_eq!(cause(NOSYS, ancient), Cause::NoKernelSupport);
}

#[test]
fn switches_and_modules_refuse_the_setup_only() {
    for (value, group, expected) in [
        (2, false, Cause::Sysctl),
        (2, true, Cause::Sysctl),
        (1, false, Cause::Sysctl),
        (1, true, Cause::SeccompSetup),
        (0, false, Cause::SeccompSetup),
    ] {
        let evidence = Evidence {
            io_uring_disabled: Some(value),
            in_io_uring_group: Some(group),
            ..filtered(setup_only(PERM))
        };
        assert_eq!(cause(PERM, evidence), expected, "{value} {group}");
    }
    // Under a filter the modules are not to be seen; their answer is.
    assert_eq!(cause(ACCESS, filtered(setup_only(ACCESS))), Cause::SecurityModule);
    let modules = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let none = Evidence { security_modules: modules(&["yama"]), ..filtered(setup_only(ACCESS)) };
    assert_eq!(cause(ACCESS, none), Cause::SeccompSetup);
    let bpf = Evidence { security_modules: modules(&["yama", "bpf"]), ..host(setup_only(PERM)) };
    assert_eq!(cause(PERM, bpf), Cause::SecurityModule);
}

#[test]
fn what_is_used_up_is_told_from_what_is_forbidden() {
    let works = calls(Ok(3), BADF, INVAL);
    let memory = |evidence| cause(Errno::NOMEM, evidence);
    assert_eq!(memory(host(setup_only(Errno::NOMEM))), Cause::Memlock);
    let free = Evidence { ipc_lock: Some(true), ..host(works) };
    assert_eq!(memory(free), Cause::Memory, "no limit holds with CAP_IPC_LOCK");
    assert_eq!(memory(Evidence { memlock: None, ..host(works) }), Cause::Memory);
    let uncounted = Evidence { release: "6.1.0".into(), ..host(works) };
    assert_eq!(memory(uncounted), Cause::Memory, "6.1 does not count rings");
    assert_eq!(cause(Errno::MFILE, host(works)), Cause::Descriptors);
    assert_eq!(
        classify(Trouble::Blind(Errno::NFILE), &Evidence::default()),
        Cause::SystemDescriptors
    );
    for cause in [Cause::Memlock, Cause::Memory, Cause::Descriptors, Cause::SystemDescriptors] {
        assert!(cause.is_exhaustion());
    }
    assert!(!Cause::Seccomp.is_exhaustion() && !Cause::Unknown.is_exhaustion());
}

#[test]
fn a_ring_with_a_flaw_is_explained_by_where_it_is() {
    let lying = calls(Ok(3), Err(PERM), Err(NOSYS));
    for flaw in [Flaw::Untrue, Flaw::Silent, Flaw::Enter(PERM), Flaw::Denied(Errno::INVAL)] {
        assert_eq!(
            classify(Trouble::Flawed(flaw), &gvisor(host(lying))),
            Cause::Untrue,
            "{flaw:?}"
        );
    }
    assert_eq!(cause(Errno::INVAL, gvisor(host(lying))), Cause::Untrue);
    let works = calls(Ok(3), BADF, INVAL);
    let flawed = |flaw, evidence| classify(Trouble::Flawed(flaw), &evidence);
    assert_eq!(flawed(Flaw::Untrue, host(works)), Cause::Untrue);
    assert_eq!(flawed(Flaw::Denied(ACCESS), host(works)), Cause::TaskRestriction);
    let old = Evidence { release: "5.4.0".into(), ..host(works) };
    assert_eq!(flawed(Flaw::Denied(Errno::INVAL), old.clone()), Cause::TooOld);
    assert_eq!(cause(NOSYS, old), Cause::TooOld, "a plain ring can be made, but lacks features");
    assert_eq!(
        cause(NOSYS, gvisor(host(all(NOSYS)))),
        Cause::NoKernelSupport,
        "gVisor without a ring"
    );
}

#[test]
fn the_advice_fits_the_place() {
    let advice = |cause, errno, change: &dyn Fn(&mut Evidence)| {
        let mut evidence = filtered(all(PERM));
        change(&mut evidence);
        Report::refused(cause, errno, ChosenBy::Nobody, evidence).to_string()
    };
    let has = |text: &str, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(text.contains(part), "{part} is not in: {text}"));
    };
    let inside = |name: &'static str| move |e: &mut Evidence| e.container = Some(name.to_owned());
    let three = "io_uring_setup, io_uring_enter and io_uring_register";
    let seccomp = Cause::Seccomp;
    has(&advice(seccomp, Some(PERM), &inside("docker")), &["in Docker", "EPERM", three]);
    has(&advice(seccomp, Some(NOSYS), &inside("podman")), &["in Podman", "ENOSYS", three]);
    has(&advice(seccomp, Some(PERM), &inside("kubernetes")), &["localhostProfile", three]);
    has(&advice(seccomp, Some(PERM), &|_| {}), &["seccomp=FILE", "SystemCallFilter=@aio", three]);
    has(
        &advice(Cause::SeccompKills, None, &|_| {}),
        &["kills", "SAFER_RING_BACKEND=fallback", three],
    );
    let group = |e: &mut Evidence| (e.io_uring_disabled, e.io_uring_group) = (Some(1), Some(77));
    has(&advice(Cause::Sysctl, Some(PERM), &group), &["member of group 77"]);
    has(&advice(Cause::Sysctl, Some(PERM), &|_| {}), &["kernel.io_uring_disabled=1", "GID"]);
    has(&advice(Cause::Memlock, Some(Errno::NOMEM), &|_| {}), &["RLIMIT_MEMLOCK, now 8192 KiB"]);
    has(&advice(Cause::Descriptors, Some(Errno::MFILE), &|_| {}), &["RLIMIT_NOFILE, now 1024"]);
    let selinux = |e: &mut Evidence| e.security_label = Some("system_u:system_r:x_t:s0".into());
    has(&advice(Cause::SecurityModule, Some(ACCESS), &selinux), &["SELinux", "anon_inode"]);
    has(&advice(Cause::Untrue, None, &|e| e.release = "4.19.0-gvisor".into()), &["gVisor"]);
}

/// A world in which everything is as it is told.
struct Told {
    variable: Option<&'static str>,
    trouble: Option<Trouble>,
    evidence: Evidence,
    shielded: Cell<Option<bool>>,
    asked: RefCell<Vec<bool>>,
}

impl World for Told {
    fn variable(&self) -> Option<OsString> {
        self.variable.map(OsString::from)
    }
    fn ready(&self, shield: bool, _: bool) -> Result<Evidence, Trouble> {
        self.shielded.set(Some(shield));
        self.trouble.map_or(Ok(Evidence::default()), Err)
    }
    fn evidence(&self, ask: bool) -> Evidence {
        self.asked.borrow_mut().push(ask);
        self.evidence.clone()
    }
    fn glance(&self) -> Evidence {
        Evidence::default()
    }
}

fn world(variable: Option<&'static str>, trouble: Option<Trouble>, evidence: Evidence) -> Told {
    Told { variable, trouble, evidence, shielded: Cell::new(None), asked: RefCell::default() }
}

fn config(backend: BackendChoice) -> Config {
    Config { backend, ..Config::new(8) }
}

const AUTO: BackendChoice = BackendChoice::Auto;
const STRICT: BackendChoice = BackendChoice::Only(BackendKind::IoUring);

/// What `decide` makes of a world whose rings fail with `uring`, and which has a fallback.
fn outcome(
    world: &Told,
    config: &Config,
    uring: Option<SetupError>,
) -> Result<(&'static str, Report), SetupError> {
    decide_in(world, config, || uring.map_or(Ok("io_uring"), Err), || Ok("fallback"))
}

fn unavailable(errno: Errno) -> Option<SetupError> {
    Some(SetupError::Unavailable { errno })
}

#[test]
fn io_uring_is_taken_where_it_works() {
    let world = world(None, None, Evidence::default());
    let (made, report) = outcome(&world, &config(AUTO), None).unwrap();
    assert_eq!((made, report.backend), ("io_uring", Some(BackendKind::IoUring)));
    assert_eq!((report.cause, report.errno, report.fix.len()), (None, None, 0));
    assert_eq!(world.shielded.get(), Some(true));
    assert_eq!(world.asked.borrow().len(), 0, "nothing is gathered for a ring that works");
}

#[test]
fn what_is_unavailable_falls_back_with_the_cause() {
    // Before a ring was made, and a later one of a process where the first has worked.
    let early = world(None, Some(Trouble::Flawed(Flaw::Setup(PERM))), filtered(all(PERM)));
    let late = world(None, None, filtered(all(PERM)));
    for (world, error) in [(early, None), (late, unavailable(PERM))] {
        let (made, report) = outcome(&world, &config(AUTO), error).unwrap();
        assert_eq!((made, report.backend), ("fallback", Some(BackendKind::Fallback)));
        assert_eq!((report.cause, report.errno), (Some(Cause::Seccomp), Some(PERM)));
        assert_eq!(*world.asked.borrow(), [true]);
        assert!(report.to_string().starts_with("fallback, not io_uring: a seccomp"), "{report}");
    }
    // Whatever else the kernel may answer.
    for errno in [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::BUSY] {
        let world = world(None, None, host(calls(Ok(3), BADF, INVAL)));
        assert_eq!(outcome(&world, &config(AUTO), unavailable(errno)).unwrap().0, "fallback");
    }
}

#[test]
fn the_three_calls_are_not_made_where_they_may_kill() {
    for trouble in [Trouble::Killed(Call::Setup), Trouble::Unprobed(None)] {
        let world = world(None, Some(trouble), Evidence::default());
        let (made, _) = outcome(&world, &config(AUTO), None).unwrap();
        assert_eq!((made, world.asked.borrow().as_slice()), ("fallback", &[false][..]));
    }
}

#[test]
fn strict_mode_gives_the_cause_and_what_to_do() {
    for (variable, choice) in [(None, STRICT), (Some("io_uring"), AUTO)] {
        let blocked = Some(Trouble::Flawed(Flaw::Setup(PERM)));
        let world = world(variable, blocked, filtered(all(PERM)));
        let error = outcome(&world, &config(choice), None).unwrap_err();
        assert_eq!((error.cause(), error.errno()), (Some(Cause::Seccomp), Some(PERM)));
        assert_eq!(error.report().unwrap().backend, None);
        let text = error.to_string();
        assert!(text.starts_with("io_uring is not available: a seccomp filter"), "{text}");
        assert!(text.contains("EPERM") && text.contains("io_uring_enter and"), "{text}");
        assert_eq!(world.shielded.get(), Some(variable.is_none()), "who says so wants no child");
    }
}

#[test]
fn exhaustion_stays_an_error_unless_the_builder_says_otherwise() {
    let limit = || Some(SetupError::Limit { errno: Errno::MFILE });
    let world = world(None, None, host(calls(Err(Errno::MFILE), BADF, INVAL)));
    let error = outcome(&world, &config(AUTO), limit()).unwrap_err();
    assert_eq!((error.cause(), error.errno()), (Some(Cause::Descriptors), Some(Errno::MFILE)));
    let config = Config { fallback_when_exhausted: true, ..config(AUTO) };
    let (made, report) = outcome(&world, &config, limit()).unwrap();
    assert_eq!((made, report.cause), ("fallback", Some(Cause::Descriptors)));
    let strict = Config { backend: STRICT, ..config };
    assert!(outcome(&world, &strict, limit()).is_err(), "strict is strict");
}

#[test]
fn the_environment_overrides_auto_only() {
    let fallback = BackendChoice::Only(BackendKind::Fallback);
    for (variable, choice, expected, by) in [
        (None, AUTO, "io_uring", ChosenBy::Nobody),
        (Some(""), AUTO, "io_uring", ChosenBy::Nobody),
        (Some("auto"), AUTO, "io_uring", ChosenBy::Nobody),
        (Some("io_uring"), AUTO, "io_uring", ChosenBy::Environment),
        (Some("fallback"), AUTO, "fallback", ChosenBy::Environment),
        (Some("fallback"), STRICT, "io_uring", ChosenBy::Builder),
        (Some("io_uring"), fallback, "fallback", ChosenBy::Builder),
        (Some("nonsense"), STRICT, "io_uring", ChosenBy::Builder),
    ] {
        let world = world(variable, None, Evidence::default());
        let (made, report) = outcome(&world, &config(choice), None).unwrap();
        assert_eq!((made, report.chosen_by), (expected, by), "{variable:?} {choice:?}");
        let told = match (made, by) {
            ("io_uring", _) => None,
            (_, ChosenBy::Environment) => Some(Cause::Environment),
            _ => Some(Cause::Builder),
        };
        assert_eq!(report.cause, told);
        assert_eq!(world.shielded.get().is_none(), made == "fallback", "nothing is probed for it");
    }
    let world = world(Some("epoll"), None, Evidence::default());
    let error = outcome(&world, &config(AUTO), None).unwrap_err();
    assert_eq!(error, SetupError::Environment { value: "epoll".to_owned() });
    for part in ["\"epoll\"", "auto, io_uring or fallback", VARIABLE] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_setting_that_is_refused_is_an_error_of_its_own() {
    let works = || world(None, None, host(calls(Ok(3), BADF, INVAL)));
    let refused = |errno| Some(SetupError::Refused { step: "ring restrictions", errno });
    for errno in [Errno::INVAL, PERM] {
        let error = outcome(&works(), &config(AUTO), refused(errno)).unwrap_err();
        assert_eq!(Some(error), refused(errno));
    }
    let sqpoll = crate::Sqpoll { idle: std::time::Duration::ZERO, cpu: None };
    let polled = Config { sqpoll: Some(sqpoll), ..config(AUTO) };
    let error = outcome(&works(), &polled, unavailable(PERM)).unwrap_err();
    assert_eq!(error, SetupError::Refused { step: "SQPOLL", errno: PERM });
    // Unless it is refused to all.
    let filter = world(None, None, filtered(calls(Ok(3), BADF, Err(PERM))));
    let (made, report) = outcome(&filter, &config(AUTO), refused(PERM)).unwrap();
    assert_eq!((made, report.cause), ("fallback", Some(Cause::SeccompRegister)));
    let bad = Config { entries: 0, ..config(AUTO) };
    assert_eq!(outcome(&works(), &bad, None).unwrap_err(), SetupError::Entries { asked: 0 });
}

#[test]
fn without_a_fallback_the_error_says_why_it_was_needed() {
    let world = world(None, None, filtered(all(PERM)));
    let none = || Err(SetupError::Unavailable { errno: Errno::OPNOTSUPP });
    let made: Result<((), _), _> =
        decide_in(&world, &config(AUTO), || Err(unavailable(PERM).unwrap()), none);
    assert_eq!(made.unwrap_err().cause(), Some(Cause::Seccomp));
    let full = || Err(SetupError::Limit { errno: Errno::MFILE });
    let made: Result<((), _), _> =
        decide_in(&world, &config(AUTO), || Err(unavailable(PERM).unwrap()), full);
    assert_eq!(made.unwrap_err(), SetupError::Limit { errno: Errno::MFILE }, "its own error");
}

#[test]
fn detection_tells_what_a_ring_would_get() {
    let works = host(calls(Ok(3), BADF, INVAL));
    let report = detect_in(&world(None, None, works.clone())).unwrap();
    assert!(report.is_io_uring() && report.evidence == works);
    let blocked = Some(Trouble::Flawed(Flaw::Setup(PERM)));
    for (variable, trouble, backend, cause) in [
        (None, blocked, Some(BackendKind::Fallback), Cause::Seccomp),
        (Some("io_uring"), blocked, None, Cause::Seccomp),
        (Some("fallback"), None, Some(BackendKind::Fallback), Cause::Environment),
        (None, Some(Trouble::Blind(Errno::MFILE)), None, Cause::Descriptors),
        (None, None, Some(BackendKind::Fallback), Cause::SeccompRegister),
    ] {
        let report = detect_in(&world(variable, trouble, filtered(all(PERM)))).unwrap();
        assert_eq!((report.backend, report.cause), (backend, Some(cause)), "{variable:?}");
    }
    assert!(detect_in(&world(Some("x"), None, works)).is_err());
}
