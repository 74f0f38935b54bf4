//@ expect: E0382
//@ says: use of moved value: `buffer`
use safer_ring::{Fd, Ring};

fn both(ring: &Ring, file: &Fd) {
    let buffer = vec![0_u8; 16];
    let first = ring.read_at_owned(file, buffer, 0);
    let second = ring.read_at_owned(file, buffer, 16);
    drop((first, second));
}

fn main() {
    let _ = both;
}
