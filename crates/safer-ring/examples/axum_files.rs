//! Static files with axum on multi-thread tokio: its connections and files are the ring's. Ctrl-C ends it.
//!
//!     cargo run --release --example axum_files --features tokio -- DIRECTORY [ADDRESS]
mod site;

use std::{error::Error, io, net::SocketAddr, time::Duration};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header::CONTENT_LENGTH};
use axum::{Router, body::Body, response::IntoResponse, routing::get, serve};
use safer_ring::{Fd, Ring, io::AsyncStream, net};

/// How long a client may take for what has been written to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What axum accepts connections from. `safer_ring::io` makes of them what hyper reads and writes.
struct Listener(net::TcpListener);

impl serve::Listener for Listener {
    type Io = AsyncStream<net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true); // fails if the peer has gone: the first read tells
                    // A peer that does not read for so long has its connection ended.
                    return (stream.into_io().with_send_limit(Some(PATIENCE)), peer);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await, // no descriptor is left
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

type Site = State<(Ring, Fd)>;

async fn file(site: Site, Path(path): Path<String>) -> Result<impl IntoResponse, StatusCode> {
    let State((ring, root)) = site;
    let (len, parts) = site::open(&ring, &root, &path).await.map_err(|_| StatusCode::NOT_FOUND)?;
    Ok(([(CONTENT_LENGTH, len)], Body::from_stream(parts)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let root = Fd::new(std::fs::File::open(args.next().ok_or("which directory?")?)?);
    let ring = Ring::new(256)?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = net::TcpListener::bind(&ring, address).await?;
    println!("http://{}", listener.local_addr()?);
    let site = Router::new().route("/hello", get("hello")).route("/files/{*path}", get(file));
    // Answers that have begun are given in full.
    serve(Listener(listener), site.with_state((ring.clone(), root)))
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    println!("{:?}", ring.snapshot());
    Ok(())
}
