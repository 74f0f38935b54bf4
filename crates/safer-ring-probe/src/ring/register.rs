//! Probes.

use crate::probes::Probe;

pub(crate) const PROBES: &[Probe] = &[];
