//! Runs the implementations of one scenario in interleaved rounds and reduces what was seen to rows.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::plan::{Scenario, Timing};
use super::stats::{Histogram, Ratio, Spread, paired_ratio, spread};
use crate::data::Data;
use crate::imp::raw::RAW;
use crate::imp::{self, Context, Imp, Workload};
use crate::num::{count, float, whole};

/// The figures of one implementation in one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: &'static Scenario,
    pub(crate) imp: &'static Imp,
    pub(crate) ops_per_s: f64,
    /// User and system time of the process per operation, nanoseconds.
    pub(crate) cpu_ns: Spread,
    /// CPU time per operation as a multiple of the raw loop's, median over rounds; `None` without a raw loop.
    pub(crate) x_raw: Option<Ratio>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) allocs_per_op: Option<f64>,
    pub(crate) enters_per_op: Option<f64>,
    pub(crate) peak_rss_kb: Option<u64>,
    /// CPU nanoseconds per operation, one figure a round.
    pub(crate) rounds: Vec<f64>,
}

/// What one scenario gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    /// A pair that should have run broke.
    pub(crate) failed: bool,
}

/// CPU time of this process, user and system, all threads, in nanoseconds. The workers that the kernel starts for a ring
/// are threads of the process; what interrupts and threads of the kernel itself do is nobody's.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One implementation while its scenario runs.
struct Entry {
    imp: &'static Imp,
    work: Box<dyn Workload>,
    ops: u64,
    cpu: Vec<f64>,
    rate: Vec<f64>,
    enters: Vec<f64>,
    allocs: Vec<f64>,
    histogram: Histogram,
}

impl Entry {
    fn new(imp: &'static Imp, work: Box<dyn Workload>) -> Self {
        let (cpu, rate, enters, allocs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { imp, work, ops: 0, cpu, rate, enters, allocs, histogram: Histogram::new() }
    }

    /// Finds how many operations fill a slice; what is run for it is the warm-up.
    fn calibrate(&mut self, scenario: &Scenario, slice: Duration) -> io::Result<()> {
        let mut ops = scenario.round_ops(1);
        for attempt in 0..24 {
            let began = Instant::now();
            self.work.run(ops, WARM_UP + attempt)?;
            let took = began.elapsed();
            let fits = slice.as_secs_f64() / took.as_secs_f64().max(1e-9);
            let next = scenario.round_ops(whole(float(ops) * fits.min(10.0)));
            // The first run of all pays for what is made once, which would make the slices too short.
            if attempt > 0 && took * 3 > slice {
                self.ops = next;
                return Ok(());
            }
            ops = next.max(ops);
        }
        self.ops = ops;
        Ok(())
    }

    fn round(&mut self, slice: u64) -> io::Result<()> {
        let enters_before = self.work.enters();
        let (cpu, began) = (cpu_ns(), Instant::now());
        let lane = self.work.run(self.ops, slice)?;
        let (cpu, took) = (cpu_ns() - cpu, began.elapsed());
        let ops = float(self.ops);
        self.cpu.push(float(cpu) / ops);
        self.rate.push(ops / took.as_secs_f64());
        if let (Some(before), Some(after)) = (enters_before, self.work.enters()) {
            self.enters.push(float(after - before) / ops);
        }
        if let Some(allocations) = lane.steady_allocations() {
            self.allocs.push(float(allocations) / (ops / 2.0));
        }
        self.histogram.merge(&lane.histogram);
        Ok(())
    }
}

/// Slices above this number are warm-up: their offsets differ from those of the rounds.
const WARM_UP: u64 = 1 << 20;

/// Runs one scenario with the given implementations.
pub(crate) fn scenario(
    scenario: &'static Scenario,
    imps: &[&'static Imp],
    context: &Context,
    timing: &Timing,
    progress: &ProgressBar,
) -> Outcome {
    let mut outcome = Outcome::default();
    let cached = context.data.as_ref().filter(|_| scenario.uses_file() && !scenario.is_direct());
    if let Some(Err(error)) = cached.map(Data::warm) {
        outcome.note_failure(scenario, None, &error);
        return outcome;
    }
    let mut entries = prepare(scenario, imps, context, timing, &mut outcome);
    progress.inc(1);
    for round in 0..u64::from(timing.rounds) {
        let shift = usize::try_from(round).unwrap_or(0) % entries.len().max(1);
        entries.rotate_left(shift);
        entries.retain_mut(|entry| match entry.round(round) {
            Ok(()) => true,
            Err(error) => {
                outcome.note_failure(scenario, Some(entry.imp), &error);
                false
            }
        });
        entries.sort_by_key(|entry| imp::ALL.iter().position(|imp| *imp == entry.imp));
        progress.inc(1);
    }
    outcome.rows = reduce(scenario, &entries);
    drop(entries);
    for row in &mut outcome.rows {
        row.peak_rss_kb = peak_memory(row, context);
    }
    progress.inc(1);
    outcome
}

/// Steps a scenario adds to the progress bar.
pub(crate) fn steps(timing: &Timing) -> u64 {
    u64::from(timing.rounds) + 2
}

fn prepare(
    scenario: &'static Scenario,
    imps: &[&'static Imp],
    context: &Context,
    timing: &Timing,
    outcome: &mut Outcome,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for imp in imps.iter().copied() {
        if (imp.absent_from)(scenario).is_some() {
            continue;
        }
        let entry = (imp.build)(scenario, context).map(|work| Entry::new(imp, work)).and_then(
            |mut entry| {
                entry.calibrate(scenario, timing.slice)?;
                Ok(entry)
            },
        );
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) if is_absence(&error) => {
                outcome.notes.push(format!("{}, {}: absent: {error}", scenario.name, imp.name));
            }
            Err(error) => outcome.note_failure(scenario, Some(imp), &error),
        }
    }
    entries
}

/// Errors that say what this machine does not offer, and not that something went wrong.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE))
}

