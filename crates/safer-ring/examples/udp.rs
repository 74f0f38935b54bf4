//! Datagrams. `udp echo [ADDRESS]` answers each with itself, until it is ended; `udp ping ADDRESS [COUNT]` asks it.

use std::io;
use std::time::{Duration, Instant};

use safer_ring::{OwnedBuffer, local};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ring = local::Ring::new(64)?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["echo"] => ring.block_on(echo(&ring, "127.0.0.1:7000")),
        ["echo", address] => ring.block_on(echo(&ring, address)),
        ["ping", address] => ring.block_on(ping(&ring, address, 4)),
        ["ping", address, count] => {
            ring.block_on(ping(&ring, address, count.parse().map_err(io::Error::other)?))
        }
        _ => Err(io::Error::other("usage: udp echo [ADDRESS] | udp ping ADDRESS [COUNT]")),
    }
}

async fn echo(ring: &local::Ring, address: &str) -> io::Result<()> {
    let socket = local::UdpSocket::bind(ring, address).await?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = OwnedBuffer::new(65_536);
    loop {
        let datagram = socket.recv_from(buffer).await?;
        buffer = match socket.send_to(datagram.buffer, datagram.address).await {
            Ok((_, buffer)) => buffer,
            Err(error) => {
                eprintln!("{}: {}", datagram.address, error.error); // that peer's problem only
                error.into_buffer()
            }
        };
    }
}

async fn ping(ring: &local::Ring, address: &str, count: u64) -> io::Result<()> {
    let socket = local::UdpSocket::bind(ring, "0.0.0.0:0").await?;
    socket.connect(address).await?;
    let mut answers = 0;
    for number in 0..count {
        let (sent, message) = (Instant::now(), number.to_be_bytes());
        socket.send(message.to_vec()).await?;
        // The time limit ends the receive itself. An answer that comes later has an old number.
        let give_up = sent + Duration::from_secs(1);
        while let Ok((_, answer)) = socket.recv(vec![0; 64]).deadline(give_up).await {
            if answer == message {
                println!("answer {number} after {:.1?}", sent.elapsed());
                answers += 1;
                break;
            }
        }
    }
    println!("{answers} of {count} answered");
    Ok(())
}
