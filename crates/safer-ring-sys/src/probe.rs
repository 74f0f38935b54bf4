//! What a kernel supports: opcode by opcode through a ring, or in one question without a ring.

use crate::Errno;
use crate::register;
use crate::uapi::register::{
    ProbeHeader, ProbeOp, QueryHeader, QueryOpcode, QueryScq, QueryZcrx, QueryZcrxEvent,
};

/// The number of opcodes that a probe can speak of: an opcode is one byte, and the kernel wants at
/// most 256 entries.
pub(crate) const PROBE_OPS: usize = 256;

/// Which opcodes a kernel has (`IORING_REGISTER_PROBE`, Linux 5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    supported: [bool; PROBE_OPS],
    last: u8,
}

impl Probe {
    /// From the kernel's answer.
    pub(crate) fn from_kernel(header: &ProbeHeader, ops: &[ProbeOp]) -> Probe {
        let mut supported = [false; PROBE_OPS];
        for op in ops.iter().take(usize::from(header.ops_len)) {
            if let Some(slot) = supported.get_mut(usize::from(op.op)) {
                *slot = op.flags & ProbeOp::SUPPORTED != 0;
            }
        }
        Probe { supported, last: header.last_op }
    }

    /// Whether the kernel has this [`opcode`](crate::opcode). It can still refuse it for want of a
    /// privilege, or a flag of it.
    #[must_use]
    pub fn supports(&self, opcode: u8) -> bool {
        self.supported.get(usize::from(opcode)).copied().unwrap_or(false)
    }

    /// The highest opcode the kernel knows, supported or not.
    #[must_use]
    pub fn last_opcode(&self) -> u8 {
        self.last
    }
}

/// Everything that can be asked without a ring.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Opcodes and flags.
    pub opcodes: QueryOpcode,
    /// Zero-copy receive; `None` where the kernel does not answer this (before Linux 6.19).
    pub zcrx: Option<QueryZcrx>,
}

impl Query {
    /// Asks the kernel.
    ///
    /// # Errors
    /// As [`query_opcodes`].
    pub fn new() -> Result<Query, Errno> {
        Ok(Query { opcodes: query_opcodes()?, zcrx: query_zcrx().ok() })
    }
}

/// Opcodes and flags of this kernel (`IORING_REGISTER_QUERY`, Linux 6.18). Needs no ring.
///
/// # Errors
/// `EINVAL` or `EBADF` before Linux 6.18, `EPERM` or `ENOSYS` where io_uring is blocked.
pub fn query_opcodes() -> Result<QueryOpcode, Errno> {
    register::query(QueryHeader::OPCODES)
}

/// Zero-copy receive of this kernel (Linux 6.19). Needs no ring.
///
/// # Errors
/// As [`query_opcodes`], and `EOPNOTSUPP` where the kernel does not know this question.
pub fn query_zcrx() -> Result<QueryZcrx, Errno> {
    register::query(QueryHeader::ZCRX)
}

/// The header of rings in the caller's memory (Linux 6.19). Needs no ring.
///
/// # Errors
/// As [`query_zcrx`].
pub fn query_scq() -> Result<QueryScq, Errno> {
    register::query(QueryHeader::SCQ)
}

/// What zero-copy receives of this kernel can tell of (Linux 7.3). Needs no ring.
///
/// # Errors
/// As [`query_zcrx`].
pub fn query_zcrx_event() -> Result<QueryZcrxEvent, Errno> {
    register::query(QueryHeader::ZCRX_EVENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_opcode() {
        let header = ProbeHeader { last_op: 9, ops_len: 3, ..ProbeHeader::default() };
        let op = |op, flags| ProbeOp { op, flags, ..ProbeOp::default() };
        let probe = Probe::from_kernel(&header, &[op(0, 1), op(1, 0), op(9, 1), op(10, 1)]);
        assert_eq!(probe.last_opcode(), 9);
        let supported: Vec<u8> = (0..=255).filter(|op| probe.supports(*op)).collect();
        assert_eq!(supported, [0, 9], "entry 10 is beyond what the kernel filled");
    }
}
