//! `safer-ring spec show`, `parse` and `diff`: specifications as documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use safer_ring_spec::Specification;

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
    let specification = named(name)?;
    match format {
        Format::Json => json(&[specification])?,
        Format::Text => {
            let texts = safer_ring_spec::shipped_texts().iter();
            let file = format!("{}.txt", specification.name);
            let text = texts.filter(|(name, _)| *name == file).map(|(_, text)| *text).next();
            super::print(text.unwrap_or_default())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn named(name: &str) -> Result<Specification, String> {
    let found = safer_ring_spec::find(name);
    found.ok_or_else(|| {
        format!("{name}: there is no such specification; there are: {}", super::names())
    })
}

fn json(specifications: &[Specification]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(specifications).map_err(|error| error.to_string())?;
    super::print(&(text + "\n"))
}

/// Reads a file. The exit code is 1 if anything in it is an error.
pub(super) fn parse(file: &Path, format: Format) -> Result<ExitCode, String> {
    let (specifications, faults) = read(file)?;
    match format {
        Format::Json => json(&specifications)?,
        Format::Text => {
            let mut text = String::new();
            for specification in &specifications {
                let _ = writeln!(text, "{}", specification.full_name());
                for statement in specification.statements() {
                    let _ = writeln!(text, "  {}: {}", statement.id, statement.text);
                }
            }
            super::print(&text)?;
        }
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

/// Compares the statements of two specifications.
pub(super) fn diff(first: &str, second: &str) -> Result<ExitCode, String> {
    let (first, second) = (either(first)?, either(second)?);
    let (left, right) = (lines(&first), lines(&second));
    let mut text = String::new();
    for (id, line) in &left {
        match right.get(id) {
            None => {
                let _ = writeln!(text, "- {id}: {line}");
            }
            Some(other) if other != line => {
                let _ = writeln!(text, "- {id}: {line}\n+ {id}: {other}");
            }
            Some(_) => {}
        }
    }
    for (id, line) in right.iter().filter(|(id, _)| !left.contains_key(*id)) {
        let _ = writeln!(text, "+ {id}: {line}");
    }
    super::print(&text)?;
    Ok(if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

/// A specification by its name, or all in a file.
fn either(name: &str) -> Result<Vec<Specification>, String> {
    let path = Path::new(name);
    if path.exists() { Ok(read(path)?.0) } else { Ok(vec![named(name)?]) }
}

fn lines(specifications: &[Specification]) -> BTreeMap<String, String> {
    let statements = specifications.iter().flat_map(Specification::statements);
    statements.map(|statement| (statement.id.clone(), statement.text.clone())).collect()
}
