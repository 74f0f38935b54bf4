//! Messages with addresses and control data.
//!
//! # Safety
//! The header, the vector, the address and the control data of a message are in one boxed state that does not
//! move; the pointers among them are set once it has its place. A list of buffers has its own array of vectors, which the
//! lease in the state owns. Descriptors in received control data
//! are new and without an owner; they are owned when they are parsed, or when the state is dropped unparsed.
//!
//! Tests: messages_carry_addresses, descriptors_travel_in_messages, descriptors_received_in_a_dropped_message_are_closed,
//! vectored_writes_carry_empty_buffers_and_refuse_too_many
#![allow(unsafe_code, reason = "pointers inside a boxed state, adopting descriptors")]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use safer_ring_buf::{IoBuf, IoBufMut, IoVec, Lease};
use safer_ring_core::Op;

use super::flags::{self, CMSG_CLOEXEC, NOSIGNAL, PEEK};
use super::kept::{advance_vectors, fill, vectors_of};
use super::{Done, Payload, sealed::Sealed};
use crate::addr::{Address, RawAddress};
use crate::adopt::adopt_real;
use crate::error::OpError;
use crate::fd::Fd;
use crate::mode::Mode;
use crate::request::{Made, Request};
use crate::stream::{Item, Load, Sides, written};

const MSG_CTRUNC: i32 = 0x8;
const MSG_TRUNC: i32 = 0x20;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_PIDFD: i32 = 4;
/// `sizeof(struct cmsghdr)`.
const HEADER: usize = 16;
/// Room for control data that is refused above, in bytes: 253 descriptors, the most of one message (unix(7)), take 1 KiB.
const MOST_CONTROL: usize = 1 << 20;

/// Receives a message.
#[derive(Debug)]
pub struct RecvMsg<B>(PhantomData<fn() -> B>);
/// Sends a message.
#[derive(Debug)]
pub struct SendMsg<B>(PhantomData<fn() -> B>);

impl<B> Sealed for RecvMsg<B> {}
impl<B> Sealed for SendMsg<B> {}

/// A received message.
#[derive(Debug)]
pub struct Received<B> {
    /// Bytes received.
    pub count: usize,
    /// The buffer.
    pub buffer: B,
    /// Who sent it, if the socket tells.
    pub address: Option<Address>,
    /// Control data, in order.
    pub control: Vec<ControlMessage>,
    /// `MSG_TRUNC`, `MSG_CTRUNC` and the others of recvmsg(2).
    pub flags: u32,
}

/// One piece of control data that came with a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlMessage {
    /// Descriptors passed by the sender (`SCM_RIGHTS`), close-on-exec.
    Descriptors(Vec<OwnedFd>),
    /// The sender's process, as pidfd_open(2) gives it (`SCM_PIDFD`), close-on-exec. With `SO_PASSPIDFD`, kernel 6.5.
    PidFd(OwnedFd),
    /// Anything else, as cmsg(3) describes it.
    Other {
        /// `cmsg_level`.
        level: i32,
        /// `cmsg_type`.
        kind: i32,
        /// The data.
        data: Vec<u8>,
    },
}

/// Control data to send with a message.
#[derive(Debug, Default)]
pub struct Control {
    bytes: Vec<u8>,
    /// Kept open until the kernel has taken them.
    descriptors: Vec<OwnedFd>,
}

impl Control {
    /// No control data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one piece, as cmsg(3) describes it.
    ///
    /// # Errors
    /// `InvalidInput` for `SCM_RIGHTS`: use [`Control::descriptors`], which keeps them open.
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> io::Result<&mut Self> {
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors are passed with `Control::descriptors`",
            ));
        }
        self.append(level, kind, data);
        Ok(self)
    }

    /// Passes descriptors to the other side of a Unix socket (unix(7)). They are duplicated now.
    ///
    /// # Errors
    /// `EMFILE` above all.
    pub fn descriptors<F: AsFd>(&mut self, fds: &[F]) -> io::Result<&mut Self> {
        let mut numbers = Vec::new();
        for fd in fds {
            let own = fd.as_fd().try_clone_to_owned()?;
            numbers.extend_from_slice(&own.as_raw_fd().to_ne_bytes());
            self.descriptors.push(own);
        }
        self.append(SOL_SOCKET, SCM_RIGHTS, &numbers);
        Ok(self)
    }

    fn append(&mut self, level: i32, kind: i32, data: &[u8]) {
        self.bytes.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }
}

/// Everything the kernel looks at for one message.
#[repr(C)]
struct MessageState {
    header: libc::msghdr,
    vector: IoVec,
    name: RawAddress,
    control: Vec<u8>,
    /// The user's buffer, or list of them.
    buffer: Lease,
    /// How many vectors `buffer` has if it is a list, whose array stands in for `vector`.
    list: Option<u32>,
    /// Sent along; open until the kernel has duplicated them.
    _passed: Vec<OwnedFd>,
    receives: bool,
}

