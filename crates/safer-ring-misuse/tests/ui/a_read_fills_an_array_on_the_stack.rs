//@ expect: E0277
//@ says: safer-ring cannot read into `[u8; 16]`
//@ says: put it into a `Box`
use safer_ring::{Fd, Ring};

fn fill(ring: &Ring, file: &Fd) {
    drop(ring.read_at_owned(file, [0_u8; 16], 0));
}

fn main() {
    let _ = fill;
}
