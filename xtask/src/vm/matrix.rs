//! `cargo xtask vm --kernel ..`: the table of programs on each kernel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::build::{Programs, Target};
use super::guest::{self, Guest};
use super::image::Image;
use super::kernel::{self, Kernel};
use super::programs::{PROGRAMS, Program, Run};
use super::report::{Report, json, table};
use super::{Skip, debian, write};
use crate::{Outcome, workspace};

const HELP: &str = "\
usage: cargo xtask vm [--kernel K[,K]..] [--quick] [--program NAME[,NAME]..] [--tested] [--jobs N]
                      [--json FILE] [-- WORDS..]

  --kernel   5.10, 6.1, 6.12, 7.3, or all, which is the default
  --quick    only the programs that continuous integration runs
  --program  only these programs, by their names in the table
  --tested   take the programs of `cargo test --workspace`, with their shared libraries, in place of
             a build without any
  --jobs     how many machines run side by side; 2 unless told otherwise
  --json     write the results there
  WORDS      are given to the test programs: they choose among tests; the first, among scenarios

A NAME is that of a row of the table, or its first word: `conformance` is the suite in every environment.
What `safer-ring spec check` has found on a kernel is in target/vm/spec-KERNEL.json.
";

/// What the command line asks for.
#[derive(Debug)]
struct Options<'a> {
    kernels: Vec<&'static Kernel>,
    programs: Vec<Program>,
    /// Whether they are those of `cargo test --workspace`.
    tested: bool,
    jobs: usize,
    json: Option<&'a Path>,
    words: Vec<&'a str>,
}

/// Runs the programs on the kernels.
///
/// # Errors
/// Something failed in a guest, or does not build, or the command line cannot be understood. What is missing on this machine
/// is a `skipped:` line.
pub(crate) fn matrix(arguments: &[&str]) -> Outcome {
    let options = options(arguments)?;
    if let Err(Skip(reason)) = guest::available() {
        println!("skipped: vm: {reason}");
        return Ok(());
    }
    let directory = workspace::target_directory()?.join("vm");
    let mut kernels = Vec::new();
    for kernel in &options.kernels {
        match kernel.fetch(&directory.join("kernels"))? {
            Ok(path) => kernels.push((kernel.name, path)),
            Err(Skip(reason)) => println!("skipped: vm, kernel {}: {reason}", kernel.name),
        }
    }
    if kernels.is_empty() {
        return Ok(());
    }
    let runs: Vec<Run> = options.programs.iter().flat_map(|program| program.runs()).collect();
    let archive = Archive::new(&options, &runs, &directory)?;
    let reports = side_by_side(&kernels, &runs, &archive, &options)?;
    print!("{}", table(&runs, &reports));
    if let Some(file) = options.json {
        write(file, json(&reports).as_bytes())?;
    }
    if !options.words.is_empty() && reports.iter().all(|report| report.tests() == 0) {
        return Err(format!("vm: no test has {} in its name", options.words.join(" ")));
    }
    let failed: Vec<&str> = reports
        .iter()
        .filter(|report| !report.is_good(options.words.is_empty()))
        .map(|report| report.name)
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("vm: failed on {}", failed.join(", "))) }
}

fn options<'a>(arguments: &[&'a str]) -> Outcome<Options<'a>> {
    let wrong = |what: &str| format!("vm: {what}\n\n{HELP}");
    let mut chosen: BTreeSet<&str> = BTreeSet::new();
    let mut quick = false;
    let mut options = Options {
        kernels: Vec::new(),
        programs: Vec::new(),
        tested: false,
        jobs: 2,
        json: None,
        words: Vec::new(),
    };
    let mut rest = arguments.iter().copied();
    while let Some(option) = rest.next() {
        match option {
            "--" => options.words = rest.by_ref().collect(),
            "--quick" => quick = true,
            "--tested" => options.tested = true,
            "--kernel" | "--program" | "--jobs" | "--json" => {
                let value =
                    rest.next().ok_or_else(|| wrong(&format!("{option} lacks its value")))?;
                match option {
                    "--kernel" => {
                        let found =
                            kernels(value).ok_or_else(|| wrong(&format!("no kernel {value}")))?;
                        options.kernels.extend(found);
                    }
                    "--program" => chosen.extend(value.split(',')),
                    "--jobs" => {
                        let jobs = value.parse().ok().filter(|jobs| *jobs > 0);
                        options.jobs = jobs.ok_or_else(|| wrong("--jobs takes a number"))?;
                    }
                    _ => options.json = Some(Path::new(value)),
                }
            }
            other => return Err(wrong(&format!("unknown: {other}"))),
        }
    }
    if options.kernels.is_empty() {
        options.kernels.extend(kernel::ALL);
    }
    let known: Vec<String> = PROGRAMS.iter().map(Program::name).collect();
    let is_known = |name: &str| PROGRAMS.iter().any(|program| program.is_named(name));
    if let Some(name) = chosen.iter().find(|name| !is_known(name)) {
        return Err(wrong(&format!("no program {name}; there are {}", known.join(", "))));
    }
    let asked = |program: &&Program| {
        (!quick || program.quick)
            && (chosen.is_empty() || chosen.iter().any(|name| program.is_named(name)))
            // Of other programs nothing can be chosen by words.
            && (options.words.is_empty() || program.takes_words())
    };
    let chosen = PROGRAMS.iter().filter(asked).copied();
    // The fallback's share of the quick part is its environment of the suite.
    options.programs = chosen.map(|program| if quick { program.once() } else { program }).collect();
    if options.programs.is_empty() { Err(wrong("no program is left to run")) } else { Ok(options) }
}