// SAFETY: the pointers lead into the state itself, its heap memory and the lease, all of which are `Send`.
unsafe impl Send for MessageState {}

impl MessageState {
    fn lease(
        buffer: Lease,
        len: usize,
        name: Option<RawAddress>,
        control: Control,
        receives: bool,
        list: Option<u32>,
    ) -> Lease {
        // SAFETY: a msghdr of zeroes is an empty message.
        let header = unsafe { mem::zeroed::<libc::msghdr>() };
        let named = name.is_some();
        let state = Box::new(Self {
            header,
            vector: IoVec { base: buffer.ptr(), len },
            name: name.unwrap_or_else(RawAddress::room),
            control: control.bytes,
            buffer,
            list,
            _passed: control.descriptors,
            receives,
        });
        let lease = Lease::from_box(state);
        let state = lease.ptr().cast::<Self>();
        // Made of the lease's own pointer, so that no reference that comes and goes before the kernel looks ends them.
        // SAFETY: the lease owns a live state of this type.
        let vector = unsafe { &raw mut (*state).vector };
        // SAFETY: likewise.
        let name = unsafe { &raw mut (*state).name };
        // SAFETY: likewise; it is initialised, nobody else refers to it, and the reference ends before the kernel sees it.
        let state = unsafe { &mut *state };
        state.header.msg_iov = vector.cast();
        state.header.msg_iovlen = 1;
        if let Some(count) = state.list {
            state.header.msg_iov = state.buffer.ptr().cast();
            state.header.msg_iovlen = super::bytes(count);
        }
        if named {
            state.header.msg_name = name.cast();
            state.header.msg_namelen = state.name.len;
        }
        if !state.control.is_empty() {
            state.header.msg_control = state.control.as_mut_ptr().cast();
            state.header.msg_controllen = state.control.len();
        }
        lease
    }

    /// Takes over what arrived with a message for an owner that is gone: its bytes as far as they fit, and, with the
    /// first of them, the address and the control data. One that looks only (`MSG_PEEK`) gets descriptors of its own.
    fn receive(&mut self, item: &mut Item, looks: bool) -> u32 {
        let bytes = item.bytes();
        let count = self.vector.len.min(bytes.len());
        fill(self.vector.base.cast(), bytes.get(..count).unwrap_or_default());
        let whole = count == bytes.len();
        let begun = item.is_begun();
        self.header.msg_namelen = 0;
        let (mut flags, mut control) = (0, 0);
        if let (false, Load::Message(lease, _)) = (begun, &mut item.load) {
            let other = state_of(lease);
            self.name = other.name.clone();
            self.header.msg_namelen = other.header.msg_namelen;
            flags = other.header.msg_flags;
            control = other.header.msg_controllen.min(other.control.len());
            if control <= self.control.len() && looks {
                let copied = copy_control(&other.control, control, &mut self.control);
                if copied < control {
                    flags |= MSG_CTRUNC;
                }
                control = copied;
            } else if control <= self.control.len() {
                // The numbers of descriptors change their owner.
                std::mem::swap(&mut self.control, &mut other.control);
                other.header.msg_controllen = 0;
            } else {
                // They stay where they are and are closed there, as by recvmsg(2) without room.
                control = 0;
                flags |= MSG_CTRUNC;
            }
        }
        self.header.msg_controllen = control;
        self.header.msg_flags = if whole { flags } else { flags | MSG_TRUNC };
        super::count(count)
    }

    /// Owns the descriptors in what the kernel has written, and copies the rest. Later calls find nothing.
    fn take_control(&mut self) -> Vec<ControlMessage> {
        let len = mem::take(&mut self.header.msg_controllen).min(self.control.len());
        let mut rest = self.control.get(..len).unwrap_or_default();
        let mut found = Vec::new();
        while let Some((message, next)) = split_control(rest) {
            found.push(message);
            rest = next;
        }
        found
    }
}

impl Drop for MessageState {
    fn drop(&mut self) {
        if self.receives {
            drop(self.take_control());
        }
    }
}

/// The state of a message that has ended or not begun.
fn state_of(lease: &mut Lease) -> &mut MessageState {
    // SAFETY: the leases of messages are made by `MessageState::lease`; the state is valid whatever the kernel has written,
    // the kernel is done with it, and whoever has the lease has nobody beside them.
    unsafe { &mut *lease.ptr().cast::<MessageState>() }
}

