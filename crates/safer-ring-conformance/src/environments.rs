//! The rows of the other table: how rings are made.

use std::fmt;

use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};
use safer_ring::sys::{opcode, setup};
use safer_ring::{BackendChoice, BackendKind, Builder, FallbackParts, Features, Ring, Shared};

/// What is special about an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A ring of the kernel.
    Uring,
    /// The fallback.
    Fallback,
    /// A simulated kernel, calm unless it is said to be [`Tag::Faulty`].
    Sim,
    /// A simulated kernel that does what no result may depend on: operations begin and end late and in any order, enters
    /// fail, cancellations miss, completions are held back, and there are some of nothing. With one seed after the other.
    Faulty,
    /// Rings of one thread.
    Local,
    /// Rings of any thread.
    Shared,
    /// The kernel refuses opcodes that the library does not use.
    Restricted,
    /// One place in the submission queue.
    Tiny,
    /// A thread of the kernel takes the submissions.
    Sqpoll,
    /// Newer opcodes are treated as absent.
    PlainCalls,
    /// The fallback without Linux AIO.
    WithoutAio,
    /// The fallback without `RWF_NOWAIT`.
    WithoutNowait,
    /// The fallback where a write to a pipe moves at most 4096 bytes, since nothing else is sure not to wait: without
    /// `RWF_NOWAIT`, or on a kernel whose pipes do not know it. Found out by asking a pipe.
    ShortPipeWrites,
    /// The kernel makes one worker for files: as many as there are places.
    FewWorkers,
    /// io_uring of kernels before 5.12, which gives each open to a thread. The stable line of 5.10 has a later one
    /// (docs/KERNELS.md), and opens at once.
    SlowOpens,
}

/// One way to make rings.
#[derive(Clone, Copy)]
pub struct Environment {
    /// Its name.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What is special about it.
    pub tags: &'static [Tag],
    /// Setup flags that its rings must have, or else the machine cannot give it.
    with: u32,
    /// Setup flags that they must not have.
    without: u32,
    shape: fn(Builder<Shared>) -> Builder<Shared>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Environment {
    /// Whether this is special about it.
    pub fn is(&self, tag: Tag) -> bool {
        match tag {
            Tag::ShortPipeWrites => {
                self.is(Tag::Fallback) && (self.is(Tag::WithoutNowait) || !pipes_know_nowait())
            }
            Tag::FewWorkers => self.is(Tag::Uring) && self.is(Tag::Tiny),
            Tag::SlowOpens => self.is(Tag::Uring) && (kernel() < (5, 10) || kernel() == (5, 11)),
            _ => self.tags.contains(&tag),
        }
    }

    /// How its rings are made, for any thread, but for those of [`Tag::Sim`], which a world makes; [`Builder::local`] makes it one for one thread.
    pub fn builder(&self) -> Builder<Shared> {
        let kind =
            if self.is(Tag::Fallback) { BackendKind::Fallback } else { BackendKind::IoUring };
        let entries = if self.is(Tag::Tiny) { 1 } else { 8 };
        let builder = Ring::builder().backend(BackendChoice::Only(kind)).entries(entries);
        (self.shape)(builder.without_setup_flags(self.without))
    }

    /// Whether the machine can give it.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self) -> Result<(), String> {
        if self.is(Tag::Sim) {
            return Ok(());
        }
        let features = if self.is(Tag::Local) {
            self.builder().local().build().map(|ring| ring.features().clone())
        } else {
            self.builder().build().map(|ring| ring.features().clone())
        };
        let features = features.map_err(|error| error.to_string())?;
        let missing = self.with & !features.setup_flags;
        if missing != 0 {
            return Err(format!("this kernel gives no ring with {}: {features}", flags(missing)));
        }
        Ok(())
    }

    /// Whether a ring of it is what its row says.
    pub(crate) fn fits(&self, features: &Features) -> bool {
        let kind = match () {
            () if self.is(Tag::Sim) => BackendKind::Sim,
            () if self.is(Tag::Fallback) => BackendKind::Fallback,
            () => BackendKind::IoUring,
        };
        features.backend == kind && features.setup_flags & self.without == 0
    }
}

