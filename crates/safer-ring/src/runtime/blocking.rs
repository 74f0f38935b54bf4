//! Calls that block, on a pool of threads.

use super::task::{Deliver, Desk, JoinHandle};

/// Runs a call that blocks on a thread of the pool of the `blocking` crate: threads are made when they are needed, 500 at
/// most (`BLOCKING_MAX_THREADS`), and end when they are idle. It works outside of a runtime too.
///
/// ```
/// # use safer_ring::{Runtime, runtime};
/// # fn main() -> std::io::Result<()> {
/// let resolved = Runtime::new()?.block_on(async {
///     use std::net::ToSocketAddrs;
///     runtime::spawn_blocking(|| "localhost:80".to_socket_addrs().map(Iterator::count)).await
/// })?;
/// assert!(resolved.is_err() || resolved? > 0);
/// # Ok(()) }
/// ```
///
/// # Dropping
/// The call goes on. [`JoinHandle::abort`] keeps one from starting that has not begun; one that has begun cannot be ended.
///
/// # Shutdown
/// The pool is the process's and not the runtime's: neither the drop of a [`Runtime`](super::Runtime) nor
/// [`shutdown`](super::Runtime::shutdown) waits for its calls, begun or queued, and no
/// [`ShutdownReport`](super::ShutdownReport) counts them. They go on until the process ends, which cuts them off. Await the
/// handles of those that must end first.
pub fn spawn_blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let desk = Desk::new();
    let deliver = Deliver::new(&desk);
    let work = move || {
        // Else it is told "cancelled" when this closure ends.
        if !deliver.is_aborted()
            && let Some(output) = deliver.catch(call)
        {
            deliver.deliver(Ok(output));
        }
    };
    blocking::unblock(work).detach();
    JoinHandle::new(desk)
}
