//! `safer-ring bench`: is it faster here, and by how much.

pub(crate) mod alloc;
pub(crate) mod html;
pub(crate) mod instr;
pub(crate) mod json;
pub(crate) mod machine;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod table;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::data::Data;
use crate::imp::{self, Context, Imp, RingKind};
use crate::load;
use machine::Machine;
use plan::{Choice, SCENARIOS, Scenario, Timing};
use run::Row;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Shorter rounds and a smaller file: about a minute in all
    #[arg(long, conflicts_with = "instr")]
    quick: bool,
    /// Write the figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report to FILE as one self-contained HTML page
    #[arg(long, value_name = "FILE.html", conflicts_with = "instr")]
    report: Option<PathBuf>,
    /// Directory of the data file [default: the temporary directory]
    #[arg(long, value_name = "DIR", value_parser = crate::data::parse_dir)]
    dir: Option<PathBuf>,
    /// Run only these scenarios, separated by commas; 'mt-*' is all that begin with mt-
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = plan::parse_choice)]
    only: Vec<Choice>,
    /// Count user-space instructions per operation with valgrind in place of measuring time
    #[arg(long)]
    instr: bool,
    /// Milliseconds of one slice
    #[arg(long, hide = true, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    slice_ms: Option<u64>,
    /// Rounds
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Size of the data file in MiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(8..=65_536))]
    file_mib: Option<u64>,
}

impl BenchArgs {
    fn timing(&self) -> Timing {
        let preset = if self.quick { Timing::QUICK } else { Timing::FULL };
        Timing {
            rounds: self.rounds.unwrap_or(preset.rounds),
            slice: self.slice_ms.map_or(preset.slice, Duration::from_millis),
            file_bytes: self.file_mib.map_or(preset.file_bytes, |mib| mib << 20),
        }
    }

    /// The chosen scenarios in the order of the plan, each once.
    fn scenarios(&self) -> Vec<&'static Scenario> {
        let named = |scenario: &Scenario| {
            self.only.iter().flat_map(|choice| &choice.0).any(|other| other.name == scenario.name)
        };
        SCENARIOS.iter().filter(|scenario| self.only.is_empty() || named(scenario)).collect()
    }
}

/// Everything a report shows.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    /// Something that should have run did not.
    pub(crate) failed: bool,
}

impl Report {
    /// The rows of one scenario.
    pub(crate) fn rows_of<'a>(&'a self, scenario: &'a Scenario) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|row| row.scenario.name == scenario.name)
    }
}

/// Runs the command. Exit code 1 for failures, 3 where a tool it needs is missing.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    let result = if args.instr { instr::run(args) } else { measure(args) };
    result.unwrap_or_else(|error| {
        eprintln!("safer-ring: {error}");
        ExitCode::FAILURE
    })
}

fn measure(args: &BenchArgs) -> io::Result<ExitCode> {
    let report = collect(args)?;
    print!("{}", table::text(&report));
    if let Some(path) = &args.json {
        json::write(path, &json::value(&report))?;
    }
    if let Some(path) = &args.report {
        json::write_text(path, &html::page(&report))?;
    }
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn collect(args: &BenchArgs) -> io::Result<Report> {
    load::raise_open_files();
    let (timing, scenarios) = (args.timing(), args.scenarios());
    let data = make_data(args, &scenarios, timing.file_bytes)?;
    let mut machine = Machine::look(data.as_ref().map(|data| data.dir.as_path()));
    let (exe, workers) = (std::env::current_exe()?, imp::default_workers());
    let context = Context { data, exe, single_thread: false, workers };
    let mut notes = Vec::new();
    notes.extend(context.data.as_ref().and_then(|data| data.remark.clone()));
    let imps = usable(&mut machine, &mut notes);
    let mut report = Report { machine, rows: Vec::new(), notes, failed: false };
    let progress = progress_bar(run::steps(&timing) * crate::num::count(scenarios.len()));
    for scenario in &scenarios {
        progress.set_message(scenario.name);
        let outcome = run::scenario(scenario, &imps, &context, &timing, &progress);
        report.rows.extend(outcome.rows);
        report.notes.extend(outcome.notes);
        report.failed |= outcome.failed;
    }
    progress.finish_and_clear();
    report.notes.extend(run::absences(&scenarios, &imps));
    report.notes.extend(method(&timing));
    Ok(report)
}

/// The data file, where a chosen scenario needs one.
pub(crate) fn make_data(
    args: &BenchArgs,
    scenarios: &[&Scenario],
    bytes: u64,
) -> io::Result<Option<Data>> {
    if !scenarios.iter().any(|scenario| scenario.uses_file()) {
        return Ok(None);
    }
    Data::create(args.dir.as_deref(), bytes).map(Some)
}

/// Which implementations this machine allows; the setup of the rings goes into the header, refusals into the notes.
fn usable(machine: &mut Machine, notes: &mut Vec<String>) -> Vec<&'static Imp> {
    let mut usable = imp::ALL.to_vec();
    let mut kinds: Vec<RingKind> = imp::ALL.iter().filter_map(|imp| imp.ring).collect();
    kinds.dedup_by_key(|kind| kind.name);
    for RingKind { name, describe } in kinds {
        match describe() {
            Ok(setup) => machine.setup.push(format!("{name}: {setup}")),
            Err(error) => {
                usable.retain(|imp| imp.ring.is_none_or(|ring| ring.name != name));
                let reason = machine::explain_refusal(error.raw_os_error());
                machine.setup.push(format!("{name}: not available"));
                notes.push(format!(
                    "{name} rows are absent: io_uring is not available here: {error}: {reason}"
                ));
            }
        }
    }
    usable
}

fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// How the figures were made, for those who read only the output.
fn method(timing: &Timing) -> Vec<String> {
    vec![
        format!(
            "method: {} interleaved rounds of slices of about {} ms, the order turning; medians over rounds; x raw is \
             the median of the per-round ratios of CPU time per operation, so less than 1 wins; where the middle half of \
             the rounds lies on both sides of 1 the verdict is \"within noise\"",
            timing.rounds,
            timing.slice.as_millis()
        ),
        "CPU is user and system time of all threads of the process, the kernel's workers for its rings included; echo \
         clients are a process of their own and do not count; the writes of drop-64 are made by the measured process, the same for every implementation"
            .to_owned(),
        "latency: nop, page cache and drop sample one operation in 16 (batches: one batch in 16, each operation \
         taking as long as its batch); direct I/O times every operation; echo is the clients' round trip"
            .to_owned(),
        "mt scenarios: the tasks run on the worker threads of a multi-thread runtime, one read each at a time; raw divides \
         the same number in flight over as many threads, each with a loop and a ring of its own"
            .to_owned(),
        "allocs/op counts the second half of each slice; enters/op are calls of io_uring_enter; peak is VmHWM of a \
         fresh process that runs the pair alone"
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        Wrapper::try_parse_from([&["bench"], words].concat()).map(|w| w.args)
    }

    #[test]
    fn an_unknown_scenario_lists_the_names_and_exits_with_2() {
        let error = parse(&["--only", "nop-qd1,bogus"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains("bogus") && message.contains("echo-1000"), "{message}");
    }

    #[test]
    fn a_directory_that_is_none_exits_with_2() {
        assert_eq!(parse(&["--dir", "/no/such/dir"]).unwrap_err().exit_code(), 2);
        assert_eq!(parse(&["--dir", "/proc/version"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn flags_that_would_be_ignored_are_refused() {
        for words in [["--instr", "--quick"].as_slice(), &["--instr", "--report", "x.html"]] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn scenarios_keep_the_order_of_the_plan() {
        let args = parse(&["--only", "echo-1,nop-qd1,echo-1", "--quick", "--rounds", "2"]).unwrap();
        let names: Vec<_> = args.scenarios().iter().map(|s| s.name).collect();
        assert_eq!(names, ["nop-qd1", "echo-1"]);
        let starts = parse(&["--only", "echo-1*,nop-qd1,echo-1"]).unwrap();
        let names: Vec<_> = starts.scenarios().iter().map(|s| s.name).collect();
        assert_eq!(names, ["nop-qd1", "echo-1", "echo-1000"]);
        let timing = args.timing();
        assert_eq!((timing.rounds, timing.slice), (2, Timing::QUICK.slice));
        assert_eq!(parse(&[]).unwrap().scenarios().len(), SCENARIOS.len());
    }
}
