//! What a program does, as data: lanes, and steps for each.

use std::fmt;
use std::time::Duration;

use safer_ring::sim::{Config, World};

/// What becomes of an operation that was started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It is awaited.
    Await,
    /// It is polled so many times and dropped.
    Drop(u8),
    /// It is polled so many times and cancelled.
    Cancel(u8),
    /// It is given so many microseconds.
    Limit(u32),
}

/// What a lane works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pipe,
    Tcp,
    Unix,
    Datagram,
    Accepts,
    File,
    Names,
    /// Clients of a server, by the types of `net`.
    Talks,
    /// A file at its cursor, by the type of `fs`.
    Cursor,
    /// A file and chains of a write, a sync and a read.
    Chains,
    /// Two pipes with a splice between them, polls and tees.
    Flow,
    /// In a world with errors: streams, a file on a disk that may be full, descriptors until there are too many.
    StormPipe,
    StormTcp,
    StormFile,
    StormTable,
    /// In a world that loses its power: a log, and a file that is replaced.
    Journal,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Pipe,
        Kind::Tcp,
        Kind::Unix,
        Kind::Datagram,
        Kind::Accepts,
        Kind::File,
        Kind::Names,
        Kind::Talks,
        Kind::Cursor,
        Kind::Chains,
        Kind::Flow,
    ];
    const STORM: [Kind; 4] = [Kind::StormPipe, Kind::StormTcp, Kind::StormFile, Kind::StormTable];
}

/// How a script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All of it runs.
    Whole,
    /// After so many steps of the world everything is dropped, the ring with what is in flight.
    Torn(u64),
    /// After so many steps the power goes.
    Crash(u64),
}

/// One step of a lane. The sender and the receiver of a stream have steps of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Send {
        len: usize,
        list: bool,
        fate: Fate,
    },
    Receive {
        room: usize,
        list: bool,
        fate: Fate,
    },
    /// A stream of receives: so many buffers, each of which is awaited, or else given so many polls (if that is not 0).
    Arrive {
        count: u8,
        polls: u8,
        /// The buffers are kept until the next such step.
        hold: bool,
    },
    Connect,
    Accept {
        fate: Fate,
    },
    Write {
        at: usize,
        len: usize,
        fate: Fate,
    },
    Read {
        at: usize,
        len: usize,
        fate: Fate,
    },
    Batch {
        at: usize,
        len: usize,
        count: usize,
        dropped: usize,
    },
    Sync,
    /// The pool of the lane is registered with its ring, or is not any more. Reads and writes have their buffers from it from the
    /// first such step on.
    Register {
        on: bool,
    },
    Create {
        name: u8,
        fate: Fate,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Remove {
        name: u8,
    },
    /// A file is replaced by a new one.
    Replace,
    /// A part is moved from one pipe to another, and may be looked at before.
    Move {
        len: u32,
        tee: bool,
        fate: Fate,
    },
    /// Until there is something to read.
    Watch {
        fate: Fate,
    },
    /// A client sends so much, and wants it back; `ask` says what is set and asked meanwhile.
    Talk {
        len: usize,
        ask: u8,
        fate: Fate,
    },
    Seek {
        at: usize,
        from: u8,
    },
    /// The sending side, or the only one, does nothing for so many microseconds.
    Pause {
        us: u32,
    },
    /// The receiving side does nothing.
    Rest {
        us: u32,
    },
}

/// A step and its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) lane: usize,
    pub(crate) act: Act,
}

/// A program and its world.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    /// Steps that it was asked to have.
    pub(crate) asked: usize,
    pub(crate) local: bool,
    pub(crate) entries: u32,
    pub(crate) completions: u32,
    pub(crate) config: Config,
    pub(crate) end: End,
    pub(crate) lanes: Vec<Kind>,
    pub(crate) steps: Vec<Step>,
}

/// The chance of scripts, apart from that of their worlds.
struct Dice(World);

