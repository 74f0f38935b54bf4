//! What came of the programs on one kernel, and on all of them.

use std::fmt::Write;

use serde_json::{Value, json};

use super::check::Verdicts;
use super::programs::{Kind, NOT_SHOWN, Program, Run};
use super::transcript::{Ended, Transcript};

/// What came of one program.
#[derive(Debug)]
struct Row {
    title: String,
    kind: Kind,
    /// `None` if the machine stopped before its end.
    ended: Option<Ended>,
    /// It said that this kernel cannot run it.
    unavailable: bool,
    /// What a check has found.
    verdicts: Option<Verdicts>,
    /// What is wrong with it apart from what it says itself.
    faults: Vec<String>,
}

/// What came of all programs on one kernel.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) name: &'static str,
    /// The kernel's own name.
    release: String,
    rows: Vec<Row>,
    /// What is wrong apart from the programs.
    faults: Vec<String>,
    /// What was said last by a program that did not end.
    last: Vec<String>,
}

/// Passed, failed and skipped, of a program or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Row {
    fn new(kernel: &str, run: &Run, ended: Option<Ended>) -> Row {
        let program = &run.program;
        let mut row = Row {
            title: run.title(),
            kind: program.kind,
            unavailable: false,
            verdicts: None,
            faults: Vec::new(),
            ended,
        };
        let Some(ended) = &row.ended else { return row };
        row.unavailable = Some(ended.code) == program.unavailable;
        row.faults.extend(surprise(program, kernel, ended));
        if matches!(program.kind, Kind::Suite(_)) {
            row.faults.extend(unforeseen(kernel, ended));
        }
        if program.kind == Kind::Check {
            match Verdicts::read(&ended.said) {
                Ok(verdicts) => row.verdicts = Some(verdicts),
                Err(message) => row.faults.push(message),
            }
        }
        row
    }

    fn counts(&self) -> Counts {
        let Some(ended) = &self.ended else { return Counts { failed: 1, ..Counts::default() } };
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let skipped = number(ended.skips.len());
        // A process that died has no summary.
        let failed = |failed: u32| {
            let wrong = ended.code != 0 && !self.unavailable || !self.faults.is_empty();
            failed.max(u32::from(wrong))
        };
        match (&self.verdicts, self.kind) {
            _ if self.unavailable => {
                Counts { passed: 0, failed: failed(0), skipped: skipped.max(1) }
            }
            (Some(verdicts), _) => Counts {
                passed: verdicts.holds,
                failed: failed(number(verdicts.contradicted.len())),
                skipped: verdicts.untestable,
            },
            (None, Kind::Tests | Kind::Suite(_)) => {
                Counts { passed: ended.passed, failed: failed(ended.failed), skipped }
            }
            (None, Kind::Check | Kind::Other) => {
                let failed = failed(0);
                Counts { passed: 1 - failed, failed, skipped }
            }
        }
    }

    /// Whether it went well. `whole`: all its tests were to run, so one at least has.
    fn is_good(&self, whole: bool) -> bool {
        let Counts { passed, failed, .. } = self.counts();
        let tests = !matches!(self.kind, Kind::Other) && !self.unavailable;
        failed == 0 && !(whole && tests && passed == 0)
    }

    /// What is wrong, a line each.
    fn explanation(&self) -> Vec<&str> {
        let faults = self.faults.iter().map(String::as_str);
        match (&self.verdicts, &self.ended) {
            (Some(verdicts), _) => {
                faults.chain(verdicts.contradicted.iter().map(String::as_str)).collect()
            }
            (None, Some(ended)) => {
                faults.chain(ended.explanation().iter().map(String::as_str)).collect()
            }
            (None, None) => faults.collect(),
        }
    }
}

/// What is wrong about a kernel that can give an environment, or cannot.
fn surprise(program: &Program, kernel: &str, ended: &Ended) -> Option<String> {
    let Kind::Suite(environment) = program.kind else { return None };
    let refusal = |line: &String| {
        let rest = line.strip_prefix(environment).unwrap_or_default();
        rest.trim_start().starts_with("skipped: ")
    };
    match (program.lacking.contains(&kernel), ended.said.iter().any(refusal)) {
        (true, false) => Some(format!("{kernel} can give it: `lacking` is out of date")),
        (false, true) => Some(format!("{kernel} has to be able to give it")),
        _ => None,
    }
}

