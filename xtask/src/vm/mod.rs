//! `cargo xtask vm`: tests inside virtual machines, on kernels and machines that this one is not.
//!
//! * [`kernel`]: a Debian kernel, fetched with apt and unpacked, in the target directory.
//! * [`build`]: programs without shared libraries.
//! * [`image`]: they and the list of what to run, as the archive that the kernel unpacks.
//! * [`guest`]: the machine itself, and what it printed.
//!
//! The first process in the machine is the program of `xtask/guest`.

mod build;
mod guest;
mod image;
mod kernel;

use std::path::Path;

use crate::{Outcome, workspace};
use guest::{Ended, Guest};
use image::Image;
use kernel::Kernel;

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
pub(crate) fn numa() -> Outcome {
    let guest = Guest::two_nodes();
    let mut failed = Vec::new();
    for kernel in [kernel::LINUX_6_1, kernel::NEWEST] {
        match on(&guest, &kernel, &[("xtask-guest", "numa"), ("safer-ring-sys", "kernels")]) {
            Ok(Ok(())) => {}
            Ok(Err(Skip(reason))) => println!("skipped: vm numa, kernel {}: {reason}", kernel.name),
            Err(message) => failed.push(format!("kernel {}: {message}", kernel.name)),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs the test programs (package, name) one after the other in a machine.
fn on(guest: &Guest, kernel: &Kernel, tests: &[(&str, &str)]) -> Got<()> {
    if let Err(skip) = guest::available() {
        return Ok(Err(skip));
    }
    let directory = workspace::target_directory()?.join("vm");
    let kernel = match kernel.fetch(&directory.join("kernels"))? {
        Ok(kernel) => kernel,
        Err(skip) => return Ok(Err(skip)),
    };
    let init = build::program("xtask-guest", &directory)?;
    let mut image = Image::new(&init)?;
    for (package, name) in tests {
        let program = build::test(package, name, &directory)?;
        // One test at a time: some look at all threads of the process.
        image.run(name, &program, &["--test-threads=1"])?;
    }
    let archive = directory.join("initrd.cpio");
    write(&archive, &image.finish()?)?;
    let ended = guest.run(&kernel, &archive)?;
    judge(tests, &ended)?;
    Ok(Ok(()))
}

/// Every program must have run at least one test, and none may have failed.
fn judge(tests: &[(&str, &str)], ended: &[Ended]) -> Outcome {
    let mut wrong = Vec::new();
    for (index, (_, name)) in tests.iter().enumerate() {
        match ended.iter().find(|ended| ended.index == index) {
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
    use super::*;

    #[test]
    fn a_program_that_ran_nothing_or_did_not_end_is_an_error() {
        let tests = [("p", "one"), ("p", "two")];
        let ended = |index, code, passed| Ended { index, code, passed };
        assert_eq!(judge(&tests, &[ended(0, 0, 3), ended(1, 0, 1)]), Ok(()));
        let wrong = |list: &[Ended]| judge(&tests, list).unwrap_err();
        assert_eq!(wrong(&[ended(0, 0, 3)]), "vm: two did not end");
        assert_eq!(wrong(&[ended(0, 101, 3), ended(1, 0, 1)]), "vm: one ended with 101");
        assert_eq!(wrong(&[ended(0, 0, 0), ended(1, 0, 1)]), "vm: one ran no test");
    }
}
