//@ expect: E0277
//@ says: From<BorrowedFd
use safer_ring::Fd;

fn wrap(borrowed: std::os::fd::BorrowedFd<'static>) -> Fd {
    Fd::new(borrowed)
}

fn main() {
    let _ = wrap;
}
