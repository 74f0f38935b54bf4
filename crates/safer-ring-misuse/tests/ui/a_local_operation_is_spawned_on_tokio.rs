//@ expect: E0277
//@ says: cannot be sent between threads safely
use safer_ring::local::Ring;

fn spawn(ring: &Ring) {
    drop(tokio::spawn(ring.nop()));
}

fn main() {
    let _ = spawn;
}
