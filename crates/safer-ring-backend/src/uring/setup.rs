//! From a [`Config`] to a ring: the ladder of setup flags, from best to plain, then fewer entries.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use safer_ring_sys::{
    Errno, Params, Restriction, Uring, enter, feat, opcode, probe, register_op, setup, sqe_flags,
};

use super::group::Buffers;
use super::other::Other;
use super::registered::Registered;
use super::whole::Steps;
use super::{RingBackend, prep};
use crate::config::{BackendChoice, BackendKind, Config};
use crate::contract::rules::{Pointer, RingSetup};
use crate::detect;
use crate::engine::{Engine, Poller};
use crate::error::SetupError;
use crate::features::{Attempt, FeatureSource, Features};
use crate::placement::{RingPlacement, Visit, place_workers};
use crate::sim::World;
use crate::wake::new_eventfd;

/// Who will use the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// One thread submits and reaps.
    OneThread,
    /// One thread submits, others may reap, cancel and wait.
    ManyThreads,
}

/// What the library cannot do without: completions are never lost, arguments are copied at submission,
/// and -1 is the file's cursor. All of kernel 5.6.
const REQUIRED_FEATURES: u32 = feat::NODROP | feat::SUBMIT_STABLE | feat::RW_CUR_POS;
/// Completion entries unless asked otherwise, or twice the submission entries: 16 bytes each, so that bursts
/// of waiting sockets do not take the kernel's slower path for a full queue.
const COMPLETIONS: u32 = 1024;
/// Fewer entries than this are not tried when memory is short.
const SMALLEST: u32 = 8;
/// Opcodes of kernel 5.6, for when the kernel does not let itself be asked.
const OPCODES_OF_5_6: u128 = (1 << 30) - 1;

/// Opcodes that the library uses itself; a restricted ring allows these only.
const USED: [u8; 31] = [
    opcode::NOP,
    opcode::READV,
    opcode::WRITEV,
    opcode::FSYNC,
    opcode::POLL_ADD,
    opcode::SENDMSG,
    opcode::RECVMSG,
    opcode::TIMEOUT,
    opcode::ACCEPT,
    opcode::ASYNC_CANCEL,
    opcode::CONNECT,
    opcode::FALLOCATE,
    opcode::OPENAT,
    opcode::CLOSE,
    opcode::STATX,
    opcode::READ,
    opcode::WRITE,
    opcode::SEND,
    opcode::RECV,
    opcode::OPENAT2,
    opcode::SPLICE,
    opcode::TEE,
    opcode::SHUTDOWN,
    opcode::RENAMEAT,
    opcode::UNLINKAT,
    opcode::MKDIRAT,
    opcode::SYMLINKAT,
    opcode::LINKAT,
    opcode::SOCKET,
    opcode::FTRUNCATE,
    opcode::PIPE,
];
const USED_NEW: [u8; 2] = [opcode::BIND, opcode::LISTEN];

impl RingBackend {
    /// Makes a ring as good as this kernel allows, for one thread.
    pub(crate) fn new(config: &Config) -> Result<Self, SetupError> {
        Self::make(config, None)
    }

    /// Makes one that many threads reap, and the eventfd that is signalled for its completions
    /// ([`Backend::listen`](crate::backend::Backend::listen)); at first none is.
    pub(crate) fn with_bell(config: &Config) -> Result<(Self, OwnedFd), SetupError> {
        let bell = new_eventfd().map_err(|errno| SetupError::Limit { errno })?;
        let backend = Self::make(config, Some(bell.as_fd()))?;
        backend.ring.set_silent(backend.can_hush);
        Ok((backend, bell))
    }

    /// [`RingBackend::with_bell`] for the fallback: its bell is the poller itself, which is readable while there is
    /// something to take in.
    pub(crate) fn fallback_with_bell(config: &Config) -> Result<(Self, OwnedFd), SetupError> {
        let backend = Self::fallback(config)?;
        let bell = backend.fd().try_clone_to_owned();
        let bell = bell.map_err(|_| SetupError::Limit { errno: Errno::last() })?;
        Ok((backend, bell))
    }