impl Dice {
    fn below(&self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.0.random(limit)).unwrap_or(0)
    }

    fn one_in(&self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&self, all: &[T], otherwise: T) -> T {
        all.get(self.below(all.len())).copied().unwrap_or(otherwise)
    }

    fn small(&self, limit: usize) -> u32 {
        u32::try_from(self.below(limit)).unwrap_or(0)
    }

    fn tiny(&self, limit: usize) -> u8 {
        u8::try_from(self.below(limit)).unwrap_or(0)
    }

    /// Steps of a world: some of its start, or most of what a script does.
    fn steps(&self) -> u64 {
        let most = self.pick(&[20, 200, 1000, 4000], 200);
        u64::from(self.small(most)) + 5
    }

    fn fate(&self) -> Fate {
        match self.below(8) {
            0 | 1 => Fate::Drop(self.tiny(4)),
            2 => Fate::Cancel(self.tiny(3)),
            3 => Fate::Limit(self.small(5000)),
            _ => Fate::Await,
        }
    }

    /// Lengths from nothing to more than a pipe holds, most of them small.
    fn len(&self) -> usize {
        match self.below(10) {
            0 => 1 + self.below(3),
            1 => 4090 + self.below(12),
            2 => self.below(100_000) + 1,
            _ => self.below(1500) + 1,
        }
    }

    fn act(&self, kind: Kind) -> Act {
        if self.one_in(10) {
            return Act::Pause { us: self.small(3000) };
        }
        if self.one_in(12) {
            return Act::Rest { us: self.small(3000) };
        }
        match kind {
            Kind::Pipe
            | Kind::Tcp
            | Kind::Unix
            | Kind::Datagram
            | Kind::StormPipe
            | Kind::StormTcp => {
                let (list, fate) = (self.one_in(4), self.fate());
                let stream = matches!(kind, Kind::Tcp | Kind::Unix | Kind::StormTcp);
                if stream && self.one_in(3) {
                    let (count, polls) = (self.tiny(9), self.tiny(5));
                    Act::Arrive { count, polls, hold: self.one_in(2) }
                } else if self.one_in(2) {
                    Act::Send { len: self.len(), list, fate }
                } else {
                    Act::Receive { room: self.len(), list, fate }
                }
            }
            Kind::Accepts if self.one_in(2) => Act::Connect,
            Kind::Accepts => Act::Accept { fate: self.fate() },
            Kind::File | Kind::StormFile => self.act_on_file(),
            Kind::Talks => {
                Act::Talk { len: self.len().min(9000), ask: self.tiny(16), fate: self.fate() }
            }
            Kind::Cursor => {
                let (at, len) = (self.below(6000), self.below(3000) + 1);
                match self.below(6) {
                    0 => Act::Sync,
                    1 => Act::Seek { at, from: self.tiny(3) },
                    2 | 3 => Act::Write { at, len, fate: self.fate() },
                    _ => Act::Read { at, len, fate: self.fate() },
                }
            }
            Kind::Chains => {
                Act::Write { at: self.below(6000), len: self.below(3000) + 1, fate: self.fate() }
            }
            Kind::Flow => match self.below(8) {
                0..3 => Act::Send { len: self.len(), list: self.one_in(4), fate: self.fate() },
                3 | 4 => {
                    Act::Move { len: self.small(9000) + 1, tee: self.one_in(3), fate: self.fate() }
                }
                5 => Act::Watch { fate: self.fate() },
                _ => Act::Receive { room: self.len(), list: false, fate: Fate::Await },
            },
            Kind::Journal => match self.below(6) {
                0 | 1 => Act::Sync,
                2 => Act::Replace,
                _ => Act::Write { at: 0, len: self.below(3000) + 1, fate: Fate::Await },
            },
            Kind::Names | Kind::StormTable => match self.below(3) {
                0 => Act::Create { name: self.tiny(5), fate: self.fate() },
                1 => Act::Rename { from: self.tiny(5), to: self.tiny(5) },
                _ => Act::Remove { name: self.tiny(5) },
            },
        }
    }

    fn act_on_file(&self) -> Act {
        let (at, len) = (self.below(16_000), self.below(4000) + 1);
        match self.below(10) {
            0 => Act::Sync,
            8 | 9 => Act::Register { on: self.one_in(2) },
            1 => {
                let count = self.below(6) + 1;
                Act::Batch { at, len: len / 6 + 1, count, dropped: self.below(count + 1) }
            }
            2..5 => Act::Write { at, len, fate: self.fate() },
            _ => Act::Read { at, len, fate: self.fate() },
        }
    }

    /// A world whose faults are as likely as chance has it: all the time or never, each.
    fn config(&self, seed: u64) -> Config {
        let mut config = Config::new(seed);
        let chances = [
            &mut config.short,
            &mut config.interrupts,
            &mut config.delay,
            &mut config.late,
            &mut config.strangers,
            &mut config.refused_enters,
            &mut config.failed_enters,
            &mut config.partial_enters,
            &mut config.late_cancels,
            &mut config.missed_cancels,
            &mut config.batched,
            &mut config.overflows,
            &mut config.slow_disk,
            &mut config.no_buffers,
            &mut config.multishot_ends,
            &mut config.refused_registrations,
        ];
        for chance in chances {
            *chance = self.pick(&[0, 1, 2, 4], 1) * *chance / 2;
        }
        config.multishot = !self.one_in(8);
        config.pipe_bytes = self.pick(&[4096, 8192, 65_536], 4096);
        config.socket_bytes = self.pick(&[500, 5000, 65_536], 500);
        config.longest_delay = Duration::from_micros(self.pick(&[2000, 2000, 50, 50_000], 2000));
        config.slowest_disk = Duration::from_millis(self.pick(&[200, 200, 20, 5000], 200));
        config
    }

    /// What makes a storm of it.
    fn stir(&self, config: &mut Config) {
        config.errors = self.pick(&[10, 30, 80], 30);
        config.disk_bytes = self.pick(&[1 << 30, 30_000, 8000], 8000);
        config.descriptors = self.pick(&[1024, 14, 8], 8);
    }
}

