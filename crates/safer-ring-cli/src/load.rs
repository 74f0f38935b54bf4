//! The load side of the echo scenarios: a process of its own, so that the server's CPU time is the server's alone.
//!
//! The parent writes `run N` to its standard input; it sends N messages over its connections, one outstanding on each,
//! checks what comes back, and answers with one line of JSON: the histogram of the round-trip times.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::plan::MESSAGE;
use crate::bench::stats::Histogram;
use crate::data::mark;
use crate::num::count;

/// Arguments of the load process.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// TCP port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Number of connections
    #[arg(long)]
    conns: u32,
}

/// A load process with its connections, seen from the server.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Load {
    /// Starts the process and accepts its connections: blocking, with `TCP_NODELAY`.
    pub(crate) fn start(exe: &Path, conns: u32) -> io::Result<(Vec<TcpStream>, Self)> {
        raise_open_files();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut child = Command::new(exe)
            .arg("echo-load")
            .args(["--port", &listener.local_addr()?.port().to_string()])
            .args(["--conns", &conns.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let reports = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let load = Self { child, orders, reports: BufReader::new(reports) };
        let mut streams = Vec::new();
        for _ in 0..conns {
            streams.push(accept(&listener)?);
        }
        Ok((streams, load))
    }

    /// Orders `ops` messages; returns at once.
    pub(crate) fn order(&mut self, ops: u64) -> io::Result<()> {
        match &mut self.orders {
            Some(pipe) => writeln!(pipe, "run {ops}"),
            None => Err(io::Error::other("the load process has ended")),
        }
    }

    /// The round-trip times of what was ordered last.
    pub(crate) fn report(&mut self) -> io::Result<Histogram> {
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        let pairs: Vec<(usize, u64)> = serde_json::from_str(&line)
            .map_err(|_| io::Error::other("the load process failed; its message is above"))?;
        let mut histogram = Histogram::new();
        for (bucket, n) in pairs {
            histogram.add(bucket, n);
        }
        Ok(histogram)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // End of input is the order to end. A process that does not obey must not outlive the run.
        self.orders = None;
        let poll_fd = PollFd::new(self.reports.get_ref(), PollFlags::IN);
        let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
        if !matches!(poll(&mut [poll_fd], Some(&patience)), Ok(1..)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let poll_fd = PollFd::new(listener, PollFlags::IN);
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    if poll(&mut [poll_fd], Some(&patience))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the load process did not connect"));
    }
    let (stream, _) = listener.accept().map_err(|e| match e.raw_os_error() {
        Some(libc::EMFILE) => io::Error::other("too few open files allowed; raise `ulimit -n`"),
        _ => e,
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Raises the soft limit of open files to the hard one, as far as that is allowed.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the old limit, and opening one file too many is reported where it happens.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

struct Client {
    stream: TcpStream,
    sent: [u8; MESSAGE],
    got: [u8; MESSAGE],
    filled: usize,
    since: Instant,
}

impl Client {
    fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let (sent, got) = ([0; MESSAGE], [0; MESSAGE]);
        Ok(Self { stream, sent, got, filled: 0, since: Instant::now() })
    }

    fn send(&mut self, number: u64) -> io::Result<()> {
        mark(&mut self.sent, number);
        self.filled = 0;
        self.since = Instant::now();
        self.stream.write_all(&self.sent)
    }

    /// Receives; true when the whole message is back.
    fn receive(&mut self) -> io::Result<bool> {
        let room = self.got.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(room) {
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection"))
            }
            Ok(n) => {
                self.filled += n;
                if self.filled == MESSAGE && self.got != self.sent {
                    return Err(io::Error::other("an echo differs from what was sent"));
                }
                Ok(self.filled == MESSAGE)
            }
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

/// The load process: until its standard input ends.
pub(crate) fn run(args: &LoadArgs) -> io::Result<()> {
    raise_open_files();
    let mut clients = Vec::new();
    for _ in 0..args.conns {
        clients.push(Client::connect(args.port)?);
    }
    let readiness = if clients.len() > 1 { Some(watch(&clients)?) } else { None };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let ops = line.strip_prefix("run ").and_then(|n| n.parse().ok());
        let ops = ops.ok_or_else(|| io::Error::other(format!("not an order: {line}")))?;
        let histogram = match (&readiness, clients.as_mut_slice()) {
            (None, [client]) => one_by_one(client, ops)?,
            (Some(readiness), clients) => side_by_side(readiness, clients, ops)?,
            _ => Histogram::new(),
        };
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &histogram.filled().collect::<Vec<_>>())?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn one_by_one(client: &mut Client, ops: u64) -> io::Result<Histogram> {
    let mut histogram = Histogram::new();
    for number in 0..ops {
        client.send(number)?;
        while !client.receive()? {}
        histogram.record(elapsed_ns(client.since), 1);
    }
    Ok(histogram)
}

fn watch(clients: &[Client]) -> io::Result<rustix::fd::OwnedFd> {
    let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, client) in (0..).zip(clients) {
        client.stream.set_nonblocking(true)?;
        epoll::add(
            &readiness,
            client.stream.as_fd(),
            epoll::EventData::new_u64(number),
            epoll::EventFlags::IN,
        )?;
    }
    Ok(readiness)
}

fn side_by_side(
    readiness: &rustix::fd::OwnedFd,
    clients: &mut [Client],
    ops: u64,
) -> io::Result<Histogram> {
    let mut histogram = Histogram::new();
    let mut events = Vec::with_capacity(256);
    let mut sent = ops.min(count(clients.len()));
    for (number, client) in (0..sent).zip(clients.iter_mut()) {
        client.send(number)?;
    }
    let mut done = 0;
    while done < ops {
        events.clear();
        match epoll::wait(readiness, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(client) = clients.get_mut(number) else { continue };
            if !client.receive()? {
                continue;
            }
            histogram.record(elapsed_ns(client.since), 1);
            done += 1;
            if sent < ops {
                client.send(sent)?;
                sent += 1;
            }
        }
    }
    Ok(histogram)
}

fn elapsed_ns(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
