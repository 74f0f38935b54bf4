//! What wakes threads, as it is, in every interleaving that the memory model allows. `cargo xtask loom` runs them.
//!
//! What they do not show: what the ring and the driver do between two looks at the words (the ring's watch of an eventfd
//! is a wait for its count here); system calls, of which the checker sees nothing; reference counts, which are those of
//! the standard library; the lock of a shared ring's driver. `SeqCst` accesses that are no fences are taken as
//! acquire and release, so what rests on their one order could fail here and not in the real. At most three preemptions
//! in a run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use loom::thread;

use crate::letters::LetterBox;
use crate::listener::{Bell, Ear, Hearing, Listener};
use crate::reactor::Rest;
use crate::wake::{Doorbell, LocalWake};

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Does not model the driver's own flag of the root, nor a watch that cannot be armed.
#[test]
fn a_sleeper_hears_of_both_that_wake_it() {
    check(|| {
        let bell = Doorbell::new().unwrap();
        let wake = LocalWake::new(Arc::clone(&bell));
        let ready: Arc<[AtomicBool; 2]> =
            Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let wakers: Vec<_> = (0..2)
            .map(|at| {
                let (ready, waker) = (Arc::clone(&ready), Waker::from(Arc::clone(&wake)));
                thread::spawn(move || {
                    ready[at].store(true, Ordering::Relaxed);
                    waker.wake();
                })
            })
            .collect();
        // As `LocalCell::run` and `turn` have it; a wake-up that is lost is a sleep that never ends.
        loop {
            if wake.take() {
                if ready.iter().all(|ready| ready.load(Ordering::Relaxed)) {
                    break;
                }
                continue;
            }
            bell.sleep();
            bell.hush();
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}

/// As above, with one that wakes three times: between its second and third the owner hushes a bell that has rung again.
#[test]
fn a_bell_that_was_hushed_rings_again() {
    check(|| {
        let bell = Doorbell::new().unwrap();
        let wake = LocalWake::new(Arc::clone(&bell));
        let ready = Arc::new(AtomicU8::new(0));
        let (counting, waker) = (Arc::clone(&ready), Waker::from(Arc::clone(&wake)));
        let waking = thread::spawn(move || {
            for count in 1..=3 {
                counting.store(count, Ordering::Relaxed);
                waker.wake_by_ref();
            }
        });
        loop {
            if wake.take() {
                if ready.load(Ordering::Relaxed) == 3 {
                    break;
                }
                continue;
            }
            bell.sleep();
            bell.hush();
        }
        waking.join().unwrap();
    });
}

/// Does not model who closes a box, and one sender's second letter.
#[test]
fn a_letter_is_collected_before_its_owner_sleeps_for_good() {
    check(|| {
        let bell = Doorbell::new().unwrap();
        let letters = Arc::new(LetterBox::new(Arc::clone(&bell)));
        let senders: Vec<_> = (0..2)
            .map(|name| {
                let letters = Arc::clone(&letters);
                thread::spawn(move || letters.send(name).unwrap())
            })
            .collect();
        let mut come = VecDeque::new();
        // As `Turns` of the runtime has it.
        loop {
            if letters.has_news() {
                letters.collect(&mut come);
            }
            if come.len() == 2 {
                break;
            }
            if letters.rest() {
                bell.sleep();
                bell.hush();
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn a_letter_to_a_closing_box_comes_back_or_is_among_those_left() {
    check(|| {
        let letters = Arc::new(LetterBox::new(Doorbell::new().unwrap()));
        let other = Arc::clone(&letters);
        let sender = thread::spawn(move || other.send(()).is_err());
        let left = letters.close().len();
        let came_back = sender.join().unwrap();
        assert_eq!(left + usize::from(came_back), 1, "a letter is nowhere, or in two places");
    });
}

/// Which pollers hold the bell of the model.
#[derive(Default)]
struct Held {
    reactor: bool,
    runtimes: [u32; 2],
}

struct Pollers {
    held: Arc<Mutex<Held>>,
    listener: Listener<Entry>,
}

/// The bell in a runtime's poller; leaves it when it is dropped.
struct Entry {
    held: Arc<Mutex<Held>>,
    runtime: u8,
}

const RUNTIME: u8 = 16;

fn place(held: &mut Held, runtime: u8) -> &mut u32 {
    &mut held.runtimes[usize::from(runtime - RUNTIME)]
}

impl Ear for Entry {
    fn word(&self) -> u8 {
        self.runtime
    }

    fn is_here(&self) -> bool {
        // Only for one that was left alone, which no model has.
        false
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        *place(&mut self.held.lock().unwrap(), self.runtime) -= 1;
    }
}

/// A thread of one of the runtimes, or of none.
struct At<'a>(&'a Pollers, Option<u8>);

impl Bell for At<'_> {
    type Ear = Entry;

    fn is_there(&self) -> bool {
        true
    }

    fn here(&self) -> Option<u8> {
        self.1
    }

    fn enter_runtime(&self) -> Option<Arc<Entry>> {
        let runtime = self.1?;
        *place(&mut self.0.held.lock().unwrap(), runtime) += 1;
        Some(Arc::new(Entry { held: Arc::clone(&self.0.held), runtime }))
    }

    fn reactor_hears(&self, heard: bool) {
        self.0.held.lock().unwrap().reactor = heard;
    }
}

fn pollers() -> Arc<Pollers> {
    let held = Arc::new(Mutex::new(Held { reactor: true, ..Held::default() }));
    Arc::new(Pollers { held, listener: Listener::default() })
}

/// After all changes: the bell is in exactly one poller, and that is the one that is said to hear it.
fn one_hears(pollers: &Pollers) {
    let held = pollers.held.lock().unwrap();
    let [first, second] = held.runtimes;
    let places = u32::from(held.reactor) + first + second;
    assert_eq!(places, 1, "the bell is in no poller, or in two");
    assert_eq!(pollers.listener.is_runtime(), !held.reactor, "another one is said to hear it");
}

/// Does not model the signals themselves, whose order with a change is epoll's, nor a runtime that takes nothing.
fn two_that_choose(first: Option<u8>, second: Option<u8>, before: Option<u8>) {
    check(move || {
        let pollers = pollers();
        if before.is_some() {
            pollers.listener.find(&At(&pollers, before));
        }
        let other = Arc::clone(&pollers);
        let choosing = thread::spawn(move || drop(other.listener.find(&At(&other, second))));
        drop(pollers.listener.find(&At(&pollers, first)));
        choosing.join().unwrap();
        one_hears(&pollers);
    });
}

#[test]
fn two_runtimes_that_want_a_bell_at_once_leave_it_in_one_poller() {
    two_that_choose(Some(RUNTIME), Some(RUNTIME + 1), None);
}

#[test]
fn a_runtime_and_a_plain_thread_that_choose_at_once_leave_the_bell_in_one_poller() {
    two_that_choose(Some(RUNTIME + 1), None, Some(RUNTIME));
}

#[test]
fn a_runtime_that_ends_while_another_takes_the_bell_leaves_it_in_one_poller() {
    check(|| {
        let pollers = pollers();
        let ear = pollers.listener.find(&At(&pollers, Some(RUNTIME))).unwrap();
        let other = Arc::clone(&pollers);
        let taking = thread::spawn(move || {
            drop(other.listener.find(&At(&other, Some(RUNTIME + 1))));
        });
        pollers.listener.lose(&At(&pollers, Some(RUNTIME)), &ear);
        drop(ear);
        taking.join().unwrap();
        one_hears(&pollers);
        let hearing = pollers.held.lock().unwrap().runtimes;
        assert_eq!(hearing, [0, 1], "the other one has taken it, before or behind the end");
    });
}

/// Does not model the rounds: when the next look is due.
#[test]
fn the_reactor_rests_only_while_nothing_is_in_flight() {
    check(|| {
        let rest = Arc::new(Rest::new(false));
        let in_flight = Arc::new(Mutex::new(false));
        let rung = Arc::new(AtomicU8::new(0));
        let (other, flying, ringing) =
            (Arc::clone(&rest), Arc::clone(&in_flight), Arc::clone(&rung));
        let parking = thread::spawn(move || {
            // Under the lock of the ring, as in `SharedCell::rest`.
            let mut in_flight = flying.lock().unwrap();
            *in_flight = true;
            if other.disturb() {
                ringing.fetch_add(1, Ordering::SeqCst);
            }
        });
        rest.before_look();
        let seen = *in_flight.lock().unwrap();
        rest.after_look(if seen { Hearing::Good } else { Hearing::Idle });
        parking.join().unwrap();
        let awake = seen || rung.load(Ordering::SeqCst) > 0;
        assert!(awake && !rest.is_on(), "the reactor rests, and something is in flight");
    });
}
