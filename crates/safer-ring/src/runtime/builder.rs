//! How a runtime is made.

use std::error::Error;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use safer_ring_backend::SetupError;

use super::Runtime;
use super::end::{Member, Team, live};
use super::handle::Handle;
use super::place::{CallerCpus, Plan, ThreadPlacement};
use super::post::Post;
use super::worker::Worker;
use crate::cpu::Placement;
use crate::local;

/// Shapes a runtime before it is made: [`Runtime::builder`].
///
/// ```
/// use safer_ring::{Runtime, local};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder()
///     .threads(2)
///     .ring(safer_ring::Ring::builder().entries(512).local())
///     .on_thread_start(|thread| assert!(thread < 2))
///     .build()?;
/// assert_eq!(runtime.handle().threads(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder makes a runtime when `build` is called"]
pub struct Builder {
    threads: usize,
    name: String,
    stack_size: Option<usize>,
    ring: local::Builder,
    placement: Placement,
    on_start: Option<Arc<dyn Fn(usize) + Send + Sync>>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            threads: 1,
            name: "safer-ring".into(),
            stack_size: None,
            ring: local::Builder::new(),
            placement: Placement::default(),
            on_start: None,
        }
    }

    /// How many threads it has, the calling one included (default 1: nothing runs elsewhere). The others are numbered
    /// from 1, each with a ring of its own, and run the tasks that [`Handle::spawn_on`] sends them.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// A thread for each CPU that this process may use ([`std::thread::available_parallelism`], which also knows of a
    /// cgroup's quota), 1 if that is not known. [`Builder::placement`] binds each to a CPU.
    pub fn thread_per_core(self) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        self.threads(threads)
    }

    /// What the threads that it makes are called; the number follows (default `safer-ring`: `safer-ring-1`). The kernel
    /// shows 15 bytes.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Bytes of stack of the threads that it makes (default: that of [`std::thread::Builder`]).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// The settings of each thread's ring (default: 256 entries). A ring that polls its device
    /// ([`iopoll`](crate::Builder::iopoll)) is refused, since no other thread could wake it.
    pub fn ring(mut self, ring: local::Builder) -> Self {
        self.ring = ring;
        self
    }

    /// Which thread runs where (default: [`Placement::default`], which leaves all where they are). Thread `i` goes to seat
    /// `i` of the plan before its ring is made, so the ring's pages come from the node of its CPUs, and the kernel's worker
    /// threads for it stay on that node ([`Builder::node`](crate::Builder::node); a CPU or node that [`Builder::ring`]
    /// names goes before). With more threads than seats the plan begins again.
    ///
    /// The calling thread is thread 0: it is pinned to seat 0 while the runtime exists, and has its CPUs back when the
    /// runtime has ended, unless somebody else pins it meanwhile. Where that is not wanted, make the runtime on a thread of
    /// its own. Two things stay: its affinity is now one that was set, which a cpuset that grows later may not widen, and
    /// the CPUs of its workers. Threads that a pinned thread starts, those of [`spawn_blocking`](super::spawn_blocking)
    /// among them, inherit its CPUs.
    ///
    /// It is a wish: the runtime works in any case, and [`Runtime::placements`] says what became of it for each thread.
    ///
    /// ```
    /// use safer_ring::Runtime;
    /// use safer_ring::cpu::{Placement, Topology};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Before a thread is pinned: afterwards it sees its own CPUs only.
    /// let plan = Placement::per_core(&Topology::read());
    /// let runtime = Runtime::builder().thread_per_core().placement(plan).build()?;
    /// for (thread, place) in runtime.placements().iter().enumerate() {
    ///     println!("thread {thread}: {place}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Runs on each thread, the calling one included, with its number, after it went to its place ([`Builder::placement`])
    /// and before its ring is made.
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// Makes the rings and starts the threads.
    ///
    /// # Errors
    /// See [`StartError`]. Threads that did start have ended then.
    ///
    /// # Panics
    /// When the hook of [`Builder::on_thread_start`] does on the calling thread.
    pub fn build(self) -> Result<Runtime, StartError> {
        if self.threads == 0 {
            return Err(StartError::NoThreads);
        }
        if self.ring.is_iopoll() {
            let what = "a ring that polls its device cannot be woken by other threads";
            return Err(StartError::Ring { thread: 0, error: SetupError::Conflict { what } });
        }
        let handle = Handle::new();
        let plan = Arc::new(Plan::new(self.placement.clone()));
        // Before this thread is pinned or the hook runs here: threads inherit the CPUs of the one that makes them.
        let (team, others) = self.start_team(&handle, &plan)?;
        // Dropped, and so undone, if there is no ring for this thread.
        let mut caller = (!self.placement.is_empty()).then(CallerCpus::note);
        let made = self.make_worker(0, &handle, &plan, caller.as_mut());
        let Made { worker, placement } = made?;
        let mut placements = vec![placement];
        placements.extend(others);
        let mut posts = vec![Arc::clone(worker.post())];
        posts.extend(team.members.iter().map(|member| Arc::clone(&member.post)));
        handle.set_threads(posts, placements);
        Ok(Runtime::assemble(worker, team, caller))
    }

    /// Starts the other threads, and tells where they are.
    fn start_team(
        &self,
        handle: &Handle,
        plan: &Arc<Plan>,
    ) -> Result<(Team, Vec<ThreadPlacement>), StartError> {
        let mut started = Vec::new();
        let mut failed = None;
        for index in 1..self.threads {
            let (told, hears) = channel();
            match self.start_thread(index, (handle, plan), told) {
                Ok(thread) => started.push((index, thread, hears)),
                Err(error) => {
                    failed = Some(StartError::Thread { thread: index, error });
                    break;
                }
            }
        }
        let mut team = Team::default();
        let mut placements = Vec::new();
        for (index, thread, hears) in started {
            match hears.recv().unwrap_or(Err(StartError::Panicked { thread: index })) {
                Ok((post, placement)) => {
                    team.members.push(Member { index, post, thread });
                    placements.push(placement);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        // Dropping the team ends those that did start.
        failed.map_or(Ok((team, placements)), Err)
    }

    fn start_thread(
        &self,
        index: usize,
        (handle, plan): (&Handle, &Arc<Plan>),
        told: Sender<Result<(Arc<Post>, ThreadPlacement), StartError>>,
    ) -> io::Result<thread::JoinHandle<()>> {
        let mut thread = thread::Builder::new().name(format!("{}-{index}", self.name));
        if let Some(bytes) = self.stack_size {
            thread = thread.stack_size(bytes);
        }
        let (builder, handle, plan) = (self.clone(), handle.clone(), Arc::clone(plan));
        thread.spawn(move || {
            let made = builder.make_worker(index, &handle, &plan, None);
            drop((builder, handle, plan));
            // The builder waits for it.
            match made {
                Ok(Made { worker, placement }) => {
                    let _ = told.send(Ok((Arc::clone(worker.post()), placement)));
                    drop(told);
                    live(worker);
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
        })
    }

    /// Prepares the calling thread and makes its ring.
    fn make_worker(
        &self,
        index: usize,
        handle: &Handle,
        plan: &Plan,
        caller: Option<&mut CallerCpus>,
    ) -> Result<Made, StartError> {
        let seated = plan.take_seat(index, self.ring.clone());
        if let Some(caller) = caller {
            caller.seated();
        }
        if let Some(hook) = &self.on_start {
            hook(index);
        }
        let ring = seated.ring.build();
        let ring = ring.map_err(|error| StartError::Ring { thread: index, error })?;
        let placement = ThreadPlacement { seat: seated.applied, ring: ring.features().placement };
        Ok(Made { worker: Worker::new(index, ring, handle.clone()), placement })
    }
}

/// A thread that is ready.
struct Made {
    worker: Rc<Worker>,
    placement: ThreadPlacement,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("threads", &self.threads)
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .field("ring", &self.ring)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

/// Why a runtime could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It was to have no threads.
    NoThreads,
    /// No ring for this thread.
    Ring {
        /// Its number.
        thread: usize,
        /// Why not.
        error: SetupError,
    },
    /// This thread could not be started.
    Thread {
        /// Its number.
        thread: usize,
        /// Why not.
        error: io::Error,
    },
    /// This thread panicked in the hook that was to run at its start.
    Panicked {
        /// Its number.
        thread: usize,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThreads => f.write_str("a runtime needs at least one thread"),
            Self::Ring { thread, error } => write!(f, "no ring for thread {thread}: {error}"),
            Self::Thread { thread, error } => write!(f, "thread {thread} did not start: {error}"),
            Self::Panicked { thread } => {
                write!(f, "thread {thread} panicked in the hook of its start")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Ring { error, .. } => Some(error),
            Self::Thread { error, .. } => Some(error),
            Self::NoThreads | Self::Panicked { .. } => None,
        }
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Ring { error, .. } => error.into(),
            StartError::Thread { error, .. } => error,
            StartError::NoThreads => Self::new(io::ErrorKind::InvalidInput, error),
            StartError::Panicked { .. } => Self::other(error),
        }
    }
}
