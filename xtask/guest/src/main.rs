//! The first process of a guest: mounts what programs expect, runs each line of `/run.list`, tells how it ended, and
//! turns the machine off. `xtask/src/vm/guest.rs` starts the machine and reads what is printed here.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::io::Write;
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// Source, target and kind of each file system.
const MOUNTS: [(&str, &str, &str); 4] = [
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("tmpfs", "/tmp", "tmpfs"),
];

fn main() {
    if !rustix::process::getpid().is_init() {
        eprintln!("this is the first process of a virtual machine; `cargo xtask vm` starts it");
        std::process::exit(2);
    }
    for (source, target, kind) in MOUNTS {
        if let Err(error) = mount(source, target, kind, MountFlags::empty(), None::<&CStr>) {
            println!("guest: cannot mount {target}: {error}");
        }
    }
    let kernel = rustix::system::uname();
    println!("guest: kernel {}", kernel.release().to_string_lossy());
    match std::fs::read_to_string("/run.list") {
        Ok(list) => list.lines().enumerate().for_each(|(index, line)| run(index, line)),
        Err(error) => println!("guest: no /run.list: {error}"),
    }
    println!("guest: over");
    let _ = std::io::stdout().flush();
    // The console is a serial line; what is on it has left before the machine is off. The first process must not return:
    // the kernel panics then, which also ends the machine (`panic=-1`).
    let _ = reboot(RebootCommand::PowerOff);
}

/// Runs one line: program and arguments, separated by tabs.
fn run(index: usize, line: &str) {
    let mut words = line.split('\t');
    let Some(program) = words.next().filter(|program| !program.is_empty()) else { return };
    println!("guest: begin {index}");
    let status = Command::new(program)
        .args(words)
        .env("PATH", "/")
        .env("RUST_BACKTRACE", "1")
        .env("SAFER_RING_GUEST", "1")
        .status();
    let code = match status {
        Ok(status) => status.code().unwrap_or(-1),
        Err(error) => {
            println!("guest: cannot run {program}: {error}");
            127
        }
    };
    println!("guest: end {index} {code}");
}
