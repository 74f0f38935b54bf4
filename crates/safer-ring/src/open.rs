//! How a file is opened.

use std::io;
use std::path::Path;

use rustix::fs::OFlags;
use safer_ring_backend::Mode;

use crate::RingOf;
use crate::fs::File;

const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_APPEND: u32 = OFlags::APPEND.bits();
/// Its number differs between architectures.
const O_DIRECT: u32 = OFlags::DIRECT.bits();

/// How a file is opened; the names and rules of [`std::fs::OpenOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    direct: bool,
    custom: u32,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed yet; new files get the mode 0o666 less the umask.
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            direct: false,
            custom: 0,
            mode: 0o666,
        }
    }

    /// Open for reading.
    pub const fn read(mut self, read: bool) -> Self {
        self.read = read;
        self
    }

    /// Open for writing.
    pub const fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// Every write goes to the end of the file; offsets of positional writes are ignored by the kernel.
    pub const fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    /// Cut the file to length 0.
    pub const fn truncate(mut self, truncate: bool) -> Self {
        self.truncate = truncate;
        self
    }

    /// Make the file if there is none.
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Make the file, and fail if there is one.
    pub const fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Past the page cache (`O_DIRECT`): memory, offset and length of each transfer must then be aligned, see
    /// [`File::direct_alignment`](crate::fs::File::direct_alignment). A file system that cannot do it refuses the
    /// open (`EINVAL`).
    pub const fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// Further flags of open(2), such as `O_NOFOLLOW`; the access mode in them is ignored.
    pub const fn custom_flags(mut self, flags: u32) -> Self {
        self.custom = flags;
        self
    }

    /// Permissions of a new file, before the umask.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Opens the file at `path` as a [`File`]: openat(2), and for one with `O_DIRECT` also statx(2), which tells the
    /// alignment.
    ///
    /// ```
    /// use safer_ring::{Ring, fs::OpenOptions};
    /// # pollster::block_on(async {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let ring = Ring::new(8)?;
    /// let log = OpenOptions::new().append(true).create(true).open(&ring, &path).await?;
    /// log.write_all("started\n").await?;
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Ring::open`](crate::RingOf::open).
    ///
    /// # Dropping
    /// Cancels; a descriptor that still arrives is closed and counted. A file that was made or truncated stays so.
    pub async fn open<M: Mode>(
        &self,
        ring: &RingOf<M>,
        path: impl AsRef<Path>,
    ) -> io::Result<File<M>> {
        let fd = ring.open(path, self).await?;
        let (flags, _) = self.flags().unwrap_or_default();
        File::opened(ring, fd, OFlags::from_bits_retain(flags)).await
    }

    /// The flags and the mode for open(2), or `None` if the combination is not allowed.
    pub(crate) fn flags(&self) -> Option<(u32, u32)> {
        let writes = self.write || self.append;
        let access = match (self.read, writes) {
            (true, false) => 0,
            (false, true) => O_WRONLY,
            (true, true) => O_RDWR,
            (false, false) => return None,
        };
        if (self.truncate || self.create || self.create_new) && !writes {
            return None;
        }
        if self.truncate && self.append && !self.create_new {
            return None;
        }
        let mut flags = access | (self.custom & !(O_WRONLY | O_RDWR));
        if self.append {
            flags |= O_APPEND;
        }
        if self.direct {
            flags |= O_DIRECT;
        }
        if self.create_new {
            flags |= O_CREAT | O_EXCL;
        } else {
            if self.create {
                flags |= O_CREAT;
            }
            if self.truncate {
                flags |= O_TRUNC;
            }
        }
        Some((flags, self.mode))
    }
}

/// The arguments of openat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// `O_*`; close-on-exec is added.
    pub flags: u64,
    /// Permissions of a new file; must be 0 if none can be made.
    pub mode: u64,
    /// `RESOLVE_*`: how the path may be walked.
    pub resolve: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_those_of_std() {
        let flags = |options: OpenOptions| options.flags().map(|(flags, _)| flags);
        assert_eq!(flags(OpenOptions::new()), None);
        assert_eq!(flags(OpenOptions::new().read(true)), Some(0));
        assert_eq!(flags(OpenOptions::new().read(true).create(true)), None);
        let all = OpenOptions::new().read(true).write(true).create(true).truncate(true);
        assert_eq!(flags(all), Some(O_RDWR | O_CREAT | O_TRUNC));
        assert_eq!(flags(OpenOptions::new().append(true)), Some(O_WRONLY | O_APPEND));
        assert_eq!(flags(OpenOptions::new().append(true).truncate(true)), None);
        let new = OpenOptions::new().write(true).create_new(true).truncate(true);
        assert_eq!(flags(new), Some(O_WRONLY | O_CREAT | O_EXCL));
        assert_eq!(flags(OpenOptions::new().read(true).direct(true)), Some(O_DIRECT));
    }
}
