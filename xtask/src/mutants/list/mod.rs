//! The mistakes: data only.

mod backend;
mod leaves;

use super::{Mutant, Suite};

const CORE: &str = "safer-ring-core";
const SYS: &str = "safer-ring-sys";
const BUF: &str = "safer-ring-buf";
const BACKEND: &str = "safer-ring-backend";
const FACE: &str = "safer-ring";

/// One mistake; see [`Mutant`] for the fields.
const fn mutant(
    name: &'static str,
    breaks: &'static str,
    file: &'static str,
    change: (&'static str, &'static str),
    by: (&'static str, Suite, &'static str),
) -> Mutant {
    let (find, replace) = change;
    let (package, suite, test) = by;
    Mutant { name, breaks, file, find, replace, package, suite, test }
}

/// All of them, in the order of the layers.
pub(super) fn all() -> impl Iterator<Item = &'static Mutant> + Clone {
    leaves::ALL.iter().chain(backend::ALL)
}
