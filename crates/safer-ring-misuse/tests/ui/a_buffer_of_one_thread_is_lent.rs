//@ expect: E0277
//@ says: safer-ring does not accept `Rc<[u8]>` as a buffer
use std::rc::Rc;

use safer_ring::{Fd, Ring};

fn lend(ring: &Ring, file: &Fd, buffer: Rc<[u8]>) {
    drop(ring.write_at_owned(file, buffer, 0));
}

fn main() {
    let _ = lend;
}
