//@ expect: E0308
//@ says: mismatched types
use safer_ring::Ring;

fn chain(ring: &Ring) {
    drop(ring.nop().then(async {}));
}

fn main() {
    let _ = chain;
}
