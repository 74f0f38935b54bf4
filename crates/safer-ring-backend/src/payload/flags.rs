//! The flags of recv(2) and send(2) that an operation takes.
//!
//! These are lists of what is known to be harmless, not of what is known to harm: a flag can change what the kernel does
//! with the memory. With `MSG_TRUNC` TCP counts bytes that it has not written, with `MSG_SOCK_DEVMEM` they are in the memory
//! of a device, and with `MSG_ZEROCOPY` the kernel reads a buffer that the operation has given back.

use std::io;

use crate::error::OpError;

/// `MSG_OOB`: of urgent data.
pub(crate) const OOB: u32 = 0x1;
/// `MSG_PEEK`: leaves what it receives where it is.
pub const PEEK: u32 = 0x2;
const DONTROUTE: u32 = 0x4;
/// `MSG_DONTWAIT`: `EAGAIN` rather than waiting.
pub(crate) const DONTWAIT: u32 = 0x40;
const EOR: u32 = 0x80;
/// `MSG_WAITALL`: goes on until all is received, or sent; a shorter one ends a chain.
pub const WAITALL: u32 = 0x100;
const CONFIRM: u32 = 0x800;
/// `MSG_ERRQUEUE`: from the queue of errors.
pub(crate) const ERRQUEUE: u32 = 0x2000;
/// `MSG_NOSIGNAL`: no `SIGPIPE` for a closed peer.
pub(crate) const NOSIGNAL: u32 = 0x4000;
const MORE: u32 = 0x8000;
/// `MSG_CMSG_CLOEXEC`: received descriptors close on exec.
pub(super) const CMSG_CLOEXEC: u32 = 0x4000_0000;

const RECEIVES: u32 = OOB | PEEK | DONTWAIT | WAITALL | ERRQUEUE | NOSIGNAL | CMSG_CLOEXEC;
const SENDS: u32 = OOB | DONTROUTE | DONTWAIT | EOR | WAITALL | CONFIRM | NOSIGNAL | MORE;

const RECEIVES_TEXT: &str = "a receive takes MSG_OOB, MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL and MSG_ERRQUEUE; with others, as \
     MSG_TRUNC, the kernel may count bytes that it has not written (recv_msg tells that a datagram was cut)";
const SENDS_TEXT: &str = "a send takes MSG_OOB, MSG_DONTROUTE, MSG_DONTWAIT, MSG_EOR, MSG_WAITALL, MSG_CONFIRM and MSG_MORE; \
     with others, as MSG_ZEROCOPY, the kernel may read the buffer after it was given back";

/// The buffer back, if a receive cannot have these flags.
#[inline(always)]
pub(super) fn of_receive<B>(flags: u32, buffer: B) -> Result<B, OpError<B>> {
    if flags & !RECEIVES == 0 {
        Ok(buffer)
    } else {
        Err(refused(flags & !RECEIVES, RECEIVES_TEXT, buffer))
    }
}

/// The buffer back, if a send cannot have these flags.
#[inline(always)]
pub(super) fn of_send<B>(flags: u32, buffer: B) -> Result<B, OpError<B>> {
    if flags & !SENDS == 0 { Ok(buffer) } else { Err(refused(flags & !SENDS, SENDS_TEXT, buffer)) }
}

#[cold]
fn refused<B>(unknown: u32, text: &str, buffer: B) -> OpError<B> {
    let text = format!("the flags {unknown:#x}: {text}");
    OpError::new(io::Error::new(io::ErrorKind::InvalidInput, text), buffer)
}
