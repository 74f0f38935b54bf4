//! What a scenario gets: a ring, a directory, and files and sockets on demand.

use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use safer_ring::{Builder, Fd, Mode, OpenOptions, PipeOptions, RingOf, SetupError};

/// Anything that keeps a scenario from its end.
pub type Trouble = Box<dyn Error + Send + Sync>;

/// What a scenario has seen: a line of text. `Err` is a scenario that could not be carried out, which is a failure.
pub type Verdict = Result<Observed, Trouble>;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// This.
    Seen(String),
    /// The machine cannot show it, as was measured.
    Skipped(String),
}

/// The line that a scenario gives, with the syntax of `format!`.
macro_rules! seen {
    ($($text:tt)*) => { Ok($crate::env::Observed::Seen(format!($($text)*))) };
}
pub(crate) use seen;

/// The surroundings of one run of one scenario.
pub struct Env<M: Mode> {
    ring: RingOf<M>,
    make: Box<dyn Fn() -> Builder<M>>,
    flavour: Flavour<M>,
    directory: PathBuf,
}

/// A future that leaves its output somewhere.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Threads, no-ops on each; how many have ended.
pub(crate) type Across<M> = fn(&RingOf<M>, usize, usize) -> usize;

/// What differs between rings of one thread and of any.
#[derive(Clone, Copy)]
pub(crate) struct Flavour<M: Mode> {
    /// Runs a future with a ring.
    pub(crate) drive: fn(&RingOf<M>, Work<'_>),
    /// Runs so many no-ops on each of so many threads; tells how many have ended. For any thread only.
    pub(crate) across: Option<Across<M>>,
}

impl<M: Mode> std::fmt::Debug for Env<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl<M: Mode> Env<M> {
    /// Makes the ring, and its directory.
    pub(crate) fn new(
        make: Box<dyn Fn() -> Builder<M>>,
        flavour: Flavour<M>,
        directory: &Path,
    ) -> Result<Self, Trouble> {
        std::fs::create_dir_all(directory)?;
        let ring = make().build()?;
        Ok(Self { ring, make, flavour, directory: directory.to_owned() })
    }

    /// The ring of the environment, made for this scenario.
    pub fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    /// One more ring of the same kind.
    pub(crate) fn another(&self) -> Result<RingOf<M>, SetupError> {
        (self.make)().build()
    }

    /// How the rings of the environment are made, to be changed.
    pub(crate) fn builder(&self) -> Builder<M> {
        (self.make)()
    }

    /// Runs a future with another ring, which must not be this one.
    pub(crate) fn drive<F: Future>(&self, ring: &RingOf<M>, future: F) -> F::Output {
        let mut output = None;
        let whole = async { output = Some(future.await) };
        (self.flavour.drive)(ring, Box::pin(whole));
        output.unwrap_or_else(|| unreachable!("the future was run to its end"))
    }

    /// Runs no-ops of the ring on other threads; tells how many have ended.
    pub(crate) fn across_threads(&self, threads: usize, each: usize) -> Result<usize, Trouble> {
        let across = self.flavour.across.ok_or("a ring of one thread")?;
        Ok(across(&self.ring, threads, each))
    }

    /// A path in the directory of this run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file with this content, written by std.
    pub(crate) fn file_at(&self, name: &str, content: &[u8]) -> Result<PathBuf, Trouble> {
        let path = self.path(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// A file with this content, open for reading and writing at its start, and its path.
    pub(crate) async fn file(&self, content: &[u8]) -> Result<(Fd<M>, PathBuf), Trouble> {
        let path = self.file_at("file", content)?;
        let both = OpenOptions::new().read(true).write(true);
        Ok((self.ring.open(&path, &both).await?, path))
    }

    /// What is in a file, read by std.
    pub(crate) fn content(path: &Path) -> Result<Vec<u8>, Trouble> {
        Ok(std::fs::read(path)?)
    }

    /// The ends of a pipe: to read from, to write to.
    pub(crate) async fn pipe(&self) -> Result<(Fd<M>, Fd<M>), Trouble> {
        Ok(self.ring.pipe(PipeOptions::Stream).await?)
    }

    /// A connection: this side with the ring, the other with std.
    pub(crate) fn stream(&self) -> Result<(Fd<M>, UnixStream), Trouble> {
        let (near, far) = UnixStream::pair()?;
        Ok((Fd::new(near), far))
    }

    /// A connection, both sides with the ring.
    pub(crate) fn pair(&self) -> Result<(Fd<M>, Fd<M>), Trouble> {
        let (near, far) = UnixStream::pair()?;
        Ok((Fd::new(near), Fd::new(far)))
    }

    /// A socket that listens on the loopback, and its address.
    pub(crate) fn listener(&self) -> Result<(Fd<M>, SocketAddr), Trouble> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        Ok((Fd::new(listener), address))
    }

    /// A file opened with `O_DIRECT`, of so many bytes 0x5A; `Err` with the reason where the file system has none.
    pub(crate) fn direct(&self, len: usize) -> Result<Result<Fd<M>, String>, Trouble> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path("direct");
        let file = std::fs::File::create(&path)?;
        std::fs::write(&path, vec![0x5A; len])?;
        file.sync_all()?;
        let flag = rustix::fs::OFlags::DIRECT.bits();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(flag.cast_signed());
        Ok(match options.open(&path) {
            Ok(file) => Ok(Fd::new(file)),
            Err(error) => Err(format!("no direct I/O in {}: {error}", self.directory.display())),
        })
    }
}

impl<M: Mode> Drop for Env<M> {
    fn drop(&mut self) {
        // What is left over is in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
