//! The operations of `io_uring_register(2)`, with their arguments as types.
//!
//! # Safety
//! Each function lends the kernel memory for the length of the call, `&mut` where the kernel writes.
//! Functions after which the kernel keeps using memory are `unsafe`.
//!
//! Tests: registered_buffers, receives_pick_buffers_of_a_ring_in_turn, registered_files, a_query_needs_no_ring, any_operation_by_number
#![allow(unsafe_code, reason = "system calls with pointers")]

use core::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use libc::iovec;

use crate::probe::{PROBE_OPS, Probe};
use crate::uapi::flags::{MSG_DATA, cancel, msg_ring};
use crate::uapi::opcode;
use crate::uapi::register::{
    BufReg, BufStatus, ClockRegister, CloneBuffers, FileIndexRange, FilesUpdate, NapiSettings,
    ProbeHeader, ProbeOp, QueryHeader, QueryOpcode, QueryScq, QueryZcrx, QueryZcrxEvent,
    Restriction, RsrcRegister, RsrcUpdate2, SyncCancelReg, Timespec, register_op,
};
use crate::uapi::sqe::Sqe;
use crate::uapi::{address, size_of_u32, zcrx};
use crate::{Errno, Uring, syscall};

/// The descriptor of an operation that needs no ring.
const NO_RING: RawFd = -1;

/// A probe's answer: the header and its array in one piece, as the kernel writes them.
#[repr(C)]
struct ProbeAnswer {
    header: ProbeHeader,
    ops: [ProbeOp; PROBE_OPS],
}

/// The length of a slice as the kernel takes it.
fn count<T>(items: &[T]) -> Result<u32, Errno> {
    u32::try_from(items.len()).map_err(|_| Errno::INVAL)
}

/// The address of a slice that the kernel only reads.
fn input<T>(items: &[T]) -> *mut c_void {
    items.as_ptr().cast_mut().cast()
}

impl Uring {
    /// # Safety
    /// `op` takes `nr` and a pointer to one `T`, reads and writes no more than it, and keeps nothing
    /// of it that the caller does not answer for.
    unsafe fn with_arg<T>(&self, op: u32, arg: &mut T, nr: u32) -> Result<u32, Errno> {
        let arg: *mut T = arg;
        // SAFETY: the caller's promise.
        unsafe { self.register_raw(op, arg.cast(), nr) }
    }

    /// An operation without an argument.
    fn without_arg(&self, op: u32) -> Result<(), Errno> {
        // SAFETY: used only for operations that take a null argument and a count of 0.
        unsafe { self.register_raw(op, core::ptr::null_mut(), 0) }.map(drop)
    }

    /// Which opcodes the kernel has. Linux 5.6.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.6.
    pub fn probe(&self) -> Result<Probe, Errno> {
        let mut answer =
            ProbeAnswer { header: ProbeHeader::default(), ops: [ProbeOp::default(); PROBE_OPS] };
        // SAFETY: the kernel writes a header and at most `nr` = 256 operations, which `answer` holds.
        unsafe { self.with_arg(register_op::PROBE, &mut answer, 256) }?;
        Ok(Probe::from_kernel(&answer.header, &answer.ops))
    }

    /// Enables a ring made with `R_DISABLED`. The calling thread becomes its single issuer.
    /// Linux 5.10.
    ///
    /// # Errors
    /// `EBADFD` if the ring is not disabled.
    pub fn enable_rings(&self) -> Result<(), Errno> {
        self.without_arg(register_op::ENABLE_RINGS)
    }

    /// Limits what this ring, made with `R_DISABLED`, will ever accept. Once only. Linux 5.10.
    ///
    /// # Errors
    /// `EBADFD` if the ring is enabled, `EBUSY` the second time, `EINVAL` for an unknown restriction.
    pub fn register_restrictions(&self, restrictions: &[Restriction]) -> Result<(), Errno> {
        let nr = count(restrictions)?;
        // SAFETY: the kernel copies `nr` restrictions during the call.
        unsafe { self.register_raw(register_op::RESTRICTIONS, input(restrictions), nr) }.map(drop)
    }

