//! Prints the table of kernel versions, a line for each entry: kind, value, name, first kernel.

use std::io::Write;

use safer_ring_sys::kernels;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for entry in kernels::entries() {
        let (major, minor) = entry.since;
        writeln!(out, "{:?}\t{}\t{}\t{major}.{minor}", entry.kind, entry.value, entry.name)?;
    }
    Ok(())
}
