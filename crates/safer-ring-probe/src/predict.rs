//! Predictions against what the kernel does.

/// None.
#[derive(Clone, Debug, Default)]
pub struct Predictions {}

/// None.
#[must_use]
pub fn predictions() -> Predictions {
    Predictions {}
}
