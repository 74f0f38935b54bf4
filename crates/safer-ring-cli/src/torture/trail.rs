//! The last sends of a lane: when the other side misses something, what became of the send that had it.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;

use super::tally::{Act, Point};
use super::world::lock;

/// Sends that are remembered.
const KEPT: usize = 512;
/// Sends that are shown before and after the place.
const SHOWN: usize = 4;

/// What became of a send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// So many bytes were reported as sent.
    Sent(u64),
    Dropped(Point),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    stream: u64,
    act: Act,
    from: u64,
    len: u64,
    ended: Ended,
}

/// The last steps of all streams of a lane.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<VecDeque<Step>>);

impl Trail {
    /// Notes a send of `len` units at `from`: bytes, or datagrams.
    pub(crate) fn note(&self, stream: u64, act: Act, (from, len): (u64, u64), ended: Ended) {
        let mut steps = lock(&self.0);
        if steps.len() == KEPT {
            steps.pop_front();
        }
        steps.push_back(Step { stream, act, from, len, ended });
    }

    /// The steps of a stream around an offset, in words; empty if there are none.
    pub(crate) fn around(&self, stream: u64, offset: u64) -> String {
        let steps = lock(&self.0);
        let mine: Vec<_> = steps.iter().filter(|step| step.stream == stream).collect();
        let has = |step: &Step| match step.ended {
            Ended::Sent(n) => step.from + n > offset,
            Ended::Dropped(_) => step.from + step.len > offset,
        };
        let at = mine.iter().position(|step| has(step)).unwrap_or(mine.len());
        let mut text = String::new();
        for step in mine.iter().take(at + SHOWN).skip(at.saturating_sub(SHOWN)) {
            let Step { act, from, len, ended, .. } = step;
            let end = match ended {
                Ended::Sent(n) => format!("{n} sent"),
                Ended::Dropped(point) => format!("dropped {}", point.name()),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "; {} of {len} at {from}: {end}", act.name());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_around_a_place_are_shown() {
        let trail = Trail::default();
        for n in 0..1000 {
            trail.note(n % 2, Act::Send, (n * 10, 10), Ended::Sent(10));
        }
        assert_eq!(trail.around(0, 5), trail.around(0, 4885));
        let text = trail.around(0, 9005);
        assert!(text.contains("at 9000: 10 sent") && text.contains("at 8960"), "{text}");
        assert!(text.contains("at 9060") && !text.contains("at 9010") && !text.contains("9080"));
        assert_eq!(trail.around(7, 0), "");
    }
}
