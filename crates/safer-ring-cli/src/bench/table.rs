//! The plain-text report: the summary first, then every row. Fits in 120 columns.

use std::fmt::Write as _;

use super::Report;
use super::machine::Machine;
use super::plan::{SCENARIOS, Scenario};
use super::run::Row;
use super::stats::paired_ratio;
use crate::imp::local::REGISTERED;
use crate::imp::raw::RAW;
use crate::imp::{self, Family, Imp};
use crate::num::{float, whole};

/// The lines most people want, each with the scenario that answers it.
pub(crate) const SUMMARY: [(&str, &str); 5] = [
    ("small reads", "read-4k-cached-qd32"),
    ("large reads", "read-1m-direct-qd8"),
    ("many connections", "echo-1000"),
    ("with cancellations", "drop-64"),
    ("reads of many tasks", "mt-read-direct-32"),
];

const WIDTH: usize = 118;

/// The whole report.
pub(crate) fn text(report: &Report) -> String {
    let mut out = header(&report.machine);
    out.push('\n');
    out.push_str(&summary(report));
    for scenario in &SCENARIOS {
        let rows: Vec<_> = report.rows_of(scenario).collect();
        if !rows.is_empty() {
            out.push('\n');
            out.push_str(&table(scenario, &rows));
        }
    }
    out.push_str("\nimplementations\n");
    for imp in imp::ALL.iter().filter(|imp| report.rows.iter().any(|row| row.imp == **imp)) {
        wrap(&mut out, &format!("{:<24} {}", imp.name, imp.what), 27);
    }
    out.push_str("\nnotes\n");
    for note in &report.notes {
        wrap(&mut out, &format!("- {note}"), 4);
    }
    out
}

/// Lines of the header, as pairs of a name and a value; the HTML report shows the same.
pub(crate) fn facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let limit = |value: Option<u64>, unit: &str| {
        value.map_or_else(|| "unlimited".to_owned(), |n| format!("{n}{unit}"))
    };
    let disabled =
        machine.io_uring_disabled.map_or_else(|| "not present".to_owned(), |n| n.to_string());
    let mut facts = vec![
        (
            "machine",
            format!(
                "{}, {} cores, {} MiB, {}",
                machine.cpu,
                machine.cores,
                machine.memory_kb / 1024,
                machine.arch
            ),
        ),
        ("kernel", machine.kernel.clone()),
        ("workers", format!("{} in each multi-thread runtime", machine.workers)),
    ];
    if let Some(dir) = &machine.dir {
        let filesystem = machine.filesystem.as_deref().unwrap_or("unknown filesystem");
        facts.push(("data file in", format!("{dir} ({filesystem})")));
    }
    facts.extend(machine.setup.iter().map(|line| ("ring setup", line.clone())));
    facts.push((
        "limits",
        format!(
            "memlock {}, open files {}",
            limit(machine.memlock_kb, " KiB"),
            limit(machine.nofile, "")
        ),
    ));
    facts.push(("sysctl", format!("kernel.io_uring_disabled: {disabled}")));
    facts.push(("date", machine.date.clone()));
    facts.push(("command", machine.command.clone()));
    facts.push(("version", machine.version.to_owned()));
    facts
}

fn header(machine: &Machine) -> String {
    let mut out = String::from("Safer-Ring bench\n");
    for (name, value) in facts(machine) {
        wrap(&mut out, &format!("{name:<13} {value}"), 16);
    }
    out
}

/// One line of the summary; cells are ready to print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SummaryLine {
    pub(crate) name: &'static str,
    pub(crate) scenario: &'static str,
    /// Traditional, raw, Safer-Ring.
    pub(crate) cells: [String; 3],
}

/// The summary: operations per CPU-second relative to the best way without io_uring.
pub(crate) fn summary_lines(report: &Report) -> Vec<SummaryLine> {
    let line = |&(name, scenario): &(&'static str, &'static str)| {
        let rows: Vec<&Row> =
            report.rows.iter().filter(|row| row.scenario.name == scenario).collect();
        let best = |wanted: fn(&Imp) -> bool| {
            let mine = rows.iter().copied().filter(|row| wanted(row.imp));
            mine.min_by(|a, b| a.cpu_ns.median.total_cmp(&b.cpu_ns.median))
        };
        let traditional = best(|imp| imp.family == Family::Traditional);
        let cell = |row: Option<&Row>| match (row, traditional) {
            (None, _) => "not run".to_owned(),
            (Some(row), None) => format!("? ({})", short(row.imp)),
            (Some(row), Some(base)) => match paired_ratio(&base.rounds, &row.rounds) {
                Some(ratio) => format!("{:.2}x ({})", ratio.median, short(row.imp)),
                None => "not run".to_owned(),
            },
        };
        let raw = best(|imp| *imp == RAW);
        // Registered memory is what a program has to ask for, here as in the raw loop.
        let ours = best(|imp| imp.family == Family::Ours && *imp != REGISTERED);
        let cells = [cell(traditional), cell(raw), cell(ours)];
        SummaryLine { name, scenario, cells }
    };
    SUMMARY.iter().map(line).collect()
}

