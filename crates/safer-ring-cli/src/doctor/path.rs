//! The file system and the disk below a path: what `O_DIRECT` asks for, and whether the device can be polled.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags, statx};

use super::findings::PathFound;
use crate::bench::machine::filesystem_of;

/// Looks at a file, a directory or a block device. Of a directory, an unnamed file in it is asked.
///
/// # Errors
/// Those of stat(2) on the path.
pub(crate) fn look(path: &Path) -> io::Result<PathFound> {
    let absolute = std::fs::canonicalize(path)?;
    let about = std::fs::metadata(&absolute)?;
    let is_device = about.file_type().is_block_device();
    let number = if is_device { about.rdev() } else { about.dev() };
    let (direct_memory_align, direct_offset_align) = alignment(&absolute, about.is_dir()).unzip();
    let found = PathFound {
        path: absolute.display().to_string(),
        filesystem: if is_device { None } else { filesystem_of(&absolute) },
        direct_memory_align,
        direct_offset_align,
        ..PathFound::default()
    };
    Ok(match disk(Path::new("/sys/dev/block"), number) {
        Some(disk) => of_disk(found, &disk),
        None => found,
    })
}

/// Memory and offset: statx(2) with `STATX_DIOALIGN`, kernel 6.1.
fn alignment(path: &Path, is_dir: bool) -> Option<(u32, u32)> {
    let asked = StatxFlags::DIOALIGN;
    let answer: Statx = if is_dir {
        let (flags, mode) =
            (OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = File::from(rustix::fs::open(path, flags, mode).ok()?);
        statx(file, "", AtFlags::EMPTY_PATH, asked).ok()?
    } else {
        statx(rustix::fs::CWD, path, AtFlags::empty(), asked).ok()?
    };
    let said = StatxFlags::from_bits_retain(answer.stx_mask).contains(asked);
    (said && answer.stx_dio_mem_align > 0)
        .then_some((answer.stx_dio_mem_align, answer.stx_dio_offset_align))
}

/// The directory of the disk with this device number, or of which it is a partition. `None` for file systems without one.
fn disk(devices: &Path, number: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let directory = std::fs::canonicalize(devices.join(format!("{major}:{minor}"))).ok()?;
    if directory.join("partition").exists() {
        return directory.parent().map(Path::to_owned);
    }
    Some(directory)
}

/// What sysfs tells of a disk: Documentation/ABI/stable/sysfs-block.
fn of_disk(found: PathFound, disk: &Path) -> PathFound {
    let read = |name: &str| {
        let text = std::fs::read_to_string(disk.join("queue").join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let flag = |name: &str| read(name).map(|text| text != "0");
    PathFound {
        device: disk.file_name().map(|name| name.to_string_lossy().into_owned()),
        logical_block: read("logical_block_size").and_then(|text| text.parse().ok()),
        rotational: flag("rotational"),
        // The one in use stands in brackets.
        scheduler: read("scheduler").map(|text| match (text.find('['), text.find(']')) {
            (Some(from), Some(to)) => text.get(from + 1..to).unwrap_or_default().to_owned(),
            _ => text,
        }),
        poll_queues: flag("io_poll"),
        ..found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_read_from_sysfs() {
        let sysfs = tempfile::tempdir().unwrap();
        let devices = sysfs.path().join("dev");
        let partition = sysfs.path().join("nvme0n1/nvme0n1p1");
        let queue = sysfs.path().join("nvme0n1/queue");
        for directory in [&devices, &partition, &queue] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(partition.join("partition"), "1\n").unwrap();
        for (name, value) in [
            ("io_poll", "1\n"),
            ("rotational", "0\n"),
            ("logical_block_size", "512\n"),
            ("scheduler", "none [mq-deadline] kyber\n"),
        ] {
            std::fs::write(queue.join(name), value).unwrap();
        }
        std::os::unix::fs::symlink(&partition, devices.join("259:1")).unwrap();
        let disk = disk(&devices, rustix::fs::makedev(259, 1)).unwrap();
        let found = of_disk(PathFound::default(), &disk);
        assert_eq!(found.device.as_deref(), Some("nvme0n1"), "the disk, not the partition");
        assert_eq!((found.poll_queues, found.rotational), (Some(true), Some(false)));
        assert_eq!(found.scheduler.as_deref(), Some("mq-deadline"));
        assert_eq!(found.logical_block, Some(512));
        assert_eq!(super::disk(&devices, rustix::fs::makedev(0, 40)), None, "tmpfs has no device");
    }

    #[test]
    fn every_kind_of_path_can_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let (of_dir, of_file) = (look(dir.path()).unwrap(), look(&file).unwrap());
        assert_eq!(of_dir.device, of_file.device);
        assert_eq!(of_dir.direct_memory_align, of_file.direct_memory_align);
        assert!(of_file.filesystem.is_some());
        assert_eq!(look(Path::new("/proc/self/stat")).unwrap().device, None);
        assert_eq!(look(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
