//@ expect: E0382
//@ says: use of moved value: `sync`
use safer_ring::{Fd, Ring};

async fn twice(ring: Ring, file: Fd) {
    let mut batch = ring.batch();
    let sync = ring.fsync(&file);
    let member = batch.add(sync);
    drop(sync.await);
    drop(member.await);
}

fn main() {
    let _ = twice;
}