/// Scenarios that were not shown on a kernel where they have to be.
fn unforeseen<'e>(kernel: &'e str, ended: &'e Ended) -> impl Iterator<Item = String> + 'e {
    let skips = ended.skips.iter().filter_map(|line| line.strip_prefix("skipped "));
    let measured = skips.filter_map(|line| line.split_once(": on this machine: "));
    measured.filter_map(move |(scenario, why)| {
        let known = NOT_SHOWN.iter().find(|(name, _)| *name == scenario);
        let foreseen = known.is_some_and(|(_, kernels)| kernels.contains(&kernel));
        (!foreseen).then(|| format!("{scenario} has to be shown on {kernel}, and was not: {why}"))
    })
}

impl Report {
    pub(super) fn new(name: &'static str, runs: &[Run], said: Transcript) -> Report {
        let row = |(index, run): (usize, &Run)| {
            let ended = said.ended.iter().find(|ended| ended.index == index).cloned();
            Row::new(name, run, ended)
        };
        let rows = runs.iter().enumerate().map(row).collect();
        let mut faults: Vec<String> = said.broken.iter().cloned().collect();
        faults.extend(said.complaints.iter().map(|line| format!("the kernel's log: {line}")));
        let last = if said.over { Vec::new() } else { said.unfinished().explanation().to_vec() };
        Report { name, release: said.kernel, rows, faults, last }
    }

    /// How many tests and programs have run.
    pub(super) fn tests(&self) -> u32 {
        self.rows.iter().map(Row::counts).map(|counts| counts.passed + counts.failed).sum()
    }

    pub(super) fn is_good(&self, whole: bool) -> bool {
        self.faults.is_empty() && self.rows.iter().all(|row| row.is_good(whole))
    }

    /// The report of the check of specifications, if it ran to its end.
    pub(super) fn check(&self) -> Option<&str> {
        let verdicts = self.rows.iter().find_map(|row| row.verdicts.as_ref());
        verdicts.map(|verdicts| verdicts.report.as_str())
    }

    fn total(&self) -> Counts {
        self.rows.iter().map(Row::counts).fold(Counts::default(), |sum, counts| Counts {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
            skipped: sum.skipped + counts.skipped,
        })
    }

    fn seconds(&self) -> f64 {
        let times = self.rows.iter().filter_map(|row| row.ended.as_ref());
        times.map(|ended| ended.time.as_secs_f64()).sum()
    }

    /// What is wrong, in full, and a line for the whole.
    pub(super) fn text(&self, whole: bool) -> String {
        let mut text = String::new();
        let kernel = format!("kernel {} ({})", self.name, self.release);
        for row in self.rows.iter().filter(|row| !row.is_good(whole)) {
            let Some(ended) = &row.ended else { continue };
            let _ = writeln!(text, "\n{kernel}: {} FAILED, exit code {}", row.title, ended.code);
            for line in row.explanation() {
                let _ = writeln!(text, "    {line}");
            }
        }
        let missing: Vec<&str> = self
            .rows
            .iter()
            .filter(|row| row.ended.is_none())
            .map(|row| row.title.as_str())
            .collect();
        if !missing.is_empty() {
            let _ = writeln!(text, "{kernel}: did not end: {}", missing.join("; "));
        }
        for line in &self.last {
            let _ = writeln!(text, "    {line}");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "{kernel}: {fault}");
        }
        let Counts { passed, failed, skipped } = self.total();
        let seconds = self.seconds();
        let _ = writeln!(
            text,
            "{kernel}: {passed} passed, {failed} failed, {skipped} skipped, in {seconds:.0} s"
        );
        text
    }
}

/// A row for each program, a column for each kernel: passed, failed, skipped. Below it, why something was skipped.
pub(super) fn table(runs: &[Run], reports: &[Report]) -> String {
    const WIDTH: usize = 16;
    let titles: Vec<String> = runs.iter().map(|run| run.title()).collect();
    let first = titles.iter().map(String::len).max().unwrap_or(0).max("program".len());
    let cell = |Counts { passed, failed, skipped }| format!("{passed}/{failed}/{skipped}");
    let mut text = format!("\npassed/failed/skipped\n{:<first$}", "program");
    for report in reports {
        let _ = write!(text, "{:>WIDTH$}", report.name);
    }
    text.push('\n');
    for (index, title) in titles.iter().enumerate() {
        let _ = write!(text, "{title:<first$}");
        for report in reports {
            let counts = report.rows.get(index).map(Row::counts).unwrap_or_default();
            let _ = write!(text, "{:>WIDTH$}", cell(counts));
        }
        text.push('\n');
    }
    let _ = write!(text, "{:<first$}", "all");
    for report in reports {
        let _ = write!(text, "{:>WIDTH$}", cell(report.total()));
    }
    text.push_str("\n\n");
    for (reason, kernels) in reasons(reports) {
        let _ = writeln!(text, "{reason} [{}]", kernels.join(", "));
    }
    text
}

