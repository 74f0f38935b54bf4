//@ expect: E0277
//@ says: `Mine: safer_ring::Mode` is not satisfied
use safer_ring::RingOf;

enum Mine {}

fn hold(_: RingOf<Mine>) {}

fn main() {
    let _ = hold;
}
