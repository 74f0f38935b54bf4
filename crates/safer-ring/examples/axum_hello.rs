//! axum on multi-thread tokio, whose connections are the ring's. Ctrl-C ends it.
//!
//!     cargo run --release --example axum_hello --features tokio -- [ADDRESS]
use axum::{Router, extract::Path, routing::get, serve};
use safer_ring::{Ring, io::AsyncStream, net};

struct Listener(net::TcpListener);

impl serve::Listener for Listener {
    type Io = AsyncStream<net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, peer)) = self.0.accept().await {
                return (stream.into_io(), peer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await; // no descriptor is left
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = net::TcpListener::bind(&Ring::new(256)?, address).await?;
    println!("http://{}", listener.local_addr()?);
    let hello = async |Path(name): Path<String>| format!("hello {name}");
    serve(Listener(listener), Router::new().route("/hello/{name}", get(hello)))
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await
}
