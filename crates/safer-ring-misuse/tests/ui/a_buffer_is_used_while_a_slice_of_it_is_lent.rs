//@ expect: E0382
//@ says: borrow of moved value: `buffer`
use safer_ring::{Fd, IoBuf, OwnedBuffer, Ring};

fn first(ring: &Ring, file: &Fd) -> usize {
    let buffer = OwnedBuffer::new(64);
    let read = ring.read_at_owned(file, buffer.slice(8..16), 0);
    let length = buffer.len();
    drop(read);
    length
}

fn main() {
    let _ = first;
}
