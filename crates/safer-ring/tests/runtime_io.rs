//! Servers and files in tasks of a runtime, and what waiting costs.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use common::alone::{alone, cpu_time};
use common::net::unix_pair;
use common::{pattern, within_deadline};
use futures_util::future::join_all;
use safer_ring::runtime::{self, Handle};
use safer_ring::{Fd, Runtime, local};

/// Sends back what a client sends, until that closes.
async fn echo(client: local::TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let (count, got) = client.read(buffer).await?;
        if count == 0 {
            return Ok(());
        }
        buffer = client.write_all(got).await?;
    }
}

/// A client that sends and checks some messages.
fn talk(address: SocketAddr, rounds: usize) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let message = pattern(3_000);
    for _ in 0..rounds {
        stream.write_all(&message).unwrap();
        let mut got = vec![0; message.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == message);
    }
}

#[test]
fn an_echo_server_accepts_on_one_thread_and_serves_on_all() {
    const CLIENTS: usize = 12;
    within_deadline(|| {
        let runtime = Runtime::builder().threads(3).build().unwrap();
        runtime.block_on(async {
            let ring = runtime::ring();
            let listener = local::TcpListener::bind(&ring, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| runtime::spawn_blocking(move || talk(address, 20))).collect();
            let handle = Handle::try_current().unwrap();
            let mut served = Vec::new();
            for number in 0..CLIENTS {
                let (client, _) = listener.accept().await.unwrap();
                // The descriptor goes to the other thread, the handle of this ring does not.
                let client = client.into_std().unwrap();
                let serve = move || async move {
                    let client = local::TcpStream::from_std(&runtime::ring(), client);
                    echo(client).await?;
                    std::io::Result::Ok(runtime::thread_index().unwrap())
                };
                served.push(handle.spawn_on(number % 3, serve).unwrap());
            }
            join_all(clients).await.into_iter().for_each(Result::unwrap);
            let on = join_all(served).await.into_iter().map(|on| on.unwrap().unwrap());
            assert_eq!(on.collect::<Vec<_>>(), (0..CLIENTS).map(|n| n % 3).collect::<Vec<_>>());
        });
    });
}

#[test]
fn threads_that_listen_on_one_port_each_serve_their_own() {
    within_deadline(|| {
        let runtime = Runtime::builder().threads(2).build().unwrap();
        let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let serve = |listener: std::net::TcpListener| {
            move || async move {
                let ring = runtime::ring();
                let listener = local::TcpListener::from_std(&ring, listener);
                while let Ok((client, _)) = listener.accept().await {
                    drop(runtime::spawn(echo(client)));
                }
            }
        };
        for thread in [0, 1] {
            let task = serve(first.try_clone().unwrap());
            drop(runtime.handle().spawn_on(thread, task).unwrap());
        }
        runtime.block_on(async {
            let clients: Vec<_> =
                (0..8).map(|_| runtime::spawn_blocking(move || talk(address, 10))).collect();
            join_all(clients).await.into_iter().for_each(Result::unwrap);
        });
        // The servers never end by themselves.
        let report = runtime.shutdown(std::time::Instant::now() + Duration::from_secs(10));
        assert!(report.is_complete(), "{report}");
    });
}

#[test]
fn a_thousand_tasks_read_one_file() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let content = pattern(100_000);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let file: local::Fd = Fd::new(file);
        runtime.block_on(async {
            let tasks: Vec<_> = (0..1_000_u64)
                .map(|at| {
                    let file = file.clone();
                    runtime::spawn(async move {
                        let buffer = vec![0; 100];
                        runtime::ring().read_at_owned(&file, buffer, at * 100).await.unwrap().1
                    })
                })
                .collect();
            let read = join_all(tasks).await.into_iter().flat_map(Result::unwrap);
            assert!(read.eq(content));
        });
    });
}

#[test]
fn waiting_uses_no_cpu_in_a_runtime() {
    alone("waiting_uses_no_cpu_in_a_runtime", || {
        let runtime = Runtime::builder().threads(2).build().unwrap();
        let (handle, mut others) = (runtime.handle(), Vec::new());
        runtime.block_on(async {
            for thread in [0, 1] {
                for _ in 0..50 {
                    let park = || async {
                        let (a, _b) = unix_pair();
                        runtime::ring().recv(&a, vec![0; 4]).await.unwrap();
                    };
                    others.push(handle.spawn_on(thread, park).unwrap());
                    let sleep = || runtime::sleep(Duration::from_secs(600));
                    others.push(handle.spawn_on(thread, sleep).unwrap());
                }
            }
            // All are started, and every thread has been woken by another one.
            handle.spawn_on(1, || async {}).unwrap().await.unwrap();
            runtime::sleep(Duration::from_millis(50)).await;
            let before = cpu_time();
            runtime::sleep(Duration::from_secs(2)).await;
            let used = cpu_time() - before;
            assert!(used < Duration::from_millis(50), "{used:?}");
        });
        assert!(others.iter().all(|task| !task.is_finished()));
    });
}
