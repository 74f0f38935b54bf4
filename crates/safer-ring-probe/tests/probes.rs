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
