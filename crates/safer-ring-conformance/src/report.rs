//! Findings as lines and as JSON.

use std::fmt;
use std::time::Duration;

use crate::environments::Environment;
use crate::run::{Finding, Outcome};

/// What came of an environment.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The environment.
    pub environment: &'static Environment,
    /// What was found, or why the machine cannot give it.
    pub findings: Result<Vec<Finding>, String>,
    /// How long it took.
    pub time: Duration,
}

impl Summary {
    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        let findings = self.findings.as_deref().unwrap_or_default();
        findings.iter().filter(|finding| is(&finding.outcome)).count()
    }

    /// Scenarios that passed.
    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Passed)
    }

    /// Scenarios that were skipped.
    pub fn skipped(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    /// Scenarios that failed.
    pub fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    /// The failures in full, and with `all` the skipped ones with their reasons; a line or more each.
    pub fn details(&self, all: bool) -> String {
        let mut text = String::new();
        for finding in self.findings.as_deref().unwrap_or_default() {
            match &finding.outcome {
                Outcome::Failed { expected, seen } => text.push_str(&format!(
                    "FAILED {} in {}\n    to be seen: {expected}\n    seen:       {seen}\n",
                    finding.scenario, self.environment.name
                )),
                Outcome::Skipped(why) if all => {
                    text.push_str(&format!("skipped {}: {why}\n", finding.scenario));
                }
                _ => {}
            }
        }
        text
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<26}", self.environment.name)?;
        match &self.findings {
            Err(why) => write!(f, "skipped: {why}"),
            Ok(_) => write!(
                f,
                "{:>4} passed {:>3} skipped {:>3} failed  {:>5.1} s",
                self.passed(),
                self.skipped(),
                self.failed(),
                self.time.as_secs_f64()
            ),
        }
    }
}

/// The summaries as JSON: an object with `scenarios` (how many) and `environments`.
pub fn json(scenarios: usize, summaries: &[Summary]) -> String {
    let environments: Vec<String> = summaries.iter().map(environment).collect();
    format!("{{\"scenarios\":{scenarios},\"environments\":[{}]}}\n", environments.join(","))
}

fn environment(summary: &Summary) -> String {
    let name = quoted(summary.environment.name);
    let findings = match &summary.findings {
        Err(why) => return format!("{{\"name\":{name},\"unavailable\":{}}}", quoted(why)),
        Ok(findings) => findings,
    };
    let mut told = Vec::new();
    for Finding { scenario, outcome } in findings {
        let scenario = quoted(scenario);
        match outcome {
            Outcome::Passed => {}
            Outcome::Skipped(why) => {
                told.push(format!("{{\"name\":{scenario},\"skipped\":{}}}", quoted(why)));
            }
            Outcome::Failed { expected, seen } => told.push(format!(
                "{{\"name\":{scenario},\"expected\":{},\"seen\":{}}}",
                quoted(expected),
                quoted(seen)
            )),
        }
    }
    format!(
        "{{\"name\":{name},\"passed\":{},\"skipped\":{},\"failed\":{},\"milliseconds\":{},\"told\":[{}]}}",
        summary.passed(),
        summary.skipped(),
        summary.failed(),
        summary.time.as_millis(),
        told.join(",")
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ENVIRONMENTS;

    fn summary(findings: Result<Vec<Finding>, String>) -> Summary {
        Summary { environment: &ENVIRONMENTS[0], findings, time: Duration::from_millis(1500) }
    }

    fn found(outcome: Outcome) -> Finding {
        Finding { scenario: "name", outcome }
    }

    #[test]
    fn failures_are_told_in_full_and_counted() {
        let failed = Outcome::Failed { expected: "this".into(), seen: "a \"b\"\\\n".into() };
        let skipped = Outcome::Skipped("no disk".into());
        let all = vec![found(Outcome::Passed), found(failed), found(skipped)];
        let summary = summary(Ok(all));
        let line = summary.to_string();
        assert!(line.contains("1 passed   1 skipped   1 failed    1.5 s"), "{line}");
        let details = summary.details(false);
        assert!(details.contains("to be seen: this\n") && !details.contains("no disk"));
        assert!(summary.details(true).contains("skipped name: no disk"));
        let json = json(3, &[summary]);
        assert!(json.starts_with("{\"scenarios\":3,"), "{json}");
        assert!(json.contains(r#""expected":"this","seen":"a \"b\"\\\n""#), "{json}");
    }

    #[test]
    fn what_the_machine_cannot_give_is_told_with_its_reason() {
        let summary = summary(Err("no ring".into()));
        assert!(summary.to_string().ends_with("skipped: no ring"));
        assert!(json(1, &[summary]).contains("\"unavailable\":\"no ring\""));
    }
}
