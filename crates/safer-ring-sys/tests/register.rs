//! `io_uring_register(2)` on the real kernel.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use common::{complete, kernel_is, make, nop, ring};
use safer_ring_sys::mmap::Mapping;
use safer_ring_sys::probe::{Query, query_opcodes, query_scq, query_zcrx, query_zcrx_event};
use safer_ring_sys::{
    BufRing, CloneBuffers, Cqe, Errno, FILES_SKIP, NapiSettings, QueryHeader, Restriction, Sqe,
    SyncCancelReg, Timespec, Uring, address, cancel, enter, iovec, opcode, recvsend, register_op,
    send_message, setup, sqe_flags, zcrx,
};

const OWNED: u32 = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;

/// # Safety
/// What the entry names outlives its completion.
unsafe fn push(ring: &mut Uring, sqe: &Sqe) {
    // SAFETY: the caller's promise.
    unsafe { ring.push(sqe) }.unwrap();
}

fn one(ring: &mut Uring, sqe: &Sqe) -> Cqe {
    // SAFETY: every test keeps what its entry names until `complete` has returned.
    unsafe { push(ring, sqe) };
    complete(ring, 1)[0]
}

#[test]
fn a_probe_agrees_with_the_kernel_release() {
    let Some(ring) = ring(1, 0) else { return };
    let probe = ring.probe().unwrap();
    for known in 0..opcode::COUNT as u8 {
        let (major, minor) = opcode::since(known).unwrap();
        if kernel_is(u32::from(major), u32::from(minor)) {
            assert!(known <= probe.last_opcode(), "{:?}", opcode::name(known));
        }
    }
    for always in [opcode::NOP, opcode::READ, opcode::RECV, opcode::STATX] {
        assert!(probe.supports(always), "{:?}", opcode::name(always));
    }
    assert!(!probe.supports(255));
    if let Ok(answer) = query_opcodes() {
        assert_eq!(u32::from(probe.last_opcode()) + 1, answer.nr_request_opcodes);
    }
}

#[test]
fn a_query_needs_no_ring() {
    let Some(ring) = ring(1, 0) else { return };
    let answer = match query_opcodes() {
        Ok(answer) => answer,
        Err(errno) => {
            assert!(!kernel_is(6, 18), "{errno}");
            return assert!(matches!(errno, Errno::INVAL | Errno::BADF), "{errno}");
        }
    };
    assert_eq!(answer.feature_flags & u64::from(ring.features()), u64::from(ring.features()));
    assert!(answer.nr_register_opcodes > register_op::QUERY);
    assert_ne!(answer.ring_setup_flags & u64::from(setup::CQE_MIXED), 0);
    assert_ne!(answer.enter_flags & u64::from(enter::NO_IOWAIT), 0);
    assert_ne!(answer.sqe_flags & u64::from(sqe_flags::CQE_SKIP_SUCCESS), 0);
    let all = Query::new().unwrap();
    assert_eq!((all.opcodes, all.zcrx.is_some()), (answer, query_zcrx().is_ok()));
    if let Some(zcrx) = all.zcrx {
        assert!(zcrx.rq_hdr_size > 0 && zcrx.rq_hdr_alignment.is_power_of_two());
        assert!(zcrx.has_ctrl_op(zcrx::ctrl_op::FLUSH_RQ));
    }
    // Each number of questions is that of one more of them.
    let known = answer.nr_query_opcodes;
    assert_eq!(query_scq().is_ok(), known > QueryHeader::SCQ);
    assert_eq!(query_zcrx_event().is_ok(), known > QueryHeader::ZCRX_EVENT);
    if let Ok(events) = query_zcrx_event() {
        assert!(events.stats_size > 0 && events.stats_off_alignment.is_power_of_two());
    }
}

#[test]
fn a_restricted_ring_refuses_what_is_not_allowed() {
    let Some(mut ring) = ring(4, setup::R_DISABLED) else { return };
    assert_eq!(ring.enter(0, 0, None), Err(Errno::BADFD));
    ring.register_restrictions(&[
        Restriction::new(Restriction::SQE_OP, opcode::NOP),
        Restriction::new(Restriction::REGISTER_OP, register_op::ENABLE_RINGS as u8),
    ])
    .unwrap();
    ring.enable_rings().unwrap();
    assert_eq!(one(&mut ring, &nop(1)).res, 0);
    let poll = Sqe { opcode: opcode::POLL_ADD, fd: 0, op_flags: 1, ..nop(2) };
    assert_eq!(one(&mut ring, &poll).res, -Errno::ACCESS.raw_os_error());
    let flagged = Sqe { flags: sqe_flags::ASYNC, ..nop(3) };
    assert_eq!(one(&mut ring, &flagged).res, -Errno::ACCESS.raw_os_error());
    assert_eq!(ring.probe().unwrap_err(), Errno::ACCESS);
    assert_eq!(one(&mut ring, &nop(4)).res, 0);
}

