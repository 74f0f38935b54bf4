//@ expect: E0308
//@ says: mismatched types
use safer_ring::{Ring, local};

fn mix(ring: &Ring, file: &local::Fd) {
    drop(ring.fsync(file));
}

fn main() {
    let _ = mix;
}