/// Each reason for a skip, with the kernels that gave it.
fn reasons(reports: &[Report]) -> Vec<(String, Vec<&'static str>)> {
    let mut all: Vec<(String, Vec<&'static str>)> = Vec::new();
    for report in reports {
        let ended = report.rows.iter().filter_map(|row| Some((&row.title, row.ended.as_ref()?)));
        for (title, skip) in ended.flat_map(|(t, ended)| ended.skips.iter().map(move |s| (t, s))) {
            let reason = format!("{title}: {skip}");
            match all.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, kernels)) => kernels.push(report.name),
                None => all.push((reason, vec![report.name])),
            }
        }
    }
    all
}

/// The same for other programs.
pub(super) fn json(reports: &[Report]) -> String {
    let row = |row: &Row| {
        let Counts { passed, failed, skipped } = row.counts();
        let ended = row.ended.as_ref();
        json!({
            "program": row.title,
            "code": ended.map(|ended| ended.code),
            "seconds": ended.map(|ended| ended.time.as_secs_f64()),
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "skips": ended.map(|ended| ended.skips.clone()).unwrap_or_default(),
            "failures": ended.map(Ended::failures).unwrap_or_default(),
        })
    };
    let kernel = |report: &Report| {
        json!({
            "kernel": report.name,
            "release": report.release,
            "faults": report.faults,
            "programs": report.rows.iter().map(row).collect::<Vec<Value>>(),
        })
    };
    let kernels: Vec<Value> = reports.iter().map(kernel).collect();
    format!("{:#}\n", json!({ "kernels": kernels }))
}

#[cfg(test)]
mod tests {
    use super::super::programs::PROGRAMS;
    use super::*;

    fn said(lines: &[&str]) -> Transcript {
        let mut said = Transcript::default();
        for line in lines {
            said.line(line);
        }
        said
    }

    fn run_of(name: &str) -> Run {
        PROGRAMS.iter().find(|program| program.name() == name).unwrap().runs().next().unwrap()
    }

    /// A test program, and one that is none.
    fn two() -> [Run; 2] {
        ["sys/kernels", "safer-ring torture"].map(run_of)
    }

    const GOOD: [&str; 8] = [
        "guest: kernel 6.1.0",
        "guest: begin 0",
        "skipped: no disk",
        "test result: ok. 2 passed; 0 failed; 0 ignored",
        "guest: end 0 0 1500",
        "guest: begin 1",
        "guest: end 1 0 500",
        "guest: over",
    ];

    #[test]
    fn what_went_well_is_good_and_counted() {
        let report = Report::new("6.1", &two(), said(&GOOD));
        assert!(report.is_good(true));
        assert_eq!(report.tests(), 3);
        let line = "kernel 6.1 (6.1.0): 3 passed, 0 failed, 1 skipped, in 2 s\n";
        assert_eq!(report.text(true), line);
        let table = table(&two(), &[report]);
        assert!(table.contains("2/0/1\n") && table.contains("3/0/1\n"), "{table}");
        assert!(table.contains("skipped: no disk [6.1]"), "{table}");
    }

    #[test]
    fn each_way_to_fail_is_a_failure() {
        for (at, line, told) in [
            (4, "guest: end 0 101 1", "FAILED, exit code 101"),
            (3, "test result: ok. 0 passed; 0 failed; 0 ignored", "0 failed"),
            (6, "guest: end 1 1 1", "safer-ring torture FAILED"),
            (6, "guest: log BUG: x", "the kernel's log: BUG: x"),
        ] {
            let mut lines = GOOD;
            lines[at] = line;
            let report = Report::new("6.1", &two(), said(&lines));
            assert!(!report.is_good(true), "{line}");
            assert!(report.text(true).contains(told), "{}", report.text(true));
        }
    }

