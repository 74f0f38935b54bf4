//! Specifications of system calls: what a call takes and gives, how it fails, what it changes.
//!
//! The grammar is that of the specifications in the comments of the Linux kernel (`KAPI`), in both of its
//! generations. This crate reads it from C sources, patches, plain texts and the kernel's debugfs, gives it as
//! typed data, and prints it. It makes no system call.
//!
//! [`rules`] has the causes of errors as code, and needs none of that: without the feature `documents`, which is on by
//! default, it is all there is, and the crate has no dependency.
#![forbid(unsafe_code)]

#[cfg(feature = "documents")]
mod diagnostic;
#[cfg(feature = "documents")]
pub mod diff;
#[cfg(feature = "documents")]
mod grammar;
#[cfg(feature = "documents")]
pub mod model;
#[cfg(feature = "documents")]
pub mod number;
#[cfg(feature = "documents")]
pub mod parse;
#[cfg(feature = "documents")]
pub mod print;
#[cfg(feature = "documents")]
mod raise;
#[cfg(feature = "documents")]
mod read;
pub mod rules;
#[cfg(feature = "documents")]
mod shipped;
#[cfg(feature = "documents")]
pub mod statement;

#[cfg(feature = "documents")]
pub use diagnostic::{Diagnostic, Place, Severity};
#[cfg(feature = "documents")]
pub use model::Specification;
#[cfg(feature = "documents")]
pub use parse::{Document, Located, parse, parse_bytes};
#[cfg(feature = "documents")]
pub use print::{Format, render};
#[cfg(feature = "documents")]
pub use raise::Generation;
#[cfg(feature = "documents")]
pub use read::debugfs::parse_list;
#[cfg(feature = "documents")]
pub use shipped::{find, shipped, shipped_texts};
#[cfg(feature = "documents")]
pub use statement::{Statement, StatementKind};
