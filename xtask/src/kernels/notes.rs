//! What the library uses of what came after the oldest kernel, and what it does without.

use super::Version;

/// One row.
pub(super) struct Note {
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    /// First kernel with which the library uses it, if that is not the first that has it.
    pub(super) from: Option<Version>,
    /// What the library uses it for.
    pub(super) purpose: &'static str,
    /// What it does on a kernel that lacks it.
    pub(super) without: &'static str,
}

const fn note(
    kind: &'static str,
    name: &'static str,
    purpose: &'static str,
    without: &'static str,
) -> Note {
    Note { kind, name, from: None, purpose, without }
}

impl Note {
    const fn from(self, major: u8, minor: u8) -> Note {
        Note { from: Some((major, minor)), ..self }
    }
}

const PLAIN: &str = "the plain system call, on the thread that submits";

/// The rows; the order of the document is that of the versions.
pub(super) const NOTES: &[Note] = &[
    note("Opcode", "SPLICE", "`splice`", "the error `EOPNOTSUPP`"),
    note("Opcode", "TEE", "`tee`", "the error `EOPNOTSUPP`"),
    note("Opcode", "SHUTDOWN", "`shutdown` of sockets", PLAIN),
    note("Opcode", "RENAMEAT", "`rename`", PLAIN),
    note("Opcode", "UNLINKAT", "`remove_file`, `remove_dir`", PLAIN),
    note("Opcode", "MKDIRAT", "`create_dir`", PLAIN),
    note("Opcode", "SYMLINKAT", "`symlink`", PLAIN),
    note("Opcode", "LINKAT", "`hard_link`", PLAIN),
    note("Opcode", "SOCKET", "new sockets", PLAIN),
    note("Opcode", "FTRUNCATE", "`set_len`", PLAIN),
    note("Opcode", "BIND", "`bind`", PLAIN),
    note("Opcode", "LISTEN", "`listen`", PLAIN),
    note("Opcode", "PIPE", "new pipes", PLAIN),
    note(
        "Feature",
        "FAST_POLL",
        "sockets and pipes that wait",
        "the kernel has a worker thread wait for each",
    ),
    note("SetupFlag", "R_DISABLED", "`restricted(true)`", "`restricted(true)` is an error"),
    note("RegisterOp", "RESTRICTIONS", "`restricted(true)`", "`restricted(true)` is an error"),
    note(
        "Feature",
        "EXT_ARG",
        "waiting with a time limit in one call",
        "poll(2) on the ring's descriptor",
    ),
    note(
        "RegisterOp",
        "IOWQ_AFF",
        "the kernel's workers on a node",
        "they run anywhere; the reason is in `Features`",
    ),
    note(
        "RegisterOp",
        "IOWQ_MAX_WORKERS",
        "limits for the kernel's workers",
        "asking for limits is an error",
    ),
    note(
        "SetupFlag",
        "SUBMIT_ALL",
        "a batch goes on behind an entry that is refused",
        "the rest is handed over by the next call",
    ),
    note(
        "RegisterOp",
        "RING_FDS",
        "a local ring is entered by index",
        "each call looks its descriptor up",
    ),
    note(
        "SetupFlag",
        "COOP_TASKRUN",
        "no interrupt for completions; the best for shared rings",
        "the kernel interrupts the thread",
    ),
    note(
        "RegisterOp",
        "BUFFERS2",
        "`register_buffers`: a table of empty places, for the memory of pools",
        "`RegisterError::Unsupported`; pools work, and the kernel pins pages in each direct transfer",
    )
    .from(5, 19),
    note("SetupFlag", "SINGLE_ISSUER", "needed by `DEFER_TASKRUN`", "`COOP_TASKRUN`"),
    note(
        "SetupFlag",
        "DEFER_TASKRUN",
        "completions when a local ring asks for them",
        "`COOP_TASKRUN`",
    ),
    note("SetupFlag", "NO_SQARRAY", "one array less to write", "the array is written once"),
    note(
        "Feature",
        "NO_IOWAIT",
        "waiting is not counted as I/O wait",
        "a thread that waits counts as I/O wait, up to 100 % in top(1)",
    ),
    note(
        "RegisterOp",
        "FILES2",
        "files that a local ring reads and writes often",
        "each operation looks its descriptor up; before 6.13 a file would stay open for some time after it has left its place",
    )
    .from(6, 15),
    note(
        "RegisterOp",
        "QUERY",
        "what the kernel has, in one question",
        "`IORING_REGISTER_PROBE` (5.6); where that fails too, the opcodes of 5.6",
    ),
];
