//! A server and its clients, by the types of `net`: each client gets back what it has said, by way of a file.

use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::time::Duration;

use safer_ring::fs::File;
use safer_ring::net::{Keepalive, TcpListener, TcpStream, UdpSocket};
use safer_ring::sim::JoinHandle;
use safer_ring::{Mode, Shutdown};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate};

/// Starts the server and its clients.
pub(crate) async fn start<M: Mode>(
    lane: Lane<M>,
    acts: Vec<Act>,
) -> Result<Vec<JoinHandle<Verdict>>, String> {
    let clients = acts.iter().filter(|act| matches!(act, Act::Talk { .. })).count();
    let set_up = async {
        // Whoever wants any port gets a free one, and is asked which.
        let listener = TcpListener::bind(&lane.ring, "localhost:0").await?;
        let told = UdpSocket::bind(&lane.ring, "localhost:0").await?;
        Ok((listener.local_addr()?, listener, told))
    };
    let made: io::Result<_> = set_up.await;
    let (to, listener, told) = made.map_err(|error| lane.wrong(format_args!("set-up: {error}")))?;
    let world = lane.world.clone();
    let asking = ask_all(lane.clone(), acts, to, told);
    Ok(vec![world.spawn(asking), world.spawn(serve(lane, listener, clients))])
}

async fn ask_all<M: Mode>(
    lane: Lane<M>,
    acts: Vec<Act>,
    to: SocketAddr,
    told: UdpSocket<M>,
) -> Verdict {
    let mut place = 0;
    for act in acts {
        match act {
            Act::Pause { us } => lane.pause(us).await?,
            Act::Talk { len, ask, fate } => {
                let data = bytes(lane.number, place, len);
                place += len;
                let back = talk(&lane, to, &told, data.clone(), ask, fate).await;
                let back = back.map_err(|error| lane.wrong(format_args!("a client: {error}")))?;
                if back != data {
                    return Err(lane.wrong(format_args!("of {len} bytes others came back")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// An assertion that is an error of the talk.
fn must(yes: bool, what: &str) -> io::Result<()> {
    if yes { Ok(()) } else { Err(io::Error::other(format!("not so: {what}"))) }
}

/// Sets some options, and asks for all.
fn options<M: Mode>(stream: &TcpStream<M>, ask: u8) -> io::Result<()> {
    let on = |bit: u8| ask & bit != 0;
    stream.set_nodelay(on(1))?;
    let linger = on(2).then_some(Duration::from_secs(3));
    stream.set_linger(linger)?;
    let probes = Keepalive { probes: Some(5), ..Keepalive::default() };
    stream.set_keepalive(on(4).then_some(probes))?;
    must(stream.nodelay()? == on(1) && stream.linger()? == linger, "options are kept")?;
    let kept = stream.keepalive()?.map(|keepalive| keepalive.probes);
    must(kept == on(4).then_some(Some(5)), "keepalive is kept")?;
    if on(8) {
        stream.set_recv_buffer_size(2000)?;
        must(stream.recv_buffer_size()? == 4000, "a buffer has twice the size")?;
    }
    must(stream.take_error()?.is_none(), "nothing is wrong with the socket")
}

async fn talk<M: Mode>(
    lane: &Lane<M>,
    to: SocketAddr,
    told: &UdpSocket<M>,
    data: Vec<u8>,
    ask: u8,
    fate: Fate,
) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(&lane.ring, to).await?;
    options(&stream, ask)?;
    let own = stream.local_addr()?;
    must(stream.peer_addr()? == to && own.port() != to.port(), "the addresses of a connection")?;
    let len = data.len();
    stream.write_all(data).await?;
    if ask & 1 == 0 {
        stream.shutdown(Shutdown::Write).await?;
    } else {
        // The server is told by a datagram how much there is.
        let mut reports = told.recv_from(vec![0; 64]);
        let number = UdpSocket::bind(&lane.ring, "localhost:0").await?;
        number.connect(told.local_addr()?).await?;
        must(number.peer_addr()? == told.local_addr()?, "the peer of a datagram socket")?;
        number.send(len.to_le_bytes().to_vec()).await?;
        let got = (&mut reports).await?;
        must(got.address == number.local_addr()? && !got.truncated, "who has sent a datagram")?;
        must(got.buffer == len.to_le_bytes(), "what was sent")?;
        stream.shutdown(Shutdown::Write).await?;
    }
    let mut back = Vec::new();
    // One receive has a fate, and whatever becomes of it nothing is lost.
    match meet(stream.read(vec![0; len]), fate).await {
        Met::Ended(Ok((count, some))) => back.extend(some.into_iter().take(count)),
        Met::Ended(Err(failed)) if failed.error.kind() == io::ErrorKind::TimedOut => {}
        Met::Ended(Err(failed)) => return Err(failed.error),
        Met::Cancelled | Met::Unborn | Met::Dropped => {}
    }
    let at = lane.ring.now() + Duration::from_secs(3600);
    while back.len() < len {
        let (count, some) = stream.read(vec![0; len - back.len()]).deadline(at).await?;
        must(count > 0, "all of it comes back")?;
        back.extend(some.into_iter().take(count));
    }
    must(stream.read(vec![0; 9]).await?.0 == 0, "then it ends")?;
    Ok(back)
}

async fn serve<M: Mode>(lane: Lane<M>, listener: TcpListener<M>, clients: usize) -> Verdict {
    let path = format!("/tmp/talks{}", lane.number);
    for client in 0..clients {
        let answered = answer(&lane, &listener, &path).await;
        answered.map_err(|error| lane.wrong(format_args!("the server of {client}: {error}")))?;
    }
    let closed = listener.close().await;
    closed.map_err(|failed| lane.wrong(format_args!("the end of the server: {}", failed.error)))
}

/// Takes a client, keeps what it says at the end of a file, and says what is there.
async fn answer<M: Mode>(lane: &Lane<M>, listener: &TcpListener<M>, path: &str) -> io::Result<()> {
    let (stream, from) = listener.accept().await?;
    must(stream.peer_addr()? == from, "who was accepted")?;
    must(stream.local_addr()? == listener.local_addr()?, "where it was accepted")?;
    let options = safer_ring::fs::OpenOptions::new().read(true).write(true).create(true);
    let file: File<M> = options.open(&lane.ring, path).await?;
    let begun = file.seek(SeekFrom::End(0)).await?;
    loop {
        let (count, some) = stream.read(vec![0; 999]).await?;
        if count == 0 {
            break;
        }
        file.write_all(some.into_iter().take(count).collect::<Vec<u8>>()).await?;
    }
    let ended = file.stream_position().await?;
    let len = usize::try_from(ended - begun).unwrap_or(0);
    file.seek(SeekFrom::Current(-i64::try_from(len).unwrap_or(0))).await?;
    let said = file.read_exact(vec![0; len]).await?;
    stream.write_all(said).await?;
    file.close().await.map_err(|failed| failed.error)?;
    stream.close().await.map_err(|failed| failed.error)
}
