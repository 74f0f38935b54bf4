//@ expect: E0277
//@ says: safer-ring does not accept `[u8; 16]` as a buffer
use safer_ring::{Fd, Ring};

fn lend(ring: &Ring, file: &Fd) {
    drop(ring.write_at_owned(file, [0_u8; 16], 0));
}

fn main() {
    let _ = lend;
}
