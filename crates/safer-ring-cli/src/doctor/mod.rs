//! `safer-ring doctor`: does io_uring work here, if not why not, and what to do about it.
//!
//! What is found is collected into one value ([`findings`]), which is printed as text or as JSON: both say the same.

mod collect;
mod features;
mod findings;
mod kernels;
mod path;
mod render;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::profile;
use findings::Findings;

const AFTER_HELP: &str = "\
Exit codes: 0 if rings are io_uring, 1 if they are the fallback, 2 if there is no ring to be had or the doctor was asked \
for what it cannot do.

Colours are used on a terminal, unless NO_COLOR is set. SAFER_RING_BACKEND (auto, io_uring, fallback) is heeded as by the \
library.";

/// What the command takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DoctorArgs {
    /// Print JSON, with the keys that docs/DOCTOR.md describes
    #[arg(long)]
    json: bool,
    /// Also look at the file system and the device of this file or directory
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print this seccomp profile (JSON, of a container runtime) with the three calls of io_uring allowed, and nothing else
    #[arg(long, value_name = "BASE.json", conflicts_with_all = ["json", "path"])]
    seccomp_profile: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    if let Some(base) = &args.seccomp_profile {
        return print_profile(base);
    }
    let findings = collect::all(args.path.as_deref());
    match print(args, &findings) {
        Ok(()) => ExitCode::from(findings.exit_code),
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(findings.exit_code)
        }
        Err(error) => {
            eprintln!("safer-ring: {error}");
            ExitCode::from(findings::ERROR)
        }
    }
}

/// Writes the profile as it is, without a line break of its own.
fn print_profile(base: &Path) -> ExitCode {
    let text = profile::run(base).map_err(|error| error.to_string());
    let written = text.and_then(|text| {
        io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("safer-ring: {error}");
            ExitCode::from(findings::ERROR)
        }
    }
}

fn print(args: &DoctorArgs, findings: &Findings) -> io::Result<()> {
    let stdout = io::stdout();
    let colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let text = if args.json {
        serde_json::to_string_pretty(findings)? + "\n"
    } else {
        render::text(findings, colours)
    };
    stdout.lock().write_all(text.as_bytes())
}
