//! Specifications of system calls: what a call takes and gives, how it fails, what it changes.
//!
//! The grammar is that of the specifications in the comments of the Linux kernel (`KAPI`), in both of its
//! generations. This crate reads it from C sources, patches, plain texts and the kernel's debugfs, gives it as
//! typed data, and prints it. It makes no system call.
#![forbid(unsafe_code)]

mod diagnostic;
pub mod diff;
mod grammar;
pub mod model;
pub mod number;
pub mod parse;
pub mod print;
mod raise;
mod read;
mod shipped;
pub mod statement;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use model::Specification;
pub use parse::{Document, Located, parse, parse_bytes};
pub use print::{Format, render};
pub use raise::Generation;
pub use read::debugfs::parse_list;
pub use shipped::{find, shipped, shipped_texts};
pub use statement::{Statement, StatementKind};
