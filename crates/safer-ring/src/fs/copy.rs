//! Copies: the next piece is read while the one before is written.

use std::io;
use std::path::Path;

use safer_ring_backend::{Mode, TransferError};
use safer_ring_buf::{IoBuf, OwnedBuffer};

use super::File;
use super::transfer::torn;
use crate::{OpenOptions, RingOf};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;
/// Fits `O_DIRECT` wherever it is known.
const ALIGN: usize = 4096;

/// Copies the content and the permission bits of a file to another path, which is made or overwritten. Gives the
/// number of bytes.
///
/// # Errors
/// `InvalidInput` if `from` is not a regular file (or a link to one), and if both are the same file, which stays as it
/// is then. Those of open(2), read(2), write(2), fchmod(2).
///
/// # Dropping
/// What is in flight runs to its end; the target has a part of the content.
pub async fn copy<M: Mode>(
    ring: &RingOf<M>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
) -> io::Result<u64> {
    let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let source = File::open(ring, from).await?;
    let known = source.metadata().await?;
    if !known.is_file() {
        return invalid("the source is neither a regular file nor a link to one");
    }
    // Not cut by the open: it could be the source.
    let options = OpenOptions::new().write(true).create(true).mode(known.mode() & 0o7777);
    let target = options.open(ring, to).await?;
    let found = target.metadata().await?;
    if (found.dev(), found.ino()) == (known.dev(), known.ino()) {
        return invalid("source and target are the same file");
    }
    if found.is_file() {
        target.set_len(0).await?;
        target.set_permissions(known.permissions()).await?;
    }
    Ok(source.copy_to(0, &target, 0, u64::MAX).await?)
}

impl<M: Mode> File<M> {
    /// Copies up to `len` bytes from `offset` of this file to `target_offset` of another; ends early where this file
    /// ends. Gives the number of bytes. No cursor moves, and the target is not cut behind the copy. With `O_APPEND` on
    /// the target its offset is ignored. Both must have offsets, and ranges of one file must not overlap.
    ///
    /// # Errors
    /// Those of pread(2) and pwrite(2), with the number of bytes that were written. `O_DIRECT` on the target needs a
    /// length that is aligned.
    ///
    /// # Dropping
    /// A write in flight runs to its end; no other is begun.
    pub async fn copy_to(
        &self,
        offset: u64,
        target: &File<M>,
        target_offset: u64,
        len: u64,
    ) -> Result<u64, TransferError<()>> {
        let mut copied = 0;
        match self.copy_pieces(offset, target, target_offset, len, &mut copied).await {
            Ok(()) => Ok(copied),
            Err(error) => {
                let copied = usize::try_from(copied).unwrap_or(usize::MAX);
                Err(TransferError::new(error, (), copied))
            }
        }
    }

    async fn copy_pieces(
        &self,
        offset: u64,
        target: &File<M>,
        target_offset: u64,
        len: u64,
        copied: &mut u64,
    ) -> io::Result<()> {
        self.learn_alignment().await?;
        target.learn_alignment().await?;
        let mut batch = self.ring().batch();
        let (mut full, mut spare) = (piece()?, piece()?);
        let mut read = 0;
        let mut over = false;
        loop {
            // In each round the piece of the round before is written. Behind the end, nothing is read at offset 0,
            // which is aligned.
            let left = usize::try_from(len - read).unwrap_or(usize::MAX);
            let (wanted, at) = match left {
                1.. if !over => (left.min(PIECE), place(offset, read)?),
                _ => (0, 0),
            };
            spare.clear();
            let next = self.read_at(spare.slice(..wanted), at);
            let (count, back) = if full.is_empty() {
                next.await?
            } else {
                let (piece, at) = (full.len(), place(target_offset, *copied)?);
                let next = batch.add(next);
                let write = batch.add(target.write_at(full, at));
                batch.submit().await;
                let written;
                (written, full) = write.await?;
                *copied += number(written);
                if written < piece {
                    full = target.go_on(full, written, target_offset, copied).await?;
                }
                next.await?
            };
            if count == 0 {
                return Ok(());
            }
            read += number(count);
            over = self.ends_inside_a_block(count);
            spare = full;
            full = back.into_inner();
        }
    }

    /// Writes the rest of a piece of which `written` bytes were taken.
    async fn go_on(
        &self,
        piece: OwnedBuffer,
        written: usize,
        offset: u64,
        copied: &mut u64,
    ) -> io::Result<OwnedBuffer> {
        if self.append {
            return Err(torn(written, piece.len()));
        }
        let rest = number(piece.len() - written);
        match self.drain(piece.slice(written..), Some(place(offset, *copied)?)).await {
            Ok(back) => {
                *copied += rest;
                Ok(back.into_inner())
            }
            Err(error) => {
                *copied += number(error.transferred);
                Err(error.into())
            }
        }
    }
}

fn piece() -> io::Result<OwnedBuffer> {
    Ok(OwnedBuffer::aligned_with_capacity(PIECE, ALIGN)?)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn place(offset: u64, done: u64) -> io::Result<u64> {
    offset.checked_add(done).ok_or_else(|| rustix::io::Errno::OVERFLOW.into())
}
