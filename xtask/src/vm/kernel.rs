//! Kernels of Debian, as `vmlinuz` files.

use std::path::{Path, PathBuf};

use super::Got;
use super::debian::{self, Try, apt, files, lacking, mirror};

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

impl Kernel {
    /// The kernel's file, fetched into `cache` unless it is there.
    pub(super) fn fetch(&self, cache: &Path) -> Got<PathBuf> {
        self.fetch_from(&mirror(), cache)
    }

    fn fetch_from(&self, mirror: &str, cache: &Path) -> Got<PathBuf> {
        let suite = (mirror, self.suite);
        debian::fetch(suite, (self.name, "vmlinuz"), cache, |work| self.download(work))
    }

    fn download(&self, work: &Path) -> Try<PathBuf> {
        let names = apt(work, "apt-cache", &["pkgnames", "linux-image-"])?;
        let image = self
            .newest(&names)
            .ok_or_else(|| lacking(format!("{} has none of {:?}", self.suite, self.packages)))?;
        let version = image.trim_start_matches("linux-image-");
        apt(work, "apt-get", &["-qq", "download", image])?;
        // Newer kernels are in a package of their own, which does not exist for older ones.
        let _ = apt(work, "apt-get", &["-qq", "download", &format!("linux-binary-{version}")]);
        debian::unpack(work)?;
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
