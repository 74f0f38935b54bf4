//! Many operations, one system call.

use std::fmt;

use safer_ring_backend::payload::{self, Payload, Read, Unit, Write};
use safer_ring_backend::{Batch as Inner, Member, Mode, Operation, Shared, SubmitBatch};
use safer_ring_buf::{IoBuf, IoBufMut};

use crate::ops::{CURSOR, position};
use crate::{Fd, RingOf};

/// Collects operations and hands them to the kernel in one `io_uring_enter`.
///
/// Each method returns a handle ([`Member`]) with the result of that member, ready once [`Batch::submit`] has ended:
///
/// ```
/// # use safer_ring::{Fd, Ring};
/// # pollster::block_on(async {
/// let ring = Ring::new(8)?;
/// let file: Fd = Fd::new(std::fs::File::open("/proc/self/exe")?);
/// let mut batch = ring.batch();
/// let head = batch.read_at(&file, vec![0; 4], 0);
/// let next = batch.read_at(&file, vec![0; 4], 4);
/// batch.submit().await;
/// let (_, magic) = head.await?;
/// assert_eq!(magic, b"\x7fELF");
/// next.await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// Members run concurrently and in no order; for an order see [`Operation::then`]. A batch can be filled and
/// submitted again, and allocates nothing in doing so.
pub struct Batch<M: Mode = Shared> {
    inner: Inner<M>,
}

impl<M: Mode> Batch<M> {
    pub(crate) fn new(ring: &RingOf<M>) -> Self {
        Self { inner: Inner::new(ring.inner()) }
    }

    /// Adds any operation of the ring: `batch.add(ring.fsync(&file))`.
    #[inline]
    pub fn add<P: Payload>(&mut self, operation: Operation<M, P>) -> Member<M, P> {
        self.inner.add_operation(operation)
    }

    /// Adds [`Ring::nop`](crate::RingOf::nop).
    #[inline]
    pub fn nop(&mut self) -> Member<M, Unit> {
        self.inner.add(payload::nop::<M>())
    }

    /// Adds [`Ring::read_owned`](crate::RingOf::read_owned).
    #[inline]
    pub fn read<B: IoBufMut>(&mut self, fd: &Fd<M>, buffer: B) -> Member<M, Read<B>> {
        self.inner.add(payload::read(fd, buffer, CURSOR))
    }

    /// Adds [`Ring::write_owned`](crate::RingOf::write_owned).
    #[inline]
    pub fn write<B: IoBuf>(&mut self, fd: &Fd<M>, buffer: B) -> Member<M, Write<B>> {
        self.inner.add(payload::write(fd, buffer, CURSOR))
    }

    /// Adds [`Ring::read_at_owned`](crate::RingOf::read_at_owned).
    #[inline]
    pub fn read_at<B: IoBufMut>(
        &mut self,
        fd: &Fd<M>,
        buffer: B,
        offset: u64,
    ) -> Member<M, Read<B>> {
        self.inner.add(payload::read(fd, buffer, position(offset)))
    }

    /// Adds [`Ring::write_at_owned`](crate::RingOf::write_at_owned).
    #[inline]
    pub fn write_at<B: IoBuf>(
        &mut self,
        fd: &Fd<M>,
        buffer: B,
        offset: u64,
    ) -> Member<M, Write<B>> {
        self.inner.add(payload::write(fd, buffer, position(offset)))
    }

    /// Adds [`Ring::recv`](crate::RingOf::recv).
    #[inline]
    pub fn recv<B: IoBufMut>(&mut self, fd: &Fd<M>, buffer: B) -> Member<M, Read<B>> {
        self.inner.add(payload::recv(fd, buffer))
    }

    /// Adds [`Ring::send`](crate::RingOf::send).
    #[inline]
    pub fn send<B: IoBuf>(&mut self, fd: &Fd<M>, buffer: B) -> Member<M, Write<B>> {
        self.inner.add(payload::send(fd, buffer))
    }

    /// Hands all members to the kernel and waits until the last one has ended. The results are in the
    /// handles. Dropping the returned future cancels nothing.
    pub fn submit(&mut self) -> SubmitBatch<'_, M> {
        self.inner.submit()
    }
}

impl<M: Mode> fmt::Debug for Batch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
