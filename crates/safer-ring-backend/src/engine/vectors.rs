//! Lists of buffers of which a part is done.
//!
//! # Safety
//! The arrays and headers are those that a submission lent; copies of their entries lead to the same memory, and are
//! used for no longer than an attempt.
//!
//! Tests: what_is_done_is_left_out
#![allow(unsafe_code, reason = "reads arrays that an operation lent")]

use std::marker::PhantomData;
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

/// So many vectors are copied to the stack.
const FEW: usize = 8;

/// A copy of an operation's vectors.
pub(super) struct Vectors<'a> {
    few: [libc::iovec; FEW],
    many: Vec<libc::iovec>,
    count: usize,
    lent: PhantomData<&'a [libc::iovec]>,
}

impl Vectors<'_> {
    /// # Safety
    /// `array` leads to `count` initialised vectors.
    pub(super) unsafe fn new(array: *mut u8, count: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut copy = Self { few: [nothing; FEW], many: Vec::new(), count, lent: PhantomData };
        if count == 0 {
            return copy;
        }
        // SAFETY: the caller's promise.
        let lent = unsafe { std::slice::from_raw_parts(array.cast::<libc::iovec>(), count) };
        match copy.few.get_mut(..count) {
            Some(few) => few.copy_from_slice(lent),
            None => copy.many.extend_from_slice(lent),
        }
        copy
    }

    /// # Safety
    /// The header's vectors are valid.
    pub(super) unsafe fn of_message(header: &libc::msghdr) -> Self {
        let count = u32::try_from(header.msg_iovlen).unwrap_or(0);
        // SAFETY: the caller's promise.
        unsafe { Self::new(header.msg_iov.cast(), count) }
    }

    /// What is left after so many bytes.
    pub(super) fn rest(&mut self, done: usize) -> &mut [libc::iovec] {
        let all = match self.few.get_mut(..self.count) {
            Some(few) => few,
            None => self.many.as_mut_slice(),
        };
        advance(all, done)
    }
}

/// The vectors behind so many bytes.
pub(super) fn advance(vectors: &mut [libc::iovec], mut bytes: usize) -> &mut [libc::iovec] {
    let mut gone = 0;
    for vector in vectors.iter_mut() {
        let part = bytes.min(vector.iov_len);
        vector.iov_base = vector.iov_base.wrapping_byte_add(part);
        vector.iov_len -= part;
        bytes -= part;
        if vector.iov_len > 0 || bytes == 0 {
            break;
        }
        gone += 1;
    }
    vectors.get_mut(gone..).unwrap_or_default()
}

/// A header for nothing but vectors.
pub(super) struct Message(libc::msghdr);

impl Message {
    pub(super) fn of(vectors: &mut [libc::iovec]) -> Self {
        // SAFETY: numbers and null pointers.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        (header.msg_iov, header.msg_iovlen) = (vectors.as_mut_ptr(), vectors.len());
        Self(header)
    }

    /// # Safety
    /// The vectors lead to memory that is valid for the direction of the call.
    pub(super) unsafe fn pass(
        mut self,
        fd: RawFd,
        flags: i32,
        write: bool,
    ) -> Result<usize, Errno> {
        // SAFETY: the caller's promise.
        unsafe { pass(&raw mut self.0, fd, flags, write) }
    }
}

/// sendmsg(2) or recvmsg(2).
///
/// # Safety
/// A header whose parts are valid for the direction of the call.
pub(super) unsafe fn pass(
    header: *mut libc::msghdr,
    fd: RawFd,
    flags: i32,
    write: bool,
) -> Result<usize, Errno> {
    let moved = if write {
        // SAFETY: the caller's promise.
        unsafe { libc::sendmsg(fd, header, flags) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { libc::recvmsg(fd, header, flags) }
    };
    usize::try_from(moved).map_err(|_| Errno::last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_left_out() {
        for count in [1usize, 3, 8, 9, 20] {
            let mut memory = vec![0u8; 100];
            let start = memory.as_mut_ptr();
            let mut array: Vec<libc::iovec> = (0..count)
                .map(|at| libc::iovec {
                    iov_base: start.wrapping_add(at * 5).cast(),
                    iov_len: at % 4,
                })
                .collect();
            let total: usize = array.iter().map(|vector| vector.iov_len).sum();
            for done in 0..=total {
                // SAFETY: an array of `count` vectors.
                let mut copy = unsafe {
                    Vectors::new(array.as_mut_ptr().cast(), u32::try_from(count).unwrap())
                };
                let rest = copy.rest(done);
                let left: Vec<(*mut u8, usize)> = rest
                    .iter()
                    .filter(|vector| vector.iov_len > 0)
                    .map(|vector| (vector.iov_base.cast::<u8>(), vector.iov_len))
                    .collect();
                let bytes = |(base, len): &(*mut u8, usize)| {
                    (0..*len).map(|at| base.wrapping_add(at)).collect::<Vec<_>>()
                };
                let all: Vec<*mut u8> = array
                    .iter()
                    .flat_map(|vector| bytes(&(vector.iov_base.cast(), vector.iov_len)))
                    .collect();
                let found: Vec<*mut u8> = left.iter().flat_map(bytes).collect();
                assert_eq!(found, all[done..], "{count} vectors, {done} of {total} bytes");
            }
        }
    }
}
