//! The answer as a value: what runs the operations, and if it is not io_uring, why, and what to do about it.

use std::fmt;

use safer_ring_sys::Errno;

use super::cause::Cause;
use super::evidence::Evidence;
use super::fix;
use crate::config::BackendKind;

/// Who said which backend it shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChosenBy {
    /// Nobody: io_uring if it works.
    #[default]
    Nobody,
    /// The builder of the ring.
    Builder,
    /// The environment variable `SAFER_RING_BACKEND`.
    Environment,
}

/// What runs the operations of a ring, and why.
///
/// `ring.report()` is about that ring, [`detect`](super::detect) about the process. It is a value: nothing of it is
/// printed by the library. With the feature `tracing`, each ring that is made tells it in one event.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What runs the operations; `None` in an error, where nothing does.
    pub backend: Option<BackendKind>,
    /// Why it is not io_uring; `None` if it is.
    pub cause: Option<Cause>,
    /// The kernel's answer that decided, where there was one.
    pub errno: Option<Errno>,
    /// Who asked for this backend.
    pub chosen_by: ChosenBy,
    /// What was seen. All of it if `cause` is something that was found out, and in the answer of
    /// [`detect`](super::detect); else what costs nothing to look at.
    pub evidence: Evidence,
    /// What to do to get io_uring here, each a sentence of its own; empty if there is nothing to do.
    pub fix: Vec<String>,
}

impl Report {
    /// io_uring it is.
    pub(crate) fn io_uring(chosen_by: ChosenBy, evidence: Evidence) -> Self {
        let backend = Some(BackendKind::IoUring);
        Self { backend, cause: None, errno: None, chosen_by, evidence, fix: Vec::new() }
    }

    /// A simulated kernel it is: nothing was looked at.
    pub(crate) fn simulated() -> Self {
        let (chosen_by, evidence) = (ChosenBy::Builder, Evidence::default());
        let backend = Some(BackendKind::Sim);
        Self { backend, cause: None, errno: None, chosen_by, evidence, fix: Vec::new() }
    }

    /// The fallback it is, since somebody said so.
    pub(crate) fn told(chosen_by: ChosenBy, evidence: Evidence) -> Self {
        let cause = match chosen_by {
            ChosenBy::Environment => Cause::Environment,
            ChosenBy::Builder | ChosenBy::Nobody => Cause::Builder,
        };
        let backend = Some(BackendKind::Fallback);
        let fix = fix::lines(cause, None, &evidence);
        Self { backend, cause: Some(cause), errno: None, chosen_by, evidence, fix }
    }

    /// io_uring it cannot be.
    pub(crate) fn refused(
        cause: Cause,
        errno: Option<Errno>,
        chosen_by: ChosenBy,
        evidence: Evidence,
    ) -> Self {
        let fix = fix::lines(cause, errno, &evidence);
        Self { backend: None, cause: Some(cause), errno, chosen_by, evidence, fix }
    }

    /// Whether operations run on io_uring.
    #[must_use]
    pub fn is_io_uring(&self) -> bool {
        self.backend == Some(BackendKind::IoUring)
    }
}

/// The text of `Display`; [`Report::evidence`] and the other parts have a `Debug` of their own.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({self})")
    }
}

impl fmt::Display for Report {
    /// One line: the backend, why, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            Some(BackendKind::IoUring) => f.write_str("io_uring")?,
            Some(BackendKind::Sim) => return f.write_str("simulation"),
            Some(BackendKind::Fallback) => f.write_str("fallback, not io_uring")?,
            None => f.write_str("io_uring is not available")?,
        }
        if let Some(cause) = self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(errno) = self.errno {
            write!(f, ": {errno}")?;
        }
        for line in &self.fix {
            write!(f, "; {line}")?;
        }
        Ok(())
    }
}
