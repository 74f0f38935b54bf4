//! The process's threads for operations that may wait for a disk or a name.
//!
//! * A thread is started when work comes and none is free, up to [`MOST`]; one that has had none for [`PATIENCE`] ends.
//! * Results go to the engine that sent the work, and its eventfd says so.
//! * A forked child has none of its parent's threads and starts its own.
//!
//! # Safety
//! A job leads to memory that its operation lent, which is valid from any thread until the result is posted.
//!
//! Tests: work_is_done_by_as_few_threads_as_it_needs, work_that_nobody_has_begun_can_be_taken_back
#![allow(unsafe_code, reason = "sends pointers to lent memory to other threads")]

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use safer_ring_buf::sync::ForkMutex;
use safer_ring_sys::{Errno, fork};

use super::blocking;
use crate::backend::Submission;
use crate::wake::new_eventfd;

/// Threads that there are at most. Each may wait for a disk, and one that opens a FIFO for its other end.
const MOST: usize = 256;
/// How long a thread waits for work.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the results of an engine's work arrive.
#[derive(Debug)]
pub(super) struct Inbox {
    results: Mutex<Vec<(u64, i32)>>,
    /// Signalled for each first result. Never read: whoever watches it is told of edges.
    pub(super) bell: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self { results: Mutex::default(), bell: new_eventfd()? }))
    }

    fn deliver(&self, user_data: u64, result: i32) {
        let mut results = lock(&self.results);
        results.push((user_data, result));
        if results.len() == 1 {
            // A full counter, after 2^64 results, would be the only error.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Moves what has arrived to `taken`, which is empty.
    pub(super) fn take(&self, taken: &mut Vec<(u64, i32)>) {
        std::mem::swap(&mut *lock(&self.results), taken);
    }
}

struct Job {
    submission: Submission,
    progress: u32,
    inbox: Arc<Inbox>,
}

// SAFETY: the pointers in a submission lead to lent memory, valid from any thread (contract of `Backend::submit`).
unsafe impl Send for Job {}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// The threads of this process.
#[derive(Default)]
pub(super) struct Pool {
    queue: Mutex<Queue>,
    work: Condvar,
}

static POOL: ForkMutex<Option<(u32, Arc<Pool>)>> = ForkMutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No foreign code runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The pool of this process.
    pub(super) fn get() -> Result<Arc<Self>, Errno> {
        let epoch = fork::arm()?;
        let mut pool = POOL.lock();
        match &*pool {
            Some((owner, pool)) if *owner == epoch => Ok(Arc::clone(pool)),
            _ => {
                let new = Arc::new(Self::default());
                // A parent's is the parent's: its jobs lead to memory that is not to be touched here.
                std::mem::forget(pool.replace((epoch, Arc::clone(&new))));
                Ok(new)
            }
        }
    }

    /// Gives work to a thread.
    ///
    /// # Errors
    /// There is no thread, and none can be started.
    ///
    /// # Safety
    /// The contract of `Backend::submit` holds until the result has been taken from `inbox`.
    pub(super) unsafe fn send(
        self: &Arc<Self>,
        submission: &Submission,
        progress: u32,
        inbox: &Arc<Inbox>,
    ) -> Result<(), Errno> {
        let mut queue = lock(&self.queue);
        if queue.idle <= queue.jobs.len() && queue.threads < MOST {
            let own = Arc::clone(self);
            let started =
                std::thread::Builder::new().name("safer-ring-work".into()).spawn(move || own.run());
            match started {
                Ok(_) => queue.threads += 1,
                Err(_) if queue.threads > 0 => {}
                Err(_) => return Err(Errno::AGAIN),
            }
        }
        let inbox = Arc::clone(inbox);
        queue.jobs.push_back(Job { submission: *submission, progress, inbox });
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    /// Takes work back that no thread has begun.
    pub(super) fn take_back(&self, user_data: u64, inbox: &Arc<Inbox>) -> bool {
        let mut queue = lock(&self.queue);
        let mine =
            |job: &Job| job.submission.user_data == user_data && Arc::ptr_eq(&job.inbox, inbox);
        let found = queue.jobs.iter().position(mine);
        found.is_some_and(|at| queue.jobs.remove(at).is_some())
    }

    fn run(&self) {
        let mut next = self.take();
        while let Some(job) = next {
            // SAFETY: the promise of `send`: the memory is lent until the result is taken.
            let result = unsafe { blocking::perform(&job.submission, job.progress) };
            // Free before anybody hears of it: whoever sends the next job then does not start another thread for it.
            next = self.take_or_rest();
            job.inbox.deliver(job.submission.user_data, result);
            // With it goes the share of the engine's descriptor.
            drop(job);
            if next.is_none() {
                next = self.wait();
            }
        }
    }

    /// The first work of a new thread.
    fn take(&self) -> Option<Job> {
        let job = self.take_or_rest();
        if job.is_some() { job } else { self.wait() }
    }

    /// The next work; without any the thread is idle.
    fn take_or_rest(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        let job = queue.jobs.pop_front();
        queue.idle += usize::from(job.is_none());
        job
    }

    /// Waits for work, idle. `None`: the thread ends.
    fn wait(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        let mut over = false;
        loop {
            let job = queue.jobs.pop_front();
            if job.is_some() || over {
                queue.idle -= 1;
                queue.threads -= usize::from(job.is_none());
                return job;
            }
            let (woken, timed) =
                self.work.wait_timeout(queue, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            (queue, over) = (woken, timed.timed_out());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    use safer_ring_core::{CURSOR, Op};

    use super::*;

    /// A read of one byte from a pipe.
    fn read(name: u64, pipe: &impl AsRawFd, byte: &mut u8) -> Submission {
        Submission {
            user_data: name,
            op: Op::Read { offset: CURSOR },
            fd: pipe.as_raw_fd(),
            other: -1,
            ptr: byte,
            init: 1,
            capacity: 1,
            link: false,
            begun: 0,
            poll_first: None,
            class: None,
        }
    }

    fn results(inbox: &Inbox, count: usize) -> Vec<(u64, i32)> {
        let (mut all, mut some, start) = (Vec::new(), Vec::new(), Instant::now());
        while all.len() < count {
            assert!(start.elapsed() < Duration::from_secs(10), "no result");
            inbox.take(&mut some);
            all.append(&mut some);
            std::thread::yield_now();
        }
        all
    }

    #[test]
    fn work_is_done_by_as_few_threads_as_it_needs() {
        use std::io::Write;
        let (pool, inbox) = (Arc::new(Pool::default()), Inbox::new().unwrap());
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut byte = 0;
        for name in 0..200 {
            writer.write_all(&[7]).unwrap();
            // SAFETY: the byte and the pipe live until the result is there.
            unsafe { pool.send(&read(name, &reader, &mut byte), 0, &inbox) }.unwrap();
            assert_eq!(results(&inbox, 1), [(name, 1)]);
        }
        assert_eq!(lock(&pool.queue).threads, 1);
    }

    #[test]
    fn work_that_nobody_has_begun_can_be_taken_back() {
        use std::io::Write;
        let (pool, inbox) = (Arc::new(Pool::default()), Inbox::new().unwrap());
        let (reader, mut writer) = std::io::pipe().unwrap();
        // All threads wait in reads.
        let mut bytes = vec![0; MOST + 2];
        for (name, byte) in (0..).zip(&mut bytes) {
            // SAFETY: the bytes and the pipe live until the results are there.
            unsafe { pool.send(&read(name, &reader, byte), 0, &inbox) }.unwrap();
        }
        let last = u64::try_from(MOST + 1).unwrap();
        while lock(&pool.queue).jobs.len() > 2 {
            std::thread::yield_now();
        }
        assert_eq!(lock(&pool.queue).threads, MOST);
        assert!(pool.take_back(last, &inbox));
        assert!(!pool.take_back(last, &inbox), "it is gone");
        assert!(!pool.take_back(0, &Inbox::new().unwrap()), "somebody else's");
        writer.write_all(&vec![1; MOST + 1]).unwrap();
        assert_eq!(results(&inbox, MOST + 1).len(), MOST + 1);
    }
}
