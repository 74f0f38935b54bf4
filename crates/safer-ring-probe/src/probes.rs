//! A probe, and what becomes of it.

use std::time::Duration;

use crate::child::{self, Ended};
use crate::env::{Env, Place, Try};
use crate::expect::{Expect, Observed};
use crate::{aio, kernel, ring};

/// A way to show that a statement holds.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The statement of the specification, such as `io_submit/EINVAL/reserved2`.
    pub statement: &'static str,
    /// What is tried, in words.
    pub case: &'static str,
    /// What comes out if the statement holds.
    pub expect: Expect,
    /// The first kernel of which the statement says this.
    pub since: (u16, u16),
    /// The first kernel of which it no longer does.
    pub until: (u16, u16),
    run: fn(&Env) -> Try,
}

impl Probe {
    pub(crate) const fn new(
        statement: &'static str,
        case: &'static str,
        expect: Expect,
        run: fn(&Env) -> Try,
    ) -> Probe {
        Probe { statement, case, expect, since: (0, 0), until: (u16::MAX, 0), run }
    }

    pub(crate) const fn since(mut self, major: u16, minor: u16) -> Probe {
        self.since = (major, minor);
        self
    }

    pub(crate) const fn until(mut self, major: u16, minor: u16) -> Probe {
        self.until = (major, minor);
        self
    }
}

/// What a kernel makes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What the statement says is what happens.
    Holds,
    /// Something else happens.
    Contradicted {
        /// What.
        observed: String,
    },
    /// It cannot be tried here.
    NotTestable {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// One word for it: `holds`, `contradicted`, `not-testable`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Contradicted { .. } => "contradicted",
            Verdict::NotTestable { .. } => "not-testable",
        }
    }
}

/// All probes, by system call.
#[must_use]
pub fn probes() -> Vec<Probe> {
    let tables = [
        aio::setup::PROBES,
        aio::destroy::PROBES,
        aio::refused::CALL,
        aio::refused::FIELDS,
        aio::files::PROBES,
        aio::results::PROBES,
        aio::getevents::PROBES,
        aio::cancel::PROBES,
        aio::life::PROBES,
        aio::several::PROBES,
        ring::setup::PROBES,
        ring::enter::PROBES,
        ring::register::PROBES,
        ring::tables::PROBES,
        ring::transfer::PROBES,
        ring::operations::PROBES,
        ring::behaviour::PROBES,
        ring::resources::PROBES,
    ];
    tables.into_iter().flatten().copied().collect()
}

/// Longer than any probe takes, on an emulated machine too.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a probe in a child process, and compares with `expect`, which is the probe's own unless a test inverts it.
#[must_use]
pub fn run(probe: &Probe, place: &Place, expect: &Expect) -> Verdict {
    if kernel::kernel() < probe.since {
        let (major, minor) = probe.since;
        return Verdict::NotTestable { why: format!("it is so since Linux {major}.{minor}") };
    }
    if kernel::kernel() >= probe.until {
        let (major, minor) = probe.until;
        return Verdict::NotTestable { why: format!("it is so until Linux {major}.{minor}") };
    }
    let directory = place.directory();
    let ended = child::run(LIMIT, || {
        let tried = Env::new(directory).and_then(|env| (probe.run)(&env));
        match tried {
            Ok(observed) | Err(observed) => observed.encode(),
        }
    });
    let observed = match ended {
        Ok(Ended::Said(line)) => match Observed::decode(&line) {
            Some(Observed::Unavailable(why)) => return Verdict::NotTestable { why },
            Some(observed) => observed,
            None => {
                return Verdict::NotTestable { why: "the probe said nothing sensible".to_owned() };
            }
        },
        Ok(Ended::Killed(signal)) => {
            Observed::Seen(false, format!("signal {signal} ended the probe"))
        }
        Ok(Ended::Late) => Observed::Seen(false, "the probe hung and was ended".to_owned()),
        Ok(Ended::Silent) => Observed::Seen(false, "the probe ended without a word".to_owned()),
        Err(errno) => return Verdict::NotTestable { why: format!("no child process: {errno:?}") },
    };
    if expect.is_met_by(&observed) {
        Verdict::Holds
    } else {
        Verdict::Contradicted { observed: observed.to_string() }
    }
}
