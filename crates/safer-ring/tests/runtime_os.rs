//! Signals, children and blocking calls of a runtime.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::alone::{alone, descriptors};
use common::net::poll_once;
use common::within_deadline;
use futures_util::future::{join, join_all};
use safer_ring::Runtime;
use safer_ring::runtime::signal::{Signal, SignalKind, ctrl_c};
use safer_ring::runtime::{self, process};

const SOON: Duration = Duration::from_millis(20);

/// Sends a signal to this process, by another one.
fn raise(name: &str) {
    let pid = std::process::id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

#[test]
fn signals_reach_every_listener_on_every_thread() {
    alone("signals_reach_every_listener_on_every_thread", || {
        let runtime = Runtime::builder().threads(2).build().unwrap();
        let (ready, is_ready) = mpsc::channel();
        let there = runtime.handle().spawn_on(1, move || async move {
            let mut signal = Signal::new(SignalKind::user_defined1()).unwrap();
            ready.send(()).unwrap();
            signal.recv().await
        });
        runtime.block_on(async {
            let mut first = Signal::new(SignalKind::user_defined1()).unwrap();
            let mut second = Signal::new(SignalKind::user_defined1()).unwrap();
            let mut other = Signal::new(SignalKind::user_defined2()).unwrap();
            is_ready.recv().unwrap();
            raise("USR1");
            let (one, two) = join(first.recv(), second.recv()).await;
            one.unwrap();
            two.unwrap();
            there.unwrap().await.unwrap().unwrap();
            runtime::timeout(SOON, other.recv()).await.unwrap_err();
        });
    });
}

#[test]
fn a_signal_is_not_lost_between_two_calls_or_in_a_dropped_one() {
    alone("a_signal_is_not_lost_between_two_calls_or_in_a_dropped_one", || {
        Runtime::new().unwrap().block_on(async {
            let mut signal = Signal::new(SignalKind::hangup()).unwrap();
            raise("HUP");
            signal.recv().await.unwrap();
            runtime::timeout(SOON, signal.recv()).await.unwrap_err();
            raise("HUP");
            // The dropped read takes it in.
            runtime::sleep(SOON).await;
            signal.recv().await.unwrap();
            runtime::timeout(SOON, signal.recv()).await.unwrap_err();
        });
    });
}

#[test]
fn ctrl_c_and_terminate_do_not_end_the_process() {
    alone("ctrl_c_and_terminate_do_not_end_the_process", || {
        Runtime::new().unwrap().block_on(async {
            let interrupt = runtime::spawn(ctrl_c());
            let mut terminate = Signal::new(SignalKind::terminate()).unwrap();
            runtime::sleep(SOON).await;
            raise("INT");
            interrupt.await.unwrap().unwrap();
            raise("TERM");
            terminate.recv().await.unwrap();
            drop(terminate);
            raise("TERM");
        });
    });
}

#[test]
fn signals_that_cannot_be_caught_are_refused() {
    let forbidden = ["KILL", "STOP", "SEGV", "ILL", "FPE"];
    for (name, number) in forbidden.into_iter().zip([9, 19, 11, 4, 8]) {
        let error = Signal::new(SignalKind::from_raw(number)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}");
    }
    assert!(Signal::new(SignalKind::from_raw(5_000)).is_err());
    assert!(Signal::new(SignalKind::from_raw(-1)).is_err());
}

#[test]
fn listeners_leave_no_descriptors_and_children_inherit_no_mask() {
    alone("listeners_leave_no_descriptors_and_children_inherit_no_mask", || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let blocked = |who: &str| {
                let text = std::fs::read_to_string(format!("/proc/{who}/status")).unwrap();
                text.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
            };
            let (mask, before) = (blocked("thread-self"), descriptors());
            for _ in 0..10 {
                let mut signal = Signal::new(SignalKind::user_defined1()).unwrap();
                runtime::timeout(Duration::from_millis(1), signal.recv()).await.unwrap_err();
            }
            runtime::ring().nop().await.unwrap();
            runtime::sleep(SOON).await;
            assert_eq!(descriptors(), before);
            assert_eq!(blocked("thread-self"), mask);
        });
    });
}

