//! What is measured: scenarios, implementations, which pairs make sense, and for how long.

use std::time::Duration;

/// What one operation of a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nop,
    ReadCached,
    ReadDirect,
    WriteDirect,
    Echo,
    Drop,
}

/// One kind of work at one depth.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    /// Operations in flight; for echo the connections, for drop the sockets taken in turn.
    pub(crate) depth: u32,
    /// Bytes of one operation.
    pub(crate) block: usize,
}

impl Scenario {
    /// A data file is needed.
    pub(crate) fn uses_file(&self) -> bool {
        matches!(self.kind, Kind::ReadCached | Kind::ReadDirect | Kind::WriteDirect)
    }

    /// The operations stay around the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.kind, Kind::ReadDirect | Kind::WriteDirect)
    }

    /// The depth is a batch: submitted together, waited for together.
    pub(crate) fn is_batch(&self) -> bool {
        matches!(self.kind, Kind::Nop | Kind::ReadCached) && self.depth > 1
    }

    /// The latency of every how many operations is taken: reading the clock costs as much as a short operation.
    pub(crate) fn sample_every(&self) -> u32 {
        if self.is_direct() { 1 } else { 16 }
    }

    /// `ops` rounded up so that each operation in flight gets the same share, and at least two.
    pub(crate) fn round_ops(&self, ops: u64) -> u64 {
        let depth = u64::from(self.depth);
        ops.div_ceil(depth).max(2) * depth
    }

    /// User-space instructions of this scenario repeat well enough to be counted.
    pub(crate) fn counts_instructions(&self) -> bool {
        matches!(self.kind, Kind::Nop | Kind::ReadCached)
    }
}

const fn scenario(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    depth: u32,
    block: usize,
) -> Scenario {
    Scenario { name, what, kind, depth, block }
}

/// Payload of one echo and of one dropped-and-reissued receive, in bytes.
pub(crate) const MESSAGE: usize = 64;

/// Every scenario, in the order in which they run: direct writes come last of the file scenarios because they throw
/// cached pages out.
pub(crate) static SCENARIOS: [Scenario; 11] = [
    scenario("nop-qd1", "no operation, one at a time", Kind::Nop, 1, 0),
    scenario("nop-qd64", "no operation, batches of 64", Kind::Nop, 64, 0),
    scenario(
        "read-4k-cached-qd1",
        "4 KiB random reads, page cache, one at a time",
        Kind::ReadCached,
        1,
        4096,
    ),
    scenario(
        "read-4k-cached-qd32",
        "4 KiB random reads, page cache, batches of 32",
        Kind::ReadCached,
        32,
        4096,
    ),
    scenario(
        "read-4k-direct-qd32",
        "4 KiB random reads, O_DIRECT, 32 in flight",
        Kind::ReadDirect,
        32,
        4096,
    ),
    scenario(
        "read-1m-direct-qd8",
        "1 MiB random reads, O_DIRECT, 8 in flight",
        Kind::ReadDirect,
        8,
        1 << 20,
    ),
    scenario(
        "write-4k-direct-qd32",
        "4 KiB random writes, O_DIRECT, 32 in flight",
        Kind::WriteDirect,
        32,
        4096,
    ),
    scenario("echo-1", "TCP echo of 64 bytes, 1 connection", Kind::Echo, 1, MESSAGE),
    scenario("echo-64", "TCP echo of 64 bytes, 64 connections", Kind::Echo, 64, MESSAGE),
    scenario("echo-1000", "TCP echo of 64 bytes, 1000 connections", Kind::Echo, 1000, MESSAGE),
    scenario(
        "drop-64",
        "64 sockets: receive races, the loser is dropped and issued again",
        Kind::Drop,
        64,
        MESSAGE,
    ),
];

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Imp {
    Raw,
    RawRegistered,
    Std,
    Tokio,
    Local,
    Shared,
    SharedTasks,
}

