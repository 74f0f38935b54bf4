//! The end of a runtime: what is asked of its threads, and what they report.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use safer_ring_backend::Drained;

use super::post::{Letter, Post};
use super::worker::Worker;

/// How long the other threads are waited for, beyond the deadline: their rings wait for the kernel a bounded time.
const GRACE: Duration = Duration::from_secs(1);

/// How a thread is to end.
pub(super) struct End {
    /// Until then its ring is drained; not at all without.
    deadline: Option<Instant>,
    report: Sender<ThreadReport>,
}

/// What was left of one thread of a runtime: see [`ShutdownReport`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadReport {
    thread: usize,
    tasks: usize,
    lost: usize,
    left: Drained,
    silent: bool,
}

impl ThreadReport {
    /// The number of the thread.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// Tasks that had not ended, and were cancelled: their futures were dropped.
    pub fn cancelled_tasks(&self) -> usize {
        self.tasks - self.lost
    }

    /// Tasks that could not be dropped, since a thread outside was stuck while it woke them. Their memory is leaked.
    pub fn lost_tasks(&self) -> usize {
        self.lost
    }

    /// Operations that had not ended at the deadline.
    pub fn left(&self) -> &Drained {
        &self.left
    }

    /// Whether the thread did end. One that did not is inside a task that does not return; it is left to itself, and
    /// nothing else is known of it.
    pub fn has_ended(&self) -> bool {
        !self.silent
    }

    /// Whether nothing was left of it in the kernel.
    pub fn is_complete(&self) -> bool {
        !self.silent && self.lost == 0 && self.left.is_complete()
    }
}

impl fmt::Display for ThreadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}: ", self.thread)?;
        if self.silent {
            return f.write_str("does not return from a task");
        }
        if self.lost > 0 {
            write!(f, "{} tasks leaked, ", self.lost)?;
        }
        write!(f, "{} tasks cancelled, {}", self.cancelled_tasks(), self.left)
    }
}

/// What was left of a runtime that was shut down: [`Runtime::shutdown`](super::Runtime::shutdown).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    threads: Vec<ThreadReport>,
}

impl ShutdownReport {
    /// Whether every thread has ended, and nothing was left in the kernel. Tasks that were cancelled do not count against
    /// it.
    pub fn is_complete(&self) -> bool {
        self.threads.iter().all(ThreadReport::is_complete)
    }

    /// A report for each thread, in order.
    pub fn threads(&self) -> &[ThreadReport] {
        &self.threads
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, thread) in self.threads.iter().enumerate() {
            let gap = if at == 0 { "" } else { "; " };
            write!(f, "{gap}{thread}")?;
        }
        Ok(())
    }
}

/// Cancels the tasks of the calling thread, and drains its ring.
pub(super) fn end_worker(worker: &Rc<Worker>, deadline: Option<Instant>) -> ThreadReport {
    let closed = worker.close();
    let ring = worker.ring();
    let drain = |deadline| catch_unwind(AssertUnwindSafe(|| ring.block_on(ring.drain(deadline))));
    let left = deadline.map(drain).and_then(Result::ok).unwrap_or_default();
    ThreadReport {
        thread: worker.index(),
        tasks: closed.tasks,
        lost: closed.lost,
        left,
        silent: false,
    }
}

/// The life of a thread of the runtime, from the moment that its ring is there.
pub(super) fn live(worker: Rc<Worker>) {
    let End { deadline, report } = worker.run_to_end();
    let told = end_worker(&worker, deadline);
    // The ring waits for the kernel here, if no task has leaked a handle of it.
    drop(worker);
    // Nobody may be there to hear it.
    let _ = report.send(told);
}

/// The threads of a runtime beside the one that made it.
#[derive(Debug, Default)]
pub(super) struct Team {
    pub(super) members: Vec<Member>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) index: usize,
    pub(super) post: Arc<Post>,
    pub(super) thread: thread::JoinHandle<()>,
}

impl Team {
    /// Tells all threads to end.
    pub(super) fn order_end(&self, deadline: Option<Instant>) -> Receiver<ThreadReport> {
        let (report, reports) = channel();
        for member in &self.members {
            let end = End { deadline, report: report.clone() };
            let order = Letter::Call(Box::new(move |worker: &Rc<Worker>| worker.order_end(end)));
            // One that takes no letters has ended.
            let _ = member.post.send(order);
        }
        reports
    }

    /// Waits until all have ended, but not much longer than to the deadline.
    pub(super) fn gather(
        &mut self,
        reports: &Receiver<ThreadReport>,
        deadline: Option<Instant>,
    ) -> Vec<ThreadReport> {
        let now = Instant::now();
        let limit = deadline.unwrap_or(now).max(now) + GRACE;
        let mut told = Vec::new();
        while told.len() < self.members.len() {
            let left = limit.saturating_duration_since(Instant::now());
            let Ok(report) = reports.recv_timeout(left) else { break };
            told.push(report);
        }
        for member in self.members.drain(..) {
            if !told.iter().any(|report| report.thread == member.index) {
                let thread = member.index;
                told.push(ThreadReport { thread, silent: true, ..ThreadReport::default() });
                continue;
            }
            // It has nothing left to do but the destructors of its thread-local values.
            while !member.thread.is_finished() && Instant::now() < limit {
                thread::sleep(Duration::from_micros(50));
            }
            if member.thread.is_finished() {
                // A panic there is none of ours.
                let _ = member.thread.join();
            }
        }
        told.sort_by_key(|report| report.thread);
        told
    }
}

impl Drop for Team {
    /// One that was not gathered belongs to a runtime that did not come about.
    fn drop(&mut self) {
        if !self.members.is_empty() {
            let reports = self.order_end(None);
            self.gather(&reports, None);
        }
    }
}

/// All threads of a runtime are to end, the calling one among them.
pub(super) fn end_all(
    worker: &Rc<Worker>,
    team: &mut Team,
    deadline: Option<Instant>,
) -> ShutdownReport {
    let reports = team.order_end(deadline);
    let own = end_worker(worker, deadline);
    let mut threads = vec![own];
    threads.append(&mut team.gather(&reports, deadline));
    ShutdownReport { threads }
}
