//! Files out of Debian's packages: apt checks their signatures, and nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Got, Skip};
use crate::workspace::output_of;

/// Signs what Debian publishes; the package `debian-archive-keyring` has it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// A failure here is the network's, the mirror's or this machine's: a reason to skip.
pub(super) type Try<T> = Result<T, Skip>;

pub(super) fn lacking(message: impl Into<String>) -> Skip {
    Skip(message.into())
}

/// The small programs that tests start, in one file without shared libraries.
pub(super) fn busybox(cache: &Path) -> Got<PathBuf> {
    fetch((&mirror(), "bookworm"), ("busybox", "busybox"), cache, |work| {
        apt(work, "apt-get", &["-qq", "download", "busybox-static"])?;
        unpack(work)?;
        Ok(work.join("root/bin/busybox"))
    })
}

/// A file of a suite of Debian on a mirror, which is kept in `cache` by these names of a directory and a file. `download`
/// finds it, in a directory where apt knows the suite.
pub(super) fn fetch(
    (mirror, suite): (&str, &str),
    (name, file): (&str, &str),
    cache: &Path,
    download: impl FnOnce(&Path) -> Try<PathBuf>,
) -> Got<PathBuf> {
    let home = cache.join(name);
    let kept = home.join(file);
    if kept.is_file() {
        return Ok(Ok(kept));
    }
    // Two processes may fetch the same at the same time; an interrupted one may have left something.
    let work = cache.join(format!("{name}.{}.new", std::process::id()));
    let _ = std::fs::remove_dir_all(&work);
    let make = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))
    };
    make(&work.join("lists/partial"))?;
    make(&home)?;
    println!("fetching {file} for {name} of {suite}");
    let found = match know(mirror, suite, &work).and_then(|()| download(&work)) {
        Ok(found) => found,
        Err(skip) => return Ok(Err(skip)),
    };
    // Last, so that what is there is whole.
    std::fs::rename(&found, &kept).map_err(|e| format!("cannot move {}: {e}", found.display()))?;
    let _ = std::fs::remove_dir_all(&work);
    Ok(Ok(kept))
}

/// Tells apt of a suite.
fn know(mirror: &str, suite: &str, work: &Path) -> Try<()> {
    if !Path::new(KEYRING).is_file() {
        return Err(lacking(format!("no {KEYRING}: kernels come from Debian")));
    }
    let list = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
    std::fs::write(work.join("suite.list"), list).map_err(|e| lacking(e.to_string()))?;
    apt(work, "apt-get", &["-qq", "update"]).map(drop)
}

/// Unpacks what was downloaded, into `root`.
pub(super) fn unpack(work: &Path) -> Try<()> {
    for package in files(work) {
        if package.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&package).arg(work.join("root"));
            output_of(&mut unpack).map_err(lacking)?;
        }
    }
    Ok(())
}

/// Runs apt with the list in `work`, and with everything that it writes there too.
pub(super) fn apt(work: &Path, program: &str, arguments: &[&str]) -> Try<String> {
    let at = |option: &str, path: &str| format!("-o{option}={}", work.join(path).display());
    let mut command = Command::new(program);
    command.current_dir(work).stdin(std::process::Stdio::null());
    command.args([
        at("Dir::Etc::SourceList", "suite.list"),
        "-oDir::Etc::SourceParts=/dev/null".to_owned(),
        at("Dir::State::Lists", "lists"),
        "-oDir::Cache::pkgcache=".to_owned(),
        "-oDir::Cache::srcpkgcache=".to_owned(),
        // Root may read the directory; apt's own user may not.
        "-oAPT::Sandbox::User=root".to_owned(),
        "-oAcquire::Retries=2".to_owned(),
        "-oAcquire::http::Timeout=20".to_owned(),
        // Without it a mirror that does not answer is a warning.
        "-oAPT::Update::Error-Mode=any".to_owned(),
    ]);
    output_of(command.args(arguments))
        .map_err(|message| lacking(message.lines().last().unwrap_or("apt failed").to_owned()))
}

/// The mirror that this machine is set up with.
pub(super) fn mirror() -> String {
    let sources = files(Path::new("/etc/apt/sources.list.d")).into_iter();
    let texts = sources.filter_map(|path| std::fs::read_to_string(path).ok());
    let main = |text: String| first_mirror(&text).map(str::to_owned);
    texts.filter_map(main).next().unwrap_or_else(|| MIRROR.to_owned())
}

/// The first address of a file of sources that has Debian itself, and not its security updates.
fn first_mirror(text: &str) -> Option<&str> {
    let uris = text.lines().filter_map(|line| line.strip_prefix("URIs:"));
    uris.flat_map(str::split_whitespace).find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
}

/// What a directory holds; nothing if it is not there.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debian_itself() {
        let text = "Types: deb\nURIs: http://security.example/debian-security\n\
                    URIs: http://near.example/debian/\n";
        assert_eq!(first_mirror(text), Some("http://near.example/debian/"));
        assert_eq!(first_mirror("Types: deb\n"), None);
    }
}
