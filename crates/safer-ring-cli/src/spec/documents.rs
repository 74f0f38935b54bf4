//! `safer-ring spec show`, `parse` and `diff`: specifications as documents.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use safer_ring_spec::{Specification, render};

use super::{DIFFERS, Format};

/// Prints a specification that comes with the program.
pub(super) fn show(name: &str, format: Format) -> Result<ExitCode, String> {
    if name == "all" {
        let mut list = String::new();
        for specification in safer_ring_spec::shipped() {
            let count = specification.statements().len();
            let _ = writeln!(list, "{}: {count} statements", specification.name);
        }
        super::print(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    super::print(&render(&named(name)?, format.of()))?;
    Ok(ExitCode::SUCCESS)
}

fn named(name: &str) -> Result<Specification, String> {
    let found = safer_ring_spec::find(name);
    found.ok_or_else(|| {
        format!("{name}: there is no such specification; there are: {}", super::names())
    })
}

/// Reads a file. The exit code is 1 if anything in it is an error.
pub(super) fn parse(file: &Path, format: Format) -> Result<ExitCode, String> {
    let (specifications, faults) = read(file)?;
    for specification in &specifications {
        super::print(&render(specification, format.of()))?;
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

/// The specifications in a file, and what is wrong with it.
fn read(file: &Path) -> Result<(Vec<Specification>, Vec<String>), String> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let document = safer_ring_spec::parse_bytes(&name, &bytes);
    let faults = document.diagnostics.iter().map(ToString::to_string).collect();
    let specifications: Vec<_> =
        document.specifications.into_iter().map(|located| located.specification).collect();
    if specifications.is_empty() {
        return Err(format!("{name}: there is no specification in it"));
    }
    Ok((specifications, faults))
}

/// Compares two specifications.
pub(super) fn diff(first: &str, second: &str) -> Result<ExitCode, String> {
    let (first, second) = (either(first)?, either(second)?);
    let differences = safer_ring_spec::diff::diff(&first, &second);
    super::print(&safer_ring_spec::diff::render(&differences))?;
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

/// A specification by its name, or the only one in a file.
fn either(name: &str) -> Result<Specification, String> {
    let path = Path::new(name);
    if !path.is_file() {
        return named(name);
    }
    let mut found = read(path)?.0;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (_, others) => Err(format!("{name}: there are {} specifications in it", others + 1)),
    }
}
