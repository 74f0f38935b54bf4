//! Kernels of Debian, as `vmlinuz` files: apt checks their signatures, and nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Got, Skip};
use crate::workspace::output_of;

/// Signs what Debian publishes; the package `debian-archive-keyring` has it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// A line of kernels, of which the newest is taken.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What it is called here, and the directory it is kept in.
    pub(super) name: &'static str,
    /// The suite of Debian that has it.
    suite: &'static str,
    /// How the name of its package begins and ends; between them is the rest of the version. The first that the suite
    /// has is taken.
    packages: &'static [(&'static str, &'static str)],
}

/// The newest that Debian has for its stable release. The suite has one line at a time: when 7.3 has gone, what came
/// after it is taken. What a guest runs is what it says itself.
pub(crate) const NEWEST: Kernel = Kernel {
    name: "7.3",
    suite: "trixie-backports",
    packages: &[
        ("linux-image-7.3.", "+deb13-cloud-amd64"),
        ("linux-image-7.", "+deb13-cloud-amd64"),
    ],
};

/// That of Debian 13.
const LINUX_6_12: Kernel = Kernel {
    name: "6.12",
    suite: "trixie",
    packages: &[("linux-image-6.12.", "+deb13-cloud-amd64")],
};

/// That of Debian 12.
pub(crate) const LINUX_6_1: Kernel =
    Kernel { name: "6.1", suite: "bookworm", packages: &[("linux-image-6.1.0-", "-cloud-amd64")] };

/// That of Debian 11: without setup flags that all newer ones have, and with io_uring of 5.15 in part.
const LINUX_5_10: Kernel = Kernel {
    name: "5.10",
    suite: "bullseye",
    packages: &[("linux-image-5.10.0-", "-cloud-amd64")],
};

/// Every kernel of the matrix, from old to new.
pub(super) const ALL: [&Kernel; 4] = [&LINUX_5_10, &LINUX_6_1, &LINUX_6_12, &NEWEST];

/// A failure here is the network's, the mirror's or this machine's: a reason to skip.
type Try<T> = Result<T, Skip>;

fn lacking(message: impl Into<String>) -> Skip {
    Skip(message.into())
}

impl Kernel {
    /// The kernel's file, fetched into `cache` unless it is there.
    pub(super) fn fetch(&self, cache: &Path) -> Got<PathBuf> {
        self.fetch_from(&mirror(), cache)
    }

    fn fetch_from(&self, mirror: &str, cache: &Path) -> Got<PathBuf> {
        let home = cache.join(self.name);
        let kept = home.join("vmlinuz");
        if kept.is_file() {
            return Ok(Ok(kept));
        }
        let work = cache.join(format!("{}.new", self.name));
        // What an interrupted run has left.
        let _ = std::fs::remove_dir_all(&work);
        let make = |path: &Path| {
            std::fs::create_dir_all(path)
                .map_err(|e| format!("cannot make {}: {e}", path.display()))
        };
        make(&work.join("lists/partial"))?;
        make(&home)?;
        println!("fetching a kernel: {} of {}", self.name, self.suite);
        let found = match self.download(mirror, &work) {
            Ok(found) => found,
            Err(skip) => return Ok(Err(skip)),
        };
        // Last, so that what is there is whole.
        std::fs::rename(&found, &kept)
            .map_err(|e| format!("cannot move {}: {e}", found.display()))?;
        let _ = std::fs::remove_dir_all(&work);
        Ok(Ok(kept))
    }

