//! `cargo xtask instr`: user-space instructions per operation, which do not depend on how busy the
//! machine is, against a stored table and against fixed budgets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::workspace::{array, text};
use crate::{Outcome, workspace};

/// The stored table, in the root of the repository.
pub(crate) const BASELINE: &str = "instr-baseline.json";
/// Growth that is not noise: this part of the stored value, or this many instructions if more.
const TOLERANCE_RATIO: f64 = 0.03;
const TOLERANCE_INSTRUCTIONS: f64 = 3.0;
/// The row that a budget counts from: the same work by hand, in the same harness.
const RAW: &str = "raw";
/// What the library itself may cost: implementation, scenario, most instructions per operation above [`RAW`]. A read alone may have
/// 450 in all; 8 of them let it name a file that is registered, which saves the kernel more than that.
const BUDGETS: &[(&str, &str, f64)] =
    &[("safer-ring/local", "read-4k-cached-qd1", 213.0), ("safer-ring/local", "nop-qd64", 200.0)];
/// The exit code with which the benchmark says that it cannot count here.
const CANNOT_COUNT: i32 = 3;

/// What to do with the stored table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Compare only.
    Nothing,
    /// Store rows that became lower and rows that are new.
    Better,
    /// Store every row, also those that grew.
    Everything,
}

/// Instructions per operation by scenario and implementation.
pub(crate) type Rows = BTreeMap<(String, String), f64>;

/// A measured or stored table.
#[derive(Debug, Clone, PartialEq)]
struct Table {
    rustc: String,
    arch: String,
    rows: Rows,
}

/// Measures, compares, and stores what was asked for.
///
/// # Errors
/// A row grew, is missing, is not stored yet, or is above its budget.
pub(crate) fn run(store: Store) -> Outcome {
    let valgrind = Command::new("valgrind").arg("--version").output();
    if !valgrind.is_ok_and(|output| output.status.success()) {
        println!("skipped: instruction counts: valgrind is not installed");
        return Ok(());
    }
    let Some(measured) = measure()? else { return Ok(()) };
    let root = workspace::root();
    let stored = if root.join(BASELINE).exists() {
        Some(parse(&workspace::read(&root, BASELINE)?, BASELINE)?)
    } else {
        None
    };
    let mut findings = over_budget(&measured);
    if store != Store::Nothing {
        let merged = merge(stored.as_ref(), &measured, store)?;
        workspace::write(&root, BASELINE, &render(&merged))?;
        println!("instr: wrote {BASELINE}: {} rows", merged.rows.len());
        // What updating does not take is still wrong.
        findings.extend(compare(&merged, &measured).0);
        return verdict(&findings);
    }
    match &stored {
        None => findings
            .push(format!("instr: no {BASELINE}: make it with `cargo xtask instr --update`")),
        Some(stored) => match not_comparable(stored, &measured) {
            Some(why) => {
                println!("skipped: comparison with {BASELINE}: {why}; budgets were checked")
            }
            None => {
                let (worse, better) = compare(stored, &measured);
                findings.extend(worse);
                better.iter().for_each(|line| println!("{line}"));
            }
        },
    }
    for ((scenario, implementation), instructions) in &measured.rows {
        println!("instr: {scenario} {implementation}: {instructions:.1}");
    }
    verdict(&findings)
}

fn verdict(findings: &[String]) -> Outcome {
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

/// Runs the benchmark's counting mode; `None` when it says it cannot count on this machine.
fn measure() -> Outcome<Option<Table>> {
    let file = workspace::target_directory()?.join("instr.json");
    // A table of an earlier run must not stand in for one that was not written.
    if file.exists() {
        std::fs::remove_file(&file).map_err(|e| format!("instr: {}: {e}", file.display()))?;
    }
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--release", "-p", "safer-ring-cli", "--"]);
    command.args(["bench", "--instr", "--json"]).arg(&file);
    let output = command.output().map_err(|e| format!("instr: cannot run cargo: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT_COUNT) {
        println!("skipped: instruction counts: {}", said.trim());
        return Ok(None);
    }
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stdout);
        let rows = std::fs::read_to_string(&file).is_ok_and(|json| parse(&json, "").is_ok());
        return match restriction().filter(|_| !rows) {
            Some(why) => {
                println!("skipped: instruction counts: no ring can be made here: {why}\n{printed}");
                Ok(None)
            }
            None => {
                Err(format!("instr: the benchmark failed ({}):\n{printed}{said}", output.status))
            }
        };
    }
    let json = std::fs::read_to_string(&file).map_err(|e| format!("instr: no table: {e}"))?;
    parse(&json, "the benchmark").map(Some)
}

/// What on this machine may keep a process from making a ring, where there is such a thing.
fn restriction() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    restriction_in(&read("/proc/sys/kernel/io_uring_disabled"), &read("/proc/self/status"))
}

