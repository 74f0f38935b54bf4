//! The examples do what they say: each program is run, with real files and peers.
//!
//! `cargo test -p safer-ring` builds the programs before; `cargo test --test examples` alone does not, and says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use common::example::program;
use common::pattern;

/// Far more than any step takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs, until it ends or the test does.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().try_for_each(|line| sender.send(line.unwrap()).ok())
        });
        Self { input: child.stdin.take(), child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// What a server says first.
    fn address(&self) -> SocketAddr {
        self.line().strip_prefix("listening on ").unwrap().parse().unwrap()
    }

    fn interrupt(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for its end, which must be a success, and gives the lines that were not read.
    fn ended(mut self) -> Vec<String> {
        drop(self.input.take());
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        // The channel is closed when the program has closed its output.
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            rest.push(line);
        }
        assert!(Instant::now() < deadline, "still running");
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, with some input.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    })
}

fn text(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Ten clients at once send a hundred messages each, and get each back.
fn hundred_echoes_on_ten_connections<S: Read + Write>(
    connect: impl Fn() -> S + Sync,
    end: impl Fn(S) + Sync,
) {
    std::thread::scope(|scope| {
        for client in 0..10 {
            let (connect, end) = (&connect, &end);
            scope.spawn(move || {
                let mut stream = connect();
                for message in 0..100 {
                    let sent = pattern(1 + message * 97 + client);
                    stream.write_all(&sent).unwrap();
                    stream.flush().unwrap();
                    let mut echoed = vec![0; sent.len()];
                    stream.read_exact(&mut echoed).unwrap();
                    assert!(echoed == sent, "message {message} of client {client}");
                }
                end(stream);
            });
        }
    });
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn cat_writes_files_and_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (pattern(1_000_003), b"two".to_vec());
    let paths = [file(dir.path(), "a", &first), file(dir.path(), "b", &second)];
    let output = run(program("cat").args(&paths), b"");
    assert!(output.status.success() && output.stdout == [first.clone(), second].concat());
    let output = run(&mut program("cat"), &first);
    assert!(output.status.success() && output.stdout == first, "a pipe to a pipe");
    let missing = run(program("cat").arg(dir.path().join("c")), b"");
    assert!(!missing.status.success());
}

#[test]
fn cp_copies_files_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    for length in [0, 1, 256 * 1024, 8 * 256 * 1024 + 1, 5_000_001] {
        let bytes = pattern(length);
        let from = file(dir.path(), "from", &bytes);
        let to = dir.path().join("to");
        let output = run(program("cp").arg(&from).arg(&to), b"");
        assert_eq!(text(&output), format!("copied {length} bytes\n"));
        assert!(std::fs::read(&to).unwrap() == bytes, "{length}");
    }
}

#[test]
fn echo_tokio_answers_everybody_and_ends_by_ctrl_c() {
    let server = Running::start(program("echo_tokio").arg("127.0.0.1:0"));
    let address = server.address();
    hundred_echoes_on_ten_connections(|| tcp(address), drop);
    server.interrupt();
    assert_eq!(server.ended(), ["served 10 connections"]);
}

#[cfg(feature = "runtime")]
#[test]
fn echo_runtime_answers_everybody_and_ends_by_ctrl_c() {
    let server = Running::start(program("echo_runtime").arg("127.0.0.1:0"));
    let address = server.address();
    hundred_echoes_on_ten_connections(|| tcp(address), drop);
    server.interrupt();
    let report = server.ended();
    assert!(!report.is_empty() && report.iter().all(|line| line.contains("nothing")), "{report:?}");
}

#[test]
fn echo_block_on_answers_everybody_and_ends_after_the_last() {
    let server = Running::start(program("echo_block_on").args(["127.0.0.1:0", "10"]));
    let address = server.address();
    hundred_echoes_on_ten_connections(|| tcp(address), drop);
    assert_eq!(server.ended(), ["served 10 connections"]);
}

#[test]
fn random_reads_reads_the_blocks_that_it_chose() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(100 * 4096 + 17);
    let path = file(dir.path(), "data", &bytes);
    let (mut sum, mut seed) = (0, 1u64);
    for _ in 0..1000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let block = &bytes[(seed % 100) as usize * 4096..][..4096];
        sum += block.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    let output = run(program("random_reads").arg(path).arg("1000"), b"");
    let line = text(&output);
    assert!(line.starts_with("1000 reads in "), "{line}");
    assert!(line.ends_with(&format!("the bytes add up to {sum}\n")), "{line}, not {sum}");
}

