//! From tokio-uring: `from_tokio_uring FILE..` counts the lines of files, all at the same time.
//!
//! Before:
//! ```text
//! async fn count_lines(path: String) -> io::Result<usize> {
//!     let file = tokio_uring::fs::File::open(&path).await?;
//!     let (mut buffer, mut offset, mut lines) = (vec![0; 65536], 0, 0);
//!     loop {
//!         let (result, back) = file.read_at(buffer, offset).await;
//!         buffer = back;
//!         let count = result?;
//!         if count == 0 {
//!             file.close().await?;
//!             return Ok(lines);
//!         }
//!         lines += buffer[..count].iter().filter(|byte| **byte == b'\n').count();
//!         offset += count as u64;
//!     }
//! }
//!
//! tokio_uring::start(async {
//!     let tasks = paths.map(|path| (path.clone(), tokio_uring::spawn(count_lines(path))));
//!     ..
//! })
//! ```
//! What differs: the result has the buffer in it, also as an error, so `?` comes first; a `Vec` has the length that was
//! read; a file that is dropped is closed, and a future that is dropped loses nothing.
#![expect(clippy::as_conversions, reason = "on 64-bit Linux, lengths are as wide as offsets")]

use std::error::Error;
use std::io;

use safer_ring::{Runtime, local, runtime};

async fn count_lines(path: String) -> io::Result<usize> {
    let file = local::File::open(&runtime::ring(), &path).await?;
    let (mut buffer, mut offset, mut lines) = (vec![0; 65536], 0, 0);
    loop {
        let count;
        (count, buffer) = file.read_at(buffer, offset).await?;
        if count == 0 {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|byte| **byte == b'\n').count();
        offset += count as u64;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    Runtime::new()?.block_on(async {
        let paths = std::env::args().skip(1);
        let tasks = paths.map(|path| (path.clone(), runtime::spawn(count_lines(path))));
        for (path, task) in tasks.collect::<Vec<_>>() {
            println!("{} {path}", task.await??);
        }
        Ok(())
    })
}
