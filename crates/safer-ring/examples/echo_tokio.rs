//! An echo server on multi-thread tokio: `echo_tokio [ADDRESS]`, until ctrl-c.
//!
//! Connections are tasks that tokio runs on any thread. With the feature `tokio`, tokio's own poller hears of
//! completions; without it, a thread of the library does.

use std::io;
use std::pin::pin;
use std::time::Duration;

use safer_ring::net::{TcpListener, TcpStream};
use safer_ring::{OwnedBuffer, Ring};

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let ring = Ring::new(256)?;
    let listener = TcpListener::bind(&ring, address).await?;
    println!("listening on {}", listener.local_addr()?);

    let mut connections = 0;
    let mut stop = pin!(tokio::signal::ctrl_c());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections += 1;
                tokio::spawn(async move {
                    if let Err(error) = echo(stream).await {
                        eprintln!("{peer}: {error}");
                    }
                });
            }
            Err(error) => {
                eprintln!("accept: {error}"); // out of descriptors, say: wait for some to be closed
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    println!("served {connections} connections");
    Ok(())
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = OwnedBuffer::new(4096);
    loop {
        let (received, filled) = stream.read(buffer).await?;
        if received == 0 {
            return Ok(());
        }
        buffer = stream.write_all(filled).await?;
    }
}
