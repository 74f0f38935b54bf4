//! Static files with hyper, and a thread for each core: with its own listener, ring and connections. Ctrl-C ends it.
//!
//!     cargo run --release --example hyper_local --features hyper,runtime -- DIRECTORY [ADDRESS]
mod answer;
#[path = "../site/mod.rs"]
mod site;

use std::{error::Error, io, net::SocketAddr, rc::Rc, time::Duration, time::Instant};

use hyper::{server::conn::http1, service::service_fn};
use safer_ring::{Runtime, Snapshot, io::LocalTimer, local, runtime};

use answer::answer;

/// Listens at `address` beside the other threads; gives it.
async fn start(address: SocketAddr, root: String) -> io::Result<SocketAddr> {
    let (ring, root) = (runtime::ring(), Rc::new(local::Fd::new(std::fs::File::open(root)?)));
    let socket = local::TcpSocket::new_for(&ring, &address).await?;
    socket.set_reuseport(true)?;
    socket.bind(address).await?;
    let listener = socket.listen(1024).await?;
    let address = listener.local_addr();
    drop(runtime::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                runtime::sleep(Duration::from_millis(10)).await; // no descriptor is left
                continue;
            };
            let _ = stream.set_nodelay(true); // fails if the peer has gone: the first read tells
            let (ring, root) = (ring.clone(), root.clone());
            drop(runtime::spawn(async move {
                let mut server = http1::Builder::new();
                server.timer(LocalTimer::new(&ring)).header_read_timeout(Duration::from_secs(30));
                let service = service_fn(|request| answer(&ring, &root, request));
                server.serve_connection(stream.into_io(), service).await
            }));
        }
    }));
    address
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let root = args.next().ok_or("which directory?")?;
    let mut address = args.next().unwrap_or_else(|| "127.0.0.1:0".into()).parse()?;
    let runtime = Runtime::builder().thread_per_core().build()?;
    let threads = runtime.handle();
    for thread in 0..threads.threads() {
        let root = root.clone();
        address = runtime.block_on(threads.spawn_on(thread, move || start(address, root))?)??;
    }
    println!("http://{address}");
    runtime.block_on(runtime::signal::ctrl_c())?;
    let mut total = Snapshot::default();
    for thread in 0..threads.threads() {
        total +=
            runtime.block_on(threads.spawn_on(thread, async || runtime::ring().snapshot())?)?;
    }
    println!("{total:?}");
    let report = runtime.shutdown(Instant::now() + Duration::from_secs(5));
    if report.is_complete() { Ok(()) } else { Err(report.to_string().into()) }
}
