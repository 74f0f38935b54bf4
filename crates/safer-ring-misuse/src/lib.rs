//! Programs that must not compile against `safer-ring`, and neighbours that must: see `tests/`.
#![forbid(unsafe_code)]
