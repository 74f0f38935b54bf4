//! From samples to figures, and what is a fault.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Route, Tally};
use crate::options::Options;
use crate::process::figure;

/// Bytes of memory by which a server may grow between the first third of a load and its end, beside a half of what it has:
/// what allocators and threads keep is not the same at all times.
const GROWTH: u64 = 16 << 20;

/// One server with one route for one slice of time.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) tally: Tally,
    /// CPU time of the server.
    pub(crate) cpu: Duration,
    pub(crate) time: Duration,
}

/// Samples of one route, reduced.
#[derive(Debug, Default)]
struct Figures {
    name: &'static str,
    /// Nanoseconds of CPU for a request, of each sample.
    cpu: Vec<u64>,
    /// Requests in a second, of each sample.
    rate: Vec<u64>,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    twin: Option<&'static str>,
    routes: Vec<Figures>,
    pub(crate) total: Tally,
    /// Open descriptors after the warm-up, and at the end.
    pub(crate) descriptors: (usize, usize),
    /// Bytes of memory after each third.
    pub(crate) resident: Vec<u64>,
    /// What the server said when it ended.
    pub(crate) snapshot: String,
    /// What went wrong besides.
    pub(crate) faults: Vec<String>,
}

impl Row {
    pub(crate) fn new(name: &'static str, twin: Option<&'static str>, routes: &[Route]) -> Self {
        let figures = |route: &Route| Figures { name: route.name, ..Figures::default() };
        Self {
            name,
            twin,
            routes: routes.iter().map(figures).collect(),
            total: Tally::default(),
            descriptors: (0, 0),
            resident: Vec::new(),
            snapshot: String::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, route: usize, sample: Sample) {
        // Those that were aborted have cost the server something, too; for all servers they are the same part.
        let requests = u128::from(sample.tally.answered + sample.tally.aborted).max(1);
        let whole = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        if let Some(figures) = self.routes.get_mut(route) {
            figures.cpu.push(whole(sample.cpu.as_nanos() / requests));
            let time = sample.time.as_nanos().max(1);
            figures.rate.push(whole(requests * 1_000_000_000 / time));
        }
        self.total.add(sample.tally);
    }

    /// What must not be.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        if self.total.errors > 0 {
            let first = self.total.first_error.as_deref().unwrap_or_default();
            faults
                .push(format!("{} errors seen by clients, the first: {first}", self.total.errors));
        }
        if self.total.answered == 0 {
            faults.push("no request was answered".to_owned());
        }
        let (before, after) = self.descriptors;
        if after > before {
            faults.push(format!("{} descriptors leaked", after - before));
        }
        if let [first, .., last] = self.resident.as_slice()
            && *last > first + first / 2 + GROWTH
        {
            faults.push(format!("memory grew from {} to {} MiB", first >> 20, last >> 20));
        }
        // Accepts are in flight to the end; nothing else may be left, nor have come from nowhere.
        for name in ["queued", "stale_completions"] {
            if figure(&self.snapshot, name).is_some_and(|count| count > 0) {
                faults.push(format!("the ring says {name} > 0: {}", self.snapshot.trim()));
            }
        }
        faults.into_iter().map(|fault| format!("{}: {fault}", self.name)).collect()
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn faults(&self) -> Vec<String> {
        self.rows.iter().flat_map(Row::faults).collect()
    }

    /// CPU of a request and requests in a second, as multiples of the twin's, in hundredths.
    fn against_twin(&self, row: &Row, route: usize) -> Option<(u64, u64)> {
        let twin = self.rows.iter().find(|other| Some(other.name) == row.twin)?;
        let (ours, theirs) = (row.routes.get(route)?, twin.routes.get(route)?);
        let ratio = |a: &[u64], b: &[u64]| 100 * median(a) / median(b).max(1);
        Some((ratio(&ours.cpu, &theirs.cpu), ratio(&ours.rate, &theirs.rate)))
    }

