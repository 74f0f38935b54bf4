//! With the feature `smol` its poller hears of completions.
#![cfg(feature = "smol")]
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::alone::alone;
use common::naps::assert_it_sleeps;
use common::net::{shared, unix_pair};
use common::within_deadline;
use safer_ring::{Fd, Ring, Shared};

async fn ping_pong(ring: Ring, rounds: usize) {
    let (a, b) = unix_pair::<Shared>();
    let other = ring.clone();
    let echo = smol::spawn(async move {
        for _ in 0..rounds {
            let buffer = other.recv(&b, vec![0; 1]).await.unwrap().1;
            other.send(&b, buffer).await.unwrap();
        }
    });
    let mut buffer = vec![7];
    for _ in 0..rounds {
        buffer = ring.send(&a, buffer).await.unwrap().1;
        buffer = ring.recv(&a, buffer).await.unwrap().1;
    }
    echo.await;
}

/// A receive whose bytes come from a thread that knows no ring.
async fn wait_for_a_thread(ring: &Ring) {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let near = Fd::new(near);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        std::io::Write::write_all(&mut &far, b"x").unwrap();
    });
    assert_eq!(ring.recv(&near, vec![0; 4]).await.unwrap().1, b"x");
    thread.join().unwrap();
}

#[test]
fn smol_hears_and_the_reactor_sleeps() {
    alone("smol_hears_and_the_reactor_sleeps", || {
        assert_it_sleeps("smol", |begin| {
            let ring = shared(8);
            smol::block_on(ping_pong(ring.clone(), 100));
            begin();
            smol::block_on(ping_pong(ring, 2000));
        });
    });
}

#[test]
fn executors_that_smol_does_not_know_are_served() {
    within_deadline(|| {
        let ring = shared(8);
        smol::block_on(wait_for_a_thread(&ring));
        pollster::block_on(wait_for_a_thread(&ring));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(wait_for_a_thread(&ring));
        smol::block_on(wait_for_a_thread(&ring));
        pollster::block_on(wait_for_a_thread(&ring));
    });
}