    /// Limits the number of worker threads: `[bounded, unbounded]`, 0 leaves one as it is. The old
    /// limits come back. The limit is that of the calling thread's workers. Linux 5.15.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.15.
    pub fn iowq_max_workers(&self, limits: &mut [u32; 2]) -> Result<(), Errno> {
        // SAFETY: two words, which the kernel reads and writes during the call.
        unsafe { self.with_arg(register_op::IOWQ_MAX_WORKERS, limits, 2) }.map(drop)
    }

    /// Lets worker threads run only on the CPUs whose bits are set in `mask`. Linux 5.14.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.14 or for an empty mask.
    pub fn register_iowq_affinity(&self, mask: &[u8]) -> Result<(), Errno> {
        let nr = count(mask)?;
        // SAFETY: the kernel copies `nr` bytes during the call.
        unsafe { self.register_raw(register_op::IOWQ_AFF, input(mask), nr) }.map(drop)
    }

    /// Undoes [`register_iowq_affinity`](Uring::register_iowq_affinity).
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.14.
    pub fn unregister_iowq_affinity(&self) -> Result<(), Errno> {
        self.without_arg(register_op::UNREGISTER_IOWQ_AFF)
    }

    /// Signals `eventfd` for each completion; with `only_async`, not for those that were there when
    /// the submission returned. The ring holds the eventfd itself. Linux 5.2 (5.6).
    ///
    /// # Errors
    /// `EBUSY` if there is one already, `EBADF` or `EINVAL` if it is not an eventfd.
    pub fn register_eventfd(&self, eventfd: BorrowedFd<'_>, only_async: bool) -> Result<(), Errno> {
        let op = if only_async { register_op::EVENTFD_ASYNC } else { register_op::EVENTFD };
        let mut fd = eventfd.as_raw_fd();
        // SAFETY: one descriptor, which the kernel reads during the call.
        unsafe { self.with_arg(op, &mut fd, 1) }.map(drop)
    }

    /// Undoes [`register_eventfd`](Uring::register_eventfd).
    ///
    /// # Errors
    /// `ENXIO` if there is none.
    pub fn unregister_eventfd(&self) -> Result<(), Errno> {
        self.without_arg(register_op::UNREGISTER_EVENTFD)
    }

    /// Cancels every request and waits for it, at most `timeout`. Returns how many it matched; 0 means
    /// that none was left. **Not a barrier** for a ring with `DEFER_TASKRUN`: completions appear only
    /// after [`enter`](Uring::enter) with `GETEVENTS`. Linux 6.0.
    ///
    /// # Errors
    /// `ETIME` after `timeout`, `EINVAL` before Linux 6.0, `EINTR` for a signal.
    pub fn sync_cancel_all(&self, timeout: Option<Timespec>) -> Result<u32, Errno> {
        let request = SyncCancelReg {
            fd: -1,
            flags: cancel::ANY | cancel::ALL,
            timeout: timeout.unwrap_or(SyncCancelReg::NO_TIMEOUT),
            ..SyncCancelReg::default()
        };
        match self.sync_cancel(request) {
            Err(Errno::NOENT) => Ok(0),
            result => result,
        }
    }

    /// Cancels the requests that match and waits for it. Returns how many with `ALL`, else 0.
    /// Linux 6.0.
    ///
    /// # Errors
    /// `ENOENT` if nothing matches, `ETIME`, `EINVAL`, `EINTR` as for
    /// [`sync_cancel_all`](Uring::sync_cancel_all).
    pub fn sync_cancel(&self, mut request: SyncCancelReg) -> Result<u32, Errno> {
        // SAFETY: the kernel copies one `SyncCancelReg`; it holds no address that is followed.
        unsafe { self.with_arg(register_op::SYNC_CANCEL, &mut request, 1) }
    }

    /// Registers memory for `READ_FIXED` and its like. The kernel pins the pages.
    ///
    /// # Errors
    /// `ENOMEM` beyond `RLIMIT_MEMLOCK`, `EFAULT`, `EBUSY` if buffers are registered already.
    ///
    /// # Safety
    /// Every buffer stays valid until it is unregistered and every request that names it has had its
    /// final completion. What such a request reads or writes is the promise of
    /// [`push`](Uring::push).
    pub unsafe fn register_buffers(&self, buffers: &[iovec]) -> Result<(), Errno> {
        let nr = count(buffers)?;
        // SAFETY: the kernel copies `nr` iovecs; the memory they name is the caller's promise.
        unsafe { self.register_raw(register_op::BUFFERS, input(buffers), nr) }.map(drop)
    }

