//! What the library uses of newer kernels, and what each brings. An older kernel works without them.

use safer_ring::sys::{feat, opcode, setup};
use safer_ring::{FeatureSource, Features};

use super::findings::{Feature, RingFound};

/// A setup flag or feature bit, its name, first kernel, and use.
type Row = (u32, &'static str, &'static str, &'static str);

const SETUP: &[Row] = &[
    (setup::SUBMIT_ALL, "SUBMIT_ALL", "5.18", "a batch goes on behind an entry that is refused"),
    (setup::COOP_TASKRUN, "COOP_TASKRUN", "5.19", "no interrupt for each completion"),
    (setup::DEFER_TASKRUN, "DEFER_TASKRUN", "6.1", "completions are made when a local ring asks"),
    (setup::NO_SQARRAY, "NO_SQARRAY", "6.6", "one write less for each submission"),
];

const BITS: &[Row] = &[
    (feat::FAST_POLL, "FAST_POLL", "5.7", "sockets and pipes wait without a worker thread"),
    (feat::EXT_ARG, "EXT_ARG", "5.11", "a wait with a time limit is one system call"),
    (feat::NATIVE_WORKERS, "NATIVE_WORKERS", "5.12", "workers are threads of the process"),
    (feat::NO_IOWAIT, "NO_IOWAIT", "6.15", "a thread that waits is not counted as I/O wait"),
];

/// Opcodes with a plain system call in their place, and what they are for.
const OPCODES: &[(u8, &str)] = &[
    (opcode::SPLICE, "splice, which has no other way"),
    (opcode::TEE, "tee, which has no other way"),
    (opcode::SHUTDOWN, "shutdown in the ring"),
    (opcode::RENAMEAT, "rename in the ring"),
    (opcode::UNLINKAT, "removing files in the ring"),
    (opcode::MKDIRAT, "making directories in the ring"),
    (opcode::SYMLINKAT, "symbolic links in the ring"),
    (opcode::LINKAT, "hard links in the ring"),
    (opcode::SOCKET, "making sockets in the ring; a shared ring's bell can be hushed"),
    (opcode::FTRUNCATE, "truncating files in the ring"),
    (opcode::BIND, "bind in the ring"),
    (opcode::LISTEN, "listen in the ring"),
    (opcode::PIPE, "making pipes in the ring"),
];

/// Each with whether one of the two rings has it.
pub(crate) fn list(local: Option<&Features>, shared: Option<&Features>) -> Vec<Feature> {
    let any = |has: &dyn Fn(&Features) -> bool| [local, shared].into_iter().flatten().any(has);
    let setup = SETUP.iter().map(|(flag, name, since, brings)| Feature {
        name,
        kind: "setup",
        since: (*since).to_owned(),
        present: any(&|ring| ring.has_setup_flag(*flag)),
        brings,
    });
    let bits = BITS.iter().map(|(bit, name, since, brings)| Feature {
        name,
        kind: "feature",
        since: (*since).to_owned(),
        present: any(&|ring| ring.has_feature(*bit)),
        brings,
    });
    let opcodes = OPCODES.iter().map(|(code, brings)| Feature {
        name: opcode::name(*code).unwrap_or("?"),
        kind: "opcode",
        since: opcode::since(*code).map(|(a, b)| format!("{a}.{b}")).unwrap_or_default(),
        present: any(&|ring| ring.supports(*code)),
        brings,
    });
    setup.chain(bits).chain(opcodes).collect()
}

/// What a ring has, by name.
pub(crate) fn of_ring(features: &Features) -> RingFound {
    let named = |names: &[(u32, &'static str)], word: u32| {
        names.iter().filter(|(bit, _)| word & bit != 0).map(|(_, name)| *name).collect()
    };
    RingFound {
        setup_flags: named(setup::NAMES, features.setup_flags),
        feature_bits: named(feat::NAMES, features.feature_bits),
        opcodes: features.opcode_names().collect(),
        opcodes_by: match features.source {
            FeatureSource::Query => "query",
            FeatureSource::Probe => "probe",
            FeatureSource::Assumed => "assumed",
            FeatureSource::NoRing => "none",
        },
        entries: features.entries,
        completions: features.completions,
    }
}