    fn download(&self, mirror: &str, work: &Path) -> Try<PathBuf> {
        if !Path::new(KEYRING).is_file() {
            return Err(lacking(format!("no {KEYRING}: kernels come from Debian")));
        }
        let list = format!("deb [signed-by={KEYRING}] {mirror} {} main\n", self.suite);
        std::fs::write(work.join("suite.list"), list).map_err(|e| lacking(e.to_string()))?;
        apt(work, "apt-get", &["-qq", "update"])?;
        let names = apt(work, "apt-cache", &["pkgnames", "linux-image-"])?;
        let image = self
            .newest(&names)
            .ok_or_else(|| lacking(format!("{} has none of {:?}", self.suite, self.packages)))?;
        let version = image.trim_start_matches("linux-image-");
        apt(work, "apt-get", &["-qq", "download", image])?;
        // Newer kernels are in a package of their own, which does not exist for older ones.
        let _ = apt(work, "apt-get", &["-qq", "download", &format!("linux-binary-{version}")]);
        for package in files(work) {
            if package.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                unpack.arg("-x").arg(&package).arg(work.join("root"));
                output_of(&mut unpack).map_err(lacking)?;
            }
        }
        let boot = files(&work.join("root/boot"));
        let modules = work.join("root/usr/lib/modules").join(version).join("vmlinuz");
        let is_kernel = |path: &PathBuf| {
            path.is_file()
                && path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        };
        let found = boot.into_iter().chain([modules]).find(is_kernel);
        found.ok_or_else(|| lacking(format!("{image} has no vmlinuz")))
    }

    /// The newest of this line among the names of packages.
    fn newest<'n>(&self, names: &'n str) -> Option<&'n str> {
        self.packages.iter().find_map(|(begin, end)| {
            let version = |name: &&str| -> Option<Vec<u32>> {
                let rest = name.strip_prefix(begin)?.strip_suffix(end)?;
                rest.split('.').map(|part| part.parse().ok()).collect()
            };
            names.lines().filter(|name| version(name).is_some()).max_by_key(version)
        })
    }
}

/// Runs apt with the list in `work`, and with everything that it writes there too.
fn apt(work: &Path, program: &str, arguments: &[&str]) -> Try<String> {
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
fn mirror() -> String {
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
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_by_numbers() {
        let names = "linux-image-7.9.1+deb13-cloud-amd64\nlinux-image-7.10.0+deb13-cloud-amd64\n\
                     linux-image-7.10.0+deb13-rt-amd64\nlinux-image-7.x+deb13-cloud-amd64\n\
                     linux-image-6.12.99+deb13-cloud-amd64\n";
        assert_eq!(NEWEST.newest(names), Some("linux-image-7.10.0+deb13-cloud-amd64"));
        assert_eq!(NEWEST.newest("linux-image-amd64\n"), None);
        let both = format!("linux-image-7.3.4+deb13-cloud-amd64\n{names}");
        assert_eq!(NEWEST.newest(&both), Some("linux-image-7.3.4+deb13-cloud-amd64"));
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-50-cloud-amd64\n";
        assert_eq!(LINUX_6_1.newest(names), Some("linux-image-6.1.0-50-cloud-amd64"));
    }

    #[test]
    fn the_mirror_is_that_of_debian_itself() {
        let text = "Types: deb\nURIs: http://security.example/debian-security\n\
                    URIs: http://near.example/debian/\n";
        assert_eq!(first_mirror(text), Some("http://near.example/debian/"));
        assert_eq!(first_mirror("Types: deb\n"), None);
    }

    #[test]
    fn without_a_network_it_is_skipped() {
        let cache = std::env::temp_dir().join(format!("xtask-kernel-{}", std::process::id()));
        // Nobody listens there. Whatever else is missing here (apt, the keyring), it is no error.
        let nowhere = "http://127.0.0.1:9/debian";
        assert!(NEWEST.fetch_from(nowhere, &cache).unwrap().is_err());
        assert!(!cache.join("7.3/vmlinuz").exists());
        std::fs::create_dir_all(cache.join("7.3")).unwrap();
        std::fs::write(cache.join("7.3/vmlinuz"), "kept").unwrap();
        assert_eq!(NEWEST.fetch_from(nowhere, &cache).unwrap(), Ok(cache.join("7.3/vmlinuz")));
        std::fs::remove_dir_all(cache).unwrap();
    }
}
