//! Random calls: whenever the rules predict an error, the kernel has to give that error.

use std::time::Duration;

use safer_ring_spec::rules::{
    Call, Context, Facts, File, IoCancel, IoGetevents, IoSetup, IoSubmit, Iocb, Kind, Memory,
    Place as Shows, Pointer, RingEnter, RingRegister, RingSetup, check, explain,
};
use safer_ring_sys::Errno;

use crate::child::{self, Ended};
use crate::env::{Command, Env, Place, Try};
use crate::expect::Observed;
use crate::memory::Address;
use crate::ring::{CQ_ENTRIES, SQ_THREAD_CPU, WQ_FD};
use crate::{kernel, raw};

/// How predictions fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predictions {
    /// Calls that were made.
    pub calls: u64,
    /// Calls of which the rules were certain that they fail.
    pub predicted: u64,
    /// Calls that failed, predicted or not.
    pub failed: u64,
    /// Calls where the kernel did something else, or failed without a rule that explains it.
    pub wrong: Vec<String>,
}

/// Makes `count` random calls with this seed, in a child, and compares each with the rules.
///
/// # Errors
/// The child could not be made, or did not come to an end.
pub fn predictions(place: &Place, seed: u64, count: u32) -> Result<Predictions, String> {
    let directory = place.directory();
    let ended = child::run(Duration::from_secs(120), || {
        match Env::new(directory).and_then(|env| all(&env, seed, count)) {
            Ok(found) => found.encode(),
            Err(observed) => format!("E{observed}"),
        }
    });
    match ended {
        Ok(Ended::Said(text)) => Predictions::decode(&text).ok_or(text),
        other => Err(format!("{other:?}")),
    }
}

impl Predictions {
    fn encode(&self) -> String {
        let mut text = format!("{} {} {}", self.calls, self.predicted, self.failed);
        for wrong in self.wrong.iter().take(10) {
            text.push('\n');
            text.push_str(wrong);
        }
        text
    }

    fn decode(text: &str) -> Option<Predictions> {
        let mut lines = text.lines();
        let mut numbers = lines.next()?.split(' ').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let (calls, predicted, failed) = (number()?, number()?, number()?);
        Some(Predictions { calls, predicted, failed, wrong: lines.map(str::to_owned).collect() })
    }
}

/// A small generator of random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of some, mostly the first.
    fn mostly<T: Copy>(&mut self, usual: T, others: &[T]) -> T {
        if self.roll().is_multiple_of(4) { self.one_of(others).unwrap_or(usual) } else { usual }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        all.get(usize::try_from(self.roll() % count).ok()?).copied()
    }
}

/// Descriptors to choose from, and what is known about them.
struct World {
    facts: Facts,
    descriptors: Vec<i32>,
    rings: Vec<i32>,
}

impl World {
    fn new(env: &Env) -> Try<World> {
        let known = |kind: Kind, readable: bool, writable: bool| File {
            open: Some(true),
            kind: Some(kind),
            readable: Some(readable),
            writable: Some(writable),
            direct: Some(false),
            append_only: Some(false),
            data: Some(kind == Kind::Regular),
            ..File::default()
        };
        let nonblocking = env.pipe(libc::O_NONBLOCK)?;
        let (ring, disabled) = (crate::ring::ring(env, 0)?, crate::ring::ring(env, 1 << 6)?);
        let list = [
            (env.data()?, known(Kind::Regular, true, false)),
            (env.scratch(libc::O_RDWR)?, known(Kind::Regular, true, true)),
            (env.scratch(libc::O_WRONLY)?, known(Kind::Regular, false, true)),
            (
                env.open(".", libc::O_RDONLY | libc::O_DIRECTORY)?,
                known(Kind::Directory, true, false),
            ),
            (nonblocking.0, known(Kind::Pipe, true, false)),
            (nonblocking.1, known(Kind::Pipe, false, true)),
            (env.eventfd()?, known(Kind::Eventfd, true, true)),
            (env.epoll()?, known(Kind::Epoll, true, true)),
            (ring, known(Kind::Ring, true, true)),
            (disabled, known(Kind::Ring, true, true)),
            (1_000_000, File::CLOSED),
            (-1, File::CLOSED),
        ];
        let (memory, offset) = env.alignment(list[0].0).unwrap_or_default();
        let mut facts = Facts {
            kernel: Some(kernel::kernel()),
            page_size: u64::try_from(env.page).ok(),
            cpus: u32::try_from(raw::sysconf(libc::_SC_NPROCESSORS_CONF)).ok(),
            ..Facts::default()
        };
        for (fd, file) in list {
            if let Ok(fd) = u32::try_from(fd) {
                facts.files.push((fd, file));
            }
        }
        let mut descriptors: Vec<_> = list.iter().map(|(fd, _)| *fd).collect();
        if let Ok((direct, ..)) = env.direct() {
            let about = File {
                direct: Some(true),
                memory_align: Some(memory),
                offset_align: Some(offset),
                size: u64::try_from(crate::env::DATA).ok(),
                ..known(Kind::Regular, true, false)
            };
            facts.files.push((direct.unsigned_abs(), about));
            descriptors.push(direct);
        }
        Ok(World { facts, descriptors, rings: vec![ring, disabled] })
    }

