//! What kind of file a descriptor leads to: learnt at its first operation, kept with its handle.
//!
//! # Safety
//! fstat(2), getsockopt(2) and fstatfs(2) fill structures on this stack; the others take no pointer.
//!
//! Tests: descriptors_are_told_apart
#![allow(unsafe_code, reason = "system calls that fill a structure")]

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::backend::Submission;

const KIND: u8 = 0x0f;
const NO_NOWAIT_READ: u8 = 0x10;
const NO_NOWAIT_WRITE: u8 = 0x20;
const NONBLOCKING: u8 = 0x40;

/// How the operations of a descriptor are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A socket that carries a stream of bytes.
    Stream,
    /// A socket of datagrams.
    Datagram,
    /// Any other socket.
    Socket,
    /// A pipe or FIFO.
    Pipe,
    /// Anything else that is no file on a disk: terminals, eventfds, devices.
    Other,
    /// A regular file, a block device, a directory.
    File,
    /// A file that only lives in memory: nothing in it waits for a disk.
    Memory,
    /// A file opened with `O_DIRECT`.
    Direct,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Stream,
        Kind::Datagram,
        Kind::Socket,
        Kind::Pipe,
        Kind::Other,
        Kind::File,
        Kind::Memory,
        Kind::Direct,
    ];

    /// Whether it is any kind of socket.
    pub(crate) fn is_socket(self) -> bool {
        matches!(self, Kind::Stream | Kind::Datagram | Kind::Socket)
    }

    fn word(self) -> u8 {
        let place = Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0);
        u8::try_from(place + 1).unwrap_or(1)
    }
}

/// What is known of a descriptor. Wrong knowledge costs time, and nothing else: `O_DIRECT` can be changed behind it.
#[derive(Debug)]
pub struct Class {
    known: AtomicU8,
    /// Where it is registered: the number of a ring in the upper half, its place there in the lower. Without a ring: how many
    /// times it was used. Written by the one thread of the rings that register files.
    place: AtomicU64,
    /// Reads that go to a ring before the next is tried as a plain call. Two threads that count at once count one.
    in_ring: AtomicU8,
}

/// Reads of a new descriptor that do not ask what it is, which costs three calls: many are read once and closed.
const FIRST_READS: u8 = 4;
/// Reads that go to the ring after one that was not in memory.
const AFTER_A_MISS: u8 = 31;

impl Default for Class {
    fn default() -> Self {
        let (known, place) = (AtomicU8::new(0), AtomicU64::new(0));
        Self { known, place, in_ring: AtomicU8::new(FIRST_READS) }
    }
}

/// The bits of the place.
const HALF: u32 = 32;

impl Class {
    /// That of the descriptor of an operation.
    #[inline(always)]
    pub(crate) fn of(submission: &Submission) -> Option<&Self> {
        // SAFETY: lives as long as the descriptor is open (the field's promise), which its operation keeps open until its last
        // completion; a submission is not looked at after that.
        submission.class.map(|class| unsafe { class.as_ref() })
    }

    /// Whether `fd`, to which this belongs, is a socket of datagrams.
    #[inline(always)]
    pub(crate) fn is_datagram(&self, fd: RawFd) -> bool {
        self.kind(fd) == Kind::Datagram
    }

    /// The kind of `fd`, to which this belongs.
    #[inline]
    pub(crate) fn kind(&self, fd: RawFd) -> Kind {
        let word = usize::from(self.known.load(Ordering::Relaxed) & KIND);
        match word.checked_sub(1).and_then(|place| Kind::ALL.get(place)) {
            Some(kind) => *kind,
            None => self.learn(fd),
        }
    }

    /// Whether `fd`, to which this belongs, is a file on a disk or in memory.
    pub(crate) fn is_file(&self, fd: RawFd) -> bool {
        matches!(self.kind(fd), Kind::File | Kind::Memory | Kind::Direct)
    }

    #[cold]
    fn learn(&self, fd: RawFd) -> Kind {
        let kind = kind_of(fd);
        self.known.fetch_or(kind.word(), Ordering::Relaxed);
        kind
    }

    fn has(&self, flag: u8) -> bool {
        self.known.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8) {
        self.known.fetch_or(flag, Ordering::Relaxed);
    }

    /// What its place in the table of this ring is looked up with.
    pub(crate) fn key(ring: u32) -> u64 {
        u64::from(ring) << HALF
    }

    /// Its place in the table of the ring with this key, which has so many.
    #[inline(always)]
    pub(crate) fn place_in(&self, key: u64, places: u32) -> Option<u32> {
        let place = self.place.load(Ordering::Relaxed) ^ key;
        (place < u64::from(places)).then_some(halves(place).1)
    }

    /// The number of the ring that it is registered with, and its place there.
    #[inline(always)]
    pub(crate) fn place(&self) -> Option<(u32, u32)> {
        let (ring, place) = halves(self.place.load(Ordering::Relaxed));
        (ring != 0).then_some((ring, place))
    }

