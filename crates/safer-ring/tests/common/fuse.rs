//! A file system of one file, whose server is a thread of the test: it answers what the test says.
#![allow(clippy::indexing_slicing, reason = "of tests")]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// What the file answers, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// To each read: an errno, or 0 for the end of the file.
    pub(crate) read: AtomicI32,
    /// To each flush, which is what a close asks for: an errno, or 0.
    pub(crate) flush: AtomicI32,
    /// Reads so far.
    pub(crate) reads: AtomicU32,
    /// Flushes so far.
    pub(crate) flushes: AtomicU32,
}

/// The mounted file system.
#[derive(Debug)]
pub(crate) struct Fuse {
    directory: tempfile::TempDir,
    pub(crate) answers: Arc<Answers>,
}

impl Fuse {
    /// `None`, with a word on it, where there is no FUSE, or nobody who may mount it.
    pub(crate) fn mount() -> Option<Self> {
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                println!("skipped: no /dev/fuse: {error}");
                return None;
            }
        };
        let directory = tempfile::tempdir().unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        let target = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
        let kind = c"fuse".as_ptr();
        // SAFETY: strings that end in a zero byte and outlive the call.
        let mounted =
            unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.as_ptr().cast()) };
        if mounted != 0 {
            println!("skipped: mounting FUSE: {}", std::io::Error::last_os_error());
            return None;
        }
        let answers = Arc::new(Answers::default());
        let given = Arc::clone(&answers);
        // It ends with the file system.
        std::thread::spawn(move || serve(device, &given));
        Some(Self { directory, answers })
    }

    /// Its file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("file")
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let target = CString::new(self.directory.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that ends in a zero byte and outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
    }
}

/// The layouts are those of `linux/fuse.h`, version 7.31.
fn serve(mut device: File, answers: &Answers) {
    const DIRECTORY: u64 = 1;
    let mut request = vec![0; 1 << 18];
    while let Ok(len) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(*request[at..len].first_chunk().unwrap());
        let long = |at: usize| u64::from_ne_bytes(*request[at..len].first_chunk().unwrap());
        let (operation, unique, node) = (word(4), long(8), long(16));
        let told = |answer: &AtomicI32, count: &AtomicU32| {
            count.fetch_add(1, Ordering::SeqCst);
            (answer.load(Ordering::SeqCst), Vec::new())
        };
        let (errno, body) = match operation {
            // FORGET and BATCH_FORGET want no answer.
            2 | 42 => continue,
            // LOOKUP: the only name there is.
            1 => (0, [longs(&[2, 0, 1000, 1000, 0]), attributes(2, 0o100_666)].concat()),
            // GETATTR
            3 if node == DIRECTORY => (0, [longs(&[1000, 0]), attributes(1, 0o40_777)].concat()),
            3 => (0, [longs(&[1000, 0]), attributes(2, 0o100_666)].concat()),
            // OPEN, with direct I/O: each read asks.
            14 => (0, longs(&[1, 1])),
            15 => told(&answers.read, &answers.reads),
            // RELEASE
            18 => (0, Vec::new()),
            25 => told(&answers.flush, &answers.flushes),
            // INIT: 7.31, and a write of 64 KiB.
            26 => (0, words(&[7, 31, 0, 0, 16 | 12 << 16, 1 << 16, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0])),
            _ => (libc::ENOSYS, Vec::new()),
        };
        let whole = u32::try_from(16 + body.len()).unwrap();
        let head = [&whole.to_ne_bytes()[..], &(-errno).to_ne_bytes(), &unique.to_ne_bytes()];
        // An answer to what was interrupted meanwhile is refused.
        let _ = device.write(&[head.concat(), body].concat());
    }
}

fn longs(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// `struct fuse_attr` of 4096 bytes.
fn attributes(node: u64, mode: u32) -> Vec<u8> {
    let times = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    [longs(&[node, 4096, 0, 0, 0, 0]), words(&times)].concat()
}
