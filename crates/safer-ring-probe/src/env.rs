//! What a probe works with: memory for the kernel, files, contexts.

use std::path::{Path, PathBuf};
use std::{fs, io};

use safer_ring_sys::Errno;

use crate::expect::Observed;
use crate::memory::{Address, Memory};
use crate::raw;

/// What came out, or why it could not be tried.
pub(crate) type Try<T = Observed> = Result<T, Observed>;

/// Bytes of the file that probes read.
pub(crate) const DATA: usize = 65_536;

/// A directory with the files of the probes, removed at the end.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// Makes a directory in `parent`, whose file system is the one that is probed.
    ///
    /// # Errors
    /// The directory or the files in it cannot be made.
    pub fn new(parent: &Path) -> io::Result<Place> {
        let parent = parent.canonicalize()?;
        let own = std::process::id();
        let made = (0..1000).find_map(|number| {
            let directory = parent.join(format!("safer-ring-spec-{own}-{number}"));
            match fs::create_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|()| directory)),
            }
        });
        let directory = made.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
        let place = Place { directory };
        let bytes: Vec<u8> = (0u8..=250).cycle().take(DATA).collect();
        let data = place.directory.join("data");
        fs::write(&data, bytes)?;
        // Direct reads shall find the data on the device.
        fs::File::open(&data)?.sync_all()?;
        Ok(place)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays behind after an error here is a directory whose name says whose it is.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A command, with addresses that a probe may give to the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Command {
    pub(crate) data: u64,
    pub(crate) key: u32,
    pub(crate) opcode: u16,
    pub(crate) fd: i32,
    pub(crate) buf: Address,
    pub(crate) nbytes: u64,
    pub(crate) offset: i64,
    pub(crate) rw_flags: u32,
    pub(crate) reqprio: i16,
    pub(crate) reserved2: u64,
    pub(crate) flags: u32,
    pub(crate) resfd: i32,
}

/// Parts of the memory, by page.
const PATHS: usize = 0;
const CONTEXT: usize = 1;
const IOCBS: usize = 2;
const POINTERS: usize = 3;
const EVENTS: usize = 4;
const TIMES: usize = 5;
const VECTORS: usize = 6;
const NUMBERS: usize = 10;
const ARGUMENT: usize = 11;
const BUFFER: usize = 12;

/// What one probe has.
pub(crate) struct Env {
    pub(crate) memory: Memory,
    pub(crate) page: usize,
    directory: PathBuf,
}

impl Env {
    pub(crate) fn new(place: &Path) -> Try<Env> {
        let page = usize::try_from(raw::sysconf(libc::_SC_PAGESIZE)).unwrap_or(4096);
        let memory = Memory::new(page).map_err(|errno| unavailable("memory", errno))?;
        Ok(Env { memory, page, directory: place.to_owned() })
    }

    fn offset(&self, page: usize) -> usize {
        self.page.saturating_mul(page)
    }

    /// 24 pages to read into and write from.
    pub(crate) fn buffer(&self) -> Address {
        self.memory.at(self.offset(BUFFER))
    }

    /// Where arguments of registrations and parameters go: an offset for `Memory::put`.
    pub(crate) fn argument(&self) -> usize {
        self.offset(ARGUMENT)
    }

    pub(crate) fn argument_address(&self) -> Address {
        self.memory.at(self.argument())
    }

    /// A place for arrays of `iovec`: four pages.
    pub(crate) fn vectors(&self) -> Address {
        self.memory.at(self.offset(VECTORS))
    }

    pub(crate) fn put_vector(&self, index: usize, base: Address, length: u64) {
        let at = self.offset(VECTORS).saturating_add(index.saturating_mul(16));
        self.memory.put_u64(at, base.get());
        self.memory.put_u64(at.saturating_add(8), length);
    }

