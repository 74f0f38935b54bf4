//! What a transfer has asked for, kept for the error it had.
//!
//! It is made where an operation has failed, so that one that succeeds pays nothing, and has no descriptor in it: that may be
//! closed, and its number in use again, by the time somebody asks for the causes.

use std::fmt;

use safer_ring_buf::Lease;
use safer_ring_core::{CURSOR, Op};
use safer_ring_sys::Errno;

use crate::contract::rules::{self, Call, Cause, Facts, File, Pointer, Transfer};

/// No alignment that `O_DIRECT` asks for is coarser.
const COARSE: u64 = 4096;
/// [`Asked::offset`] of a transfer at the cursor.
const AT_CURSOR: u16 = u16::MAX;
/// Offset and memory alignments of direct I/O, from what every device asks for to the most that is usual.
const ALIGNMENTS: [(u32, u32); 3] = [(512, 4), (512, 512), (4096, 4096)];
/// The bits of an address that was [`folded`], and those above them for each kind.
const ADDRESS: u32 = 0x1fff;
const READ: u32 = 0x2000;
const WRITE: u32 = 0x4000;
/// Shorter reads and writes are those of an eventfd, of a timer and the like, which refuse them with `EINVAL` too.
const COUNTER: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No read or write, or one of which nothing is known: the operation never reached the kernel.
    Nothing,
    Read,
    Write,
}

/// The numbers of a read or write, each as far as alignment depends on it: see [`folded`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The address of the buffer, and in the bits above it the [`Kind`]. A `char`, because the values that it never has
    /// are what tells an output of a success, or one that is pending, from this. In a smaller field they would be a byte
    /// in the middle of a word, and the word would be moved in pieces wherever an output is moved.
    address_and_kind: char,
    offset: u16,
    /// 0, as the address, where there are many buffers.
    length: u16,
}

// It lies beside the error in an output, whose room a success needs for its count of bytes.
const _: () = assert!(size_of::<Asked>() == size_of::<u64>());

impl Asked {
    pub(crate) const NOTHING: Self = Self { address_and_kind: '\0', offset: 0, length: 0 };

    fn new(kind: Kind, offset: u16, length: u16, address: u16) -> Self {
        let above = match kind {
            Kind::Nothing => 0,
            Kind::Read => READ,
            Kind::Write => WRITE,
        };
        // Below the surrogates, so that it is a `char`.
        let address_and_kind = char::from_u32(u32::from(address) + above).unwrap_or('\0');
        Self { address_and_kind, offset, length }
    }

    fn kind(self) -> Kind {
        match u32::from(self.address_and_kind) & !ADDRESS {
            READ => Kind::Read,
            WRITE => Kind::Write,
            _ => Kind::Nothing,
        }
    }

    fn address(self) -> u32 {
        u32::from(self.address_and_kind) & ADDRESS
    }

    #[cold]
    pub(crate) fn of(op: &Op, lease: &Lease) -> Self {
        let number = |bytes: usize| folded(u64::try_from(bytes).unwrap_or(u64::MAX));
        let (kind, offset, length) = match *op {
            Op::Read { offset } => (Kind::Read, offset, Some(lease.capacity())),
            Op::Write { offset } => (Kind::Write, offset, Some(lease.init_len())),
            Op::ReadVectored { offset, .. } => (Kind::Read, offset, None),
            Op::WriteVectored { offset, .. } => (Kind::Write, offset, None),
            _ => return Self::NOTHING,
        };
        let offset = if offset == CURSOR { AT_CURSOR } else { folded(offset) };
        let address = length.map_or(0, |_| number(lease.ptr().addr()));
        Self::new(kind, offset, length.map_or(0, number), address)
    }

