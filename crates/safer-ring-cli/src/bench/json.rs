//! The machine-readable report.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::Report;
use super::run::Row;

/// Two digits after the point where that is fine enough; more for small figures.
fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    let scale = if value.abs() < 100.0 { 10_000.0 } else { 100.0 };
    json!((value * scale).round() / scale)
}

fn maybe(value: Option<f64>) -> Value {
    value.map_or(Value::Null, rounded)
}

fn row(row: &Row) -> Value {
    json!({
        "scenario": row.scenario.name,
        "impl": row.imp.name,
        "ops_per_s": rounded(row.ops_per_s),
        "cpu_ns_per_op": rounded(row.cpu_ns.median),
        "cpu_ns_per_op_min": rounded(row.cpu_ns.min),
        "cpu_ns_per_op_max": rounded(row.cpu_ns.max),
        "x_raw": maybe(row.x_raw.map(|x| x.median)),
        "x_raw_low": maybe(row.x_raw.map(|x| x.low)),
        "x_raw_high": maybe(row.x_raw.map(|x| x.high)),
        "p50_us": maybe(row.p50_us),
        "p99_us": maybe(row.p99_us),
        "allocs_per_op": maybe(row.allocs_per_op),
        "enters_per_op": maybe(row.enters_per_op),
        "peak_rss_kb": row.peak_rss_kb,
    })
}

/// The whole report as a value.
pub(crate) fn value(report: &Report) -> Value {
    json!({
        "machine": report.machine,
        "results": report.rows.iter().map(row).collect::<Vec<_>>(),
        "notes": report.notes,
    })
}

/// Writes a value as JSON, with the file's name in an error.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write_text(path, &text)
}

/// Writes a text, with the file's name in an error.
pub(crate) fn write_text(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::table::tests::sample;

    #[test]
    fn absent_figures_are_null_and_present_ones_numbers() {
        let value = value(&sample());
        let results = value["results"].as_array().unwrap();
        let std = results.iter().find(|r| r["impl"] == "std").unwrap();
        assert!(std["enters_per_op"].is_null());
        assert_eq!(std["cpu_ns_per_op"], 900.0);
        let raw = results.iter().find(|r| r["impl"] == "raw").unwrap();
        assert_eq!(raw["x_raw"], 1.0);
        assert_eq!(raw["peak_rss_kb"], 4096);
        assert_eq!(value["machine"]["cores"], 2);
        assert_eq!(value["notes"][0], "a <note> & more");
    }

    #[test]
    fn figures_that_are_no_numbers_are_null() {
        assert_eq!(rounded(f64::NAN), Value::Null);
        assert_eq!(rounded(123.456), json!(123.46));
        assert_eq!(rounded(0.123_456), json!(0.1235));
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write_text(Path::new("/no/such/dir/x.json"), "").unwrap_err();
        assert!(error.to_string().contains("/no/such/dir/x.json"));
    }
}
