//! Tests of the table against a model of it.
//!
//! * `world`: a table beside an independent model, and the events that happen to both.
//! * `model`: what the table should do, in lists and plain words.
//! * `audit`: what must hold in every state, and at every end.
//! * `script`: which events are possible; the exhaustive walk over all scripts.
//! * `exhaustive`, `planted`, `random`, `fuzz`, `units`: the tests.
//! * `mistake`, `graph`: instruments inside the table.

pub(crate) mod graph;
pub(crate) mod mistake;

mod audit;
mod exhaustive;
mod fuzz;
mod model;
mod planted;
mod random;
mod script;
mod units;
mod world;