/// The restriction in the texts of the sysctl `kernel.io_uring_disabled` and of
/// `/proc/self/status`, as proc_pid_status(5) describes it.
fn restriction_in(disabled: &str, status: &str) -> Option<String> {
    if let level @ ("1" | "2") = disabled.trim() {
        return Some(format!("kernel.io_uring_disabled is {level}"));
    }
    let filter = status.lines().filter_map(|line| line.strip_prefix("Seccomp:"));
    filter
        .map(str::trim)
        .find(|mode| *mode == "2")
        .map(|_| "a seccomp filter is in force".to_owned())
}

/// Reads a table; `origin` is used in messages.
fn parse(json: &str, origin: &str) -> Outcome<Table> {
    let value: Value = serde_json::from_str(json).map_err(|e| format!("instr: {origin}: {e}"))?;
    let mut rows = Rows::new();
    for row in array(&value, "instr") {
        let name = (text(row, "scenario").to_owned(), text(row, "impl").to_owned());
        let count = row.get("instr_per_op").and_then(Value::as_f64);
        let Some(count) = count.filter(|_| !name.0.is_empty() && !name.1.is_empty()) else {
            return Err(format!("instr: {origin}: a row is not complete: {row}"));
        };
        if rows.insert(name, count).is_some() {
            return Err(format!("instr: {origin}: a row is there twice: {row}"));
        }
    }
    let (rustc, arch) = (text(&value, "rustc").to_owned(), text(&value, "arch").to_owned());
    if rows.is_empty() || rustc.is_empty() || arch.is_empty() {
        return Err(format!("instr: {origin}: needs \"rustc\", \"arch\" and rows in \"instr\""));
    }
    Ok(Table { rustc, arch, rows })
}

/// The rows of a stored table.
///
/// # Errors
/// The text is none.
pub(crate) fn stored(json: &str) -> Outcome<Rows> {
    Ok(parse(json, BASELINE)?.rows)
}

/// Writes a table, one row a line, for reviewable changes.
fn render(table: &Table) -> String {
    let (rustc, arch) = (Value::from(table.rustc.as_str()), Value::from(table.arch.as_str()));
    let mut json = format!("{{\n  \"rustc\": {rustc},\n  \"arch\": {arch},\n  \"instr\": [");
    for (index, ((scenario, implementation), count)) in table.rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let (scenario, implementation) =
            (Value::from(scenario.as_str()), Value::from(implementation.as_str()));
        let _ = write!(
            json,
            "{comma}\n    {{\"scenario\": {scenario}, \"impl\": {implementation}, \"instr_per_op\": {count:.1}}}"
        );
    }
    json + "\n  ]\n}\n"
}

/// Rows above their budget, and budgets without a row.
fn over_budget(measured: &Table) -> Vec<String> {
    let mut findings = Vec::new();
    let row = |scenario: &str, implementation: &str| {
        measured.rows.get(&(scenario.to_owned(), implementation.to_owned())).copied()
    };
    for &(implementation, scenario, most) in BUDGETS {
        let (Some(count), Some(raw)) = (row(scenario, implementation), row(scenario, RAW)) else {
            findings.push(format!("instr: {scenario} {implementation} or {RAW} was not measured"));
            continue;
        };
        let own = count - raw;
        if own > most {
            findings.push(format!(
                "instr: {scenario} {implementation}: {own:.1} instructions above {RAW}, the budget is {most}"
            ));
        }
    }
    findings
}

/// Why two tables cannot be compared row by row.
fn not_comparable(stored: &Table, measured: &Table) -> Option<String> {
    if stored.arch != measured.arch {
        return Some(format!("it is for {}, this machine is {}", stored.arch, measured.arch));
    }
    (stored.rustc != measured.rustc)
        .then(|| format!("it was made with {}, this is {}", stored.rustc, measured.rustc))
}

/// Growth that is more than noise.
fn tolerance(stored: f64) -> f64 {
    TOLERANCE_INSTRUCTIONS.max(stored * TOLERANCE_RATIO)
}

/// What got worse (or cannot be told), and what got better.
fn compare(stored: &Table, measured: &Table) -> (Vec<String>, Vec<String>) {
    let mut worse = Vec::new();
    let mut better = Vec::new();
    for (name, &before) in &stored.rows {
        let row = format!("instr: {} {}", name.0, name.1);
        match measured.rows.get(name) {
            None => worse.push(format!("{row} was not measured any more")),
            Some(&now) if now > before + tolerance(before) => {
                worse.push(format!("{row}: {now:.1} instructions, stored is {before:.1}"));
            }
            Some(&now) if now < before - tolerance(before) => better.push(format!(
                "{row}: {now:.1} instructions, stored is {before:.1}: keep it with --update"
            )),
            Some(_) => {}
        }
    }
    for name in measured.rows.keys().filter(|name| !stored.rows.contains_key(*name)) {
        worse.push(format!("instr: {} {} is not stored: add it with --update", name.0, name.1));
    }
    (worse, better)
}

