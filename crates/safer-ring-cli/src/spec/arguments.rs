//! A system call and facts from `KEY=VALUE`. What is not given is what is right for the call.

use safer_ring::contract::{
    Call, Facts, File, IoCancel, IoGetevents, IoSetup, IoSubmit, Iocb, Kind, Memory, Pointer,
    RingEnter, RingRegister, RingSetup, machine,
};

/// The number under which the descriptor of the call is kept.
const FD: u32 = 3;

/// # Errors
/// A key that the call does not have, or a value that is none.
pub(super) fn parse(call: &str, arguments: &[String]) -> Result<(Call, Facts), String> {
    let good = Pointer::writable(0x10_0000);
    let mut facts = machine();
    facts.context.alive = Some(true);
    facts.ring.disabled = Some(false);
    facts.ring.own_thread = Some(true);
    let mut file = File { open: Some(true), ..File::default() };
    if call.starts_with("io_uring_") {
        file.kind = Some(Kind::Ring);
    } else {
        file.readable = Some(true);
        file.writable = Some(true);
    }
    let mut made = start(call, good)?;
    for argument in arguments {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| format!("{argument}: not of the form KEY=VALUE"))?;
        let known = fact(&mut facts, &mut file, key, value)? || field(&mut made, key, value)?;
        if !known {
            return Err(format!("{key}: {call} has no such argument"));
        }
    }
    facts.files.push((FD, file));
    Ok((made, facts))
}

fn start(call: &str, good: Pointer) -> Result<Call, String> {
    Ok(match call {
        "io_setup" => Call::IoSetup(IoSetup { nr_events: 1, result: good, value: 0 }),
        "io_destroy" => Call::IoDestroy,
        "io_submit" => {
            let iocb = Iocb {
                place: good,
                fildes: FD,
                buf: good.address,
                memory: Memory::Writable,
                nbytes: 4096,
                ..Iocb::default()
            };
            Call::IoSubmit(IoSubmit { nr: 1, array: good, iocbs: vec![iocb] })
        }
        "io_getevents" => Call::IoGetevents(IoGetevents {
            min_nr: 1,
            nr: 1,
            events: good,
            timeout: Pointer::NULL,
        }),
        "io_cancel" => Call::IoCancel(IoCancel { place: good, key: 0, waiting: None }),
        "io_uring_setup" => {
            Call::RingSetup(RingSetup { entries: 8, params: good, ..RingSetup::default() })
        }
        "io_uring_enter" => {
            Call::RingEnter(RingEnter { fd: 3, arg: Pointer::NULL, ..RingEnter::default() })
        }
        "io_uring_register" => Call::RingRegister(RingRegister {
            fd: 3,
            arg: good,
            nr_args: 1,
            ..RingRegister::default()
        }),
        _ => return Err(format!("{call}: there are no rules of this call")),
    })
}

/// Decimal, hexadecimal with `0x`, negative as the bits of a signed number.
fn number(value: &str) -> Result<u64, String> {
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse::<u64>().ok().or_else(|| {
            value.parse::<i64>().ok().map(|number| u64::from_ne_bytes(number.to_ne_bytes()))
        }),
    };
    parsed.ok_or_else(|| format!("{value}: not a number"))
}

fn signed(value: &str) -> Result<i64, String> {
    number(value).map(|bits| i64::from_ne_bytes(bits.to_ne_bytes()))
}

/// A number that fits; a negative one of fewer bits fits too.
fn small<T: TryFrom<u64> + TryFrom<i64>>(value: &str) -> Result<T, String> {
    let wide = number(value)?;
    T::try_from(wide)
        .ok()
        .or_else(|| T::try_from(i64::from_ne_bytes(wide.to_ne_bytes())).ok())
        .ok_or_else(|| format!("{value}: too large"))
}

fn yes(value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{value}: yes or no")),
    }
}

fn pointer(value: &str) -> Result<Pointer, String> {
    let at = 0x10_0000;
    Ok(match value {
        "null" => Pointer::NULL,
        "good" => Pointer::writable(at),
        "unmapped" => Pointer { address: at, memory: Memory::Unmapped },
        "read-only" => Pointer { address: at, memory: Memory::ReadOnly },
        "unknown" => Pointer::at(at),
        _ => return Err(format!("{value}: good, null, unmapped, read-only or unknown")),
    })
}

