//! What to do about each cause, for the place where it was found.

use safer_ring_sys::Errno;

use super::cause::Cause;
use super::evidence::Evidence;

const CALLS: &str = "io_uring_setup, io_uring_enter and io_uring_register";

/// The sentences, without a full stop; the first is the one to try first.
pub(crate) fn lines(cause: Cause, errno: Option<Errno>, evidence: &Evidence) -> Vec<String> {
    match cause {
        Cause::Seccomp | Cause::SeccompSetup | Cause::SeccompEnter | Cause::SeccompRegister => {
            profile(errno, evidence)
        }
        Cause::SeccompKills => {
            let mut lines = profile(errno, evidence);
            lines.push("SAFER_RING_BACKEND=fallback leaves out the probe in a child".to_owned());
            lines
        }
        Cause::Unprobed => vec![
            "set SAFER_RING_BACKEND=io_uring if io_uring is allowed here, or \
             SAFER_RING_BACKEND=fallback if not: neither is probed in a child".to_owned(),
        ],
        Cause::Sysctl => switch(evidence),
        Cause::SecurityModule => module(evidence),
        Cause::NoKernelSupport | Cause::NotSupported | Cause::Untrue if evidence.is_gvisor() => {
            vec!["this is gVisor, whose io_uring is missing or incomplete: run under another runtime \
             class, such as runc".to_owned()]
        }
        Cause::NoKernelSupport => vec![
            "run a kernel with CONFIG_IO_URING=y, 5.6 or newer".to_owned(),
        ],
        Cause::TooOld => vec![format!(
            "run kernel 5.6 or newer, better 6.1; this is {}",
            evidence.release
        )],
        Cause::NotSupported | Cause::Untrue => vec![
            "nothing can be set for it in this process: ask the platform for io_uring, or run elsewhere".to_owned(),
        ],
        Cause::TaskRestriction => vec![
            "whoever started this process has restricted io_uring for it \
             (IORING_REGISTER_RESTRICTIONS or IORING_REGISTER_BPF_FILTER on descriptor -1): allow the \
             opcodes there".to_owned(),
        ],
        Cause::Memlock => memlock(evidence),
        Cause::Memory => vec![
            "ask for fewer entries, close rings that are not needed, or raise the memory limit of the \
             cgroup".to_owned(),
        ],
        Cause::Descriptors => vec![format!(
            "raise RLIMIT_NOFILE{}: `ulimit -n`, LimitNOFILE= in a systemd unit, `--ulimit nofile=` \
             of a container; or close descriptors",
            now(evidence.nofile)
        )],
        Cause::SystemDescriptors => {
            vec!["the system-wide limit fs.file-max is reached: raise it with sysctl(8)".to_owned()]
        }
        Cause::Environment => vec!["unset SAFER_RING_BACKEND to use io_uring where it works".to_owned()],
        // Somebody wrote it down.
        Cause::Builder | Cause::Unknown => Vec::new(),
    }
}

fn now(limit: Option<u64>) -> String {
    limit.map(|limit| format!(", now {limit}")).unwrap_or_default()
}

fn profile(errno: Option<Errno>, evidence: &Evidence) -> Vec<String> {
    let podman = "in Podman: --security-opt seccomp=FILE, which is /usr/share/containers/seccomp.json \
                  plus these calls";
    // The marks are hints, so the first sentence is true without them.
    let place = match (evidence.container.as_deref(), errno) {
        (Some("kubernetes"), _) => {
            "in Kubernetes: securityContext.seccompProfile {type: Localhost, localhostProfile: FILE}, \
             which is the runtime's own default profile plus these calls, below \
             /var/lib/kubelet/seccomp on the node"
        }
        (Some("podman"), _) => podman,
        // Profiles of Podman and CRI-O answer so.
        (Some(_), Some(Errno::NOSYS)) => podman,
        (Some("docker"), _) => {
            "in Docker: --security-opt seccomp=FILE, which is Docker's own default profile plus these \
             calls"
        }
        _ => {
            "for a container: --security-opt seccomp=FILE, which is the runtime's own default profile \
             plus these calls; for a systemd unit: SystemCallFilter=@aio"
        }
    };
    vec![
        format!("allow {CALLS} in the seccomp filter of this process"),
        place.to_owned(),
        "do not turn the filter off (seccomp=unconfined): three calls are enough".to_owned(),
    ]
}

fn switch(evidence: &Evidence) -> Vec<String> {
    let open = "or, as root on the host: `sysctl -w kernel.io_uring_disabled=0` (for everybody)";
    let group = match evidence.io_uring_group {
        Some(group) if group >= 0 => format!("group {group} (kernel.io_uring_group)"),
        _ => "the group of `sysctl -w kernel.io_uring_group=GID`".to_owned(),
    };
    let first = match evidence.io_uring_disabled {
        Some(1) => format!("run as a member of {group}"),
        _ => format!(
            "as root on the host: `sysctl -w kernel.io_uring_disabled=1`, and run as a member of {group}"
        ),
    };
    vec![first, open.to_owned()]
}

fn module(evidence: &Evidence) -> Vec<String> {
    let selinux = evidence.security_label.as_deref().is_some_and(|label| label.contains(':'));
    let named =
        evidence.security_modules.as_ref().is_some_and(|all| all.iter().any(|m| m == "selinux"));
    if selinux || named {
        return vec![
            "SELinux: see `ausearch -m avc -ts recent`, and add a policy module that allows the \
             domain class io_uring, and anon_inode named io_uring { create read write map }; do not \
             set it permissive".to_owned(),
        ];
    }
    vec!["see the audit log for the module that denies io_uring, and allow it in the profile of this \
     process".to_owned()]
}

fn memlock(evidence: &Evidence) -> Vec<String> {
    let now = evidence.memlock.map(|bytes| format!(", now {} KiB", bytes / 1024));
    vec![format!(
        "raise RLIMIT_MEMLOCK{}: `ulimit -l 8192`, LimitMEMLOCK=8M in a systemd unit, `--ulimit \
         memlock=8388608` of a container; or ask for fewer entries and rings",
        now.unwrap_or_default()
    )]
}
