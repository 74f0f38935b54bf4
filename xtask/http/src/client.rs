//! The clients: keep-alive connections, one request at a time on each, and clients that go away.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that takes longer for one answer has lost it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked for, and the body that must come.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Vec<u8>,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) route: &'a Route,
    pub(crate) connections: u64,
    /// Of a thousand requests, those in which the client goes away.
    pub(crate) aborts: u64,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were answered in full and rightly.
    pub(crate) answered: u64,
    /// Requests in which the client went away.
    pub(crate) aborted: u64,
    /// Errors that the client did not cause.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.aborted += other.aborted;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// Closed with a part of the request sent.
    MidRequest,
    /// Closed with a part of the answer taken.
    MidResponse,
    /// As one of the two, with a reset.
    Reset,
    /// The client ends its direction behind the request. A server may answer, or take it for gone.
    HalfClose,
}

/// Numbers that look random and are the same for the same seed: splitmix64.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit.max(1)
    }

    fn index(&mut self, limit: usize) -> usize {
        let below = self.below(u64::try_from(limit).unwrap_or(u64::MAX));
        usize::try_from(below).unwrap_or_default()
    }

    fn fate(&mut self, aborts: u64) -> Fate {
        if self.below(1000) >= aborts {
            return Fate::Whole;
        }
        match self.below(4) {
            0 => Fate::MidRequest,
            1 => Fate::MidResponse,
            2 => Fate::Reset,
            _ => Fate::HalfClose,
        }
    }
}

/// Runs a load until its time is over and all connections are closed. One thread.
pub(crate) fn run(load: Load<'_>) -> io::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let end = Instant::now() + load.time;
        let clients = (0..load.connections).map(|number| client(load, number, end));
        let mut total = Tally::default();
        for tally in futures_util::future::join_all(clients).await {
            total.add(tally);
        }
        Ok(total)
    })
}

/// One connection after the other, until `end`.
async fn client(load: Load<'_>, number: u64, end: Instant) -> Tally {
    let mut dice = Dice(load.seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    let mut tally = Tally::default();
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < end {
        if let Err(error) = connection(load, &mut dice, end, &mut buffer, &mut tally).await {
            tally.errors += 1;
            tally.first_error.get_or_insert_with(|| format!("{}: {error}", load.route.path));
            // A server that is gone would else be asked a million times.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    tally
}

/// Requests on one connection, until the client goes away or the time is over.
async fn connection(
    load: Load<'_>,
    dice: &mut Dice,
    end: Instant,
    buffer: &mut [u8],
    tally: &mut Tally,
) -> io::Result<()> {
    let mut stream = within(TcpStream::connect(load.address)).await?;
    stream.set_nodelay(true)?;
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", load.route.path);
    while Instant::now() < end {
        match dice.fate(load.aborts) {
            Fate::Whole => {
                within(stream.write_all(request.as_bytes())).await?;
                within(answer(&mut stream, &load.route.body, buffer)).await?;
                tally.answered += 1;
            }
            fate => {
                tally.aborted += 1;
                let leaves = leave(stream, fate, request.as_bytes(), load.route, dice, buffer);
                return match within(leaves).await {
                    Err(e) if matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::TimedOut) => {
                        Err(e)
                    }
                    // The client was on its way: whatever else happened is its own doing.
                    _ => Ok(()),
                };
            }
        }
    }
    Ok(())
}

/// A request in which the client goes away.
async fn leave(
    mut stream: TcpStream,
    fate: Fate,
    request: &[u8],
    route: &Route,
    dice: &mut Dice,
    buffer: &mut [u8],
) -> io::Result<()> {
    let partial = fate == Fate::MidRequest || fate == Fate::Reset && dice.below(2) == 0;
    let part = if partial { 1 + dice.index(request.len() - 1) } else { request.len() };
    stream.write_all(request.get(..part).unwrap_or(request)).await?;
    match fate {
        Fate::HalfClose => {
            stream.shutdown().await?;
            return answer(&mut stream, &route.body, buffer).await;
        }
        Fate::MidResponse => take(&mut stream, dice, route, buffer).await?,
        Fate::Reset if !partial => take(&mut stream, dice, route, buffer).await?,
        _ => {}
    }
    if fate == Fate::Reset {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Takes a part of the answer: at least a byte of it, and not all.
async fn take(
    stream: &mut TcpStream,
    dice: &mut Dice,
    route: &Route,
    buffer: &mut [u8],
) -> io::Result<()> {
    // A head is longer than 30 bytes, so this is never more than the answer.
    let mut left = 1 + dice.index(route.body.len() + 30);
    while left > 0 {
        let room = left.min(buffer.len());
        match stream.read(buffer.get_mut(..room).unwrap_or_default()).await? {
            0 => break,
            count => left -= count,
        }
    }
    Ok(())
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "no answer in time")),
    }
}

/// Receives one answer and compares it.
async fn answer(stream: &mut TcpStream, body: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    let wrong = |what: &str| Err(io::Error::new(ErrorKind::InvalidData, what.to_owned()));
    let mut filled = 0;
    let (head, begin) = loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        let got = buffer.get(..filled).unwrap_or_default();
        if let Some(end) = got.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break (String::from_utf8_lossy(got.get(..end).unwrap_or_default()), end + 4);
        }
    };
    if !head.starts_with("HTTP/1.1 200 ") {
        return wrong(&format!("not an answer: {head:?}"));
    }
    if length(&head) != Some(body.len()) {
        return wrong(&format!("a wrong length: {head:?}"));
    }
    let mut left = compare(body, buffer.get(begin..filled).unwrap_or_default())?;
    while !left.is_empty() {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the body was cut"));
        }
        left = compare(left, buffer.get(..count).unwrap_or_default())?;
    }
    Ok(())
}

