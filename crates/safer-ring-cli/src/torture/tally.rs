//! What was done and what was dropped, by scenario, by kind of operation and by point of its life.

use std::sync::atomic::{AtomicU64, Ordering};

/// An enumeration whose members have a name in reports and a place in a table.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$inner:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$inner])* $member,)* }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$member),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }

            fn index(self) -> usize {
                Self::ALL.iter().position(|other| *other == self).unwrap_or(0)
            }
        }
    };
}

named! {
    /// A group of lanes that can be chosen on the command line.
    Scenario {
        Files = "files",
        Direct = "direct",
        Tcp = "tcp",
        Udp = "udp",
        Unix = "unix",
        Pipes = "pipes",
        Accept = "accept",
        Opens = "opens",
    }
}

named! {
    /// A kind of operation.
    Act {
        Read = "read",
        Write = "write",
        Sync = "fsync",
        Receive = "recv",
        Message = "recv_msg",
        StreamRead = "stream read",
        Stream = "stream of receives",
        Send = "send",
        SendMessage = "send_msg",
        StreamWrite = "stream write",
        Accept = "accept",
        Open = "open",
        Socket = "socket",
        Pipe = "pipe",
        Connect = "connect",
        Poll = "poll",
        Timeout = "timeout",
    }
}

named! {
    /// Where in its life an operation was dropped.
    Point {
        /// It never began.
        Unpolled = "before the first poll",
        Polled = "after the first poll",
        Repolled = "after some polls",
        /// Its result had been announced, and nobody had taken it.
        Arrived = "result there, not taken",
        TimedOut = "lost a race against a timer",
        /// The task or the future around it was aborted.
        Killed = "its task was aborted",
    }
}

named! {
    /// Anything else that is counted for each scenario.
    Count {
        BytesSent = "bytes sent",
        BytesReceived = "bytes received and verified",
        BytesVerified = "bytes verified by the peer",
        BlocksVerified = "blocks verified",
        Streams = "streams",
        Made = "connections made",
        Accepted = "connections accepted",
        DatagramsSent = "datagrams sent",
        DatagramsReceived = "datagrams received",
        Kills = "tasks aborted",
    }
}

/// The counters of one run; any thread may count.
#[derive(Debug)]
pub(crate) struct Tally {
    done: Box<[AtomicU64]>,
    drops: Box<[AtomicU64]>,
    counts: Box<[AtomicU64]>,
    all_drops: AtomicU64,
}

fn zeroes(count: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(count).collect()
}

fn add(slots: &[AtomicU64], at: usize, n: u64) {
    if let Some(slot) = slots.get(at) {
        slot.fetch_add(n, Ordering::Relaxed);
    }
}

fn read(slots: &[AtomicU64], at: usize) -> u64 {
    slots.get(at).map_or(0, |slot| slot.load(Ordering::Relaxed))
}

impl Tally {
    pub(crate) fn new() -> Self {
        let acts = Scenario::ALL.len() * Act::ALL.len();
        Self {
            done: zeroes(acts),
            drops: zeroes(acts * Point::ALL.len()),
            counts: zeroes(Scenario::ALL.len() * Count::ALL.len()),
            all_drops: AtomicU64::new(0),
        }
    }

    fn act(scenario: Scenario, act: Act) -> usize {
        scenario.index() * Act::ALL.len() + act.index()
    }

    /// An operation ended in the hands of its owner.
    pub(crate) fn finished(&self, scenario: Scenario, act: Act) {
        add(&self.done, Self::act(scenario, act), 1);
    }

    pub(crate) fn dropped(&self, scenario: Scenario, act: Act, point: Point) {
        add(&self.drops, Self::act(scenario, act) * Point::ALL.len() + point.index(), 1);
        self.all_drops.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, scenario: Scenario, count: Count, n: u64) {
        add(&self.counts, scenario.index() * Count::ALL.len() + count.index(), n);
    }

    /// Operations that ended and operations that were dropped.
    pub(crate) fn operations(&self) -> u64 {
        let done: u64 = self.done.iter().map(|slot| slot.load(Ordering::Relaxed)).sum();
        done + self.drops()
    }

    pub(crate) fn drops(&self) -> u64 {
        self.all_drops.load(Ordering::Relaxed)
    }

    /// Drops for which `wanted` says yes.
    pub(crate) fn drops_where(&self, wanted: impl Fn(Scenario, Act, Point) -> bool) -> u64 {
        let mut sum = 0;
        for scenario in Scenario::ALL {
            for act in Act::ALL {
                let row = Self::act(*scenario, *act) * Point::ALL.len();
                for point in Point::ALL.iter().filter(|point| wanted(*scenario, *act, **point)) {
                    sum += read(&self.drops, row + point.index());
                }
            }
        }
        sum
    }

    pub(crate) fn counted(&self, scenario: Scenario, count: Count) -> u64 {
        read(&self.counts, scenario.index() * Count::ALL.len() + count.index())
    }

    pub(crate) fn counted_in_all(&self, count: Count) -> u64 {
        Scenario::ALL.iter().map(|scenario| self.counted(*scenario, count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_has_a_place_of_its_own() {
        let tally = Tally::new();
        for scenario in Scenario::ALL {
            for act in Act::ALL {
                for point in Point::ALL {
                    tally.dropped(*scenario, *act, *point);
                }
            }
        }
        for scenario in Scenario::ALL {
            for act in Act::ALL {
                for point in Point::ALL {
                    let one = |s, a, p| (s, a, p) == (*scenario, *act, *point);
                    assert_eq!(tally.drops_where(one), 1);
                }
            }
        }
        assert_eq!(tally.drops_where(|_, _, _| true), tally.drops());
        tally.finished(Scenario::Opens, Act::Timeout);
        assert_eq!(tally.operations(), tally.drops() + 1);
    }
}