fn short(imp: &Imp) -> &'static str {
    imp.name.strip_prefix("safer-ring/").unwrap_or(imp.name)
}

fn summary(report: &Report) -> String {
    let mut out = String::from(
        "operations per CPU-second, relative to the best way without io_uring (higher is better)\n",
    );
    let _ = writeln!(
        out,
        "  {:<20} {:<20} {:>18} {:>18} {:>22}",
        "work", "scenario", "traditional", "raw io_uring", "Safer-Ring"
    );
    for line in summary_lines(report) {
        let [traditional, raw, ours] = &line.cells;
        let _ = writeln!(
            out,
            "  {:<20} {:<20} {traditional:>18} {raw:>18} {ours:>22}",
            line.name, line.scenario
        );
    }
    out
}

fn table(scenario: &Scenario, rows: &[&Row]) -> String {
    let mut out = format!("{}: {}\n", scenario.name, scenario.what);
    let _ = writeln!(
        out,
        "  {:<23} {:>9} {:>7} {:>13} {:>6} {:>7} {:>7} {:>6} {:>6} {:>7}  CPU vs raw",
        "", "ops/s", "CPU", "CPU min..max", "x raw", "p50", "p99", "allocs", "enters", "peak"
    );
    let _ = writeln!(
        out,
        "  {:<23} {:>9} {:>7} {:>13} {:>6} {:>7} {:>7} {:>6} {:>6} {:>7}  verdict",
        "implementation", "", "ns/op", "ns/op", "", "us", "us", "/op", "/op", "KiB"
    );
    for row in rows {
        let spread =
            format!("{}..{}", whole(row.cpu_ns.min.round()), whole(row.cpu_ns.max.round()));
        let peak = row.peak_rss_kb.map_or_else(|| "-".to_owned(), |kb| kb.to_string());
        let _ = writeln!(
            out,
            "  {:<23} {:>9} {:>7} {:>13} {:>6} {:>7} {:>7} {:>6} {:>6} {:>7}  {}",
            row.imp.name,
            whole(row.ops_per_s),
            figure(row.cpu_ns.median),
            spread,
            optional(row.x_raw.map(|x| x.median)),
            optional(row.p50_us),
            optional(row.p99_us),
            row.allocs_per_op.map_or_else(|| "-".to_owned(), fraction),
            row.enters_per_op.map_or_else(|| "-".to_owned(), fraction),
            peak,
            verdict(row),
        );
    }
    out
}

/// A figure with three significant digits where it is small, none after the point where it is large.
pub(crate) fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}

/// A count per operation: an exact zero looks different from a small one.
pub(crate) fn fraction(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 0.0005 {
        "<0.001".to_owned()
    } else {
        format!("{value:.3}")
    }
}

/// Wins and losses in the same words: less CPU than the raw loop wins. What the rounds do not agree on is said to be
/// unclear.
pub(crate) fn verdict(row: &Row) -> String {
    let Some(ratio) = row.x_raw else { return "no baseline".to_owned() };
    let x = ratio.median;
    match () {
        () if *row.imp == RAW => "baseline".to_owned(),
        () if (x - 1.0).abs() < 0.005 => "equal".to_owned(),
        () if ratio.is_unclear() => "within noise".to_owned(),
        () if x < 1.0 => format!("wins {:.0} %", (1.0 - x) * 100.0),
        () if x < 3.0 => format!("loses {:.0} %", (x - 1.0) * 100.0),
        () => format!("loses, {}x", figure(x)),
    }
}

/// Appends a line, broken at words before the width; following lines are indented.
fn wrap(out: &mut String, line: &str, indent: usize) {
    let mut column = 0;
    for (number, word) in line.split(' ').enumerate() {
        if column > indent && column + 1 + word.chars().count() > WIDTH {
            let _ = write!(out, "\n{:indent$}{word}", "");
            column = indent + word.chars().count();
        } else {
            let gap = if number == 0 { "  " } else { " " };
            let _ = write!(out, "{gap}{word}");
            column += gap.len() + word.chars().count();
        }
    }
    out.push('\n');
}

