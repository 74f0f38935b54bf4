//! What `O_DIRECT` asks of memory, offsets and lengths.

use std::io;

use rustix::io::Errno;
use safer_ring_backend::Mode;
use safer_ring_buf::{AllocError, IoBuf, IoBufMut, OwnedBuffer};

use super::File;

/// What `O_DIRECT` asks of a transfer: statx(2), `STATX_DIOALIGN`, kernel 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectAlignment {
    memory: u32,
    offset: u32,
}

impl DirectAlignment {
    /// The address of a buffer must be a multiple of this, in bytes.
    pub fn memory(self) -> u32 {
        self.memory
    }

    /// Offset and length of a transfer must be multiples of this, in bytes.
    pub fn offset(self) -> u32 {
        self.offset
    }

    /// `len` rounded up to the next length that a transfer may have, in bytes; `None` if that is more than fits.
    pub fn round_up(self, len: usize) -> Option<usize> {
        len.checked_next_multiple_of(usize::try_from(self.offset).ok()?)
    }

    /// An empty buffer for direct transfers, with room for `len` bytes, rounded up.
    ///
    /// # Errors
    /// As [`OwnedBuffer::aligned`].
    pub fn buffer(self, len: usize) -> Result<OwnedBuffer, AllocError> {
        let size = self.round_up(len).unwrap_or(usize::MAX);
        let align = usize::try_from(self.memory).unwrap_or(usize::MAX);
        OwnedBuffer::aligned_with_capacity(size, align)
    }

    /// Says what is not aligned.
    fn check(self, extents: &[Extent], offset: Option<u64>) -> io::Result<()> {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let check = |what: &str, number: u64, align: u32| {
            if align == 0 || number.is_multiple_of(u64::from(align)) {
                return Ok(());
            }
            let text =
                format!("O_DIRECT needs {align}-byte alignment: {what} {number} is not a multiple");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        };
        if let Some(offset) = offset {
            check("offset", offset, self.offset)?;
        }
        for extent in extents {
            check("length", number(extent.len), self.offset)?;
            if extent.len > 0 {
                check("the buffer's address", number(extent.address), self.memory)?;
            }
        }
        Ok(())
    }
}

/// The memory of a transfer.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    address: usize,
    len: usize,
}

impl Extent {
    #[inline]
    pub(super) fn to_fill<B: IoBufMut>(buffer: &B) -> Self {
        Self { address: buffer.as_init().as_ptr().addr(), len: buffer.capacity_mut() }
    }

    #[inline]
    pub(super) fn to_send<B: IoBuf>(buffer: &B) -> Self {
        Self { address: buffer.as_init().as_ptr().addr(), len: buffer.len_init() }
    }
}

impl<M: Mode> File<M> {
    /// What `O_DIRECT` asks of transfers with this file; `None` if the kernel (before 6.1) or the file system does not
    /// tell, or cannot do it. The file need not be open with `O_DIRECT`. Asked once: statx(2).
    ///
    /// ```
    /// use safer_ring::{Ring, fs::File};
    /// # pollster::block_on(async {
    /// # let directory = tempfile::tempdir_in(".")?;
    /// # let path = directory.path().join("data");
    /// # std::fs::write(&path, [7; 8192])?;
    /// let ring = Ring::new(8)?;
    /// # if File::options().read(true).direct(true).open(&ring, &path).await.is_err() { return Ok(()) }
    /// let file = File::options().read(true).direct(true).open(&ring, &path).await?;
    /// if let Some(alignment) = file.direct_alignment().await? {
    ///     let (n, buffer) = file.read_at(alignment.buffer(4096)?, 0).await?;
    ///     assert_eq!(n, buffer.len());
    /// }
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of statx(2).
    ///
    /// # Dropping
    /// Cancels.
    pub async fn direct_alignment(&self) -> io::Result<Option<DirectAlignment>> {
        if let Some(known) = self.alignment.get() {
            return Ok(*known);
        }
        let told = self.metadata().await?.direct_io_alignment();
        let told = told.map(|(memory, offset)| DirectAlignment { memory, offset });
        Ok(*self.alignment.get_or_init(|| told))
    }

    /// Asks for the alignment if the file needs any.
    pub(super) async fn learn_alignment(&self) -> io::Result<()> {
        if self.direct {
            self.direct_alignment().await?;
        }
        Ok(())
    }

