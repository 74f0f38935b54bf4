//! An echo server with a thread and a ring for each core: `echo_runtime [ADDRESS]`, until ctrl-c.
//!
//! All threads accept from one listening socket. A connection stays on the thread that accepted it.

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use safer_ring::runtime::signal::{Signal, SignalKind};
use safer_ring::{OwnedBuffer, Runtime, local, runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let runtime = Runtime::builder().thread_per_core().build()?;
    let listener = TcpListener::bind(address)?;
    runtime.block_on(async {
        let mut stop = Signal::new(SignalKind::interrupt())?;
        for thread in 0..runtime.handle().threads() {
            let listener = listener.try_clone()?;
            drop(runtime.handle().spawn_on(thread, move || serve(listener))?);
        }
        println!("listening on {}", listener.local_addr()?);
        stop.recv().await?;
        Ok::<(), Box<dyn Error>>(())
    })?;
    // Ends the tasks, and waits for what they have still in flight.
    println!("{}", runtime.shutdown(Instant::now() + Duration::from_secs(5)));
    Ok(())
}

async fn serve(listener: TcpListener) {
    let listener = local::TcpListener::from_std(&runtime::ring(), listener);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(runtime::spawn(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("{peer}: {error}");
                }
            })),
            Err(error) => {
                eprintln!("accept: {error}"); // out of descriptors, say: wait for some to be closed
                runtime::sleep(Duration::from_millis(100)).await;
            }
        }
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
