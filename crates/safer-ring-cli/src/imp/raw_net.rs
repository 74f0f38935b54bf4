//! The baseline for sockets: an echo server and the dropped receive, by hand on io_uring.
//!
//! # Safety
//! As in [`raw`](super::raw): buffers and sockets live beside the ring in one struct each, a buffer is touched only
//! while nothing is in flight on it, and `Drop` quiesces the ring before they go.
//!
//! Tests: raw_drop_race_loses_nothing
#![allow(unsafe_code, reason = "pushing a submission entry is a promise about memory")]

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use safer_ring_sys::{Cqe, Errno, Sqe, address, opcode, sqe_flags};

use super::lane::Lane;
use super::raw::{RawRing, no_slot};
use super::{Context, Pairs, Workload, check_message, closed, lanes, message, race};
use crate::bench::alloc::own_allocations;
use crate::bench::plan::{MESSAGE, Scenario};
use crate::load::Load;
use crate::num::{count, index, small};

/// Buffers of the sockets, and how entries name a socket.
struct Sockets {
    ring: RawRing,
    /// Descriptors, or indices of registered files.
    names: Vec<i32>,
    flags: u8,
    buffers: Vec<Box<[u8]>>,
    cqes: Vec<Cqe>,
}

impl Sockets {
    fn new(ring: RawRing, fds: Vec<i32>, registered: bool) -> io::Result<Self> {
        let n = fds.len();
        let buffers = (0..n).map(|_| vec![0; MESSAGE].into_boxed_slice()).collect();
        let cqes = vec![Cqe::default(); 2 * n + 2];
        if !registered {
            return Ok(Self { ring, names: fds, flags: 0, buffers, cqes });
        }
        ring.uring().register_files(&fds)?;
        let names = (0..).take(n).collect();
        Ok(Self { ring, names, flags: sqe_flags::FIXED_FILE, buffers, cqes })
    }

    /// Queues a receive into, or a send from, `[from..to]` of a socket's buffer.
    #[inline]
    fn push(&mut self, opcode: u8, socket: usize, (from, to): (usize, usize)) -> io::Result<()> {
        let (Some(fd), Some(buffer)) = (self.names.get(socket), self.buffers.get_mut(socket))
        else {
            return Err(no_slot());
        };
        let memory = buffer.get_mut(from..to).unwrap_or_default();
        let sqe = Sqe {
            opcode,
            flags: self.flags,
            fd: *fd,
            addr: address(memory.as_mut_ptr()),
            len: small(memory.len()),
            user_data: tag(socket, opcode),
            ..Sqe::default()
        };
        // SAFETY: the buffer and the socket live beside the ring and are touched again only after this operation's
        // completion; the owner's `Drop` quiesces the ring before they go.
        unsafe { self.ring.push(&sqe) }
    }

    #[inline]
    fn receive(&mut self, socket: usize) -> io::Result<()> {
        self.push(opcode::RECV, socket, (0, MESSAGE))
    }

    /// Queues the cancellation of a socket's receive.
    #[inline]
    fn cancel(&mut self, socket: usize) -> io::Result<()> {
        let sqe = Sqe {
            opcode: opcode::ASYNC_CANCEL,
            fd: -1,
            addr: tag(socket, opcode::RECV),
            user_data: tag(socket, opcode::ASYNC_CANCEL),
            ..Sqe::default()
        };
        // SAFETY: a cancellation names neither memory nor a descriptor.
        unsafe { self.ring.push(&sqe) }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.ring.quiesce();
    }
}

/// Socket and operation in one word.
#[inline]
fn tag(socket: usize, opcode: u8) -> u64 {
    (count(socket) << 8) | u64::from(opcode)
}

#[inline]
fn untag(user_data: u64) -> (usize, u8) {
    let opcode = u8::try_from(user_data & 0xff).unwrap_or(0);
    (usize::try_from(user_data >> 8).unwrap_or(usize::MAX), opcode)
}

/// One receive or one send in flight per connection; one enter for everything that has become possible.
struct Echo {
    sockets: Sockets,
    /// What of each buffer is still to be sent.
    unsent: Vec<(usize, usize)>,
    armed: bool,
    load: Load,
    /// Keeps the descriptors open that the entries name.
    _streams: Vec<TcpStream>,
}

impl Echo {
    /// Acts on one completion; returns the bytes echoed by it.
    #[inline]
    fn step(&mut self, cqe: &Cqe) -> io::Result<usize> {
        let (socket, opcode) = untag(cqe.user_data);
        let n = index(Errno::from_result(cqe.res)?);
        let unsent = self.unsent.get_mut(socket).ok_or_else(no_slot)?;
        if n == 0 {
            return Err(closed());
        }
        if opcode == opcode::RECV {
            *unsent = (0, n);
            let range = *unsent;
            self.sockets.push(opcode::SEND, socket, range)?;
            return Ok(0);
        }
        unsent.0 += n;
        let range = *unsent;
        if range.0 < range.1 {
            self.sockets.push(opcode::SEND, socket, range)?;
        } else {
            self.sockets.receive(socket)?;
        }
        Ok(n)
    }
}

