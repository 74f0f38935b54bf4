//! Facts for the rules of the system calls ([`rules`]): what this machine, this process and a descriptor are.
//!
//! Each function makes a few system calls that read, and changes nothing. What cannot be learnt is left out, and then the
//! rules leave it open.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::process::Resource;

pub use safer_ring_spec::rules;
use safer_ring_spec::rules::{Facts, File, Kind};

use crate::detect::Evidence;

/// What is known about the machine and the process: kernel, limits, capabilities, settings. No descriptor is looked at.
///
/// Reads `/proc` and makes a handful of system calls.
#[must_use]
pub fn machine() -> Facts {
    let evidence = Evidence::gather(false);
    let number =
        |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    Facts {
        kernel: release(&evidence.release),
        page_size: u64::try_from(rustix::param::page_size()).ok(),
        cpus: cpus(),
        memlock: Some(evidence.memlock.unwrap_or(u64::MAX)),
        ipc_lock: evidence.ipc_lock,
        nofile: Some(limit.unwrap_or(u64::MAX)),
        aio_max_nr: number("/proc/sys/fs/aio-max-nr"),
        aio_nr: number("/proc/sys/fs/aio-nr"),
        io_uring_disabled: evidence.io_uring_disabled,
        ..Facts::default()
    }
}

/// What is known about an open descriptor: `fstat(2)`, `fcntl(2)`, `statx(2)` and the name in `/proc/self/fd`.
///
/// Minimum kernel for the alignment of direct I/O: 6.1.
#[must_use]
pub fn file(fd: impl AsFd) -> File {
    let fd = fd.as_fd();
    let Ok(flags) = rustix::fs::fcntl_getfl(fd) else { return File::default() };
    if flags.contains(OFlags::PATH) {
        return File::CLOSED;
    }
    let access = flags & OFlags::ACCMODE;
    let kind = kind(fd);
    let (memory_align, offset_align) = alignment(fd, kind).unzip();
    let regular = kind == Some(Kind::Regular);
    File {
        open: Some(true),
        kind,
        readable: Some(access == OFlags::RDONLY || access == OFlags::RDWR),
        writable: Some(access == OFlags::WRONLY || access == OFlags::RDWR),
        direct: Some(flags.contains(OFlags::DIRECT)),
        append_only: None,
        data: if regular { has_data(fd) } else { None },
        size: if regular { size(fd) } else { None },
        memory_align,
        offset_align,
    }
}

/// The same, as an entry of [`Facts::files`].
#[must_use]
pub fn entry(fd: impl AsFd) -> (u32, File) {
    let fd = fd.as_fd();
    (fd.as_raw_fd().unsigned_abs(), file(fd))
}

/// One more than the highest number that a CPU can have.
fn cpus() -> Option<u32> {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    let last = possible.trim().rsplit([',', '-']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

fn release(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kind(fd: BorrowedFd<'_>) -> Option<Kind> {
    let about = rustix::fs::fstat(fd).ok()?;
    Some(match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        _ => {
            let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
            match name.to_str()? {
                "anon_inode:[eventfd]" => Kind::Eventfd,
                "anon_inode:[eventpoll]" => Kind::Epoll,
                "anon_inode:[io_uring]" => Kind::Ring,
                _ => Kind::Other,
            }
        }
    })
}

fn size(fd: BorrowedFd<'_>) -> Option<u64> {
    u64::try_from(rustix::fs::fstat(fd).ok()?.st_size).ok()
}

/// `STATX_DIOALIGN`, of files and block devices.
fn alignment(fd: BorrowedFd<'_>, kind: Option<Kind>) -> Option<(u32, u32)> {
    if !matches!(kind, Some(Kind::Regular | Kind::Block)) {
        return None;
    }
    let asked = StatxFlags::DIOALIGN;
    let answer = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, asked).ok()?;
    let said = StatxFlags::from_bits_retain(answer.stx_mask).contains(asked);
    said.then_some((answer.stx_dio_mem_align, answer.stx_dio_offset_align))
}

/// File systems for data, whose regular files have reads, writes and syncs.
fn has_data(fd: BorrowedFd<'_>) -> Option<bool> {
    /// ext, XFS, btrfs, tmpfs, F2FS, overlayfs: `statfs(2)`.
    const DATA: &[u64] = &[0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0x794c_7630];
    let magic = u64::try_from(rustix::fs::fstatfs(fd).ok()?.f_type).ok()?;
    DATA.contains(&magic).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_kernel_and_limits() {
        let facts = machine();
        assert!(facts.kernel.is_some_and(|kernel| kernel >= (4, 0)), "{facts:?}");
        assert!(facts.page_size.is_some_and(|page| page.is_power_of_two()));
        assert!(facts.nofile.is_some() && facts.files.is_empty());
        assert!(facts.cpus.is_none_or(|cpus| cpus > 0), "{facts:?}");
    }

    #[test]
    fn descriptors_are_told_apart() {
        let path = std::env::temp_dir().join(format!("safer-ring-contract-{}", std::process::id()));
        let written = std::fs::File::create(&path).unwrap();
        let found = file(&written);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            (found.kind, found.readable, found.writable),
            (Some(Kind::Regular), Some(false), Some(true))
        );
        assert_eq!((found.open, found.direct), (Some(true), Some(false)));
        let directory = std::fs::File::open("/").unwrap();
        assert_eq!(file(&directory).kind, Some(Kind::Directory));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!((file(&reader).kind, file(&reader).writable), (Some(Kind::Pipe), Some(false)));
        let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        assert_eq!(file(&eventfd).kind, Some(Kind::Eventfd));
        let status = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!((file(&status).kind, file(&status).data), (Some(Kind::Regular), None));
        assert_eq!(entry(&status).0, status.as_raw_fd().unsigned_abs());
    }
}
