//! Probes, rules and specifications fit together.

use std::collections::{BTreeMap, BTreeSet};

use safer_ring_probe::probes;
use safer_ring_spec::rules::{self, CALLS};

/// Each statement, and why no program can show it, if so.
fn statements() -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for specification in safer_ring_spec::shipped() {
        for statement in specification.statements() {
            let without = if statement.wants_probe() {
                None
            } else {
                let covered = format!("covered by {:?}", statement.common.covered_by);
                Some(statement.common.untestable.clone().unwrap_or(covered))
            };
            all.insert(statement.id.clone(), without);
        }
    }
    all
}

#[test]
fn each_testable_statement_has_a_probe() {
    let probed: BTreeSet<_> = probes().iter().map(|probe| probe.statement).collect();
    let all = statements();
    let missing: Vec<_> = all
        .iter()
        .filter(|(id, without)| without.is_none() && !probed.contains(id.as_str()))
        .map(|(id, _)| id)
        .collect();
    assert!(missing.is_empty(), "{} of {}: {missing:#?}", missing.len(), all.len());
}

#[test]
fn each_probe_is_of_a_statement() {
    let all = statements();
    for probe in probes() {
        let without = all.get(probe.statement);
        assert!(without.is_some(), "{}: no such statement", probe.statement);
        assert_eq!(without, Some(&None), "{} cannot be probed, it says", probe.statement);
    }
}

#[test]
fn a_probe_is_named_by_its_statement_and_its_case() {
    let mut seen = BTreeSet::new();
    for probe in probes() {
        assert!(seen.insert((probe.statement, probe.case)), "twice: {probe:?}");
    }
}

#[test]
fn there_are_as_many_probes_as_were_promised() {
    let all = probes();
    let rings = all.iter().filter(|probe| probe.statement.starts_with("io_uring_")).count();
    assert!(all.len() - rings >= 120 && rings >= 80, "{} and {rings}", all.len() - rings);
}

#[test]
fn each_rule_has_statements_probes_and_an_explanation() {
    let all = statements();
    let probed: BTreeSet<_> = probes().iter().map(|probe| probe.statement).collect();
    for name in CALLS {
        let rules = rules::rules(name);
        assert!(!rules.is_empty(), "{name}");
        for rule in rules {
            assert_eq!(rule.id.split('/').nth(1), Some(rule.errno), "{rule:?}");
            assert!(rule.id.starts_with(&format!("{name}/")), "{rule:?}");
            for statement in rule.statements() {
                let without = all.get(statement);
                assert!(without.is_some(), "{rule:?}: there is no statement {statement}");
                let shown = without.is_some_and(Option::is_some) || probed.contains(statement);
                assert!(shown, "{rule:?}: no probe of {statement}");
                assert_eq!(statement.split('/').nth(1), Some(rule.errno), "{rule:?}");
            }
            let causes = rules::causes(name, rule.errno);
            let cause = causes.iter().find(|cause| cause.rule == rule).expect("a cause");
            assert!(cause.to_string().starts_with(rule.errno) && rule.text.len() > 10, "{cause}");
        }
    }
}
