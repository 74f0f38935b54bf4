//@ expect: E0597
//@ says: `bytes` does not live long enough
use safer_ring::{Fd, Ring};

fn lend(ring: &Ring, file: &Fd) {
    let bytes = [0_u8; 16];
    drop(ring.write_at_owned(file, &bytes[..], 0));
}

fn main() {
    let _ = lend;
}
