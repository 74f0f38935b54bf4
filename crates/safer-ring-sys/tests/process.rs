//! A ring and the life of its process. One test: it forks, and counts descriptors.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, RawFd};

use common::child::{descendants_are_known, in_child};
use common::{complete, kernel_is, make, nop, ring, ring_descriptors};
use safer_ring_sys::mmap::Mapping;
use safer_ring_sys::{
    AioContext, Errno, IoEvent, Iocb, Params, Timespec, Uring, aio_cmd, fork, setup,
};

fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks for the flags of a number.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Whether the page at `address` is mapped.
fn is_mapped(address: *mut u8) -> bool {
    // SAFETY: synchronising a page changes nothing; an unmapped one gives ENOMEM.
    unsafe { libc::msync(address.cast(), 4096, libc::MS_ASYNC) == 0 }
}

#[test]
fn fork_drop_leak_and_failure() {
    epochs();
    mappings();
    aio_contexts();
    if ring(1, 0).is_some() {
        rings();
        descriptors();
        errors_of_setup();
    }
}

fn epochs() {
    let mine = fork::arm().unwrap();
    assert_ne!(mine, 0);
    assert_eq!((fork::arm(), fork::current()), (Ok(mine), mine));
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(fork::arm)).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Ok(mine)));
    descendants_are_known(mine);
}

fn mappings() {
    let mapping = ManuallyDrop::new(Mapping::anonymous(4096).unwrap());
    let start = mapping.start().as_ptr();
    assert!(is_mapped(start));
    let status = in_child(|| {
        if is_mapped(start) {
            return 1;
        }
        // Something of the child's own comes to the same place: dropping must not unmap it.
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: the place is free in the child, and is not taken from anyone.
        let own = unsafe { libc::mmap(start.cast(), 4096, access, kind, -1, 0) };
        if own != start.cast() {
            return 2;
        }
        drop(ManuallyDrop::into_inner(mapping));
        if is_mapped(start) { 0 } else { 3 }
    });
    assert_eq!(status, 0);
    assert!(is_mapped(start));
}

fn aio_contexts() {
    let context = match AioContext::setup(4) {
        Ok(context) => context,
        Err(errno @ (Errno::NOSYS | Errno::PERM)) => return eprintln!("SKIPPED: no AIO: {errno}"),
        Err(errno) => panic!("io_setup: {errno}"),
    };
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let line = maps.lines().find(|line| line.contains("[aio]")).unwrap();
    let place = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let place = std::ptr::with_exposed_provenance_mut::<libc::c_void>(place);
    let flags = maps[maps.find("[aio]").unwrap()..]
        .lines()
        .find(|line| line.starts_with("VmFlags:"))
        .unwrap();
    assert!(flags.contains(" dc"), "the head of the ring is not copied by fork: {flags}");
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let mut byte = 7_u8;
    let mut read = Iocb {
        aio_lio_opcode: aio_cmd::PREAD,
        aio_fildes: u32::try_from(zero.as_raw_fd()).unwrap(),
        aio_buf: safer_ring_sys::address(&raw const byte),
        aio_nbytes: 1,
        ..Iocb::default()
    };
    let read: *mut Iocb = &raw mut read;
    let fetch = |context: &AioContext, room: &mut [MaybeUninit<IoEvent>]| {
        context.getevents(0, room, Some(Timespec::default())).map(|events| events.len())
    };
    // SAFETY: the structure and the byte outlive the context.
    assert_eq!(unsafe { context.submit(&[read]) }, Ok(1));
    let copy: *const AioContext = &raw const context;
    let status = in_child(|| {
        // SAFETY: in the child this is the only user of its copy of the context.
        let context = unsafe { copy.read() };
        // SAFETY: refused at once.
        let submitted = unsafe { context.submit(&[read]) };
        let refused = [
            submitted.map(drop),
            fetch(&context, &mut [MaybeUninit::uninit()]).map(drop),
            context.cancel(read),
        ];
        if context.is_alive() || refused != [Err(Errno::INVAL); 3] {
            return 1;
        }
        // A context of the child's own comes to the same place: dropping must not destroy it.
        let mut own: *mut libc::c_void = std::ptr::null_mut();
        // SAFETY: the kernel writes one word.
        if unsafe { libc::syscall(libc::SYS_io_setup, 4, &raw mut own) } != 0 {
            return 2;
        }
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: the new ring's first page moves to where the parent has that of its own, which nobody uses here.
        if unsafe { libc::mremap(own, 4096, 4096, how, place) } != place {
            return 3;
        }
        drop(context);
        // SAFETY: destroys the child's own context, by its new number.
        let destroyed = unsafe { libc::syscall(libc::SYS_io_destroy, place) };
        if destroyed == 0 { 0 } else { 4 }
    });
    assert_eq!(status, 0);
    // A context that is only a number in the child: destroying it says so, and does nothing.
    let status = in_child(|| {
        // SAFETY: as above.
        let context = unsafe { copy.read() };
        if context.destroy() == Err(Errno::INVAL) { 0 } else { 1 }
    });
    assert_eq!(status, 0);
    assert!(context.is_alive());
    assert_eq!(fetch(&context, &mut [MaybeUninit::uninit()]), Ok(1), "the parent's event");
    // SAFETY: as above.
    assert_eq!(unsafe { context.submit(&[read]) }, Ok(1));
    assert_eq!(context.destroy(), Ok(()));
    byte = byte.wrapping_add(1);
    assert_eq!(byte, 1);
}

