//! A row of the table.

use std::future::Future;
use std::pin::Pin;

use safer_ring::{Local, Shared};

use crate::env::{Env, Verdict};
use crate::environments::{Environment, Tag};

/// The operations of the library, as in `Op` of `safer-ring-core`; `cargo xtask tidy` compares the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the operations")]
pub enum OpKind {
    Nop,
    Read,
    Write,
    ReadVectored,
    WriteVectored,
    Recv,
    Send,
    RecvMulti,
    RecvMsg,
    SendMsg,
    Accept,
    Connect,
    OpenAt,
    OpenAt2,
    Close,
    Statx,
    Fsync,
    Fallocate,
    Ftruncate,
    RenameAt,
    UnlinkAt,
    MkdirAt,
    SymlinkAt,
    LinkAt,
    Splice,
    Tee,
    Pipe,
    Shutdown,
    Socket,
    Bind,
    Listen,
    Poll,
    Timeout,
    Raw,
}

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The operation does what it is for.
    Success,
    /// It fails, and what was lent comes back.
    Error,
    /// It moves less than it was asked to.
    Short,
    /// The end of a file, or of what a peer sends.
    Eof,
    /// Its future is dropped.
    Drop,
    /// Its cancellation is asked for.
    Cancel,
    /// Many operations, or a queue with little room.
    Queue,
    /// The end of a ring or of a descriptor.
    Life,
    /// How a ring is made.
    Setup,
}

impl Class {
    /// In reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Success => "success",
            Class::Error => "error",
            Class::Short => "short",
            Class::Eof => "end",
            Class::Drop => "drop",
            Class::Cancel => "cancel",
            Class::Queue => "queue",
            Class::Life => "life",
            Class::Setup => "setup",
        }
    }
}

/// What is to be seen in an environment that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Something else, by the row of `docs/BACKENDS.md` that begins with `row`.
    Differs {
        /// What is to be seen.
        seen: &'static str,
        /// The first cell of the row.
        row: &'static str,
    },
    /// Something else, for a reason that is no matter of the backend.
    Otherwise {
        /// What is to be seen.
        seen: &'static str,
        /// Why.
        why: &'static str,
    },
    /// It makes no sense there.
    Skip(&'static str),
}

/// A scenario with a ring of one mode.
pub type Run<M> = for<'a> fn(&'a Env<M>) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// A scenario as code, for each mode.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// With a ring of one thread.
    pub local: Run<Local>,
    /// With a ring of any thread.
    pub shared: Run<Shared>,
}

/// What a scenario needs that a simulated kernel has not. The list of `docs/SIMULATION.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `FD_CLOEXEC`, which counts when a program is started in place of this one.
    Exec,
    /// fcntl(2) of its own, to set or ask `O_NONBLOCK`.
    Flags,
    /// A number of the process: an `OwnedFd`, or which one is free next.
    Number,
    /// A descriptor that is only a place: `O_PATH`.
    Place,
    /// Control messages.
    Control,
    /// Entries for the kernel itself.
    Raw,
    /// A FIFO, a device, or another file that no operation makes.
    SpecialFile,
    /// A pipe of packets.
    Packets,
    /// A file of gigabytes.
    LargeFile,
    /// Files without the cache.
    DirectIo,
    /// Threads.
    Threads,
    /// A ring made by a builder.
    Builder,
}

impl Need {
    /// In reports.
    pub fn why(self) -> &'static str {
        match self {
            Need::Exec => "a simulated kernel starts no programs",
            Need::Flags => {
                "the library changes no flags, and the scenario's own fcntl(2) is the machine's"
            }
            Need::Number => "the numbers of a simulated kernel are not those of the process",
            Need::Place => "O_PATH is not simulated",
            Need::Control => "control messages are not simulated",
            Need::Raw => "entries for the kernel itself are not simulated",
            Need::SpecialFile => "FIFOs and devices are not simulated",
            Need::Packets => "pipes of packets are not simulated",
            Need::LargeFile => "a simulated disk is in memory, and has no room for it",
            Need::DirectIo => "O_DIRECT is not looked at in the simulation",
            Need::Threads => "a simulated kernel has one thread",
            Need::Builder => "a simulated kernel makes its rings itself",
        }
    }
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, which is that of its function.
    pub name: &'static str,
    /// What it covers.
    pub ops: &'static [OpKind],
    /// What it is about.
    pub class: Class,
    /// What is to be seen, wherever `except` does not say otherwise.
    pub seen: &'static str,
    /// Environments that differ; the first that matches holds.
    pub except: &'static [(Tag, Expect)],
    /// What a simulated kernel has not, and it needs.
    pub needs: Option<Need>,
    /// The code.
    pub body: Body,
}

impl Scenario {
    /// What is to be seen in `environment`: `None` stands for [`Scenario::seen`].
    pub fn expected(&self, environment: &Environment) -> Option<Expect> {
        if environment.is(Tag::Sim)
            && let Some(need) = self.needs
        {
            return Some(Expect::Skip(need.why()));
        }
        let found = self.except.iter().find(|(tag, _)| environment.is(*tag));
        found.map(|(_, expect)| *expect)
    }

    /// The same row with environments that differ.
    pub(crate) const fn but(self, except: &'static [(Tag, Expect)]) -> Self {
        Self { except, ..self }
    }

    /// The same row, to be skipped in a simulated kernel.
    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { needs: Some(need), ..self }
    }
}

/// A row: `row!(Class, function, [Op, ..], "what is to be seen")`. `cargo xtask tidy` reads it.
macro_rules! row {
    ($class:ident, $name:ident, [$($op:ident),*], $seen:expr) => {
        $crate::scenario::Scenario {
            name: stringify!($name),
            ops: &[$($crate::scenario::OpKind::$op),*],
            class: $crate::scenario::Class::$class,
            seen: $seen,
            except: &[],
            needs: None,
            body: $crate::scenario::Body {
                local: |env| Box::pin($name::<safer_ring::Local>(env)),
                shared: |env| Box::pin($name::<safer_ring::Shared>(env)),
            },
        }
    };
}
pub(crate) use row;
