//! What is measured, and for how long.

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
    /// The operations come one at a time from as many tasks as the depth, on several worker threads.
    pub(crate) multi_thread: bool,
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
        matches!(self.kind, Kind::Nop | Kind::ReadCached) && self.depth > 1 && !self.multi_thread
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
        matches!(self.kind, Kind::Nop | Kind::ReadCached) && !self.multi_thread
    }
}

const fn scenario(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    depth: u32,
    block: usize,
) -> Scenario {
    Scenario { name, what, kind, depth, block, multi_thread: false }
}

/// 4 KiB reads by tasks of a multi-thread runtime.
const fn tasks(name: &'static str, what: &'static str, kind: Kind, depth: u32) -> Scenario {
    Scenario { name, what, kind, depth, block: 4096, multi_thread: true }
}

/// Payload of one echo and of one dropped-and-reissued receive, in bytes.
pub(crate) const MESSAGE: usize = 64;

/// Every scenario, in the order in which they run: direct writes come last of the file scenarios because they throw
/// cached pages out.
pub(crate) static SCENARIOS: [Scenario; 15] = [
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
    tasks(
        "mt-read-cached-1",
        "4 KiB random reads, page cache, by 1 task on a multi-thread runtime",
        Kind::ReadCached,
        1,
    ),
    tasks(
        "mt-read-cached-32",
        "4 KiB random reads, page cache, by 32 tasks on a multi-thread runtime",
        Kind::ReadCached,
        32,
    ),
    tasks(
        "mt-read-direct-1",
        "4 KiB random reads, O_DIRECT, by 1 task on a multi-thread runtime",
        Kind::ReadDirect,
        1,
    ),
    tasks(
        "mt-read-direct-32",
        "4 KiB random reads, O_DIRECT, by 32 tasks on a multi-thread runtime",
        Kind::ReadDirect,
        32,
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

/// A scenario by name, or a message that lists the names.
pub(crate) fn parse_scenario(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
        format!("there is no scenario of that name; there are: {}", names.join(", "))
    })
}

/// The scenarios that a word of `--only` names: one by its name, several by the start of their names and `*`.
pub(crate) fn parse_choice(word: &str) -> Result<Choice, String> {
    let Some(start) = word.strip_suffix('*') else {
        return parse_scenario(word).map(|scenario| Choice(vec![scenario]));
    };
    let chosen: Vec<_> = SCENARIOS.iter().filter(|s| s.name.starts_with(start)).collect();
    if chosen.is_empty() {
        parse_scenario(word).map(|_| Choice(chosen))
    } else {
        Ok(Choice(chosen))
    }
}

/// What one word of `--only` stands for.
#[derive(Clone, Debug)]
pub(crate) struct Choice(pub(crate) Vec<&'static Scenario>);

/// For how long, and on how much data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) rounds: u32,
    pub(crate) slice: Duration,
    pub(crate) file_bytes: u64,
}

impl Timing {
    /// About a minute for everything on two cores.
    pub(crate) const QUICK: Self =
        Self { rounds: 5, slice: Duration::from_millis(35), file_bytes: 64 << 20 };
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
        let message = parse_scenario("echo").unwrap_err();
        assert!(message.contains("echo-1000") && message.contains("nop-qd1"), "{message}");
    }

    #[test]
    fn the_start_of_a_name_chooses_all_that_begin_with_it() {
        let names = |word| {
            let choice: Result<_, String> = parse_choice(word);
            choice.map(|c| c.0.iter().map(|s| s.name).collect::<Vec<_>>())
        };
        assert_eq!(names("echo-*").unwrap(), ["echo-1", "echo-64", "echo-1000"]);
        assert_eq!(names("echo-1").unwrap(), ["echo-1"]);
        assert_eq!(names("*").unwrap().len(), SCENARIOS.len());
        assert!(parse_choice("mt-*").unwrap().0.iter().all(|s| s.multi_thread));
        assert!(names("bogus-*").unwrap_err().contains("echo-1000"));
        assert!(names("echo").is_err());
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