    fn descriptor(&self, dice: &mut Dice) -> i32 {
        dice.one_of(&self.descriptors).unwrap_or(-1)
    }
}

fn all(env: &Env, seed: u64, count: u32) -> Try<Predictions> {
    let world = World::new(env)?;
    let mut dice = Dice(seed | 1);
    let mut found = Predictions::default();
    let context = env.context(64)?;
    for _ in 0..count {
        let (call, facts, observed) = match dice.roll() % 8 {
            0 => setup(env, &world, &mut dice),
            1 => getevents(env, &world, &mut dice, context),
            2 => cancel(env, &world, &mut dice, context),
            3 => ring_setup(env, &world, &mut dice),
            4 => ring_enter(env, &world, &mut dice),
            5 => ring_register(env, &world, &mut dice),
            _ => submit(env, &world, &mut dice, context),
        };
        found.calls += 1;
        judge(&mut found, &call, &facts, &observed);
    }
    Ok(found)
}

/// Compares what the rules say with what came out.
fn judge(found: &mut Predictions, call: &Call, facts: &Facts, observed: &Observed) {
    let (shows, result) = match observed {
        Observed::Returned(result) => (Shows::Return, *result),
        Observed::Event(result) => (Shows::Result, *result),
        Observed::Seen(_, text) | Observed::Unavailable(text) => {
            found.wrong.push(format!("{call:?}: {text}"));
            return;
        }
    };
    let name = result.err().and_then(Errno::name);
    if let Some(finding) = check(call, facts).filter(|finding| finding.is_certain()) {
        found.predicted += 1;
        if name != Some(finding.rule.errno) || shows != finding.rule.place {
            found.wrong.push(format!("{call:?}: predicted {finding}; {observed}"));
            return;
        }
    }
    if let Some(name) = name {
        found.failed += 1;
        if explain(name, call, facts).is_empty() {
            found.wrong.push(format!("{call:?}: {name} has no explanation"));
        }
    }
}

/// An address, and what the rules know of it.
fn address(env: &Env, dice: &mut Dice, usual: Address) -> (Address, Pointer) {
    let wrong = |address: Address| Pointer { address: address.get(), memory: Memory::Unmapped };
    let good = (usual, Pointer::writable(usual.get()));
    let read_only = env.memory.read_only();
    let read_only = (read_only, Pointer { address: read_only.get(), memory: Memory::ReadOnly });
    let forbidden = env.memory.forbidden();
    dice.mostly(
        good,
        &[
            read_only,
            (Address::NULL, Pointer::NULL),
            (forbidden, wrong(forbidden)),
            (Address::KERNEL, wrong(Address::KERNEL)),
        ],
    )
}

fn setup(env: &Env, world: &World, dice: &mut Dice) -> (Call, Facts, Observed) {
    let nr_events = dice.mostly(1, &[0, 4_194_305, u32::MAX, 5_000_000]);
    let value = dice.mostly(0, &[1, 77]);
    let usual = env.context_word(value);
    let (result, pointer) = address(env, dice, usual);
    // Read-only memory has zeros.
    let value = if result == usual { value } else { 0 };
    let outcome = raw::io_setup(nr_events, result);
    if outcome.is_ok() {
        let _ = raw::io_destroy(env.context_value());
    }
    let call = Call::IoSetup(IoSetup { nr_events, result: pointer, value });
    (call, world.facts.clone(), Observed::Returned(outcome))
}

/// The facts with a context, and its number for the call: a good one or 0.
fn in_context(world: &World, dice: &mut Dice, context: u64) -> (u64, Facts) {
    let alive = !dice.roll().is_multiple_of(16);
    let about = Context { alive: Some(alive), room: Some(64), ready: Some(0) };
    (if alive { context } else { 0 }, Facts { context: about, ..world.facts.clone() })
}