impl Outcome {
    fn note_failure(&mut self, scenario: &Scenario, imp: Option<&Imp>, error: &io::Error) {
        let who = imp.map_or("data file", |imp| imp.name);
        self.notes.push(format!("{}, {who}: FAILED: {error}", scenario.name));
        self.failed = true;
    }
}

fn reduce(scenario: &'static Scenario, entries: &[Entry]) -> Vec<Row> {
    let raw = entries.iter().find(|entry| *entry.imp == RAW);
    let median = |samples: &[f64]| spread(samples).map(|s| s.median);
    let mut rows = Vec::new();
    for entry in entries {
        let Some(cpu_ns) = spread(&entry.cpu) else { continue };
        let quantile = |share| entry.histogram.quantile(share).map(|ns| ns / 1000.0);
        rows.push(Row {
            scenario,
            imp: entry.imp,
            ops_per_s: median(&entry.rate).unwrap_or(0.0),
            cpu_ns,
            x_raw: raw.and_then(|raw| paired_ratio(&entry.cpu, &raw.cpu)),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            allocs_per_op: median(&entry.allocs),
            enters_per_op: median(&entry.enters),
            peak_rss_kb: None,
            rounds: entry.cpu.clone(),
        });
    }
    rows
}

/// Peak resident memory of a fresh process that runs this pair alone, in KiB.
fn peak_memory(row: &Row, context: &Context) -> Option<u64> {
    let ops = row.scenario.round_ops(1000.min(whole(row.ops_per_s / 20.0)));
    let mut command = Command::new(&context.exe);
    command.args(["instr-run", "--scenario", row.scenario.name, "--impl", row.imp.name]);
    command.args(["--ops", &ops.to_string()]);
    if let Some(data) = context.data.as_ref().filter(|_| row.scenario.uses_file()) {
        command.arg("--data").arg(data.shared_name());
    }
    let output = command.stderr(std::process::Stdio::null()).output().ok()?;
    super::instr::Report::parse(&output.stdout).and_then(|report| report.peak_rss_kb)
}

