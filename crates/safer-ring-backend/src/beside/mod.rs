//! System calls that the library makes beside its rings: on descriptors, on names, of clocks.
//!
//! What belongs to this process is the kernel's to answer. A descriptor of a simulated world ([`crate::sim`]) says by its
//! number in which world it is, and is answered there; a call without a descriptor takes the ring, which knows its world. So
//! nothing here is of one world or another, there is no world that is "the current one", and worlds of parallel tests do not
//! meet. No operation of a ring comes this way.
//!
//! A call that may block, and so belongs on a thread of its own, is the caller's to make: here it has an answer only where a
//! world gives one, at once.

mod names;
pub mod sockopt;
mod time;

use std::io::{self, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use rustix::fs::OFlags;
use safer_ring_sys::Errno;

use crate::adopt::Descriptor;
use crate::fd::Fd;
use crate::mode::Mode;
use crate::sim::{self, Kernel, Number};
use crate::wake::os_errno;

pub use names::{
    DirEntry, canonicalize, entries, is_simulated, local_ip, local_unix, look_up, memory_file,
    pair, peer_ip, peer_unix, read_link, set_permissions, set_permissions_of,
};
pub(crate) use time::in_world;
pub use time::{left, now};

/// What shutdown(2) ends: the direction that is written to.
pub(crate) const SHUT_WR: u32 = 1;

/// The answer to a call on a descriptor: of its world, or of the kernel.
#[inline]
fn answer<T>(
    name: &'static str,
    fd: &impl AsFd,
    world: impl FnOnce(&mut Kernel, RawFd) -> Result<T, Errno>,
    kernel: impl FnOnce() -> Result<T, rustix::io::Errno>,
) -> Result<T, Errno> {
    match simulated(name, fd, world) {
        Some(answer) => answer,
        None => kernel().map_err(os_errno),
    }
}

/// The answer of a world to a call on a descriptor; `None` if it is one of this process.
#[inline]
fn simulated<T>(
    name: &'static str,
    fd: &impl AsFd,
    world: impl FnOnce(&mut Kernel, RawFd) -> Result<T, Errno>,
) -> Option<Result<T, Errno>> {
    let fd = fd.as_fd().as_raw_fd();
    let machine = sim::machine_of(fd)?;
    Some(machine.and_then(|machine| {
        let mut kernel = machine.lock();
        let answer = world(&mut kernel, fd);
        kernel.note_call(name, fd, answer.as_ref().err().copied());
        answer
    }))
}

/// A handle on a number that a world has just given away.
fn own<M: Mode>(fd: RawFd) -> Fd<M> {
    Fd::over(Descriptor::Simulated(Number::adopt(fd)))
}

/// lseek(2).
///
/// # Errors
/// Those of lseek(2): `EINVAL`, `ESPIPE`.
pub fn seek(fd: impl AsFd, to: SeekFrom) -> Result<u64, Errno> {
    let (there, here) = match to {
        SeekFrom::Start(place) => (rustix::fs::SeekFrom::Start(place), sim::From::Start(place)),
        SeekFrom::End(by) => (rustix::fs::SeekFrom::End(by), sim::From::End(by)),
        SeekFrom::Current(by) => (rustix::fs::SeekFrom::Current(by), sim::From::Here(by)),
    };
    answer("lseek", &fd, |world, number| world.seek(number, here), || rustix::fs::seek(&fd, there))
}

/// Where the cursor is: lseek(2).
///
/// # Errors
/// As [`seek`].
pub fn tell(fd: impl AsFd) -> Result<u64, Errno> {
    let here = sim::From::Here(0);
    answer("lseek", &fd, |world, number| world.seek(number, here), || rustix::fs::tell(&fd))
}

/// fcntl(2) with `F_GETFL`: `O_APPEND`, `O_DIRECT` and the like.
///
/// # Errors
/// Those of fcntl(2).
pub fn status_flags(fd: impl AsFd) -> Result<u32, Errno> {
    let ask = || rustix::fs::fcntl_getfl(&fd).map(|flags: OFlags| flags.bits());
    answer("fcntl", &fd, |world, number| world.status_flags(number), ask)
}

/// A second descriptor of the same open file, close-on-exec: fcntl(2) with `F_DUPFD_CLOEXEC`.
///
/// # Errors
/// Those of fcntl(2): `EMFILE`.
pub(crate) fn duplicate<M: Mode>(fd: &Fd<M>) -> io::Result<Fd<M>> {
    match simulated("dup", fd, Kernel::second) {
        Some(number) => Ok(own(number?)),
        None => Ok(Fd::new(fd.as_fd().try_clone_to_owned()?)),
    }
}

/// Ends the writing direction of a socket: shutdown(2), which waits for nothing.
///
/// # Errors
/// Those of shutdown(2): `ENOTCONN`.
pub(crate) fn end_writing(fd: impl AsFd) -> Result<(), Errno> {
    let end = || rustix::net::shutdown(&fd, rustix::net::Shutdown::Write);
    answer("shutdown", &fd, |world, number| world.shutdown(number, SHUT_WR), end)
}

/// Ends the connection of a socket at once, whoever else has a handle on it. A TCP connection is reset, and what it has not
/// sent is dropped: connect(2) with `AF_UNSPEC`, and `SO_LINGER` of no time for the close. Another one has both
/// directions ended: shutdown(2). What waits on it in the kernel ends with an error, or with the end of the stream.
///
/// There is nothing to fail: what is not connected has nothing to end.
pub fn reset(fd: impl AsFd) {
    if let Some(answer) = simulated("reset", &fd, Kernel::reset_here) {
        // As below.
        let _ = answer;
        return;
    }
    // Each is refused only by what it is not for, and where a thread is inside of a call on the socket (`EBUSY`).
    let _ = rustix::net::sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    if rustix::net::connect_unspec(&fd).is_err() {
        let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
    }
}

/// Bytes that a pipe holds: fcntl(2) with `F_GETPIPE_SZ`.
///
/// # Errors
/// Those of fcntl(2).
pub fn pipe_capacity(fd: impl AsFd) -> Result<usize, Errno> {
    let ask = || rustix::pipe::fcntl_getpipe_size(&fd);
    answer("fcntl", &fd, |world, number| world.pipe_capacity(number), ask)
}

/// Makes a pipe hold at least so many bytes; gives how many it holds: fcntl(2) with `F_SETPIPE_SZ`.
///
/// # Errors
/// Those of fcntl(2): `EPERM`, `EBUSY`.
pub fn set_pipe_capacity(fd: impl AsFd, bytes: usize) -> Result<usize, Errno> {
    let ask = || rustix::pipe::fcntl_setpipe_size(&fd, bytes);
    answer("fcntl", &fd, |world, number| world.set_pipe_capacity(number, bytes), ask)
}