fn getevents(env: &Env, world: &World, dice: &mut Dice, context: u64) -> (Call, Facts, Observed) {
    let (context, facts) = in_context(world, dice, context);
    let min_nr = dice.mostly(0, &[1, -1, 5, i64::MIN]);
    let nr = dice.mostly(1, &[0, -1, 4]);
    let (events, events_pointer) = address(env, dice, env.events());
    // A null pointer would wait for ever.
    let (timeout, timeout_pointer) = match address(env, dice, env.time(0, 0)) {
        (timeout, _) if timeout == Address::NULL => {
            (env.time(0, 0), Pointer::writable(env.time(0, 0).get()))
        }
        other => other,
    };
    let outcome = raw::io_getevents(context, min_nr, nr, events, timeout);
    let call = IoGetevents { min_nr, nr, events: events_pointer, timeout: timeout_pointer };
    (Call::IoGetevents(call), facts, Observed::Returned(outcome))
}

fn cancel(env: &Env, world: &World, dice: &mut Dice, context: u64) -> (Call, Facts, Observed) {
    let (context, facts) = in_context(world, dice, context);
    let key = dice.mostly(0, &[1, u32::MAX]);
    env.put(0, &Command { key, ..Command::default() });
    let (place, pointer) = address(env, dice, env.iocb(0));
    let key = if place == env.iocb(0) { key } else { 0 };
    let outcome = raw::io_cancel(context, place, Address::NULL);
    let call = IoCancel { place: pointer, key, waiting: Some(false) };
    (Call::IoCancel(call), facts, Observed::Returned(outcome))
}

fn submit(env: &Env, world: &World, dice: &mut Dice, context: u64) -> (Call, Facts, Observed) {
    let (context, facts) = in_context(world, dice, context);
    let fd = world.descriptor(dice);
    let (buf, buffer) = address(env, dice, env.buffer());
    // A vectored command has an array of one buffer there, and nowhere else.
    let opcode = dice.mostly(0, &[1, 2, 3, 4, 6, 7, 8, 99, u16::MAX]);
    env.put_vector(0, env.buffer(), 512);
    let vectored = matches!(opcode, 7 | 8);
    let (buf, buffer) = match (opcode, buf == env.buffer()) {
        (7 | 8, true) => (env.vectors(), Pointer::writable(env.vectors().get())),
        (2 | 3, true) => (Address::NULL, Pointer::NULL),
        _ => (buf, buffer),
    };
    let usual = if vectored {
        1
    } else if matches!(opcode, 2 | 3) {
        0
    } else {
        512
    };
    let nbytes = dice.mostly(usual, &[0, 1, 4096, 1025, 1 << 63, u64::MAX, 1 << 32]);
    let nbytes = if vectored && nbytes & 0xffff_ffff > 1 { nbytes | 0x1000 } else { nbytes };
    let other = world.descriptor(dice);
    let command = Command {
        data: 0,
        key: 7,
        opcode,
        fd,
        buf,
        nbytes,
        offset: dice.mostly(0, &[1, 512, -1, i64::MIN, i64::MAX, i64::MAX - 511]),
        rw_flags: dice.mostly(0, &[1 << 31, 1 << 16, 0x30, 0x40, 2]),
        reqprio: dice.mostly(0, &[i16::MIN, 1, 2 << 13]),
        reserved2: dice.mostly(0, &[0, 0, 1]),
        flags: dice.mostly(0, &[1, 2, 3, 1 << 9]),
        resfd: dice.mostly(-1, &[other]),
    };
    env.put(0, &command);
    let place = dice.mostly(env.iocb(0), &[Address::NULL, Address::KERNEL, env.memory.forbidden()]);
    env.put_pointer(0, place);
    let memory = if place == env.iocb(0) { Memory::Writable } else { Memory::Unmapped };
    let nr = dice.mostly(1, &[0, -1, i64::MIN]);
    let (array, pointer) = address(env, dice, env.pointers(0));
    // Zeros in read-only memory are null pointers.
    let (place, memory) = if array == env.memory.read_only() {
        (Address::NULL, Memory::Unmapped)
    } else {
        (place, memory)
    };
    let observed = match raw::io_submit(context, nr, array) {
        Ok(1) => env.fetch(context),
        other => Observed::Returned(other),
    };
    let iocb = Iocb {
        place: Pointer { address: place.get(), memory },
        opcode,
        fildes: u32::from_ne_bytes(fd.to_ne_bytes()),
        buf: buf.get(),
        memory: buffer.memory,
        nbytes,
        offset: command.offset,
        rw_flags: command.rw_flags,
        reqprio: command.reqprio,
        reserved2: command.reserved2,
        flags: command.flags,
        resfd: u32::from_ne_bytes(command.resfd.to_ne_bytes()),
    };
    (Call::IoSubmit(IoSubmit { nr, array: pointer, iocbs: vec![iocb] }), facts, observed)
}

