//@ expect: E0277
//@ says: cannot be sent between threads safely
use safer_ring::local::Ring;

fn elsewhere(ring: Ring) {
    drop(std::thread::spawn(move || drop(ring)));
}

fn main() {
    let _ = elsewhere;
}
