//! Who looks on: the end of the time, the watchdog, the progress line, the descriptors.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::tally::Scenario;
use super::world::{Damage, World, lock};

const LOOK: Duration = Duration::from_millis(20);

/// When a mode has done enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Time(Duration),
    Drops(u64),
}

/// The thread that looks on, and what it knows.
#[derive(Debug)]
pub(crate) struct Watch {
    limit: Limit,
    interrupted: Arc<AtomicBool>,
}

/// How long a run took, and what its thread gave; nothing if the thread was left behind.
pub(crate) type Ended<T> = (Duration, Option<std::thread::Result<T>>);

impl Watch {
    pub(crate) fn new(limit: Limit) -> io::Result<Self> {
        Ok(Self { limit, interrupted: listen_for_interrupt()? })
    }

    /// Whether the user wants the end, with a report of what has been done.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn enough(&self, world: &World, since: Instant) -> bool {
        let enough = match self.limit {
            Limit::Time(time) => since.elapsed() >= time,
            Limit::Drops(drops) => world.tally.drops() >= drops,
        };
        enough || self.interrupted()
    }

    /// Looks on until the run has ended or failed. A failed run is not waited for: it may hang.
    pub(crate) fn attend<T>(&self, world: &World, name: &str, run: JoinHandle<T>) -> Ended<T> {
        let since = Instant::now();
        let bar = progress_bar();
        let mut beats: HashMap<String, (u64, Instant)> = HashMap::new();
        while !run.is_finished() {
            std::thread::sleep(LOOK);
            if self.enough(world, since) {
                world.stop();
            }
            check_progress(world, &mut beats);
            if world.failed() {
                bar.finish_and_clear();
                return (since.elapsed(), None);
            }
            let drops = world.tally.drops();
            bar.set_message(format!("{name}: {drops} drops in {} s", since.elapsed().as_secs()));
        }
        bar.finish_and_clear();
        (since.elapsed(), Some(run.join()))
    }
}

/// Fails the run if a lane stands still.
fn check_progress(world: &World, beats: &mut HashMap<String, (u64, Instant)>) {
    for lane in world.lanes() {
        let now = lane.beats();
        let seen = beats.get(&lane.name);
        let stands = seen.filter(|(before, _)| *before == now && lane.active());
        let Some((_, since)) = stands else {
            beats.insert(lane.name.clone(), (now, Instant::now()));
            continue;
        };
        if since.elapsed() > world.patience {
            let snapshot = *lock(&world.snapshot);
            let what = format!(
                "no progress for {} s; {} buffers in use; the ring: {snapshot:?}",
                world.patience.as_secs(),
                world.pools.out()
            );
            world.fail(&lane, what, Damage::Other);
            return;
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A flag that is set by the first Ctrl-C; the second one ends the program.
fn listen_for_interrupt() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let seen = Arc::clone(&flag);
    std::thread::Builder::new().name("interrupt".into()).spawn(move || {
        runtime.block_on(async {
            signals.recv().await;
            seen.store(true, Ordering::Relaxed);
            signals.recv().await;
            std::process::exit(130);
        });
    })?;
    Ok(flag)
}

/// What each open descriptor of this process is.
pub(crate) fn descriptors() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.display().to_string())
        .collect()
}

/// Waits until as many descriptors are open as before: a shared ring closes in the background.
pub(crate) fn settle_descriptors(
    world: &World,
    before: &[String],
    patience: Duration,
) -> Vec<String> {
    let since = Instant::now();
    loop {
        let now = descriptors();
        if now.len() == before.len() {
            return now;
        }
        if since.elapsed() > patience {
            let place = world.lane(Scenario::Opens, "descriptors".to_owned());
            place.finish();
            let mut left = now.clone();
            for known in before {
                if let Some(at) = left.iter().position(|link| link == known) {
                    left.swap_remove(at);
                }
            }
            let count = |list: &[String]| crate::num::count(list.len());
            let leaked = count(&now).abs_diff(count(before));
            let what = format!("{} before, {} after: {left:?}", before.len(), now.len());
            world.fail(&place, what, Damage::Leaked(leaked));
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_without_progress_fails_the_run_and_one_that_has_ended_does_not() {
        let world = World::new(1, Duration::ZERO).unwrap();
        let lane = world.lane(Scenario::Tcp, "tcp 1".to_owned());
        lane.begin("waiting for bytes".to_owned());
        let mut beats = HashMap::new();
        check_progress(&world, &mut beats);
        lane.finish();
        check_progress(&world, &mut beats);
        assert!(!world.failed());
        let hung = world.lane(Scenario::Udp, "udp 2".to_owned());
        hung.begin("waiting for datagrams".to_owned());
        for _ in 0..3 {
            hung.beat();
            check_progress(&world, &mut beats);
        }
        assert!(!world.failed());
        check_progress(&world, &mut beats);
        let failure = world.failure().unwrap();
        assert_eq!(failure.place, "udp 2: waiting for datagrams");
        assert!(failure.what.contains("no progress"), "{}", failure.what);
    }

    #[test]
    fn a_descriptor_that_stays_is_a_leak() {
        let world = World::new(1, Duration::ZERO).unwrap();
        let before = vec!["none".to_owned()];
        let after = settle_descriptors(&world, &before, Duration::ZERO);
        let failure = world.failure().unwrap();
        assert!(after.len() > 1, "{after:?}");
        assert_eq!(failure.damage, Damage::Leaked(crate::num::count(after.len() - 1)));
    }
}
