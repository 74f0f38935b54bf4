//! User-space instructions per operation, counted by callgrind: the same on every run of the same binary.
//!
//! A process runs one scenario with one implementation; the difference between two runs with different numbers of
//! operations leaves out everything but the operations.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::plan::{Scenario, parse_scenario};
use super::{BenchArgs, json, machine, make_data};
use crate::data::Data;
use crate::imp::lane::without_clock;
use crate::imp::local::LOCAL;
use crate::imp::raw::RAW;
use crate::imp::shared::SHARED;
use crate::imp::{Context, Imp, default_workers, parse_imp};
use crate::num::float;

/// Exit code where valgrind is missing.
const NO_VALGRIND: u8 = 3;
/// Operations of the two runs whose difference is taken. So many that a start which takes another path in one of the two
/// (a worker of the kernel that answers late, another layout of memory) is a small part of an instruction.
const OPS: (u64, u64) = (10_048, 110_528);
static IMPS: [&Imp; 3] = [&RAW, &LOCAL, &SHARED];

/// Arguments of the process that runs one pair.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenario by name
    #[arg(long, value_parser = parse_scenario)]
    scenario: &'static Scenario,
    /// Implementation by name
    #[arg(long = "impl", value_parser = parse_imp)]
    imp: &'static Imp,
    /// Operations to perform, rounded up to a multiple of the depth
    #[arg(long)]
    ops: u64,
    /// A data file to use in place of a new one
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep runtimes on the calling thread and take no latencies: for counting instructions
    #[arg(long)]
    single_thread: bool,
}

/// What the process that ran one pair says about it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) ops: u64,
    pub(crate) setup: Option<String>,
    pub(crate) peak_rss_kb: Option<u64>,
}

impl Report {
    /// The report in what such a process printed; `None` when it failed before printing one.
    pub(crate) fn parse(output: &[u8]) -> Option<Self> {
        serde_json::from_slice(output).ok()
    }
}

/// Runs one pair and prints a [`Report`] as JSON.
pub(crate) fn run_one(args: &RunArgs) -> io::Result<()> {
    if args.single_thread {
        without_clock();
    }
    let data = match &args.data {
        Some(path) => Some(Data::open(path)?),
        None if args.scenario.uses_file() => Some(Data::create(None, 16 << 20)?),
        None => None,
    };
    let (exe, workers) = (std::env::current_exe()?, default_workers());
    let context = Context { data, exe, single_thread: args.single_thread, workers };
    let mut work = (args.imp.build)(args.scenario, &context)?;
    let ops = args.scenario.round_ops(args.ops);
    work.run(ops, 0)?;
    let peak = machine::field("/proc/self/status", "VmHWM");
    let peak_rss_kb = peak.and_then(|value| machine::kilobytes(&value));
    let report = Report { ops, setup: work.setup(), peak_rss_kb };
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)
}

