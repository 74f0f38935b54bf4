//! `safer-ring torture`: random operations, dropped at random, against peers that misbehave at random.
//!
//! Everything that travels carries a sequence that its receiver checks, so that a byte, a datagram, a connection or a
//! block that a drop loses or doubles is seen, and where. What is left at the end is counted: descriptors, buffers,
//! operations. The choices come from a seed; how they interleave is the kernel's affair.

mod accept;
mod datagram;
mod dice;
mod fate;
mod files;
mod host;
mod lanes;
mod opens;
mod pattern;
mod peer;
mod report;
mod stream;
mod tally;
mod trail;
mod watch;
mod world;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use safer_ring::{Local, RingOf, Shared};

use crate::load;
use crate::num::whole;
use host::Host;
use report::{Phase, Report};
use tally::Scenario;
use watch::{Limit, Watch};
use world::World;

/// Exit code where io_uring is not available.
const UNAVAILABLE: u8 = 3;

/// Arguments of `torture`.
#[derive(Debug, clap::Args)]
pub(crate) struct TortureArgs {
    /// How long, in all
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// Stop after so many drops in place of a time
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    drops: Option<u64>,
    /// Where the choices start [default: from the clock]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
    /// Kind of ring
    #[arg(long, value_enum, default_value_t = Modes::Both)]
    mode: Modes,
    /// Run only these scenarios, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_scenario)]
    only: Vec<Scenario>,
    /// Directory of the data files [default: the temporary directory]
    #[arg(long, value_name = "DIR", value_parser = crate::data::parse_dir)]
    dir: Option<PathBuf>,
    /// Seconds without progress after which a lane counts as hung
    #[arg(long, hide = true, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    patience: u64,
}

/// Which kinds of ring run, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Modes {
    Local,
    Shared,
    Both,
}

fn parse_scenario(text: &str) -> Result<Scenario, String> {
    let known = Scenario::ALL.iter().find(|scenario| scenario.name() == text);
    known.copied().ok_or_else(|| {
        let names: Vec<_> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        format!("no such scenario; there are {}", names.join(", "))
    })
}

impl TortureArgs {
    /// The chosen scenarios, each once.
    fn scenarios(&self) -> Vec<Scenario> {
        let chosen = |s: &&Scenario| self.only.is_empty() || self.only.contains(s);
        Scenario::ALL.iter().filter(chosen).copied().collect()
    }

    /// The share of one mode in the time or the drops.
    fn limit(&self) -> Limit {
        let modes = if self.mode == Modes::Both { 2 } else { 1 };
        match self.drops {
            Some(drops) => Limit::Drops(drops.div_ceil(modes)),
            None => Limit::Time(Duration::from_millis(1000 * self.seconds / modes)),
        }
    }
}

/// Runs the command. Exit code 1 if anything was lost, doubled or leaked, or went wrong otherwise; 3 where there is no
/// io_uring.
pub(crate) fn run(args: &TortureArgs) -> ExitCode {
    load::raise_open_files();
    // The first ring of a process leaves what all of them share; it is not to look like a leak.
    let trial = RingOf::<Shared>::new(8).and_then(|_| RingOf::<Local>::new(8));
    if let Err(error) = trial {
        eprintln!("safer-ring: io_uring is not available here: {error}");
        return ExitCode::from(UNAVAILABLE);
    }
    match torture(args) {
        Ok(report) => {
            print!("{}", if args.json { report.json() } else { report.table() });
            // Threads that hang are not waited for.
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("safer-ring: {error}");
            ExitCode::FAILURE
        }
    }
}

fn torture(args: &TortureArgs) -> io::Result<Report> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or_else(|| whole(since_epoch.as_secs_f64() * 1000.0));
    let scenarios = args.scenarios();
    let mut report = Report::new(seed, &scenarios);
    let watch = Watch::new(args.limit())?;
    if args.mode != Modes::Shared {
        let phase = phase::<Local>(args, seed, &scenarios, &watch, &mut report.skipped)?;
        report.phases.push(phase);
    }
    if args.mode != Modes::Local && report.passed() && !watch.interrupted() {
        let phase = phase::<Shared>(args, seed, &scenarios, &watch, &mut report.skipped)?;
        report.phases.push(phase);
    }
    Ok(report)
}

/// One mode, from the first lane to the last descriptor.
fn phase<M: Host>(
    args: &TortureArgs,
    seed: u64,
    scenarios: &[Scenario],
    watch: &Watch,
    skipped: &mut lanes::Skipped,
) -> io::Result<Phase> {
    let patience = Duration::from_secs(args.patience);
    let world = Arc::new(World::new(seed, patience).map_err(io::Error::other)?);
    let fds_before = watch::descriptors();
    let (own, chosen, dir) = (Arc::clone(&world), scenarios.to_vec(), args.dir.clone());
    let runner =
        std::thread::Builder::new().name(format!("torture {}", M::NAME)).spawn(move || {
            let mut skipped = lanes::Skipped::new();
            let make =
                |ring: &RingOf<M>| lanes::make(ring, &own, &chosen, dir.as_deref(), &mut skipped);
            M::run(&own, make).map(|()| skipped)
        })?;
    let (seconds, ended) = watch.attend(&world, M::NAME, runner);
    match ended {
        Some(Ok(Ok(notes))) => skipped.extend(notes),
        Some(Ok(Err(error))) => return Err(error),
        Some(Err(_)) => return Err(io::Error::other("the thread of the run panicked")),
        // It hangs or it failed: the failures tell, and what is left is not waited for.
        None => {}
    }
    let fds_after = if world.failed() {
        watch::descriptors()
    } else {
        watch::settle_descriptors(&world, &fds_before, patience)
    };
    Ok(Phase::new(M::NAME, world, seconds, fds_before.len(), fds_after.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: TortureArgs,
    }

    fn parse(words: &[&str]) -> Result<TortureArgs, clap::Error> {
        Wrapper::try_parse_from([&["torture"], words].concat()).map(|w| w.args)
    }

    #[test]
    fn arguments_are_shared_among_the_modes() {
        let limit = |words: &[&str]| parse(words).unwrap().limit();
        assert_eq!(limit(&["--seconds", "4"]), Limit::Time(Duration::from_secs(2)));
        assert_eq!(
            limit(&["--seconds", "4", "--mode", "local"]),
            Limit::Time(Duration::from_secs(4))
        );
        assert_eq!(limit(&["--drops", "11"]), Limit::Drops(6));
        let only = parse(&["--only", "udp,files,udp"]).unwrap().scenarios();
        assert_eq!(only, [Scenario::Files, Scenario::Udp]);
        assert_eq!(parse(&[]).unwrap().scenarios(), Scenario::ALL);
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for words in [
            ["--only", "files,bogus"].as_slice(),
            &["--mode", "remote"],
            &["--seconds", "0"],
            &["--drops", "0"],
            &["--drops", "5", "--seconds", "5"],
            &["--seed", "-1"],
            &["--dir", "/no/such/dir"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        let message = parse(&["--only", "bogus"]).unwrap_err().to_string();
        assert!(message.contains("bogus") && message.contains("accept"), "{message}");
    }
}
