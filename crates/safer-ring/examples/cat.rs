//! `cat [FILE..]`: files to the standard output, one after the other; without files, the standard input.
//!
//! One buffer goes back and forth. Reads and writes are at the cursor, so pipes and terminals work as files do.

use std::io;
use std::os::fd::AsFd;

use safer_ring::{Fd, OwnedBuffer, local};

fn main() -> io::Result<()> {
    let ring = local::Ring::new(8)?;
    ring.block_on(async {
        let output = local_file(&ring, io::stdout())?;
        let mut buffer = OwnedBuffer::new(256 * 1024);
        let mut paths = std::env::args_os().skip(1).peekable();
        if paths.peek().is_none() {
            pour(&local_file(&ring, io::stdin())?, &output, buffer).await?;
            return Ok(());
        }
        for path in paths {
            let input = local::File::open(&ring, &path).await?;
            buffer = pour(&input, &output, buffer).await?;
        }
        Ok(())
    })
}

/// A handle of its own for a descriptor that is not ours to close.
fn local_file(ring: &local::Ring, stream: impl AsFd) -> io::Result<local::File> {
    Ok(local::File::from_fd(ring, Fd::new(stream.as_fd().try_clone_to_owned()?)))
}

/// Moves everything, and gives the buffer back.
async fn pour(
    input: &local::File,
    output: &local::File,
    mut buffer: OwnedBuffer,
) -> io::Result<OwnedBuffer> {
    loop {
        let (count, filled) = input.read(buffer).await?;
        if count == 0 {
            return Ok(filled);
        }
        // A read sets the length, so exactly what was read is written.
        buffer = output.write_all(filled).await?;
    }
}
