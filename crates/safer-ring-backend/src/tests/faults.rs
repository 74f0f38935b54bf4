//! System calls that fail, before and after the kernel took what it was given.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use safer_ring_core::{CURSOR, Key, Op};
use safer_ring_sys::Errno;

use super::faulty::{Chances, Faulty};
use super::memory::{Answer, driver};
use super::{Count, Dice, Guarded, begin, clean_up, lent, result, submit, take, waker};
use crate::config::Config;
use crate::driver::Driver;
use crate::fd::Guard;
use crate::uring::RingBackend;

const PASSING: [Errno; 4] = [Errno::AGAIN, Errno::BUSY, Errno::NOMEM, Errno::INTR];

#[test]
fn a_failed_enter_keeps_the_operation() {
    for errno in PASSING {
        for taken in [false, true] {
            let (mut driver, kernel) = driver(8);
            let (key, released) = begin(&mut driver, Op::Read { offset: CURSOR });
            for _ in 0..3 {
                let answer = match taken {
                    true => Answer::TakeAndRefuse(errno),
                    false => Answer::Refuse(errno),
                };
                kernel.borrow_mut().answers.push_back(answer);
            }
            driver.flush();
            driver.flush();
            let names = kernel.borrow().operations();
            assert_eq!(names.len(), 1, "{errno}: handed over once, whatever the call said");
            assert_eq!(result(&mut driver, key), None, "{errno}");
            assert_eq!(released.get(), 0, "{errno}");
            kernel.borrow_mut().post(names[0], 11);
            driver.wait(None);
            assert_eq!(result(&mut driver, key), Some(11), "{errno}");
            assert_eq!(released.get(), 1, "{errno}");
            assert!(driver.is_idle(), "{errno}");
        }
    }
}

#[test]
fn an_interrupted_enter_is_made_again() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Nop);
    kernel.borrow_mut().answers.push_back(Answer::Refuse(Errno::INTR));
    driver.flush();
    assert_eq!((kernel.borrow().taken.len(), kernel.borrow().enters), (1, 2));
    assert_eq!((result(&mut driver, key), released.get()), (None, 0), "it has not ended");
}

#[test]
fn a_kernel_that_refuses_for_ever_loses_nothing_and_lets_the_caller_go() {
    for errno in [Errno::AGAIN, Errno::BUSY, Errno::NOMEM] {
        let (mut driver, kernel) = driver(4);
        let operations: Vec<_> = (0..20).map(|_| begin(&mut driver, Op::Nop)).collect();
        kernel.borrow_mut().always = Some(errno);
        driver.flush();
        driver.look();
        driver.wait(Some(Duration::ZERO));
        driver.wait(None);
        let enters = kernel.borrow().enters;
        assert!(enters <= 8 * 17, "{errno}: {enters} calls for four turns");
        assert_eq!(driver.snapshot().enter_refusals, u64::from(enters), "{errno}");
        assert!(kernel.borrow().taken.is_empty());
        for (key, released) in &operations {
            assert_eq!(result(&mut driver, *key), None, "{errno}");
            assert_eq!(released.get(), 0, "{errno}");
        }
        kernel.borrow_mut().always = None;
        finish_all(&mut driver, &kernel, &operations);
    }
}

fn finish_all(
    driver: &mut Driver<Guarded, super::memory::Memory>,
    kernel: &super::memory::Kernel,
    operations: &[(Key, Count)],
) {
    let mut answered = 0;
    for _ in 0..operations.len() {
        driver.flush();
        let names = kernel.borrow().operations();
        for name in &names[answered..] {
            kernel.borrow_mut().post(*name, 0);
        }
        answered = names.len();
        driver.look();
    }
    assert_eq!(answered, operations.len(), "each went to the kernel exactly once");
    for (key, released) in operations {
        assert_eq!(result(driver, *key), Some(0));
        assert_eq!(released.get(), 1);
    }
    assert!(driver.is_idle());
}

