//! The operations of a ring, by kind.

mod fs;
mod io;
mod net;
mod special;

pub(crate) use fs::{AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, STATX_MASK};
pub use fs::{FallocateMode, RenameMode};
pub(crate) use io::position;
pub use io::{ReadRingBuffer, SpliceFlags};
pub use net::{Shutdown, SocketKind};
pub use special::{Interest, PipeOptions};

/// "At the file's cursor" as an offset: `IORING_FEAT_RW_CUR_POS`, kernel 5.6.
pub(crate) const CURSOR: u64 = u64::MAX;
