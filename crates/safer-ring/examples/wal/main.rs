//! A write-ahead log. `wal append FILE`: each line of the standard input becomes a record; "durable N" is printed when
//! the first N records of the file survive a crash. `wal read FILE` prints the records.
//!
//! Group commit: while one write and its fdatasync(2) are under way, lines gather, and all of them are the next write.
//! Write and sync are a chain, one submission: the sync does not run if the write fails or is short.
#![expect(clippy::as_conversions, reason = "on 64-bit Linux, lengths are as wide as offsets")]

mod record;

use std::{env, fs, io, iter, thread};

use safer_ring::{OpenOptions, local};

use record::{EXTRA, encode, records};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("append"), Some(path)) => {
            let ring = local::Ring::new(8)?;
            ring.block_on(append(&ring, &path))
        }
        (Some("read"), Some(path)) => {
            let log = fs::read(path)?;
            records(&log).for_each(|line| println!("{}", String::from_utf8_lossy(line)));
            Ok(())
        }
        _ => Err(io::Error::other("usage: wal append|read FILE")),
    }
}

async fn append(ring: &local::Ring, path: &str) -> io::Result<()> {
    let (sender, lines) = async_channel::bounded::<String>(1024);
    thread::spawn(move || {
        io::stdin().lines().try_for_each(|line| sender.send_blocking(line.ok()?).ok())
    });
    let file = ring.open(path, &OpenOptions::new().write(true).create(true)).await?;
    // What a crash has left behind the last whole record goes.
    let before = fs::read(path)?;
    let mut count = records(&before).count();
    let mut end = records(&before).map(|record| (EXTRA + record.len()) as u64).sum();
    ring.ftruncate(&file, end).await?;
    ring.fsync(&file).await?;
    let directory = fs::canonicalize(path)?.parent().map(fs::File::open).transpose()?;
    directory.as_ref().map(fs::File::sync_all).transpose()?; // the name of a new file
    let mut group = Vec::new();
    while let Ok(first) = lines.recv().await {
        let others = iter::from_fn(|| lines.try_recv().ok());
        for line in iter::once(first).chain(others).take(1000) {
            group.extend(encode(&line).as_bytes());
            count += 1;
        }
        let write = ring.write_at_owned(&file, group, end);
        let (written, synced) = write.then(ring.fdatasync(&file)).await;
        (_, group) = written?;
        synced?;
        end += group.len() as u64;
        group.clear();
        println!("durable {count}");
    }
    Ok(())
}