#[test]
fn a_fatal_enter_ends_what_the_kernel_has_not_seen() {
    let (mut driver, kernel) = driver(8);
    let (seen, seen_released) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    let woken = Count::default();
    let unseen: Vec<_> = (0..5).map(|_| begin(&mut driver, Op::Nop)).collect();
    for (key, _) in &unseen {
        assert!(!driver.poll(*key, &waker(&woken)));
    }
    kernel.borrow_mut().always = Some(Errno::PERM);
    driver.flush();
    clean_up(&mut driver);
    assert_eq!(woken.get(), 5, "who waits for them is told");
    for (key, released) in &unseen {
        let (resources, res) = take(&mut driver, *key).unwrap();
        assert_eq!(res, -libc::EPERM);
        assert_eq!(released.get(), 0, "the memory comes back to its owner");
        drop(resources);
        assert_eq!(released.get(), 1);
    }
    assert_eq!(result(&mut driver, seen), None, "the kernel has this one");
    assert_eq!(seen_released.get(), 0);
    assert_eq!(driver.snapshot().in_flight, 1);
    kernel.borrow_mut().post(name, 4);
    driver.look();
    assert_eq!(result(&mut driver, seen), Some(4));
}

#[test]
fn a_fatal_enter_that_took_the_entries_ends_nothing() {
    let (mut driver, kernel) = driver(8);
    let operations: Vec<_> = (0..5).map(|_| begin(&mut driver, Op::Nop)).collect();
    kernel.borrow_mut().answers.push_back(Answer::TakeAndRefuse(Errno::PERM));
    driver.flush();
    for (key, released) in &operations {
        assert_eq!(result(&mut driver, *key), None);
        assert_eq!(released.get(), 0);
    }
    finish_all(&mut driver, &kernel, &operations);
}

#[test]
fn a_fatal_enter_ends_operations_whose_owner_is_gone_and_their_cancellations() {
    let (mut driver, kernel) = driver(8);
    let (seen, seen_released) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.flush();
    let (staged, staged_released) = begin(&mut driver, Op::Read { offset: CURSOR });
    driver.stage();
    driver.orphan(seen);
    driver.orphan(staged);
    kernel.borrow_mut().always = Some(Errno::BADF);
    driver.flush();
    driver.flush();
    clean_up(&mut driver);
    assert_eq!(staged_released.get(), 1, "the kernel never saw it");
    assert_eq!(seen_released.get(), 0, "the kernel has it");
    assert_eq!(driver.snapshot().in_flight, 1);
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().post(name, -125);
    driver.look();
    clean_up(&mut driver);
    assert_eq!(seen_released.get(), 1);
    assert!(driver.is_idle());
}

#[test]
fn a_submission_that_is_taken_in_parts_is_taken_in_full() {
    let (mut driver, kernel) = driver(8);
    let operations: Vec<_> = (0..8).map(|_| begin(&mut driver, Op::Nop)).collect();
    for _ in 0..8 {
        kernel.borrow_mut().answers.push_back(Answer::Take(1));
    }
    driver.flush();
    assert_eq!(kernel.borrow().operations().len(), 8, "as long as there is progress");
    finish_all(&mut driver, &kernel, &operations);
}

#[test]
fn the_cancellation_of_a_dropped_operation_survives_refusals() {
    let (mut driver, kernel) = driver(8);
    let (key, released) = begin(&mut driver, Op::Recv { flags: 0 });
    driver.flush();
    let name = kernel.borrow().operations()[0];
    kernel.borrow_mut().always = Some(Errno::AGAIN);
    driver.orphan(key);
    driver.flush();
    clean_up(&mut driver);
    assert_eq!(released.get(), 0);
    kernel.borrow_mut().always = None;
    driver.flush();
    let cancel = kernel.borrow().taken.iter().find_map(|entry| entry.target);
    assert_eq!(cancel, Some(name), "it went out in the end");
    kernel.borrow_mut().post(name, -125);
    let own = kernel.borrow().taken[1].user_data;
    kernel.borrow_mut().post(own, 0);
    driver.look();
    clean_up(&mut driver);
    assert_eq!(released.get(), 1);
    assert!(driver.is_idle());
}

/// More than fit into the completion queue, and no system call of the ring's after they have ended.
#[test]
fn completions_that_the_kernel_holds_back_are_fetched_by_a_look() {
    let config = Config { completions: Some(16), ..Config::new(8) };
    let (backend, _bell) = RingBackend::with_bell(&config).unwrap();
    let entries = backend.features().entries;
    let mut driver = Driver::new(backend, entries).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let reader = Guarded::of(OwnedFd::from(reader).into());
    let released = Count::default();
    let keys: Vec<Key> = (0..100)
        .map(|_| {
            let mut resources = lent(&released);
            resources.fd = Some(Rc::clone(&reader));
            submit(&mut driver, Op::Poll { events: 1 }, resources)
        })
        .collect();
    driver.flush();
    assert_eq!(driver.snapshot().in_flight, 100);
    rustix::io::write(&writer, b"x").unwrap();
    // A way through the kernel, on which it posts what the write has ended.
    std::thread::yield_now();
    driver.take_in();
    for key in keys {
        assert_eq!(result(&mut driver, key), Some(1), "{driver:?}");
    }
    assert_eq!(released.get(), 100);
}