    /// Makes a ring whose other side is in this program.
    pub(crate) fn fallback(config: &Config) -> Result<Self, SetupError> {
        config.check()?;
        let only = config.backend == BackendChoice::Only(BackendKind::Fallback);
        if only && config.has_mode() {
            let what = "SQPOLL, IOPOLL and completions of 32 bytes are modes of io_uring, and the fallback was asked for";
            return Err(SetupError::Conflict { what });
        }
        let limit = |errno| SetupError::Limit { errno };
        // There are no workers of the kernel, so nothing of them is asked for.
        let (visit, placement) = Visit::of(&config.place);
        let poller = Poller::new().map_err(limit)?;
        let fd = poller.fd().try_clone_to_owned();
        let fd = fd.map_err(|_| SetupError::Limit { errno: Errno::last() })?;
        let completions = config.completions.unwrap_or((2 * config.entries).max(COMPLETIONS));
        let (ring, other) = Uring::in_memory(config.entries, completions, fd).map_err(limit)?;
        let engine = Engine::new(other, poller, config.fallback_parts).map_err(limit)?;
        drop(visit);
        let features = Features {
            backend: BackendKind::Fallback,
            setup_flags: 0,
            feature_bits: 0,
            entries: ring.sq_entries(),
            completions: ring.cq_entries(),
            attempts: Vec::new(),
            source: FeatureSource::NoRing,
            restricted: false,
            placement,
            opcodes: 0,
            simulates_multishot: false,
        };
        Ok(Self {
            ring,
            engine: Some(Other::Engine(Box::new(engine))),
            special: true,
            features,
            enter_flags: 0,
            fresh_flags: 0,
            can_wait_with_timeout: false,
            can_hush: false,
            wide: false,
            wide_entries: false,
            all_hot: false,
            steps: Steps::default(),
            needs_steps: false,
            continues_sends: false,
            buffers: Buffers::default(),
            registered: Registered::new(false),
        })
    }

    /// Makes a ring of a simulated kernel.
    pub(crate) fn simulated(config: &Config, world: &World) -> Result<Self, SetupError> {
        config.check()?;
        let limit = |errno| SetupError::Limit { errno };
        let fd = new_eventfd().map_err(limit)?;
        let completions = config.completions.unwrap_or((2 * config.entries).max(COMPLETIONS));
        let (ring, other) = Uring::in_memory(config.entries, completions, fd).map_err(limit)?;
        let features = Features {
            backend: BackendKind::Sim,
            setup_flags: 0,
            feature_bits: 0,
            entries: ring.sq_entries(),
            completions: ring.cq_entries(),
            attempts: Vec::new(),
            source: FeatureSource::NoRing,
            restricted: false,
            placement: RingPlacement::NONE,
            opcodes: 0,
            simulates_multishot: world.has_multishot(),
        };
        Ok(Self {
            ring,
            engine: Some(Other::World(Box::new(world.port(other)))),
            special: true,
            features,
            enter_flags: 0,
            fresh_flags: 0,
            can_wait_with_timeout: false,
            can_hush: false,
            wide: false,
            wide_entries: false,
            all_hot: false,
            steps: Steps::default(),
            needs_steps: false,
            continues_sends: false,
            buffers: Buffers::default(),
            registered: Registered::new(false),
        })
    }

    /// With a bell, for many threads.
    fn make(config: &Config, bell: Option<BorrowedFd<'_>>) -> Result<Self, SetupError> {
        let purpose = if bell.is_some() { Purpose::ManyThreads } else { Purpose::OneThread };
        config.check()?;
        let mut attempts = Vec::new();
        let (visit, mut placement) = Visit::of(&config.place);
        let ring = climb_down(config, purpose, &mut attempts)?;
        let hung = bell.map_or(Ok(()), |bell| steadily(|| ring.register_eventfd(bell, false)));
        hung.map_err(|errno| SetupError::Refused { step: "an eventfd (kernel 5.2)", errno })?;
        drop(visit);
        if ring.features() & REQUIRED_FEATURES != REQUIRED_FEATURES {
            return Err(SetupError::Unavailable { errno: Errno::NOSYS });
        }
        let (mut opcodes, source) = learn_opcodes(&ring);
        // A kernel says that it has them, and refuses them to this task, or on such a ring.
        opcodes &= !(detect::denied() | refused(&ring));
        // Before 5.19 the kernel has no barrier between a completion and its look at the word that silences the bell.
        let can_hush = opcodes & (1 << opcode::SOCKET) != 0;
        // Of the same kernel as the repair of `MSG_WAITALL`.
        let steps = opcodes & (1 << opcode::SENDMSG_ZC) == 0;
        if config.restricted {
            restrict(&ring, opcodes)?;
            opcodes &= used_mask();
        }
        for code in &config.without_opcodes {
            if *code < 128 {
                opcodes &= !(1 << *code);
            }
        }
        limit_workers(&ring, config)?;
        placement.workers = place_workers(&ring, &config.place);
        if ring.setup_flags() & setup::R_DISABLED != 0 {
            steadily(|| ring.enable_rings())
                .map_err(|errno| SetupError::Refused { step: "enabling the ring", errno })?;
        }
        let features = Features {
            backend: BackendKind::IoUring,
            setup_flags: ring.setup_flags(),
            feature_bits: ring.features(),
            entries: ring.sq_entries(),
            completions: ring.cq_entries(),
            attempts,
            source,
            restricted: config.restricted,
            placement,
            opcodes,
            simulates_multishot: false,
        };
        // Whether the kernel posts what a submission completes at once without being asked for it.
        let by_itself = ring.setup_flags() & (setup::DEFER_TASKRUN | setup::IOPOLL) == 0;
        let wide_entries = features.has_setup_flag(setup::SQE128);
        let no_iowait = if features.has_feature(feat::NO_IOWAIT) { enter::NO_IOWAIT } else { 0 };
        Ok(Self {
            wide_entries,
            all_hot: !steps
                && !wide_entries
                && prep::HOT.iter().all(|code| features.supports(*code)),
            steps: Steps::default(),
            needs_steps: steps,
            registered: registered(purpose, &features),
            continues_sends: may_call_plainly(&features),
            can_wait_with_timeout: features.has_feature(feat::EXT_ARG),
            enter_flags: enter::GETEVENTS | no_iowait,
            fresh_flags: if by_itself { !enter::GETEVENTS } else { u32::MAX },
            can_hush,
            engine: None,
            special: features.has_setup_flag(setup::SQPOLL),
            wide: features.has_setup_flag(setup::CQE32),
            ring,
            features,
            buffers: Buffers::default(),
        })
    }
}

