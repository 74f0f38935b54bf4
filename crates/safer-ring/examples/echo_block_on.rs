//! An echo server on one thread, without a runtime: `echo_block_on [ADDRESS [CONNECTIONS]]`.
//!
//! The ring's own `block_on` runs all connections as one future. It ends after so many connections, or never.

use std::io;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use safer_ring::{OwnedBuffer, local};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let limit = match arguments.next() {
        Some(number) => number.parse().map_err(io::Error::other)?,
        None => usize::MAX,
    };
    let ring = local::Ring::new(256)?;
    ring.block_on(async {
        let listener = local::TcpListener::bind(&ring, address).await?;
        println!("listening on {}", listener.local_addr()?);
        let accepts = stream::unfold((), |()| async { Some((accept(&listener).await, ())) });
        let connections = accepts.take(limit).for_each_concurrent(None, |stream| async {
            if let Err(error) = echo(stream).await {
                eprintln!("{error}");
            }
        });
        connections.await;
        println!("served {limit} connections");
        Ok(())
    })
}

/// The next connection.
async fn accept(listener: &local::TcpListener) -> local::TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => eprintln!("accept: {error}"),
        }
        // Out of descriptors, say: wait for some to be closed.
        let _ = listener.ring().timeout(Duration::from_millis(100)).await;
    }
}

async fn echo(stream: local::TcpStream) -> io::Result<()> {
    let mut buffer = OwnedBuffer::new(4096);
    loop {
        let (received, filled) = stream.read(buffer).await?;
        if received == 0 {
            return Ok(());
        }
        buffer = stream.write_all(filled).await?;
    }
}
