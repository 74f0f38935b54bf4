//! The memory of an operation in flight: the only place of the simulation that writes to it.
//!
//! Memory that an operation fills, with bytes or with another result, has a pattern in it while it is in flight, and gets what
//! belongs there at the last legal moment, just before the final completion. Memory that it sends is copied when it is handed
//! over, and compared at the end. Either shows who lets go of memory, or uses it, before its time.
//!
//! # Safety
//! The pieces are those of a submission, lent until its last completion (contract of `Backend::submit`), or a buffer that is
//! lent until a completion names it; [`Lent::settle`] is called before that is posted, and nothing afterwards. What a ring that
//! has gone has left in flight is lent for good.
//!
//! Tests: memory_that_is_used_too_early_is_found, results_that_are_used_too_early_are_found, a_read_leaves_the_rest_of_its_buffer_alone
#![allow(unsafe_code, reason = "reads and writes lent memory")]

use std::mem::{MaybeUninit, offset_of};
use std::ops::Range;

use safer_ring_core::Op;

use crate::backend::Submission;
use crate::plain::pointer;
use crate::uring::transfer;

/// What is in memory that an operation has not filled yet. As the number of a descriptor it is none.
const PATTERN: u8 = 0xa5;
const UNTOUCHED: [u8; 512] = [PATTERN; 512];

/// Bytes of a `struct statx`.
const STATX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The operation fills it.
    In,
    /// The operation reads it.
    Out,
}

/// What one operation may touch.
#[derive(Debug)]
pub(super) struct Lent {
    pieces: Vec<libc::iovec>,
    way: Way,
    /// What was in it when it was handed over, in one piece.
    before: Vec<MaybeUninit<u8>>,
    /// The header of a message.
    header: Option<*mut libc::msghdr>,
    /// Where the results beside the bytes go.
    answers: Vec<Answer>,
}

/// Room for a result beside the bytes, and what was in it.
#[derive(Debug)]
struct Answer {
    at: *mut u8,
    before: Vec<u8>,
}

impl Answer {
    /// Copies what is there, and fills in the pattern.
    ///
    /// # Safety
    /// `len` initialised bytes at `at` are lent until the last completion.
    unsafe fn begin(at: *mut u8, len: usize) -> Self {
        // SAFETY: the caller's promise.
        let before = unsafe { std::slice::from_raw_parts(at, len) }.to_vec();
        // SAFETY: as above, for writing.
        unsafe { at.write_bytes(PATTERN, len) };
        Self { at, before }
    }

    /// Puts back what was there; whether nobody else has written to it.
    fn end(&self) -> bool {
        let len = self.before.len();
        // SAFETY: lent until the last completion, which has not been posted; initialised by the pattern.
        let now = unsafe { std::slice::from_raw_parts(self.at.cast_const(), len) };
        let whole = now.iter().all(|byte| *byte == PATTERN);
        if whole {
            // SAFETY: as above, for writing; nobody refers to it.
            unsafe { self.at.copy_from_nonoverlapping(self.before.as_ptr(), len) };
        }
        whole
    }
}

/// A result beside the bytes.
#[derive(Clone, Debug)]
pub(super) enum Extra {
    /// Bytes for an address.
    Bytes(u64, Vec<u8>),
    /// Who sent a message, and its flags.
    Sender(Vec<u8>, i32),
}

// SAFETY: the pointers lead to lent memory, valid from any thread (contract of `Backend::submit`).
unsafe impl Send for Lent {}

impl Lent {
    /// Nothing.
    pub(super) fn nothing() -> Self {
        Self {
            pieces: Vec::new(),
            way: Way::Out,
            before: Vec::new(),
            header: None,
            answers: Vec::new(),
        }
    }

    /// What a submission lends, from now on the operation's.
    ///
    /// # Safety
    /// As `Backend::submit`.
    pub(super) unsafe fn take(s: &Submission) -> Self {
        let mut lent = Self::nothing();
        if s.poll_first.is_some() {
            return lent;
        }
        match s.op {
            Op::Read { .. } | Op::Recv { .. } => lent.one(s.ptr, s.capacity, Way::In),
            Op::Write { .. } | Op::Send { .. } => lent.one(s.ptr, s.init, Way::Out),
            // SAFETY: `ptr` leads to so many vectors (`payload::vectored`).
            Op::ReadVectored { count, .. } => unsafe { lent.many(s.ptr.cast(), count, Way::In) },
            // SAFETY: as above.
            Op::WriteVectored { count, .. } => unsafe { lent.many(s.ptr.cast(), count, Way::Out) },
            Op::RecvMsg { .. } | Op::SendMsg { .. } => {
                // SAFETY: `ptr` leads to a message header (`payload::message`).
                let header = unsafe { s.ptr.cast::<libc::msghdr>().read() };
                lent.header = Some(s.ptr.cast());
                let receives = matches!(s.op, Op::RecvMsg { .. });
                let way = if receives { Way::In } else { Way::Out };
                let count = u32::try_from(header.msg_iovlen).unwrap_or(0);
                // SAFETY: its vectors are valid as it is.
                unsafe { lent.many(header.msg_iov, count, way) };
                if receives {
                    // SAFETY: the header and its room for a name are lent, and initialised (`payload::message`).
                    unsafe { lent.message(&header, s.ptr) };
                }
            }
            // SAFETY: the contract is the same.
            _ => unsafe { lent.results(s) },
        }
        lent.begin();
        lent
    }

