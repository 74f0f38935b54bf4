//! How a ring is made.

use std::marker::PhantomData;
use std::time::Duration;

use safer_ring_backend::{
    BackendChoice, Config, FallbackParts, Local, Mode, SetupError, Shared, Sqpoll,
};

use crate::RingOf;
use crate::cpu::{self, CpuId, Node};

/// Shapes a ring before it is made.
///
/// ```
/// # fn main() -> Result<(), safer_ring::SetupError> {
/// let ring = safer_ring::Ring::builder().entries(64).restricted(true).build()?;
/// println!("{}", ring.features());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes a ring when `build` is called"]
pub struct Builder<M: Mode = Shared> {
    config: Config,
    mode: PhantomData<fn() -> M>,
}

impl<M: Mode> Builder<M> {
    pub(crate) fn new() -> Self {
        Self { config: Config::new(256), mode: PhantomData }
    }

    /// What may run the operations (default [`BackendChoice::Auto`]: io_uring, if it works).
    ///
    /// `Only(BackendKind::IoUring)` is strict: where io_uring does not work, [`Builder::build`] is an error with the cause
    /// and what to do about it. The environment variable `SAFER_RING_BACKEND` (`auto`, `io_uring`, `fallback`) overrides
    /// `Auto` and nothing else; with `io_uring` it also leaves out the child process that finds out, under a seccomp
    /// filter, whether the system calls would kill this one.
    pub fn backend(mut self, choice: BackendChoice) -> Self {
        self.config.backend = choice;
        self
    }

    /// Whether [`BackendChoice::Auto`] falls back also for want of descriptors or of memory (default: no). Such a want
    /// passes, and a ring that is slower for the rest of its life hides it; so it is an error
    /// ([`Cause::is_exhaustion`](crate::Cause::is_exhaustion)).
    pub fn fallback_when_exhausted(mut self, fallback: bool) -> Self {
        self.config.fallback_when_exhausted = fallback;
        self
    }

    /// Places in the submission queue, 1 to 32768 (default 256; the kernel rounds up to a power of two).
    /// More operations than this may wait; they are handed over as places become free.
    ///
    /// The kernel makes at most as many worker threads for files, and at most four for each CPU. An open of a FIFO that waits
    /// for its other end holds one; [`Builder::io_wq_workers`] gives more.
    pub fn entries(mut self, entries: u32) -> Self {
        self.config.entries = entries;
        self
    }

    /// Places in the completion queue (default: twice the entries, at least 1024). At least the entries, at most
    /// 65536. No limit on what the kernel works on: completions beyond it wait in the kernel, which costs more.
    pub fn completions(mut self, completions: u32) -> Self {
        self.config.completions = Some(completions);
        self
    }

    /// A kernel thread takes the submissions (`IORING_SETUP_SQPOLL`): no system call to submit, one CPU
    /// kept busy while there is traffic and for `idle` after it: whole milliseconds, rounded up, and at least one. Not
    /// for programs that do not have a CPU to spare.
    pub fn sqpoll(mut self, idle: Duration) -> Self {
        let cpu = self.config.sqpoll.and_then(|sqpoll| sqpoll.cpu);
        self.config.sqpoll = Some(Sqpoll { idle, cpu });
        self
    }

    /// Binds the thread of [`Builder::sqpoll`] to a CPU. Implies it, with an idle time of one second.
    pub fn sqpoll_cpu(mut self, cpu: u32) -> Self {
        let idle = self.config.sqpoll.map_or(Duration::from_secs(1), |sqpoll| sqpoll.idle);
        self.config.sqpoll = Some(Sqpoll { idle, cpu: Some(cpu) });
        self
    }

    /// Completions are polled from the device (`IORING_SETUP_IOPOLL`): only for files opened with
    /// `O_DIRECT` on devices with poll queues; every other operation fails with `EOPNOTSUPP` or
    /// `EINVAL`. Waiting uses the CPU, and nothing can be cancelled.
    pub fn iopoll(mut self, iopoll: bool) -> Self {
        self.config.iopoll = iopoll;
        self
    }

    /// Completions have 32 bytes (`IORING_SETUP_CQE32`) in place of 16, for entries of [`Ring::raw`](crate::RingOf::raw)
    /// that need the second half ([`RawOutput::second_half`](crate::RawOutput::second_half)): time stamps, zero-copy receives,
    /// and, with [`Builder::wide_entries`], commands to NVMe devices. Every other operation is the same, and slower by a few nanoseconds. Kernel 5.19:
    /// before that, building the ring fails with [`SetupError::Mode`](crate::SetupError::Mode). The fallback has no such
    /// entries, and it means nothing there.
    pub fn wide_completions(mut self, wide: bool) -> Self {
        self.config.wide_completions = wide;
        self
    }

