//! Specifications of system calls.
#![forbid(unsafe_code)]

pub mod rules;