    /// Registers `nr` empty buffer slots, to be filled by [`buffers_update`](Uring::buffers_update).
    /// Linux 5.19.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.19, `EBUSY` if buffers are registered already.
    pub fn register_buffers_sparse(&self, nr: u32) -> Result<(), Errno> {
        self.register_sparse(register_op::BUFFERS2, nr)
    }

    /// Replaces registered buffers from slot `offset` on; an empty one (null, length 0) clears its
    /// slot. Returns how many slots were changed. Linux 5.13.
    ///
    /// # Errors
    /// `ENXIO` without registered buffers, `EINVAL` beyond the last slot, and those of
    /// [`register_buffers`](Uring::register_buffers).
    ///
    /// # Safety
    /// As [`register_buffers`](Uring::register_buffers).
    pub unsafe fn buffers_update(&self, offset: u32, buffers: &[iovec]) -> Result<u32, Errno> {
        let data = address(buffers.as_ptr());
        let mut update =
            RsrcUpdate2 { offset, data, nr: count(buffers)?, ..RsrcUpdate2::default() };
        let size = size_of_u32::<RsrcUpdate2>();
        // SAFETY: the kernel copies the update and the `nr` iovecs it names during the call; the
        // memory those name is the caller's promise.
        unsafe { self.with_arg(register_op::BUFFERS_UPDATE, &mut update, size) }
    }

    /// Undoes [`register_buffers`](Uring::register_buffers). Requests in flight keep their pages.
    ///
    /// # Errors
    /// `ENXIO` if there are none.
    pub fn unregister_buffers(&self) -> Result<(), Errno> {
        self.without_arg(register_op::UNREGISTER_BUFFERS)
    }

    /// Copies registered buffers from the ring `source`, see [`CloneBuffers`]; `src_fd` is filled in.
    /// Linux 6.12.
    ///
    /// # Errors
    /// `EBUSY` if there are buffers already, `ENXIO` if the source has none.
    ///
    /// # Safety
    /// As [`register_buffers`](Uring::register_buffers), for this ring too.
    pub unsafe fn clone_buffers(
        &self,
        source: BorrowedFd<'_>,
        mut range: CloneBuffers,
    ) -> Result<(), Errno> {
        range.src_fd = u32::try_from(source.as_raw_fd()).map_err(|_| Errno::BADF)?;
        range.flags &= !CloneBuffers::SRC_REGISTERED;
        // SAFETY: the kernel copies one `CloneBuffers`; the buffers are the caller's promise.
        unsafe { self.with_arg(register_op::CLONE_BUFFERS, &mut range, 1) }.map(drop)
    }

    fn register_sparse(&self, op: u32, nr: u32) -> Result<(), Errno> {
        let mut table = RsrcRegister { nr, flags: RsrcRegister::SPARSE, ..RsrcRegister::default() };
        let size = size_of_u32::<RsrcRegister>();
        // SAFETY: the kernel copies one `RsrcRegister`, which names no memory.
        unsafe { self.with_arg(op, &mut table, size) }.map(drop)
    }

    /// Registers files; -1 leaves a slot empty. The ring holds the files itself.
    ///
    /// # Errors
    /// `EBADF`, `EMFILE` beyond `RLIMIT_NOFILE`, `EBUSY` if files are registered already.
    pub fn register_files(&self, files: &[i32]) -> Result<(), Errno> {
        let nr = count(files)?;
        // SAFETY: the kernel copies `nr` descriptors during the call.
        unsafe { self.register_raw(register_op::FILES, input(files), nr) }.map(drop)
    }

    /// Registers `nr` empty file slots. Linux 5.19.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.19, `EMFILE` beyond `RLIMIT_NOFILE`, `EBUSY` if files are registered
    /// already.
    pub fn register_files_sparse(&self, nr: u32) -> Result<(), Errno> {
        self.register_sparse(register_op::FILES2, nr)
    }

    /// Replaces registered files from slot `offset` on; -1 clears a slot,
    /// [`FILES_SKIP`](crate::FILES_SKIP) leaves it. Returns how many were changed. Linux 5.5.
    ///
    /// # Errors
    /// `ENXIO` without registered files, `EINVAL` beyond the last slot, `EBADF`.
    pub fn files_update(&self, offset: u32, files: &[i32]) -> Result<u32, Errno> {
        let mut update = FilesUpdate { offset, resv: 0, fds: address(files.as_ptr()) };
        let nr = count(files)?;
        // SAFETY: the kernel copies the update and the `nr` descriptors it names during the call.
        unsafe { self.with_arg(register_op::FILES_UPDATE, &mut update, nr) }
    }