    /// The path of a file of the place.
    pub(crate) fn named(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The same, as the kernel wants it.
    pub(crate) fn full_path(&self, name: &str) -> Vec<u8> {
        let mut bytes = self.named(name).into_os_string().into_encoded_bytes();
        bytes.push(0);
        bytes
    }

    pub(crate) fn path(&self, name: &str) -> Address {
        self.memory.put(self.offset(PATHS), &self.full_path(name));
        self.memory.at(self.offset(PATHS))
    }

    /// Opens a file of the place by name, or any by an absolute path.
    pub(crate) fn open(&self, name: &str, flags: i32) -> Try<i32> {
        let opened = raw::openat(libc::AT_FDCWD, self.path(name), flags, 0o600);
        let fd = opened.map_err(|errno| unavailable(name, errno))?;
        Ok(number(fd))
    }

    /// The file with [`DATA`] bytes, to read.
    pub(crate) fn data(&self) -> Try<i32> {
        self.open("data", libc::O_RDONLY)
    }

    /// A new file, empty.
    pub(crate) fn scratch(&self, flags: i32) -> Try<i32> {
        let name = format!("scratch-{}", std::process::id());
        self.open(&name, libc::O_CREAT | flags)
    }

    /// The path of that file.
    pub(crate) fn scratch_name(&self) -> PathBuf {
        self.named(&format!("scratch-{}", std::process::id()))
    }

    /// The data with `O_DIRECT`, and the alignments that the file system states: of memory and of offsets.
    pub(crate) fn direct(&self) -> Try<(i32, u32, u32)> {
        let fd = self.open("data", libc::O_RDONLY | libc::O_DIRECT)?;
        let (memory, offset) = self.alignment(fd)?;
        if memory < 2 || offset < 2 {
            return Err(Observed::Unavailable("the file system states no alignment".to_owned()));
        }
        Ok((fd, memory, offset))
    }

    /// `stx_dio_mem_align` and `stx_dio_offset_align`.
    pub(crate) fn alignment(&self, fd: i32) -> Try<(u32, u32)> {
        const STATX_DIOALIGN: u32 = 0x2000;
        let at = self.argument();
        self.memory.put(self.offset(PATHS), &[0]);
        let empty = self.memory.at(self.offset(PATHS));
        raw::statx(fd, empty, libc::AT_EMPTY_PATH, STATX_DIOALIGN, self.memory.at(at))
            .map_err(|errno| unavailable("statx", errno))?;
        Ok((
            self.memory.get_u32(at.saturating_add(152)),
            self.memory.get_u32(at.saturating_add(156)),
        ))
    }

    /// The read end and the write end.
    pub(crate) fn pipe(&self, flags: i32) -> Try<(i32, i32)> {
        let at = self.offset(NUMBERS);
        raw::pipe2(self.memory.at(at), flags).map_err(|errno| unavailable("a pipe", errno))?;
        Ok(self.two_numbers(at))
    }

    pub(crate) fn sockets(&self) -> Try<(i32, i32)> {
        let at = self.offset(NUMBERS);
        raw::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, self.memory.at(at))
            .map_err(|errno| unavailable("sockets", errno))?;
        Ok(self.two_numbers(at))
    }

    fn two_numbers(&self, at: usize) -> (i32, i32) {
        let first = i32::from_ne_bytes(self.memory.get(at));
        (first, i32::from_ne_bytes(self.memory.get(at.saturating_add(4))))
    }

    pub(crate) fn eventfd(&self) -> Try<i32> {
        raw::eventfd2(0, libc::EFD_NONBLOCK)
            .map(number)
            .map_err(|errno| unavailable("an eventfd", errno))
    }

    pub(crate) fn epoll(&self) -> Try<i32> {
        raw::epoll_create1(0).map(number).map_err(|errno| unavailable("epoll", errno))
    }

    /// A file in memory, as in tmpfs.
    pub(crate) fn memfd(&self) -> Try<i32> {
        let name = self.path("memory");
        raw::memfd_create(name, 0).map(number).map_err(|errno| unavailable("a memfd", errno))
    }

    /// A number that no descriptor has.
    pub(crate) fn closed(&self) -> Try<i32> {
        let fd = self.eventfd()?;
        let _ = raw::close(fd);
        Ok(fd)
    }

    /// Sets a soft limit and leaves the hard one.
    pub(crate) fn limit(&self, resource: u32, soft: u64) -> Try<()> {
        let at = self.argument();
        raw::prlimit(0, resource, Address::NULL, self.memory.at(at))
            .map_err(|errno| unavailable("prlimit", errno))?;
        let hard = self.memory.get_u64(at.saturating_add(8));
        self.memory.put_u64(at, soft.min(hard));
        raw::prlimit(0, resource, self.memory.at(at), Address::NULL)
            .map_err(|errno| unavailable("prlimit", errno))?;
        Ok(())
    }

    /// Becomes a user without privileges, which cannot be undone.
    pub(crate) fn drop_privileges(&self) -> Try<()> {
        if raw::user() == 0 {
            raw::setresuid(65_534, 65_534, 65_534)
                .map_err(|errno| unavailable("setresuid", errno))?;
        }
        Ok(())
    }

    /// A new context of Linux AIO.
    pub(crate) fn context(&self, nr: u32) -> Try<u64> {
        self.memory.put_u64(self.offset(CONTEXT), 0);
        raw::io_setup(nr, self.memory.at(self.offset(CONTEXT)))
            .map_err(|errno| unavailable("a context", errno))?;
        Ok(self.memory.get_u64(self.offset(CONTEXT)))
    }

    /// Where contexts put their number.
    pub(crate) fn context_word(&self, value: u64) -> Address {
        self.memory.put_u64(self.offset(CONTEXT), value);
        self.memory.at(self.offset(CONTEXT))
    }

    pub(crate) fn context_value(&self) -> u64 {
        self.memory.get_u64(self.offset(CONTEXT))
    }