/// Which pairs of the chosen scenarios are absent by their nature, one line per reason.
pub(crate) fn absences(scenarios: &[&'static Scenario], imps: &[&'static Imp]) -> Vec<String> {
    let mut lines: Vec<(&Imp, &str, Vec<&str>)> = Vec::new();
    for imp in imps.iter().copied() {
        for scenario in scenarios {
            let Some(reason) = (imp.absent_from)(scenario) else { continue };
            match lines.iter_mut().find(|(i, r, _)| *i == imp && *r == reason) {
                Some((_, _, names)) => names.push(scenario.name),
                None => lines.push((imp, reason, vec![scenario.name])),
            }
        }
    }
    let all = scenarios.len();
    let line = |(imp, reason, names): (&Imp, &str, Vec<&str>)| {
        let share = if count(names.len()) * 2 > count(all) && names.len() > 3 {
            format!("{} scenarios", names.len())
        } else {
            names.join(", ")
        };
        format!("{} absent from {share}: {reason}", imp.name)
    };
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::parse_scenario;
    use crate::imp::lane::Lane;

    struct Sleeper {
        fails_in: u64,
    }

    impl Workload for Sleeper {
        fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
            self.fails_in = self.fails_in.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            let mut lane = Lane::new(1, ops, true);
            for _ in 0..ops {
                let started = lane.start();
                std::thread::sleep(Duration::from_micros(100));
                lane.stop(started, 1);
            }
            Ok(lane)
        }
    }

    #[test]
    fn cpu_time_of_other_threads_counts_also_when_they_have_ended() {
        const WORK_NS: u64 = 5_000_000;
        let of_thread = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let before = cpu_ns();
        std::thread::spawn(move || {
            let began = of_thread();
            while u64::try_from(of_thread() - began).unwrap() < WORK_NS {}
        })
        .join()
        .unwrap();
        assert!(cpu_ns() - before >= WORK_NS);
    }

    #[test]
    fn calibration_fills_the_slice() {
        let scenario = parse_scenario("nop-qd1").unwrap();
        let mut entry = Entry::new(&RAW, Box::new(Sleeper { fails_in: 100 }));
        entry.calibrate(scenario, Duration::from_millis(20)).unwrap();
        assert!((2..=200).contains(&entry.ops), "{} operations of at least 100 us", entry.ops);
        entry.round(0).unwrap();
        let rows = reduce(scenario, &[entry]);
        let row = rows.first().unwrap();
        assert!(row.p50_us.unwrap() >= 95.0);
        assert_eq!(row.x_raw.map(|x| x.median), Some(1.0));
        assert_eq!(row.enters_per_op, None);
    }

    #[test]
    fn a_broken_workload_says_so() {
        let scenario = parse_scenario("nop-qd1").unwrap();
        let mut entry = Entry::new(&RAW, Box::new(Sleeper { fails_in: 0 }));
        let error = entry.calibrate(scenario, Duration::from_millis(1)).unwrap_err();
        assert!(!is_absence(&error));
        let mut outcome = Outcome::default();
        outcome.note_failure(scenario, Some(&RAW), &error);
        assert!(outcome.failed && outcome.notes.concat().contains("nop-qd1, raw: FAILED"));
        assert!(is_absence(&io::Error::from_raw_os_error(libc::ENOMEM)));
    }

    #[test]
    fn absences_are_grouped_by_reason() {
        let scenarios: Vec<_> = crate::bench::plan::SCENARIOS.iter().collect();
        let lines = absences(&scenarios, &imp::ALL);
        assert!(
            lines.iter().any(|l| l.starts_with("std absent from nop-qd1, nop-qd64: ")),
            "{lines:?}"
        );
        assert_eq!(absences(&scenarios, &[&RAW]), Vec::<String>::new());
    }
}
