//@ expect: E0382
//@ says: borrow of moved value: `file`
use safer_ring::{Fd, Ring};

async fn late(ring: Ring, file: Fd) {
    drop(ring.close(file).await);
    drop(ring.fsync(&file).await);
}

fn main() {
    let _ = late;
}