#[test]
fn a_rule_about_an_operation_of_a_newer_kernel_leaves_the_ring_as_it_was() {
    let Some(mut ring) = ring(4, setup::R_DISABLED) else { return };
    let allowed = Restriction::new(Restriction::SQE_OP, opcode::NOP);
    let newer = Restriction::new(Restriction::REGISTER_OP, u8::MAX);
    assert_eq!(ring.register_restrictions(&[allowed, newer]), Err(Errno::INVAL));
    let enable = u8::try_from(register_op::ENABLE_RINGS).unwrap();
    let enable = Restriction::new(Restriction::REGISTER_OP, enable);
    ring.register_restrictions(&[allowed, enable]).unwrap();
    ring.enable_rings().unwrap();
    assert_eq!(one(&mut ring, &nop(1)).res, 0);
}

#[test]
fn restrictions_only_on_a_disabled_ring() {
    let Some(ring) = ring(1, 0) else { return };
    let nop = [Restriction::new(Restriction::SQE_OP, opcode::NOP)];
    assert_eq!(ring.register_restrictions(&nop), Err(Errno::BADFD));
    assert_eq!(ring.enable_rings(), Err(Errno::BADFD));
}

#[test]
fn a_registered_index_is_used_on_its_thread_only() {
    for flags in [0, OWNED] {
        let Some(mut ring) = ring(4, flags) else { return };
        match ring.register_ring_fd() {
            Ok(()) => {}
            Err(errno) => {
                assert!(!kernel_is(5, 18), "{errno}");
                return eprintln!("SKIPPED: registered ring descriptors need Linux 5.18");
            }
        }
        assert_eq!(ring.register_ring_fd(), Ok(()), "once is enough");
        assert_eq!(one(&mut ring, &nop(1)).user_data, 1);
        if flags == 0 {
            // The other thread's table has another ring, or none, at the same index.
            let mut ring = std::thread::spawn(move || {
                assert_eq!(ring.register_ring_fd(), Err(Errno::EXIST));
                assert_eq!(ring.unregister_ring_fd(), Err(Errno::NOENT));
                let mut other = make(4, 0).unwrap();
                other.register_ring_fd().unwrap();
                assert_eq!(one(&mut ring, &nop(2)).user_data, 2);
                assert_eq!(one(&mut other, &nop(3)).user_data, 3);
                assert_eq!((ring.cq_ready(), other.cq_ready()), (0, 0));
                ring
            })
            .join()
            .unwrap();
            assert_eq!(one(&mut ring, &nop(4)).user_data, 4);
            assert_eq!(ring.unregister_ring_fd(), Ok(()));
            assert_eq!(one(&mut ring, &nop(5)).user_data, 5);
        }
    }
    // Each drop gives its index back: a thread's table has 16.
    for _ in 0..40 {
        let mut ring = make(1, 0).unwrap();
        ring.register_ring_fd().unwrap();
    }
}

#[test]
fn limits_of_worker_threads_come_back() {
    let Some(ring) = ring(1, 0) else { return };
    let mut limits = [3, 5];
    ring.iowq_max_workers(&mut limits).unwrap();
    assert!(limits[0] > 0 && limits[1] > 0);
    let mut now = [0, 0];
    ring.iowq_max_workers(&mut now).unwrap();
    assert_eq!(now, [3, 5]);
    ring.register_iowq_affinity(&[1]).unwrap();
    ring.unregister_iowq_affinity().unwrap();
}

