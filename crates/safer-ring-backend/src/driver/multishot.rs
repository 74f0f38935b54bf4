//! Operations that complete more than once.
//!
//! A multishot receive has no owner from the beginning. It is armed for a descriptor, as a receive that was dropped is:
//! what it takes in becomes an item of the descriptor's stream, for whoever asks there first.

use std::mem::ManuallyDrop;
use std::sync::atomic::{Ordering, fence};

use safer_ring_buf::{IoBuf, Lease, PooledBuffer};
use safer_ring_core::{Completion, Key, Op, Phase};
use safer_ring_sys::Errno;

use super::{Driver, Nudge};
use crate::backend::Backend;
use crate::fd::Guard;
use crate::payload;
use crate::request::Resources;
use crate::stream::{Item, Load, is_news};

/// Guards of a descriptor that are there when a multishot receive is armed, beside those of handles: that of who asks
/// for it, of the operation, and of the call. Two who ask are one more than that, which costs a look and nothing else.
const HOLDERS: usize = 3;

impl<K: Guard, B: Backend> Driver<K, B> {
    /// Arms a multishot receive on a socket where nothing is armed. `None` where there can be none now: an ordinary receive
    /// is the way then.
    pub(crate) fn arm(&mut self, fd: K) -> Option<(K::Home, Key)> {
        let home = self.home.clone()?;
        // What is armed now would be cancelled at once.
        if !self.is_ours() || self.closing || !self.drainers.is_empty() {
            return None;
        }
        let group = self.backend.buffer_group().ok()?;
        let resources = Resources { lease: Lease::empty(), fd: Some(fd.clone()), other: None };
        match self.submit(Op::RecvMulti { group }, ManuallyDrop::new(resources), None) {
            Ok(key) => {
                if self.table.state(key).is_some_and(|state| state.phase == Phase::Queued) {
                    // Else it would leave the queue without its owner.
                    self.flush();
                }
                self.orphan(key);
                self.nudge_all(fd);
                Some((home, key))
            }
            Err(refused) => {
                self.keep_dead(*refused.resources);
                None
            }
        }
    }

    /// What waits in the kernel already would wait on while a multishot receive takes everything. It is looked for only where
    /// the descriptor has more holders than are known, since that is a look at every operation.
    fn nudge_all(&mut self, fd: K) {
        // Between the mark that the descriptor has now and this count, as in `ask_again` the other way round.
        fence(Ordering::SeqCst);
        if fd.holders() <= fd.users() + HOLDERS {
            return;
        }
        while self.nudge(&fd) {}
        self.aftermath.nudges.push(Nudge { fd, all: true });
        self.dirty = true;
    }

    /// A completion that is not the last of its operation.
    pub(super) fn go_on(&mut self, key: Key, completion: Completion) {
        let Some((op, Resources { fd, .. })) = self.table.get(key) else { return };
        let (Op::RecvMulti { .. }, Some(fd)) = (op, fd) else {
            if self.table.state(key).is_some_and(|state| !state.orphaned) {
                self.more.push((key, completion, self.second_half));
            }
            return;
        };
        let Some(buffer) = picked(&mut self.backend, completion, self.counters.enters) else {
            return;
        };
        if fd.users() == 0 {
            return self.drop_buffer(buffer);
        }
        let wakers = &mut self.aftermath.wakers;
        // Whoever receives there asks first: there is nobody else to be told.
        let full = fd.with_stream(|stream| {
            stream.put(Some(Item::new(Load::Picked(buffer))), wakers);
            stream.is_full()
        });
        self.dirty = true;
        if full {
            self.table.cancel(key);
        }
    }

    /// The last completion of a multishot receive.
    pub(super) fn bury_multishot(
        &mut self,
        key: Option<Key>,
        fd: &K,
        mut resources: Resources<K>,
        completion: Completion,
    ) {
        resources.fd = None;
        let buffer = picked(&mut self.backend, completion, self.counters.enters);
        let load = match (Errno::from_result(completion.res), buffer) {
            (Ok(0), buffer) => {
                buffer.into_iter().for_each(|buffer| self.drop_buffer(buffer));
                Some(Load::Own(Vec::new()))
            }
            (Ok(_), buffer) => buffer.map(Load::Picked),
            (Err(errno), _) => {
                self.backend.multishot_failed(errno, self.counters.enters);
                is_news(errno).then_some(Load::Error(errno))
            }
        };
        self.taker_is_over(key, fd, load, Some(resources));
    }

    /// Its pool may wake somebody who waits for it.
    fn drop_buffer(&mut self, buffer: PooledBuffer) {
        self.keep_dead(Resources { lease: buffer.lend().0, fd: None, other: None });
    }
}

fn picked(
    backend: &mut impl Backend,
    Completion { res, flags }: Completion,
    enters: u64,
) -> Option<PooledBuffer> {
    let count = payload::bytes(u32::try_from(res).unwrap_or(0));
    backend.take_picked(flags, count, enters)
}
