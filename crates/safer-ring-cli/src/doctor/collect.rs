//! Looks around.

use std::path::Path;

use safer_ring::contract::{self, IoSetup, Pointer, RingSetup};
use safer_ring::cpu::{self, Topology};
use safer_ring::sys::Errno;
use safer_ring::sys::trial::Call;
use safer_ring::{BackendChoice, BackendKind, Cause, Evidence, Report, Ring, detect, sys};

use super::features;
use super::findings::{
    CallFound, Confinement, Features, Findings, Kernel, Limits, NodeFound, Numa,
};
use super::{kernels, path};

/// Everything, of this process and this machine, and of `path` where one is given.
pub(crate) fn all(path: Option<&Path>) -> Findings {
    let mut findings = match detect() {
        Ok(report) => of_report(&report),
        Err(error) => Findings::failed(&error),
    };
    findings.numa = numa();
    findings.limits.aio_max_nr = number("/proc/sys/fs/aio-max-nr");
    findings.limits.aio_nr = number("/proc/sys/fs/aio-nr");
    findings.expected_errors = expected_errors();
    if let Some(path) = path {
        match path::look(path) {
            Ok(found) => findings.path = Some(found),
            Err(error) => findings.fail(format!("--path {}: {error}", path.display())),
        }
    }
    findings
}

/// What the rules of the system calls predict of a ring and of an AIO context of usual size.
fn expected_errors() -> Vec<String> {
    let facts = contract::machine();
    let params = Pointer::writable(1);
    let ring =
        contract::Call::RingSetup(RingSetup { entries: 128, params, ..RingSetup::default() });
    let context = contract::Call::IoSetup(IoSetup { nr_events: 128, result: params, value: 0 });
    let found = [ring, context].into_iter().filter_map(|call| {
        let finding = contract::check(&call, &facts)?;
        Some(format!("{}: {finding}", call.name()))
    });
    found.collect()
}

/// What follows from the library's own report.
fn of_report(report: &Report) -> Findings {
    let evidence = &report.evidence;
    let features = if report.is_io_uring() || report.cause == Some(Cause::SeccompRegister) {
        of_rings()
    } else {
        None
    };
    let release = &evidence.release;
    let rings = features.iter().flat_map(|features| [&features.local, &features.shared]);
    let no_iowait = rings.flatten().any(|ring| ring.feature_bits.contains(&"NO_IOWAIT"));
    let signature = std::fs::read_to_string("/proc/version_signature").ok();
    let mainline = kernels::mainline(release, &evidence.version, signature.as_deref())
        .filter(|_| !evidence.is_gvisor());
    let iowait = features.is_some()
        && mainline.is_some_and(|version| kernels::counts_as_iowait(version, no_iowait));
    Findings {
        kernel: Kernel {
            release: release.clone(),
            version: evidence.version.clone(),
            gvisor: evidence.is_gvisor(),
        },
        confinement: Confinement {
            seccomp: evidence.seccomp,
            seccomp_filters: evidence.seccomp_filters,
            io_uring_disabled: evidence.io_uring_disabled,
            io_uring_group: evidence.io_uring_group,
            security_modules: evidence.security_modules.clone(),
            security_label: evidence.security_label.clone(),
            container: evidence.container.clone(),
        },
        calls: calls(report.cause, evidence),
        features,
        limits: Limits {
            memlock: evidence.memlock,
            memlock_holds: evidence.ipc_lock.map(|free| !free),
            nofile: evidence.nofile,
            ..Limits::default()
        },
        known_faults: mainline.map(kernels::faults).unwrap_or_default(),
        iowait: iowait.then_some(kernels::IOWAIT),
        ..Findings::of(report)
    }
}

/// What a ring of each kind has, with the default settings; `None` if there is none.
fn of_rings() -> Option<Features> {
    let strictly = || Ring::builder().backend(BackendChoice::Only(BackendKind::IoUring));
    let local = strictly().local().build().ok();
    let shared = strictly().build().ok();
    let (local, shared) =
        (local.as_ref().map(|r| r.features()), shared.as_ref().map(|r| r.features()));
    local.or(shared)?;
    Some(Features {
        list: features::list(local, shared),
        local: local.map(features::of_ring),
        shared: shared.map(features::of_ring),
    })
}

/// The calls that the library would like to make, and what becomes of them.
pub(crate) fn calls(cause: Option<Cause>, evidence: &Evidence) -> Vec<CallFound> {
    // Whoever refuses a call; an old kernel refuses none.
    let blocker = cause
        .map(Cause::name)
        .filter(|name| name.starts_with("seccomp") || ["sysctl", "security-module"].contains(name));
    let uring = [Call::Setup, Call::Enter, Call::Register].map(|call| {
        let answer = evidence.calls.map(|calls| calls.to(call));
        let works = match (call, answer) {
            (_, None) => evidence.killed_at != Some(call),
            (_, Some(Ok(_))) => true,
            // To no descriptor.
            (Call::Enter | Call::Register, Some(Err(errno))) => {
                matches!(errno, Errno::BADF | Errno::INVAL)
            }
            (Call::Setup, Some(Err(_))) => false,
        };
        let answer = match answer {
            None => (!works).then(|| "killed".to_owned()),
            Some(Ok(_)) => Some("ok".to_owned()),
            Some(Err(errno)) => Some(format!("{errno:?}")),
        };
        let by = (!works).then_some(blocker).flatten();
        CallFound { call: call.name(), answer, blocked: !works, by }
    });
    let filter = evidence.is_filtered().then_some(Cause::Seccomp.name());
    let plain = |call, outcome: Result<(), Errno>| CallFound {
        call,
        answer: Some(outcome.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())),
        blocked: outcome.is_err(),
        by: if outcome.is_err() { filter } else { None },
    };
    let cpus = cpu::allowed_cpus();
    let here = cpus.as_ref().map_err(|error| error.errno()).map(drop);
    let page = vec![1_u8; 4096];
    let pages = cpu::pages_by_node(&page).map(drop).map_err(|error| error.errno());
    let mut all = uring.to_vec();
    all.push(plain("sched_getaffinity", here));
    all.push(plain("move_pages", pages));
    all
}

fn numa() -> Numa {
    let topology = Topology::read();
    let nodes = topology.nodes().iter().map(|node| NodeFound {
        id: node.id().get(),
        cpus: node.cpus().iter().map(|cpu| cpu.get()).collect(),
        memory: node.memory(),
    });
    let placement = topology.nodes().first().and_then(|node| {
        let (_, placed) = node.buffer(sys::numa::page_size()).ok()?;
        Some(placed.to_string())
    });
    Numa { nodes: nodes.collect(), placement }
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
