//! What a scenario gets: a ring, a directory, and files and sockets on demand.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use safer_ring::sim::World;
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
    place: Place<M>,
    directory: PathBuf,
}

/// Where the rings of a scenario are, and what is not of the ring.
pub(crate) enum Place<M: Mode> {
    /// The machine. Files, peers and checks are std's.
    Machine { make: Box<dyn Fn() -> Builder<M>>, flavour: Flavour<M> },
    /// A simulated kernel, which std does not reach. Files and peers are those of a second ring, so that the figures of
    /// the ring under test are its own.
    World { world: World, make: MakeIn<M>, other: RingOf<M>, numbers: Cell<u16> },
}

/// Makes a ring of a world.
pub(crate) type MakeIn<M> = fn(&World) -> Result<RingOf<M>, SetupError>;

/// A future that leaves its output somewhere.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Threads, no-ops on each; how many have ended.
pub(crate) type Across<M> = fn(&RingOf<M>, usize, usize) -> usize;

/// How rings are made, what is written to, threads, records of each; how many writes have moved a whole one, and how many
/// completions were nobody's.
pub(crate) type Records<M> =
    fn(Builder<M>, &Fd<M>, usize, usize) -> Result<(usize, u64), SetupError>;

/// Bytes of a record: its number, and no other has it.
pub(crate) const RECORD: usize = 4;

/// What differs between rings of one thread and of any.
#[derive(Clone, Copy)]
pub(crate) struct Flavour<M: Mode> {
    /// Runs a future with a ring.
    pub(crate) drive: fn(&RingOf<M>, Work<'_>),
    /// Runs so many no-ops on each of so many threads; tells how many have ended. For any thread only.
    pub(crate) across: Option<Across<M>>,
    /// Makes a ring with one place, and lets so many threads write so many records of [`RECORD`] bytes each with it. For any
    /// thread only.
    pub(crate) records: Option<Records<M>>,
}

impl<M: Mode> Flavour<M> {
    fn output<F: Future>(&self, ring: &RingOf<M>, future: F) -> F::Output {
        let mut output = None;
        let whole = async { output = Some(future.await) };
        (self.drive)(ring, Box::pin(whole));
        output.unwrap_or_else(|| unreachable!("the future was run to its end"))
    }
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
        let place = Place::Machine { make, flavour };
        Ok(Self { ring, place, directory: directory.to_owned() })
    }

    /// Makes the ring in a world, and the one that its files and peers are made with.
    pub(crate) fn in_world(
        world: World,
        make: MakeIn<M>,
        other: RingOf<M>,
    ) -> Result<Self, Trouble> {
        let ring = make(&world)?;
        let place = Place::World { world, make, other, numbers: Cell::new(4000) };
        Ok(Self { ring, place, directory: PathBuf::from("/tmp") })
    }

    /// The ring of the environment, made for this scenario.
    pub fn ring(&self) -> &RingOf<M> {
        &self.ring
    }

    /// The ring of the files and peers of a world, and a number that was not given before. Nothing on the machine.
    pub(crate) fn other(&self) -> Option<(&RingOf<M>, u16)> {
        match &self.place {
            Place::Machine { .. } => None,
            Place::World { other, numbers, .. } => {
                let number = numbers.get().wrapping_add(1);
                numbers.set(number);
                Some((other, number))
            }
        }
    }

    /// One more ring of the same kind.
    pub(crate) fn another(&self) -> Result<RingOf<M>, SetupError> {
        match &self.place {
            Place::Machine { make, .. } => make().build(),
            Place::World { world, make, .. } => make(world),
        }
    }

    /// How the rings of the environment are made, to be changed. A world makes its rings itself.
    pub(crate) fn builder(&self) -> Result<Builder<M>, Trouble> {
        match &self.place {
            Place::Machine { make, .. } => Ok(make()),
            Place::World { .. } => Err("the rings of a world have no builder".into()),
        }
    }

    /// Runs a scenario.
    pub(crate) fn run<F: Future>(&self, future: F) -> Result<F::Output, Trouble> {
        match &self.place {
            Place::Machine { flavour, .. } => Ok(flavour.output(&self.ring, future)),
            Place::World { world, .. } => Ok(world.block_on(future)?),
        }
    }

    /// Runs a future with another ring, which must not be this one. A world drives all of its rings.
    pub(crate) async fn drive<F: Future>(&self, ring: &RingOf<M>, future: F) -> F::Output {
        match &self.place {
            Place::Machine { flavour, .. } => flavour.output(ring, future),
            Place::World { .. } => future.await,
        }
    }

    /// Runs no-ops of the ring on other threads; tells how many have ended.
    pub(crate) fn across_threads(&self, threads: usize, each: usize) -> Result<usize, Trouble> {
        let Place::Machine { flavour, .. } = &self.place else {
            return Err("a world has one thread".into());
        };
        let across = flavour.across.ok_or("a ring of one thread")?;
        Ok(across(&self.ring, threads, each))
    }

