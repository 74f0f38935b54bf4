//! The first process of a guest: mounts what programs expect, raises the loopback interface, runs each line of
//! `/run.list`, tells how it ended and what the kernel complained of, and turns the machine off. `xtask/src/vm/guest.rs`
//! starts the machine and reads what is printed here.
#![forbid(unsafe_code)]

mod log;
mod loopback;

use std::ffi::CStr;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit};
use rustix::system::{RebootCommand, reboot};

/// Source, target and kind of each file system.
const MOUNTS: [(&str, &str, &str); 4] = [
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("devtmpfs", "/dev", "devtmpfs"),
    ("tmpfs", "/tmp", "tmpfs"),
];
/// Limits, current and highest, as a distribution sets them: the kernel's own are of another time.
const LIMITS: [(Resource, u64, u64); 2] =
    [(Resource::Memlock, 8 << 20, 8 << 20), (Resource::Nofile, 1024, 524_288)];
/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);
/// What timeout(1) gives for a program that it has ended.
const TOO_LONG: i32 = 124;

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
    // Tests ask for large buffers, of which they touch little.
    if let Err(error) = std::fs::write("/proc/sys/vm/overcommit_memory", "1") {
        println!("guest: overcommit_memory cannot be set: {error}");
    }
    for (resource, current, maximum) in LIMITS {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        if let Err(error) = setrlimit(resource, limit) {
            println!("guest: {resource:?} cannot be set: {error}");
        }
    }
    if let Err(error) = loopback::raise() {
        println!("guest: no loopback: {error}");
    }
    match std::fs::read_to_string("/run.list") {
        Ok(list) => list.lines().enumerate().for_each(|(index, line)| run(index, line)),
        Err(error) => println!("guest: no /run.list: {error}"),
    }
    match log::complaints() {
        Ok(lines) => lines.iter().for_each(|line| println!("guest: log {line}")),
        Err(error) => println!("guest: log cannot be read: {error}"),
    }
    println!("guest: over");
    let _ = std::io::stdout().flush();
    // The console is a serial line; what is on it has left before the machine is off. The first process must not return:
    // the kernel panics then, which also ends the machine (`panic=-1`).
    let _ = reboot(RebootCommand::PowerOff);
}

/// Runs one line: seconds that it may take, settings of the environment, program and arguments, separated by tabs.
fn run(index: usize, line: &str) {
    let mut words = line.split('\t');
    let limit = words.next().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let (Some(limit), Some(program)) = (limit, words.clone().find(|word| word.starts_with('/')))
    else {
        return println!("guest: cannot read \"{line}\"");
    };
    let mut command = Command::new(program);
    command.env("PATH", "/").env("RUST_BACKTRACE", "1").env("SAFER_RING_GUEST", "1");
    for setting in words.by_ref().take_while(|word| !word.starts_with('/')) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        command.env(name, value);
    }
    // A group of its own: what it has started ends with it.
    command.args(words).process_group(0);
    println!("guest: begin {index}");
    let start = Instant::now();
    let code = match command.spawn() {
        Ok(mut child) => watch(&mut child, start + limit),
        Err(error) => {
            println!("guest: cannot run {program}: {error}");
            127
        }
    };
    println!("guest: end {index} {code} {}", start.elapsed().as_millis());
}

/// Waits for the end of a program, which comes at `until` at the latest.
fn watch(child: &mut Child, until: Instant) -> i32 {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end_all = || group.map(|group| kill_process_group(group, Signal::KILL));
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // Those that outlive it; none is the rule.
                end_all();
                // As a shell says it: 128 and the signal.
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) => {
                end_all();
                let _ = child.wait();
                println!("guest: it took too long");
                return TOO_LONG;
            }
            Err(error) => {
                println!("guest: cannot wait: {error}");
                return 127;
            }
        }
    }
}
