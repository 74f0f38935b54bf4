//! `cargo xtask no-std`: the core needs no operating system and no standard library.
//!
//! A `no_std` program brings its own panic handler. Where the standard library is linked in as well,
//! by whatever way, there are two, and the compiler refuses. So a generated program with its own
//! panic handler links the core and must build; the same program linked to a crate that does use
//! the standard library must not, which shows that the first build means something.

use std::path::Path;

use crate::{Outcome, workspace};

const CORE: &str = "safer-ring-core";
/// A target without an operating system, used where its libraries are installed.
const BARE_TARGET: &str = "thumbv6m-none-eabi";

const PROGRAM: &str = r#"//! Generated: a program without the standard library.
#![no_std]
#![no_main]

extern crate alloc;
extern crate subject as _;

use core::alloc::{GlobalAlloc, Layout};

struct Empty;

// SAFETY: null is the answer that says there is no memory.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Empty = Empty;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[link(name = "c")]
unsafe extern "C" {}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    0
}

// The prebuilt `alloc` names it; with `panic = "abort"` nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
"#;

const CONTROL: &str = "//! Generated: a crate that uses the standard library.
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}
";

/// Builds the proof and its control.
///
/// # Errors
/// The compiler's words when the core pulled the standard library in, or a word that the control
/// built, in which case the proof shows nothing.
pub(crate) fn run() -> Outcome {
    bare_target()?;
    let directory = workspace::target_directory()?.join("no-std");
    let package = workspace::packages()?.into_iter().find(|package| package.name == CORE);
    let package = package.ok_or_else(|| format!("no-std: {CORE} is no member"))?;
    let core = workspace::root().join(package.directory);

    let control = directory.join("control-subject");
    write_package(&control, "uses-std", "lib.rs", CONTROL, "")?;
    let refused = build(&directory.join("control"), "uses-std", &control)?;
    judge_control(refused.as_deref())?;
    println!("no-std: control: a crate that uses std is refused");

    match build(&directory.join("proof"), CORE, &core)? {
        None => {
            println!("no-std: {CORE} links into a program without std");
            Ok(())
        }
        Some(stderr) => Err(format!("no-std: {CORE} does not build without std:\n{stderr}")),
    }
}

/// The control must have been refused, and for the reason the proof relies on.
fn judge_control(stderr: Option<&str>) -> Outcome {
    match stderr {
        None => {
            Err("no-std: the control uses std and was built: the proof shows nothing".to_owned())
        }
        Some(text) if text.contains("panic_impl") => Ok(()),
        Some(text) => Err(format!("no-std: the control failed for another reason:\n{text}")),
    }
}

/// Builds the core for a target without an operating system, where that target is installed.
fn bare_target() -> Outcome {
    let mut rustc = std::process::Command::new("rustc");
    let sysroot =
        workspace::output_of(rustc.current_dir(workspace::root()).args(["--print", "sysroot"]))?;
    let installed = Path::new(sysroot.trim()).join("lib/rustlib").join(BARE_TARGET).join("lib");
    if !installed.is_dir() {
        println!(
            "skipped: {BARE_TARGET} is not installed; the linked program is the check that runs"
        );
        return Ok(());
    }
    workspace::output_of(workspace::cargo().args(["build", "-p", CORE, "--target", BARE_TARGET]))?;
    println!("no-std: {CORE} builds for {BARE_TARGET}");
    Ok(())
}

fn write_package(
    directory: &Path,
    name: &str,
    file: &str,
    source: &str,
    manifest: &str,
) -> Outcome {
    let sources = directory.join("src");
    let failed = |e: std::io::Error| format!("no-std: cannot write {}: {e}", directory.display());
    std::fs::create_dir_all(&sources).map_err(failed)?;
    std::fs::write(sources.join(file), source).map_err(failed)?;
    let head = format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n");
    let text = format!("{head}\n[workspace]\n{manifest}");
    std::fs::write(directory.join("Cargo.toml"), text).map_err(failed)
}

/// Builds the program against a crate: `None` when it builds, else the compiler's words.
fn build(directory: &Path, subject: &str, path: &Path) -> Outcome<Option<String>> {
    // A path inside the quotes of TOML: a basic string needs these two escaped.
    let path = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let manifest = format!(
        "\n[dependencies]\nsubject = {{ package = \"{subject}\", path = \"{path}\" }}\n\
         \n[profile.dev]\npanic = \"abort\"\n"
    );
    write_package(directory, "without-std", "main.rs", PROGRAM, &manifest)?;
    let mut cargo = workspace::cargo();
    // Flags and directories meant for the workspace's own build stay out of this one.
    cargo.current_dir(directory).args(["build", "--quiet", "--offline", "--target-dir", "target"]);
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().map_err(|e| format!("no-std: cannot run cargo: {e}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_that_builds_or_fails_otherwise_is_an_error() {
        assert!(judge_control(None).unwrap_err().contains("shows nothing"));
        assert!(judge_control(Some("error: linker")).unwrap_err().contains("another reason"));
        assert!(judge_control(Some("error[E0152]: duplicate lang item `panic_impl`")).is_ok());
    }
}
