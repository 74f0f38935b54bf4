//@ expect: E0382
//@ says: borrow of moved value: `buffer`
use safer_ring::{Fd, Ring};

async fn peek(ring: Ring, file: Fd) -> usize {
    let buffer = vec![0_u8; 16];
    let read = ring.read_at_owned(&file, buffer, 0);
    let early = buffer.len();
    drop(read.await);
    early
}

fn main() {
    let _ = peek;
}
