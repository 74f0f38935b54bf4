//! Findings made by hand, as text and as JSON.

use safer_ring::sys::Errno;
use safer_ring::sys::trial::{Answers, Call};
use safer_ring::{Cause, Evidence};
use serde_json::Value;

use super::collect::calls;
use super::findings::*;
use super::{features, kernels, render};

fn evidence(answers: Option<Answers>, seccomp: u32) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.calls = answers;
    evidence.seccomp = Some(seccomp);
    evidence
}

fn refused(errno: Errno) -> Option<Answers> {
    Some(Answers { setup: Err(errno), enter: Err(errno), register: Err(errno) })
}

/// A default container of Docker.
fn docker() -> Findings {
    Findings {
        format: FORMAT,
        exit_code: FALLBACK,
        verdict: "fallback",
        backend: Some("fallback"),
        cause: Some("seccomp"),
        reason: Some("a seccomp filter refuses the io_uring system calls".to_owned()),
        errno: Some("EPERM".to_owned()),
        chosen_by: "nobody",
        fix: vec!["allow them".to_owned(), "and nothing else, ".repeat(20) + "whatever comes"],
        kernel: Kernel { release: "6.12.20".to_owned(), ..Kernel::default() },
        confinement: Confinement {
            seccomp: Some(2),
            seccomp_filters: Some(1),
            io_uring_disabled: Some(0),
            container: Some("docker".to_owned()),
            ..Confinement::default()
        },
        calls: calls(Some(Cause::Seccomp), &evidence(refused(Errno::PERM), 2)),
        limits: Limits {
            memlock: Some(8 << 20),
            memlock_holds: Some(true),
            aio_max_nr: Some(65_536),
            aio_nr: Some(128),
            ..Limits::default()
        },
        known_faults: kernels::faults((6, 12, 20)),
        ..Findings::default()
    }
}

fn lines_with<'t>(text: &'t str, label: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(label)).collect()
}

#[test]
fn the_first_lines_are_the_verdict_the_reason_and_what_to_do() {
    let text = render::text(&docker(), false);
    let lines: Vec<&str> = text.lines().take(3).collect();
    assert!(lines[0].starts_with("verdict ") && lines[0].contains("not io_uring"), "{text}");
    assert!(lines[1].starts_with("because ") && lines[1].contains("(EPERM)"), "{text}");
    assert!(lines[2].starts_with("do ") && lines[2].contains("allow them"), "{text}");
    assert_eq!(lines_with(&text, "do ").len(), 2);
    assert!(lines_with(&text, "blocked")[0].contains("io_uring_setup EPERM by seccomp"), "{text}");
    assert!(
        lines_with(&text, "limits")[0].contains("memlock 8192 KiB, nofile unlimited"),
        "{text}"
    );
    assert!(text.contains("aio 128 of 65536 events"), "{text}");
    assert!(lines_with(&text, "known")[0].contains("6.12.21"), "{text}");
    assert!(lines_with(&text, "rings").is_empty() && lines_with(&text, "iowait").is_empty());
}

#[test]
fn it_fits_a_screen_with_and_without_colours() {
    let mut findings = docker();
    findings.iowait = Some(kernels::IOWAIT);
    findings.path = Some(PathFound {
        path: "/data".to_owned(),
        filesystem: Some("xfs on /dev/nvme0n1".to_owned()),
        direct_memory_align: Some(4),
        direct_offset_align: Some(512),
        device: Some("nvme0n1".to_owned()),
        rotational: Some(false),
        poll_queues: Some(true),
        ..PathFound::default()
    });
    let plain = render::text(&findings, false);
    assert!(plain.lines().count() <= 40, "{plain}");
    assert!(
        plain.lines().all(|line| line.chars().count() <= 100 && line == line.trim_end()),
        "{plain}"
    );
    assert!(!plain.contains('\x1b'));
    for part in
        ["multiples of 4 bytes", "offset and length of 512", "has poll queues", "wa on CPUs"]
    {
        assert!(plain.split_whitespace().collect::<Vec<_>>().join(" ").contains(part), "{part}");
    }
    let coloured = render::text(&findings, true);
    assert!(coloured.starts_with("\x1b["));
    let mut bare = String::new();
    for piece in coloured.split("\x1b[") {
        let after = piece.find('m').filter(|at| *at <= 2).map_or(0, |at| at + 1);
        bare.push_str(&piece[after..]);
    }
    assert_eq!(bare, plain, "colours change nothing else");
}

