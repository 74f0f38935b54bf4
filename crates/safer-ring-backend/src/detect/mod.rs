//! Which backend a ring gets, and why.
//!
//! ```text
//!  builder, SAFER_RING_BACKEND ──> choice ──> may the calls be made? ──> proof ──> the ring itself ──> io_uring
//!                                    │          (a child, only under     │             │
//!                                    │           a seccomp filter)       └─────────────┴──> evidence ──> cause
//!                                    └──> fallback <───────────────── unless it must be io_uring ────────┘
//! ```
//!
//! * [`decide`] runs this for each kernel ring, the later ones of a shared ring too. What was found out once about the
//!   process is kept ([`guard`](self::guard)): a ring in a process without filters costs one look at `/proc` more.
//! * [`classify`](cause::classify) is a pure function over [`Evidence`]. Every setup error falls back; the cause is for the
//!   message. Only exhaustion (descriptors, memory) stays an error, since it passes, and a silent change of backends would
//!   hide it.

mod cause;
mod evidence;
mod fix;
mod guard;
mod proof;
mod report;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use safer_ring_sys::Errno;
use safer_ring_sys::trial::{Answers, Call};

pub use cause::Cause;
pub use evidence::Evidence;
pub(crate) use guard::denied;
pub use report::{ChosenBy, Report};

use crate::config::{BackendChoice, BackendKind, Config};
use crate::error::SetupError;
use cause::{Trouble, classify, is_refusal};
use guard::ThisProcess;

/// The environment variable that overrides [`BackendChoice::Auto`]: `auto`, `io_uring` or `fallback`.
pub(crate) const VARIABLE: &str = "SAFER_RING_BACKEND";

/// What `decide` needs to know of the world.
trait World {
    /// The value of [`VARIABLE`].
    fn variable(&self) -> Option<OsString>;
    /// Whether io_uring works for a small ring. With `shield` the calls are first made in a child, if a filter might kill.
    /// What is known is believed, or found out `anew`. Gives what was seen on the way.
    fn ready(&self, shield: bool, anew: bool) -> Result<Evidence, Trouble>;
    /// What can be seen. With `ask` the three system calls may be made.
    fn evidence(&self, ask: bool) -> Evidence;
    /// What can be seen for free.
    fn glance(&self) -> Evidence;
}

/// The backend that was asked for, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    backend: BackendChoice,
    by: ChosenBy,
}

impl Choice {
    fn of(config: BackendChoice, variable: Option<OsString>) -> Result<Self, SetupError> {
        if config != BackendChoice::Auto {
            return Ok(Self { backend: config, by: ChosenBy::Builder });
        }
        let Some(value) = variable.filter(|value| !value.is_empty()) else {
            return Ok(Self { backend: BackendChoice::Auto, by: ChosenBy::Nobody });
        };
        let backend = match value.to_str() {
            Some("auto") => {
                return Ok(Self { backend: BackendChoice::Auto, by: ChosenBy::Nobody });
            }
            Some("io_uring") => BackendChoice::Only(BackendKind::IoUring),
            Some("fallback") => BackendChoice::Only(BackendKind::Fallback),
            _ => {
                let value = value.to_string_lossy().into_owned();
                return Err(SetupError::Environment { value });
            }
        };
        Ok(Self { backend, by: ChosenBy::Environment })
    }

    fn is_fallback(self) -> bool {
        self.backend == BackendChoice::Only(BackendKind::Fallback)
    }

    /// Who says that it is io_uring in the environment wants no child.
    fn wants_shield(self) -> bool {
        self.by != ChosenBy::Environment
    }
}

/// Makes a ring with the backend that `config` and the environment ask for, and tells which and why.
///
/// `try_uring` makes a ring of the kernel, `fallback` the other one; at most one call of each. An answer
/// [`SetupError::Unavailable`] of `fallback` means that there is none.
///
/// # Errors
/// [`SetupError::Environment`] for a value that is none; [`SetupError::NoBackend`] if io_uring is not to be had, and
/// nothing else may be used or the cause is exhaustion; the error of `try_uring` if it is about a setting that was asked
/// for; that of `fallback`.
pub(crate) fn decide<T>(
    config: &Config,
    try_uring: impl FnOnce() -> Result<T, SetupError>,
    fallback: impl FnOnce() -> Result<T, SetupError>,
) -> Result<(T, Report), SetupError> {
    decide_in(&ThisProcess, config, try_uring, fallback)
}

