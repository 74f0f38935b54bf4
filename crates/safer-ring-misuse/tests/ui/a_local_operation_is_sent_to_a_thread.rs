//@ expect: E0277
//@ says: cannot be sent between threads safely
use safer_ring::local::{Fd, Ring};

fn send(ring: &Ring, file: &Fd) {
    fn sendable<T: Send>(_: T) {}
    sendable(ring.read_at_owned(file, vec![0_u8; 16], 0));
}

fn main() {
    let _ = send;
}
