//! `safer-ring spec compare`: the reports of two kernels.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::DIFFERS;
use super::check::{FORMAT, Report};

/// Prints what differs. The exit code is 1 if anything does.
pub(super) fn run(first: &Path, second: &Path) -> Result<ExitCode, String> {
    let (first, second) = (read(first)?, read(second)?);
    let differences = differences(&first, &second);
    let mut text = String::new();
    for difference in &differences {
        let _ = writeln!(text, "{difference}");
    }
    let _ = writeln!(
        text,
        "Linux {} and {}: {} differences",
        first.kernel,
        second.kernel,
        differences.len()
    );
    super::print(&text)?;
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

fn read(path: &Path) -> Result<Report, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| fail(&error))?;
    if report.format != FORMAT {
        return Err(fail(&format!("a report of format {}, not {FORMAT}", report.format)));
    }
    Ok(report)
}

/// What each probe found, in one line.
fn lines(report: &Report) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for statement in &report.statements {
        for probe in &statement.probes {
            let found = match &probe.observed {
                Some(observed) => format!("{} ({observed})", probe.verdict),
                None => probe.verdict.clone(),
            };
            lines.insert(format!("{}, {}", statement.id, probe.case), found);
        }
    }
    lines
}

fn differences(first: &Report, second: &Report) -> Vec<String> {
    let (left, right) = (lines(first), lines(second));
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let absent = || "not tried".to_owned();
    let pairs = names.into_iter().map(|name| {
        (
            name,
            left.get(name).cloned().unwrap_or_else(absent),
            right.get(name).cloned().unwrap_or_else(absent),
        )
    });
    let differing = pairs.filter(|(_, left, right)| left != right);
    differing
        .map(|(name, left, right)| {
            format!("{name}\n    {}: {left}\n    {}: {right}", first.kernel, second.kernel)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::{Probe, Statement};
    use super::*;

    fn report(kernel: &str, cases: &[(&str, &str)]) -> Report {
        let probes = cases.iter().map(|(case, verdict)| Probe {
            case: (*case).to_owned(),
            verdict: (*verdict).to_owned(),
            expected: String::new(),
            observed: None,
        });
        let statement = Statement {
            id: "io_submit/EINVAL/one".to_owned(),
            verdict: "holds".to_owned(),
            why: None,
            probes: probes.collect(),
        };
        Report {
            format: FORMAT,
            kernel: kernel.to_owned(),
            file_system: None,
            statements: vec![statement],
        }
    }

    #[test]
    fn equal_reports_do_not_differ_and_others_do() {
        let old = report("6.1", &[("a", "holds"), ("b", "holds")]);
        let new = report("7.3", &[("a", "holds"), ("b", "contradicted"), ("c", "holds")]);
        assert!(differences(&old, &report("7.3", &[("a", "holds"), ("b", "holds")])).is_empty());
        let found = differences(&old, &new);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(", b\n    6.1: holds\n    7.3: contradicted"), "{found:?}");
        assert!(found[1].contains("not tried"));
    }
}