/// The close, as a mask, of a ring that says `EINVAL` to it and leaves the descriptor open: nobody could tell that from the word of
/// a file. One that polls for its completions is such a ring, as was before 5.11 one whose entries a kernel thread takes.
fn refused(ring: &Uring) -> u128 {
    let polled = if ring.features() & feat::SQPOLL_NONFIXED == 0 { setup::SQPOLL } else { 0 };
    let refuses = ring.setup_flags() & (setup::IOPOLL | polled) != 0;
    u128::from(refuses) << opcode::CLOSE
}

/// The limits that were asked for.
fn limit_workers(ring: &Uring, config: &Config) -> Result<(), SetupError> {
    let Some(mut limits) = config.io_wq_limits else { return Ok(()) };
    let step = "the limits of io-wq workers (kernel 5.15)";
    steadily(|| ring.iowq_max_workers(&mut limits))
        .map_err(|errno| SetupError::Refused { step, errno })
}

/// Files are registered for one thread only: another one that closed a file could not make it leave its place.
fn registered(purpose: Purpose, features: &Features) -> Registered {
    Registered::new(purpose == Purpose::OneThread && features.registers_files())
}

/// Whether operations of a ring of many threads may be plain calls first ([`crate::plain::call`]). Not where what is sent early
/// would have to be told of by the steps that an older kernel needs for all, and not where a kernel thread hands over without a
/// call.
pub(crate) fn may_call_plainly(features: &Features) -> bool {
    features.backend == BackendKind::IoUring
        && !features.has_setup_flag(setup::SQPOLL | setup::IOPOLL)
        && features.supports(opcode::SENDMSG_ZC)
}

/// Again while a signal gets in the way: before 5.15 or so, registering waits until nobody else is in the ring.
pub(super) fn steadily<T>(mut register: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match register() {
            Err(Errno::INTR) => {}
            ended => return ended,
        }
    }
}

/// Setup flags from best to plain.
fn ladder(config: &Config, purpose: Purpose) -> Vec<u32> {
    use setup::{
        COOP_TASKRUN as COOP, DEFER_TASKRUN as DEFER, NO_SQARRAY, SINGLE_ISSUER as SINGLE,
        SUBMIT_ALL as ALL,
    };
    let mut wanted = setup::CQSIZE;
    if config.iopoll {
        wanted |= setup::IOPOLL;
    }
    if config.wide_completions {
        wanted |= setup::CQE32;
    }
    if config.wide_entries {
        wanted |= setup::SQE128;
    }
    if config.restricted {
        wanted |= setup::R_DISABLED;
    }
    let extras: &[u32] = match (config.sqpoll, purpose) {
        (Some(sqpoll), _) => {
            wanted |= setup::SQPOLL;
            if sqpoll.cpu.is_some() {
                wanted |= setup::SQ_AFF;
            }
            // The polling thread runs the task work: no COOP, no DEFER.
            &[ALL | NO_SQARRAY, ALL, 0]
        }
        (None, Purpose::OneThread) => {
            &[SINGLE | DEFER | ALL | NO_SQARRAY, SINGLE | DEFER | ALL, COOP | ALL, ALL, 0]
        }
        (None, Purpose::ManyThreads) => &[COOP | ALL | NO_SQARRAY, COOP | ALL, ALL, 0],
    };
    let mut steps: Vec<u32> =
        extras.iter().map(|extra| wanted | (extra & !config.without_setup_flags)).collect();
    steps.dedup();
    steps
}

