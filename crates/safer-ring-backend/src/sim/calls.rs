//! What an operation was asked to do: its arguments, read when it is handed over (`IORING_FEAT_SUBMIT_STABLE`).
//!
//! # Safety
//! Reads what a submission leads to, in the types of the constructors in `payload/`, while the contract of
//! `Backend::submit` holds.
//!
//! Tests: files_keep_what_was_written, a_run_is_a_function_of_its_seed
#![allow(unsafe_code, reason = "reads arguments behind pointers")]

use std::ffi::CStr;

use safer_ring_core::Op;

use crate::backend::Submission;
use crate::plain::pointer;

/// One call, with its arguments.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Nop,
    /// A driver's timer.
    Timer,
    /// Ends another operation of the same ring.
    Cancel {
        target: u64,
    },
    Read {
        offset: u64,
    },
    Write {
        offset: u64,
    },
    Recv {
        flags: u32,
        message: bool,
    },
    /// Into buffers of this group, as long as there is something to receive.
    RecvMulti {
        group: u16,
    },
    Send {
        flags: u32,
        to: Option<Vec<u8>>,
    },
    Accept {
        flags: u32,
        address: u64,
        length: u64,
    },
    Connect {
        address: Vec<u8>,
    },
    Bind {
        address: Vec<u8>,
    },
    Open {
        path: Vec<u8>,
        flags: u32,
        mode: u32,
        resolve: u64,
    },
    Close {
        fd: i32,
    },
    Statx {
        path: Vec<u8>,
        flags: u32,
        to: u64,
    },
    /// Of the data alone or with the rest: the size is needed to find the data, and there is no other rest.
    Fsync,
    Fallocate {
        mode: u32,
        offset: u64,
        len: u64,
    },
    Ftruncate {
        len: u64,
    },
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
        flags: u32,
    },
    Unlink {
        path: Vec<u8>,
        flags: u32,
    },
    Mkdir {
        path: Vec<u8>,
        mode: u32,
    },
    Symlink {
        target: Vec<u8>,
        path: Vec<u8>,
    },
    Link {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Splice {
        from: u64,
        to: u64,
        len: u32,
    },
    Tee {
        len: u32,
    },
    Pipe {
        flags: u32,
        to: u64,
    },
    Shutdown {
        how: u32,
    },
    Socket {
        domain: u32,
        kind: u32,
        protocol: u32,
    },
    Listen {
        backlog: u32,
    },
    Poll {
        events: u32,
    },
    /// Not simulated.
    Unknown,
}

/// The arguments of a submission.
///
/// # Safety
/// As `Backend::submit`.
pub(super) unsafe fn call_of(s: &Submission) -> Call {
    if let Some(events) = s.poll_first {
        return Call::Poll { events };
    }
    match s.op {
        Op::Nop | Op::Timeout => Call::Nop,
        Op::Read { offset } | Op::ReadVectored { offset, .. } => Call::Read { offset },
        Op::Write { offset } | Op::WriteVectored { offset, .. } => Call::Write { offset },
        Op::Recv { flags } => Call::Recv { flags, message: false },
        Op::RecvMsg { flags } => Call::Recv { flags, message: true },
        Op::RecvMulti { group } => Call::RecvMulti { group },
        Op::Send { flags } => Call::Send { flags, to: None },
        Op::SendMsg { flags } => {
            // SAFETY: `ptr` leads to a message header (`payload::message`).
            let header = unsafe { s.ptr.cast::<libc::msghdr>().read() };
            if header.msg_controllen > 0 {
                return Call::Unknown;
            }
            let len = usize::try_from(header.msg_namelen).unwrap_or(0);
            // SAFETY: its name is so many bytes.
            let to = unsafe { copy(header.msg_name.cast(), len) };
            Call::Send { flags, to: (!to.is_empty()).then_some(to) }
        }
        Op::Accept { flags, aux } => {
            Call::Accept { flags, address: crate::payload::address(s.ptr), length: aux }
        }
        // SAFETY: an address of `len` bytes at `ptr` (`payload::connect`, `payload::bind`).
        Op::Connect { len } => Call::Connect { address: unsafe { copy(s.ptr, length(len)) } },
        // SAFETY: as above.
        Op::Bind { len } => Call::Bind { address: unsafe { copy(s.ptr, length(len)) } },
        Op::Close { fd } => Call::Close { fd },
        Op::Fsync { .. } => Call::Fsync,
        Op::Fallocate { mode, offset, len } => Call::Fallocate { mode, offset, len },
        Op::Ftruncate { len } => Call::Ftruncate { len },
        Op::Splice { offset_in, offset_out, len, .. } => {
            Call::Splice { from: offset_in, to: offset_out, len }
        }
        Op::Tee { len, .. } => Call::Tee { len },
        Op::Pipe { flags } => Call::Pipe { flags, to: crate::payload::address(s.ptr) },
        Op::Shutdown { how } => Call::Shutdown { how },
        Op::Socket { domain, kind, protocol } => Call::Socket { domain, kind, protocol },
        Op::Listen { backlog } => Call::Listen { backlog },
        Op::Poll { events } => Call::Poll { events },
        Op::Raw => Call::Unknown,
        // SAFETY: the contract is the same.
        _ => unsafe { call_with_path(s) },
    }
}

/// # Safety
/// As [`call_of`].
unsafe fn call_with_path(s: &Submission) -> Call {
    // SAFETY: all of these lend a path that ends in a zero byte (`payload::path`).
    let path = unsafe { path_at(s.ptr) };
    match s.op {
        Op::OpenAt { flags, mode } => Call::Open { path, flags, mode, resolve: 0 },
        Op::OpenAt2 { aux } => {
            // SAFETY: three words of 64 bits (`payload::openat2`).
            let [flags, mode, resolve] = unsafe { pointer(aux).cast::<[u64; 3]>().read() };
            let flags = u32::try_from(flags).unwrap_or(u32::MAX);
            Call::Open { path, flags, mode: u32::try_from(mode).unwrap_or(0), resolve }
        }
        Op::Statx { flags, aux, .. } => Call::Statx { path, flags, to: aux },
        Op::RenameAt { flags, aux } => {
            // SAFETY: the second path, which ends in a zero byte too.
            let to = unsafe { path_at(pointer(aux).cast()) };
            Call::Rename { from: path, to, flags }
        }
        Op::UnlinkAt { flags } => Call::Unlink { path, flags },
        Op::MkdirAt { mode } => Call::Mkdir { path, mode },
        Op::SymlinkAt { aux } => {
            // SAFETY: as above.
            let link = unsafe { path_at(pointer(aux).cast()) };
            Call::Symlink { target: path, path: link }
        }
        Op::LinkAt { aux, .. } => {
            // SAFETY: as above.
            let to = unsafe { path_at(pointer(aux).cast()) };
            Call::Link { from: path, to }
        }
        _ => Call::Unknown,
    }
}

fn length(len: u32) -> usize {
    usize::try_from(len).unwrap_or(0)
}

/// # Safety
/// `len` initialised bytes at `from`, or none.
unsafe fn copy(from: *const u8, len: usize) -> Vec<u8> {
    if from.is_null() || len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
}

/// # Safety
/// Bytes that end in a zero.
unsafe fn path_at(at: *const u8) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(at.cast()) }.to_bytes().to_vec()
}