#[test]
fn a_missing_feature_is_told_with_what_it_would_bring() {
    let mut findings = docker();
    let ring = RingFound {
        setup_flags: vec!["CQSIZE"],
        feature_bits: Vec::new(),
        opcodes: vec!["NOP"],
        opcodes_by: "assumed",
        entries: 8,
        completions: 16,
    };
    let mut list = features::list(None, None);
    assert!(list.iter().all(|feature| !feature.present && !feature.since.is_empty()));
    list.truncate(2);
    list[0].present = true;
    findings.features = Some(Features { local: Some(ring), shared: None, list });
    let text = render::text(&findings, false);
    let rings = lines_with(&text, "rings");
    assert!(rings[0].contains("CQSIZE, 1 opcodes (those of kernel 5.6"), "{text}");
    assert!(rings[1].contains("shared ring: not io_uring"), "{text}");
    assert!(lines_with(&text, "features")[0].contains("1 of 2"), "{text}");
    let missing = lines_with(&text, "  missing");
    assert_eq!(missing.len(), 1);
    assert!(missing[0].contains("COOP_TASKRUN (kernel 5.19): no interrupt"), "{text}");
}

#[test]
fn a_call_is_blocked_by_who_refuses_it() {
    let of = |cause, evidence: &Evidence| -> Vec<(Option<String>, bool, Option<&str>)> {
        let all = calls(cause, evidence);
        all.into_iter().take(3).map(|call| (call.answer, call.blocked, call.by)).collect()
    };
    let said = |text: &str| Some(text.to_owned());
    let works = Answers { setup: Ok(3), enter: Err(Errno::BADF), register: Err(Errno::INVAL) };
    assert_eq!(
        of(None, &evidence(Some(works), 0)),
        [(said("ok"), false, None), (said("EBADF"), false, None), (said("EINVAL"), false, None)]
    );
    let switched = Answers { setup: Err(Errno::PERM), ..works };
    assert_eq!(
        of(Some(Cause::Sysctl), &evidence(Some(switched), 0))[..2],
        [(said("EPERM"), true, Some("sysctl")), (said("EBADF"), false, None)]
    );
    let mut killed = evidence(None, 2);
    killed.killed_at = Some(Call::Enter);
    assert_eq!(
        of(Some(Cause::SeccompKills), &killed),
        [(None, false, None), (said("killed"), true, Some("seccomp-kills")), (None, false, None)]
    );
    let old = of(Some(Cause::NoKernelSupport), &evidence(refused(Errno::NOSYS), 0));
    assert_eq!(old[0], (said("ENOSYS"), true, None), "nobody refuses it");
}

/// Scripts read these: a key that goes away, or changes its place, breaks them.
#[test]
fn the_keys_stay() {
    let value = serde_json::to_value(docker()).unwrap();
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "format",
        "exit_code",
        "verdict",
        "backend",
        "cause",
        "reason",
        "errno",
        "chosen_by",
        "fix",
        "error",
        "kernel",
        "confinement",
        "calls",
        "features",
        "limits",
        "expected_errors",
        "known_faults",
        "iowait",
        "numa",
        "path",
    ] {
        assert!(keys.contains(&key), "{key} is gone");
    }
    assert_eq!(keys.len(), 20, "a new key belongs into docs/DOCTOR.md and into this list");
    for (pointer, expected) in [
        ("/cause", Value::from("seccomp")),
        ("/calls/0/call", "io_uring_setup".into()),
        ("/calls/0/by", "seccomp".into()),
        ("/confinement/seccomp", 2.into()),
        ("/limits/aio_max_nr", 65_536.into()),
        ("/limits/nofile", Value::Null),
        ("/known_faults/0/id", "fragmented-memory".into()),
        ("/path", Value::Null),
    ] {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn the_guide_names_every_key_and_cause() {
    let guide = include_str!("../../../../docs/DOCTOR.md");
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.push(key.clone());
                keys(value, found);
            }),
            Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let mut full = docker();
    full.path = Some(PathFound::default());
    keys(&serde_json::to_value(full).unwrap(), &mut found);
    for key in found {
        assert!(guide.contains(&format!("`{key}`")), "`{key}` is not in docs/DOCTOR.md");
    }
    for cause in [
        Cause::Seccomp,
        Cause::SeccompSetup,
        Cause::SeccompEnter,
        Cause::SeccompRegister,
        Cause::SeccompKills,
        Cause::Unprobed,
        Cause::Sysctl,
        Cause::SecurityModule,
        Cause::NoKernelSupport,
        Cause::TooOld,
        Cause::NotSupported,
        Cause::Untrue,
        Cause::TaskRestriction,
        Cause::Memlock,
        Cause::Memory,
        Cause::Descriptors,
        Cause::SystemDescriptors,
        Cause::Environment,
        Cause::Builder,
        Cause::Unknown,
    ] {
        assert!(
            guide.contains(&format!("`{}`", cause.name())),
            "{cause:?} is not in docs/DOCTOR.md"
        );
    }
}