#[test]
fn an_eventfd_is_signalled() {
    let Some(mut ring) = ring(4, 0) else { return };
    // SAFETY: makes a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    // SAFETY: just made, and nobody else's.
    let mut eventfd = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    assert_eq!(ring.unregister_eventfd(), Err(Errno::NXIO));
    ring.register_eventfd(eventfd.as_fd(), false).unwrap();
    assert_eq!(ring.register_eventfd(eventfd.as_fd(), true), Err(Errno::BUSY));
    one(&mut ring, &nop(1));
    let mut count = [0; 8];
    eventfd.read_exact(&mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    ring.unregister_eventfd().unwrap();
    one(&mut ring, &nop(2));
    assert_eq!(eventfd.read(&mut count).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn everything_can_be_cancelled() {
    if !kernel_is(6, 0) {
        return eprintln!("SKIPPED: synchronous cancellation needs Linux 6.0");
    }
    for flags in [0, OWNED] {
        let Some(mut ring) = ring(8, flags) else { return };
        assert_eq!(ring.sync_cancel_all(None), Ok(0));
        let (reader, writer) = std::io::pipe().unwrap();
        let mut byte = [[0_u8; 1]; 3];
        for (at, byte) in (1..).zip(byte.iter_mut()) {
            let (addr, fd) = (address(byte.as_mut_ptr()), reader.as_raw_fd());
            let read = Sqe { opcode: opcode::READ, fd, addr, len: 1, ..nop(at) };
            // SAFETY: the buffer and the pipe live until all three have completed.
            unsafe { push(&mut ring, &read) };
        }
        assert_eq!(ring.enter(0, 0, None), Ok(3));
        let request = SyncCancelReg {
            addr: 2,
            timeout: SyncCancelReg::NO_TIMEOUT,
            ..SyncCancelReg::default()
        };
        ring.sync_cancel(request).unwrap();
        assert_eq!(complete(&mut ring, 1)[0].user_data, 2);
        let unknown = SyncCancelReg { addr: 99, ..request };
        assert_eq!(ring.sync_cancel(unknown), Err(Errno::NOENT));
        let by_fd = SyncCancelReg { fd: -1, flags: cancel::FD, ..request };
        assert_eq!(ring.sync_cancel(by_fd), Err(Errno::BADF));
        let limit = Some(Timespec::from(Duration::from_secs(10)));
        assert!(ring.sync_cancel_all(limit).unwrap() >= 2);
        let got = complete(&mut ring, 2);
        assert!(got.iter().all(|cqe| Errno::from_result(cqe.res) == Err(Errno::CANCELED)));
        assert_eq!(ring.sync_cancel_all(limit), Ok(0));
        drop(writer);
    }
}

#[test]
fn registered_files() {
    let Some(mut ring) = ring(4, 0) else { return };
    assert_eq!(ring.unregister_files(), Err(Errno::NXIO));
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    ring.register_files(&[-1, reader.as_raw_fd()]).unwrap();
    assert_eq!(ring.register_files(&[-1]), Err(Errno::BUSY));
    let mut buffer = [0_u8; 4];
    let read = Sqe {
        opcode: opcode::READ,
        flags: sqe_flags::FIXED_FILE,
        fd: 1,
        addr: address(buffer.as_mut_ptr()),
        len: 4,
        ..nop(1)
    };
    writer.write_all(b"abcd").unwrap();
    assert_eq!(one(&mut ring, &read).res, 4);
    assert_eq!(&buffer, b"abcd");
    assert_eq!(ring.files_update(0, &[reader.as_raw_fd(), -1]), Ok(2));
    assert_eq!(one(&mut ring, &read).res, -Errno::BADF.raw_os_error());
    writer.write_all(b"efgh").unwrap();
    assert_eq!(one(&mut ring, &Sqe { fd: 0, ..read }).res, 4);
    assert_eq!(ring.files_update(0, &[FILES_SKIP, -1]), Ok(2));
    writer.write_all(b"ijkl").unwrap();
    assert_eq!(one(&mut ring, &Sqe { fd: 0, ..read }).res, 4, "the skipped slot is as it was");
    assert_eq!(ring.files_update(1, &[-1, -1]), Err(Errno::INVAL));
    ring.unregister_files().unwrap();

    if !kernel_is(6, 0) {
        let sparse = ring.register_files_sparse(4);
        return assert!(sparse.is_ok() || sparse == Err(Errno::INVAL));
    }
    ring.register_files_sparse(4).unwrap();
    ring.register_file_alloc_range(2, 2).unwrap();
    assert_eq!(ring.register_file_alloc_range(3, 2), Err(Errno::INVAL));
    assert_eq!(ring.files_update(3, &[reader.as_raw_fd()]), Ok(1));
    writer.write_all(b"mnop").unwrap();
    assert_eq!(one(&mut ring, &Sqe { fd: 3, ..read }).res, 4);
    ring.unregister_files().unwrap();
    writer.write_all(b"q").unwrap();
    let mut rest = [0];
    reader.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"q", "the ring held the pipe without owning our descriptor");
}

#[test]
fn registered_buffers() {
    let Some(mut ring) = ring(4, 0) else { return };
    let memory = Mapping::anonymous(8192).unwrap();
    let at = |offset: usize, iov_len| iovec {
        iov_base: memory.start().as_ptr().wrapping_add(offset).cast(),
        iov_len,
    };
    assert_eq!(ring.unregister_buffers(), Err(Errno::NXIO));
    // SAFETY: the mapping is unmapped after the ring is gone.
    unsafe { ring.register_buffers(&[at(0, 4096)]) }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { ring.register_buffers(&[at(0, 4096)]) }, Err(Errno::BUSY));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let fixed = Sqe {
        opcode: opcode::READ_FIXED,
        fd: reader.as_raw_fd(),
        addr: address(memory.start().as_ptr()),
        len: 3,
        ..nop(1)
    };
    writer.write_all(b"xyz").unwrap();
    assert_eq!(one(&mut ring, &fixed).res, 3);
    // SAFETY: the request is complete and the mapping is alive.
    assert_eq!(unsafe { memory.start().cast::<[u8; 3]>().read() }, *b"xyz");
    let outside = Sqe { addr: fixed.addr + 4096, ..fixed };
    assert_eq!(one(&mut ring, &outside).res, -Errno::FAULT.raw_os_error());
    if kernel_is(6, 12) {
        let mut other = make(4, 0).unwrap();
        // SAFETY: as above; `other` is gone before the mapping too.
        unsafe { other.clone_buffers(ring.as_fd(), CloneBuffers::default()) }.unwrap();
        writer.write_all(b"uvw").unwrap();
        assert_eq!(one(&mut other, &fixed).res, 3);
    }
    ring.unregister_buffers().unwrap();
    if !kernel_is(5, 19) {
        return assert_eq!(ring.register_buffers_sparse(2), Err(Errno::INVAL));
    }
    ring.register_buffers_sparse(2).unwrap();
    assert_eq!(one(&mut ring, &fixed).res, -Errno::FAULT.raw_os_error());
    // SAFETY: as above.
    assert_eq!(unsafe { ring.buffers_update(1, &[at(4096, 4096)]) }, Ok(1));
    writer.write_all(b"123").unwrap();
    assert_eq!(one(&mut ring, &Sqe { buf_index: 1, ..outside }).res, 3);
    // SAFETY: as above.
    assert_eq!(unsafe { ring.buffers_update(2, &[at(0, 4096)]) }, Err(Errno::INVAL));
    drop(ring);
}

#[test]
fn receives_pick_buffers_of_a_ring_in_turn() {
    assert_eq!(BufRing::new(3).unwrap_err(), Errno::INVAL);
    if !kernel_is(6, 0) {
        return eprintln!("SKIPPED: multishot receive needs Linux 6.0");
    }
    let Some(mut ring) = ring(4, 0) else { return };
    let memory = Mapping::anonymous(4096).unwrap();
    let at = |number: u32| memory.at::<u8>(64 * number, 64).unwrap();
    let mut offered = BufRing::new(4).unwrap();
    // SAFETY: both mappings outlive the ring; a buffer is used here only between the completion that names it and its return.
    unsafe { ring.register_buf_ring(&offered.description(7)) }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { ring.register_buf_ring(&offered.description(7)) }, Err(Errno::EXIST));
    for number in 0..2 {
        // SAFETY: as above; the ring is empty.
        unsafe { offered.push(at(number).as_ptr(), 64, number.try_into().unwrap()) };
    }
    offered.publish();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let receive = Sqe {
        opcode: opcode::RECV,
        flags: sqe_flags::BUFFER_SELECT,
        ioprio: recvsend::RECV_MULTISHOT,
        fd: ours.as_raw_fd(),
        buf_index: 7,
        ..nop(1)
    };
    // SAFETY: memory and socket live until the final completion below.
    unsafe { push(&mut ring, &receive) };
    // More than there are entries: the ring goes round.
    for round in 0..11_u16 {
        theirs.write_all(b"hello").unwrap();
        let one = complete(&mut ring, 1)[0];
        let bid = round % 2;
        assert_eq!((one.res, one.buffer_id(), one.has_more()), (5, Some(bid), true));
        let buffer = at(bid.into());
        // SAFETY: the completion gave the buffer back.
        assert_eq!(unsafe { buffer.cast::<[u8; 5]>().read() }, *b"hello");
        if round == 0 && kernel_is(6, 8) {
            assert_eq!(ring.buf_ring_head(7), Ok(1));
            assert!(ring.buf_ring_head(8).is_err());
        }
        // SAFETY: as above; one of two buffers is in the ring.
        unsafe { offered.push(buffer.as_ptr(), 64, bid) };
        offered.publish();
    }
    for _ in 0..2 {
        theirs.write_all(b"more").unwrap();
        assert_eq!(complete(&mut ring, 1)[0].res, 4);
    }
    theirs.write_all(b"none").unwrap();
    let last = complete(&mut ring, 1)[0];
    assert_eq!((Errno::from_result(last.res), last.has_more()), (Err(Errno::NOBUFS), false));
    ring.unregister_buf_ring(7).unwrap();
    assert!(ring.unregister_buf_ring(7).is_err());
}

