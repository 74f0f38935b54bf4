//@ expect: E0277
//@ says: `OwnedFd: From<i32>` is not satisfied
use safer_ring::Fd;

fn wrap(number: std::os::fd::RawFd) -> Fd {
    Fd::new(number)
}

fn main() {
    let _ = wrap;
}
