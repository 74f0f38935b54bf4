//! A lock for which a forked child does not wait in vain.
//!
//! A child of fork(2) has one thread and the memory of all: a lock that another thread held stays held there, and what it
//! guards may be half changed. So the word of this lock says in which process it is held. Who finds another one's number is in a
//! child of it, and nobody of that process is here: it takes the lock, and leaves what was guarded alone, which is leaked, for a
//! value that its caller gives. A lock that was free at the fork guards the same in the child as in the parent.
//!
//! The number is counted up in the child by a handler of pthread_atfork(3). The `fork` of the C library calls it, and a child
//! of a `clone(2)` past it must not use that library's allocator either.
//!
//! # Safety
//! The value is reached through the guard, of which there is one at a time, and by who owns the lock.
//!
//! Tests: one_thread_at_a_time_has_it, a_child_takes_a_lock_that_another_thread_of_its_parent_held,
//! a_child_finds_what_a_free_lock_guards
#![allow(unsafe_code, reason = "is a lock")]

use std::cell::UnsafeCell;
use std::fmt;
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
/// Somebody sleeps until it is free.
const WAITED: u32 = 1;
/// From one process's number to that of its child. The lowest bit is [`WAITED`].
const NEXT: u32 = 2;
/// Looks at a lock before the thread sleeps: as many as those of the standard library take.
const LOOKS: u32 = 100;

/// The number of this process, which none of its ancestors has had; 0 until the first lock is taken.
static PROCESS: AtomicU32 = AtomicU32::new(0);

#[inline(always)]
fn process() -> u32 {
    match PROCESS.load(Ordering::Relaxed) {
        0 => first(),
        process => process,
    }
}

#[cold]
fn first() -> u32 {
    // Before any lock is held. Two threads may do it: then a child counts twice. An error is that of an allocation: then
    // children are not known.
    // SAFETY: the handler may run between any two instructions of a program with threads: it changes one number.
    #[cfg(not(miri))]
    let _ = unsafe { libc::pthread_atfork(None, None, Some(count_up)) };
    match PROCESS.compare_exchange(0, NEXT, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => NEXT,
        Err(process) => process,
    }
}

#[cfg_attr(miri, expect(dead_code, reason = "nothing forks there"))]
extern "C" fn count_up() {
    let process = PROCESS.load(Ordering::Relaxed);
    // 0 is nobody's: after so many generations numbers come again.
    PROCESS.store(process.wrapping_add(NEXT).max(NEXT), Ordering::Relaxed);
}

/// A lock for which a forked child does not wait in vain. A panic under it does not poison it.
pub struct ForkMutex<T> {
    /// [`FREE`], or the number of the process that holds it, with [`WAITED`] or without.
    word: AtomicU32,
    value: UnsafeCell<ManuallyDrop<T>>,
}

// SAFETY: it owns the value.
unsafe impl<T: Send> Send for ForkMutex<T> {}
// SAFETY: one thread at a time reaches the value, through the guard.
unsafe impl<T: Send> Sync for ForkMutex<T> {}
impl<T> UnwindSafe for ForkMutex<T> {}
impl<T> RefUnwindSafe for ForkMutex<T> {}

/// The value of a [`ForkMutex`], which is free again when this is dropped.
pub struct ForkMutexGuard<'a, T> {
    mutex: &'a ForkMutex<T>,
    /// Of one thread, like those of the standard library.
    _thread: PhantomData<*mut T>,
}

impl<T> ForkMutex<T> {
    /// A free one.
    pub const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(FREE), value: UnsafeCell::new(ManuallyDrop::new(value)) }
    }

    /// Waits until it is free. In a forked child, of which a lost thread held it, the value is what `lost` makes, and the
    /// one before it is leaked. `lost` must not panic: the lock stays held.
    #[inline]
    pub fn lock_or(&self, lost: impl FnOnce() -> T) -> ForkMutexGuard<'_, T> {
        let process = process();
        let taken =
            self.word.compare_exchange(FREE, process, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !taken && self.wait(process) == Taken::FromTheLost {
            let value = ManuallyDrop::new(lost());
            // SAFETY: the lock is held here, and no thread of the process that held it before is in this one. What was there
            // is overwritten without being dropped or read.
            unsafe { ptr::write(self.value.get(), value) };
        }
        ForkMutexGuard { mutex: self, _thread: PhantomData }
    }

    /// [`ForkMutex::lock_or`] with the default value.
    #[inline]
    pub fn lock(&self) -> ForkMutexGuard<'_, T>
    where
        T: Default,
    {
        self.lock_or(T::default)
    }

    /// The value, without locking; `None` in a forked child, of which a lost thread held it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        (*self.word.get_mut() == FREE).then(|| &mut **self.value.get_mut())
    }

    #[cold]
    fn wait(&self, process: u32) -> Taken {
        for _ in 0..LOOKS {
            if self.word.load(Ordering::Relaxed) != process {
                break;
            }
            spin_loop();
        }
        // Who has slept cannot know whether it was the last.
        let mine = process | WAITED;
        loop {
            let word = self.word.load(Ordering::Relaxed);
            let lost = word != FREE && word & !WAITED != process;
            if word == FREE || lost {
                if self.swap(word, mine) {
                    return if lost { Taken::FromTheLost } else { Taken::Free };
                }
            } else if word == mine || self.swap(word, mine) {
                self.sleep(mine);
            }
        }
    }

    fn swap(&self, from: u32, to: u32) -> bool {
        self.word.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Until somebody frees it, or for no reason; not at all if it holds something else than `word`.
    fn sleep(&self, word: u32) {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let forever = ptr::null::<libc::timespec>();
        // SAFETY: futex(2) reads one aligned word, which lives as long as the lock.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, word, forever) };
    }

    #[cold]
    fn wake_one(&self) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel only looks for who sleeps at this address.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, 1) };
    }
}

