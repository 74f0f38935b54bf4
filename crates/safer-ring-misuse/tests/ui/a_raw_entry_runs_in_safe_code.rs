//@ expect: E0133
//@ says: is unsafe and requires unsafe
use safer_ring::{Ring, sys::Sqe};

fn raw(ring: &Ring) {
    drop(ring.raw(Sqe::default(), None, ()));
}

fn main() {
    let _ = raw;
}
