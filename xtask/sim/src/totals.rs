//! Figures of runs: what has happened, so that a run of many seeds can say that everything does.

use std::fmt;
use std::time::Duration;

/// Something that happens, for the report. Most is counted by the lines of the trace, as far as that goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Operations,
    Orphans,
    Cancels,
    LateCancels,
    MissedCancels,
    Again,
    Strangers,
    Refusals,
    Parts,
    Overflows,
    Pieces,
    Ends,
    CrowdedEnds,
    Registered,
    Unregistered,
    NotRegistered,
    Named,
    Errors,
    FullDisks,
    FullTables,
    Chains,
    BrokenChains,
    Splices,
    Tees,
    Polls,
    Stats,
    Drains,
    TornRings,
    LeftBehind,
    Outlived,
    Crashes,
    SafeBytes,
}

impl What {
    /// All of them, in the order of the report, with what is counted.
    const ALL: [(What, &'static str); 32] = [
        (What::Operations, "operations"),
        (What::Orphans, "of dropped futures"),
        (What::Cancels, "cancellations"),
        (What::LateCancels, "of them too late"),
        (What::MissedCancels, "that missed their operation"),
        (What::Again, "tried again"),
        (What::Strangers, "completions of nothing"),
        (What::Refusals, "refused enters"),
        (What::Parts, "looks that were given a part of what had ended"),
        (What::Overflows, "overflows of a completion queue"),
        (What::Pieces, "pieces of multishot receives"),
        (What::Ends, "of these that ended early"),
        (What::CrowdedEnds, "that ended for lack of room"),
        (What::Registered, "times memory was registered"),
        (What::Unregistered, "times not any more"),
        (What::NotRegistered, "times it was refused"),
        (What::Named, "operations that named it"),
        (What::Errors, "errors"),
        (What::FullDisks, "writes to a full disk"),
        (What::FullTables, "descriptors too many"),
        (What::Chains, "whole chains"),
        (What::BrokenChains, "broken ones"),
        (What::Splices, "splices"),
        (What::Tees, "tees"),
        (What::Polls, "polls"),
        (What::Stats, "looks at a size"),
        (What::Drains, "drained rings"),
        (What::TornRings, "rings dropped with work in flight"),
        (What::LeftBehind, "operations that they left behind"),
        (What::Outlived, "that ended after their ring"),
        (What::Crashes, "crashes"),
        (What::SafeBytes, "bytes that were safe from them"),
    ];
}

/// Figures of runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) hash: u64,
    counts: [u64; What::ALL.len()],
    simulated: Duration,
}

impl Totals {
    pub(crate) fn count(&mut self, what: What, times: u64) {
        let at = What::ALL.iter().position(|(known, _)| *known == what);
        if let Some(count) = at.and_then(|at| self.counts.get_mut(at)) {
            *count += times;
        }
    }

    pub(crate) fn lasted(&mut self, time: Duration) {
        self.simulated += time;
    }

    pub(crate) fn add(&mut self, other: &Totals) {
        for (mine, its) in self.counts.iter_mut().zip(other.counts) {
            *mine += its;
        }
        self.simulated += other.simulated;
    }