    #[test]
    fn a_machine_that_stops_tells_what_ran() {
        let mut transcript = said(&[&GOOD[..6], &["it hangs"]].concat());
        transcript.broken = Some("stopped".to_owned());
        let report = Report::new("6.1", &two(), transcript);
        let text = report.text(true);
        assert!(!report.is_good(false));
        assert!(text.contains("did not end: safer-ring torture"), "{text}");
        assert!(text.contains("    it hangs\n") && text.contains(": stopped"), "{text}");
    }

    #[test]
    fn a_program_that_a_kernel_cannot_run_is_skipped() {
        let mut lines = GOOD;
        lines[6] = "guest: end 1 3 10";
        let report = Report::new("5.10", &two(), said(&lines));
        assert!(report.is_good(true));
        assert_eq!(report.total(), Counts { passed: 2, failed: 0, skipped: 2 });
    }

    #[test]
    fn an_environment_that_a_kernel_cannot_give_must_be_one_that_it_lacks() {
        let suite = |kernel, lines: &[&str]| {
            let lines = [&GOOD[..2], lines, &GOOD[7..]].concat();
            Report::new(kernel, &[run_of("conformance uring-local-defer")], said(&lines))
        };
        let none = ["uring-local-defer   skipped: no ring with it", "guest: end 0 3 10"];
        let one = [
            "uring-local-defer    1 passed   1 skipped   0 failed   0.1 s",
            "skipped a_b: no disk",
            "guest: end 0 0 10",
        ];
        let counts = |passed, failed, skipped| Counts { passed, failed, skipped };
        let old = suite("5.10", &none);
        assert!(old.is_good(true) && old.total() == counts(0, 0, 1), "{old:?}");
        let new = suite("6.12", &none);
        assert!(!new.is_good(true) && new.text(true).contains("6.12 has to be able to give it"));
        let given = suite("6.12", &one);
        assert!(given.is_good(true) && given.total() == counts(1, 0, 1), "{given:?}");
        let grown = suite("5.10", &one);
        assert!(!grown.is_good(true) && grown.text(true).contains("`lacking` is out of date"));
        let mut lines = one;
        lines[1] = "skipped direct_reads_and_writes: on this machine: no direct I/O";
        let direct = suite("6.1", &lines);
        assert!(direct.is_good(true) && direct.total() == counts(1, 0, 1), "{direct:?}");
        let direct = suite("6.12", &lines);
        assert!(!direct.is_good(true) && direct.text(true).contains("has to be shown on 6.12"));
        // No scenario of the name that was asked for.
        let other = suite("6.12", &["0 scenarios x 1", "guest: end 0 3 10"]);
        assert!(other.is_good(false) && other.total() == counts(0, 0, 1), "{other:?}");
    }

    #[test]
    fn a_contradicted_statement_is_a_failure_and_so_is_half_a_report() {
        let check = |lines: &[&str], end: &str| {
            let lines = [&GOOD[..2], lines, &[end], &GOOD[7..]].concat();
            Report::new("6.1", &[run_of("safer-ring spec")], said(&lines))
        };
        let holds = r#""statements": [{"id": "a", "verdict": "holds"}"#;
        let wrong = r#", {"id": "b", "verdict": "contradicted", "probes":
            [{"case": "c", "verdict": "contradicted", "expected": "x", "observed": "y"}]}"#;
        let good = check(&["{", holds, "]", "}"], "guest: end 0 0 10");
        assert!(good.is_good(true) && good.check().unwrap().contains("holds"));
        let bad = check(&["{", holds, wrong, "]", "}"], "guest: end 0 1 10");
        assert!(!bad.is_good(true) && bad.text(true).contains("    b: c: expected that x; y"));
        assert_eq!(bad.total(), Counts { passed: 1, failed: 1, skipped: 0 });
        let half = check(&["{", holds], "guest: end 0 0 10");
        assert!(!half.is_good(true) && half.check().is_none());
    }

    #[test]
    fn the_json_names_kernels_programs_and_failures() {
        let mut lines = GOOD;
        lines[2] = "test a::b ... FAILED";
        lines[4] = "guest: end 0 101 1";
        let text = json(&[Report::new("6.1", &two(), said(&lines))]);
        let value: Value = serde_json::from_str(&text).unwrap();
        let at = |path: &str| value.pointer(path).cloned().unwrap();
        assert_eq!(at("/kernels/0/release"), "6.1.0");
        assert_eq!(at("/kernels/0/programs/0/failures/0"), "a::b");
        assert_eq!(at("/kernels/0/programs/0/failed"), 1);
        assert_eq!(at("/kernels/0/programs/1/passed"), 1);
    }
}
