//! What raw operations keep of their completions: those before the last one, and second halves.

use safer_ring_core::{Key, Op, Tag, decode};
use safer_ring_sys::{Cqe32, cqe_flags};

use super::Driver;
use crate::backend::Backend;
use crate::fd::Guard;
use crate::payload::More;

impl<K: Guard, B: Backend> Driver<K, B> {
    /// [`Driver::reap`] where completions have a second half, which goes to raw operations.
    #[cold]
    pub(super) fn reap_wide(&mut self) {
        loop {
            while let Some(Cqe32 { cqe, big }) = self.backend.pop_wide() {
                self.second_half = big;
                if cqe.flags & cqe_flags::MORE == 0 {
                    self.keep_second_half(cqe.user_data);
                }
                self.complete(cqe.user_data, cqe.res, cqe.flags);
                self.second_half = [0; 2];
            }
            if !self.backend.refill() {
                return;
            }
        }
    }

    /// Keeps the second half of a last completion for the owner of its operation, if that wants it.
    fn keep_second_half(&mut self, user_data: u64) {
        let Some((Tag::Operation, key)) = decode(user_data) else { return };
        let raw = matches!(self.table.get(key), Some((Op::Raw, _)));
        let owned = self.table.state(key).is_some_and(|state| !state.orphaned);
        let known = self.last_halves.iter().any(|(owner, _)| *owner == key);
        if raw && owned && !known && self.second_half != [0; 2] {
            self.last_halves.push((key, self.second_half));
        }
    }

    /// What the completions of `key` were, beyond the result and the flags of the last one.
    pub(crate) fn take_more(&mut self, key: Key) -> More {
        let mut taken = More::default();
        self.more.retain(|(owner, completion, half)| {
            let mine = *owner == key;
            if mine {
                taken.earlier.push((*completion, *half));
            }
            !mine
        });
        self.last_halves.retain(|(owner, half)| {
            let mine = *owner == key;
            if mine {
                taken.last_half = *half;
            }
            !mine
        });
        taken
    }
}