#[test]
fn a_message_without_a_ring() {
    let Some(mut ring) = ring(4, 0) else { return };
    if !kernel_is(6, 13) {
        let errno = send_message(&ring, 1, 2, None).unwrap_err();
        return assert!(matches!(errno, Errno::INVAL | Errno::BADF), "{errno}");
    }
    send_message(&ring, 0x1234, 77, None).unwrap();
    let cqe = complete(&mut ring, 1)[0];
    assert_eq!(cqe, Cqe { user_data: 0x1234, res: 77, flags: 0 });
    send_message(&ring, 1, 2, Some(0x10)).unwrap();
    assert_eq!(complete(&mut ring, 1)[0].flags, 0x10);
    assert_eq!(send_message(std::io::stderr(), 1, 2, None), Err(Errno::BADFD));
}

#[test]
fn small_settings() {
    let Some(ring) = ring(4, 0) else { return };
    if kernel_is(6, 12) {
        assert_eq!(ring.register_clock(libc::CLOCK_BOOTTIME), Ok(()));
        assert_eq!(ring.register_clock(libc::CLOCK_REALTIME), Err(Errno::INVAL));
        assert_eq!(ring.register_clock(-1), Err(Errno::INVAL));
    }
    let mut napi = NapiSettings { busy_poll_to: 50, prefer_busy_poll: 1, ..Default::default() };
    match ring.register_napi(&mut napi) {
        Ok(()) => {
            assert_eq!(napi.busy_poll_to, 0, "the old settings came back");
            assert_eq!(ring.unregister_napi().unwrap().busy_poll_to, 50);
        }
        Err(errno) => assert_eq!(errno, Errno::INVAL, "a kernel without busy polling"),
    }
}