impl Imp {
    pub(crate) const ALL: [Self; 7] = [
        Self::Raw,
        Self::RawRegistered,
        Self::Std,
        Self::Tokio,
        Self::Local,
        Self::Shared,
        Self::SharedTasks,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawRegistered => "raw-registered",
            Self::Std => "std",
            Self::Tokio => "tokio",
            Self::Local => "safer-ring/local",
            Self::Shared => "safer-ring/shared",
            Self::SharedTasks => "safer-ring/shared-tasks",
        }
    }

    /// One line on how this implementation works.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Raw => "hand-written io_uring loop on one thread: the baseline of every ratio",
            Self::RawRegistered => "the same loop with registered files and registered buffers",
            Self::Std => {
                "pread and pwrite on threads (page cache: one a core, direct: one per operation); epoll for sockets"
            }
            Self::Tokio => {
                "multi-thread runtime, 2 workers: spawn_blocking for files, tokio::net for sockets"
            }
            Self::Local => "RingOf<Local> on one thread, driven by its own block_on",
            Self::Shared => {
                "RingOf<Shared> on a multi-thread tokio runtime, 2 workers; batches from one task"
            }
            Self::SharedTasks => {
                "the same with one task per operation in flight in place of a batch"
            }
        }
    }

    /// io_uring is needed, without the library in between.
    pub(crate) fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawRegistered)
    }

    /// What programs use without io_uring.
    pub(crate) fn is_traditional(self) -> bool {
        matches!(self, Self::Std | Self::Tokio)
    }

    /// This project.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Local | Self::Shared | Self::SharedTasks)
    }

    /// Why this implementation has nothing to show in this scenario; `None` when it does.
    pub(crate) fn absent_from(self, scenario: &Scenario) -> Option<&'static str> {
        match (self, scenario.kind) {
            (Self::RawRegistered, Kind::Nop) => {
                Some("a no-operation has neither file nor buffer to register")
            }
            (Self::Std | Self::Tokio, Kind::Nop) => {
                Some("there is no kernel operation that does nothing outside a ring")
            }
            (Self::SharedTasks, _) if !scenario.is_batch() => {
                Some("safer-ring/shared has one task per operation in flight here already")
            }
            _ => None,
        }
    }
}

/// A scenario by name, or a message that lists the names.
pub(crate) fn parse_scenario(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
        format!("there is no scenario of that name; there are: {}", names.join(", "))
    })
}

/// An implementation by name, or a message that lists the names.
pub(crate) fn parse_imp(name: &str) -> Result<Imp, String> {
    Imp::ALL.into_iter().find(|i| i.name() == name).ok_or_else(|| {
        let names = Imp::ALL.map(Imp::name);
        format!("there is no implementation of that name; there are: {}", names.join(", "))
    })
}

/// For how long, and on how much data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) rounds: u32,
    pub(crate) slice: Duration,
    pub(crate) file_bytes: u64,
}

impl Timing {
    /// Under a minute for everything on two cores.
    pub(crate) const QUICK: Self =
        Self { rounds: 5, slice: Duration::from_millis(60), file_bytes: 64 << 20 };
    /// Under six minutes for everything on two cores.
    pub(crate) const FULL: Self =
        Self { rounds: 15, slice: Duration::from_millis(150), file_bytes: 256 << 20 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_unknown_ones_list_them() {
        for scenario in &SCENARIOS {
            assert!(std::ptr::eq(parse_scenario(scenario.name).unwrap(), scenario));
        }
        for imp in Imp::ALL {
            assert_eq!(parse_imp(imp.name()), Ok(imp));
        }
        let message = parse_scenario("echo").unwrap_err();
        assert!(message.contains("echo-1000") && message.contains("nop-qd1"), "{message}");
        assert!(parse_imp("rawest").unwrap_err().contains("safer-ring/local"));
    }

    #[test]
    fn every_scenario_has_a_baseline_and_both_rings() {
        for scenario in &SCENARIOS {
            for imp in [Imp::Raw, Imp::Local, Imp::Shared] {
                assert_eq!(imp.absent_from(scenario), None);
            }
        }
    }

    #[test]
    fn shares_are_even() {
        for scenario in &SCENARIOS {
            for ops in [0, 1, 63, 1000, 12_345] {
                let rounded = scenario.round_ops(ops);
                assert_eq!(rounded % u64::from(scenario.depth), 0);
                assert!(rounded >= ops && rounded >= 2 * u64::from(scenario.depth));
            }
        }
    }
}
