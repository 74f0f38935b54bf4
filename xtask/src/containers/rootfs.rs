//! The root of the containers: a directory with the programs, the libraries they are linked to, and empty directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, workspace};

use super::inside;

/// Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Rootfs {
    /// Holds the root and what lies beside it.
    home: PathBuf,
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        // What is left over is in the temporary directory.
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Rootfs {
    /// Below the temporary directory, where every user can reach it.
    pub(super) fn new(program: &Path, echo: &Path) -> Outcome<Rootfs> {
        let home =
            std::env::temp_dir().join(format!("safer-ring-containers-{}", std::process::id()));
        let rootfs = Rootfs { home };
        let root = rootfs.root();
        for name in ["proc", "sys", "dev", "tmp", "etc", "run"] {
            make_directory(&root.join(name))?;
        }
        allow(&root.join("tmp"), 0o1777)?;
        let own = std::env::current_exe().map_err(|e| format!("containers: {e}"))?;
        let programs = [(program, "safer-ring"), (echo, inside::ECHO), (&own, "xtask")];
        for (from, name) in programs {
            copy(from, &root.join(name))?;
            for library in libraries(&workspace::output_of(Command::new("ldd").arg(from))?) {
                let inside = library.strip_prefix("/").unwrap_or(&library);
                copy(&library, &root.join(inside))?;
            }
        }
        Ok(rootfs)
    }

    /// The directory that becomes `/`.
    pub(super) fn root(&self) -> PathBuf {
        self.home.join("root")
    }

    /// A path outside of the root.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Writes a file outside of the root.
    pub(super) fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.beside(name);
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        allow(&path, 0o644)
    }
}

/// The files in the output of ldd(1): `name => /path (address)` or `/path (address)`.
fn libraries(output: &str) -> Vec<PathBuf> {
    let paths = output.lines().filter_map(|line| {
        line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
    });
    paths.collect()
}

fn make_directory(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))
}

/// Copies a file or what a link leads to, for everybody to read and run.
fn copy(from: &Path, to: &Path) -> Outcome {
    if let Some(parent) = to.parent() {
        make_directory(parent)?;
    }
    fs::copy(from, to).map_err(|e| format!("cannot copy {}: {e}", from.display()))?;
    allow(to, 0o755)
}

fn allow(path: &Path, mode: u32) -> Outcome {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|e| format!("cannot change {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f9d)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f9d)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(output), expected.map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
