//! The data file of the file scenarios, aligned memory, and the offsets: the same sequence for every implementation.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::num::count;

/// The unit of the file's contents: each block of this size starts with its own number.
pub(crate) const BLOCK: usize = 4096;
const CHUNK: usize = 1 << 20;

/// A data file without a name: it was unlinked when it was made, so nothing remains however the program ends.
#[derive(Debug)]
pub(crate) struct Data {
    /// Through the page cache.
    pub(crate) buffered: Arc<File>,
    /// Around the page cache, or why that cannot be.
    pub(crate) direct: Result<Arc<File>, String>,
    /// Size in bytes, a multiple of 1 MiB.
    pub(crate) bytes: u64,
    /// What was chosen on the user's behalf, if anything.
    pub(crate) remark: Option<String>,
    /// The directory that holds it.
    pub(crate) dir: PathBuf,
}

impl Data {
    /// Makes and fills the file. Without a wish for a directory: the temporary one, or the current one where the
    /// temporary one is memory or cannot do direct I/O.
    pub(crate) fn create(wish: Option<&Path>, bytes: u64) -> io::Result<Self> {
        let (dir, remark) = choose_dir(wish)?;
        let file = tempfile::tempfile_in(&dir).map_err(|e| explain(&dir, "make a file in", &e))?;
        fill(&file, bytes)
            .map_err(|e| explain(&dir, &format!("write {} MiB into", bytes >> 20), &e))?;
        let direct = open_direct(&file).map_err(|e| direct_refusal(&dir, &e));
        Ok(Self { direct: direct.map(Arc::new), buffered: Arc::new(file), bytes, remark, dir })
    }

    /// The file of another process of this program, by the name [`Data::shared_name`] gave.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        let direct = open_direct(&file).map_err(|e| direct_refusal(path, &e)).map(Arc::new);
        Ok(Self { direct, buffered: Arc::new(file), bytes, remark: None, dir: PathBuf::from(path) })
    }

    /// A path by which a child process can open the file although it has no name.
    pub(crate) fn shared_name(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.buffered.as_raw_fd()))
    }

    /// Reads the whole file once, so that its pages are cached.
    pub(crate) fn warm(&self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        for at in (0..self.bytes).step_by(CHUNK) {
            self.buffered.read_exact_at(&mut chunk, at)?;
        }
        Ok(())
    }
}

fn choose_dir(wish: Option<&Path>) -> io::Result<(PathBuf, Option<String>)> {
    if let Some(dir) = wish {
        return Ok((dir.to_path_buf(), None));
    }
    let temporary = std::env::temp_dir();
    let complaint = match tempfile::tempfile_in(&temporary).and_then(|file| check_direct(&file)) {
        Ok(()) if is_memory(&temporary) => "it is in memory".to_owned(),
        Ok(()) => return Ok((temporary, None)),
        Err(error) => error.to_string(),
    };
    let current = std::env::current_dir()?;
    let remark = format!(
        "{} cannot serve for direct I/O ({complaint}); the data file is in {}; --dir DIR chooses another place",
        temporary.display(),
        current.display()
    );
    Ok((current, Some(remark)))
}

fn is_memory(dir: &Path) -> bool {
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|fs| fs.f_type == TMPFS_MAGIC)
}

fn check_direct(file: &File) -> io::Result<()> {
    file.set_len(count(BLOCK))?;
    open_direct(file).map(drop)
}

/// Opens the file once more with `O_DIRECT` and proves it with a read: some filesystems refuse only then.
fn open_direct(file: &File) -> io::Result<File> {
    let direct = reopen(file, true)?;
    direct.read_exact_at(Aligned::new(BLOCK).bytes_mut(), 0)?;
    Ok(direct)
}

