//! An operation borrows neither the ring nor the descriptor, so it outlives both and moves freely.
use safer_ring::{Fd, OwnedBuffer, Ring};

async fn spawned() -> std::io::Result<usize> {
    let read = {
        let ring = Ring::new(8)?;
        let file: Fd = Fd::new(std::fs::File::open("/proc/self/exe")?);
        ring.read_at_owned(&file, OwnedBuffer::new(4), 0)
    };
    let (count, buffer) = tokio::spawn(read).await.unwrap()?;
    assert_eq!(&buffer[..], b"\x7fELF");
    Ok(count)
}

/// Borrowed across an await, on a ring that may be shared by reference.
async fn borrowed(ring: &Ring, file: &Fd) -> std::io::Result<usize> {
    let (first, buffer) = ring.read_at_owned(file, vec![0; 2], 0).await?;
    let (second, _) = ring.read_at_owned(file, buffer, 2).await?;
    Ok(first + second)
}

fn sendable<T: Send + 'static>(value: T) -> T {
    value
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    assert_eq!(runtime.block_on(sendable(spawned())).unwrap(), 4);
    let ring = Ring::new(8).unwrap();
    let file: Fd = Fd::new(std::fs::File::open("/proc/self/exe").unwrap());
    assert_eq!(pollster::block_on(borrowed(&ring, &file)).unwrap(), 4);
    fn shareable<T: Send + Sync>(_: &T) {}
    shareable(&ring);
    shareable(&file);
}
