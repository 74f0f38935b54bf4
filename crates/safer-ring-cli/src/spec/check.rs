//! `safer-ring spec check`: the statements of specifications on the kernel that runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use safer_ring_probe::{Found, Place, Verdict};
use serde::{Deserialize, Serialize};

use super::{CheckArgs, DIFFERS, coloured};

/// The version of the keys.
pub(super) const FORMAT: u32 = 1;

/// What `--json` prints. The keys may become more, and do not change their meaning.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) format: u32,
    /// As `uname -r`.
    pub(super) kernel: String,
    /// The file system of the directory.
    pub(super) file_system: Option<String>,
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) id: String,
    /// `holds`, `contradicted` or `not-testable`.
    pub(super) verdict: String,
    /// Why it is not testable anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) probes: Vec<Probe>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probe {
    pub(super) case: String,
    pub(super) verdict: String,
    pub(super) expected: String,
    /// What happened instead, or why it could not be tried here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed: Option<String>,
}

/// Runs the probes. The exit code is 1 if a statement is contradicted.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, String> {
    let call = (args.call != "all").then_some(args.call.as_str());
    let wanted = wanted(call)?;
    let directory = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let place =
        Place::new(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let found = safer_ring_probe::report(&place, call);
    drop(place);
    let report = gather(wanted, &found.found, found.kernel, directory);
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        super::print(&(text + "\n"))?;
    } else {
        super::print(&text(&report, args.verbose))?;
    }
    let contradicted =
        report.statements.iter().any(|statement| statement.verdict == "contradicted");
    Ok(if contradicted { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
}

/// The statements of a call, or of all, with the reason of those that no program can show. Those that others cover are left
/// out.
fn wanted(call: Option<&str>) -> Result<Vec<(String, Option<String>)>, String> {
    let all = safer_ring_spec::shipped();
    let chosen =
        all.iter().filter(|specification| call.is_none_or(|call| specification.name == call));
    let mut list = Vec::new();
    for specification in chosen {
        for statement in specification.statements() {
            if statement.common.covered_by.is_empty() {
                list.push((statement.id.clone(), statement.common.untestable.clone()));
            }
        }
    }
    if list.is_empty() {
        return Err(format!(
            "there is no specification of this name; there are: {}",
            super::names()
        ));
    }
    Ok(list)
}

fn gather(
    wanted: Vec<(String, Option<String>)>,
    found: &[Found],
    kernel: String,
    directory: PathBuf,
) -> Report {
    let mut probes: BTreeMap<&str, Vec<Probe>> = BTreeMap::new();
    for Found { probe, verdict } in found {
        let observed = match verdict {
            Verdict::Holds => None,
            Verdict::Contradicted { observed } => Some(observed.clone()),
            Verdict::NotTestable { why } => Some(why.clone()),
        };
        probes.entry(probe.statement).or_default().push(Probe {
            case: probe.case.to_owned(),
            verdict: verdict.word().to_owned(),
            expected: probe.expect.to_string(),
            observed,
        });
    }
    let statements = wanted.into_iter().map(|(id, why)| {
        let probes = probes.remove(id.as_str()).unwrap_or_default();
        Statement { verdict: verdict(&probes).to_owned(), id, why, probes }
    });
    let file_system = crate::bench::machine::filesystem_of(&directory);
    Report { format: FORMAT, kernel, file_system, statements: statements.collect() }
}

/// Contradicted by one probe, it is; else it holds if one shows it.
fn verdict(probes: &[Probe]) -> &'static str {
    let any = |word: &str| probes.iter().any(|probe| probe.verdict == word);
    if any("contradicted") {
        "contradicted"
    } else if any("holds") {
        "holds"
    } else {
        "not-testable"
    }
}

fn text(report: &Report, verbose: bool) -> String {
    let mut text = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for statement in &report.statements {
        *counts.entry(statement.verdict.as_str()).or_default() += 1;
        if statement.verdict == "holds" && !verbose {
            continue;
        }
        let word = match statement.verdict.as_str() {
            "holds" => coloured("holds", 32),
            "contradicted" => coloured("contradicted", 31),
            _ => coloured("not testable here", 33),
        };
        let _ = writeln!(text, "{}: {word}", statement.id);
        if let Some(why) = &statement.why {
            let _ = writeln!(text, "    {why}");
        }
        for probe in &statement.probes {
            match (&probe.observed, probe.verdict.as_str()) {
                (Some(observed), "contradicted") => {
                    let _ = writeln!(
                        text,
                        "    {}: expected {}; {observed}",
                        probe.case, probe.expected
                    );
                }
                (Some(why), _) => {
                    let _ = writeln!(text, "    {}: {why}", probe.case);
                }
                (None, _) if verbose => {
                    let _ = writeln!(text, "    {}: {}", probe.case, probe.expected);
                }
                (None, _) => {}
            }
        }
    }
    let count = |word: &str| counts.get(word).copied().unwrap_or_default();
    let probes: usize = report.statements.iter().map(|statement| statement.probes.len()).sum();
    let on = report.file_system.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
    let _ = writeln!(
        text,
        "Linux {}{on}: of {} statements {} hold, {} are contradicted, {} cannot be tested here; {probes} probes",
        report.kernel,
        report.statements.len(),
        count("holds"),
        count("contradicted"),
        count("not-testable"),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(verdict: &str) -> Probe {
        Probe {
            case: "a case".to_owned(),
            verdict: verdict.to_owned(),
            expected: "the call gives EINVAL".to_owned(),
            observed: (verdict != "holds").then(|| "the call gives 0".to_owned()),
        }
    }

    #[test]
    fn one_contradiction_is_enough_and_one_that_holds_too() {
        assert_eq!(verdict(&[]), "not-testable");
        assert_eq!(verdict(&[probe("holds"), probe("not-testable")]), "holds");
        assert_eq!(verdict(&[probe("holds"), probe("contradicted")]), "contradicted");
    }

    #[test]
    fn the_text_tells_what_was_expected_and_seen() {
        let statement = |id: &str, probes: Vec<Probe>| Statement {
            id: id.to_owned(),
            verdict: verdict(&probes).to_owned(),
            why: None,
            probes,
        };
        let statements = vec![
            statement("io_submit/EINVAL/one", vec![probe("holds")]),
            statement("io_submit/EINVAL/two", vec![probe("contradicted")]),
        ];
        let report =
            Report { format: FORMAT, kernel: "6.18".to_owned(), file_system: None, statements };
        let short = text(&report, false);
        assert!(!short.contains("one") && short.contains("two: contradicted"), "{short}");
        assert!(
            short.contains("a case: expected the call gives EINVAL; the call gives 0"),
            "{short}"
        );
        assert!(short.contains("of 2 statements 1 hold, 1 are contradicted, 0 cannot"), "{short}");
        assert!(text(&report, true).contains("one: holds"));
    }

    #[test]
    fn names_that_are_none_are_told() {
        assert!(wanted(Some("io_sumbit")).unwrap_err().contains("io_submit"));
        assert!(wanted(Some("io_submit")).unwrap().len() > 50);
    }
}
