//! Closes on a thread of its own what may take its time to be closed.
//!
//! When the last operation on a descriptor ends whose handles are all gone, the descriptor is closed by whoever takes in the
//! completion: the reactor, or the thread that polls for a runtime. close(2) of a socket with `SO_LINGER` waits for its peer
//! then, and that of a file on a network or in user space for its server, and everybody else would wait with them. Closing is
//! in the kernel, so no operation of a ring can do it in their place and wait elsewhere in each case.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use rustix::fs::fstatfs;
use rustix::net::sockopt::socket_linger;
use safer_ring_buf::sync::ForkMutex;

use crate::fd::{Guard, SharedHandle};
use crate::request::Resources;

/// Threads that close at the same time; further ones wait for their turn.
const MOST: usize = 8;

/// What file systems are called whose files are closed without asking anybody: statfs(2).
const AT_ONCE: [u32; 7] = [
    0x0904_1934, // eventfd, epoll and their like
    0x5049_5045, // pipes
    0x0102_1994, // tmpfs
    0xef53,      // ext2 to ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
];

/// The same, of sockets, whose options decide.
const SOCKETS: u32 = 0x534f_434b;

type Handle = Arc<SharedHandle>;

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Handle>,
    threads: usize,
}

static QUEUE: ForkMutex<Queue> = ForkMutex::new(Queue { waiting: Vec::new(), threads: 0 });

/// Hands over the descriptors of dead operations that go with them, and may take long to.
#[cold]
pub(crate) fn hand_over(dead: &mut [Resources<Handle>]) {
    for resources in dead {
        for place in [&mut resources.fd, &mut resources.other] {
            // Nobody can make a further share of the only one.
            if place.as_ref().is_some_and(|fd| fd.holders() == 1 && may_take_long(fd.as_fd()))
                && let Some(fd) = place.take()
            {
                close(fd);
            }
        }
    }
}

fn may_take_long(fd: BorrowedFd<'_>) -> bool {
    // An error: not worth a thread.
    let Ok(found) = fstatfs(fd) else { return false };
    let name = u32::try_from(found.f_type & 0xffff_ffff).unwrap_or(0);
    if name == SOCKETS {
        return socket_linger(fd).is_ok_and(|time| time.is_some());
    }
    !AT_ONCE.contains(&name)
}

fn close(fd: Handle) {
    let mut queue = QUEUE.lock();
    if queue.threads < MOST {
        let started = thread::Builder::new().name("safer-ring-close".into()).spawn(work);
        // Detached: it ends by itself.
        queue.threads += usize::from(started.is_ok());
    }
    if queue.threads > 0 {
        queue.waiting.push(fd);
    } else {
        drop(queue);
        drop(fd);
    }
}

fn work() {
    loop {
        let next = {
            let mut queue = QUEUE.lock();
            let next = queue.waiting.pop();
            queue.threads -= usize::from(next.is_none());
            next
        };
        let Some(fd) = next else { return };
        drop(fd);
    }
}
