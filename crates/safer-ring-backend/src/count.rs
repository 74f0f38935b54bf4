//! The eventfd of a [`Doorbell`](crate::Doorbell).
//!
//! A build for the model checker has a model of it in its place, with a wait that the ring's watch stands for otherwise:
//! system calls are not seen by the checker.

#[cfg(not(safer_ring_loom))]
pub(crate) use real::Count;

#[cfg(safer_ring_loom)]
pub(crate) use model::Count;

#[cfg(not(safer_ring_loom))]
mod real {
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    use safer_ring_sys::Errno;

    use crate::wake::new_eventfd;

    #[derive(Debug)]
    pub(crate) struct Count(OwnedFd);

    impl Count {
        pub(crate) fn new() -> Result<Self, Errno> {
            new_eventfd().map(Self)
        }

        pub(crate) fn fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }

        pub(crate) fn add(&self) {
            // A full counter (EAGAIN) is as loud as a written one.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        pub(crate) fn clear(&self) {
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.0, &mut count);
        }
    }
}

#[cfg(safer_ring_loom)]
mod model {
    use std::os::fd::RawFd;

    use loom::sync::{Condvar, Mutex};
    use safer_ring_sys::Errno;

    /// A count under a lock, as the kernel has it.
    #[derive(Debug)]
    pub(crate) struct Count {
        value: Mutex<u64>,
        changed: Condvar,
    }

    impl Count {
        pub(crate) fn new() -> Result<Self, Errno> {
            Ok(Self { value: Mutex::new(0), changed: Condvar::new() })
        }

        pub(crate) fn fd(&self) -> RawFd {
            -1
        }

        pub(crate) fn add(&self) {
            *self.value.lock().unwrap() += 1;
            self.changed.notify_all();
        }

        pub(crate) fn clear(&self) {
            *self.value.lock().unwrap() = 0;
        }

        /// Until it is not zero: the sleep in a ring that watches it.
        #[cfg(test)]
        pub(crate) fn wait(&self) {
            let mut value = self.value.lock().unwrap();
            while *value == 0 {
                value = self.changed.wait(value).unwrap();
            }
        }
    }
}
