//! The suite as a program: for machines that have a kernel and little else.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use safer_ring_conformance::{ENVIRONMENTS, Environment, Scenario, Summary, all, json, run_all};

const HELP: &str = "\
usage: safer-ring-conformance [options]

  --list             scenarios and environments, without running any
  --env NAME         this environment only; may be given several times
  --only SUBSTRING   scenarios whose name has this in it
  --dir PATH         where files are made (default: the directory for temporary files); with
                     O_DIRECT if it is on a disk
  --json FILE        the results as JSON too
  --verbose          what was skipped too, with the reason

The exit code is 0 if nothing failed, 1 if something did, 2 for a wrong option, 3 if nothing was tried:
the machine can give none of the environments, or no scenario has this name.
";

/// Nothing was tried.
const NOTHING: u8 = 3;

#[derive(Default)]
struct Options {
    list: bool,
    verbose: bool,
    environments: Vec<String>,
    only: String,
    directory: Option<PathBuf>,
    json: Option<PathBuf>,
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--list" => options.list = true,
            "--verbose" => options.verbose = true,
            "--env" => options.environments.push(value()?),
            "--only" => options.only = value()?,
            "--dir" => options.directory = Some(value()?.into()),
            "--json" => options.json = Some(value()?.into()),
            "--help" | "-h" => return Err(String::new()),
            other => return Err(format!("unknown option: {other}")),
        }
    }
    let known = |name: &String| ENVIRONMENTS.iter().any(|environment| environment.name == *name);
    match options.environments.iter().find(|name| !known(name)) {
        Some(unknown) => Err(format!("there is no environment {unknown}; see --list")),
        None => Ok(options),
    }
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) if message.is_empty() => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprint!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let wanted = |name: &str| {
        options.environments.is_empty() || options.environments.iter().any(|only| only == name)
    };
    let environments: Vec<&'static Environment> =
        ENVIRONMENTS.iter().filter(|environment| wanted(environment.name)).collect();
    let scenarios: Vec<Scenario> =
        all().into_iter().filter(|scenario| scenario.name.contains(&options.only)).collect();
    if options.list {
        list(&scenarios, &environments);
        return ExitCode::SUCCESS;
    }
    run(&options, &scenarios, &environments)
}

fn list(scenarios: &[Scenario], environments: &[&'static Environment]) {
    for scenario in scenarios {
        println!("{:<8} {:<70} {:?}", scenario.class.name(), scenario.name, scenario.ops);
    }
    for environment in environments {
        println!("{:<26} {}", environment.name, environment.about);
    }
    println!("{} scenarios x {} environments", scenarios.len(), environments.len());
}

fn run(
    options: &Options,
    scenarios: &[Scenario],
    environments: &[&'static Environment],
) -> ExitCode {
    let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let mut summaries = Vec::new();
    for environment in environments {
        let start = Instant::now();
        let findings = run_all(scenarios, environment, &directory);
        let summary = Summary { environment, findings, time: start.elapsed() };
        println!("{summary}");
        print!("{}", summary.details(options.verbose));
        summaries.push(summary);
    }
    let passed: usize = summaries.iter().map(Summary::passed).sum();
    let failed: usize = summaries.iter().map(Summary::failed).sum();
    let ran = summaries.iter().filter(|summary| summary.findings.is_ok()).count();
    println!(
        "{} scenarios x {ran} of {} environments: {passed} passed, {failed} failed",
        scenarios.len(),
        environments.len()
    );
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, json(scenarios.len(), &summaries))
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    match (passed, failed) {
        (0, 0) => ExitCode::from(NOTHING),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
