//! `cargo xtask torture`: a minute of random drops, as it is shipped and under the address sanitizer.

use std::process::{Command, Stdio};

use crate::{Outcome, workspace};

/// Seconds of a run, shared by the two kinds of ring.
const SECONDS: &str = "60";
/// The program's exit code where io_uring is not available.
const UNAVAILABLE: i32 = 3;

/// How the program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Optimised, with the toolchain in use.
    Release,
    /// Optimised, with the nightly toolchain and its address sanitizer.
    Asan,
}

/// Runs the torture program.
///
/// # Errors
/// It found something, or it cannot be built.
pub(crate) fn run(build: Build) -> Outcome {
    let mut command = match build {
        Build::Release => workspace::cargo(),
        Build::Asan => match nightly()? {
            Some(command) => command,
            None => return Ok(()),
        },
    };
    command.args(["run", "--release", "-p", "safer-ring-cli"]);
    if build == Build::Asan {
        // With a target named, build scripts and macros are not instrumented.
        let host = workspace::host()?;
        command.args(["--target", &host, "--target-dir"]);
        command.arg(workspace::target_directory()?.join("asan"));
    }
    command.args(["--", "torture", "--seconds", SECONDS]);
    let status = command.status().map_err(|e| format!("torture: cannot run cargo: {e}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(UNAVAILABLE) => {
            println!("skipped: torture: io_uring is not available here");
            Ok(())
        }
        _ => Err(format!("torture: {status}; the seed is above")),
    }
}

/// cargo of the nightly toolchain with the sanitizer turned on; `None`, and a line that says so, where there is none.
fn nightly() -> Outcome<Option<Command>> {
    let list = workspace::output_of(Command::new("rustup").args(["toolchain", "list"]));
    let Some(toolchain) = newest(&list.unwrap_or_default()) else {
        println!("skipped: torture under the address sanitizer: no nightly toolchain is installed");
        return Ok(None);
    };
    let mut command = Command::new("rustup");
    command.current_dir(workspace::root()).stdin(Stdio::null());
    // What the running cargo tells its children would send the nightly one to the stable compiler.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command.env("RUSTFLAGS", "-Zsanitizer=address");
    // Such a build looks for errors; optimising across crates would take two minutes more.
    command
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    // Memory that a reused stack frame hides would be missed without it.
    command.env("ASAN_OPTIONS", "detect_stack_use_after_return=1");
    command.args(["run", &toolchain, "cargo"]);
    Ok(Some(command))
}

/// The nightly toolchain in the output of `rustup toolchain list`.
fn newest(list: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).max().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nightly_toolchain_is_found_in_the_list() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                    nightly-x86_64-unknown-linux-gnu\n1.95.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(newest(list).as_deref(), Some("nightly-x86_64-unknown-linux-gnu"));
        assert_eq!(newest("stable-x86_64-unknown-linux-gnu (default)\n"), None);
        assert_eq!(newest("no installed toolchains\n"), None);
    }
}