/// The kernels that a value of `--kernel` names.
fn kernels(value: &str) -> Option<Vec<&'static Kernel>> {
    if value == "all" {
        return Some(kernel::ALL.to_vec());
    }
    let by_name = |name| kernel::ALL.into_iter().find(|kernel| kernel.name == name);
    value.split(',').map(by_name).collect()
}

/// The archive on its way to the guests, which all have the same.
#[derive(Debug)]
struct Archive {
    path: PathBuf,
    bytes: u64,
}

impl Archive {
    fn new(options: &Options<'_>, runs: &[Run], directory: &Path) -> Outcome<Archive> {
        let targets: Vec<Target> = options.programs.iter().map(|program| program.target).collect();
        let every: Vec<Target> = PROGRAMS.iter().map(|program| program.target).collect();
        let programs = Programs::of(options.tested, &targets, &every, directory)?;
        let mut image = Image::of(&programs)?;
        if options.programs.iter().any(|program| program.starts_others) {
            match debian::busybox(&directory.join("kernels"))? {
                Ok(busybox) => image.tools(&busybox)?,
                Err(Skip(reason)) => {
                    println!("vm: no busybox, and tests that start programs fail: {reason}")
                }
            }
        }
        let mut there = BTreeSet::new();
        for program in &options.programs {
            if there.insert(program.file()) {
                image.program(&program.file(), programs.path(program.target)?)?;
            }
        }
        for run in runs {
            let arguments = run.arguments(&options.words);
            image.run(&run.program.file(), run.limit(), &run.settings(), &arguments);
        }
        let path = directory.join("matrix.cpio");
        let archive = image.finish()?;
        write(&path, &archive)?;
        Ok(Archive { path, bytes: u64::try_from(archive.len()).unwrap_or(u64::MAX) })
    }
}

/// A machine for each kernel, some at the same time.
fn side_by_side(
    kernels: &[(&'static str, PathBuf)],
    runs: &[Run],
    archive: &Archive,
    options: &Options<'_>,
) -> Outcome<Vec<Report>> {
    // Some programs at most can hang; that all do is not waited for.
    let limit = Duration::from_secs(300) + runs.iter().map(|run| run.usual()).sum::<Duration>();
    let guest = Guest::plain(archive.bytes, limit);
    let queue = Mutex::new(kernels.iter().enumerate());
    let results = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.next();
    let work = || {
        while let Some((index, (name, kernel))) = next() {
            let log = archive.path.with_file_name(format!("{name}.log"));
            let report = guest.run(kernel, &archive.path, &log).and_then(|said| {
                let report = Report::new(name, runs, said);
                print!("{}", report.text(options.words.is_empty()));
                if let Some(check) = report.check() {
                    let file = archive.path.with_file_name(format!("spec-{name}.json"));
                    write(&file, check.as_bytes())?;
                }
                Ok(report)
            });
            if let Ok(mut results) = results.lock() {
                results.push((index, report));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(kernels.len()) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().map_err(|_| "vm: a thread has panicked".to_owned())?;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, report)| report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_chooses_kernels_programs_and_tests() {
        let names = |options: &Options<'_>| -> Vec<&str> {
            options.kernels.iter().map(|kernel| kernel.name).collect()
        };
        let all = options(&[]).unwrap();
        assert_eq!(names(&all), ["5.10", "6.1", "6.12", "7.3"]);
        assert_eq!(all.programs.len(), PROGRAMS.len());
        let quick = options(&["--quick", "--kernel", "all"]).unwrap();
        assert!(quick.programs.len() < PROGRAMS.len() && quick.programs.iter().all(|p| p.quick));
        assert!(quick.programs.iter().flat_map(|program| program.runs()).all(|run| !run.fallback));
        let line = ["--kernel", "5.10,7.3", "--program", "drops,tcp", "--json", "f", "--jobs", "1"];
        let few = options(&[&line[..], &["--", "a", "--exact"]].concat()).unwrap();
        assert_eq!(names(&few), ["5.10", "7.3"]);
        assert_eq!((few.programs.len(), few.jobs), (2, 1));
        assert_eq!((few.json, &few.words[..]), (Some(Path::new("f")), &["a", "--exact"][..]));
    }

    #[test]
    fn a_wrong_command_line_is_explained() {
        for (line, said) in [
            (&["--kernel"][..], "--kernel lacks its value"),
            (&["--kernel", "2.6"], "no kernel 2.6"),
            (&["--program", "none"], "no program none; there are"),
            (&["--jobs", "0"], "--jobs takes a number"),
            (&["--other"], "unknown: --other"),
            (&["--program", "safer-ring torture", "--", "x"], "no program is left"),
        ] {
            let message = options(line).unwrap_err();
            assert!(message.contains(said) && message.contains("usage:"), "{message}");
        }
    }
}
