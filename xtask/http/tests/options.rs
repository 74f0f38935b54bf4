//! What the program says to wrong options.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn an_option_that_is_not_there_is_told_with_those_that_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask-http")).arg("--slow").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--slow") && said.contains("--quick"), "{said}");
    assert!(output.stdout.is_empty());
}