const OPERATIONS: usize = 10_000;
/// Operations under way at a time.
const ABREAST: usize = 48;

struct Run {
    driver: Driver<Guarded, Faulty<RingBackend>>,
    dice: Dice,
    readable: Guarded,
    silent: Guarded,
    live: Vec<(Key, usize)>,
    released: Vec<Count>,
    taken: usize,
}

impl Run {
    fn begin_one(&mut self) {
        let id = self.released.len();
        self.released.push(Count::default());
        let mut resources = lent(&self.released[id]);
        let op = match self.dice.below(4) {
            0 | 1 => Op::Nop,
            other => {
                let fd = if other == 2 { &self.readable } else { &self.silent };
                resources.fd = Some(Rc::clone(fd));
                Op::Poll { events: 1 }
            }
        };
        let key = submit(&mut self.driver, op, resources);
        if op != Op::Nop && self.dice.one_in(2) {
            self.driver.stage();
        }
        self.live.push((key, id));
    }

    fn turn(&mut self) {
        match self.dice.below(3) {
            0 => self.driver.flush(),
            1 => self.driver.look(),
            _ => self.driver.wait(Some(Duration::from_millis(1))),
        }
        clean_up(&mut self.driver);
        for (key, id) in std::mem::take(&mut self.live) {
            assert_eq!(self.released[id].get(), 0, "operation {id} has not ended");
            if self.driver.poll(key, std::task::Waker::noop()) {
                let (resources, res) = take(&mut self.driver, key).unwrap();
                assert!(res >= 0, "operation {id}: {res}");
                assert_eq!(self.released[id].get(), 0, "operation {id} is released once");
                drop(resources);
                self.taken += 1;
            } else if self.dice.one_in(64) {
                self.driver.orphan(key);
            } else {
                self.live.push((key, id));
            }
        }
        clean_up(&mut self.driver);
    }
}

fn run_under_faults(seed: u64) {
    let backend = RingBackend::new(&Config::new(8)).unwrap();
    let entries = backend.features().entries;
    let (faulty, plan) = Faulty::new(backend, Chances::Some(seed));
    let (silent, _keep) = std::io::pipe().unwrap();
    let (readable, writer) = std::io::pipe().unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    let mut run = Run {
        driver: Driver::new(faulty, entries).unwrap(),
        dice: Dice(seed ^ 0xabcd),
        readable: Guarded::of(OwnedFd::from(readable).into()),
        silent: Guarded::of(OwnedFd::from(silent).into()),
        live: Vec::new(),
        released: Vec::new(),
        taken: 0,
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let ended = |run: &Run| run.released.iter().all(|count| count.get() == 1);
    while run.released.len() < OPERATIONS || !ended(&run) {
        assert!(Instant::now() < deadline, "stuck: {:?}", run.driver);
        while run.live.len() < ABREAST && run.released.len() < OPERATIONS {
            run.begin_one();
        }
        run.turn();
    }
    assert!(run.live.is_empty());
    assert_eq!(run.released.len(), OPERATIONS);
    assert!(run.taken > OPERATIONS / 10, "{} had an owner at the end", run.taken);
    // The last cancellations may still be answered, and strangers may still come.
    while !run.driver.is_idle() || plan.borrow().held_back > 0 {
        assert!(Instant::now() < deadline, "stuck: {:?}", run.driver);
        run.turn();
    }
    let snapshot = run.driver.snapshot();
    let operations = u64::try_from(OPERATIONS).unwrap();
    assert_eq!(snapshot.submitted, operations);
    assert!(snapshot.completed <= operations, "some never reached the kernel");
    assert_eq!(snapshot.stale_completions, plan.borrow().strangers, "each stranger was noticed");
    let faults = plan.borrow().faults;
    assert!(faults > 1000 && plan.borrow().strangers > 1000, "{faults} faults");
    assert_eq!(Rc::strong_count(&run.silent), 1, "no operation holds it any more");
    assert_eq!(Rc::strong_count(&run.readable), 1);
}

#[test]
fn ten_thousand_operations_under_random_faults_end_exactly_once() {
    run_under_faults(0x5eed);
}

#[test]
fn other_random_faults_change_nothing() {
    for seed in [1, 77] {
        run_under_faults(seed);
    }
}