    /// What has never happened.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let never = What::ALL.iter().zip(self.counts).filter(|(_, count)| *count == 0);
        never.map(|((_, name), _)| *name).collect()
    }

    /// Counts what the lines of a trace say.
    pub(crate) fn count_lines(&mut self, trace: &[String]) {
        let mut suffers = false;
        for line in trace {
            if std::mem::replace(&mut suffers, line.contains(" suffers ")) {
                // The result, which says the same.
                continue;
            }
            // Behind the time.
            let text = line.split_once(" us  ").map_or(line.as_str(), |(_, text)| text);
            let what = match text.as_bytes().first() {
                Some(b'#') => Self::of_operation(text),
                Some(b'r') => self.of_ring(text),
                Some(b'p') => self.of_program(text),
                _ if text == "the power goes" => Some(What::Crashes),
                _ => None,
            };
            if let Some(what) = what {
                self.count(what, 1);
            }
        }
    }

    fn of_operation(text: &str) -> Option<What> {
        if let Some((before, result)) = text.rsplit_once(" = ") {
            let (_, name) = before.split_once(' ')?;
            return match (name, result) {
                (_, "-28") => Some(What::FullDisks),
                (_, "-24") => Some(What::FullTables),
                ("recv multishot", "-105") => Some(What::Ends),
                (_, result) if result.starts_with('-') => None,
                ("recv multishot", result) => {
                    result.contains(" in buffer ").then_some(What::Pieces)
                }
                ("splice", "0") | ("tee", "0") => None,
                ("splice", _) => Some(What::Splices),
                ("tee", _) => Some(What::Tees),
                ("poll", _) => Some(What::Polls),
                ("statx", _) => Some(What::Stats),
                _ => None,
            };
        }
        match text {
            _ if text.ends_with(", unasked") => Some(What::Ends),
            _ if text.ends_with(", for lack of room") => Some(What::CrowdedEnds),
            _ if text.ends_with(" is missed by its cancellation") => Some(What::MissedCancels),
            _ if text.ends_with(" is gone") => Some(What::Outlived),
            _ if text.contains(" suffers ") => Self::of_error(text),
            _ => None,
        }
    }

    /// An error that is not tried again.
    fn of_error(text: &str) -> Option<What> {
        let again = text.contains("(EINTR,") || text.contains("(ECANCELED,");
        (!again).then_some(What::Errors)
    }

    fn of_ring(&mut self, text: &str) -> Option<What> {
        // "ring N does something".
        let (_, does) = text.split_once(' ')?.1.split_once(' ')?;
        if let Some(registers) = does.strip_prefix("registers ") {
            return match registers {
                _ if registers.contains("(ENOMEM,") => Some(What::NotRegistered),
                _ if registers.contains(": ") => None,
                _ if registers.starts_with("nothing") => Some(What::Unregistered),
                _ => registers.contains(" bytes in slot ").then_some(What::Registered),
            };
        }
        if let Some(left) = does.strip_prefix("closed; left behind: ") {
            self.count(What::LeftBehind, left.parse().unwrap_or(0));
        }
        match does {
            "overflows" => Some(What::Overflows),
            "is given a part of what has ended" => Some(What::Parts),
            _ => None,
        }
    }

    fn of_program(&mut self, text: &str) -> Option<What> {
        match text.strip_prefix("program: ")? {
            "a whole chain" => Some(What::Chains),
            "a broken chain" => Some(What::BrokenChains),
            "drained" => Some(What::Drains),
            "the ring goes" => Some(What::TornRings),
            safe => {
                let bytes = safe.strip_suffix(" bytes are safe").and_then(|n| n.parse().ok());
                self.count(What::SafeBytes, bytes.unwrap_or(0));
                None
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((_, name), count) in What::ALL.iter().zip(self.counts) {
            write!(f, "{count} {name}, ")?;
        }
        write!(f, "{} s simulated", self.simulated.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_what_they_say() {
        let mut totals = Totals::default();
        let lines = [
            "#1 write suffers No space left on device (ENOSPC, 28)",
            "#1 write = -28",
            "#2 write = -28",
            "#3 recv suffers Interrupted system call (EINTR, 4)",
            "#3 recv = -4",
            "#4 recv multishot = 5 in buffer 3, as #5",
            "#4 ends with buffer 4, for lack of room",
            "#6 splice = 12",
            "#7 splice = 0",
            "#8 is missed by its cancellation",
            "#9 read ends, and ring 0 is gone",
            "ring 0 closed; left behind: 7",
            "ring 0 overflows",
            "ring 1 registers 4096 bytes in slot 3",
            "ring 1 registers 4096 bytes in slot 3: Cannot allocate memory (ENOMEM, 12)",
            "ring 1 registers nothing in slot 3",
            "the power goes",
            "program: 90 bytes are safe",
            "program: the ring goes",
        ];
        totals.count_lines(&lines.map(|line| format!("{:>9} us  {line}", 7)));
        for (what, name) in What::ALL {
            let expected = match what {
                What::LeftBehind => 7,
                What::SafeBytes => 90,
                What::Errors
                | What::FullDisks
                | What::Pieces
                | What::CrowdedEnds
                | What::Splices
                | What::MissedCancels
                | What::Outlived
                | What::Overflows
                | What::Registered
                | What::NotRegistered
                | What::Unregistered
                | What::Crashes
                | What::TornRings => 1,
                _ => 0,
            };
            let at = What::ALL.iter().position(|(known, _)| *known == what).unwrap();
            assert_eq!(totals.counts[at], expected, "{name}");
            assert_eq!(totals.missing().contains(&name), expected == 0);
        }
    }
}
