//! A server that takes what one read brings for one request, and the seeds that show it: `cargo run --example sim_server`.
//!
//! The server is an ordinary one, of the types of `net`: it does not know that it is tested.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use safer_ring::net::{TcpListener, TcpStream};
use safer_ring::sim::{Config, World};
use safer_ring::{Mode, RingOf};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a request ends.
#[derive(Clone, Copy)]
enum Request {
    /// At a line break.
    Line,
    /// Where a read ends: right as long as each request comes in one piece.
    Read,
}

/// Answers each request, a number in a line, with the sum of this client's numbers so far.
async fn answer<M: Mode>(stream: TcpStream<M>, request: Request) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut begun, mut sum) = (vec![0; 64], Vec::new(), 0);
    loop {
        let count;
        (count, buffer) = stream.read(buffer).timeout(PATIENCE).await?;
        if count == 0 {
            return stream.close().await.map_err(Into::into);
        }
        begun.extend(buffer.iter().take(count));
        if let Request::Read = request {
            begun.push(b'\n');
        }
        while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            if let Ok(number) = text.trim().parse::<u64>() {
                sum += number;
                stream.write_all(format!("{sum}\n")).await?;
            }
        }
    }
}

/// Takes clients, one after the other. One that is silent for too long, or goes away, is the end of that client only.
async fn serve<M: Mode>(listener: TcpListener<M>, clients: usize, request: Request) {
    for _ in 0..clients {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = answer(stream, request).await;
        }
    }
}

/// A client: sends numbers, and gives what it was told.
async fn ask<M: Mode>(ring: RingOf<M>, to: SocketAddr, numbers: [u64; 3]) -> io::Result<String> {
    let stream = TcpStream::connect(&ring, to).await?;
    for number in numbers {
        stream.write_all(format!("{number}\n")).await?;
    }
    stream.shutdown(std::net::Shutdown::Write).await?;
    let (mut told, mut buffer) = (Vec::new(), vec![0; 64]);
    loop {
        let count;
        (count, buffer) = stream.read(buffer).await?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&told).into_owned());
        }
        told.extend(buffer.iter().take(count));
    }
}

/// A client that was told something wrong: seed, numbers, answer.
type Wrong = (u64, [u64; 3], String);

/// The first seed with which that happens.
fn first_wrong(seeds: u64, request: Request) -> Result<Option<Wrong>, Box<dyn Error>> {
    for seed in 0..seeds {
        let world = World::new(Config::new(seed));
        let ring = world.ring()?;
        let clients = 3;
        let listener = world.block_on(TcpListener::bind(&ring, "127.0.0.1:0"))??;
        let to = listener.local_addr()?;
        let server = world.spawn(serve(listener, clients, request));
        let mut asked = Vec::new();
        for _ in 0..clients {
            let numbers = [world.random(1000), world.random(1000), world.random(1000)];
            asked.push((numbers, world.spawn(ask(ring.clone(), to, numbers))));
        }
        let mut wrong = None;
        world.block_on(async {
            for (numbers, told) in asked {
                let told = told.await?;
                let [a, b, c] = numbers;
                if told != format!("{a}\n{}\n{}\n", a + b, a + b + c) {
                    wrong.get_or_insert((seed, numbers, told.replace('\n', " ")));
                }
            }
            server.await;
            io::Result::Ok(())
        })??;
        if wrong.is_some() {
            return Ok(wrong);
        }
    }
    Ok(None)
}

fn main() -> Result<(), Box<dyn Error>> {
    for (name, request) in [("a read is a request", Request::Read), ("a line is", Request::Line)] {
        match first_wrong(300, request)? {
            Some((seed, numbers, told)) => {
                println!("{name}: seed {seed}: {numbers:?} was answered with {told}");
            }
            None => println!("{name}: 300 worlds, every answer right"),
        }
    }
    Ok(())
}