#[test]
fn a_child_that_ends_is_seen_with_its_status() {
    within_deadline(|| {
        Runtime::new().unwrap().block_on(async {
            let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
            assert_eq!(process::wait(&mut child).await.unwrap().code(), Some(7));
            assert_eq!(process::wait(&mut child).await.unwrap().code(), Some(7), "and again");
            let mut killed = sleeper();
            let pid = killed.id().to_string();
            let (status, ()) = join(process::wait(&mut killed), async {
                runtime::sleep(SOON).await;
                assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            })
            .await;
            assert_eq!(status.unwrap().signal(), Some(9));
        });
    });
}

#[test]
fn many_children_are_waited_for_at_once() {
    within_deadline(|| {
        Runtime::new().unwrap().block_on(async {
            let tasks = (0..20).map(|code: i32| {
                runtime::spawn(async move {
                    let mut command = Command::new("sh");
                    let script = format!("read line; exit {code}");
                    let piped = command.args(["-c", &script]).stdin(Stdio::piped());
                    let mut child = piped.spawn().unwrap();
                    let stdin = child.stdin.take();
                    let ended = runtime::spawn(async move { process::wait(&mut child).await });
                    runtime::yield_now().await;
                    drop(stdin);
                    assert_eq!(ended.await.unwrap().unwrap().code(), Some(code));
                })
            });
            join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(Result::unwrap);
        });
    });
}

#[test]
fn a_dropped_wait_leaves_the_child_and_its_status() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let mut child = sleeper();
        runtime.block_on(async {
            let wait = process::wait(&mut child);
            runtime::timeout(SOON, wait).await.unwrap_err();
            assert!(child.try_wait().unwrap().is_none());
            {
                let mut wait = Box::pin(process::wait(&mut child));
                assert!(poll_once(&mut wait).is_pending());
            }
            child.kill().unwrap();
            runtime::sleep(SOON).await;
        });
        assert_eq!(child.wait().unwrap().signal(), Some(9), "nobody else has reaped it");
    });
}

#[test]
fn a_child_that_the_kernel_reaped_is_an_error() {
    within_deadline(|| {
        let mut child = Command::new("true").spawn().unwrap();
        // Reaped behind the back of its owner.
        let pid = rustix_pid(&child);
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        let waited = Runtime::new().unwrap().block_on(process::wait(&mut child));
        assert_eq!(waited.unwrap_err().raw_os_error(), Some(libc::ECHILD));
    });
}

fn rustix_pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

#[test]
fn blocking_calls_run_elsewhere_and_beside_the_tasks() {
    within_deadline(|| {
        let runtime = Runtime::new().unwrap();
        let here = std::thread::current().id();
        runtime.block_on(async {
            let (release, released) = mpsc::channel::<()>();
            let blocked = runtime::spawn_blocking(move || {
                released.recv().unwrap();
                std::thread::current().id()
            });
            runtime::ring().nop().await.unwrap();
            assert!(!blocked.is_finished());
            release.send(()).unwrap();
            assert_ne!(blocked.await.unwrap(), here);
        });
        assert_eq!(pollster::block_on(runtime::spawn_blocking(|| 3)).unwrap(), 3);
    });
}

#[test]
fn a_dropped_handle_of_a_blocking_call_lets_it_run() {
    within_deadline(|| {
        let done = Arc::new(AtomicBool::new(false));
        let does = Arc::clone(&done);
        Runtime::new().unwrap().block_on(async {
            drop(runtime::spawn_blocking(move || does.store(true, Ordering::SeqCst)));
            let end = Instant::now() + common::deadline() / 2;
            while !done.load(Ordering::SeqCst) {
                assert!(Instant::now() < end, "it has not run");
                runtime::sleep(Duration::from_millis(1)).await;
            }
        });
    });
}
