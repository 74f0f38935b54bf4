//! `cargo xtask elsewhere`: who builds for another system is told what to do, and nothing else.
//!
//! io_uring is Linux only, so the face crate is one `compile_error!` elsewhere. It helps only if it is not
//! drowned: no dependency may fail before it, and none of its own code may fail beside it. The crate is
//! checked for each foreign target that is installed, and must fail with that message alone. That each item of its root is
//! for Linux only is a house rule besides (`cargo xtask tidy`), for machines that have no such target.

use std::path::Path;

use serde_json::Value;

use crate::workspace::{array, text};
use crate::{Outcome, workspace};

const FACE: &str = "safer-ring";
const TARGETS: &[&str] = &["x86_64-apple-darwin", "aarch64-apple-darwin", "x86_64-pc-windows-gnu"];
/// What the message must hold: the reason, and the way out.
const PARTS: &[&str] = &["Linux only", "[target.'cfg(target_os = \"linux\")'.dependencies]"];

/// Checks the face crate for every foreign target that is installed, without features and with all.
///
/// # Errors
/// The errors of the compiler, when they are not that one message; or that it built.
pub(crate) fn run() -> Outcome {
    let mut rustc = std::process::Command::new("rustc");
    let sysroot =
        workspace::output_of(rustc.current_dir(workspace::root()).args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let installed = |target: &&&str| libraries.join(target).join("lib").is_dir();
    let targets: Vec<&&str> = TARGETS.iter().filter(installed).collect();
    if targets.is_empty() {
        println!("skipped: none of {} is installed", TARGETS.join(", "));
    }
    for target in targets {
        for features in ["--no-default-features", "--all-features"] {
            let errors = errors_of(target, features)?;
            judge(&errors).map_err(|what| format!("elsewhere: {target}, {features}: {what}"))?;
        }
        println!("elsewhere: {FACE} on {target} says what to do, and nothing else");
    }
    Ok(())
}

/// The compiler's errors that have a place in a source.
fn errors_of(target: &str, features: &str) -> Outcome<Vec<String>> {
    let mut cargo = workspace::cargo();
    cargo.args(["check", "--quiet", "-p", FACE, "--message-format=json"]);
    cargo.args(["--target", target, features]);
    let output = cargo.output().map_err(|e| format!("elsewhere: cannot run cargo: {e}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let errors = errors_in(stdout.lines())?;
    if errors.is_empty() && !output.status.success() {
        // Nothing was compiled: a dependency that cannot be fetched, say.
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(errors)
}

/// The errors among cargo's messages, a JSON object each.
fn errors_in<'l>(lines: impl Iterator<Item = &'l str>) -> Outcome<Vec<String>> {
    let mut errors = Vec::new();
    for line in lines {
        let message: Value = serde_json::from_str(line).map_err(|e| format!("cargo: {e}"))?;
        let Some(diagnostic) = message.get("message") else { continue };
        if text(diagnostic, "level") == "error" && !array(diagnostic, "spans").is_empty() {
            errors.push(text(diagnostic, "message").to_owned());
        }
    }
    Ok(errors)
}

/// One error, and the right one.
fn judge(errors: &[String]) -> Outcome {
    match errors {
        [] => Err("it builds, and has no message".to_owned()),
        [only] => match PARTS.iter().find(|part| !only.contains(**part)) {
            None => Ok(()),
            Some(part) => Err(format!("the message does not say \"{part}\": {only}")),
        },
        many => Err(format!("{} errors, not one:\n{}", many.len(), many.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_that_says_what_to_do_passes_and_nothing_else_does() {
        let right = PARTS.join(" ");
        assert!(judge(std::slice::from_ref(&right)).is_ok());
        assert!(judge(&[]).unwrap_err().contains("it builds"));
        assert!(judge(&["Linux only".to_owned()]).unwrap_err().contains("does not say"));
        assert!(judge(&[right, "E0425".to_owned()]).unwrap_err().starts_with("2 errors"));
    }

    #[test]
    fn only_errors_with_a_place_count() {
        let line = |level: &str, spans: &[&str], what: &str| {
            serde_json::json!({"reason": "compiler-message",
                "message": {"level": level, "spans": spans, "message": what}})
            .to_string()
        };
        let lines = [
            line("warning", &["a"], "unused"),
            line("error", &["a"], "wrong"),
            line("error", &[], "aborting due to 1 previous error"),
            serde_json::json!({"reason": "build-finished", "success": false}).to_string(),
        ];
        assert_eq!(errors_in(lines.iter().map(String::as_str)).unwrap(), ["wrong"]);
        assert!(errors_in(["no json"].into_iter()).is_err());
    }
}
