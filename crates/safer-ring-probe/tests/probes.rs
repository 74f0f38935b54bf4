//! The probes on the running kernel.

use std::path::Path;

use safer_ring_probe::{Place, Verdict, report};

#[test]
fn what_the_statements_say_holds_here() {
    let place = Place::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let report = report(&place, None);
    let mut wrong = Vec::new();
    for found in &report.found {
        let (probe, verdict) = (&found.probe, &found.verdict);
        match verdict {
            Verdict::Holds => {}
            Verdict::Contradicted { observed } => wrong.push(format!(
                "{}, {}: expected that {}, but {observed}",
                probe.statement, probe.case, probe.expect
            )),
            Verdict::NotTestable { why } => {
                eprintln!("not testable here: {}, {}: {why}", probe.statement, probe.case);
            }
        }
    }
    eprintln!("{} probes on {}", report.found.len(), report.kernel);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_probe_fails_when_its_expectation_is_inverted() {
    let place = Place::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let mut blind = Vec::new();
    let mut tried = 0;
    for probe in safer_ring_probe::probes() {
        match safer_ring_probe::run(&probe, &place, &probe.expect.inverted()) {
            Verdict::Contradicted { .. } => tried += 1,
            Verdict::Holds => blind.push(format!("{}, {}", probe.statement, probe.case)),
            Verdict::NotTestable { why } => {
                eprintln!("not testable here: {}, {}: {why}", probe.statement, probe.case);
            }
        }
    }
    assert!(blind.is_empty(), "these hold whatever they expect:\n{}", blind.join("\n"));
    assert!(tried > 200, "{tried} were tried");
}