/// `bench --instr`.
pub(crate) fn run(args: &BenchArgs) -> io::Result<ExitCode> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!(
            "safer-ring: valgrind is not installed, and --instr counts with it (Debian: apt install valgrind)"
        );
        return Ok(ExitCode::from(NO_VALGRIND));
    }
    let scenarios: Vec<_> =
        args.scenarios().into_iter().filter(|s| s.counts_instructions()).collect();
    if scenarios.is_empty() {
        eprintln!(
            "safer-ring: --instr counts nop and read-4k-cached scenarios only; --only names none of them"
        );
        return Ok(ExitCode::from(2));
    }
    let data = make_data(args, &scenarios, 16 << 20)?;
    if let Some(data) = &data {
        data.warm()?;
    }
    let (rows, notes, failed) = count_all(&scenarios, data.as_ref())?;
    println!("user-space instructions per operation (callgrind)");
    for row in &rows {
        println!("  {:<22} {:<20} {:>10.1}", row.scenario, row.imp, row.instr_per_op);
    }
    for note in &notes {
        println!("- {note}");
    }
    if let Some(path) = &args.json {
        let value = json!({
            "rustc": option_env!("SAFER_RING_RUSTC"),
            "arch": std::env::consts::ARCH,
            "instr": rows,
            "notes": notes,
        });
        json::write(path, &value)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Instructions of one operation of one pair.
#[derive(Debug, Serialize)]
struct Row {
    scenario: &'static str,
    #[serde(rename = "impl")]
    imp: &'static str,
    instr_per_op: f64,
}

fn count_all(
    scenarios: &[&'static Scenario],
    data: Option<&Data>,
) -> io::Result<(Vec<Row>, Vec<String>, bool)> {
    let (mut rows, mut notes, mut failed) = (Vec::new(), Vec::new(), false);
    for scenario in scenarios {
        for imp in IMPS {
            match count_pair(scenario, imp, data) {
                Ok((instr_per_op, setup)) => {
                    rows.push(Row { scenario: scenario.name, imp: imp.name, instr_per_op });
                    let note =
                        format!("{} under valgrind: {}", imp.name, setup.unwrap_or_default());
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                Err(error) => {
                    failed = true;
                    notes.push(format!("{}, {}: FAILED: {error}", scenario.name, imp.name));
                }
            }
        }
    }
    Ok((rows, notes, failed))
}

fn count_pair(
    scenario: &'static Scenario,
    imp: &'static Imp,
    data: Option<&Data>,
) -> io::Result<(f64, Option<String>)> {
    let (few, few_report) = instructions(scenario, imp, OPS.0, data)?;
    let (many, report) = instructions(scenario, imp, OPS.1, data)?;
    if few_report.setup != report.setup {
        return Err(io::Error::other("the two runs used different setups"));
    }
    let ops = float(report.ops - few_report.ops);
    let per_op = float(many.saturating_sub(few)) / ops;
    Ok(((per_op * 100.0).round() / 100.0, report.setup))
}

fn instructions(
    scenario: &Scenario,
    imp: &'static Imp,
    ops: u64,
    data: Option<&Data>,
) -> io::Result<(u64, Report)> {
    // Without a name from the start, so that nothing remains however this ends.
    let mut profile = tempfile::tempfile()?;
    let name = format!("/proc/{}/fd/{}", std::process::id(), profile.as_raw_fd());
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]);
    command.arg(format!("--callgrind-out-file={name}"));
    command.arg(std::env::current_exe()?);
    command.args(["instr-run", "--single-thread", "--scenario", scenario.name, "--impl", imp.name]);
    command.args(["--ops", &ops.to_string()]);
    if let Some(data) = data.filter(|_| scenario.uses_file()) {
        command.arg("--data").arg(data.shared_name());
    }
    let output = command.output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {}", output.status, message.trim())));
    }
    let mut text = String::new();
    profile.read_to_string(&mut text)?;
    match (total_of(&text), Report::parse(&output.stdout)) {
        (Some(total), Some(report)) => Ok((total, report)),
        _ => Err(io::Error::other("callgrind's output has no total")),
    }
}

/// Instructions of the whole run in a callgrind profile: its `totals:` line, or the sum of its `summary:` lines (one
/// per thread).
fn total_of(profile: &str) -> Option<u64> {
    let figure =
        |line: &str, key| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok();
    let totals: Vec<u64> = profile.lines().filter_map(|line| figure(line, "totals:")).collect();
    let summaries = profile.lines().filter_map(|line| figure(line, "summary:"));
    if totals.is_empty() { summaries.reduce(|a, b| a + b) } else { Some(totals.iter().sum()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_in_a_profile() {
        assert_eq!(
            total_of("version: 1\nsummary: 120\n\nfn=(1) main\n0 100\ntotals: 123\n"),
            Some(123)
        );
        assert_eq!(total_of("events: Ir\nsummary: 120 4\nsummary: 7\n"), Some(127));
        assert_eq!(total_of("events: Ir\n"), None);
    }

    #[test]
    fn the_numbers_of_operations_are_whole_batches() {
        for scenario in super::super::plan::SCENARIOS.iter().filter(|s| s.counts_instructions()) {
            assert_eq!(scenario.round_ops(OPS.0), OPS.0, "{}", scenario.name);
            assert_eq!(scenario.round_ops(OPS.1), OPS.1, "{}", scenario.name);
        }
    }

    #[test]
    fn reports_survive_the_pipe_and_failures_are_none() {
        let report = Report { ops: 8, setup: Some("X".to_owned()), peak_rss_kb: None };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::parse(text.as_bytes()).unwrap().setup.as_deref(), Some("X"));
        assert!(Report::parse(b"").is_none());
    }
}