    /// Memory that some receive will fill.
    ///
    /// # Safety
    /// `len` bytes at `base` are lent until [`Lent::settle`] was called, or for ever.
    pub(super) unsafe fn spare(base: *mut u8, len: usize) -> Self {
        let mut lent = Self::nothing();
        lent.one(base, len, Way::In);
        lent.begin();
        lent
    }

    /// Room for who sent a message, and for its flags. The length of the name says how much room that is, and that of the
    /// control data what a state owns which is never answered: those stay.
    ///
    /// # Safety
    /// A message header at `at`, which is `header`, with as much initialised room for a name as it says, all of it lent.
    unsafe fn message(&mut self, header: &libc::msghdr, at: *mut u8) {
        let room = usize::try_from(header.msg_namelen).unwrap_or(0);
        if !header.msg_name.is_null() && room > 0 {
            // SAFETY: the caller's promise.
            self.answers.push(unsafe { Answer::begin(header.msg_name.cast(), room) });
        }
        let flags = at.wrapping_add(offset_of!(libc::msghdr, msg_flags));
        // SAFETY: a field of the header.
        self.answers.push(unsafe { Answer::begin(flags, size_of::<i32>()) });
    }

    /// Room for results of calls that move no bytes.
    ///
    /// # Safety
    /// As `Backend::submit`.
    unsafe fn results(&mut self, s: &Submission) {
        let (at, len) = match s.op {
            Op::Statx { aux, .. } => (pointer(aux).cast_mut().cast(), STATX),
            Op::Pipe { .. } => (s.ptr, 2 * size_of::<i32>()),
            Op::Accept { aux, .. } if aux != 0 => {
                let length = pointer(aux).cast_mut().cast::<u8>();
                // SAFETY: the room for the address, as a number (`payload::accept`).
                let room = unsafe { length.cast::<u32>().read() };
                // SAFETY: the same number.
                self.answers.push(unsafe { Answer::begin(length, size_of::<u32>()) });
                (s.ptr, usize::try_from(room).unwrap_or(0))
            }
            _ => return,
        };
        if !at.is_null() {
            // SAFETY: the operation's own room for exactly this result (`payload/`), initialised by its constructor.
            self.answers.push(unsafe { Answer::begin(at, len) });
        }
    }

    fn one(&mut self, base: *mut u8, len: usize, way: Way) {
        self.way = way;
        self.pieces.push(libc::iovec {
            iov_base: base.cast(),
            iov_len: super::narrow(transfer(len).into()),
        });
    }

    /// # Safety
    /// So many vectors are at `array`.
    unsafe fn many(&mut self, array: *const libc::iovec, count: u32, way: Way) {
        self.way = way;
        let count = usize::try_from(count).unwrap_or(0);
        if count > 0 {
            // SAFETY: the caller's promise.
            self.pieces.extend_from_slice(unsafe { std::slice::from_raw_parts(array, count) });
        }
        self.pieces.retain(|piece| piece.iov_len > 0);
    }

    /// Copies what is there, and fills in the pattern.
    fn begin(&mut self) {
        self.before.reserve(self.room());
        for piece in &self.pieces {
            let (base, len) = (piece.iov_base.cast::<MaybeUninit<u8>>(), piece.iov_len);
            if len == 0 {
                continue;
            }
            // SAFETY: `len` bytes are lent here, initialised or not, and nobody else writes to them.
            self.before.extend_from_slice(unsafe { std::slice::from_raw_parts(base, len) });
            if self.way == Way::In {
                // SAFETY: as above, for writing.
                unsafe { base.cast::<u8>().write_bytes(PATTERN, len) };
            }
        }
    }

    /// Bytes that it has room for, or has to send.
    pub(super) fn room(&self) -> usize {
        self.pieces.iter().map(|piece| piece.iov_len).sum()
    }