    pub(crate) fn iocb(&self, index: usize) -> Address {
        self.memory.at(self.iocb_offset(index))
    }

    fn iocb_offset(&self, index: usize) -> usize {
        self.offset(IOCBS).saturating_add(index.saturating_mul(64))
    }

    pub(crate) fn key_of(&self, index: usize) -> u32 {
        let at = if cfg!(target_endian = "little") { 8 } else { 12 };
        self.memory.get_u32(self.iocb_offset(index).saturating_add(at))
    }

    /// Writes a command, and the pointer to it.
    pub(crate) fn put(&self, index: usize, command: &Command) {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(command.data.to_ne_bytes());
        let (low, high) = if cfg!(target_endian = "little") {
            (command.key, command.rw_flags)
        } else {
            (command.rw_flags, command.key)
        };
        bytes.extend(low.to_ne_bytes());
        bytes.extend(high.to_ne_bytes());
        bytes.extend(command.opcode.to_ne_bytes());
        bytes.extend(command.reqprio.to_ne_bytes());
        bytes.extend(command.fd.to_ne_bytes());
        bytes.extend(command.buf.get().to_ne_bytes());
        bytes.extend(command.nbytes.to_ne_bytes());
        bytes.extend(command.offset.to_ne_bytes());
        bytes.extend(command.reserved2.to_ne_bytes());
        bytes.extend(command.flags.to_ne_bytes());
        bytes.extend(command.resfd.to_ne_bytes());
        self.memory.put(self.iocb_offset(index), &bytes);
        self.put_pointer(index, self.iocb(index));
    }

    pub(crate) fn put_pointer(&self, index: usize, address: Address) {
        let at = self.offset(POINTERS).saturating_add(index.saturating_mul(8));
        self.memory.put_u64(at, address.get());
    }

    /// The array of pointers, from one of them on.
    pub(crate) fn pointers(&self, from: usize) -> Address {
        self.memory.at(self.offset(POINTERS).saturating_add(from.saturating_mul(8)))
    }

    pub(crate) fn events(&self) -> Address {
        self.memory.at(self.offset(EVENTS))
    }

    /// `data`, `obj`, `res` and `res2` of an event.
    pub(crate) fn event(&self, index: usize) -> (u64, u64, i64, i64) {
        let at = |field: usize| {
            self.offset(EVENTS).saturating_add(index.saturating_mul(32)).saturating_add(field)
        };
        let memory = &self.memory;
        (
            memory.get_u64(at(0)),
            memory.get_u64(at(8)),
            memory.get_i64(at(16)),
            memory.get_i64(at(24)),
        )
    }

    pub(crate) fn time(&self, seconds: i64, nanoseconds: i64) -> Address {
        let at = self.offset(TIMES);
        self.memory.put(at, &seconds.to_ne_bytes());
        self.memory.put(at.saturating_add(8), &nanoseconds.to_ne_bytes());
        self.memory.at(at)
    }

    /// Submits what stands at 0, and fetches its event.
    pub(crate) fn submit(&self, command: &Command) -> Try {
        let context = self.context(8)?;
        self.put(0, command);
        Ok(self.submit_in(context))
    }

    pub(crate) fn submit_in(&self, context: u64) -> Observed {
        match raw::io_submit(context, 1, self.pointers(0)) {
            Ok(1) => self.fetch(context),
            other => Observed::Returned(other),
        }
    }

    /// Waits for one event, for at most five seconds.
    pub(crate) fn fetch(&self, context: u64) -> Observed {
        let limit = self.time(5, 0);
        let fetch = || raw::io_getevents(context, 1, 1, self.events(), limit);
        // Rings of the same process interrupt the wait for work of their own.
        let mut fetched = fetch();
        while fetched == Err(Errno::INTR) {
            fetched = fetch();
        }
        match fetched {
            Ok(1) => {
                let (_, _, res, _) = self.event(0);
                Observed::Event(result_of(res))
            }
            Ok(_) => Observed::Seen(false, "no event came within five seconds".to_owned()),
            Err(errno) => Observed::Seen(false, format!("io_getevents gives {errno:?}")),
        }
    }
}

/// A number, or a negative error number.
pub(crate) fn result_of(res: i64) -> Result<i64, Errno> {
    if res >= 0 {
        return Ok(res);
    }
    let errno = i32::try_from(res.unsigned_abs()).ok().and_then(Errno::from_raw_os_error);
    Err(errno.unwrap_or(Errno::OVERFLOW))
}

fn number(fd: i64) -> i32 {
    i32::try_from(fd).unwrap_or(-1)
}

pub(crate) fn unavailable(what: &str, errno: Errno) -> Observed {
    Observed::Unavailable(format!("{what} cannot be had: {errno:?}"))
}

/// Something that was looked at.
pub(crate) fn seen(yes: bool, text: impl Into<String>) -> Try {
    Ok(Observed::Seen(yes, text.into()))
}
