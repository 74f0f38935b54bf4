//! The baseline for an echo server that knows the newer half of io_uring: one multishot receive for each connection, into
//! buffers that the kernel picks, and registered files.
//!
//! # Safety
//! As in [`raw`](super::raw): the buffers, their ring and the sockets live beside the ring in one struct. A buffer is touched
//! between the completion that names it and its return to the ring of buffers, and while a send is in flight on it not at
//! all. `Drop` quiesces the ring before they go.
//!
//! Tests: every_scenario_runs
#![allow(unsafe_code, reason = "pushing a submission entry is a promise about memory")]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use safer_ring_sys::{BufRing, Cqe, Errno, Sqe, address, opcode, recvsend, sqe_flags};

use super::lane::Lane;
use super::raw::{RING, RawRing, no_slot};
use super::raw_net::{Server, serve};
use super::{Context, Family, Imp, Workload, closed};
use crate::bench::plan::{Kind, MESSAGE, Scenario};
use crate::load::Load;
use crate::num::{count, index, small};

/// The group of the buffers.
const GROUP: u16 = 1;

pub(crate) static RAW_MULTISHOT: Imp = Imp {
    name: "raw-multishot",
    what: "echo by hand with multishot receives, provided buffers and registered files (kernel 6.0)",
    family: Family::Raw,
    ring: Some(RING),
    absent_from: |scenario| match scenario.kind {
        Kind::Echo => None,
        _ => Some("it is an echo server"),
    },
    build,
};

struct Echo {
    ring: RawRing,
    /// Buffers that the kernel may pick, beside those being sent from.
    offered: BufRing,
    buffers: Vec<Box<[u8]>>,
    /// By buffer: the connection that it belongs to while it is sent from, and what of it is still to be sent.
    sends: Vec<(u32, usize, usize)>,
    cqes: Vec<Cqe>,
    connections: u32,
    armed: bool,
    load: Load,
    /// Keeps the descriptors open that are registered.
    _streams: Vec<TcpStream>,
}

/// Receives are named by their connection, sends by their buffer behind all connections.
impl Echo {
    fn receive(&mut self, connection: u32) -> io::Result<()> {
        let sqe = Sqe {
            opcode: opcode::RECV,
            flags: sqe_flags::FIXED_FILE | sqe_flags::BUFFER_SELECT,
            ioprio: recvsend::RECV_MULTISHOT,
            fd: connection.cast_signed(),
            buf_index: GROUP,
            user_data: u64::from(connection),
            ..Sqe::default()
        };
        // SAFETY: it picks its memory from the registered buffers, which live beside the ring, as the sockets do.
        unsafe { self.ring.push(&sqe) }
    }

    /// Gives a buffer back to the kernel.
    fn offer(&mut self, bid: u16) -> io::Result<()> {
        let buffer = self.buffers.get_mut(usize::from(bid)).ok_or_else(no_slot)?;
        // SAFETY: the ring has an entry for each buffer; nothing else uses this one, and it lives beside the ring.
        unsafe { self.offered.push(buffer.as_mut_ptr(), small(buffer.len()), bid) };
        Ok(())
    }

    fn send(&mut self, bid: u16) -> io::Result<()> {
        let (connection, from, to) = *self.sends.get(usize::from(bid)).ok_or_else(no_slot)?;
        let buffer = self.buffers.get_mut(usize::from(bid)).ok_or_else(no_slot)?;
        let memory = buffer.get_mut(from..to).unwrap_or_default();
        let sqe = Sqe {
            opcode: opcode::SEND,
            flags: sqe_flags::FIXED_FILE,
            fd: connection.cast_signed(),
            addr: address(memory.as_mut_ptr()),
            len: small(memory.len()),
            user_data: u64::from(self.connections) + u64::from(bid),
            ..Sqe::default()
        };
        // SAFETY: the buffer goes back to the kernel after the send's completion; it lives beside the ring.
        unsafe { self.ring.push(&sqe) }
    }

    /// Acts on one completion; returns the bytes echoed by it.
    #[inline]
    fn step(&mut self, cqe: &Cqe) -> io::Result<usize> {
        let name = u32::try_from(cqe.user_data).map_err(io::Error::other)?;
        if name < self.connections {
            return self.received(name, cqe);
        }
        let n = index(Errno::from_result(cqe.res)?);
        let bid = u16::try_from(name - self.connections).map_err(io::Error::other)?;
        let send = self.sends.get_mut(usize::from(bid)).ok_or_else(no_slot)?;
        send.1 += n;
        if send.1 < send.2 {
            self.send(bid)?;
        } else {
            self.offer(bid)?;
        }
        Ok(n)
    }

    fn received(&mut self, connection: u32, cqe: &Cqe) -> io::Result<usize> {
        if cqe.has_more() {
            self.ring.stays();
        } else {
            self.receive(connection)?;
        }
        if cqe.res == -Errno::NOBUFS.raw_os_error() {
            return Ok(0);
        }
        let n = index(Errno::from_result(cqe.res)?);
        let (Some(bid), 1..) = (cqe.buffer_id(), n) else { return Err(closed()) };
        *self.sends.get_mut(usize::from(bid)).ok_or_else(no_slot)? = (connection, 0, n);
        self.send(bid)?;
        Ok(0)
    }
}

impl Server for Echo {
    fn load(&mut self) -> &mut Load {
        &mut self.load
    }

    #[inline]
    fn turn(&mut self, cqes: &mut [Cqe]) -> io::Result<u64> {
        self.offered.publish();
        let (n, mut bytes) = (self.ring.collect(1, cqes)?, 0);
        for cqe in cqes.iter().take(n) {
            bytes += count(self.step(cqe)?);
        }
        Ok(bytes)
    }
}

impl Workload for Echo {
    fn run(&mut self, ops: u64, _slice: u64) -> io::Result<Lane> {
        if !self.armed {
            for connection in 0..self.connections {
                self.receive(connection)?;
            }
            self.armed = true;
        }
        let mut cqes = std::mem::take(&mut self.cqes);
        let lane = serve(self, &mut cqes, ops)?;
        self.cqes = cqes;
        Ok(lane)
    }

    fn enters(&self) -> Option<u64> {
        Some(self.ring.enters())
    }

    fn setup(&self) -> Option<String> {
        Some(self.ring.setup())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ring.quiesce();
    }
}

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let ring = RawRing::new(scenario.depth.next_power_of_two())?;
    let (streams, load) = Load::start(&context.exe, scenario.depth)?;
    let fds: Vec<_> = streams.iter().map(AsRawFd::as_raw_fd).collect();
    ring.uring().register_files(&fds)?;
    let entries = u16::try_from((2 * scenario.depth).next_power_of_two());
    let offered = BufRing::new(entries.map_err(io::Error::other)?)?;
    let bids = 0..offered.entries();
    let buffers = bids.clone().map(|_| vec![0; MESSAGE].into_boxed_slice()).collect();
    let sends = vec![(0, 0, 0); bids.len()];
    let cqes = vec![Cqe::default(); 2 * fds.len() + 2];
    // SAFETY: the ring of buffers and the buffers go where the ring goes, into one `Echo`, whose `Drop` quiesces the ring.
    unsafe { ring.uring().register_buf_ring(&offered.description(GROUP)) }?;
    let connections = scenario.depth;
    let mut echo = Echo {
        ring,
        offered,
        buffers,
        sends,
        cqes,
        connections,
        armed: false,
        load,
        _streams: streams,
    };
    for bid in bids {
        echo.offer(bid)?;
    }
    Ok(Box::new(echo))
}