    /// Undoes [`register_files`](Uring::register_files).
    ///
    /// # Errors
    /// `ENXIO` if there are none.
    pub fn unregister_files(&self) -> Result<(), Errno> {
        self.without_arg(register_op::UNREGISTER_FILES)
    }

    /// The slots from which the kernel may pick for `FILE_INDEX_ALLOC`. Linux 6.0.
    ///
    /// # Errors
    /// `EINVAL` beyond the last slot.
    pub fn register_file_alloc_range(&self, off: u32, len: u32) -> Result<(), Errno> {
        let mut range = FileIndexRange { off, len, resv: 0 };
        // SAFETY: the kernel copies one `FileIndexRange`.
        unsafe { self.with_arg(register_op::FILE_ALLOC_RANGE, &mut range, 0) }.map(drop)
    }

    /// Registers a ring of provided buffers. Linux 5.19.
    ///
    /// # Errors
    /// `EEXIST` if the group is taken, `EINVAL` for a bad size or alignment.
    ///
    /// # Safety
    /// The memory of the ring, and of every buffer put into it, stays valid until the group is
    /// unregistered and every request that could pick from it has had its final completion; nobody
    /// else uses a buffer between its entry into the ring and the completion that names it.
    pub unsafe fn register_buf_ring(&self, ring: &BufReg) -> Result<(), Errno> {
        let mut ring = *ring;
        // SAFETY: the kernel copies one `BufReg`; the memory it names is the caller's promise.
        unsafe { self.with_arg(register_op::PBUF_RING, &mut ring, 1) }.map(drop)
    }

    /// Undoes [`register_buf_ring`](Uring::register_buf_ring).
    ///
    /// # Errors
    /// `ENOENT` or `EINVAL` if there is no such group.
    pub fn unregister_buf_ring(&self, bgid: u16) -> Result<(), Errno> {
        let mut ring = BufReg { bgid, ..BufReg::default() };
        // SAFETY: the kernel copies one `BufReg`, of which it uses the group.
        unsafe { self.with_arg(register_op::UNREGISTER_PBUF_RING, &mut ring, 1) }.map(drop)
    }

    /// Index of the next buffer that the kernel will take from a group. Linux 6.8.
    ///
    /// # Errors
    /// `ENOENT` or `EINVAL` if there is no such group.
    pub fn buf_ring_head(&self, bgid: u16) -> Result<u32, Errno> {
        let mut status = BufStatus { buf_group: u32::from(bgid), ..BufStatus::default() };
        // SAFETY: one `BufStatus`, which the kernel reads and writes during the call.
        unsafe { self.with_arg(register_op::PBUF_STATUS, &mut status, 1) }?;
        Ok(status.head)
    }

    /// Busy-polls network queues; the old settings come back. Linux 6.9.
    ///
    /// # Errors
    /// `EINVAL` without kernel support or for an IOPOLL ring.
    pub fn register_napi(&self, settings: &mut NapiSettings) -> Result<(), Errno> {
        // SAFETY: one `NapiSettings`, which the kernel reads and writes during the call.
        unsafe { self.with_arg(register_op::NAPI, settings, 1) }.map(drop)
    }

    /// Undoes [`register_napi`](Uring::register_napi) and returns the settings.
    ///
    /// # Errors
    /// `EINVAL` without kernel support.
    pub fn unregister_napi(&self) -> Result<NapiSettings, Errno> {
        let mut settings = NapiSettings::default();
        // SAFETY: one `NapiSettings`, which the kernel writes during the call.
        unsafe { self.with_arg(register_op::UNREGISTER_NAPI, &mut settings, 1) }?;
        Ok(settings)
    }

    /// The clock of [`enter`](Uring::enter)'s time limit: `CLOCK_MONOTONIC` (the default) or
    /// `CLOCK_BOOTTIME`. Linux 6.12.
    ///
    /// # Errors
    /// `EINVAL` for another clock.
    pub fn register_clock(&self, clock: libc::clockid_t) -> Result<(), Errno> {
        let clockid = u32::try_from(clock).map_err(|_| Errno::INVAL)?;
        let mut clock = ClockRegister { clockid, resv: [0; 3] };
        // SAFETY: the kernel copies one `ClockRegister`.
        unsafe { self.with_arg(register_op::CLOCK, &mut clock, 0) }.map(drop)
    }