    /// Where its only piece is.
    pub(super) fn range(&self) -> Range<usize> {
        let [piece] = self.pieces.as_slice() else { return 0..0 };
        let start = piece.iov_base.addr();
        start..start.saturating_add(piece.iov_len)
    }

    /// The bytes to send, as they were when the operation was handed over.
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.way == Way::In {
            return Vec::new();
        }
        // SAFETY: what a write or send lends is initialised.
        unsafe { initialised(&self.before) }.to_vec()
    }

    /// Ends the operation's use of the memory: `data` goes into it, what was there before comes back behind that.
    ///
    /// # Errors
    /// What is wrong: somebody else has written to it.
    pub(super) fn settle(&self, data: &[u8], extra: &[Extra]) -> Result<(), &'static str> {
        let whole = self.is_whole();
        if self.way == Way::In && whole {
            self.fill(data);
        }
        // All of them, whatever is wrong with one.
        let answers: Vec<bool> = self.answers.iter().map(Answer::end).collect();
        for extra in extra {
            self.put(extra);
        }
        if answers.contains(&false) {
            return Err("somebody wrote to where an operation in flight was to put its result");
        }
        match (whole, self.way) {
            (true, _) => Ok(()),
            (false, Way::In) => Err("somebody wrote to memory that a read in flight was to fill"),
            (false, Way::Out) => Err("somebody changed memory that a write in flight was sending"),
        }
    }

    /// Whether everything is as it was left.
    fn is_whole(&self) -> bool {
        let mut before = self.before.as_slice();
        self.pieces.iter().filter(|piece| piece.iov_len > 0).all(|piece| {
            let base = piece.iov_base.cast_const().cast::<u8>();
            // SAFETY: lent until the last completion, which has not been posted; initialised: by the pattern, or since it
            // is sent.
            let now = unsafe { std::slice::from_raw_parts(base, piece.iov_len) };
            let (mine, rest) = before.split_at(piece.iov_len.min(before.len()));
            before = rest;
            match self.way {
                // As slices, which are compared at once.
                Way::In => now.chunks(UNTOUCHED.len()).all(|now| UNTOUCHED.starts_with(now)),
                // SAFETY: what is sent is initialised.
                Way::Out => now == unsafe { initialised(mine) },
            }
        })
    }

    fn fill(&self, data: &[u8]) {
        let (mut data, mut before) = (data, self.before.as_slice());
        for piece in &self.pieces {
            let (mine, later) = data.split_at(piece.iov_len.min(data.len()));
            let (was, rest) = before.split_at(piece.iov_len.min(before.len()));
            (data, before) = (later, rest);
            let base = piece.iov_base.cast::<MaybeUninit<u8>>();
            // SAFETY: as in `begin`; the copy has as many bytes.
            unsafe { base.copy_from_nonoverlapping(was.as_ptr(), was.len()) };
            // SAFETY: no more than the piece has.
            unsafe { base.cast::<u8>().copy_from_nonoverlapping(mine.as_ptr(), mine.len()) };
        }
    }

    fn put(&self, extra: &Extra) {
        match extra {
            Extra::Bytes(0, _) => {}
            Extra::Bytes(to, bytes) => {
                let to = pointer(*to).cast_mut().cast::<u8>();
                // SAFETY: the operation's own room for exactly this result (`payload/`): a `statx`, an address and its
                // length, two descriptors.
                unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            }
            Extra::Sender(name, flags) => {
                if let Some(header) = self.header {
                    // SAFETY: the header lives until the last completion, and nobody else writes to it.
                    unsafe { answer(header, name, *flags) };
                }
            }
        }
    }
}

/// # Safety
/// Each byte is initialised.
unsafe fn initialised(bytes: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: the caller's promise; the layout is the same.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// Fills in what recvmsg(2) answers: there is no control data.
///
/// # Safety
/// A message header that is lent, with as much room for a name as it says.
unsafe fn answer(header: *mut libc::msghdr, name: &[u8], flags: i32) {
    // SAFETY: the caller's promise.
    let mut message = unsafe { header.read() };
    let room = usize::try_from(message.msg_namelen).unwrap_or(0);
    if !message.msg_name.is_null() {
        let len = name.len().min(room);
        let to = message.msg_name.cast::<u8>();
        // SAFETY: `len` is no more than the room.
        unsafe { to.copy_from_nonoverlapping(name.as_ptr(), len) };
    }
    message.msg_namelen = u32::try_from(name.len()).unwrap_or(0);
    message.msg_controllen = 0;
    message.msg_flags = flags;
    // SAFETY: the caller's promise.
    unsafe { header.write(message) };
}
