//! Plays the kernel: uses a lease through its address only, after moving it about.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use safer_ring_buf::{IoBuf, IoBufMut, Lease};

/// Moves the lease to the heap, to another thread and back: the memory must not notice.
pub(crate) fn shake(lease: Lease) -> Lease {
    let boxed = Box::new(lease);
    std::thread::spawn(move || *boxed).join().unwrap()
}

/// Copies `data` into the lent memory, up to its capacity, and returns how many bytes that were.
pub(crate) fn fill(lease: &Lease, data: &[u8]) -> usize {
    let n = data.len().min(lease.capacity());
    // SAFETY: the lease is alive, so its memory is valid for writes of `capacity` bytes, of which `n` are used.
    unsafe { lease.ptr().copy_from_nonoverlapping(data.as_ptr(), n) };
    n
}

/// What a write of the lent memory would send.
pub(crate) fn sent(lease: &Lease) -> Vec<u8> {
    let mut out = vec![0; lease.init_len()];
    // SAFETY: the lease is alive, so its first `init_len` bytes are initialised.
    unsafe { out.as_mut_ptr().copy_from_nonoverlapping(lease.ptr(), lease.init_len()) };
    out
}

/// A read that receives `data`.
pub(crate) fn read<B: IoBufMut>(buffer: B, data: &[u8]) -> (usize, B) {
    let (lease, rest) = buffer.lend();
    let lease = shake(lease);
    let n = fill(&lease, data);
    // SAFETY: lease and rest come from one `lend`; the first `n` bytes were just written.
    (n, unsafe { B::reclaim_filled(lease, rest, n) })
}

/// A read that fails after it changed memory: the worst a cancelled operation may do.
pub(crate) fn failed_read<B: IoBufMut>(buffer: B, data: &[u8]) -> B {
    let (lease, rest) = buffer.lend();
    let lease = shake(lease);
    fill(&lease, data);
    // SAFETY: lease and rest come from one `lend`.
    unsafe { B::reclaim(lease, rest) }
}

/// A write: what was sent, and the buffer.
pub(crate) fn write<B: IoBuf>(buffer: B) -> (Vec<u8>, B) {
    let (lease, rest) = buffer.lend();
    let lease = shake(lease);
    let out = sent(&lease);
    // SAFETY: lease and rest come from one `lend`.
    (out, unsafe { B::reclaim(lease, rest) })
}

/// An operation whose owner is gone: the lease is dropped after the final completion.
pub(crate) fn orphan<B: IoBuf>(buffer: B) {
    let (lease, rest) = buffer.lend();
    let lease = shake(lease);
    drop(rest);
    drop(lease);
}
