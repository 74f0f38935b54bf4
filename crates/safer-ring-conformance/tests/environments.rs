//! Every scenario in every environment: a test for each environment.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use safer_ring_conformance::{ENVIRONMENTS, Outcome, Tag, all, run_all};

/// Runs all scenarios; a machine that cannot give the environment says so and passes.
fn run(name: &str) {
    let environment = ENVIRONMENTS.iter().find(|environment| environment.name == name).unwrap();
    let findings = match run_all(&all(), environment, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(findings) => findings,
        Err(why) => {
            eprintln!("skipped: {name}: {why}");
            return;
        }
    };
    let failed: Vec<_> = findings
        .iter()
        .filter(|finding| matches!(finding.outcome, Outcome::Failed { .. }))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let passed = findings.iter().filter(|finding| finding.outcome == Outcome::Passed).count();
    // A simulated kernel has no FIFOs, builders, control messages: `Need` says so in the rows.
    let least = if environment.is(Tag::Sim) { 6 } else { 9 };
    assert!(passed * 10 > findings.len() * least, "most make sense everywhere: {passed}");
}

/// A test for each, and one that none is missing.
macro_rules! environments {
    ($($test:ident = $name:literal;)*) => {
        $(#[test] fn $test() { run($name); })*

        #[test]
        fn every_environment_has_a_test() {
            let names: Vec<_> = ENVIRONMENTS.iter().map(|environment| environment.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

environments! {
    uring_local = "uring-local";
    uring_local_defer = "uring-local-defer";
    uring_local_coop = "uring-local-coop";
    uring_local_bare = "uring-local-bare";
    uring_local_sqarray = "uring-local-sqarray";
    uring_local_sqpoll = "uring-local-sqpoll";
    uring_local_wide = "uring-local-wide";
    uring_local_tiny = "uring-local-tiny";
    uring_local_restricted = "uring-local-restricted";
    uring_local_plain = "uring-local-plain";
    uring_shared = "uring-shared";
    uring_shared_coop = "uring-shared-coop";
    uring_shared_no_sqarray = "uring-shared-no-sqarray";
    uring_shared_bare = "uring-shared-bare";
    uring_shared_sqarray = "uring-shared-sqarray";
    uring_shared_sqpoll = "uring-shared-sqpoll";
    uring_shared_wide = "uring-shared-wide";
    uring_shared_tiny = "uring-shared-tiny";
    uring_shared_restricted = "uring-shared-restricted";
    uring_shared_plain = "uring-shared-plain";
    fallback_local = "fallback-local";
    fallback_local_tiny = "fallback-local-tiny";
    fallback_local_no_aio = "fallback-local-no-aio";
    fallback_local_no_nowait = "fallback-local-no-nowait";
    fallback_local_threads = "fallback-local-threads";
    fallback_shared = "fallback-shared";
    fallback_shared_tiny = "fallback-shared-tiny";
    fallback_shared_threads = "fallback-shared-threads";
    sim_local = "sim-local";
    sim_local_tiny = "sim-local-tiny";
    sim_local_faulty = "sim-local-faulty";
    sim_shared = "sim-shared";
    sim_shared_tiny = "sim-shared-tiny";
    sim_shared_faulty = "sim-shared-faulty";
}
