//! All verdicts of a kernel.

use crate::env::Place;
use crate::kernel;
use crate::probes::{self, Probe, Verdict};

/// A probe and what came of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The probe.
    pub probe: Probe,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdicts of one kernel.
#[derive(Clone, Debug)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Each probe with its verdict, by system call.
    pub found: Vec<Found>,
}

/// Runs all probes of a system call, or of all.
#[must_use]
pub fn report(place: &Place, call: Option<&str>) -> Report {
    let wanted =
        |probe: &Probe| call.is_none_or(|call| probe.statement.split('/').next() == Some(call));
    let found = probes::probes().into_iter().filter(wanted);
    let found =
        found.map(|probe| Found { verdict: probes::run(&probe, place, &probe.expect), probe });
    Report { kernel: kernel::release(), found: found.collect() }
}