/// What is to come behind `got`.
fn compare<'b>(expected: &'b [u8], got: &[u8]) -> io::Result<&'b [u8]> {
    expected
        .strip_prefix(got)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the body differs, or is too long"))
}

/// The length that a head gives.
fn length(head: &str) -> Option<usize> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const ROUTE: &str = "/x";

    /// Asks a server that gives `reply` to each request.
    fn load_on(reply: &'static str, aborts: u64) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut request = [0; 1000];
                    while matches!(stream.read(&mut request), Ok(1..)) {
                        if reply.is_empty() || stream.write_all(reply.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let route = Route { name: "x", path: ROUTE, body: b"right".to_vec() };
        let time = Duration::from_millis(100);
        run(Load { address, route: &route, connections: 2, aborts, seed: 1, time }).unwrap()
    }

    #[test]
    fn right_answers_are_counted() {
        let tally = load_on("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright", 0);
        assert!(tally.answered > 0);
        assert_eq!((tally.errors, tally.aborted), (0, 0), "{tally:?}");
    }

    #[test]
    fn wrong_answers_are_errors() {
        for reply in [
            "",
            "HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nright",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrigh",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright and more",
        ] {
            let tally = load_on(reply, 0);
            assert!(tally.errors > 0 && tally.answered == 0, "{reply}: {tally:?}");
            assert!(tally.first_error.is_some());
        }
    }

    #[test]
    fn going_away_is_no_error() {
        let tally = load_on("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright", 1000);
        assert!(tally.aborted > 0);
        assert_eq!((tally.errors, tally.answered), (0, 0), "{tally:?}");
    }

    #[test]
    fn the_same_seed_has_the_same_fates() {
        let fates = |seed| {
            let mut dice = Dice(seed);
            (0..100).map(|_| dice.fate(500)).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        for fate in [Fate::Whole, Fate::MidRequest, Fate::MidResponse, Fate::Reset, Fate::HalfClose]
        {
            assert!(fates(7).contains(&fate), "{fate:?}");
        }
    }
}