/// An echo server by hand.
pub(super) trait Server {
    fn load(&mut self) -> &mut Load;

    /// Hands over what has become possible, waits, and acts on what has completed; returns the bytes echoed by that. `cqes`
    /// has room for all that is in flight.
    fn turn(&mut self, cqes: &mut [Cqe]) -> io::Result<u64>;
}

/// Has so many messages echoed.
pub(super) fn serve(server: &mut impl Server, cqes: &mut [Cqe], ops: u64) -> io::Result<Lane> {
    server.load().order(ops)?;
    let (target, mut bytes, mut half) = (ops * count(MESSAGE), 0, None);
    while bytes < target {
        bytes += server.turn(cqes)?;
        if bytes >= target / 2 {
            half.get_or_insert_with(own_allocations);
        }
    }
    let end = own_allocations();
    Ok(Lane::of_server(server.load().report()?, half, Some(end)))
}

impl Server for Echo {
    fn load(&mut self) -> &mut Load {
        &mut self.load
    }

    #[inline]
    fn turn(&mut self, cqes: &mut [Cqe]) -> io::Result<u64> {
        let (n, mut bytes) = (self.sockets.ring.collect(1, cqes)?, 0);
        for cqe in cqes.iter().take(n) {
            bytes += count(self.step(cqe)?);
        }
        Ok(bytes)
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        if !self.armed {
            for socket in 0..self.unsent.len() {
                self.sockets.receive(socket)?;
            }
            self.armed = true;
        }
        let mut cqes = std::mem::take(&mut self.sockets.cqes);
        let lane = serve(self, &mut cqes, ops)?;
        self.sockets.cqes = cqes;
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        Some(self.sockets.ring.enters())
    }

    fn setup(&self) -> Option<String> {
        Some(self.sockets.ring.setup())
    }
}

pub(super) fn echo(
    scenario: &'static Scenario,
    context: &Context,
    registered: bool,
) -> io::Result<Box<dyn Workload>> {
    let ring = RawRing::new(scenario.depth.next_power_of_two())?;
    let (streams, load) = Load::start(&context.exe, scenario.depth)?;
    let fds = streams.iter().map(AsRawFd::as_raw_fd).collect();
    let sockets = Sockets::new(ring, fds, registered)?;
    let unsent = vec![(0, 0); lanes(scenario)];
    Ok(Box::new(Echo { sockets, unsent, armed: false, load, _streams: streams }))
}

/// Two receives in flight, the loser cancelled. The cancellation travels with the next step's receives, so that a
/// step costs one enter; its completions are taken when they come, before the socket's next turn.
struct Drops {
    sockets: Sockets,
    far: Vec<UnixStream>,
    step: u64,
    /// Keeps the descriptors open that the entries name.
    _near: Vec<UnixStream>,
}

impl Drops {
    fn one_step(&mut self, cqes: &mut [Cqe]) -> io::Result<()> {
        let (idle, ready) = race(self.step, self.far.len());
        let mut peer = self.far.get(ready).ok_or_else(no_slot)?;
        peer.write_all(&message(self.step))?;
        self.sockets.receive(idle)?;
        self.sockets.receive(ready)?;
        let mut won = false;
        while !won {
            let n = self.sockets.ring.collect(1, cqes)?;
            for cqe in cqes.iter().take(n) {
                won |= self.look(cqe, ready)?;
            }
        }
        self.sockets.cancel(idle)?;
        self.step += 1;
        Ok(())
    }

    /// True for the completion that the step waits for.
    #[inline]
    fn look(&self, cqe: &Cqe, ready: usize) -> io::Result<bool> {
        match untag(cqe.user_data) {
            (socket, opcode::RECV) if socket == ready => {
                let n = index(Errno::from_result(cqe.res)?);
                let buffer = self.sockets.buffers.get(socket).ok_or_else(no_slot)?;
                check_message(buffer.get(..n).unwrap_or_default(), self.step)?;
                Ok(true)
            }
            (_, opcode::ASYNC_CANCEL) => Ok(false),
            _ if Errno::from_result(cqe.res) == Err(Errno::CANCELED) => Ok(false),
            _ => Err(io::Error::other("a receive finished without a message")),
        }
    }
}

impl Workload for Drops {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        let mut lane = Lane::of_one_thread(16, ops);
        let mut cqes = std::mem::take(&mut self.sockets.cqes);
        for _ in 0..ops {
            let started = lane.start();
            self.one_step(&mut cqes)?;
            lane.stop(started, 1);
        }
        self.sockets.cqes = cqes;
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        Some(self.sockets.ring.enters())
    }

    fn setup(&self) -> Option<String> {
        Some(self.sockets.ring.setup())
    }
}

pub(super) fn drop_race(
    scenario: &'static Scenario,
    registered: bool,
) -> io::Result<Box<dyn Workload>> {
    let Pairs { near, far } = Pairs::new(scenario)?;
    let fds = near.iter().map(AsRawFd::as_raw_fd).collect();
    let sockets = Sockets::new(RawRing::new(64)?, fds, registered)?;
    Ok(Box::new(Drops { sockets, far, step: 0, _near: near }))
}