    /// Tables for people, in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "| server | route | requests/s | CPU ns/request | x tokio, CPU | x tokio, requests/s |\n\
             |---|---|---:|---:|---:|---:|\n",
        );
        let hundredths = |ratio: u64| format!("{}.{:02}", ratio / 100, ratio % 100);
        for row in &self.rows {
            for (number, figures) in row.routes.iter().enumerate() {
                let ratios = self.against_twin(row, number);
                let (cpu, rate) = ratios.map_or(("-".to_owned(), "-".to_owned()), |(cpu, rate)| {
                    (hundredths(cpu), hundredths(rate))
                });
                let (name, route) = (row.name, figures.name);
                let (cpu_ns, per_second) = (median(&figures.cpu), median(&figures.rate));
                let _ = writeln!(
                    text,
                    "| {name} | {route} | {per_second} | {cpu_ns} | {cpu} | {rate} |"
                );
            }
        }
        text.push_str(
            "\n| server | answered | aborted | errors | descriptors | memory by thirds, KiB | enters/request |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.rows {
            let Tally { answered, aborted, errors, .. } = row.total;
            let (before, after) = row.descriptors;
            let memory: Vec<String> =
                row.resident.iter().map(|bytes| (bytes >> 10).to_string()).collect();
            let enters = figure(&row.snapshot, "enters").map_or("-".to_owned(), |enters| {
                hundredths(100 * enters / (answered + aborted).max(1))
            });
            let _ = writeln!(
                text,
                "| {} | {answered} | {aborted} | {errors} | {before}, {after} | {} | {enters} |",
                row.name,
                memory.join(", ")
            );
        }
        for row in self.rows.iter().filter(|row| !row.snapshot.trim().is_empty()) {
            let _ = write!(text, "\n{}: {}\n", row.name, row.snapshot.trim());
        }
        for fault in self.faults() {
            let _ = write!(text, "\nFAULT: {fault}\n");
        }
        text
    }

    /// The same, with every sample, for programs.
    pub(crate) fn json(&self, options: &Options) -> Value {
        let routes = |row: &Row| -> Vec<Value> {
            let route = |figures: &Figures| json!({"route": figures.name, "cpu_ns": figures.cpu, "requests_per_second": figures.rate});
            row.routes.iter().map(route).collect()
        };
        let server = |row: &Row| {
            json!({
                "server": row.name,
                "twin": row.twin,
                "routes": routes(row),
                "answered": row.total.answered,
                "aborted": row.total.aborted,
                "errors": row.total.errors,
                "descriptors_before": row.descriptors.0,
                "descriptors_after": row.descriptors.1,
                "resident_bytes": row.resident,
                "snapshot": row.snapshot.trim(),
            })
        };
        json!({
            "connections": options.connections,
            "aborts_per_thousand": options.aborts,
            "seed": options.seed,
            "servers": self.rows.iter().map(server).collect::<Vec<_>>(),
            "faults": self.faults(),
        })
    }
}

/// The middle of the samples, 0 of none.
fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, twin: Option<&'static str>, cpu_ms: u64) -> Row {
        let route = Route { name: "r", path: "/r", body: Vec::new() };
        let mut row = Row::new(name, twin, &[route]);
        for _ in 0..3 {
            let tally = Tally { answered: 900, aborted: 100, ..Tally::default() };
            let cpu = Duration::from_millis(cpu_ms);
            row.add(0, Sample { tally, cpu, time: Duration::from_secs(1) });
        }
        row.resident = vec![10 << 20, 11 << 20, 12 << 20];
        row.descriptors = (10, 10);
        row
    }

    #[test]
    fn ratios_are_those_of_medians() {
        let report = Report { rows: vec![row("a", Some("b"), 30), row("b", None, 20)] };
        let text = report.text();
        assert!(text.contains("| a | r | 1000 | 30000 | 1.50 | 1.00 |"), "{text}");
        assert!(text.contains("| b | r | 1000 | 20000 | - | - |"), "{text}");
        assert_eq!(report.faults(), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named() {
        let fault = |change: fn(&mut Row)| {
            let mut row = row("a", None, 1);
            change(&mut row);
            let report = Report { rows: vec![row] };
            assert_eq!(report.faults().len(), 1, "{:?}", report.faults());
            assert!(report.text().contains("FAULT: a: "));
        };
        fault(|row| row.total.errors = 1);
        fault(|row| row.total.answered = 0);
        fault(|row| row.descriptors.1 = 11);
        fault(|row| row.resident[2] = 40 << 20);
        fault(|row| row.snapshot = "Snapshot { rings: 1, stale_completions: 2 }".into());
        fault(|row| row.faults.push("it did not end".into()));
    }
}
