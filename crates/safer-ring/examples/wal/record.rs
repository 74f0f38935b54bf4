//! What a record of the log looks like.

/// What a record has beside its line: eight digits of a check sum, a space, the end of the line.
pub(crate) const EXTRA: usize = 10;

/// A line as a record.
pub(crate) fn encode(line: &str) -> String {
    format!("{:08x} {line}\n", check(line.as_bytes()))
}

/// The lines of a log, up to the first record that is torn.
pub(crate) fn records(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.split_inclusive(|byte| *byte == b'\n').map_while(|record| {
        let (sum, line) = record.strip_suffix(b"\n")?.split_at_checked(9)?;
        (sum == format!("{:08x} ", check(line)).as_bytes()).then_some(line)
    })
}

/// FNV-1a.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