/// The bytes of a received message.
pub(crate) fn message_bytes(lease: &Lease, count: usize) -> &[u8] {
    // SAFETY: as in `state_of`, to look only.
    let state = unsafe { &*lease.ptr().cast::<MessageState>() };
    written(&state.buffer, count)
}

/// Bytes that a message has still to send.
pub(super) fn unsent(lease: &Lease) -> usize {
    // SAFETY: as in `state_of`, to look only.
    let state = unsafe { &*lease.ptr().cast::<MessageState>() };
    match state.list {
        Some(count) => vectors_of(&state.buffer, count).iter().map(|vector| vector.len).sum(),
        None => state.vector.len,
    }
}

/// Makes a message begin behind the bytes that it has sent. The control data went with the first of them.
pub(super) fn advance(lease: &mut Lease, moved: usize) {
    let state = state_of(lease);
    match state.list {
        Some(count) => advance_vectors(&state.buffer, count, moved),
        None => {
            state.vector.base = state.vector.base.wrapping_add(moved);
            state.vector.len = state.vector.len.saturating_sub(moved);
        }
    }
    state.header.msg_control = std::ptr::null_mut();
    state.header.msg_controllen = 0;
}

/// A message of the vectors in `list`, to send without an address or control data.
pub(super) fn of_list(list: Lease, count: u32) -> Lease {
    MessageState::lease(list, 0, None, Control::new(), false, Some(count))
}

/// The list back, of a message made by [`of_list`] that has ended.
pub(super) fn into_list(mut message: Lease) -> Lease {
    mem::replace(&mut state_of(&mut message).buffer, Lease::empty())
}

/// One piece of received control data, as it was written.
struct Piece<'a> {
    level: i32,
    kind: i32,
    data: &'a [u8],
}

impl Piece<'_> {
    /// The descriptors in it, which have no owner yet. In place of a process there may be an errno.
    fn numbers(&self) -> impl Iterator<Item = RawFd> {
        let is_of = matches!((self.level, self.kind), (SOL_SOCKET, SCM_RIGHTS | SCM_PIDFD));
        let data = if is_of { self.data } else { &[] };
        let numbers = data.chunks_exact(4).filter_map(|four| four.first_chunk().copied());
        numbers.map(i32::from_ne_bytes).filter(|number| *number >= 0)
    }
}

/// The first piece, and what follows it.
fn first_piece(bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let len = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(12..)?.first_chunk()?);
    let data = bytes.get(HEADER..len)?;
    let next = bytes.get(len.next_multiple_of(8)..).unwrap_or_default();
    Some((Piece { level, kind, data }, next))
}

/// The first piece of received control data, and what follows it.
fn split_control(bytes: &[u8]) -> Option<(ControlMessage, &[u8])> {
    let (piece, next) = first_piece(bytes)?;
    let mut descriptors: Vec<OwnedFd> = piece
        .numbers()
        // SAFETY: the kernel has installed these descriptors for this message (unix(7)), or `copy_control` has, and
        // `take_control` passes each of them here once.
        .map(|number| unsafe { adopt_real(number) })
        .collect();
    let message = match ((piece.level, piece.kind), descriptors.pop()) {
        ((SOL_SOCKET, SCM_PIDFD), Some(process)) => ControlMessage::PidFd(process),
        ((SOL_SOCKET, SCM_RIGHTS), last) => {
            descriptors.extend(last);
            ControlMessage::Descriptors(descriptors)
        }
        ((level, kind), _) => ControlMessage::Other { level, kind, data: piece.data.to_vec() },
    };
    Some((message, next))
}

/// Copies the first `len` bytes of received control data, with duplicates of the descriptors in it, as the kernel makes them for
/// who looks only. Tells how many bytes it has copied: whole pieces, up to the one for which there is no descriptor.
fn copy_control(from: &[u8], len: usize, to: &mut [u8]) -> usize {
    let whole = from.get(..len).unwrap_or_default();
    let mut rest = whole;
    while let Some((piece, next)) = first_piece(rest) {
        let at = whole.len() - rest.len();
        let mut copies = Vec::new();
        for number in piece.numbers() {
            // SAFETY: open: the message that it came with owns it.
            match unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned() {
                Ok(copy) => copies.push(copy),
                Err(_) => return at,
            }
        }
        let piece = rest.get(..rest.len() - next.len()).unwrap_or_default();
        let Some(room) = to.get_mut(at..at + piece.len()) else { return at };
        room.copy_from_slice(piece);
        let data = room.get_mut(HEADER..).unwrap_or_default();
        for (place, copy) in data.chunks_exact_mut(4).zip(copies) {
            // Whoever takes the control data owns it.
            place.copy_from_slice(&copy.into_raw_fd().to_ne_bytes());
        }
        rest = next;
    }
    whole.len() - rest.len()
}

