//! What is shown at the end.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use safer_ring::Snapshot;
use serde_json::{Map, Value, json};

use super::tally::{Act, Count, Point, Scenario};
use super::world::{Damage, Failure, World, lock};
use crate::bench::machine;
use crate::num::{count, float};

/// One mode's run.
#[derive(Debug)]
pub(crate) struct Phase {
    name: &'static str,
    world: Arc<World>,
    seconds: f64,
    fds: (usize, usize),
    /// Buffers that are not in their pool.
    live_buffers: usize,
    snapshot: Snapshot,
    failure: Option<Failure>,
}

impl Phase {
    pub(crate) fn new(
        name: &'static str,
        world: Arc<World>,
        time: Duration,
        fds_before: usize,
        fds_after: usize,
    ) -> Self {
        let snapshot = *lock(&world.snapshot);
        Self {
            name,
            seconds: time.as_secs_f64(),
            fds: (fds_before, fds_after),
            live_buffers: world.pools.out(),
            snapshot,
            failure: world.failure(),
            world,
        }
    }

    fn drops_per_s(&self) -> f64 {
        (float(self.world.tally.drops()) / self.seconds).round()
    }
}

/// All modes' runs.
#[derive(Debug)]
pub(crate) struct Report {
    seed: u64,
    scenarios: Vec<Scenario>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) skipped: Vec<String>,
}

impl Report {
    pub(crate) fn new(seed: u64, scenarios: &[Scenario]) -> Self {
        Self { seed, scenarios: scenarios.to_vec(), phases: Vec::new(), skipped: Vec::new() }
    }

    pub(crate) fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    fn failures(&self) -> impl Iterator<Item = (&Phase, &Failure)> {
        self.phases.iter().flat_map(|phase| phase.failure.iter().map(move |f| (phase, f)))
    }

    /// Lost, duplicated, leaked.
    fn damage(&self) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for (_, failure) in self.failures() {
            match failure.damage {
                Damage::Lost(n) => sum.0 += n,
                Damage::Duplicated(n) => sum.1 += n,
                Damage::Leaked(n) => sum.2 += n,
                Damage::Other => {}
            }
        }
        sum
    }

    fn verdict(&self) -> String {
        let (lost, duplicated, leaked) = self.damage();
        let verdict = format!("lost {lost}, duplicated {duplicated}, leaked {leaked}");
        let others = self.failures().filter(|(_, f)| f.damage == Damage::Other).count();
        if others == 0 { verdict } else { format!("{verdict}, otherwise wrong {others}") }
    }

    /// How to do it again.
    fn command(&self) -> String {
        let mut names: Vec<_> = self.scenarios.iter().map(|scenario| scenario.name()).collect();
        if names.len() == Scenario::ALL.len() {
            names.clear();
        }
        let only =
            if names.is_empty() { String::new() } else { format!(" --only {}", names.join(",")) };
        let mode = self.failures().next().map_or("both", |(phase, _)| phase.name);
        format!("safer-ring torture --seed {} --mode {mode}{only}", self.seed)
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        self.row(&mut text, &format!("torture, seed {}", self.seed), |phase| phase.name.to_owned());
        self.row(&mut text, "seconds", |phase| format!("{:.1}", phase.seconds));
        self.number(&mut text, "operations", |phase| phase.world.tally.operations());
        self.number(&mut text, "drops", |phase| phase.world.tally.drops());
        self.row(&mut text, "drops per second", |phase| format!("{}", phase.drops_per_s()));
        for point in Point::ALL {
            let name = format!("  {}", point.name());
            self.number(&mut text, &name, |p| p.world.tally.drops_where(|_, _, at| at == *point));
        }
        self.by_scenario(&mut text, "drops by scenario", |phase, scenario| {
            phase.world.tally.drops_where(|s, _, _| s == scenario)
        });
        text.push_str("drops by operation\n");
        for act in Act::ALL {
            let name = format!("  {}", act.name());
            self.number(&mut text, &name, |p| p.world.tally.drops_where(|_, a, _| a == *act));
        }
        for what in Count::ALL {
            self.by_scenario(&mut text, what.name(), |phase, scenario| {
                phase.world.tally.counted(scenario, *what)
            });
        }
        self.rings(&mut text);
        self.ending(&mut text);
        text
    }

    fn rings(&self, text: &mut String) {
        self.row(text, "descriptors, before and after", |p| format!("{} {}", p.fds.0, p.fds.1));
        self.number(text, "live buffers", |p| count(p.live_buffers));
        self.number(text, "orphans left", |p| p.snapshot.orphans);
        self.number(text, "stale completions", |p| p.snapshot.stale_completions);
        self.number(text, "late descriptors closed", |p| p.snapshot.adopted_fds);
        self.number(text, "cancel requests", |p| p.snapshot.cancel_requests);
        self.number(text, "cancellations that came too late", |p| p.snapshot.cancel_races);
        self.number(text, "io_uring_enter", |p| p.snapshot.enters);
    }

    fn ending(&self, text: &mut String) {
        text.push_str(&format!(
            "peak memory {}\n",
            peak_kb().map_or("unknown".to_owned(), |kb| format!("{kb} kB"))
        ));
        for skipped in &self.skipped {
            text.push_str(&format!("skipped: {skipped}\n"));
        }
        for (phase, failure) in self.failures() {
            text.push_str(&format!("FAILED {}: {}: {}\n", phase.name, failure.place, failure.what));
        }
        text.push_str(&format!("verdict: {}\n", self.verdict()));
        if !self.passed() {
            text.push_str(&format!("again: {}\n", self.command()));
        }
    }

    fn row(&self, text: &mut String, name: &str, cell: impl Fn(&Phase) -> String) {
        let cells = self.phases.iter().map(cell);
        let line = cells.fold(format!("{name:<36}"), |line, cell| format!("{line}{cell:>16}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }

    /// A heading and a row for each scenario where there is something; nothing without such rows.
    fn by_scenario(&self, text: &mut String, name: &str, value: impl Fn(&Phase, Scenario) -> u64) {
        let mut rows = String::new();
        for scenario in &self.scenarios {
            let name = format!("  {}", scenario.name());
            self.number(&mut rows, &name, |phase| value(phase, *scenario));
        }
        if !rows.is_empty() {
            text.push_str(&format!("{name}\n{rows}"));
        }
    }

    /// A row; an indented one only if it is not zero everywhere.
    fn number(&self, text: &mut String, name: &str, value: impl Fn(&Phase) -> u64) {
        let indented = name.starts_with(' ');
        if !indented || self.phases.iter().any(|phase| value(phase) > 0) {
            self.row(text, name, |phase| value(phase).to_string());
        }
    }

    /// The report for programs: one object.
    pub(crate) fn json(&self) -> String {
        let (lost, duplicated, leaked) = self.damage();
        let drops: u64 = self.phases.iter().map(|phase| phase.world.tally.drops()).sum();
        let seconds: f64 = self.phases.iter().map(|phase| phase.seconds).sum();
        let failures: Vec<_> = self
            .failures()
            .map(|(phase, f)| json!({"mode": phase.name, "place": f.place, "what": f.what}))
            .collect();
        let value = json!({
            "passed": self.passed(),
            "verdict": self.verdict(),
            "seed": self.seed,
            "lost": lost,
            "duplicated": duplicated,
            "leaked": leaked,
            "drops": drops,
            "seconds": seconds,
            "drops_per_s": (float(drops) / seconds).round(),
            "peak_rss_kb": peak_kb(),
            "scenarios": self.scenarios.iter().map(|scenario| scenario.name()).collect::<Vec<_>>(),
            "modes": self.phases.iter().map(phase).collect::<Vec<_>>(),
            "skipped": self.skipped,
            "failures": failures,
        });
        format!("{value:#}\n")
    }
}

/// A table of what is not zero.
fn object(rows: impl Iterator<Item = (&'static str, u64)>) -> Value {
    let filled = rows.filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), json!(n)));
    Value::Object(filled.collect::<Map<_, _>>())
}

