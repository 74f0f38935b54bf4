//! The ring.

use std::fmt;
use std::time::Instant;

use safer_ring_backend::buf::BufferPool;
use safer_ring_backend::{
    Config, Drain, Features, InFlight, Local, Mode, Operation, Payload, RegisterError, Report,
    Request, SetupError, Shared, Snapshot, beside,
};

use crate::ring_buffer::Lender;
use crate::{Batch, Builder, Fd};

/// An io_uring that any thread and any executor can use: [`RingOf`] with [`Shared`].
pub type Ring = RingOf<Shared>;

/// An io_uring that any thread and any executor can use ([`Ring`](crate::Ring)), or one thread's own
/// ([`local::Ring`](crate::local::Ring)).
///
/// Use one of these two names; this one is for code that is generic over the [`Mode`].
///
/// A handle: cloning it makes another one of the same ring. Operations are methods; each gives a future that
/// does nothing until it is first polled. When the last handle is dropped, what is in flight is brought
/// to its end in the background (local rings: within a bounded time, on the spot), and no memory is freed
/// that the kernel may still use.
pub struct RingOf<M: Mode> {
    inner: M::Ring,
    lender: Lender,
}

impl RingOf<Shared> {
    /// How to make a ring that is not the default.
    pub fn builder() -> Builder<Shared> {
        Builder::new()
    }
}