fn flags(bits: u32) -> String {
    let names = setup::NAMES.iter().filter(|(flag, _)| bits & flag != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join("|")
}

/// Version and patch level of the kernel, by uname(2).
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn pipes_know_nowait() -> bool {
    let Ok((reader, _writer)) = std::io::pipe() else { return true };
    let mut room = [0];
    let read =
        preadv2(&reader, &mut [IoSliceMut::new(&mut room)], u64::MAX, ReadWriteFlags::NOWAIT);
    read != Err(Errno::OPNOTSUPP)
}

/// What kernels before 6.11 lack, one after the other; each has a plain system call.
const NEWER: &[u8] = &[
    opcode::SOCKET,
    opcode::BIND,
    opcode::LISTEN,
    opcode::SHUTDOWN,
    opcode::PIPE,
    opcode::FTRUNCATE,
    opcode::RENAMEAT,
    opcode::UNLINKAT,
    opcode::MKDIRAT,
    opcode::SYMLINKAT,
    opcode::LINKAT,
];

const IDLE: std::time::Duration = std::time::Duration::from_millis(1);
const DEFER: u32 = setup::DEFER_TASKRUN | setup::SINGLE_ISSUER;
const EXTRAS: u32 =
    DEFER | setup::COOP_TASKRUN | setup::SUBMIT_ALL | setup::NO_SQARRAY | setup::TASKRUN_FLAG;

const fn row(name: &'static str, about: &'static str, tags: &'static [Tag]) -> Environment {
    Environment { name, about, tags, with: 0, without: 0, shape: |builder| builder }
}

impl Environment {
    const fn with(self, with: u32) -> Self {
        Self { with, ..self }
    }

    const fn without(self, without: u32) -> Self {
        Self { without, ..self }
    }

    const fn shape(self, shape: fn(Builder<Shared>) -> Builder<Shared>) -> Self {
        Self { shape, ..self }
    }
}

/// Every environment. One more is one more row, and a test in `tests/environments.rs`.
pub const ENVIRONMENTS: &[Environment] = {
    use Tag::*;
    &[
        row("uring-local", "the best flags of this kernel, one thread", &[Uring, Local]),
        row("uring-local-defer", "DEFER_TASKRUN", &[Uring, Local]).with(DEFER),
        row("uring-local-coop", "COOP_TASKRUN, without SINGLE_ISSUER", &[Uring, Local])
            .with(setup::COOP_TASKRUN)
            .without(setup::SINGLE_ISSUER),
        row("uring-local-bare", "no optional flag", &[Uring, Local]).without(EXTRAS),
        row("uring-local-sqarray", "without NO_SQARRAY", &[Uring, Local])
            .without(setup::NO_SQARRAY),
        row("uring-local-sqpoll", "SQPOLL", &[Uring, Local, Sqpoll])
            .with(setup::SQPOLL)
            .shape(|builder| builder.sqpoll(IDLE)),
        row("uring-local-wide", "CQE32|SQE128", &[Uring, Local])
            .with(setup::CQE32 | setup::SQE128)
            .shape(|builder| builder.wide_completions(true).wide_entries(true)),
        row("uring-local-tiny", "one submission entry", &[Uring, Local, Tiny]),
        row("uring-local-restricted", "restricted to its own opcodes", &[Uring, Local, Restricted])
            .shape(|builder| builder.restricted(true)),
        row("uring-local-plain", "without newer opcodes", &[Uring, Local, PlainCalls])
            .shape(|builder| builder.without_opcodes(NEWER)),
        row("uring-shared", "the best flags of this kernel, any thread", &[Uring, Shared]),
        row("uring-shared-coop", "COOP_TASKRUN", &[Uring, Shared]).with(setup::COOP_TASKRUN),
        row("uring-shared-no-sqarray", "NO_SQARRAY", &[Uring, Shared]).with(setup::NO_SQARRAY),
        row("uring-shared-bare", "no optional flag", &[Uring, Shared]).without(EXTRAS),
        row("uring-shared-sqarray", "without NO_SQARRAY", &[Uring, Shared])
            .without(setup::NO_SQARRAY),
        row("uring-shared-sqpoll", "SQPOLL", &[Uring, Shared, Sqpoll])
            .with(setup::SQPOLL)
            .shape(|builder| builder.sqpoll(IDLE)),
        row("uring-shared-wide", "CQE32|SQE128", &[Uring, Shared])
            .with(setup::CQE32 | setup::SQE128)
            .shape(|builder| builder.wide_completions(true).wide_entries(true)),
        row("uring-shared-tiny", "one submission entry, one kernel ring", &[Uring, Shared, Tiny])
            .shape(|builder| builder.max_rings(1)),
        row("uring-shared-restricted", "restricted", &[Uring, Shared, Restricted])
            .shape(|builder| builder.restricted(true)),
        row("uring-shared-plain", "without newer opcodes", &[Uring, Shared, PlainCalls])
            .shape(|builder| builder.without_opcodes(NEWER)),
        row("fallback-local", "epoll, AIO, RWF_NOWAIT, threads", &[Fallback, Local]),
        row("fallback-local-tiny", "one submission entry", &[Fallback, Local, Tiny]),
        row("fallback-local-no-aio", "without AIO", &[Fallback, Local, WithoutAio])
            .shape(|builder| builder.fallback_parts(NO_AIO)),
        row("fallback-local-no-nowait", "without RWF_NOWAIT", &[Fallback, Local, WithoutNowait])
            .shape(|builder| builder.fallback_parts(NO_NOWAIT)),
        row(
            "fallback-local-threads",
            "epoll and threads alone",
            &[Fallback, Local, WithoutAio, WithoutNowait],
        )
        .shape(|builder| builder.fallback_parts(NEITHER)),
        row("fallback-shared", "epoll, AIO, RWF_NOWAIT, threads", &[Fallback, Shared]),
        row("fallback-shared-tiny", "one submission entry", &[Fallback, Shared, Tiny])
            .shape(|builder| builder.max_rings(1)),
        row(
            "fallback-shared-threads",
            "epoll and threads alone",
            &[Fallback, Shared, WithoutAio, WithoutNowait],
        )
        .shape(|builder| builder.fallback_parts(NEITHER)),
        row("sim-local", "a simulated kernel, calm, one thread", &[Sim, Local]),
        row("sim-local-tiny", "one entry in each queue", &[Sim, Local, Tiny]),
        row(
            "sim-local-faulty",
            "with faults that change no result, ten seeds",
            &[Sim, Local, Faulty],
        ),
        row("sim-shared", "a simulated kernel, calm", &[Sim, Shared]),
        row("sim-shared-tiny", "one entry in each queue", &[Sim, Shared, Tiny]),
        row("sim-shared-faulty", "the same", &[Sim, Shared, Faulty]),
    ]
};

const NO_AIO: FallbackParts = FallbackParts { aio: false, nowait: true };
const NO_NOWAIT: FallbackParts = FallbackParts { aio: true, nowait: false };
const NEITHER: FallbackParts = FallbackParts { aio: false, nowait: false };
