//! The HTTP servers among the examples, as programs: right bytes, nothing from outside of the directory, clients that go
//! away, and a clean end.
//!
//! `cargo test -p safer-ring` builds the programs before; `cargo test --test http_examples` alone does not, and says so.
#![cfg(all(feature = "tokio", feature = "hyper", feature = "runtime"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::example::program;
use common::pattern;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};

/// Far more than any step takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);
const SIZES: [(&str, usize); 5] =
    [("empty", 0), ("byte", 1), ("small", 4096), ("part", 65_536), ("large", 1_000_003)];

struct Server {
    child: Child,
    says: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, says, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A request on a connection of its own.
    fn fetch(&self, path: &str) -> (u16, Vec<u8>) {
        ask(&mut self.connect(), path).unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Waits until no more than `count` are open.
    fn has_at_most(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.descriptors() > count {
            assert!(Instant::now() < end, "{} descriptors, not {count}", self.descriptors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Interrupts it. It must end well, and gives what it says last.
    fn end(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let mut said = String::new();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "still running");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}");
        self.says.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_root(name: &str, root: &Path) -> Command {
    let mut command = program(name);
    command.arg(root);
    command
}

fn head(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Status and body of one answer; the connection stays open.
fn ask(stream: &mut TcpStream, path: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(head(path).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).unwrap_or_default().parse();
    let status = status.map_err(|_| io::Error::other(format!("not an answer: {line:?}")))?;
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    assert!(reader.buffer().is_empty(), "more than the answer");
    Ok((status, body))
}

/// Goes away in one of eight ways.
fn abort(server: &Server, number: usize) -> io::Result<()> {
    let mut stream = server.connect();
    let request = head("/files/large");
    let mid_request = number & 1 == 0;
    let part = if mid_request { 1 + number % (request.len() - 1) } else { request.len() };
    stream.write_all(&request.as_bytes()[..part])?;
    if !mid_request && number & 2 == 0 {
        // Some of the answer, also less than its head.
        stream.read_exact(&mut vec![0; 1 + number * 997])?;
    }
    if number & 4 == 0 {
        set_socket_linger(&stream, Some(Duration::ZERO))?; // a reset
    } else if number & 8 == 0 {
        stream.shutdown(Shutdown::Write)?;
        io::copy(&mut stream, &mut io::sink())?;
    }
    Ok(())
}

fn serves(name: &str) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    std::fs::create_dir_all(root.join("inner")).unwrap();
    for (name, len) in SIZES {
        std::fs::write(root.join(name), pattern(len)).unwrap();
    }
    std::fs::write(root.join("inner/file"), "deep").unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let fifo = root.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();

    let server = Server::start(with_root(name, &root));
    let mut stream = server.connect();
    for _ in 0..3 {
        for (name, len) in SIZES {
            let got = ask(&mut stream, &format!("/files/{name}")).unwrap();
            assert!(got == (200, pattern(len)), "{name}: {} bytes of {len}", got.1.len());
        }
        assert_eq!(ask(&mut stream, "/hello").unwrap(), (200, b"hello".to_vec()));
    }
    assert_eq!(server.fetch("/files/inner/file"), (200, b"deep".to_vec()));
    let secret = outside.path().join("secret");
    let absolute = format!("/files/{}", secret.display());
    for path in
        ["nothing", "../secret", "%2e%2e/secret", "inner/../../secret", "link", "inner", "fifo", ""]
    {
        let (status, body) = server.fetch(&format!("/files/{path}"));
        assert!(status == 404 && body != b"secret", "{path}: {status} {body:?}");
    }
    assert_eq!(server.fetch(&absolute).0, 404);
    drop(stream);

    // Every ring and thread has had work by now.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(server.fetch("/files/large").1, pattern(1_000_003)));
        }
    });
    let before = settled(&server);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for number in 0..32 {
                    // What a client that goes away hears is its own doing.
                    let _ = abort(server, thread * 32 + number);
                    assert_eq!(server.fetch("/files/part").1, pattern(65_536));
                }
            });
        }
    });
    server.has_at_most(before);

    // A connection that is idle holds nothing up.
    let mut idle = server.connect();
    assert_eq!(ask(&mut idle, "/files/byte").unwrap().0, 200);
    let said = server.end();
    assert!(said.contains("queued: 0") && said.contains("stale_completions: 0"), "{said}");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
}

/// Descriptors, once their number stays.
fn settled(server: &Server) -> usize {
    let end = Instant::now() + PATIENCE;
    let (mut count, mut same) = (server.descriptors(), 0);
    while same < 20 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        let now = server.descriptors();
        same = if now == count { same + 1 } else { 0 };
        count = now;
    }
    count
}

#[test]
fn axum_files_serves_the_directory_and_only_that_whatever_clients_do() {
    common::within_deadline(|| serves("axum_files"));
}

#[test]
fn hyper_local_serves_the_directory_and_only_that_whatever_clients_do() {
    common::within_deadline(|| serves("hyper_local"));
}

#[test]
fn axum_hello_greets_by_name_and_ends_by_ctrl_c() {
    common::within_deadline(|| {
        let server = Server::start(program("axum_hello"));
        let mut stream = server.connect();
        for name in ["you", "me"] {
            let greeting = format!("hello {name}").into_bytes();
            assert_eq!(ask(&mut stream, &format!("/hello/{name}")).unwrap(), (200, greeting));
        }
        assert_eq!(server.fetch("/hello").0, 404);
        // A connection that is idle holds nothing up.
        server.end();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
}
