//! Each cause of an error as a rule, in the order in which the kernel checks.
//!
//! [`check`] tells before a call which error it will have; [`explain`] tells after a call why it had the error. Both work on
//! plain data, make no system call, and change nothing: an errno that the kernel gave stays what it is.
//!
//! The rules are those of Linux 6.1 to 7.3 as probes have seen them. What a rule cannot decide from the facts it
//! leaves open: a missing fact never makes an error.

mod aio;
mod call;
mod enter;
mod facts;
mod iocb;
mod register;
mod ring_setup;
mod statements;
mod submit;
mod transfer;

pub use call::{
    Call, IoCancel, IoGetevents, IoSetup, IoSubmit, Iocb, Memory, Pointer, RingEnter, RingRegister,
    RingSetup, Transfer,
};
pub use facts::{Context, Facts, File, Kind, Ring};

use core::fmt;

/// Whether a call keeps a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Kept,
    /// It does not, and so it fails. The text says what was found, if there is more to say than the rule does.
    Broken(String),
    /// The facts do not tell.
    Open,
}

impl Answer {
    /// Broken if `wrong`, else kept; the text is made only if it is needed.
    pub(crate) fn of(wrong: bool, found: impl FnOnce() -> String) -> Answer {
        if wrong { Answer::Broken(found()) } else { Answer::Kept }
    }

    /// Of a fact that may be missing.
    pub(crate) fn known(wrong: Option<bool>, found: impl FnOnce() -> String) -> Answer {
        wrong.map_or(Answer::Open, |wrong| Answer::of(wrong, found))
    }
}

/// Where an error shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As the result of the system call.
    Return,
    /// As the result of the operation, in its event or completion.
    Result,
}

/// One cause of an error.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name: system call, error, cause, such as `io_submit/EINVAL/reserved2`.
    pub id: &'static str,
    /// The name of the error, such as `EINVAL`.
    pub errno: &'static str,
    /// Where it shows.
    pub place: Place,
    /// What must hold.
    pub text: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    test: fn(&Call, &Facts) -> Answer,
}

impl Rule {
    /// The statements of the specification that it implements.
    #[must_use]
    pub fn statements(&self) -> Vec<&'static str> {
        let listed = statements::OF.iter().find(|(rule, _)| *rule == self.id);
        listed.map_or_else(|| vec![self.id], |(_, statements)| statements.to_vec())
    }

    /// Whether a call keeps this rule, which must be one of that call's.
    #[must_use]
    pub fn test(&self, call: &Call, facts: &Facts) -> Answer {
        (self.test)(call, facts)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.id).finish()
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.id == other.id
    }
}

impl Eq for Rule {}

/// An error that a call will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: &'static Rule,
    /// What was found.
    pub found: String,
    /// Rules that the kernel checks before, and that the facts do not decide. If one of them is broken, its error comes
    /// instead.
    pub unless: Vec<&'static Rule>,
}

impl Finding {
    /// Whether this very error is certain, and not only some error.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.unless.iter().all(|rule| rule.errno == self.rule.errno)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sentence(f, self.rule, &self.found)
    }
}

/// Why a call may have had an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The rule.
    pub rule: &'static Rule,
    /// What was found; empty if nothing was.
    pub found: String,
    /// Whether the facts show that the rule is broken. If not, they do not exclude it.
    pub shown: bool,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sentence(f, self.rule, &self.found)
    }
}

fn sentence(f: &mut fmt::Formatter<'_>, rule: &Rule, found: &str) -> fmt::Result {
    write!(f, "{}: {}", rule.errno, rule.text)?;
    if !found.is_empty() {
        write!(f, ", {found}")?;
    }
    if !rule.fix.is_empty() {
        write!(f, "; {}", rule.fix)?;
    }
    Ok(())
}

/// All system calls that have rules.
pub const CALLS: &[&str] = &[
    "io_setup",
    "io_destroy",
    "io_submit",
    "io_getevents",
    "io_cancel",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
];

/// The rules of a system call in the order of the kernel's checks; those of `io_uring_enter` are followed by those of the
/// transfers that it submits. Empty for a call that has none.
#[must_use]
pub fn rules(name: &str) -> Vec<&'static Rule> {
    let (first, second): (&'static [Rule], &'static [Rule]) = match name {
        "io_setup" => (aio::SETUP, &[]),
        "io_destroy" => (aio::DESTROY, &[]),
        "io_submit" => (submit::RULES, &[]),
        "io_getevents" => (aio::GETEVENTS, &[]),
        "io_cancel" => (aio::CANCEL, &[]),
        "io_uring_setup" => (ring_setup::SETUP, &[]),
        "io_uring_enter" => (enter::RULES, transfer::RULES),
        "io_uring_register" => (register::RULES, &[]),
        _ => (&[], &[]),
    };
    first.iter().chain(second).collect()
}

fn rules_of(call: &Call) -> &'static [Rule] {
    match call {
        Call::IoSetup(_) => aio::SETUP,
        Call::IoDestroy => aio::DESTROY,
        Call::IoSubmit(_) => submit::RULES,
        Call::IoGetevents(_) => aio::GETEVENTS,
        Call::IoCancel(_) => aio::CANCEL,
        Call::RingSetup(_) => ring_setup::SETUP,
        Call::RingEnter(_) => enter::RULES,
        Call::RingRegister(_) => register::RULES,
        Call::RingTransfer(_) => transfer::RULES,
    }
}

/// Predicts the error of a call without making it: the first rule that it breaks. `None` if no rule is known to be broken,
/// which is no promise that the call succeeds.
///
/// Of `io_submit(2)` and of transfers this includes errors that show in the event ([`Place::Result`]).
#[must_use]
pub fn check(call: &Call, facts: &Facts) -> Option<Finding> {
    let mut unless = Vec::new();
    for rule in rules_of(call) {
        match rule.test(call, facts) {
            Answer::Kept => {}
            Answer::Open => unless.push(rule),
            Answer::Broken(found) => return Some(Finding { rule, found, unless }),
        }
    }
    None
}

/// Why a call has failed with the error of this name: first the rules that the facts show to be broken, then those that
/// they leave open, each in the order of the kernel's checks. Empty if the call keeps every rule that has this error.
#[must_use]
pub fn explain(errno: &str, call: &Call, facts: &Facts) -> Vec<Cause> {
    let mut causes = Vec::new();
    for rule in rules_of(call).iter().filter(|rule| rule.errno == errno) {
        match rule.test(call, facts) {
            Answer::Kept => {}
            Answer::Open => causes.push(Cause { rule, found: String::new(), shown: false }),
            Answer::Broken(found) => causes.push(Cause { rule, found, shown: true }),
        }
    }
    causes.sort_by_key(|cause| !cause.shown);
    causes
}

/// All causes of an error of a system call of which nothing else is known, in the order of the kernel's checks.
#[must_use]
pub fn causes(name: &str, errno: &str) -> Vec<Cause> {
    let rules = rules(name).into_iter().filter(|rule| rule.errno == errno);
    rules.map(|rule| Cause { rule, found: String::new(), shown: false }).collect()
}

/// The middle part of a statement's id.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which stops at a wrong index"
)]
pub(crate) const fn errno_of(statement: &'static str) -> &'static str {
    let bytes = statement.as_bytes();
    let mut start = 0;
    while bytes[start] != b'/' {
        start += 1;
    }
    let (_, rest) = statement.split_at(start + 1);
    let bytes = rest.as_bytes();
    let mut end = 0;
    while bytes[end] != b'/' {
        end += 1;
    }
    rest.split_at(end).0
}