    /// Registers zero-copy receive. The kernel writes to `ifq`, and to the area and the region that
    /// it names. Linux 6.15.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EINVAL` for a ring without `DEFER_TASKRUN` and `CQE32` (or
    /// `CQE_MIXED`), `ENOMEM` beyond `RLIMIT_MEMLOCK`, `EOPNOTSUPP` without device support.
    ///
    /// # Safety
    /// `area_ptr`, `region_ptr` and `event_desc` are addresses of structures that nobody else uses
    /// during the call; the memory those name is the kernel's from now on, for as long as it is
    /// mapped.
    pub unsafe fn register_zcrx_ifq(&self, ifq: &mut zcrx::IfqReg) -> Result<(), Errno> {
        // SAFETY: one `IfqReg`, read and written during the call; the rest is the caller's promise.
        unsafe { self.with_arg(register_op::ZCRX_IFQ, ifq, 1) }.map(drop)
    }

    /// A command to a zero-copy receive instance. The kernel writes to `ctrl`. Linux 6.19.
    ///
    /// # Errors
    /// `ENXIO` for an unknown instance, `EOPNOTSUPP` for an unknown command.
    ///
    /// # Safety
    /// For `ADD_AREA`: as [`register_zcrx_ifq`](Uring::register_zcrx_ifq).
    pub unsafe fn zcrx_ctrl(&self, ctrl: &mut zcrx::Ctrl) -> Result<(), Errno> {
        // SAFETY: one `Ctrl`, read and written during the call; the rest is the caller's promise.
        unsafe { self.with_arg(register_op::ZCRX_CTRL, ctrl, 0) }.map(drop)
    }
}

/// Posts a completion with these `user_data` and `res` to the ring `target`, without having a ring.
/// With `flags`, the completion has them. Linux 6.13.
///
/// # Errors
/// `EINVAL` before Linux 6.13, `EBADFD` if `target` is not a ring or is disabled, `EOVERFLOW` if its
/// CQ is full.
pub fn send_message(
    target: impl AsFd,
    user_data: u64,
    res: u32,
    flags: Option<u32>,
) -> Result<(), Errno> {
    let mut sqe = Sqe {
        opcode: opcode::MSG_RING,
        fd: target.as_fd().as_raw_fd(),
        addr: MSG_DATA,
        off: user_data,
        len: res,
        file_index: flags.unwrap_or(0),
        op_flags: if flags.is_some() { msg_ring::FLAGS_PASS } else { 0 },
        ..Sqe::default()
    };
    let arg = (&raw mut sqe).cast();
    // SAFETY: the kernel copies one entry, which names no memory.
    unsafe { syscall::register(NO_RING, register_op::SEND_MSG_RING, arg, 1) }.map(drop)
}

/// The answer to a question of `IORING_REGISTER_QUERY`.
///
/// # Safety
/// Plain data for which every bit pattern is valid.
pub(crate) unsafe trait Answer: Default {}
// SAFETY: integers only.
unsafe impl Answer for QueryOpcode {}
// SAFETY: integers only.
unsafe impl Answer for QueryZcrx {}
// SAFETY: integers only.
unsafe impl Answer for QueryScq {}
// SAFETY: integers only.
unsafe impl Answer for QueryZcrxEvent {}

/// Asks the kernel a question whose answer is a `T`. An older kernel fills less of it; the rest is
/// zero.
pub(crate) fn query<T: Answer>(question: u32) -> Result<T, Errno> {
    let mut answer = T::default();
    let mut header = QueryHeader {
        query_data: address(&raw mut answer),
        query_op: question,
        size: size_of_u32::<T>(),
        ..QueryHeader::default()
    };
    let arg = (&raw mut header).cast();
    // SAFETY: the kernel reads and writes one header and at most `size` bytes at `query_data`, which
    // is `answer`, during the call; any bytes are a valid `T` (contract of `Answer`).
    unsafe { syscall::register(NO_RING, register_op::QUERY, arg, 0) }?;
    Errno::from_result(header.result)?;
    Ok(answer)
}
