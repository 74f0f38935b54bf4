//@ expect: E0277
//@ says: safer-ring cannot read into `&mut [u8]`
//@ says: the kernel may use the memory after the borrow ends
use safer_ring::{Fd, Ring};

fn fill(ring: &Ring, file: &Fd, buffer: &'static mut [u8]) {
    drop(ring.read_at_owned(file, buffer, 0));
}

fn main() {
    let _ = fill;
}
