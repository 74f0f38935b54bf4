//! The files of a directory, for the HTTP servers among the examples. It works with both kinds of ring.
use std::io;

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use safer_ring::{Fd, Mode, OpenHow, RingOf, fs::File};

/// Bytes of a part of a body.
const PART: u64 = 64 * 1024;

/// Opens a regular file below `root`, and gives its length and its bytes.
pub(crate) async fn open<M: Mode>(
    ring: &RingOf<M>,
    root: &Fd<M>,
    path: &str,
) -> io::Result<(u64, impl Stream<Item = io::Result<Bytes>> + use<M>)> {
    // The kernel refuses what leads out of the directory: `..`, links, absolute paths. A FIFO makes nobody wait.
    let (flags, resolve) = (libc::O_NONBLOCK.cast_unsigned().into(), libc::RESOLVE_BENEATH);
    let how = OpenHow { flags, resolve, ..OpenHow::default() };
    let file = File::from_fd(ring, ring.openat2(Some(root), path, how).await?);
    let status = file.metadata().await?;
    if !status.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // A body is as long as its head has said, also if the file grows meanwhile.
    let len = status.len();
    let parts = try_unfold((file, 0), move |(file, at)| async move {
        if at == len {
            return Ok(None);
        }
        let want = usize::try_from(PART.min(len - at)).unwrap_or_default();
        match file.read_at(Vec::with_capacity(want), at).await? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()), // it was cut meanwhile
            (_, part) => {
                let next = at + u64::try_from(part.len()).unwrap_or_default();
                Ok(Some((Bytes::from(part), (file, next))))
            }
        }
    });
    Ok((len, parts))
}
