//! Fewer steps that still fail.

use crate::run::{self, Failure};
use crate::script::Script;

/// Runs that are made for it.
const RUNS: usize = 600;

/// Leaves out steps, first many at a time, as long as the rest fails.
pub(crate) fn shrink(script: &Script, failure: &Failure) -> (Script, Failure) {
    let (mut best, mut last, mut runs) = (script.clone(), failure.clone(), 0);
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 && runs < RUNS {
        let mut from = 0;
        while from < best.steps.len() && runs < RUNS {
            let mut less = best.clone();
            less.steps.drain(from..(from + size).min(best.steps.len()));
            runs += 1;
            match run::run(&less) {
                Err(failure) => (best, last) = (less, failure),
                Ok(_) => from += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    (best, last)
}
