//! What scenarios share: polling by hand, waiting for a state, and results as words.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use safer_ring::sys::Errno;
use safer_ring::{Failure, Mode, OpError, RingOf, TransferError};

use crate::env::Trouble;

/// What waits for a state gives up after this time; less than the limit of a scenario.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Starts what has to wait; that it does not is trouble.
pub(crate) fn start<F: Future + Unpin>(future: &mut F) -> Result<(), Trouble> {
    match poll_once(future) {
        Poll::Pending => Ok(()),
        Poll::Ready(_) => Err("it was over at once, and had to wait".into()),
    }
}

/// Both at the same time.
pub(crate) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Lets the ring work until `done`.
pub(crate) async fn until<M: Mode>(
    ring: &RingOf<M>,
    what: &str,
    mut done: impl FnMut() -> bool,
) -> Result<(), Trouble> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > end {
            return Err(format!("not so: {what}: {:?}", ring.snapshot()).into());
        }
        ring.timeout(Duration::from_millis(1)).await?;
    }
    Ok(())
}

/// Lets the ring work until nothing of dropped futures is left in it, but for what stays armed.
pub(crate) async fn ended<M: Mode>(ring: &RingOf<M>) -> Result<(), Trouble> {
    until(ring, "dropped operations have ended", || {
        let now = ring.snapshot();
        now.orphans == now.kept && now.queued == 0
    })
    .await
}

/// Lets the ring hand over what it has, and take in what there is.
pub(crate) async fn turn<M: Mode>(ring: &RingOf<M>) -> Result<(), Trouble> {
    Ok(ring.nop().await?)
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    // From there on they repeat. Copying is quick on an emulated processor, and counting 4 MiB of them takes seconds.
    const PERIOD: usize = 251 * 256;
    let byte = |at| u8::try_from((at * 7 + at / 251) % 256).unwrap_or(0);
    let once: Vec<u8> = (0..len.min(PERIOD)).map(byte).collect();
    let mut all = once.repeat(len.div_ceil(PERIOD));
    all.truncate(len);
    all
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// "ok" or the error, of an operation without a buffer.
pub(crate) fn plain<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => word(error),
    }
}

/// "5 'bytes'", or the error with what came back, "EBADF 'bytes'".
pub(crate) fn moved<B: AsRef<[u8]>>(result: &Result<(usize, B), OpError<B>>) -> String {
    match result {
        Ok((count, buffer)) => format!("{count} '{}'", text(buffer.as_ref())),
        Err(error) => format!("{} '{}'", word(&error.error), text(error.buffer.as_ref())),
    }
}

/// The same of many buffers: "5 'by|tes'".
pub(crate) fn moved_all<B: AsRef<[u8]>>(
    result: &Result<(usize, Vec<B>), OpError<Vec<B>>>,
) -> String {
    let join = |buffers: &[B]| {
        buffers.iter().map(|buffer| text(buffer.as_ref())).collect::<Vec<_>>().join("|")
    };
    match result {
        Ok((count, buffers)) => format!("{count} '{}'", join(buffers)),
        Err(error) => format!("{} '{}'", word(&error.error), join(&error.buffer)),
    }
}

/// "ok 'bytes'", or the error with how far it came.
pub(crate) fn whole<B: AsRef<[u8]>>(result: &Result<B, TransferError<B>>) -> String {
    match result {
        Ok(buffer) => format!("ok '{}'", text(buffer.as_ref())),
        Err(error) => format!("{} after {}", word(&error.error), error.transferred),
    }
}

/// "yes" or "no".
pub(crate) fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Items in their order, with a blank between.
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// The name of an error: that of errno(3), or the library's own.
pub(crate) fn word(error: &io::Error) -> String {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    match own {
        Some(Failure::Earlier { errno }) => {
            format!("Earlier({})", number(Some(errno.raw_os_error())))
        }
        Some(Failure::EarlierShort { wanted, moved }) => format!("EarlierShort({moved}/{wanted})"),
        Some(Failure::ChainShort { member, wanted, moved }) => {
            format!("ChainShort({member}:{moved}/{wanted})")
        }
        Some(Failure::ChainFailed { member, errno }) => {
            format!("ChainFailed({member}:{})", number(Some(errno.raw_os_error())))
        }
        Some(Failure::ChainTooLong { .. }) => "ChainTooLong".to_owned(),
        Some(Failure::Busy { .. }) => "Busy".to_owned(),
        Some(other) => format!("{other:?}"),
        None if error.raw_os_error().is_some() => number(error.raw_os_error()),
        None => format!("{:?}", error.kind()),
    }
}

/// The name of an error number.
pub(crate) fn number(code: Option<i32>) -> String {
    let named = code.and_then(Errno::from_raw_os_error).and_then(Errno::name);
    match (named, code) {
        (Some(name), _) => name.to_owned(),
        (None, Some(code)) => format!("errno {code}"),
        (None, None) => "no number".to_owned(),
    }
}
