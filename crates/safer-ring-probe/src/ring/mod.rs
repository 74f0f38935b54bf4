//! Probes of io_uring.

pub(crate) mod enter;
pub(crate) mod register;
pub(crate) mod setup;
pub(crate) mod tables;
pub(crate) mod transfer;