/// How a lock was taken that was not free at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Free,
    /// From a thread that is not in this process.
    FromTheLost,
}

impl<T: Default> Default for ForkMutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for ForkMutex<T> {
    fn drop(&mut self) {
        // Else a lost thread holds it, or a guard was forgotten.
        if *self.word.get_mut() == FREE {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

impl<T> fmt::Debug for ForkMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkMutex").finish_non_exhaustive()
    }
}

impl<T> Deref for ForkMutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as this lives.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for ForkMutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as this lives, and this is borrowed alone.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for ForkMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.mutex.word.swap(FREE, Ordering::Release) & WAITED != 0 {
            self.mutex.wake_one();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for ForkMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn one_thread_at_a_time_has_it() {
        let mutex = Arc::new(ForkMutex::new((0_u64, 0_u64)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || {
                    for n in 0..20_000 {
                        let mut both = mutex.lock();
                        both.0 += 1;
                        if n % 1000 == 0 {
                            // The others come to sleep.
                            thread::sleep(std::time::Duration::from_micros(200));
                        }
                        both.1 += 1;
                        assert_eq!(both.0, both.1);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*mutex.lock(), (80_000, 80_000));
    }

    #[test]
    fn a_panic_under_it_frees_it() {
        let mutex = Arc::new(ForkMutex::new(1));
        let other = Arc::clone(&mutex);
        let holder = thread::spawn(move || {
            *other.lock() = 2;
            let _held = other.lock();
            panic!("while it is held");
        });
        assert!(holder.join().is_err());
        assert_eq!(*mutex.lock(), 2);
    }

    /// The exit status of a child that runs `body`, which allocates nothing.
    fn in_child(body: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs only `body` and `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let status = body();
            // SAFETY: leaves at once.
            unsafe { libc::_exit(status) }
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status)
    }

    #[test]
    fn a_child_finds_what_a_free_lock_guards() {
        let mutex = ForkMutex::new(7);
        drop(mutex.lock());
        assert_eq!(in_child(|| *mutex.lock_or(|| 0)), 7);
    }

    /// What must not be dropped in a child.
    struct Loud;

    impl Drop for Loud {
        fn drop(&mut self) {
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(99) }
        }
    }

    #[test]
    fn a_child_takes_a_lock_that_another_thread_of_its_parent_held() {
        let mutex = Arc::new(ForkMutex::new((7, Some(Loud))));
        let (held, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let other = (Arc::clone(&mutex), Arc::clone(&held), Arc::clone(&over));
        let holder = thread::spawn(move || {
            let (mutex, held, over) = other;
            let mut guard = mutex.lock_or(|| (0, None));
            held.store(true, Ordering::SeqCst);
            while !over.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            std::mem::forget(guard.1.take());
        });
        while !held.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let status = in_child(|| {
            let mut guard = mutex.lock_or(|| (1, None));
            guard.0 += 1;
            drop(guard);
            // As any other from now on, in its children as well.
            let grandchild = in_child(|| mutex.lock_or(|| (50, None)).0);
            mutex.lock_or(|| (60, None)).0 * 10 + grandchild
        });
        assert_eq!(status, 22);
        // One that is dropped while a lost thread holds it keeps what it guards.
        let mut mutex = Some(mutex);
        let status = in_child(|| {
            let Some(mutex) = mutex.take() else { return 1 };
            // SAFETY: in this process nobody else has it: the thread that shares it is not here.
            let mut last = unsafe { ptr::read(Arc::as_ptr(&mutex)) };
            if last.get_mut().is_some() {
                return 2;
            }
            drop(last);
            std::mem::forget(mutex);
            0
        });
        assert_eq!(status, 0);
        over.store(true, Ordering::SeqCst);
        holder.join().unwrap();
        assert_eq!(mutex.unwrap().lock_or(|| (0, None)).0, 7);
    }
}