fn climb_down(
    config: &Config,
    purpose: Purpose,
    attempts: &mut Vec<Attempt>,
) -> Result<Uring, SetupError> {
    let mut entries = config.entries;
    loop {
        let mut last = Errno::INVAL;
        for setup_flags in ladder(config, purpose) {
            match Uring::new(entries, params(config, entries, setup_flags)) {
                Ok(ring) => return Ok(ring),
                Err(errno) => {
                    attempts.push(Attempt { setup_flags, entries, errno });
                    last = errno;
                    // Only an unknown flag is worth a plainer step.
                    if errno != Errno::INVAL {
                        break;
                    }
                }
            }
        }
        match last {
            Errno::NOMEM if entries > SMALLEST => entries /= 2,
            Errno::NOMEM | Errno::MFILE | Errno::NFILE => {
                return Err(SetupError::Limit { errno: last });
            }
            Errno::INVAL if config.has_mode() => {
                return Err(SetupError::Mode {
                    call: plainest(config, entries, purpose),
                    errno: last,
                });
            }
            errno => return Err(SetupError::Unavailable { errno }),
        }
    }
}

/// The last step of the ladder, as the rules know it.
fn plainest(config: &Config, entries: u32, purpose: Purpose) -> RingSetup {
    let flags = ladder(config, purpose).last().copied().unwrap_or_default();
    let params = params(config, entries, flags);
    RingSetup {
        entries,
        params: Pointer::writable(1),
        flags,
        cq_entries: params.cq_entries,
        sq_thread_cpu: params.sq_thread_cpu,
        ..RingSetup::default()
    }
}

fn params(config: &Config, entries: u32, setup_flags: u32) -> Params {
    let mut params = Params { flags: setup_flags, ..Params::default() };
    params.cq_entries = match config.completions {
        Some(completions) => completions,
        None => (2 * entries).max(COMPLETIONS),
    };
    if let Some(sqpoll) = config.sqpoll {
        // Zero would be the kernel's own choice, a second.
        let milliseconds = sqpoll.idle.as_nanos().div_ceil(1_000_000).max(1);
        params.sq_thread_idle = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        params.sq_thread_cpu = sqpoll.cpu.unwrap_or(0);
    }
    params
}

fn learn_opcodes(ring: &Uring) -> (u128, FeatureSource) {
    if let Ok(query) = probe::query_opcodes() {
        let count = query.nr_request_opcodes.min(127);
        return ((1u128 << count) - 1, FeatureSource::Query);
    }
    match steadily(|| ring.probe()) {
        Ok(found) => {
            let mask = (0..128u8).filter(|code| found.supports(*code));
            (mask.fold(0, |mask, code| mask | 1 << code), FeatureSource::Probe)
        }
        Err(_) => (OPCODES_OF_5_6, FeatureSource::Assumed),
    }
}

/// Opcodes that the library uses itself.
pub(crate) fn used() -> impl Iterator<Item = u8> {
    USED.into_iter().chain(USED_NEW)
}

fn used_mask() -> u128 {
    used().fold(0, |mask, code| mask | 1 << code)
}

/// Allows what the library uses and nothing else; must come before the ring is enabled.
fn restrict(ring: &Uring, opcodes: u128) -> Result<(), SetupError> {
    let allowed = USED.iter().chain(&USED_NEW).filter(|code| opcodes & (1 << **code) != 0);
    let mut rules: Vec<Restriction> =
        allowed.map(|code| Restriction::new(Restriction::SQE_OP, *code)).collect();
    rules.push(Restriction::new(Restriction::SQE_FLAGS_ALLOWED, sqe_flags::IO_LINK));
    // RING_FDS and its undoing; their numbers fit the rule's byte.
    let own = [register_op::RING_FDS, register_op::UNREGISTER_RING_FDS].map(|operation| {
        Restriction::new(Restriction::REGISTER_OP, u8::try_from(operation).unwrap_or(u8::MAX))
    });
    let with_own = [&rules[..], &own[..]].concat();
    let restricted = match steadily(|| ring.register_restrictions(&with_own)) {
        // Before 5.18 there is no such operation, and a rule about an unknown one is an error, which leaves the ring as
        // it was.
        Err(Errno::INVAL) => steadily(|| ring.register_restrictions(&rules)),
        result => result,
    };
    restricted
        .map_err(|errno| SetupError::Refused { step: "ring restrictions (kernel 5.10)", errno })
}
