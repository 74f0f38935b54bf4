//! What is understood of the lines of a machine: those of `xtask/guest`, and what the test harness says.

use std::time::Duration;

/// How one line of the list ended, and what it said.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its place in the list.
    pub(super) index: usize,
    /// Its exit code.
    pub(super) code: i32,
    pub(super) time: Duration,
    /// How many tests passed, failed and were ignored, as the harness says.
    pub(super) passed: u32,
    pub(super) failed: u32,
    /// Why something was not tried: lines with the word `skipped` at their begin or end, or after one word.
    pub(super) skips: Vec<String>,
    /// All lines.
    pub(super) said: Vec<String>,
}

/// All that a machine has said.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// The kernel's own name; empty before the first process runs.
    pub(super) kernel: String,
    /// What the kernel complained of.
    pub(super) complaints: Vec<String>,
    pub(super) ended: Vec<Ended>,
    /// It came to the end of its list.
    pub(super) over: bool,
    /// Why it did not.
    pub(super) broken: Option<String>,
    /// The program that runs.
    pub(super) current: Ended,
}

impl Transcript {
    /// Takes a line in; says whether it is worth showing. Those of the firmware and the boot are not.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // After the firmware's control characters, on the same line.
            [.., "kernel", release] if line.contains("guest: ") && self.kernel.is_empty() => {
                self.kernel = (*release).to_owned();
            }
            ["guest:", "begin", index] => {
                let index = index.parse().unwrap_or(usize::MAX);
                self.current = Ended { index, ..Ended::default() };
            }
            ["guest:", "end", index, code, millis] => {
                if let (Ok(index), Ok(code), Ok(millis)) =
                    (index.parse(), code.parse(), millis.parse())
                {
                    let ended = std::mem::take(&mut self.current);
                    let time = Duration::from_millis(millis);
                    self.ended.push(Ended { index, code, time, ..ended });
                }
            }
            ["guest:", "log", ..] => {
                let (_, text) = line.split_once("log ").unwrap_or_default();
                self.complaints.push(text.to_owned());
            }
            ["guest:", "over"] => self.over = true,
            _ => self.current.line(line, &words),
        }
        !self.kernel.is_empty()
    }

    /// The program that was running when the machine stopped early, and what it had said.
    pub(super) fn unfinished(&self) -> &Ended {
        &self.current
    }
}

impl Ended {
    fn line(&mut self, line: &str, words: &[&str]) {
        if let ["test", "result:", _, passed, "passed;", failed, "failed;", ..] = words {
            self.passed += passed.parse::<u32>().unwrap_or(0);
            self.failed += failed.parse::<u32>().unwrap_or(0);
        }
        // A line of the conformance suite for an environment: a name, and counts.
        if let [_, passed, "passed", _, "skipped", failed, "failed", _, "s"] = words {
            self.passed += passed.parse::<u32>().unwrap_or(0);
            self.failed += failed.parse::<u32>().unwrap_or(0);
        }
        // The last is that of an environment of the suite.
        let skip = line.starts_with("skipped")
            || line.ends_with(": skipped")
            || words.get(1) == Some(&"skipped:");
        if skip && !self.skips.iter().any(|known| known == line) {
            self.skips.push(line.to_owned());
        }
        self.said.push(line.to_owned());
    }

    /// The names of the tests that failed.
    pub(super) fn failures(&self) -> Vec<&str> {
        self.said.iter().filter_map(|line| failure(line)).collect()
    }

    /// What it said about its failures: all from the harness's heading on, or the last lines.
    pub(super) fn explanation(&self) -> &[String] {
        const LAST: usize = 60;
        let heading = self.said.iter().position(|line| line == "failures:");
        let from = heading.unwrap_or(self.said.len().saturating_sub(LAST));
        self.said.get(from..).unwrap_or_default()
    }
}

/// A test of the harness that failed, or a scenario with its environment.
fn failure(line: &str) -> Option<&str> {
    let test = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
    test.or_else(|| line.strip_prefix("FAILED "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcript_has_codes_counts_and_times() {
        let mut said = Transcript::default();
        assert!(!said.line("SeaBIOS (version 1.16)"));
        assert!(said.line("\u{1b}c\u{1b}[?7l\u{1b}[2Jguest: kernel 7.3.4"));
        for line in [
            "guest: begin 0",
            "skipped: no disk",
            "skipped: no disk",
            "no io_uring here: skipped",
            "test result: ok. 5 passed; 0 failed; 0 ignored",
            "guest: end 0 0 1500",
            "guest: begin 1",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "failures:",
            "why",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored",
            "guest: end 1 101 1",
            "guest: log BUG: a fault",
        ] {
            assert!(said.line(line) && !said.over);
        }
        let [first, second] = said.ended.as_slice() else { panic!("{:?}", said.ended) };
        assert_eq!((first.index, first.code, first.passed, first.failed), (0, 0, 5, 0));
        assert_eq!(first.skips, ["skipped: no disk", "no io_uring here: skipped"]);
        assert_eq!(first.time, Duration::from_millis(1500));
        assert_eq!((second.index, second.code, second.passed, second.failed), (1, 101, 1, 2));
        assert_eq!(second.failures(), ["a::c"]);
        assert_eq!(second.explanation()[..2], ["failures:", "why"]);
        assert_eq!(said.complaints, ["BUG: a fault"]);
        assert_eq!(said.kernel, "7.3.4");
        said.line("guest: begin 2");
        said.line("it hangs");
        assert_eq!(said.unfinished().said, ["it hangs"]);
        said.line("uring-local                 311 passed   7 skipped   1 failed   12.5 s");
        said.line("FAILED reads in uring-local");
        said.line("skipped a_b: no IPv6 here");
        said.line("uring-local-coop          skipped: this kernel gives no ring with it");
        let suite = said.unfinished();
        assert_eq!((suite.passed, suite.failed), (311, 1));
        assert_eq!(suite.failures(), ["reads in uring-local"]);
        assert_eq!(suite.skips.len(), 2, "{:?}", suite.skips);
        said.line("guest: over");
        assert!(said.over);
    }
}
