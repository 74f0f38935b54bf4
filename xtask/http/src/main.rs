//! An HTTP load on loopback against the server examples and the same servers on plain tokio, with clients that go
//! away. `cargo xtask http` builds what it needs and runs it.
#![forbid(unsafe_code)]

mod client;
mod options;
mod process;
mod report;
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{fs, io};

use client::{Load, Route};
use options::Options;
use process::Server;
use report::{Report, Row, Sample};

/// A server: its name, the one that it is compared with, and how it is started.
struct Kind {
    name: &'static str,
    /// The name of its twin on tokio; `None` for those.
    twin: Option<&'static str>,
    /// The example that it is, or the command of this program.
    program: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { name: "axum, safer-ring shared", twin: Some("axum, tokio"), program: "axum_files" },
    Kind { name: "axum, tokio", twin: None, program: "serve-axum" },
    Kind { name: "hyper, safer-ring runtime", twin: Some("hyper, tokio"), program: "hyper_local" },
    Kind { name: "hyper, tokio", twin: None, program: "serve-hyper" },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve-axum", root] => servers::axum(PathBuf::from(root)).map(|()| true),
        ["serve-hyper", root] => servers::hyper(PathBuf::from(root)).map(|()| true),
        ["help" | "--help" | "-h"] => {
            print!("{}", options::HELP);
            Ok(true)
        }
        words => match Options::parse(words) {
            Ok(options) => measure(&options),
            Err(message) => {
                eprint!("{message}\n\n{}", options::HELP);
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("http: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and prints it; true if nothing is wrong.
fn measure(options: &Options) -> io::Result<bool> {
    let root = tempfile::tempdir()?;
    let mut routes = routes(root.path())?;
    routes.retain(|route| route.name.contains(&options.route));
    let mut running = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&options.only)) {
        let server = Server::start(&mut command(kind, root.path())?)?;
        running.push((kind, server, Row::new(kind.name, kind.twin, &routes)));
    }
    // Rings, buffers and threads that are made when first needed are there afterwards.
    for (_, server, row) in &mut running {
        for route in &routes {
            let time = Duration::from_millis(300).min(options.slice);
            row.total.add(load(options, server, route, 0, time)?.tally);
        }
        row.descriptors.0 = server.settled_descriptors()?;
    }
    for round in 1..=options.rounds {
        for route in 0..routes.len() {
            for turn in 0..running.len() {
                // Who is first has the caches of nobody: it is another one each time.
                let turn = (turn + round + route) % running.len();
                let Some((_, server, row)) = running.get_mut(turn) else { continue };
                let Some(route_now) = routes.get(route) else { continue };
                let seed = u64::try_from(round).unwrap_or_default();
                row.add(route, load(options, server, route_now, seed, options.slice)?);
            }
        }
        for third in (1..=3).filter(|third| round == (third * options.rounds).div_ceil(3)) {
            for (_, server, row) in &mut running {
                row.resident.resize(third, 0);
                if let Some(last) = row.resident.last_mut() {
                    *last = server.resident()?;
                }
            }
        }
        eprint!("\rround {round} of {}", options.rounds);
    }
    eprintln!();
    let mut report = Report::default();
    for (_, server, mut row) in running {
        row.descriptors.1 = server.descriptors_after(row.descriptors.0)?;
        match server.end() {
            Ok(said) => row.snapshot = said,
            Err(error) => row.faults.push(error.to_string()),
        }
        report.rows.push(row);
    }
    print!("{}", report.text());
    if let Some(path) = &options.json {
        fs::write(path, report.json(options).to_string())?;
    }
    Ok(report.faults().is_empty())
}

/// The files to be served, and what is asked for.
fn routes(root: &Path) -> io::Result<Vec<Route>> {
    let mut routes = vec![Route { name: "hello", path: "/hello", body: b"hello".to_vec() }];
    for (name, path, len) in [
        ("file, 4 KiB", "/files/small", 4_usize << 10),
        ("file, 256 KiB", "/files/large", 256 << 10),
    ] {
        // A period that is no power of two: a part in a wrong place is noticed.
        let body: Vec<u8> = (0..=250_u8).cycle().take(len).collect();
        fs::write(root.join(path.trim_start_matches("/files/")), &body)?;
        routes.push(Route { name, path, body });
    }
    Ok(routes)
}

/// How a server is started. The examples are beside this program, where cargo has put them.
fn command(kind: &Kind, root: &Path) -> io::Result<Command> {
    let me = std::env::current_exe()?;
    let mut command = match kind.twin {
        Some(_) => Command::new(me.with_file_name("examples").join(kind.program)),
        None => Command::new(me),
    };
    if kind.twin.is_none() {
        command.arg(kind.program);
    }
    command.arg(root);
    Ok(command)
}

fn load(
    options: &Options,
    server: &Server,
    route: &Route,
    round: u64,
    time: Duration,
) -> io::Result<Sample> {
    let before = server.cpu()?;
    let begin = std::time::Instant::now();
    let tally = client::run(Load {
        address: server.address,
        route,
        connections: options.connections,
        aborts: options.aborts,
        seed: options.seed.wrapping_add(round << 32),
        time,
    })?;
    let time = begin.elapsed();
    Ok(Sample { tally, cpu: server.cpu()?.saturating_sub(before), time })
}
