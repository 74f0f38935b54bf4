//! A virtual machine, and what it says on its serial line.
//!
//! QEMU emulates the processors in software, so that it runs wherever this does, also inside of other virtual machines.
//! Nothing about speed can be learnt in it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Skip;
use crate::Outcome;

const QEMU: &str = "qemu-system-x86_64";
/// Longer than any run takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// The shape of a machine.
#[derive(Debug)]
pub(super) struct Guest {
    cpus: u32,
    mebibytes: u32,
    /// Further arguments of QEMU.
    arguments: Vec<String>,
}

/// How one program of the list ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its place in the list.
    pub(super) index: usize,
    /// Its exit code.
    pub(super) code: i32,
    /// How many tests it says have passed.
    pub(super) passed: u32,
}

/// Whether a machine can be started here.
pub(super) fn available() -> Result<(), Skip> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Skip("the kernels and programs for it are those of x86-64".to_owned()));
    }
    let found =
        Command::new(QEMU).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(Skip(format!("no {QEMU} (Debian: qemu-system-x86)")))
    }
}

impl Guest {
    /// Two nodes, each with two CPUs and its own memory.
    pub(super) fn two_nodes() -> Guest {
        let arguments = [
            "-object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M",
            "-numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1",
            "-numa dist,src=0,dst=1,val=21",
        ];
        let words = arguments.iter().flat_map(|line| line.split(' ')).map(str::to_owned);
        Guest { cpus: 4, mebibytes: 1024, arguments: words.collect() }
    }

    /// Starts the machine, prints what it says, and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or did not come to the end of its list in time.
    pub(super) fn run(&self, kernel: &Path, archive: &Path) -> Outcome<Vec<Ended>> {
        let mut command = Command::new(QEMU);
        // la57=off: Linux 6.12 faults twice at boot without it under QEMU 7.2.
        command.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max,la57=off",
            "-nographic",
            "-no-reboot",
        ]);
        command.args(["-m", &format!("{}M", self.mebibytes), "-smp", &self.cpus.to_string()]);
        command.args(&self.arguments).arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
        command.args(["-append", "console=ttyS0 quiet panic=-1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|e| format!("cannot run {QEMU}: {e}"))?;
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n')) {
                let Ok(line) = line else { break };
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let mut said = Transcript::default();
        loop {
            match lines.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    if said.line(&line) {
                        let from = line.find("guest: ").unwrap_or(0);
                        println!("    {}", line.get(from..).unwrap_or(&line));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("the machine did not end within {} s", LIMIT.as_secs()));
                }
            }
        }
        let status = child.wait().map_err(|e| format!("{QEMU}: {e}"))?;
        let _ = reader.join();
        if said.over { Ok(said.ended) } else { Err(format!("{QEMU} stopped early: {status}")) }
    }
}

/// What is understood of the lines of a machine: those of `xtask/guest`, and the summaries of the test harness.
#[derive(Debug, Default)]
struct Transcript {
    begun: bool,
    over: bool,
    passed: u32,
    ended: Vec<Ended>,
}

impl Transcript {
    /// Takes a line in; says whether it is worth showing. Those of the firmware and the boot are not.
    fn line(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // After the firmware's control characters, on the same line.
            [.., "kernel", _] if line.contains("guest: ") => self.begun = true,
            ["guest:", "begin", _] => self.passed = 0,
            ["test", "result:", _, passed, "passed;", ..] => {
                self.passed += passed.parse::<u32>().unwrap_or(0);
            }
            ["guest:", "end", index, code] => {
                if let (Ok(index), Ok(code)) = (index.parse(), code.parse()) {
                    self.ended.push(Ended { index, code, passed: self.passed });
                }
            }
            ["guest:", "over"] => self.over = true,
            _ => {}
        }
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcript_has_codes_and_counts() {
        let mut said = Transcript::default();
        assert!(!said.line("SeaBIOS (version 1.16)"));
        assert!(said.line("\u{1b}c\u{1b}[?7l\u{1b}[2Jguest: kernel 7.3.4"));
        for line in [
            "guest: begin 0",
            "test result: ok. 5 passed; 0 failed; 0 ignored",
            "guest: end 0 0",
            "guest: begin 1",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored",
            "guest: end 1 101",
        ] {
            assert!(said.line(line) && !said.over);
        }
        let ended = |index, code, passed| Ended { index, code, passed };
        assert_eq!(said.ended, [ended(0, 0, 5), ended(1, 101, 1)]);
        said.line("guest: over");
        assert!(said.over);
    }
}