    pub(crate) fn set_place(&self, ring: u32, place: u32) {
        self.place.store(Self::key(ring) | u64::from(place), Ordering::Relaxed);
    }

    /// Counts a use, up to `most`; gives the count, but not a second time for the last. `None` too if it is registered.
    pub(crate) fn uses_until(&self, most: u32) -> Option<u32> {
        let (ring, uses) = halves(self.place.load(Ordering::Relaxed));
        if ring != 0 || uses >= most {
            return None;
        }
        self.set_place(0, uses + 1);
        Some(uses + 1)
    }

    /// Whether a read of `fd`, to which this belongs, is to be tried as a plain call that does not wait.
    #[inline]
    pub(crate) fn reads_plainly(&self, fd: RawFd) -> bool {
        let left = self.in_ring.load(Ordering::Relaxed);
        if left > 0 {
            self.in_ring.store(left - 1, Ordering::Relaxed);
            return false;
        }
        self.may_nowait(false) && self.kind(fd) == Kind::File
    }

    /// What such a call was for is not in memory.
    #[cold]
    pub(crate) fn read_missed(&self) {
        self.in_ring.store(AFTER_A_MISS, Ordering::Relaxed);
    }

    /// Whether `RWF_NOWAIT` is worth a try.
    #[inline]
    pub(crate) fn may_nowait(&self, write: bool) -> bool {
        !self.has(if write { NO_NOWAIT_WRITE } else { NO_NOWAIT_READ })
    }

    /// The file does not know `RWF_NOWAIT`.
    pub(crate) fn no_nowait(&self, write: bool) {
        self.set(if write { NO_NOWAIT_WRITE } else { NO_NOWAIT_READ });
    }

    /// Puts the file into non-blocking mode, once.
    pub(crate) fn ensure_nonblocking(&self, fd: RawFd) {
        if !self.has(NONBLOCKING) {
            set_nonblocking(fd, true);
            self.set(NONBLOCKING);
        }
    }
}

#[inline(always)]
#[expect(clippy::as_conversions, reason = "splits a word")]
fn halves(word: u64) -> (u32, u32) {
    ((word >> HALF) as u32, word as u32)
}

/// Changes `O_NONBLOCK`; tells what it was.
pub(super) fn set_nonblocking(fd: RawFd, on: bool) -> bool {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let was = flags & libc::O_NONBLOCK != 0;
    if flags >= 0 && was != on {
        let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
        // SAFETY: F_SETFL takes no pointer.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    }
    was
}

fn kind_of(fd: RawFd) -> Kind {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: room for one `stat`.
    let failed = unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0;
    if failed {
        return Kind::Other;
    }
    // SAFETY: filled by the call that succeeded, and zeroed before: plain numbers.
    let stat = unsafe { stat.assume_init() };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => socket_kind(fd),
        libc::S_IFIFO => Kind::Pipe,
        libc::S_IFREG | libc::S_IFBLK | libc::S_IFDIR => {
            // SAFETY: F_GETFL takes no pointer.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
            if flags >= 0 && flags & libc::O_DIRECT != 0 {
                Kind::Direct
            } else if is_in_memory(fd) {
                Kind::Memory
            } else {
                Kind::File
            }
        }
        _ => Kind::Other,
    }
}

fn socket_kind(fd: RawFd) -> Kind {
    let mut kind: libc::c_int = 0;
    let mut size: libc::socklen_t = 4;
    // SAFETY: SO_TYPE is an int of four bytes; both are on this stack.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size)
    };
    match kind {
        libc::SOCK_STREAM if result == 0 => Kind::Stream,
        libc::SOCK_DGRAM | libc::SOCK_RAW if result == 0 => Kind::Datagram,
        _ => Kind::Socket,
    }
}

fn is_in_memory(fd: RawFd) -> bool {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: room for one `statfs`.
    if unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: filled by the call that succeeded, and zeroed before: plain numbers.
    let stat = unsafe { stat.assume_init() };
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    // Signed in one C library and not in another.
    matches!(u64::try_from(stat.f_type), Ok(TMPFS_MAGIC | RAMFS_MAGIC))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn descriptors_are_told_apart() {
        let kind = |file: &dyn AsRawFd| Class::default().kind(file.as_raw_fd());
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(kind(&stream), Kind::Stream);
        assert_eq!(kind(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()), Kind::Datagram);
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(kind(&reader), Kind::Pipe);
        assert_eq!(kind(&std::fs::File::open("/dev/zero").unwrap()), Kind::Other);
        let program = std::env::current_exe().unwrap();
        let file = std::fs::File::open(&program).unwrap();
        assert!(matches!(kind(&file), Kind::File | Kind::Memory));
        let direct =
            std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&program);
        if let Ok(direct) = direct {
            assert_eq!(kind(&direct), Kind::Direct);
        }
        // SAFETY: a name that ends in a zero byte.
        let memory = unsafe { libc::memfd_create(c"safer-ring".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(memory >= 0);
        assert_eq!(Class::default().kind(memory), Kind::Memory);
        // SAFETY: made above, and used by nobody else.
        unsafe { libc::close(memory) };
    }
}
