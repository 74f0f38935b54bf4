//! `cargo xtask vm`: tests inside virtual machines, on kernels and machines that this one is not.
//!
//! * [`debian`]: files out of Debian's packages, fetched with apt; [`kernel`]: which of them are the kernels.
//! * [`build`]: programs without shared libraries, or with theirs.
//! * [`image`]: they and the list of what to run, as the archive that the kernel unpacks.
//! * [`guest`]: the machine itself; [`transcript`]: what it printed.
//! * [`programs`]: the table of what runs on every kernel; [`mod@matrix`]: running it; [`report`]: what came of it,
//!   [`check`]: what the check of specifications has found.
//!
//! The first process in the machine is the program of `xtask/guest`.

mod build;
mod check;
mod debian;
mod guest;
mod image;
mod kernel;
mod matrix;
mod programs;
mod report;
mod transcript;

use std::path::Path;
use std::time::Duration;

use crate::{Outcome, workspace};
use build::{Programs, Target};
use guest::Guest;
use image::Image;
use kernel::Kernel;
pub(crate) use matrix::matrix;
use transcript::Transcript;

/// Longer than any test program on two nodes takes.
const LIMIT: Duration = Duration::from_secs(200);

/// Tests (package, name) that want two nodes, and the table that these kernels are asked for.
const NUMA: [(&str, &str); 2] = [("xtask-guest", "numa"), ("safer-ring-sys", "kernels")];

/// Why something was not done, though nothing is wrong: a tool or the network is missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skip(String);

/// A value, or the reason why this machine cannot have it.
type Got<T> = Outcome<Result<T, Skip>>;

/// Tests of placement on two nodes with two CPUs each; and, since these kernels run here anyway, the table of what each
/// kernel has.
///
/// # Errors
/// A test failed, or the programs do not build. What is missing on this machine is a `skipped:` line.
pub(crate) fn numa(tested: bool) -> Outcome {
    let guest = Guest::two_nodes();
    let mut failed = Vec::new();
    for kernel in [kernel::LINUX_6_1, kernel::NEWEST] {
        match on(&guest, &kernel, &NUMA, tested) {
            Ok(Ok(())) => {}
            Ok(Err(Skip(reason))) => println!("skipped: vm numa, kernel {}: {reason}", kernel.name),
            Err(message) => failed.push(format!("kernel {}: {message}", kernel.name)),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs the test programs (package, name) one after the other in a machine.
fn on(
    guest: &Guest,
    kernel: &Kernel,
    tests: &[(&'static str, &'static str)],
    tested: bool,
) -> Got<()> {
    if let Err(skip) = guest::available() {
        return Ok(Err(skip));
    }
    let directory = workspace::target_directory()?.join("vm");
    let kernel = match kernel.fetch(&directory.join("kernels"))? {
        Ok(kernel) => kernel,
        Err(skip) => return Ok(Err(skip)),
    };
    let targets: Vec<Target> =
        tests.iter().map(|(package, name)| Target::Test(package, name)).collect();
    let programs = Programs::of(tested, &targets, &targets, &directory)?;
    let mut image = Image::of(&programs)?;
    for (target, (_, name)) in targets.iter().zip(tests) {
        image.program(name, programs.path(*target)?)?;
        // One test at a time: some look at all threads of the process.
        image.run(name, LIMIT, &[], &["--test-threads=1"]);
    }
    let archive = directory.join("initrd.cpio");
    write(&archive, &image.finish()?)?;
    judge(tests, &guest.run(&kernel, &archive, &directory.join("numa.log"))?)?;
    Ok(Ok(()))
}

/// Every program must have run at least one test, and none may have failed.
fn judge(tests: &[(&str, &str)], said: &Transcript) -> Outcome {
    let mut wrong: Vec<String> = said.broken.iter().cloned().collect();
    for (index, (_, name)) in tests.iter().enumerate() {
        match said.ended.iter().find(|ended| ended.index == index) {
            None => wrong.push(format!("{name} did not end")),
            Some(ended) if ended.code != 0 => {
                wrong.push(format!("{name} ended with {}", ended.code))
            }
            Some(ended) if ended.passed == 0 => wrong.push(format!("{name} ran no test")),
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("vm: {}", wrong.join(", "))) }
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::transcript::Ended;
    use super::*;

    #[test]
    fn a_program_that_ran_nothing_or_did_not_end_is_an_error() {
        let tests = [("p", "one"), ("p", "two")];
        let ended = |index, code, passed| Ended { index, code, passed, ..Ended::default() };
        let judge = |ended: &[Ended]| {
            judge(&tests, &Transcript { ended: ended.to_vec(), ..Transcript::default() })
        };
        assert_eq!(judge(&[ended(0, 0, 3), ended(1, 0, 1)]), Ok(()));
        let wrong = |list: &[Ended]| judge(list).unwrap_err();
        assert_eq!(wrong(&[ended(0, 0, 3)]), "vm: two did not end");
        assert_eq!(wrong(&[ended(0, 101, 3), ended(1, 0, 1)]), "vm: one ended with 101");
        assert_eq!(wrong(&[ended(0, 0, 0), ended(1, 0, 1)]), "vm: one ran no test");
    }
}
