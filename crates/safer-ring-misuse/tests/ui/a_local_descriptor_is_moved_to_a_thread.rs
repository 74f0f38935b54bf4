//@ expect: E0277
//@ says: cannot be sent between threads safely
use safer_ring::local::Fd;

fn elsewhere(file: Fd) {
    drop(std::thread::spawn(move || drop(file)));
}

fn main() {
    let _ = elsewhere;
}