fn phase(phase: &Phase) -> Value {
    let (tally, ring) = (&phase.world.tally, &phase.snapshot);
    let of_scenario =
        |what: Count| object(Scenario::ALL.iter().map(|s| (s.name(), tally.counted(*s, what))));
    let point = |p: &Point| (p.name(), tally.drops_where(|_, _, at| at == *p));
    let act = |a: &Act| (a.name(), tally.drops_where(|_, what, _| what == *a));
    let scenario = |s: &Scenario| (s.name(), tally.drops_where(|at, _, _| at == *s));
    json!({
        "mode": phase.name,
        "seconds": phase.seconds,
        "operations": tally.operations(),
        "drops": tally.drops(),
        "drops_per_s": phase.drops_per_s(),
        "drops_by_point": object(Point::ALL.iter().map(point)),
        "drops_by_operation": object(Act::ALL.iter().map(act)),
        "drops_by_scenario": object(Scenario::ALL.iter().map(scenario)),
        "bytes_sent": of_scenario(Count::BytesSent),
        "bytes_received_and_verified": of_scenario(Count::BytesReceived),
        "bytes_verified_by_the_peer": of_scenario(Count::BytesVerified),
        "blocks_verified": of_scenario(Count::BlocksVerified),
        "streams": tally.counted_in_all(Count::Streams),
        "connections_made": tally.counted_in_all(Count::Made),
        "connections_accepted": tally.counted_in_all(Count::Accepted),
        "datagrams_sent": tally.counted_in_all(Count::DatagramsSent),
        "datagrams_received": tally.counted_in_all(Count::DatagramsReceived),
        "tasks_aborted": tally.counted_in_all(Count::Kills),
        "fds_before": phase.fds.0,
        "fds_after": phase.fds.1,
        "live_buffers": phase.live_buffers,
        "orphans_left": ring.orphans,
        "stale_completions": ring.stale_completions,
        "late_descriptors_closed": ring.adopted_fds,
        "cancel_requests": ring.cancel_requests,
        "cancel_races": ring.cancel_races,
        "enters": ring.enters,
    })
}

fn peak_kb() -> Option<u64> {
    machine::kilobytes(&machine::field("/proc/self/status", "VmHWM")?)
}