/// recvmsg(2) with `MSG_CMSG_CLOEXEC`; room for `control_len` bytes of control data.
///
/// # Errors
/// The output of the operation, for more room than 1 MiB and for flags that an operation cannot have.
pub fn recv_msg<M: Mode, B: IoBufMut>(
    fd: &Fd<M>,
    buffer: B,
    control_len: usize,
    flags: u32,
) -> Made<M, RecvMsg<B>> {
    let buffer = flags::of_receive(flags, buffer).map_err(Err)?;
    if control_len > MOST_CONTROL {
        return Err(Err(OpError::new(too_much_control(control_len), buffer)));
    }
    let (buffer, rest) = buffer.lend();
    let control = Control { bytes: vec![0; control_len], descriptors: Vec::new() };
    let len = buffer.capacity();
    let lease = MessageState::lease(buffer, len, Some(RawAddress::room()), control, true, None);
    Ok(Request::new(Op::RecvMsg { flags: flags | CMSG_CLOEXEC }, lease, rest).on(fd.guard()))
}

#[cold]
fn too_much_control(len: usize) -> io::Error {
    let text =
        format!("room for {len} bytes of control data; at most {MOST_CONTROL} can be asked for");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// sendmsg(2) with `MSG_NOSIGNAL`.
///
/// # Errors
/// The output of the operation, if the address is too long, and for flags that an operation cannot have.
pub fn send_msg<M: Mode, B: IoBuf>(
    fd: &Fd<M>,
    buffer: B,
    address: Option<&Address>,
    control: Control,
    flags: u32,
) -> Made<M, SendMsg<B>> {
    let buffer = flags::of_send(flags, buffer).map_err(Err)?;
    let name = match address.map(RawAddress::encode).transpose() {
        Ok(name) => name,
        Err(error) => return Err(Err(OpError::new(error, buffer))),
    };
    let (buffer, rest) = buffer.lend();
    let len = buffer.init_len();
    let lease = MessageState::lease(buffer, len, name, control, false, None);
    Ok(Request::new(Op::SendMsg { flags: flags | NOSIGNAL }, lease, rest).on(fd.guard()))
}

impl<B: IoBufMut> Payload for RecvMsg<B> {
    type Rest = B::Rest;
    type Output = Result<Received<B>, OpError<B>>;

    super::gives_back!(B);

    const ASKS: Sides = Sides::TAKES;

    fn receive(lease: &mut Lease, _: &B::Rest, op: &Op, item: &mut Item) -> u32 {
        let looks = matches!(op, Op::RecvMsg { flags } if flags & PEEK != 0);
        state_of(lease).receive(item, looks)
    }

    unsafe fn finish(lease: Lease, rest: B::Rest, done: Done) -> Self::Output {
        // SAFETY: `recv_msg` boxed this type, and the kernel has written a message into it, if anything.
        let mut state = unsafe { lease.into_box::<MessageState>() };
        let lease = mem::replace(&mut state.buffer, Lease::empty());
        let count = match done.result {
            Ok(count) => super::bytes(count).min(lease.capacity()),
            Err(failure) => {
                // SAFETY: the inner lease is of a `B` (`recv_msg`).
                return Err(OpError::new(failure, unsafe { B::reclaim(lease, rest) }));
            }
        };
        state.name.len = state.header.msg_namelen;
        Ok(Received {
            count,
            // SAFETY: the inner lease is of a `B`, and the kernel wrote `count` bytes of it.
            buffer: unsafe { B::reclaim_filled(lease, rest, count) },
            address: state.name.decode(),
            control: state.take_control(),
            flags: state.header.msg_flags.cast_unsigned(),
        })
    }
}

impl<B: IoBuf> Payload for SendMsg<B> {
    type Rest = B::Rest;
    type Output = Result<(usize, B), OpError<B>>;

    super::gives_back!(B);

    const ASKS: Sides = Sides::GIVES;

    unsafe fn finish(lease: Lease, rest: B::Rest, done: Done) -> Self::Output {
        // SAFETY: `send_msg` boxed this type; the kernel has only read it.
        let mut state = unsafe { lease.into_box::<MessageState>() };
        let lease = mem::replace(&mut state.buffer, Lease::empty());
        // SAFETY: the inner lease is of a `B` (`send_msg`).
        let buffer = unsafe { B::reclaim(lease, rest) };
        match done.result {
            Ok(count) => Ok((super::bytes(count), buffer)),
            Err(failure) => Err(OpError::new(failure, buffer)),
        }
    }
}

impl fmt::Debug for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageState").field("receives", &self.receives).finish_non_exhaustive()
    }
}

const _: () = assert!(mem::size_of::<libc::cmsghdr>() == HEADER);