/// Facts, which all calls have.
fn fact(facts: &mut Facts, file: &mut File, key: &str, value: &str) -> Result<bool, String> {
    match key {
        "kernel" => {
            let (major, minor) =
                value.split_once('.').ok_or_else(|| format!("{value}: such as 6.18"))?;
            facts.kernel = Some((small(major)?, small(minor)?));
        }
        "memlock" => facts.memlock = Some(number(value)?),
        "ipc-lock" => facts.ipc_lock = Some(yes(value)?),
        "nice" => facts.nice = Some(yes(value)?),
        "nofile" => facts.nofile = Some(number(value)?),
        "next-fd" => facts.next_fd = Some(number(value)?),
        "aio-nr" => facts.aio_nr = Some(number(value)?),
        "aio-max-nr" => facts.aio_max_nr = Some(number(value)?),
        "io-uring-disabled" => facts.io_uring_disabled = Some(small(value)?),
        "context" => facts.context.alive = Some(value == "alive"),
        "room" => facts.context.room = Some(number(value)?),
        "ready" => facts.context.ready = Some(number(value)?),
        "ring-flags" => facts.ring.flags = Some(small(value)?),
        "ring-disabled" => facts.ring.disabled = Some(yes(value)?),
        "own-thread" => facts.ring.own_thread = Some(yes(value)?),
        "has-buffers" => facts.ring.buffers = Some(yes(value)?),
        "has-files" => facts.ring.files = Some(yes(value)?),
        "has-eventfd" => facts.ring.eventfd = Some(yes(value)?),
        "align" => {
            (file.memory_align, file.offset_align) = (Some(small(value)?), Some(small(value)?))
        }
        "fd" => descriptor(file, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn descriptor(file: &mut File, value: &str) -> Result<(), String> {
    let kind = match value {
        "closed" => {
            *file = File::CLOSED;
            return Ok(());
        }
        "direct" => {
            (file.direct, file.kind) = (Some(true), Some(Kind::Regular));
            return Ok(());
        }
        "read-only" => {
            file.writable = Some(false);
            Kind::Regular
        }
        "write-only" => {
            file.readable = Some(false);
            Kind::Regular
        }
        "file" => Kind::Regular,
        "directory" => Kind::Directory,
        "pipe" => Kind::Pipe,
        "socket" => Kind::Socket,
        "eventfd" => Kind::Eventfd,
        "epoll" => Kind::Epoll,
        "ring" => Kind::Ring,
        _ => {
            return Err(format!(
                "{value}: closed, direct, read-only, write-only, file, directory, pipe, socket, eventfd, epoll or ring"
            ));
        }
    };
    (file.kind, file.direct) = (Some(kind), Some(false));
    Ok(())
}

/// An argument of the call.
fn field(call: &mut Call, key: &str, value: &str) -> Result<bool, String> {
    match call {
        Call::IoSetup(setup) => match key {
            "nr" => setup.nr_events = small(value)?,
            "ctx" => setup.value = number(value)?,
            "result" => setup.result = pointer(value)?,
            _ => return Ok(false),
        },
        Call::IoSubmit(submit) => match key {
            "nr" => submit.nr = signed(value)?,
            "array" => submit.array = pointer(value)?,
            _ => match submit.iocbs.first_mut() {
                Some(iocb) => return iocb_field(iocb, key, value),
                None => return Ok(false),
            },
        },
        Call::IoGetevents(call) => match key {
            "min" => call.min_nr = signed(value)?,
            "nr" => call.nr = signed(value)?,
            "events" => call.events = pointer(value)?,
            "timeout" => call.timeout = pointer(value)?,
            _ => return Ok(false),
        },
        Call::IoCancel(call) => match key {
            "iocb" => call.place = pointer(value)?,
            "key" => call.key = small(value)?,
            "waiting" => call.waiting = Some(yes(value)?),
            _ => return Ok(false),
        },
        Call::RingSetup(setup) => match key {
            "entries" => setup.entries = small(value)?,
            "flags" => setup.flags = small(value)?,
            "cq-entries" => setup.cq_entries = small(value)?,
            "params" => setup.params = pointer(value)?,
            "cpu" => setup.sq_thread_cpu = small(value)?,
            _ => return Ok(false),
        },
        Call::RingEnter(call) => match key {
            "submit" => call.to_submit = small(value)?,
            "complete" => call.min_complete = small(value)?,
            "flags" => call.flags = small(value)?,
            "arg" => call.arg = pointer(value)?,
            "argsz" => call.argsz = number(value)?,
            _ => return Ok(false),
        },
        Call::RingRegister(call) => match key {
            "opcode" => call.opcode = small(value)?,
            "arg" => call.arg = pointer(value)?,
            "nr" => call.nr_args = small(value)?,
            "bytes" => call.bytes = Some(number(value)?),
            _ => return Ok(false),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

fn iocb_field(iocb: &mut Iocb, key: &str, value: &str) -> Result<bool, String> {
    match key {
        "opcode" => iocb.opcode = small(value)?,
        "buf" => iocb.buf = number(value)?,
        "memory" => iocb.memory = pointer(value)?.memory,
        "iocb" => iocb.place = pointer(value)?,
        "nbytes" => iocb.nbytes = number(value)?,
        "offset" => iocb.offset = signed(value)?,
        "rw-flags" => iocb.rw_flags = small(value)?,
        "reqprio" => iocb.reqprio = small(value)?,
        "reserved2" => iocb.reserved2 = number(value)?,
        "flags" => iocb.flags = small(value)?,
        "resfd" if value == "fd" => iocb.resfd = FD,
        "resfd" => iocb.resfd = small(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}