impl<M: Mode> RingOf<M> {
    /// A ring with `entries` places in its submission queue, 1 to 32768; 256 is a good start. More
    /// operations may be started than fit: they wait inside.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(entries: u32) -> Result<Self, SetupError> {
        Self::with_config(Config::new(entries))
    }

    pub(crate) fn with_config(config: Config) -> Result<Self, SetupError> {
        Ok(Self { inner: M::open(config)?, lender: Lender::new() })
    }

    /// What the kernel gave: setup flags, opcodes, sizes.
    pub fn features(&self) -> &Features {
        M::features(&self.inner)
    }

    /// Which backend runs the operations, and if it is not io_uring, why, and what to do about it. Of a shared ring: its
    /// first kernel ring. [`detect`](crate::detect) tells more, about the process.
    ///
    /// ```
    /// # fn main() -> Result<(), safer_ring::SetupError> {
    /// let ring = safer_ring::Ring::new(8)?;
    /// println!("{}", ring.report()); // "io_uring"
    /// # Ok(()) }
    /// ```
    pub fn report(&self) -> &Report {
        M::report(&self.inner)
    }

    /// What the ring is doing and has done. No system call; of a shared ring it takes the lock of each kernel ring
    /// in turn.
    pub fn snapshot(&self) -> Snapshot {
        M::snapshot(&self.inner)
    }

    /// What is in flight, or waits to be: one entry for each operation, with its kind, its age and its descriptor. Timers
    /// are left out. It looks at every operation under the lock of its kernel ring: for reports.
    pub fn operations(&self) -> Vec<InFlight> {
        safer_ring_backend::operations::<M>(&self.inner)
    }

    /// Waits until nothing of this ring is in flight, those operations included whose futures were dropped, and gives what
    /// is left at the deadline. Receives and accepts that were dropped and stay armed are cancelled; what they have
    /// taken in stays for the next. Nothing else is cancelled, and the ring can be used on. Timers are not waited for.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use safer_ring::Ring;
    /// # fn main() -> std::io::Result<()> {
    /// let ring = Ring::new(8)?;
    /// let report = pollster::block_on(ring.drain(Instant::now() + Duration::from_secs(1)));
    /// assert!(report.is_complete());
    /// println!("{report}"); // else "3 operations, oldest 12 s: read on fd 17"
    /// # Ok(()) }
    /// ```
    ///
    /// # Dropping
    /// Nothing is lost; the receives and accepts have been cancelled.
    pub fn drain(&self, deadline: Instant) -> Drain<M> {
        Drain::new(&self.inner, deadline)
    }

    /// Gives up what dropped futures have left on a descriptor, at once: sends, writes, syncs and receives of this ring whose
    /// futures are gone are cancelled, what waits behind them never runs, what has arrived for the next receive is dropped.
    /// Bytes that were to be sent may be lost: that is its meaning. From now on nothing is sent on any handle of the
    /// descriptor ([`Failure::GivenUp`](crate::Failure)), and an operation on it whose future is dropped is cancelled.
    /// Operations whose futures are alive go on.
    ///
    /// A descriptor is closed when its last handle and its last operation are gone; this ends the operations. Sockets have
    /// `abort`, which resets the connection as well. What a disk has begun runs to its end.
    ///
    /// It asks the kernel (`IORING_OP_ASYNC_CANCEL`) and does not wait for its answer; a [`local::Ring`](crate::local::Ring)
    /// takes that in inside of its `block_on`.
    pub fn give_up(&self, fd: &Fd<M>) {
        safer_ring_backend::give_up::<M>(&self.inner, fd);
    }

    /// The time by the clock of this ring, for deadlines: [`Instant::now`], and in a simulated world ([`crate::sim`]) the time
    /// there, which is no time of the machine. A deadline there may be either; only with this one does the seed alone
    /// say when it comes.
    pub fn now(&self) -> Instant {
        beside::now::<M>(&self.inner)
    }

    /// How long it is until a deadline.
    #[cfg(feature = "hyper")]
    pub(crate) fn until(&self, deadline: Instant) -> std::time::Duration {
        beside::left::<M>(&self.inner, deadline)
    }

    /// Registers the memory of a pool with the kernel (`IORING_REGISTER_BUFFERS2`, kernel 5.19), which pins its pages once
    /// and not in each operation: for files with `O_DIRECT` above all, and the more the larger the transfers are. From now
    /// on positional reads and writes with buffers of the pool name the registered memory (`READ_FIXED`, `WRITE_FIXED`), in
    /// whatever way they are started; all else about them stays the same. [`Snapshot::registered_buffers`] counts them.
    ///
    /// The pool is one of [`BufferPool::contiguous`](crate::BufferPool::contiguous). It can be used before, afterwards, and
    /// if this fails: what failed is an optimisation. A shared ring registers it with each of its kernel rings, and each time
    /// the memory counts as locked. It stays registered until [`RingOf::unregister_buffers`], or until the ring ends, or until
    /// the pool and all its buffers are gone and another pool is registered; the memory is kept as long.
    ///
    /// ```
    /// # use safer_ring::{BufferPool, Ring, fs::File};
    /// # async fn read(ring: Ring, file: File) -> std::io::Result<()> {
    /// let pool = BufferPool::contiguous(64, 1 << 20, 4096)?;
    /// if let Err(error) = ring.register_buffers(&pool) {
    ///     eprintln!("slower than it could be: {error}");
    /// }
    /// let (n, buffer) = file.read_at(pool.acquire().await, 0).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`RegisterError`]: a pool that is not contiguous, a ring without registered memory (the fallback, a restricted
    /// ring, an older kernel), `RLIMIT_MEMLOCK`.
    ///
    /// Source: io_uring_register(2), `IORING_REGISTER_BUFFERS_UPDATE`; io_uring_enter(2), `IORING_OP_READ_FIXED`.
    pub fn register_buffers(&self, pool: &BufferPool) -> Result<(), RegisterError> {
        safer_ring_backend::register::<M>(&self.inner, pool)
    }

    /// Undoes [`RingOf::register_buffers`]: the memory is no longer locked. Nothing happens if it is not registered.
    ///
    /// # Errors
    /// [`RegisterError::InUse`] while buffers of the pool are out. Of a shared ring, some kernel rings may have done it then.
    pub fn unregister_buffers(&self, pool: &BufferPool) -> Result<(), RegisterError> {
        safer_ring_backend::unregister::<M>(&self.inner, pool)
    }

    /// Collects operations that are handed to the kernel in one call.
    pub fn batch(&self) -> Batch<M> {
        Batch::new(self)
    }

    #[inline]
    pub(crate) fn start<P: Payload>(&self, request: Request<M::Guard, P>) -> Operation<M, P> {
        Operation::new(&self.inner, Ok(request))
    }

    pub(crate) fn try_start<P: Payload>(
        &self,
        request: Result<Request<M::Guard, P>, P::Output>,
    ) -> Operation<M, P> {
        Operation::new(&self.inner, request)
    }

    pub(crate) fn inner(&self) -> &M::Ring {
        &self.inner
    }

    pub(crate) fn lender(&self) -> &Lender {
        &self.lender
    }
}

impl RingOf<Local> {
    /// Runs a future to its end on this thread. The thread sleeps in the ring while the future waits, so
    /// what it starts is submitted and reaped in the same system call; wakers may be used from any thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.inner.block_on(future)
    }
}

impl<M: Mode> Clone for RingOf<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), lender: self.lender.clone() }
    }
}

impl<M: Mode> fmt::Debug for RingOf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("features", self.features()).finish_non_exhaustive()
    }
}
