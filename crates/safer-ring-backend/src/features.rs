//! What the ring in use can do, as a value.

use std::fmt;

use safer_ring_sys::{Errno, opcode, setup};

use crate::config::BackendKind;
use crate::placement::RingPlacement;

/// Where the knowledge about opcodes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSource {
    /// `IORING_REGISTER_QUERY`, kernel 6.18 and newer.
    Query,
    /// `IORING_REGISTER_PROBE`, kernel 5.6 and newer.
    Probe,
    /// There is no ring of the kernel.
    NoRing,
    /// Neither worked (a filter, or a very old kernel): only the opcodes of 5.6 are assumed.
    Assumed,
}

/// One step of the set-up ladder that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The setup flags that were asked for.
    pub setup_flags: u32,
    /// The number of entries.
    pub entries: u32,
    /// The kernel's answer.
    pub errno: Errno,
}

/// What a ring can do and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// What runs the operations.
    pub backend: BackendKind,
    /// Setup flags in use (`IORING_SETUP_*`).
    pub setup_flags: u32,
    /// Feature bits of the kernel (`IORING_FEAT_*`).
    pub feature_bits: u32,
    /// Submission entries.
    pub entries: u32,
    /// Completion entries.
    pub completions: u32,
    /// Set-ups that were refused before this one worked.
    pub attempts: Vec<Attempt>,
    /// How the opcodes were learnt.
    pub source: FeatureSource,
    /// Whether the ring refuses opcodes that this library does not use.
    pub restricted: bool,
    /// What became of the wishes for a CPU and a node. Of a shared ring: of its first kernel ring.
    pub placement: RingPlacement,
    pub(crate) opcodes: u128,
    /// A simulated kernel has multishot receives.
    pub(crate) simulates_multishot: bool,
}

impl Features {
    /// Whether the kernel has this opcode (`IORING_OP_*`) and the ring uses it.
    #[inline]
    pub fn supports(&self, opcode: u8) -> bool {
        opcode < 128 && self.opcodes & (1 << opcode) != 0
    }

    /// Whether a setup flag is in use.
    pub fn has_setup_flag(&self, flag: u32) -> bool {
        self.setup_flags & flag != 0
    }

    /// Whether a feature bit is set.
    pub fn has_feature(&self, bit: u32) -> bool {
        self.feature_bits & bit != 0
    }

    /// Whether one entry can receive again and again, into buffers that the kernel picks (`IORING_RECV_MULTISHOT`, kernel 6.0).
    /// Not on a restricted ring, which refuses what else that takes. In a simulated world its configuration says so.
    #[inline]
    pub fn has_multishot_receive(&self) -> bool {
        // Of the same kernel.
        let kernel = self.supports(opcode::SEND_ZC) || self.simulates_multishot;
        kernel && !self.restricted && !self.has_setup_flag(setup::IOPOLL)
    }

    /// Whether the memory of a pool can be registered (`IORING_REGISTER_BUFFERS2`, kernel 5.19). Not on a restricted ring,
    /// which refuses that. In a simulated world it can.
    #[inline]
    pub fn has_registered_buffers(&self) -> bool {
        // Of the same kernel.
        let kernel = self.supports(opcode::SOCKET) && self.supports(opcode::READ_FIXED);
        (kernel || self.backend == BackendKind::Sim) && !self.restricted
    }

    /// Whether a ring of one thread registers files by itself. Not where a kernel thread looks at entries when it comes to them:
    /// a place might have another file by then.
    pub(crate) fn registers_files(&self) -> bool {
        // Of 6.15. Before 6.13 the kernel keeps a file for some time after it has left its place.
        let kernel = self.supports(opcode::READV_FIXED);
        kernel && !self.restricted && !self.has_setup_flag(setup::SQPOLL)
    }

    /// The names of the opcodes that the ring can use.
    pub fn opcode_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        (0..128).filter(|code| self.supports(*code)).filter_map(opcode::name)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.backend == BackendKind::Sim {
            return write!(f, "simulation, {} entries", self.entries);
        }
        if self.backend == BackendKind::Fallback {
            return write!(f, "fallback (epoll, Linux AIO, threads), {} entries", self.entries);
        }
        write!(f, "io_uring, {} entries, {} completions, setup ", self.entries, self.completions)?;
        let mut separator = "";
        for &(flag, name) in setup::NAMES {
            if self.has_setup_flag(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() {
            f.write_str("plain")?;
        }
        write!(f, ", {} opcodes", self.opcodes.count_ones())?;
        if self.restricted {
            f.write_str(", restricted")?;
        }
        for (name, wish) in [("cpu", self.placement.cpu), ("workers", self.placement.workers)] {
            if wish.is_refused() {
                write!(f, "; {name} not placed: {wish}")?;
            }
        }
        for attempt in &self.attempts {
            write!(f, "; setup flags {:#x} refused: {}", attempt.setup_flags, attempt.errno)?;
        }
        Ok(())
    }
}
