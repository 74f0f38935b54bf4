//! The `safer-ring` command-line tool: is it faster here, and by how much.
//!
//! `safer-ring bench` measures Safer-Ring against a hand-written io_uring loop, the standard library and tokio on this
//! machine, with real files and real sockets, and says plainly where it wins and where it loses.
#![deny(unsafe_code)]

mod bench;
mod data;
mod imp;
mod load;
mod num;

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
        Command::EchoLoad(args) => finish(load::run(&args)),
        Command::InstrRun(args) => finish(bench::instr::run_one(&args)),
    }
}

/// The exit code of a helper process: its error, if any, goes to standard error.
fn finish(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("safer-ring: {error}");
            ExitCode::FAILURE
        }
    }
}