    /// Lets threads write records with another ring, which has one place; how many were written, and completions that were
    /// nobody's.
    pub(crate) fn records(
        &self,
        to: &Fd<M>,
        threads: usize,
        each: usize,
    ) -> Result<(usize, u64), Trouble> {
        let Place::Machine { make, flavour } = &self.place else {
            return Err("a world has one thread".into());
        };
        let records = flavour.records.ok_or("a ring of one thread")?;
        Ok(records(make(), to, threads, each)?)
    }

    /// A path in the directory of this run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file with this content, written by std, or by the other ring of a world.
    pub(crate) async fn file_at(&self, name: &str, content: &[u8]) -> Result<PathBuf, Trouble> {
        let path = self.path(name);
        let Some((other, _)) = self.other() else {
            std::fs::write(&path, content)?;
            return Ok(path);
        };
        let options = OpenOptions::new().write(true).create(true).truncate(true);
        let file = other.open(&path, &options).await?;
        let (mut rest, mut at) = (content.to_vec(), 0);
        while !rest.is_empty() {
            let (count, back) = other.write_at_owned(&file, rest, at).await?;
            rest = back.get(count..).unwrap_or_default().to_vec();
            at += u64::try_from(count)?;
        }
        Ok(path)
    }

    /// A file with this content, open for reading and writing at its start, and its path.
    pub(crate) async fn file(&self, content: &[u8]) -> Result<(Fd<M>, PathBuf), Trouble> {
        let path = self.file_at("file", content).await?;
        let both = OpenOptions::new().read(true).write(true);
        Ok((self.ring.open(&path, &both).await?, path))
    }

    /// What is in a file, read beside the ring.
    pub(crate) fn content(&self, path: &Path) -> Result<Vec<u8>, Trouble> {
        Ok(match &self.place {
            Place::Machine { .. } => std::fs::read(path)?,
            Place::World { world, .. } => world.read_file(path)?,
        })
    }

    /// Whether there is such a name, looked up beside the ring.
    pub(crate) fn there(&self, path: &Path) -> bool {
        match &self.place {
            Place::Machine { .. } => path.symlink_metadata().is_ok(),
            Place::World { world, .. } => {
                let names = path.parent().and_then(|parent| world.list(parent).ok());
                names.unwrap_or_default().iter().any(|name| Some(&**name) == path.file_name())
            }
        }
    }

    /// How many names are in a directory, seen beside the ring.
    pub(crate) fn names_in(&self, path: &Path) -> Result<usize, Trouble> {
        Ok(match &self.place {
            Place::Machine { .. } => std::fs::read_dir(path)?.count(),
            Place::World { world, .. } => world.list(path)?.len(),
        })
    }

    /// A directory, made beside the ring.
    pub(crate) async fn directory(&self, name: &str) -> Result<(), Trouble> {
        match self.other() {
            None => std::fs::create_dir(self.path(name))?,
            Some((other, _)) => other.mkdir(self.path(name), 0o700).await?,
        }
        Ok(())
    }

    /// A symbolic link, made beside the ring.
    pub(crate) async fn symlink(&self, target: &str, name: &str) -> Result<(), Trouble> {
        match self.other() {
            None => std::os::unix::fs::symlink(target, self.path(name))?,
            Some((other, _)) => other.symlink(target, self.path(name)).await?,
        }
        Ok(())
    }

    /// Removes a file beside the ring.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), Trouble> {
        match self.other() {
            None => std::fs::remove_file(path)?,
            Some((other, _)) => other.unlink(path).await?,
        }
        Ok(())
    }

    /// The ends of a pipe: to read from, to write to.
    pub(crate) async fn pipe(&self) -> Result<(Fd<M>, Fd<M>), Trouble> {
        Ok(self.ring.pipe(PipeOptions::Stream).await?)
    }

    /// An address of the loopback to be bound: the machine chooses the port, or the environment where nobody could be
    /// asked for it.
    pub(crate) fn loopback(&self) -> SocketAddr {
        let port = self.other().map_or(0, |(_, number)| number);
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// A connection, both sides with the ring.
    pub(crate) async fn pair(&self) -> Result<(Fd<M>, Fd<M>), Trouble> {
        let (near, far) = self.stream().await?;
        Ok((near, far.into_fd()?))
    }

    /// A file opened with `O_DIRECT`, of so many bytes 0x5A; `Err` with the reason where there is no such thing.
    pub(crate) fn direct(&self, len: usize) -> Result<Result<Fd<M>, String>, Trouble> {
        use std::os::unix::fs::OpenOptionsExt;
        if self.other().is_some() {
            return Ok(Err("the simulation does not look at O_DIRECT".to_owned()));
        }
        let path = self.path("direct");
        let file = std::fs::File::create(&path)?;
        std::fs::write(&path, vec![0x5A; len])?;
        file.sync_all()?;
        let flag = rustix::fs::OFlags::DIRECT.bits();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(flag.cast_signed());
        Ok(match options.open(&path) {
            Ok(file) => Ok(Fd::new(file)),
            Err(error) => Err(format!("its file system has no direct I/O: {error}")),
        })
    }
}

impl<M: Mode> Drop for Env<M> {
    fn drop(&mut self) {
        if let Place::Machine { .. } = self.place {
            // What is left over is in a directory for such things.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
