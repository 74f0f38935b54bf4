//! The archive that a kernel unpacks into its first file system: cpio in the format `newc`, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.

use std::path::Path;
use std::time::Duration;

use super::build::{INIT, Programs};
use crate::Outcome;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TEXT: u32 = 0o100_644;
const CHARACTERS: u32 = 0o020_600;
const LINK: u32 = 0o120_777;

/// What tests start by its name: programs of busybox.
const TOOLS: [&str; 6] = ["cat", "kill", "mkfifo", "sh", "sleep", "true"];

/// Programs, and the list of those to run.
#[derive(Debug)]
pub(super) struct Image {
    archive: Vec<u8>,
    files: u32,
    list: String,
}

impl Image {
    /// An image for these programs, with the first process.
    pub(super) fn of(programs: &Programs) -> Outcome<Image> {
        let mut image = Image::new(programs.path(INIT)?)?;
        image.directory(&programs.temporary)?;
        programs.libraries.iter().try_for_each(|library| image.copy(library))?;
        Ok(image)
    }

    fn new(init: &Path) -> Outcome<Image> {
        let mut image = Image { archive: Vec::new(), files: 0, list: String::new() };
        for directory in ["dev", "etc", "proc", "sys", "tmp"] {
            image.entry(directory, DIRECTORY, (0, 0), &[])?;
        }
        // Names are looked up without a server.
        image.entry("etc/hosts", TEXT, (0, 0), b"127.0.0.1 localhost\n::1 localhost\n")?;
        // Standard input and output of the first process.
        image.entry("dev/console", CHARACTERS, (5, 1), &[])?;
        image.entry("init", PROGRAM, (0, 0), &read(init)?)?;
        Ok(image)
    }

    /// Adds a directory, given by its whole path, and those above it.
    pub(super) fn directory(&mut self, path: &Path) -> Outcome {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            let name = directory.display().to_string();
            let name = name.trim_start_matches('/');
            if !name.is_empty() {
                self.entry(name, DIRECTORY, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    /// Adds a file where it is on this machine.
    pub(super) fn copy(&mut self, path: &Path) -> Outcome {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let name = path.display().to_string();
        self.entry(name.trim_start_matches('/'), PROGRAM, (0, 0), &read(path)?)
    }

    /// Adds a program, in the root directory.
    pub(super) fn program(&mut self, name: &str, program: &Path) -> Outcome {
        self.entry(name, PROGRAM, (0, 0), &read(program)?)
    }

    /// Adds the programs that tests start, all of them in this one.
    pub(super) fn tools(&mut self, busybox: &Path) -> Outcome {
        self.program("busybox", busybox)?;
        TOOLS.iter().try_for_each(|tool| self.entry(tool, LINK, (0, 0), b"busybox"))
    }

    /// Has a program run, after those before it: for so many seconds at most, with these settings (`NAME=value`) and
    /// arguments.
    pub(super) fn run(
        &mut self,
        name: &str,
        limit: Duration,
        settings: &[&str],
        arguments: &[&str],
    ) {
        let (limit, program) = (limit.as_secs().to_string(), format!("/{name}"));
        let words = [&[limit.as_str()], settings, &[program.as_str()], arguments].concat();
        self.list.push_str(&words.join("\t"));
        self.list.push('\n');
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Outcome<Vec<u8>> {
        let list = std::mem::take(&mut self.list);
        self.entry("run.list", TEXT, (0, 0), list.as_bytes())?;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.archive)
    }

    /// One file: a head of hexadecimal numbers, the name, the content, each padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Outcome {
        let length = |n: usize| u32::try_from(n).map_err(|_| format!("{name} is too large"));
        self.files += 1;
        let (size, name_size) = (length(content.len())?, length(name.len() + 1)?);
        let (major, minor) = device;
        let head = [self.files, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.archive.extend(b"070701");
        for number in head {
            self.archive.extend(format!("{number:08X}").bytes());
        }
        self.archive.extend(name.bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_head_name_and_content_at_multiples_of_four() {
        let mut image = Image { archive: Vec::new(), files: 0, list: String::new() };
        image.entry("a", TEXT, (5, 1), b"hello").unwrap();
        let expected = "070701\
            00000001000081A40000000000000000000000010000000000000005\
            0000000000000000000000050000000100000002\
            00000000a\0hello\0\0\0";
        assert_eq!(String::from_utf8(image.archive).unwrap(), expected);
    }

    #[test]
    fn the_list_has_a_line_for_each_program() {
        let own = std::env::current_exe().unwrap();
        let mut image = Image::new(&own).unwrap();
        image.program("one", &own).unwrap();
        let limit = Duration::from_secs(60);
        image.run("one", limit, &["KIND=x"], &["--flag", "x"]);
        image.run("one", limit, &[], &[]);
        assert_eq!(image.list, "60\tKIND=x\t/one\t--flag\tx\n60\t/one\n");
        image.directory(Path::new("/a/b")).unwrap();
        let archive = image.finish().unwrap();
        assert!(archive.len().is_multiple_of(4) && archive.len() > 2 * 100_000);
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0") || archive.ends_with(b"TRAILER!!!\0"));
    }
}
