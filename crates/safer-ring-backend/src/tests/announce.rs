//! The protocols of announcing completions, in every interleaving that the memory model allows.
//!
//! They are models: the kernel's side is written here as its source has it, and ours as `RingBackend::listen` and
//! `Driver::hush` have it, on the words of the model checker; what needs no kernel is checked as it is, in `models.rs`. What they do not show: that the
//! kernel does what is written here, and what the compiler makes of the real code.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::thread;

/// The shared words of one ring.
struct Words {
    tail: AtomicU32,
    silent: AtomicBool,
    /// Signals of the bell.
    rung: AtomicU32,
}

impl Words {
    fn new() -> Arc<Self> {
        let (tail, rung) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { tail, silent: AtomicBool::new(true), rung })
    }

    /// The kernel posts one completion.
    fn post(&self) {
        self.tail.fetch_add(1, Ordering::Release);
        // `wq_has_sleeper`, between the tail and the look at the flag.
        fence(Ordering::SeqCst);
        if !self.silent.load(Ordering::Relaxed) {
            self.rung.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The program goes away; gives what it found.
    fn listen(&self, barrier: bool) -> u32 {
        self.silent.store(false, Ordering::Relaxed);
        if barrier {
            fence(Ordering::SeqCst);
        }
        self.tail.load(Ordering::Acquire)
    }
}

fn a_completion_beside_a_listen(barrier: bool) {
    loom::model(move || {
        let words = Words::new();
        let kernel = Arc::clone(&words);
        let posting = thread::spawn(move || kernel.post());
        let found = words.listen(barrier);
        posting.join().unwrap();
        let rung = words.rung.load(Ordering::Acquire);
        assert!(found == 1 || rung > 0, "nobody hears of the completion");
    });
}

#[test]
fn a_completion_is_found_or_announced() {
    a_completion_beside_a_listen(true);
}

#[test]
#[should_panic(expected = "nobody hears of the completion")]
fn without_the_barrier_a_completion_is_lost() {
    a_completion_beside_a_listen(false);
}

#[test]
fn completions_around_a_system_call_are_found_or_announced() {
    let mut model = loom::model::Builder::new();
    // All of them take more than a minute.
    model.preemption_bound = Some(3);
    model.check(|| {
        let words = Words::new();
        let kernel = Arc::clone(&words);
        let posting = thread::spawn(move || {
            kernel.post();
            kernel.post();
        });
        // Two turns: hush, a system call, reap, listen.
        let mut found = words.listen(true);
        words.silent.store(true, Ordering::Relaxed);
        found = found.max(words.tail.load(Ordering::Acquire));
        let heard_before = words.rung.load(Ordering::Acquire);
        found = found.max(words.listen(true));
        posting.join().unwrap();
        let rung = words.rung.load(Ordering::Acquire);
        assert!(found == 2 || rung > heard_before, "nobody hears of the last completion");
    });
}
