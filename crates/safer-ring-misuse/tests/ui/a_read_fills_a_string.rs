//@ expect: E0277
//@ says: safer-ring cannot read into `String`
use safer_ring::{Fd, Ring};

fn fill(ring: &Ring, file: &Fd) {
    drop(ring.read_at_owned(file, String::new(), 0));
}

fn main() {
    let _ = fill;
}
