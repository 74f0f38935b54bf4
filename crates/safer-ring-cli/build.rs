//! Records the compiler's version: instruction counts of different compilers do not compare.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    if let Ok(version) =
        version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    {
        println!("cargo::rustc-env=SAFER_RING_RUSTC={version}");
    }
}
