//! What the doctor has found. The fields are the keys of the JSON, which `docs/DOCTOR.md` describes: they may become more,
//! and do not change their meaning.

use safer_ring::{BackendKind, Cause, ChosenBy, Report, SetupError};
use serde::Serialize;

/// Rings are io_uring.
pub(crate) const IO_URING: u8 = 0;
/// Rings are the fallback.
pub(crate) const FALLBACK: u8 = 1;
/// There is no ring to be had, or something that was asked for cannot be done.
pub(crate) const ERROR: u8 = 2;

/// The version of the keys.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) format: u32,
    pub(crate) exit_code: u8,
    /// `io_uring`, `fallback` or `error`.
    pub(crate) verdict: &'static str,
    pub(crate) backend: Option<&'static str>,
    pub(crate) cause: Option<&'static str>,
    /// The cause as a sentence.
    pub(crate) reason: Option<String>,
    pub(crate) errno: Option<String>,
    /// `nobody`, `builder` or `environment`.
    pub(crate) chosen_by: &'static str,
    pub(crate) fix: Vec<String>,
    /// What could not be done of what was asked for.
    pub(crate) error: Option<String>,
    pub(crate) kernel: Kernel,
    pub(crate) confinement: Confinement,
    pub(crate) calls: Vec<CallFound>,
    pub(crate) features: Option<Features>,
    pub(crate) limits: Limits,
    /// Errors that a ring or an AIO context of 128 entries will have here, from the limits and settings above.
    pub(crate) expected_errors: Vec<String>,
    /// Faults that kernels of this number are known for.
    pub(crate) known_faults: Vec<Fault>,
    /// Why the machine seems to wait for I/O all the time, where it does.
    pub(crate) iowait: Option<&'static str>,
    pub(crate) numa: Numa,
    pub(crate) path: Option<PathFound>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    pub(crate) version: String,
    /// It is gVisor, which is not Linux.
    pub(crate) gvisor: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Confinement {
    /// 0 off, 1 strict, 2 filter.
    pub(crate) seccomp: Option<u32>,
    pub(crate) seccomp_filters: Option<u32>,
    pub(crate) io_uring_disabled: Option<u32>,
    pub(crate) io_uring_group: Option<i64>,
    pub(crate) security_modules: Option<Vec<String>>,
    pub(crate) security_label: Option<String>,
    /// A hint: marks of containers are often left or missing.
    pub(crate) container: Option<String>,
}

/// A system call, or a group of them, and whether it may be made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallFound {
    pub(crate) call: &'static str,
    /// What was answered: `ok`, the name of an error, or `killed`; `null` if it was not asked.
    pub(crate) answer: Option<String>,
    pub(crate) blocked: bool,
    /// The cause, by the names of `cause` above.
    pub(crate) by: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Features {
    /// A ring of one thread, and one for many; `null` where it is not io_uring.
    pub(crate) local: Option<RingFound>,
    pub(crate) shared: Option<RingFound>,
    /// What this library uses of newer kernels, and what each brings.
    pub(crate) list: Vec<Feature>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RingFound {
    pub(crate) setup_flags: Vec<&'static str>,
    pub(crate) feature_bits: Vec<&'static str>,
    pub(crate) opcodes: Vec<&'static str>,
    /// How they were learnt: `query`, `probe`, or `assumed` where the kernel may not be asked.
    pub(crate) opcodes_by: &'static str,
    pub(crate) entries: u32,
    pub(crate) completions: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// `setup`, `feature` or `opcode`.
    pub(crate) kind: &'static str,
    pub(crate) since: String,
    pub(crate) present: bool,
    pub(crate) brings: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Limits {
    /// Bytes; `null` without a limit.
    pub(crate) memlock: Option<u64>,
    /// Whether that limit holds: not with `CAP_IPC_LOCK`.
    pub(crate) memlock_holds: Option<bool>,
    /// Descriptors; `null` without a limit.
    pub(crate) nofile: Option<u64>,
    /// Events of Linux AIO that may be reserved in the whole system, and that are.
    pub(crate) aio_max_nr: Option<u64>,
    pub(crate) aio_nr: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) id: &'static str,
    pub(crate) kernels: &'static str,
    pub(crate) what: &'static str,
    /// What it means for this library.
    pub(crate) here: &'static str,
    pub(crate) source: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Numa {
    pub(crate) nodes: Vec<NodeFound>,
    /// What became of a page that was to be on the first node.
    pub(crate) placement: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeFound {
    pub(crate) id: u32,
    pub(crate) cpus: Vec<u32>,
    pub(crate) memory: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PathFound {
    pub(crate) path: String,
    /// Type and source, as in mountinfo.
    pub(crate) filesystem: Option<String>,
    /// What `O_DIRECT` asks of memory and offsets, in bytes; `null` where the kernel does not tell, or there is none.
    pub(crate) direct_memory_align: Option<u32>,
    pub(crate) direct_offset_align: Option<u32>,
    /// The disk below, by its name in `/sys/block`.
    pub(crate) device: Option<String>,
    pub(crate) logical_block: Option<u32>,
    pub(crate) rotational: Option<bool>,
    pub(crate) scheduler: Option<String>,
    /// Whether the device has queues to poll, which `IORING_SETUP_IOPOLL` needs.
    pub(crate) poll_queues: Option<bool>,
}

impl Findings {
    /// The verdict of a report.
    pub(crate) fn of(report: &Report) -> Self {
        let (exit_code, verdict, backend) = match report.backend {
            Some(BackendKind::IoUring) => (IO_URING, "io_uring", Some("io_uring")),
            Some(_) => (FALLBACK, "fallback", Some("fallback")),
            None => (ERROR, "error", None),
        };
        let chosen_by = match report.chosen_by {
            ChosenBy::Environment => "environment",
            ChosenBy::Builder => "builder",
            _ => "nobody",
        };
        Self {
            format: FORMAT,
            exit_code,
            verdict,
            backend,
            cause: report.cause.map(Cause::name),
            reason: report.cause.map(|cause| cause.to_string()),
            errno: report.errno.map(|errno| format!("{errno:?}")),
            chosen_by,
            fix: report.fix.clone(),
            ..Self::default()
        }
    }

    /// There is no report at all.
    pub(crate) fn failed(error: &SetupError) -> Self {
        let mut findings = Self { format: FORMAT, chosen_by: "environment", ..Self::default() };
        findings.fail(error.to_string());
        findings
    }

    /// Something that was asked for cannot be done.
    pub(crate) fn fail(&mut self, error: String) {
        self.exit_code = ERROR;
        self.verdict = "error";
        self.error = Some(error);
    }
}
