//! Files and directories, with the names and habits of [`std::fs`].
//!
//! ```
//! use safer_ring::{Ring, fs};
//!
//! # pollster::block_on(async {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("notes");
//! let ring = Ring::new(64)?;
//! fs::write(&ring, &path, "one\ntwo\n").await?;
//!
//! let file = fs::File::open(&ring, &path).await?;
//! let buffer = file.read_exact_at(vec![0; 3], 4).await?;
//! assert_eq!(buffer, b"two");
//! assert_eq!(fs::read_to_string(&ring, &path).await?, "one\ntwo\n");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! # Two kinds of functions
//! What is one operation of the kernel gives an [`Operation`](crate::Operation), which can be put into a batch or a
//! chain, and gives its buffer back in any case. What takes several of them is an `async fn`; where bytes are moved, its error
//! ([`TransferError`](crate::TransferError)) has the buffer in it and says how far it came.
//!
//! # Calls that io_uring does not have
//! Reading directories, readlink(2), chmod(2) and realpath(3) have no operation in any kernel up to 6.18. They run on a
//! thread of their own, started for the call; where that is so, the function says "on a helper thread". They take
//! the ring all the same, so that they can become operations without a change for those who call them.

mod copy;
mod dir;
mod direct;
mod file;
mod path;
mod read_dir;
mod remove;
mod temp;
mod transfer;
mod whole;

pub use std::fs::Permissions;

pub use crate::{FallocateMode, FileType, Metadata, OpenOptions};
pub use copy::copy;
pub use dir::{DirBuilder, create_dir, create_dir_all, remove_dir};
pub use direct::DirectAlignment;
pub use file::File;
pub use path::{
    canonicalize, hard_link, metadata, read_link, remove_file, rename, set_permissions, symlink,
    symlink_metadata, try_exists,
};
pub use read_dir::{DirEntry, ReadDir, read_dir};
pub use remove::remove_dir_all;
pub use temp::{anonymous, tempfile};
pub use whole::{read, read_to_string, write};