impl Script {
    /// The script of a seed.
    pub(crate) fn new(seed: u64, steps: usize) -> Self {
        let dice = Dice(World::new(Config::calm(seed ^ 0x5bd1_e995)));
        let count = 1 + dice.below(4);
        let entries = dice.pick(&[1, 2, 4, 8, 64], 8);
        let mut config = dice.config(seed);
        let (end, storm) = match dice.below(12) {
            0 => (End::Crash(dice.steps()), dice.one_in(3)),
            1 | 2 => (End::Torn(dice.steps()), dice.one_in(4)),
            plan => (End::Whole, plan == 3),
        };
        if storm {
            dice.stir(&mut config);
        }
        let slow = matches!(end, End::Torn(_)) && dice.one_in(2);
        if slow {
            // Longer than a ring waits for what it has in flight, and nothing can be cancelled.
            (config.slow_disk, config.slowest_disk) = (500, Duration::from_secs(60));
            config.late_cancels = 1000;
        }
        let lane = || match end {
            End::Crash(_) => Kind::Journal,
            _ if storm => dice.pick(&Kind::STORM, Kind::StormPipe),
            _ if slow && dice.one_in(2) => dice.pick(&[Kind::File, Kind::Cursor], Kind::File),
            _ => dice.pick(&Kind::ALL, Kind::Pipe),
        };
        let lanes: Vec<Kind> = (0..count).map(|_| lane()).collect();
        let list = (0..steps).filter_map(|_| {
            let lane = dice.below(count);
            lanes.get(lane).map(|kind| Step { lane, act: dice.act(*kind) })
        });
        let steps_of_it: Vec<Step> = list.collect();
        Self {
            seed,
            asked: steps,
            local: dice.one_in(2),
            entries,
            completions: entries * dice.pick(&[1, 2, 16], 1),
            config,
            end,
            lanes,
            steps: steps_of_it,
        }
    }

    /// The steps of one lane.
    pub(crate) fn acts(&self, lane: usize) -> Vec<Act> {
        let mine = self.steps.iter().filter(|step| step.lane == lane);
        mine.map(|step| step.act).collect()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.local { "local" } else { "shared" };
        let Self { seed, entries, completions, .. } = self;
        write!(f, "seed {seed}: a {mode} ring, {entries} entries, {completions} completions")?;
        match self.end {
            End::Whole => writeln!(f)?,
            End::Torn(steps) => writeln!(f, ", dropped after {steps} steps")?,
            End::Crash(steps) => writeln!(f, ", no power after {steps} steps")?,
        }
        for (lane, kind) in self.lanes.iter().enumerate() {
            writeln!(f, "  lane {lane}: {kind:?}")?;
        }
        for Step { lane, act } in &self.steps {
            writeln!(f, "  {lane}: {act:?}")?;
        }
        Ok(())
    }
}
