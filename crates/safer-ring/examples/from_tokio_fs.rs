//! From `tokio::fs`: the same function before and after. `from_tokio_fs DIRECTORY` runs both and compares.
//!
//! The function replaces a file so that a crash leaves the old or the new one, whole. tokio runs each step on a thread of
//! its pool; the ring hands it to the kernel. What differs: a ring is passed, and `write_all` takes the bytes and gives
//! them back.

use std::io;
use std::path::Path;

use safer_ring::{Ring, fs};

/// Before.
async fn replace_with_tokio(path: &Path, bytes: Vec<u8>) -> io::Result<u64> {
    use tokio::io::AsyncWriteExt;

    let new = path.with_extension("new");
    let mut file = tokio::fs::File::create(&new).await?;
    file.write_all(&bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&new, path).await?;
    Ok(tokio::fs::metadata(path).await?.len())
}

/// After.
async fn replace_with_ring(ring: &Ring, path: &Path, bytes: Vec<u8>) -> io::Result<u64> {
    let new = path.with_extension("new");
    let file = fs::File::create(ring, &new).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(ring, &new, path).await?;
    Ok(fs::metadata(ring, path).await?.len())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.ok_or_else(|| io::Error::other("usage: from_tokio_fs DIRECTORY"))?;
    let (before, after) =
        (Path::new(&directory).join("before"), Path::new(&directory).join("after"));
    let ring = Ring::new(64)?;
    let bytes: Vec<u8> = "some settings\n".repeat(10_000).into_bytes();

    let lengths = (
        replace_with_tokio(&before, bytes.clone()).await?,
        replace_with_ring(&ring, &after, bytes).await?,
    );
    let contents = (tokio::fs::read(&before).await?, fs::read(&ring, &after).await?);
    if lengths.0 != lengths.1 || contents.0 != contents.1 {
        return Err(io::Error::other("the two differ"));
    }
    println!("both wrote the same {} bytes", lengths.0);
    Ok(())
}
