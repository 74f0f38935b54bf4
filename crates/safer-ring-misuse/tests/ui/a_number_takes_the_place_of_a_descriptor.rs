//@ expect: E0308
//@ says: mismatched types
use safer_ring::Ring;

fn number(ring: &Ring) {
    drop(ring.read_at_owned(3, vec![0_u8; 16], 0));
}

fn main() {
    let _ = number;
}
