//! A server as a process, and what the kernel tells about it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server has to end, or to close what its clients have left.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that listens. Dropped before it is ended, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it, and waits until it says where it listens.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let mut says = BufReader::new(output);
        let mut line = String::new();
        says.read_line(&mut line)?;
        let Some(Ok(address)) = line.trim().strip_prefix("http://").map(str::parse) else {
            let _ = child.kill();
            let status = child.wait()?;
            return Err(io::Error::other(format!("the server did not start: {status}")));
        };
        Ok(Self { address, child, says })
    }

    /// CPU time of all its threads up to now, those that have ended and the kernel's workers included.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        cpu_in(&self.proc("stat")?, rustix::param::clock_ticks_per_second())
            .ok_or_else(|| io::Error::other("/proc/PID/stat has another form"))
    }

    /// Bytes of memory that it has in RAM.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let pages = self.proc("statm")?.split(' ').nth(1).and_then(|field| field.parse().ok());
        let pages: u64 =
            pages.ok_or_else(|| io::Error::other("/proc/PID/statm has another form"))?;
        Ok(pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096))
    }

    /// Open descriptors, once their number has been the same for a while.
    pub(crate) fn settled_descriptors(&self) -> io::Result<usize> {
        let begin = Instant::now();
        let (mut count, mut since) = (self.descriptors()?, begin);
        while since.elapsed() < Duration::from_millis(300) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.descriptors()?;
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(count)
    }

    /// Open descriptors, once they are no more than `before`, or when patience is at its end.
    pub(crate) fn descriptors_after(&self, before: usize) -> io::Result<usize> {
        let begin = Instant::now();
        while self.descriptors()? > before && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.descriptors()
    }

    /// Interrupts it, waits for its end, and gives what it said last.
    pub(crate) fn end(mut self) -> io::Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if begin.elapsed() > PATIENCE => {
                    return Err(io::Error::other("it did not end when interrupted"));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        // What it says is less than a pipe holds.
        let mut said = String::new();
        self.says.read_to_string(&mut said)?;
        if status.success() {
            Ok(said)
        } else {
            Err(io::Error::other(format!("it ended with {status}")))
        }
    }

    fn descriptors(&self) -> io::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    fn proc(&self, name: &str) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// utime and stime in the text of /proc/PID/stat: proc_pid_stat(5).
fn cpu_in(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name of the program may have spaces and parentheses in it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second)))
}

/// A figure of a ring's snapshot, in the words of its `Debug`.
pub(crate) fn figure(snapshot: &str, name: &str) -> Option<u64> {
    let (_, rest) = snapshot.split_once(&format!(" {name}: "))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0";
        assert_eq!(cpu_in(stat, 100), Some(Duration::from_millis(1750)));
        assert_eq!(cpu_in("7 (a) S 1 2", 100), None);
    }

    #[test]
    fn figures_of_a_snapshot_are_found_by_their_whole_name() {
        let text = "Snapshot { rings: 3, adopted_fds: 12, enters: 40, plain_calls: 0 }";
        assert_eq!(figure(text, "enters"), Some(40));
        assert_eq!(figure(text, "fds"), None);
        assert_eq!(figure(text, "plain_calls"), Some(0));
    }

    #[test]
    fn a_server_that_says_nothing_is_an_error_and_one_that_fails_at_its_end_too() {
        assert!(Server::start(Command::new("true").arg("x")).is_err());
        let script = "trap 'exit 3' INT; echo http://127.0.0.1:1; while :; do sleep 0.01; done";
        // A shell that was started with the signal ignored, as in the background of another, could not trap it.
        let shell = ["--default-signal=INT", "sh", "-c", script];
        let server = Server::start(Command::new("env").args(shell)).unwrap();
        assert!(server.resident().unwrap() > 0);
        let ended = server.end().unwrap_err();
        assert!(ended.to_string().contains("exit status: 3"), "{ended}");
    }
}
