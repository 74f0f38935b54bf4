//@ expect: E0277
//@ says: safer-ring cannot read into `Arc<[u8]>`
use std::sync::Arc;

use safer_ring::{Fd, Ring};

fn fill(ring: &Ring, file: &Fd, buffer: Arc<[u8]>) {
    drop(ring.read_at_owned(file, buffer, 0));
}

fn main() {
    let _ = fill;
}
