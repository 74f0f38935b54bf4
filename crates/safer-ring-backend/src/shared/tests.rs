//! Which thread gets which kernel ring.

use super::*;

#[test]
fn a_thread_keeps_its_kernel_ring_and_the_next_thread_takes_it_over() {
    let ring = SharedRing::open(Config::new(8)).unwrap();
    let first = ring.cell().unwrap().id();
    assert_eq!(ring.cell().unwrap().id(), first);
    let other = Arc::clone(&ring);
    let second = std::thread::spawn(move || other.cell().unwrap().id()).join().unwrap();
    assert_ne!(first, second);
    let other = Arc::clone(&ring);
    let third = std::thread::spawn(move || other.cell().unwrap().id()).join().unwrap();
    assert_eq!(second, third, "the ring of the ended thread is reused");
    assert_eq!(ring.snapshot().rings, 2);
}

#[test]
fn more_threads_than_rings_share_them() {
    let ring = SharedRing::open(Config { max_rings: 1, ..Config::new(8) }).unwrap();
    let first = ring.cell().unwrap().id();
    let other = Arc::clone(&ring);
    let second = std::thread::spawn(move || other.cell().unwrap().id()).join().unwrap();
    assert_eq!(first, second);
}