/// Opens a file once more, for an offset of its own.
pub(crate) fn reopen(file: &File, direct: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(if direct { libc::O_DIRECT } else { 0 })
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The alignment that direct I/O on a file wants of memory; `None` where the kernel does not say (before Linux 6.1,
/// statx(2)).
pub(crate) fn direct_alignment(file: &File) -> Option<u32> {
    let asked = StatxFlags::DIOALIGN;
    let answer = statx(file, "", AtFlags::EMPTY_PATH, asked).ok()?;
    let said = StatxFlags::from_bits_retain(answer.stx_mask).contains(asked);
    (said && answer.stx_dio_mem_align > 0).then_some(answer.stx_dio_mem_align)
}

fn direct_refusal(dir: &Path, error: &io::Error) -> String {
    format!("{} does not do direct I/O ({error}); --dir DIR chooses another place", dir.display())
}

fn explain(dir: &Path, doing: &str, error: &io::Error) -> io::Error {
    let text =
        format!("cannot {doing} {}: {error}; --dir DIR chooses another place", dir.display());
    io::Error::new(error.kind(), text)
}

fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let mut rng = Rng::new(0);
    let mut chunk: Vec<u8> = Vec::with_capacity(CHUNK);
    while chunk.len() < CHUNK {
        chunk.extend_from_slice(&rng.next().to_le_bytes());
    }
    for at in (0..bytes).step_by(CHUNK) {
        for (block, number) in chunk.chunks_exact_mut(BLOCK).zip(at / count(BLOCK)..) {
            mark(block, number);
        }
        file.write_all_at(&chunk, at)?;
    }
    file.sync_all()
}

/// Writes a block's number at its start.
#[inline]
pub(crate) fn mark(block: &mut [u8], number: u64) {
    if let Some(head) = block.first_chunk_mut() {
        *head = number.to_le_bytes();
    }
}

/// Checks that what was read at `offset` is what is stored there: a benchmark that reads the wrong bytes is no benchmark.
#[inline]
pub(crate) fn check(block: &[u8], wanted: usize, offset: u64) -> io::Result<()> {
    let right = block.first_chunk() == Some(&(offset / count(BLOCK)).to_le_bytes());
    if right && block.len() == wanted { Ok(()) } else { Err(wrong(block.len(), wanted, offset)) }
}

#[cold]
fn wrong(got: usize, wanted: usize, offset: u64) -> io::Error {
    io::Error::other(format!(
        "read at {offset}: wrong contents, or {got} bytes in place of {wanted}"
    ))
}

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(start: u64) -> Self {
        Self(start)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Where and how much the operations of one file scenario read or write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Bytes of one operation.
    pub(crate) size: usize,
    count: u64,
}

impl Blocks {
    pub(crate) fn new(size: usize, file_bytes: u64) -> Self {
        Self { size, count: (file_bytes / count(size)).max(1) }
    }

    /// The offsets of one lane (slot, thread or task) in one slice: the same for every implementation.
    pub(crate) fn lane(self, lane: u64, slice: u64) -> Offsets {
        Offsets { rng: Rng::new(slice.wrapping_mul(1 << 32) ^ lane), blocks: self }
    }
}

/// A sequence of random offsets, each a multiple of the operation's size.
#[derive(Clone, Debug)]
pub(crate) struct Offsets {
    rng: Rng,
    blocks: Blocks,
}

impl Offsets {
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        // The high half of a product spreads 32 random bits over the range without a division.
        (((self.rng.next() >> 32) * self.blocks.count) >> 32) * count(self.blocks.size)
    }
}

/// Page-aligned memory for direct I/O, without unsafe code: a vector with room to start at a page.
#[derive(Debug)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, start, len }
    }

    /// Where the bytes start, without a reference to them: what is given to the kernel.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr().wrapping_add(self.start)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// The directory exists and is one: the check of `--dir`.
pub(crate) fn parse_dir(text: &str) -> Result<PathBuf, String> {
    match fs::metadata(text) {
        Ok(meta) if meta.is_dir() => Ok(PathBuf::from(text)),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_memory_is_aligned() {
        for len in [64, 4096, 1 << 20] {
            let mut memory = Aligned::new(len);
            assert_eq!(memory.bytes_mut().as_ptr().align_offset(BLOCK), 0);
            assert_eq!(memory.bytes().len(), len);
        }
    }

    #[test]
    fn offsets_are_deterministic_in_range_and_spread() {
        let blocks = Blocks::new(4096, 64 << 20);
        let draw = |lane| {
            let mut offsets = blocks.lane(lane, 3);
            (0..10_000).map(|_| offsets.next()).collect::<Vec<_>>()
        };
        let first = draw(1);
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
        assert!(first.iter().all(|at| at % 4096 == 0 && *at < 64 << 20));
        let mut distinct = first;
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 6000);
    }

    #[test]
    fn the_file_says_where_each_block_is() {
        let dir = std::env::current_dir().unwrap();
        let data = Data::create(Some(&dir), 2 << 20).unwrap();
        let twin = Data::open(&data.shared_name()).unwrap();
        let mut block = vec![0; BLOCK];
        for number in [0, 1, 255, 256, 511] {
            let at = number * count(BLOCK);
            twin.buffered.read_exact_at(&mut block, at).unwrap();
            check(&block, BLOCK, at).unwrap();
            assert!(check(&block, BLOCK, at + count(BLOCK)).is_err());
            assert!(check(&block, BLOCK + 1, at).is_err());
        }
        data.warm().unwrap();
    }

    #[test]
    fn direct_reads_work_at_the_alignment_that_is_said() {
        let dir = std::env::current_dir().unwrap();
        let data = Data::create(Some(&dir), 1 << 20).unwrap();
        let (Ok(file), Some(align)) = (&data.direct, direct_alignment(&data.buffered)) else {
            eprintln!("skipped: no direct I/O in {}, or statx(2) does not tell", dir.display());
            return;
        };
        let align = usize::try_from(align).unwrap();
        assert!(align.is_power_of_two() && align <= BLOCK, "{align}");
        let mut memory = Aligned::new(2 * BLOCK);
        let block = memory.bytes_mut().get_mut(align..align + BLOCK).unwrap();
        file.read_exact_at(block, count(BLOCK)).unwrap();
        check(block, BLOCK, count(BLOCK)).unwrap();
    }

    #[test]
    fn directories_are_checked() {
        assert!(parse_dir("/proc/self").is_ok());
        assert!(parse_dir("/proc/self/status").is_err());
        assert!(parse_dir("/no/such/place").is_err());
    }
}
