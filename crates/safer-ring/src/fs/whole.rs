//! Whole files at once.

use std::io;
use std::path::Path;

use safer_ring_backend::{Mode, TransferError};
use safer_ring_buf::IoBuf;

use super::File;
use crate::RingOf;

/// Reads a whole file.
///
/// # Errors
/// Those of open(2) and read(2).
///
/// # Dropping
/// Cancels; nothing is lost.
pub async fn read<M: Mode>(ring: &RingOf<M>, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = File::open(ring, path).await?;
    let (_, bytes) = file.read_to_end(Vec::new()).await?;
    Ok(bytes)
}

/// Reads a whole file, which must be UTF-8.
///
/// # Errors
/// Those of open(2) and read(2); `InvalidData` where it is not UTF-8.
///
/// # Dropping
/// Cancels; nothing is lost.
pub async fn read_to_string<M: Mode>(
    ring: &RingOf<M>,
    path: impl AsRef<Path>,
) -> io::Result<String> {
    Ok(File::open(ring, path).await?.read_to_string().await?)
}

/// Makes `buffer` the content of the file at `path`: it is made, or cut to length 0 first. Gives the buffer back.
///
/// # Errors
/// Those of open(2) and write(2), with the buffer and the number of bytes that are in the file.
///
/// # Dropping
/// Once the write is in flight, all of the content is written, and nobody is told of an error. Before that, the file may
/// have been made or cut.
pub async fn write<M: Mode, B: IoBuf>(
    ring: &RingOf<M>,
    path: impl AsRef<Path>,
    buffer: B,
) -> Result<B, TransferError<B>> {
    match File::create(ring, path).await {
        Ok(file) => file.write_all(buffer).await,
        Err(error) => Err(TransferError::new(error, buffer, 0)),
    }
}