fn rings() {
    let mut parents = make(4, 0).unwrap();
    assert_eq!(parents.register_ring_fd().is_ok(), kernel_is(5, 18));
    // SAFETY: a NOP names no memory.
    unsafe { parents.push(&nop(1)) }.unwrap();
    assert!(parents.is_alive());
    let fd = parents.as_raw_fd();
    let copy: *const Uring = &raw const parents;
    let status = in_child(|| {
        // SAFETY: in the child this is the only user of its copy of the ring, which is not used
        // again.
        let ring = unsafe { copy.read() };
        if ring.is_alive() || !is_open(fd) {
            return 1;
        }
        drop(ring);
        if is_open(fd) { 2 } else { 0 }
    });
    assert_eq!(status, 0);
    assert!(is_open(fd) && parents.is_alive());
    assert_eq!(parents.sq_pending(), 1, "the child has submitted nothing");
    assert_eq!(complete(&mut parents, 1)[0].user_data, 1);
}

fn descriptors() {
    let before = ring_descriptors();
    let kept = make(4, 0).unwrap();
    assert_eq!(ring_descriptors(), before + 1);
    drop(kept);
    assert_eq!(ring_descriptors(), before);

    // A set-up that fails after the kernel has made the ring: no address space for its queues.
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads a limit into `old`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut old) }, 0);
    let none = libc::rlimit { rlim_cur: 4096, ..old };
    // SAFETY: until it is restored no more memory can be mapped; a ring of 1 entry needs none of
    // the allocator's.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const none) }, 0);
    let failed = make(1, 0).map(drop);
    // SAFETY: restores the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const old) }, 0);
    assert_eq!(failed, Err(Errno::NOMEM));
    assert_eq!(ring_descriptors(), before, "the descriptor of the failed ring is closed");

    let mut leaked = make(4, 0).unwrap();
    // SAFETY: a NOP names no memory.
    unsafe { leaked.push(&nop(1)) }.unwrap();
    let fd = leaked.as_raw_fd();
    leaked.leak();
    assert!(is_open(fd));
    assert_eq!(ring_descriptors(), before + 1);
}

fn errors_of_setup() {
    let refuse = |entries, params: Params| Uring::new(entries, params).map(drop).unwrap_err();
    let flags = |flags| Params { flags, ..Params::default() };
    let before = ring_descriptors();
    for _ in 0..20 {
        assert_eq!(refuse(0, flags(0)), Errno::INVAL);
        assert_eq!(refuse(u32::MAX, flags(0)), Errno::INVAL);
        assert_eq!(refuse(40_000, flags(0)), Errno::INVAL);
        assert_eq!(refuse(8, flags(1 << 31)), Errno::INVAL);
        assert_eq!(refuse(8, flags(setup::NO_MMAP)), Errno::INVAL);
        assert_eq!(refuse(8, flags(setup::NO_MMAP | setup::REGISTERED_FD_ONLY)), Errno::INVAL);
        assert_eq!(refuse(8, flags(setup::REGISTERED_FD_ONLY)), Errno::INVAL);
        assert_eq!(refuse(8, flags(setup::CQSIZE)), Errno::INVAL, "a CQ of 0 entries");
        let no_ring = Params { wq_fd: u32::MAX, ..flags(setup::ATTACH_WQ) };
        assert!(matches!(refuse(8, no_ring), Errno::NXIO | Errno::BADF));
    }
    assert_eq!(ring_descriptors(), before);
}
