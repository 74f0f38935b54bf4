//! The `safer-ring` command-line tool: is it faster here, and by how much; and does it keep its promises.
//!
//! `safer-ring bench` measures Safer-Ring against a hand-written io_uring loop, the standard library and tokio on this
//! machine, with real files and real sockets, and says plainly where it wins and where it loses.
//!
//! `safer-ring torture` drops futures at every point of their lives and checks that nothing is lost by it.
//!
//! `safer-ring doctor` says whether io_uring works here, and if not, why, and what to do about it.
//!
//! `safer-ring soak` passes bytes between threads millions of times and checks that no wake-up is lost.
//!
//! `safer-ring spec` shows what the system calls of Linux AIO and io_uring promise, and whether this kernel keeps it.
#![deny(unsafe_code)]

mod bench;
mod data;
mod doctor;
mod imp;
mod load;
mod num;
mod profile;
mod soak;
mod spec;
mod torture;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Counts heap allocations, so that a row can say how many an operation costs.
#[global_allocator]
static ALLOCATOR: bench::alloc::Counting = bench::alloc::Counting;

#[derive(Debug, Parser)]
#[command(name = "safer-ring", version, about = "Safer-Ring: io_uring by ownership transfer")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure Safer-Ring on this machine against raw io_uring, the standard library and tokio
    Bench(bench::BenchArgs),
    /// Tell whether io_uring works here, and if not, why, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Drop futures at random, and check that nothing is lost, duplicated or leaked
    Torture(torture::TortureArgs),
    /// Pass bytes between tasks on different threads, and check that every one that waits is woken
    Soak(soak::SoakArgs),
    /// Specifications of system calls: show, check against this kernel, explain errors
    Spec(spec::SpecArgs),
    /// The load side of the echo scenarios, in a process of its own
    #[command(hide = true)]
    EchoLoad(load::LoadArgs),
    /// One scenario with one implementation, in a process of its own
    #[command(hide = true)]
    InstrRun(bench::instr::RunArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Torture(args) => torture::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Spec(args) => spec::run(&args),
        Command::EchoLoad(args) => finish(load::run(&args)),
        Command::InstrRun(args) => finish(bench::instr::run_one(&args)),
    }
}

/// The exit code of a helper process: its error, if any, goes to standard error.
fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("safer-ring: {error}");
            ExitCode::FAILURE
        }
    }
}
