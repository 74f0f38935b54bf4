//@ expect: E0499
//@ says: cannot borrow `batch` as mutable more than once at a time
use safer_ring::Ring;

async fn late(ring: Ring) {
    let mut batch = ring.batch();
    let submission = batch.submit();
    let member = batch.nop();
    submission.await;
    drop(member.await);
}

fn main() {
    let _ = late;
}
