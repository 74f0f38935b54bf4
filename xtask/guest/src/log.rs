//! What the kernel complained of: its log, which is not on the console (`quiet`).

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// What a fault of the kernel begins with, anywhere in a line.
const SIGNS: [&str; 8] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "general protection fault",
    "refcount_t:",
    "blocked for more than",
    "detected stall",
    "Call Trace",
];

/// Lines of kmsg(4) that tell of a fault.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn complaints() -> io::Result<Vec<String>> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut log = OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg")?;
    let mut record = vec![0; 8192];
    let mut found = Vec::new();
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(found),
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                found.extend(complaint(&text).map(str::to_owned));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
            // Records were overwritten before they were read; the next read goes on behind them.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The text of a record, if it is a complaint: behind the first semicolon, up to the first line's end.
fn complaint(record: &str) -> Option<&str> {
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    SIGNS.iter().any(|sign| text.contains(sign)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_from_the_rest() {
        let found = complaint("4,1,2,-;WARNING: CPU: 0 PID: 1 at io_uring/x.c:1\n SUBSYSTEM=x\n");
        assert_eq!(found, Some("WARNING: CPU: 0 PID: 1 at io_uring/x.c:1"));
        assert_eq!(complaint("6,1,2,-;Linux version 6.1\n"), None);
        assert_eq!(complaint("no record"), None);
    }
}
