//! From text to model: where specifications are in a text, their sections, their meaning.

pub(crate) mod debugfs;
pub(crate) mod lower;
pub(crate) mod section;
pub(crate) mod source;
