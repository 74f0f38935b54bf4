//@ expect: E0382
//@ says: use of moved value: `buffer`
use safer_ring::{Batch, Fd};

fn both(batch: &mut Batch, file: &Fd) {
    let buffer = vec![0_u8; 16];
    let first = batch.read_at(file, buffer, 0);
    let second = batch.write_at(file, buffer, 0);
    drop((first, second));
}

fn main() {
    let _ = both;
}
