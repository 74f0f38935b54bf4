//! `cargo xtask inside`: what runs in a container. It prints one line with everything that it found.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Outcome, workspace};

/// Begins the line.
pub(super) const REPORT: &str = "inside: ";
/// The echo server, an example of the library.
pub(super) const ECHO: &str = "echo_block_on";
/// More than the server's buffer holds.
pub(super) const ECHO_BYTES: usize = 64 * 1024;
/// What is measured: a file and a socket, with one operation and with several.
pub(super) const SCENARIOS: [&str; 3] = ["read-4k-cached-qd1", "read-4k-cached-qd32", "echo-1"];
/// How long the client waits for the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the doctor, the benchmark and the echo server, and prints the report.
///
/// # Errors
/// A program could not be started.
pub(crate) fn run() -> Outcome {
    let (bench, rows) = bench()?;
    let report = json!({
        "seccomp": seccomp_mode(),
        "doctor": doctor()?,
        "bench": bench,
        "rows": rows,
        "echo": echo()?,
    });
    println!("{REPORT}{report}");
    Ok(())
}

/// 2 where a filter is in force, as proc(5) has it.
fn seccomp_mode() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(|mode| mode.trim().to_owned())
}

fn output(command: &mut Command) -> Outcome<Output> {
    command.stdin(Stdio::null()).output().map_err(|e| format!("cannot run {command:?}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn doctor() -> Outcome<Value> {
    let output = output(Command::new("/safer-ring").args(["doctor", "--json"]))?;
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap_or(Value::Null);
    let code = output.status.code();
    Ok(json!({ "code": code, "report": report, "said": text(&output.stderr) }))
}

/// How the benchmark ended, and its rows.
fn bench() -> Outcome<(Value, Value)> {
    let file = "/tmp/bench.json";
    let mut command = Command::new("/safer-ring");
    command.args(["bench", "--quick", "--rounds", "1", "--slice-ms", "20", "--file-mib", "8"]);
    command.args(["--dir", "/tmp", "--only", &SCENARIOS.join(","), "--json", file]);
    let output = output(&mut command)?;
    let written = std::fs::read(file).unwrap_or_default();
    // The next container has the same directory, and maybe another user.
    let _ = std::fs::remove_file(file);
    let mut report = serde_json::from_slice::<Value>(&written).unwrap_or(Value::Null);
    let about_us = |note: &&str| note.starts_with("safer-ring/") && note.contains("not available");
    let notes = workspace::array(&report, "notes").iter().filter_map(Value::as_str);
    let said = text(&output.stderr) + &notes.filter(about_us).collect::<Vec<_>>().join("\n");
    let rows = report.get_mut("results").map(Value::take).unwrap_or(Value::Null);
    Ok((json!({ "code": output.status.code(), "said": said }), rows))
}

/// One connection to the server, which ends after it.
fn echo() -> Outcome<Value> {
    let mut command = Command::new(Path::new("/").join(ECHO));
    command.args(["127.0.0.1:0", "1"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    let mut said = String::new();
    let mut client = Ok(0);
    if let Some(stdout) = server.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        if let Some(address) = line.strip_prefix("listening on ") {
            client = exchange(address);
        }
        if client.is_err() {
            // It waits for a connection that will not end.
            let _ = server.kill();
        }
        said =
            std::iter::once(line).chain(lines.map_while(Result::ok)).collect::<Vec<_>>().join("\n");
    }
    let end = server.wait_with_output().map_err(|e| format!("{ECHO}: {e}"))?;
    said.push_str(&text(&end.stderr));
    if let Err(error) = &client {
        said.push_str(&format!("\nclient: {error}"));
    }
    Ok(json!({ "code": end.status.code(), "bytes": client.unwrap_or(0), "said": said }))
}

/// Sends and receives at the same time; the number of bytes that came back as they were.
fn exchange(address: &str) -> std::io::Result<usize> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let bytes: Vec<u8> = (0..ECHO_BYTES).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let (mut sender, sent) = (stream.try_clone()?, bytes.clone());
    let writer = std::thread::spawn(move || {
        sender.write_all(&sent)?;
        sender.shutdown(Shutdown::Write)
    });
    let mut back = Vec::new();
    (&stream).read_to_end(&mut back)?;
    writer.join().map_err(|_| std::io::Error::other("the sender panicked"))??;
    Ok(back.iter().zip(&bytes).take_while(|(back, sent)| back == sent).count())
}