    /// Whether the kernel will take such a transfer, as far as can be known without asking it.
    #[inline]
    pub(super) fn admit(&self, extents: &[Extent], offset: Option<u64>) -> io::Result<()> {
        // This number would mean the cursor.
        if offset == Some(u64::MAX) {
            return Err(Errno::INVAL.into());
        }
        if self.direct { self.admit_direct(extents, offset) } else { Ok(()) }
    }

    pub(super) fn admit_all<B>(
        &self,
        buffers: &[B],
        extent: impl Fn(&B) -> Extent,
        offset: Option<u64>,
    ) -> io::Result<()> {
        if !self.direct {
            return self.admit(&[], offset);
        }
        let extents: Vec<_> = buffers.iter().map(extent).collect();
        self.admit(&extents, offset)
    }

    #[cold]
    fn admit_direct(&self, extents: &[Extent], offset: Option<u64>) -> io::Result<()> {
        match self.alignment.get() {
            Some(Some(alignment)) => alignment.check(extents, offset),
            _ => Ok(()),
        }
    }

    /// Whether the end of the file explains a read of `count` bytes that was asked for more: a direct one is cut
    /// inside of a block only there, and could not go on from within a block.
    pub(super) fn ends_inside_a_block(&self, count: usize) -> bool {
        let Some(Some(alignment)) = self.alignment.get() else { return false };
        let block = usize::try_from(alignment.offset).unwrap_or(0);
        self.direct && block > 0 && !count.is_multiple_of(block)
    }

    /// Says more than `EINVAL` where alignment is the likely cause, and the file system did not tell it beforehand.
    pub(super) fn explain(
        &self,
        error: io::Error,
        extent: Extent,
        offset: Option<u64>,
    ) -> io::Error {
        let refused = error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        let told = matches!(self.alignment.get(), Some(Some(_)));
        if !self.direct || !refused || told {
            return error;
        }
        let place = offset.map_or("the cursor".to_owned(), |offset| format!("offset {offset}"));
        let Extent { address, len } = extent;
        let text = format!(
            "O_DIRECT: {error}; the file system does not tell which alignment it needs, and was given {place}, \
             length {len}, memory at {address:#x} (multiples of the block size, often 512 or 4096, are safe)"
        );
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_aligned_is_named() {
        let alignment = DirectAlignment { memory: 4, offset: 512 };
        let told = |address, len, offset| {
            let checked = alignment.check(&[Extent { address, len }], offset);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(told(8, 1024, Some(512)), Ok(()));
        assert_eq!(told(8, 1024, None), Ok(()));
        assert_eq!(told(7, 0, Some(0)), Ok(()), "no memory is used");
        let needs = |align, what| {
            Err(format!("O_DIRECT needs {align}-byte alignment: {what} is not a multiple"))
        };
        assert_eq!(told(8, 512, Some(100)), needs(512, "offset 100"));
        assert_eq!(told(8, 513, Some(0)), needs(512, "length 513"));
        assert_eq!(told(7, 512, Some(0)), needs(4, "the buffer's address 7"));
    }

    #[test]
    fn where_the_file_system_tells_nothing_a_refusal_is_explained() {
        use std::os::unix::fs::OpenOptionsExt;

        let directory = tempfile::tempdir_in(".").unwrap();
        let path = directory.path().join("direct");
        std::fs::write(&path, [0; 8192]).unwrap();
        let mut options = std::fs::File::options();
        options.read(true).custom_flags(libc::O_DIRECT);
        let Ok(file) = options.open(&path) else { return };
        pollster::block_on(async {
            let file = File::from_std(&crate::Ring::new(8).unwrap(), file);
            let tells = file.metadata().await.unwrap().direct_io_alignment().is_some();
            file.alignment.set(None).unwrap();
            let result = file.read_exact_at(OwnedBuffer::aligned(512, 4096).unwrap(), 100).await;
            if !tells {
                return;
            }
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.transferred), (io::ErrorKind::InvalidInput, 0));
            let text = error.error.to_string();
            assert!(text.contains("does not tell"), "{text}");
            assert!(text.contains("offset 100, length 512"), "{text}");
        });
    }

    #[test]
    fn buffers_are_rounded_and_aligned() {
        let alignment = DirectAlignment { memory: 64, offset: 512 };
        let buffer = alignment.buffer(513).unwrap();
        assert_eq!((buffer.len(), buffer.capacity(), buffer.align()), (0, 1024, 64));
        assert!(alignment.buffer(usize::MAX).is_err());
    }
}