/// The table to store.
fn merge(stored: Option<&Table>, measured: &Table, store: Store) -> Outcome<Table> {
    let Some(stored) = stored.filter(|_| store == Store::Better) else {
        return Ok(measured.clone());
    };
    if let Some(why) = not_comparable(stored, measured) {
        return Err(format!("instr: {BASELINE}: {why}: replace the whole table with --bless"));
    }
    let mut merged = stored.clone();
    for (name, &now) in &measured.rows {
        let lower = merged.rows.get(name).map_or(now, |&before| before.min(now));
        merged.rows.insert(name.clone(), lower);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str, f64)]) -> Table {
        Table {
            rustc: "rustc 1".to_owned(),
            arch: "x86_64".to_owned(),
            rows: rows.iter().map(|&(s, i, n)| ((s.to_owned(), i.to_owned()), n)).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let table = table(&[("nop", "raw", 33.0), ("nop", "a\"b", 180.5)]);
        assert_eq!(parse(&render(&table), "file").unwrap(), table);
    }

    #[test]
    fn a_table_that_is_not_complete_is_an_error() {
        for json in [
            "{}",
            "[",
            r#"{"rustc":"r","arch":"a","instr":[]}"#,
            r#"{"rustc":"r","instr":[{"scenario":"s","impl":"i","instr_per_op":1}]}"#,
            r#"{"rustc":"r","arch":"a","instr":[{"scenario":"s","impl":"i"}]}"#,
            r#"{"rustc":"r","arch":"a","instr":[{"scenario":"s","impl":"i","instr_per_op":null}]}"#,
        ] {
            assert!(parse(json, "file").is_err(), "{json}");
        }
    }

    #[test]
    fn growth_beyond_the_larger_tolerance_is_found() {
        let stored = table(&[("big", "a", 1000.0), ("small", "a", 30.0)]);
        let same = table(&[("big", "a", 1030.0), ("small", "a", 33.0)]);
        assert_eq!(compare(&stored, &same), (vec![], vec![]));
        let grown = table(&[("big", "a", 1030.1), ("small", "a", 33.1)]);
        let (worse, _) = compare(&stored, &grown);
        assert_eq!(worse.len(), 2, "{worse:?}");
        let shrunk = table(&[("big", "a", 900.0), ("small", "a", 29.0)]);
        let (worse, better) = compare(&stored, &shrunk);
        assert!(worse.is_empty() && better.len() == 1 && better[0].contains("--update"));
    }

    #[test]
    fn rows_that_come_and_go_are_found() {
        let (worse, _) = compare(&table(&[("a", "x", 1.0)]), &table(&[("b", "x", 1.0)]));
        assert_eq!(worse.len(), 2, "{worse:?}");
    }

    #[test]
    fn budgets_hold_without_a_stored_table() {
        let rows = [
            ("read-4k-cached-qd1", "raw", 120.0),
            ("read-4k-cached-qd1", "safer-ring/local", 320.0),
            ("nop-qd64", "raw", 33.0),
            ("nop-qd64", "safer-ring/local", 233.1),
        ];
        let findings = over_budget(&table(&rows));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("nop-qd64") && findings[0].contains("the budget is 200"));
        assert_eq!(over_budget(&table(&[("a", "b", 1.0)])).len(), BUDGETS.len());
    }

    #[test]
    fn updating_never_raises_and_blessing_replaces() {
        let stored = table(&[("up", "a", 10.0), ("down", "a", 10.0), ("gone", "a", 10.0)]);
        let measured = table(&[("up", "a", 99.0), ("down", "a", 5.0), ("new", "a", 7.0)]);
        let updated = merge(Some(&stored), &measured, Store::Better).unwrap();
        let expected =
            [("up", "a", 10.0), ("down", "a", 5.0), ("gone", "a", 10.0), ("new", "a", 7.0)];
        assert_eq!(updated, table(&expected));
        let (worse, _) = compare(&updated, &measured);
        assert_eq!(worse.len(), 2, "what grew and what is gone stays wrong: {worse:?}");
        assert_eq!(merge(Some(&stored), &measured, Store::Everything).unwrap(), measured);
        assert_eq!(merge(None, &measured, Store::Better).unwrap(), measured);
    }

    #[test]
    fn restrictions_are_told_from_none() {
        assert_eq!(restriction_in("0\n", "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t2\n"), None);
        assert_eq!(restriction_in("", ""), None);
        assert!(restriction_in("2\n", "").unwrap().contains("is 2"));
        assert!(restriction_in("0\n", "Seccomp:\t2\n").unwrap().contains("seccomp"));
    }

    #[test]
    fn tables_of_another_compiler_are_not_mixed() {
        let stored = table(&[("a", "x", 1.0)]);
        let other = Table { rustc: "rustc 2".to_owned(), ..stored.clone() };
        assert!(not_comparable(&stored, &other).is_some());
        assert!(merge(Some(&stored), &other, Store::Better).is_err());
        assert!(not_comparable(&stored, &stored).is_none());
    }
}
