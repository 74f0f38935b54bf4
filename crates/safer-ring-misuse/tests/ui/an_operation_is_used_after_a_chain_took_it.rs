//@ expect: E0382
//@ says: use of moved value: `write`
use safer_ring::{Fd, Ring};

async fn twice(ring: Ring, file: Fd) {
    let write = ring.write_at_owned(&file, vec![1_u8], 0);
    let chain = write.then(ring.fsync(&file));
    drop(write.await);
    drop(chain.await);
}

fn main() {
    let _ = twice;
}