fn ring_setup(env: &Env, world: &World, dice: &mut Dice) -> (Call, Facts, Observed) {
    let entries = dice.mostly(4, &[0, 5, 8, 32_769, u32::MAX]);
    let cq_entries = dice.mostly(8, &[0, 2, 4, 65_537]);
    let mut flags = dice.mostly(0, &[1 << 30, 1 << 28, 1 << 15]);
    for _ in 0..dice.roll() % 4 {
        // Neither a thread that polls nor memory of the program.
        flags |=
            dice.one_of(&[0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16]).map_or(0, |bit| 1 << bit);
    }
    let (wq_fd, cpu) = (world.descriptor(dice), dice.mostly(0, &[4_000_000]));
    let wq = u32::from_ne_bytes(wq_fd.to_ne_bytes());
    let reserved = dice.mostly(0, &[0, 0, 1]);
    let at = env.argument();
    env.memory.put(at, &[0; 120]);
    for (field, value) in
        [(8, flags), (CQ_ENTRIES, cq_entries), (SQ_THREAD_CPU, cpu), (WQ_FD, wq), (32, reserved)]
    {
        env.memory.put_u32(at.saturating_add(field), value);
    }
    let usual = env.argument_address();
    let (params, pointer) = address(env, dice, usual);
    let outcome = raw::ring_setup(entries, params);
    if let Some(fd) = outcome.ok().and_then(|fd| i32::try_from(fd).ok()) {
        let _ = raw::close(fd);
    }
    let setup = if params == usual {
        let reserved_set = reserved != 0;
        RingSetup {
            entries,
            params: pointer,
            flags,
            cq_entries,
            sq_thread_cpu: cpu,
            wq_fd: wq,
            reserved_set,
        }
    } else {
        RingSetup { entries, params: pointer, ..RingSetup::default() }
    };
    (Call::RingSetup(setup), world.facts.clone(), Observed::Returned(outcome))
}

/// A descriptor that is mostly a ring, with the facts of that ring.
fn some_ring(world: &World, dice: &mut Dice) -> (i32, Facts) {
    let fd = match dice.roll() % 3 {
        0 => world.descriptor(dice),
        _ => dice.one_of(&world.rings).unwrap_or(-1),
    };
    let mut facts = world.facts.clone();
    facts.ring.disabled = Some(world.rings.get(1) == Some(&fd));
    facts.ring.flags = Some(if facts.ring.disabled == Some(true) { 1 << 6 } else { 0 });
    facts.ring.own_thread = Some(true);
    (facts.ring.buffers, facts.ring.files) = (Some(false), Some(false));
    facts.ring.eventfd = Some(false);
    (fd, facts)
}

fn ring_enter(env: &Env, world: &World, dice: &mut Dice) -> (Call, Facts, Observed) {
    let (fd, facts) = some_ring(world, dice);
    let flags = dice.mostly(0, &[1, 1 | 8, 1 << 31, 1 << 16, 1 << 4]);
    env.memory.put(env.argument(), &[0; 64]);
    let (arg, pointer) = address(env, dice, env.argument_address());
    let argsz = dice.mostly(24, &[0, 8, 23]);
    let (submit, complete) = (dice.mostly(0, &[1, 7]), 0);
    let outcome = raw::ring_enter(fd, submit, complete, flags, arg, argsz);
    let call =
        RingEnter { fd, to_submit: submit, min_complete: complete, flags, arg: pointer, argsz };
    (Call::RingEnter(call), facts, Observed::Returned(outcome))
}

fn ring_register(env: &Env, world: &World, dice: &mut Dice) -> (Call, Facts, Observed) {
    let (fd, facts) = some_ring(world, dice);
    // Those that fail, or that change nothing that the next call would see.
    let opcode = dice.one_of(&[0, 1, 2, 3, 4, 5, 8, 10, 13, 15, 19, 20, 21, 23, 24, 70, 1000]);
    let opcode = opcode.unwrap_or(1);
    // A table of buffers or files is only asked for in ways that cannot succeed.
    let nr_args = match opcode {
        0 | 2 | 13 | 15 => dice.mostly(0, &[2_000_000]),
        4 => dice.mostly(0, &[2]),
        _ => dice.mostly(1, &[0, 2, 17, 257]),
    };
    env.memory.put(env.argument(), &[0; 512]);
    let (arg, pointer) = address(env, dice, env.argument_address());
    let outcome = raw::ring_register(fd, opcode, arg, nr_args);
    let call = RingRegister { fd, opcode, arg: pointer, nr_args, bytes: None };
    (Call::RingRegister(call), facts, Observed::Returned(outcome))
}
