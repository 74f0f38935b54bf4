//! What `safer-ring spec check --json` has found in a guest.

use serde_json::Value;

use crate::{Outcome, workspace};

/// The verdicts of one kernel.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// How many statements hold.
    pub(super) holds: u32,
    /// Those that are contradicted: what was expected, and what was seen.
    pub(super) contradicted: Vec<String>,
    /// How many cannot be tested there, each with its reason in the report.
    pub(super) untestable: u32,
    /// The report itself, for `safer-ring spec compare`.
    pub(super) report: String,
}

impl Verdicts {
    /// From the lines that the program has printed.
    ///
    /// # Errors
    /// They are not a whole report, or it does not say why something cannot be tested.
    pub(super) fn read(said: &[String]) -> Outcome<Verdicts> {
        let from = said.iter().position(|line| line == "{");
        let to = said.iter().rposition(|line| line == "}");
        let lines = from.zip(to).and_then(|(from, to)| said.get(from..=to));
        let report = lines.ok_or("it printed no report")?.join("\n") + "\n";
        let value: Value =
            serde_json::from_str(&report).map_err(|e| format!("its report is broken: {e}"))?;
        let mut verdicts = Verdicts { report, ..Verdicts::default() };
        for statement in workspace::array(&value, "statements") {
            let id = workspace::text(statement, "id");
            match workspace::text(statement, "verdict") {
                "holds" => verdicts.holds += 1,
                "not-testable" if has_reason(statement) => verdicts.untestable += 1,
                "not-testable" => return Err(format!("{id}: no reason why it is not testable")),
                "contradicted" => verdicts.contradicted.push(contradiction(id, statement)),
                other => return Err(format!("{id}: an unknown verdict, \"{other}\"")),
            }
        }
        if verdicts.holds == 0 { Err("no statement holds".to_owned()) } else { Ok(verdicts) }
    }
}

fn has_reason(statement: &Value) -> bool {
    let mut observed = workspace::array(statement, "probes")
        .iter()
        .map(|probe| workspace::text(probe, "observed"));
    !workspace::text(statement, "why").is_empty() || observed.any(|text| !text.is_empty())
}

fn contradiction(id: &str, statement: &Value) -> String {
    let probes = workspace::array(statement, "probes").iter();
    let told = probes.filter(|probe| workspace::text(probe, "verdict") == "contradicted");
    let told = told.map(|probe| {
        let text = |name| workspace::text(probe, name);
        format!("{}: expected that {}; {}", text("case"), text("expected"), text("observed"))
    });
    format!("{id}: {}", told.collect::<Vec<_>>().join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(statements: &str) -> Vec<String> {
        let report =
            format!("noise\n{{\n  \"format\": 1,\n  \"statements\": [{statements}]\n}}\nmore");
        report.lines().map(str::to_owned).collect()
    }

    const HOLDS: &str = r#"{"id": "a", "verdict": "holds", "probes": []}"#;

    #[test]
    fn verdicts_are_counted_and_the_report_is_kept() {
        let more = r#"{"id": "b", "verdict": "not-testable", "why": "no program can"},
            {"id": "c", "verdict": "not-testable", "probes": [{"observed": "since 6.4"}]},
            {"id": "d", "verdict": "contradicted", "probes": [
                {"case": "one", "verdict": "holds", "expected": "x"},
                {"case": "two", "verdict": "contradicted", "expected": "y", "observed": "z"}]}"#;
        let verdicts = Verdicts::read(&said(&format!("{HOLDS}, {more}"))).unwrap();
        assert_eq!((verdicts.holds, verdicts.untestable), (1, 2));
        assert_eq!(verdicts.contradicted, ["d: two: expected that y; z"]);
        let report: Value = serde_json::from_str(&verdicts.report).unwrap();
        assert_eq!(workspace::array(&report, "statements").len(), 4);
    }

    #[test]
    fn what_is_no_whole_report_is_an_error() {
        let error = |lines: &[String]| Verdicts::read(lines).unwrap_err();
        assert_eq!(error(&[]), "it printed no report");
        assert!(error(&said(r#"{"id": "#)).contains("broken"));
        assert_eq!(error(&said("")), "no statement holds");
        let silent = r#"{"id": "b", "verdict": "not-testable", "probes": [{"case": "x"}]}"#;
        assert_eq!(error(&said(silent)), "b: no reason why it is not testable");
        assert!(error(&said(r#"{"id": "b", "verdict": "perhaps"}"#)).contains("perhaps"));
    }
}
