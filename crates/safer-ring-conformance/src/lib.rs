//! One suite of scenarios, run in every environment that a ring can have: on io_uring with each set of flags, on
//! the fallback with each of its parts left out, in a simulated kernel.
//!
//! * A [`Scenario`] is a row of a table: a name, the operations that it covers, its [`Class`], and what is to be seen. The
//!   function behind it makes its own files and sockets, uses the ring of the [`Env`] that it gets, and tells what it
//!   has seen as a line of text. It does not judge.
//! * What is to be seen is one line for all environments. Where an environment differs, the row says so, with the row
//!   of the table in `docs/BACKENDS.md` that allows it ([`Expect`]).
//! * A row that needs what a simulated kernel has not says so ([`Need`]), and is skipped there with that reason.
//! * An [`Environment`] is a row of a table too: how its rings are made, and what is special about them ([`Tag`]). One that
//!   the machine cannot give is skipped, with the reason.
//! * [`catalogue`] says which scenario shows what: each row of what a drop means, each pitfall of io_uring, each
//!   class of bugs of `docs/OTHER-LIBRARIES.md`.
//!
//! The program `safer-ring-conformance` runs them; `cargo test -p safer-ring-conformance` does too.
#![deny(unsafe_code)]

pub mod catalogue;
mod env;
mod environments;
mod far;
mod kit;
mod morgue;
mod report;
mod run;
mod scenario;
mod scenarios;

pub use env::{Env, Observed, Trouble, Verdict};
pub use environments::{ENVIRONMENTS, Environment, Tag};
pub use report::{Summary, json};
pub use run::{Finding, Outcome, run_all, run_one};
pub use scenario::{Body, Class, Expect, Need, OpKind, Run, Scenario};
pub use scenarios::all;
