//! `safer-ring soak`: passes bytes to and fro between tasks on different threads, and looks on whether every task that
//! waits is woken.
//!
//! Two tasks share a socket pair, two pipes or two eventfds, and take turns: one writes while the other waits for its read.
//! Each read that had to wait is a completion that was reaped for a parked task. Those whose writer ran on another thread than
//! the reader when it parked are counted apart; they are what a lane is to reach, but for those in which tokio keeps most
//! pairs on one thread. With one pair of tasks all threads sleep between the steps; with many,
//! completions come in bundles while tasks are parked. So each lane has rounds with different numbers of pairs.
//!
//! A wake-up that is lost leaves both tasks of a pair waiting. The main thread looks on, and when a lane has stood still
//! for some time it says what each side waits for and what is in flight.

mod lanes;
mod pairs;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use lanes::LANES;

/// The program's exit code where io_uring is not available, as that of `torture`.
const UNAVAILABLE: u8 = 3;

/// Arguments of `safer-ring soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Wake-ups in each lane
    #[arg(long, default_value_t = 100_000)]
    wakes: u64,
    /// Seconds without any progress after which a wake-up counts as lost
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Worker threads
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=256))]
    threads: u16,
    /// Only lanes whose name begins so
    #[arg(long, default_value = "")]
    only: String,
}

/// Runs the lanes one after the other. The exit code is 1 if a wake-up was lost, 2 if nothing was run.
pub(crate) fn run(args: &SoakArgs) -> ExitCode {
    if let Err(error) = safer_ring::Ring::new(8) {
        eprintln!("safer-ring: {error}");
        return ExitCode::from(UNAVAILABLE);
    }
    let chosen = LANES.iter().filter(|lane| lane.name.starts_with(args.only.as_str()));
    let mut ran = 0;
    for lane in chosen {
        ran += 1;
        let since = Instant::now();
        let patience = Duration::from_secs(args.patience);
        match lanes::attend(lane, args.wakes, args.threads.into(), patience) {
            Ok(sum) => println!("{:<16} {sum}, {:.1} s", lane.name, since.elapsed().as_secs_f64()),
            Err(what) => {
                eprintln!("{}: FAILED\n{what}", lane.name);
                return ExitCode::FAILURE;
            }
        }
    }
    if ran == 0 {
        let names: Vec<_> = LANES.iter().map(|lane| lane.name).collect();
        eprintln!("safer-ring: no lane begins so; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
