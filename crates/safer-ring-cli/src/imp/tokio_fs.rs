//! `tokio::fs::File` as its documentation shows it: each task has a file of its own, seeks, and reads.

use std::io::{self, SeekFrom};

use ::tokio::fs::File;
use ::tokio::io::{AsyncReadExt, AsyncSeekExt};
use ::tokio::runtime::Runtime;

use super::lane::Lane;
use super::tokio::{runtime, side_by_side};
use super::{Context, Family, Imp, Workload, only_multi_thread};
use crate::bench::plan::Scenario;
use crate::data::{Blocks, Offsets, check, direct_alignment, reopen};

pub(crate) static TOKIO_FS: Imp = Imp {
    name: "tokio-fs",
    what: "tokio::fs::File, one for each task: seek and read_exact",
    family: Family::Traditional,
    ring: None,
    absent_from: only_multi_thread,
    build,
};

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
    let (file, blocks) = context.file(scenario)?;
    if scenario.is_direct() && direct_alignment(&file).is_none_or(|bytes| bytes > ALLOCATED) {
        let text =
            "tokio::fs reads into memory of its own, which is not aligned for direct I/O here";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let mut readers = Vec::new();
    for _ in 0..scenario.depth {
        // Opened and not cloned: a clone would share its offset with the other tasks.
        let file = File::from_std(reopen(&file, scenario.is_direct())?);
        readers.push(Reader { file, buffer: vec![0; blocks.size] });
    }
    Ok(Box::new(Files { readers, runtime: runtime(context)?, scenario, blocks }))
}

/// Alignment that allocators give to a vector of bytes everywhere.
const ALLOCATED: u32 = 8;

struct Reader {
    file: File,
    buffer: Vec<u8>,
}

impl Reader {
    async fn read(&mut self, at: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at)).await?;
        self.file.read_exact(&mut self.buffer).await?;
        check(&self.buffer, self.buffer.len(), at)
    }
}

async fn reads(
    mut reader: Reader,
    mut offsets: Offsets,
    (ops, mut lane): (u64, Lane),
) -> io::Result<(Lane, Reader)> {
    for _ in 0..ops {
        let (at, started) = (offsets.next(), lane.start());
        reader.read(at).await?;
        lane.stop(started, 1);
    }
    Ok((lane, reader))
}

struct Files {
    readers: Vec<Reader>,
    runtime: Runtime,
    scenario: &'static Scenario,
    blocks: Blocks,
}

impl Workload for Files {
    fn run(&mut self, ops: u64, slice: u64) -> io::Result<Lane> {
        let blocks = self.blocks;
        let flow = |reader, number, work| reads(reader, blocks.lane(number, slice), work);
        side_by_side(&self.runtime, self.scenario, &mut self.readers, ops, flow)
    }
}