#[test]
fn a_durable_record_of_the_wal_survives_a_kill_and_a_torn_one_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Running::start(program("wal").arg("append").arg(&path));
    let lines: Vec<String> = (0..1000).map(|number| format!("record {number}")).collect();
    let mut input = log.input.take().unwrap();
    for line in &lines {
        writeln!(input, "{line}").unwrap();
    }
    // Its input stays open: nothing tells it to finish.
    while log.line() != "durable 1000" {}
    drop(log);
    let read = || {
        let output = run(program("wal").arg("read").arg(&path), b"");
        text(&output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(read(), lines);

    let torn = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    torn.set_len(torn.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(read(), lines[..999]);
    let log = run(program("wal").arg("append").arg(&path), b"after\n");
    assert_eq!(text(&log), "durable 1000\n");
    let kept = [&lines[..999], &["after".to_owned()]].concat();
    assert_eq!(read(), kept);
    let length: usize = kept.iter().map(|line| 10 + line.len()).sum();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length as u64, "nothing is behind them");

    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(read().len() < 999, "a damaged record is not printed");
}

#[test]
fn sim_wal_finds_the_early_word_and_nothing_in_the_mended_log() {
    let output = run(&mut program("sim_wal"), b"");
    let lines: Vec<&str> = text(&output).lines().collect();
    assert!(lines[0].starts_with("acknowledged, then synced: a record is lost with seed "));
    assert_eq!(lines[1..], ["synced first: 300 crashes, nothing lost"]);
}

#[test]
fn sim_server_finds_the_read_that_is_no_request_and_nothing_in_the_mended_server() {
    let output = run(&mut program("sim_server"), b"");
    let lines: Vec<&str> = text(&output).lines().collect();
    assert!(lines[0].starts_with("a read is a request: seed "), "{lines:?}");
    assert!(lines[0].contains("was answered with"), "{lines:?}");
    assert_eq!(lines[1..], ["a line is: 300 worlds, every answer right"]);
}

#[test]
fn udp_answers_a_socket_of_std_and_its_own_ping() {
    let server = Running::start(program("udp").args(["echo", "127.0.0.1:0"]));
    let address = server.address();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for length in [0, 1, 1400, 60_000] {
        let sent = pattern(length);
        socket.send_to(&sent, address).unwrap();
        let mut buffer = vec![0; 65_536];
        let (count, from) = socket.recv_from(&mut buffer).unwrap();
        assert!(buffer[..count] == sent && from == address, "{length}");
    }
    let ping = run(program("udp").args(["ping", &address.to_string(), "10"]), b"");
    assert_eq!(text(&ping).lines().last(), Some("10 of 10 answered"));
    // A socket that takes datagrams and does not answer: the time limits end the receives.
    let silent = socket.local_addr().unwrap().to_string();
    let ping = run(program("udp").args(["ping", &silent, "1"]), b"");
    assert_eq!(text(&ping), "0 of 1 answered\n");
}

#[cfg(feature = "tokio")]
#[test]
fn tls_echo_answers_clients_that_trust_its_certificate() {
    use std::sync::Arc;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certificate.pem");
    let server = Running::start(program("tls_echo").arg("127.0.0.1:0").arg(&path));
    let address = server.address();
    let config = |roots: RootCertStore| {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    let connect = |config| {
        let name = "localhost".try_into().unwrap();
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp(address))
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&path).unwrap()).unwrap();
    let trusting = config(roots);
    let goodbye = |mut stream: StreamOwned<ClientConnection, TcpStream>| {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    };
    hundred_echoes_on_ten_connections(|| connect(trusting.clone()), goodbye);
    let mut stranger = connect(config(RootCertStore::empty()));
    assert!(stranger.write_all(b"hello").is_err(), "it is TLS, and checked");
    // The server says goodbye inside of TLS too; without that, this is `UnexpectedEof`.
    let mut last = connect(trusting);
    last.write_all(b"bye").unwrap();
    last.conn.send_close_notify();
    last.flush().unwrap();
    let mut echoed = Vec::new();
    last.read_to_end(&mut echoed).unwrap();
    assert_eq!(echoed, b"bye");
    server.interrupt();
    assert!(server.ended().is_empty());
}

#[test]
fn from_tokio_fs_writes_the_same_files_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(program("from_tokio_fs").arg(dir.path()), b"");
    assert_eq!(text(&output), "both wrote the same 140000 bytes\n");
    let [before, after] = ["before", "after"].map(|name| std::fs::read(dir.path().join(name)));
    assert!(after.unwrap() == "some settings\n".repeat(10_000).as_bytes());
    assert_eq!(before.unwrap().len(), 140_000);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no file is left over");
}

#[cfg(feature = "runtime")]
#[test]
fn from_tokio_uring_counts_the_lines_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let long = file(dir.path(), "long", "line\n".repeat(50_000).as_bytes());
    let short = file(dir.path(), "short", b"one\ntwo");
    let output = run(program("from_tokio_uring").args([&long, &short]), b"");
    let expected = format!("50000 {}\n1 {}\n", long.display(), short.display());
    assert_eq!(text(&output), expected);
}
