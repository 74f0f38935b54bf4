//! `cargo xtask spec-fuzz`: the parser of specifications on texts that were changed at random.

use crate::{Outcome, workspace};

/// Seconds of a run, unless asked otherwise.
pub(crate) const SECONDS: u64 = 60;

/// Runs the fuzz program of safer-ring-spec for this long.
///
/// # Errors
/// An input made the parser panic, or did not come back the same; or the program cannot be built.
pub(crate) fn fuzz(seconds: u64) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "safer-ring-spec", "--example", "fuzz", "--"]);
    command.args(["--seconds", &seconds.to_string()]);
    workspace::run(&mut command).map_err(|e| format!("spec-fuzz: {e}; the input is above"))
}

/// The seconds of an argument.
///
/// # Errors
/// It is no number.
pub(crate) fn seconds(word: &str) -> Outcome<u64> {
    word.parse().map_err(|_| format!("spec-fuzz: `{word}` is no number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_number() {
        assert_eq!(seconds("5"), Ok(5));
        assert!(seconds("soon").unwrap_err().contains("`soon`"));
    }
}