/// Operations per second that a CPU-second buys, for a row.
pub(crate) fn per_cpu_second(row: &Row) -> f64 {
    float(1_000_000_000) / row.cpu_ns.median.max(0.001)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::plan::parse_scenario;
    use crate::bench::stats::{Ratio, Spread};
    use crate::imp::local::LOCAL;
    use crate::imp::raw_registered::RAW_REGISTERED;
    use crate::imp::shared::{SHARED, SHARED_TASKS};
    use crate::imp::stdlib::STD;
    use crate::imp::tokio::TOKIO;

    fn row(scenario: &str, imp: &'static Imp, cpu: f64, x_raw: Option<f64>) -> Row {
        let iouring = imp.family != Family::Traditional;
        Row {
            scenario: parse_scenario(scenario).unwrap(),
            imp,
            ops_per_s: 12_345_678.9,
            cpu_ns: Spread { median: cpu, min: cpu * 0.9, max: cpu * 1.1 },
            x_raw: x_raw.map(|x| Ratio { median: x, low: x, high: x }),
            p50_us: Some(123_456.7),
            p99_us: Some(1.234),
            allocs_per_op: Some(0.0),
            enters_per_op: iouring.then_some(0.031_25),
            peak_rss_kb: Some(4096),
            rounds: vec![cpu; 3],
        }
    }

    /// A report with every kind of cell in it.
    pub(crate) fn sample() -> Report {
        let mut machine = Machine::look(None);
        machine.cores = 2;
        machine.setup = vec!["raw: <SINGLE_ISSUER> | DEFER_TASKRUN".to_owned()];
        let rows = vec![
            row("read-4k-cached-qd32", &RAW, 1000.0, Some(1.0)),
            row("read-4k-cached-qd32", &STD, 900.0, Some(0.9)),
            row("read-4k-cached-qd32", &TOKIO, 13_000.0, Some(13.0)),
            row("read-4k-cached-qd32", &LOCAL, 1040.0, Some(1.04)),
            row("read-4k-cached-qd32", &SHARED, 1100.0, Some(1.1)),
            row("echo-64", &LOCAL, 4000.0, None),
            row("drop-64", &SHARED_TASKS, 1_234_567.0, Some(12_345.0)),
        ];
        let long = "a note that is long enough to be broken into lines, ".repeat(5);
        Report { machine, rows, notes: vec!["a <note> & more".to_owned(), long], failed: false }
    }

    #[test]
    fn every_line_fits_in_120_columns() {
        for line in text(&sample()).lines() {
            assert!(line.chars().count() <= 120, "{}: {line}", line.chars().count());
        }
    }

    #[test]
    fn verdicts_state_losses_as_plainly_as_wins() {
        let verdict_of = |x| verdict(&row("echo-1", &LOCAL, 1.0, x));
        assert_eq!(verdict_of(Some(1.04)), "loses 4 %");
        assert_eq!(verdict_of(Some(0.92)), "wins 8 %");
        assert_eq!(verdict_of(Some(1.001)), "equal");
        assert_eq!(verdict_of(Some(13.0)), "loses, 13.0x");
        assert_eq!(verdict_of(None), "no baseline");
        assert_eq!(verdict(&row("echo-1", &RAW, 1.0, Some(1.0))), "baseline");
        let mut unclear = row("echo-1", &LOCAL, 1.0, None);
        unclear.x_raw = Some(Ratio { median: 1.2, low: 0.9, high: 1.4 });
        assert_eq!(verdict(&unclear), "within noise");
    }

    #[test]
    fn the_summary_compares_with_the_better_traditional_way() {
        let lines = summary_lines(&sample());
        let small = lines.iter().find(|l| l.name == "small reads").unwrap();
        assert_eq!(small.cells, ["1.00x (std)", "0.90x (raw)", "0.87x (local)"].map(String::from));
        let many = lines.iter().find(|l| l.name == "many connections").unwrap();
        assert_eq!(many.cells, ["not run"; 3].map(String::from));
        let drops = lines.iter().find(|l| l.name == "with cancellations").unwrap();
        assert_eq!(drops.cells[2], "? (shared-tasks)");
    }

    #[test]
    fn rows_with_registered_memory_are_not_in_the_summary() {
        let before = summary_lines(&sample());
        let mut report = sample();
        report.rows.push(row("read-4k-cached-qd32", &RAW_REGISTERED, 800.0, Some(0.8)));
        report.rows.push(row("read-4k-cached-qd32", &REGISTERED, 850.0, Some(0.85)));
        assert_eq!(summary_lines(&report), before);
    }

    #[test]
    fn zero_is_not_almost_zero() {
        assert_eq!(fraction(0.0), "0");
        assert_eq!(fraction(0.0001), "<0.001");
        assert_eq!(fraction(1.5), "1.500");
    }
}
