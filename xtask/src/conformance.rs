//! `cargo xtask conformance`: every scenario in every environment of this machine, and the figures of that.

use std::process::Stdio;

use crate::{Outcome, workspace};

/// Runs the suite. With `figures` it says how many there were of what, and nothing else unless something failed.
///
/// # Errors
/// If anything failed.
pub(crate) fn run(figures: bool) -> Outcome {
    let directory = workspace::target_directory()?.join("conformance");
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "-p", "safer-ring-conformance", "--", "--dir"]).arg(directory);
    if !figures {
        return workspace::run(&mut command).map_err(|e| format!("conformance: {e}"));
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{text}conformance: {}", output.status));
    }
    println!("{}", last(&text)?);
    Ok(())
}

/// The line with the figures.
fn last(text: &str) -> Outcome<&str> {
    let line = text.lines().last().filter(|line| line.contains(" scenarios x "));
    line.ok_or_else(|| format!("no figures at the end of: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_last_line() {
        let text = "uring  1 passed\n3 scenarios x 2 of 2 environments: 6 passed, 0 failed\n";
        assert_eq!(last(text), Ok("3 scenarios x 2 of 2 environments: 6 passed, 0 failed"));
        assert!(last("nothing\n").is_err() && last("").is_err());
    }
}
