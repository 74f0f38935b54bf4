//! Registering the memory of a pool with all kernel rings of a ring.

use std::error::Error;
use std::fmt;
use std::io;

use safer_ring_buf::{BufferPool, PoolMemory};
use safer_ring_sys::Errno;

use crate::mode::Mode;

/// Why the memory of a pool cannot be registered, or the registration not undone. The pool can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its buffers are allocated one by one.
    NotContiguous,
    /// The ring has no registered memory: the fallback, a restricted ring, a kernel before 5.19.
    Unsupported,
    /// The process may not lock so much memory (`ENOMEM`), with the number of bytes.
    Limit(usize),
    /// Buffers of the pool are in use, and perhaps in flight.
    InUse,
    /// Another answer of the kernel.
    Refused(Errno),
}

impl RegisterError {
    fn of(errno: Errno, memory: &PoolMemory) -> Self {
        match errno {
            Errno::OPNOTSUPP | Errno::INVAL => Self::Unsupported,
            Errno::NOMEM => Self::Limit(memory.len()),
            Errno::BUSY => Self::InUse,
            errno => Self::Refused(errno),
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotContiguous => f.write_str(
                "the buffers of this pool are allocated one by one; make it with BufferPool::contiguous",
            ),
            Self::Unsupported => f.write_str(
                "this ring has no registered memory (kernel 5.19; not the fallback, not a restricted ring); \
                 the pool works without",
            ),
            Self::Limit(bytes) => write!(
                f,
                "{bytes} bytes cannot be locked for a ring: raise RLIMIT_MEMLOCK (ulimit -l), or make the pool smaller"
            ),
            Self::InUse => f.write_str("buffers of the pool are in use; try again when they are back"),
            Self::Refused(errno) => write!(f, "the kernel does not register this memory: {errno}"),
        }
    }
}

impl Error for RegisterError {}

impl From<RegisterError> for io::Error {
    fn from(error: RegisterError) -> Self {
        let kind = match error {
            RegisterError::NotContiguous => io::ErrorKind::InvalidInput,
            RegisterError::Unsupported => io::ErrorKind::Unsupported,
            RegisterError::Limit(_) => io::ErrorKind::OutOfMemory,
            RegisterError::InUse => io::ErrorKind::ResourceBusy,
            RegisterError::Refused(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Registers the memory of `pool` with the kernel rings that there are, and with those that are made later.
///
/// # Errors
/// As [`RegisterError`] says. The pool can be used as before then.
pub fn register<M: Mode>(ring: &M::Ring, pool: &BufferPool) -> Result<(), RegisterError> {
    let memory = pool.memory().ok_or(RegisterError::NotContiguous)?;
    // First, so that a ring which is made meanwhile has it as well.
    M::keep_memory(ring, &memory, true);
    for cell in M::cells(ring) {
        let registered = M::with(&cell, |driver| driver.register_memory(&memory));
        if let Some(Err(errno)) = registered {
            // What cannot be undone now is of no harm, and goes with its ring.
            let _ = forget::<M>(ring, &memory);
            return Err(RegisterError::of(errno, &memory));
        }
    }
    Ok(())
}

/// Undoes [`register`].
///
/// # Errors
/// [`RegisterError::InUse`] while buffers of the pool are; some rings may have forgotten it then.
pub fn unregister<M: Mode>(ring: &M::Ring, pool: &BufferPool) -> Result<(), RegisterError> {
    let memory = pool.memory().ok_or(RegisterError::NotContiguous)?;
    forget::<M>(ring, &memory).map_err(|errno| RegisterError::of(errno, &memory))
}

fn forget<M: Mode>(ring: &M::Ring, memory: &PoolMemory) -> Result<(), Errno> {
    M::keep_memory(ring, memory, false);
    for cell in M::cells(ring) {
        M::with(&cell, |driver| driver.unregister_memory(memory)).unwrap_or(Ok(()))?;
    }
    Ok(())
}