    /// Submissions have 128 bytes (`IORING_SETUP_SQE128`) in place of 64, for entries of
    /// [`Ring::raw_wide`](crate::RingOf::raw_wide). Every other operation is the same, and slower by some nanoseconds. Kernel
    /// 5.19; errors and the fallback as for [`Builder::wide_completions`].
    pub fn wide_entries(mut self, wide: bool) -> Self {
        self.config.wide_entries = wide;
        self
    }

    /// Most worker threads that the kernel makes for work that blocks: `bounded` for files, `unbounded`
    /// for everything else. 0 leaves a limit as it is. Kernel 5.15. It means nothing on the fallback, whose threads are its own.
    pub fn io_wq_workers(mut self, bounded: u32, unbounded: u32) -> Self {
        self.config.io_wq_limits = Some([bounded, unbounded]);
        self
    }

    /// The kernel refuses every opcode that this library does not use itself (`EACCES`): operations of
    /// a ring bypass seccomp filters, and this narrows what a hijacked program can do with it.
    /// [`Ring::raw`](crate::RingOf::raw) is then limited to the same opcodes. Kernel 5.10. It means nothing on the
    /// fallback, whose system calls a seccomp filter sees.
    pub fn restricted(mut self, restricted: bool) -> Self {
        self.config.restricted = restricted;
        self
    }

    /// The ring's pages come from the node of this CPU: the thread that makes the kernel ring goes there for the length of
    /// the set-up, and back. A thread that is pinned there already is left alone.
    ///
    /// A wish: the ring is made in any case, and [`Features::placement`](crate::Features::placement) tells what became of
    /// it. Going back, the thread's affinity is set to what it was, which a cpuset that grows later may not widen.
    pub fn cpu(mut self, cpu: CpuId) -> Self {
        self.config.place.cpu = Some(cpu.get());
        self
    }

    /// The ring's pages come from this node, as with [`Builder::cpu`] (which names the CPU to go to, if both are given),
    /// and the worker threads that the kernel makes for the submitting thread, for work that blocks, run on the node's
    /// CPUs: `IORING_REGISTER_IOWQ_AFF`, kernel 5.14. A shared ring asks for it on each thread that makes a kernel ring or
    /// takes one over (the latter: kernel 5.18, and not if the ring is restricted).
    ///
    /// The workers' CPUs are a property of the thread: they hold for all of its rings, and after this one has ended.
    ///
    /// A wish too. Of a node without CPUs only the memory is asked for.
    pub fn node(mut self, node: &Node) -> Self {
        let place = &mut self.config.place;
        place.node = Some(node.id().get());
        place.node_cpus = cpu::mask(node.cpus());
        self
    }

    /// Never use these setup flags (`IORING_SETUP_*`), to compare or to stay clear of a kernel's bug.
    pub fn without_setup_flags(mut self, flags: u32) -> Self {
        self.config.without_setup_flags = flags;
        self
    }

    /// What the fallback may use. For tests, which force each part: what is left out is done by threads.
    #[doc(hidden)]
    pub fn fallback_parts(mut self, parts: FallbackParts) -> Self {
        self.config.fallback_parts = parts;
        self
    }

    /// Treat these opcodes (`IORING_OP_*`) as absent. Operations that have a plain system call use that.
    pub fn without_opcodes(mut self, opcodes: &[u8]) -> Self {
        self.config.without_opcodes = opcodes.to_vec();
        self
    }
}

impl Builder<Shared> {
    /// Most kernel rings that are made, one for each thread that submits (default 64). More threads than
    /// that share them.
    pub fn max_rings(mut self, rings: usize) -> Self {
        self.config.max_rings = rings;
        self
    }

    /// The same settings for a ring of one thread.
    pub fn local(self) -> Builder<Local> {
        Builder { config: self.config, mode: PhantomData }
    }
}

impl<M: Mode> Builder<M> {
    #[cfg(feature = "runtime")]
    pub(crate) fn is_iopoll(&self) -> bool {
        self.config.iopoll
    }

    /// Whether a CPU or a node was asked for.
    #[cfg(feature = "runtime")]
    pub(crate) fn is_placed(&self) -> bool {
        self.config.place != Default::default()
    }

    /// Makes the ring: with the best setup flags that this kernel takes, and with fewer entries where memory
    /// is short. [`Features`](crate::Features) tells what became of it.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn build(self) -> Result<RingOf<M>, SetupError> {
        RingOf::with_config(self.config)
    }
}
