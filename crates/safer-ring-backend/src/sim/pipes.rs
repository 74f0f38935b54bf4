//! Pipes.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use safer_ring_sys::Errno;

use super::files::{Kind, O_WRONLY, Try};
use super::kernel::Kernel;

/// Writes of so many bytes are not torn: `PIPE_BUF` of pipe(7).
const ATOMIC: usize = 4096;

const O_DIRECT: u32 = libc::O_DIRECT.cast_unsigned();

/// A pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
    pub(super) readers: u32,
    pub(super) writers: u32,
    /// Bytes that it holds, where that was asked for: `F_SETPIPE_SZ`.
    pub(super) size: Option<usize>,
}

/// Takes so many bytes from the front.
pub(super) fn take(bytes: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    bytes.drain(..count.min(bytes.len())).collect()
}

impl Kernel {
    /// pipe2(2).
    pub(super) fn open_pipe(&mut self, flags: u32) -> Result<(RawFd, RawFd), Errno> {
        if flags & O_DIRECT != 0 {
            // Packets; a pipe that only looked like one would join them.
            return Err(Errno::OPNOTSUPP);
        }
        let id = self.pipes.len();
        self.pipes.push(Pipe { bytes: VecDeque::new(), readers: 1, writers: 1, size: None });
        let reader = self.install(Kind::PipeReader(id), flags)?;
        match self.install(Kind::PipeWriter(id), flags | O_WRONLY) {
            Ok(writer) => Ok((reader, writer)),
            Err(errno) => {
                self.close(reader)?;
                Err(errno)
            }
        }
    }

    pub(super) fn close_pipe(&mut self, id: usize, writer: bool) {
        if let Some(pipe) = self.pipes.get_mut(id) {
            let ends = if writer { &mut pipe.writers } else { &mut pipe.readers };
            *ends = ends.saturating_sub(1);
        }
    }

    pub(super) fn pipe_size(&self, id: usize) -> usize {
        let asked = self.pipes.get(id).and_then(|pipe| pipe.size);
        asked.unwrap_or(self.config.pipe_bytes).max(ATOMIC)
    }

    pub(super) fn pipe_room(&self, id: usize) -> usize {
        let used = self.pipes.get(id).map_or(0, |pipe| pipe.bytes.len());
        self.pipe_size(id).saturating_sub(used)
    }

    pub(super) fn read_pipe(&mut self, id: usize, most: usize) -> Try<Vec<u8>> {
        let there = self.pipes.get(id).map_or(0, |pipe| pipe.bytes.len());
        let count = self.portion(most.min(there));
        let pipe = self.pipes.get_mut(id)?;
        if most == 0 {
            return Some(Ok(Vec::new()));
        }
        if there == 0 {
            return (pipe.writers == 0).then_some(Ok(Vec::new()));
        }
        let bytes = take(&mut pipe.bytes, count);
        self.changed = true;
        Some(Ok(bytes))
    }

    pub(super) fn write_pipe(&mut self, id: usize, bytes: &[u8]) -> Try<usize> {
        let room = self.pipe_room(id);
        if self.pipes.get(id).is_none_or(|pipe| pipe.readers == 0) {
            return Some(Err(Errno::PIPE));
        }
        if bytes.is_empty() {
            return Some(Ok(0));
        }
        let whole = bytes.len() <= ATOMIC;
        if room == 0 || (whole && room < bytes.len()) {
            return None;
        }
        let count = if whole { bytes.len() } else { self.portion(bytes.len().min(room)) };
        let pipe = self.pipes.get_mut(id)?;
        pipe.bytes.extend(bytes.iter().take(count));
        self.changed = true;
        Some(Ok(count))
    }
}
