//! What the system calls below the library ask for: which error a call will have, and why it had one.
//!
//! [`check`] predicts the first rule that a call breaks, without making it. [`explain`] gives the causes of an error, those
//! first that the facts show. Both report: no errno is ever changed. The facts are gathered by [`machine`], [`file()`] and
//! [`entry`], or filled in by hand; one that is missing is left open.
//!
//! The rules cover the calls of Linux AIO and the three of io_uring, in the order in which kernels check; each has the
//! name of a statement that `safer-ring spec check` tries on the running kernel (`docs/SPEC.md` in the repository).
//!
//! ```
//! use safer_ring::contract::{Call, Facts, IoSubmit, Iocb, Pointer, check, entry, explain};
//!
//! # fn main() -> std::io::Result<()> {
//! # let path = std::env::temp_dir().join(format!("safer-ring-contract-doc-{}", std::process::id()));
//! let file = std::fs::File::create(&path)?;
//! # std::fs::remove_file(&path)?;
//! let (fildes, about) = entry(&file);
//! let place = Pointer::writable(0x1000);
//! let iocb = Iocb { place, fildes, buf: 0x2000, nbytes: 512, ..Iocb::default() };
//! let call = Call::IoSubmit(IoSubmit { nr: 1, array: place, iocbs: vec![iocb] });
//! let facts = Facts { files: vec![(fildes, about)], ..Facts::default() };
//!
//! let finding = check(&call, &facts).expect("it is open for writing, and this is a read");
//! assert_eq!(finding.rule.id, "io_submit/EBADF/not-readable");
//! let causes = explain("EBADF", &call, &facts);
//! assert_eq!(
//!     causes[0].to_string(),
//!     "EBADF: a read needs a file that is open for reading; open it with O_RDONLY or O_RDWR"
//! );
//! # Ok(())
//! # }
//! ```

pub use safer_ring_backend::contract::rules::{
    Answer, Call, Cause, Context, Facts, File, Finding, IoCancel, IoGetevents, IoSetup, IoSubmit,
    Iocb, Kind, Memory, Place, Pointer, Ring, RingEnter, RingRegister, RingSetup, Rule, Transfer,
    causes, check, explain, rules,
};
pub use safer_ring_backend::contract::{entry, file, machine};
