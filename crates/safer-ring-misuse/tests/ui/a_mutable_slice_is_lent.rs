//@ expect: E0277
//@ says: cannot be lent
//@ says: pass an owned buffer such as `OwnedBuffer`, `Vec<u8>` or `Box<[u8]>`
use safer_ring::{Fd, Ring};

fn lend(ring: &Ring, file: &Fd, buffer: &'static mut [u8]) {
    drop(ring.write_at_owned(file, buffer, 0));
}

fn main() {
    let _ = lend;
}