    /// The causes that are left: those first that the numbers speak for.
    pub(crate) fn causes(self, errno: Errno) -> Vec<Cause> {
        let errno = errno.name().unwrap_or_default();
        if self.kind() == Kind::Nothing {
            return Vec::new();
        }
        let call = Call::RingTransfer(Transfer {
            write: self.kind() == Kind::Write,
            fd: 0,
            buf: Pointer::writable(self.address().into()),
            len: self.length.into(),
            offset: if self.offset == AT_CURSOR { -1 } else { self.offset.into() },
            rw_flags: 0,
        });
        causes(errno, &call, self.length.into())
    }
}

/// The causes of the error of a transfer of `length` bytes, whose descriptor, the number 0 in `call`, was open, and of which
/// nothing else is known: those first that the numbers of the call speak for.
pub(crate) fn causes(errno: &str, call: &Call, length: u64) -> Vec<Cause> {
    let open = File { open: Some(true), ..File::default() };
    let explain = |file| {
        let facts = Facts { files: vec![(0, file)], ..Facts::default() };
        rules::explain(errno, call, &facts)
    };
    if (1..COUNTER).contains(&length) {
        return explain(open);
    }
    let mut causes = Vec::new();
    for (offset, memory) in ALIGNMENTS {
        let (memory_align, offset_align) = (Some(memory), Some(offset));
        causes = explain(File { direct: Some(true), memory_align, offset_align, ..open });
        if causes.first().is_some_and(|cause| cause.shown) {
            break;
        }
    }
    // Whether it is open with `O_DIRECT` was a guess.
    causes.iter_mut().for_each(|cause| cause.shown = false);
    causes
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, address) = (self.kind(), self.address());
        write!(f, "{kind:?} at {} of {} bytes, memory at +{address}", self.offset, self.length)
    }
}

/// The same modulo 4096, and on the same side of 4096: what alignment and the end of a page depend on.
fn folded(number: u64) -> u16 {
    let above = if number < COARSE { 0 } else { COARSE };
    u16::try_from(number % COARSE + above).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::OpError;

    #[test]
    fn the_note_costs_an_output_no_room() {
        struct Bare<B> {
            _error: std::io::Error,
            _buffer: B,
        }
        type Output<E> = Poll<Result<(usize, Vec<u8>), E>>;
        let (bare, noted) =
            (size_of::<Output<Bare<Vec<u8>>>>(), size_of::<Output<OpError<Vec<u8>>>>());
        assert!(noted <= bare, "{noted} and {bare}");
    }

    #[test]
    fn numbers_keep_their_alignment_and_their_side_of_a_page() {
        for (number, kept) in
            [(0, 0), (8, 8), (4095, 4095), (4096, 4096), (8192, 4096), (8200, 4104)]
        {
            assert_eq!(folded(number), kept);
        }
        assert_eq!(folded(u64::MAX), 8191);
    }

    #[test]
    fn kind_and_address_are_told_apart_again() {
        for kind in [Kind::Nothing, Kind::Read, Kind::Write] {
            for address in [0, 1, 4104, folded(u64::MAX)] {
                let asked = Asked::new(kind, AT_CURSOR, 8191, address);
                assert_eq!((asked.kind(), asked.address()), (kind, address.into()));
            }
        }
        assert_eq!(Asked::NOTHING, Asked::new(Kind::Nothing, 0, 0, 0));
    }

    #[test]
    fn a_buffer_is_named_when_nothing_else_is_misaligned() {
        let asked = Asked::new(Kind::Write, 0, 4096, 4104);
        let causes = asked.causes(Errno::INVAL);
        assert_eq!(causes[0].rule.id, "io_uring_enter/EINVAL/direct-memory");
        assert_eq!(causes[0].found, "of 512 bytes, and the buffer is at +8");
        let aligned = Asked::new(Kind::Write, AT_CURSOR, 4096, 4096);
        assert!(aligned.causes(Errno::INVAL).iter().all(|cause| cause.found.is_empty()));
        assert!(Asked::NOTHING.causes(Errno::INVAL).is_empty());
    }
}