#[test]
fn zero_copy_receive_is_refused_with_a_reason() {
    // With privilege and a new kernel it works; without a device or a fitting ring it must say so.
    let Some(ring) = ring(4, 0) else { return };
    let mut ifq =
        zcrx::IfqReg { flags: zcrx::reg_flags::NODEV, rq_entries: 8, ..Default::default() };
    // SAFETY: names no memory.
    let errno = unsafe { ring.register_zcrx_ifq(&mut ifq) }.unwrap_err();
    assert!(matches!(errno, Errno::INVAL | Errno::PERM), "{errno}");
    let mut ctrl = zcrx::Ctrl { zcrx_id: 5, ..Default::default() };
    // SAFETY: flushes an instance that does not exist.
    let errno = unsafe { ring.zcrx_ctrl(&mut ctrl) }.unwrap_err();
    assert!(matches!(errno, Errno::INVAL | Errno::NXIO), "{errno}");
}

#[test]
fn any_operation_by_number() {
    let Some(ring) = ring(4, 0) else { return };
    let null = core::ptr::null_mut();
    // SAFETY: registers the credentials of this process, which needs no memory.
    let id = unsafe { ring.register_raw(register_op::PERSONALITY, null, 0) }.unwrap();
    assert!(id > 0);
    // SAFETY: as above.
    unsafe { ring.register_raw(register_op::UNREGISTER_PERSONALITY, null, id) }.unwrap();
    // SAFETY: an operation that does not exist is refused.
    assert_eq!(unsafe { ring.register_raw(0xffff, null, 0) }, Err(Errno::INVAL));
}
