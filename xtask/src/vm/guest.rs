//! A virtual machine, and what it says on its serial line.
//!
//! QEMU emulates the processors in software, so that it runs wherever this does, also inside of other virtual machines.
//! Nothing about speed can be learnt in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Skip;
use super::transcript::Transcript;
use crate::Outcome;

const QEMU: &str = "qemu-system-x86_64";
/// How often a machine is started that does not get to its first program. Seen on a busy host with a kernel that rewrites
/// its code while it boots: one emulated processor still ran the trap that another one had replaced (`Oops: int3`).
const BOOTS: u32 = 3;

/// The shape of a machine.
#[derive(Debug)]
pub(super) struct Guest {
    cpus: u32,
    mebibytes: u64,
    /// Further arguments of QEMU.
    arguments: Vec<String>,
    /// How long it may run.
    limit: Duration,
    /// Whether what it says is shown as it comes.
    shown: bool,
}

/// A machine that runs. It ends with this value.
#[derive(Debug)]
struct Machine {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

/// Whether a machine can be started here.
pub(super) fn available() -> Result<(), Skip> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Skip("the kernels and programs for it are those of x86-64".to_owned()));
    }
    if runs(QEMU, "-version") {
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
        // Longer than any run takes, also on a busy machine.
        let limit = Duration::from_secs(240);
        Guest { cpus: 4, mebibytes: 1024, arguments: words.collect(), limit, shown: true }
    }

    /// Two CPUs, and memory enough for an archive of so many bytes.
    pub(super) fn plain(archive: u64, limit: Duration) -> Guest {
        // The archive and what is unpacked from it are in memory together.
        let mebibytes = 768 + 2 * (archive >> 20);
        Guest { cpus: 2, mebibytes, arguments: Vec::new(), limit, shown: false }
    }

    /// Starts the machine, and waits for its end. What it said is complete if [`Transcript::over`]; it is in the file `log`
    /// too, as it comes. One that stops before its first program is started again.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn run(&self, kernel: &Path, archive: &Path, log: &Path) -> Outcome<Transcript> {
        until_booted(log, || self.run_once(kernel, archive, log))
    }

    fn run_once(&self, kernel: &Path, archive: &Path, log: &Path) -> Outcome<Transcript> {
        let unwritten = |error| format!("cannot write {}: {error}", log.display());
        let mut log_file = File::create(log).map_err(unwritten)?;
        let mut machine = Machine::start(self.command(kernel, archive))?;
        let start = Instant::now();
        let mut said = Transcript::default();
        loop {
            match machine.lines.recv_timeout(self.limit.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    writeln!(log_file, "{line}").map_err(unwritten)?;
                    if said.line(&line) && self.shown {
                        let from = line.find("guest: ").unwrap_or(0);
                        println!("    {}", line.get(from..).unwrap_or(&line));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    said.broken = Some(format!("not over after {} s", self.limit.as_secs()));
                    return Ok(said);
                }
            }
        }
        let status = machine.wait()?;
        if !said.over {
            said.broken = Some(format!("{QEMU} stopped early: {status}"));
        }
        Ok(said)
    }

    fn command(&self, kernel: &Path, archive: &Path) -> Command {
        // Should this program be killed, its machines go with it. setpriv(1) is part of util-linux.
        let mut command = if runs("setpriv", "--version") {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", QEMU]);
            command
        } else {
            Command::new(QEMU)
        };
        // la57=off: Linux 6.12 faults twice at boot without it under QEMU 7.2. erms=off: with it kernels copy by an
        // instruction that is emulated byte by byte.
        let processor = ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off"];
        command.args(processor).args(["-nographic", "-no-reboot"]);
        command.args(["-m", &format!("{}M", self.mebibytes), "-smp", &self.cpus.to_string()]);
        command.args(&self.arguments).arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
        // no_timer_check: on a busy machine an emulated timer does not tick as often as the kernel wants to see at boot.
        command.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command
    }
}

impl Machine {
    fn start(mut command: Command) -> Outcome<Machine> {
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
        Ok(Machine { child, lines, reader: Some(reader) })
    }

    fn wait(&mut self) -> Outcome<ExitStatus> {
        self.child.wait().map_err(|e| format!("{QEMU}: {e}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both do nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Starts a machine, and again if it stops before its first program.
fn until_booted(log: &Path, mut run: impl FnMut() -> Outcome<Transcript>) -> Outcome<Transcript> {
    for _ in 1..BOOTS {
        let said = run()?;
        match &said.broken {
            Some(why) if said.kernel.is_empty() => {
                let kept = log.with_extension("boot.log");
                std::fs::rename(log, &kept)
                    .map_err(|error| format!("cannot move {}: {error}", log.display()))?;
                println!("once more: it did not boot ({why}): {}", kept.display());
            }
            _ => return Ok(said),
        }
    }
    run()
}

/// Whether a program can be run at all.
fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    let found = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a machine is started that first says each of these, of which the last goes on for ever.
    fn starts(said: &[(&str, Option<&str>)]) -> usize {
        let log = std::env::temp_dir().join(format!("xtask-boots-{}.log", std::process::id()));
        let mut count = 0;
        let last = until_booted(&log, || {
            std::fs::write(&log, "").unwrap();
            let (kernel, broken) = said[count.min(said.len() - 1)];
            count += 1;
            let (kernel, broken) = (kernel.to_owned(), broken.map(str::to_owned));
            Ok(Transcript { kernel, broken, ..Transcript::default() })
        });
        assert_eq!(last.unwrap().kernel, said[said.len() - 1].0);
        for file in [log.with_extension("boot.log"), log] {
            // The first is there only if it was started more than once.
            let _ = std::fs::remove_file(file);
        }
        count
    }

    #[test]
    fn a_machine_that_did_not_boot_is_started_again_and_one_that_broke_later_is_not() {
        let stopped = Some("stopped early");
        assert_eq!(starts(&[("7.3", None)]), 1);
        assert_eq!(starts(&[("7.3", stopped)]), 1);
        assert_eq!(starts(&[("", stopped), ("7.3", None)]), 2);
        assert_eq!(starts(&[("", stopped)]), 3);
    }

    #[test]
    fn a_machine_that_is_given_up_ends() {
        let mut command = Command::new("sleep");
        command.arg("1000").stdout(Stdio::piped());
        let machine = Machine::start(command).unwrap();
        let process = format!("/proc/{}", machine.child.id());
        assert!(Path::new(&process).exists());
        drop(machine);
        assert!(!Path::new(&process).exists());
    }
}