fn decide_in<T>(
    world: &impl World,
    config: &Config,
    try_uring: impl FnOnce() -> Result<T, SetupError>,
    fallback: impl FnOnce() -> Result<T, SetupError>,
) -> Result<(T, Report), SetupError> {
    config.check()?;
    let choice = Choice::of(config.backend, world.variable())?;
    if choice.is_fallback() {
        let report = Report::told(choice.by, world.glance());
        return settle(report, fallback);
    }
    let trouble = match world.ready(choice.wants_shield(), false) {
        Ok(seen) => match try_uring() {
            Ok(made) => return Ok((made, Report::io_uring(choice.by, seen))),
            Err(error) => {
                let trouble = trouble_of(&error).ok_or_else(|| error.clone())?;
                let evidence = world.evidence(trouble.may_ask());
                if let Some(error) = about_a_setting(&error, trouble, config, &evidence) {
                    return Err(error);
                }
                return refuse(trouble, evidence, choice, config, fallback);
            }
        },
        Err(trouble) => trouble,
    };
    refuse(trouble, world.evidence(trouble.may_ask()), choice, config, fallback)
}

fn refuse<T>(
    trouble: Trouble,
    mut evidence: Evidence,
    choice: Choice,
    config: &Config,
    fallback: impl FnOnce() -> Result<T, SetupError>,
) -> Result<(T, Report), SetupError> {
    let cause = classify(trouble, &evidence);
    evidence.killed_at = trouble.killer();
    let report = Report::refused(cause, trouble.errno(), choice.by, evidence);
    let may = !cause.is_exhaustion() || config.fallback_when_exhausted;
    if choice.backend != BackendChoice::Auto || !may {
        return Err(SetupError::NoBackend { report: Box::new(report) });
    }
    settle(report, fallback)
}

/// Falls back, if there is something to fall back to.
fn settle<T>(
    report: Report,
    fallback: impl FnOnce() -> Result<T, SetupError>,
) -> Result<(T, Report), SetupError> {
    match fallback() {
        Ok(made) => Ok((made, Report { backend: Some(BackendKind::Fallback), ..report })),
        Err(SetupError::Unavailable { .. }) => {
            Err(SetupError::NoBackend { report: Box::new(Report { backend: None, ..report }) })
        }
        Err(error) => Err(error),
    }
}

/// What an error of the set-up says about the kernel, if it is about that.
fn trouble_of(error: &SetupError) -> Option<Trouble> {
    match error {
        SetupError::Unavailable { errno } | SetupError::Limit { errno } => {
            Some(Trouble::Failed(*errno))
        }
        SetupError::Refused { errno, .. } if is_refusal(*errno) => Some(Trouble::Refused(*errno)),
        _ => None,
    }
}

/// The error to give if a setting of the user's is refused, while a ring without it could be had.
fn about_a_setting(
    error: &SetupError,
    trouble: Trouble,
    config: &Config,
    evidence: &Evidence,
) -> Option<SetupError> {
    let calls = evidence.calls.as_ref()?;
    let refused = |call| calls.to(call).is_err_and(is_refusal);
    match (error, trouble) {
        (SetupError::Refused { .. }, Trouble::Refused(_)) if !refused(Call::Register) => {
            Some(error.clone())
        }
        // Before kernel 5.11 it was for the privileged, and a security module may think so still.
        (SetupError::Unavailable { errno: errno @ (Errno::PERM | Errno::ACCESS) }, _)
            if config.sqpoll.is_some() && !refused(Call::Setup) =>
        {
            Some(SetupError::Refused { step: "SQPOLL", errno: *errno })
        }
        _ => None,
    }
}

/// What a shared ring with the default settings would get in this process, without making one: the environment is read, a
/// tiny ring is proven and thrown away, and all evidence is gathered.
///
/// # Errors
/// [`SetupError::Environment`] if `SAFER_RING_BACKEND` has a value that is none. Everything else is in the report; its
/// `backend` is `None` where a ring would be an error.
pub fn detect() -> Result<Report, SetupError> {
    detect_in(&ThisProcess)
}

fn detect_in(world: &impl World) -> Result<Report, SetupError> {
    let choice = Choice::of(BackendChoice::Auto, world.variable())?;
    let ready = world.ready(choice.wants_shield() || choice.is_fallback(), true);
    let may_ask = ready.as_ref().err().is_none_or(|trouble| trouble.may_ask());
    let mut evidence = world.evidence(may_ask);
    evidence.killed_at = ready.as_ref().err().and_then(|trouble| trouble.killer());
    if choice.is_fallback() {
        return Ok(Report::told(choice.by, evidence));
    }
    let trouble = match (ready, &evidence.calls) {
        (Err(trouble), _) => trouble,
        // A ring that many threads reap has an eventfd registered.
        (Ok(_), Some(Answers { register: Err(errno), .. })) if is_refusal(*errno) => {
            Trouble::Refused(*errno)
        }
        (Ok(_), _) => return Ok(Report::io_uring(choice.by, evidence)),
    };
    let cause = classify(trouble, &evidence);
    let report = Report::refused(cause, trouble.errno(), choice.by, evidence);
    let falls = choice.backend == BackendChoice::Auto && !cause.is_exhaustion();
    Ok(Report { backend: falls.then_some(BackendKind::Fallback), ..report })
}
