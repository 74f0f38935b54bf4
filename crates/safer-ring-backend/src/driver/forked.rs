//! What is left of a driver in a forked child (invariant 15).

use safer_ring_core::{Key, Tag};
use safer_ring_sys::Errno;

use super::{Driver, Refused};
use crate::backend::Backend;
use crate::error::Failure;
use crate::fd::Guard;
use crate::payload::{self, Payload};

impl<K: Guard, B: Backend> Driver<K, B> {
    /// The output of an operation that the parent of this process has begun and that had not ended then: it never will here.
    /// The kernel works on the memory of the parent; what is in the slot is this process's copy.
    #[cold]
    #[inline(never)]
    pub(crate) fn finish_forked<P: Payload>(
        &mut self,
        key: Key,
        rest: P::Rest,
    ) -> Result<P::Output, P::Rest> {
        // What is in flight in this copy of the table is in no kernel: it ends as if it were cancelled.
        self.table.cancel(key);
        let word = key.user_data(Tag::Operation);
        let cancelled = -Errno::CANCELED.raw_os_error();
        if self.table.result(key).is_none() {
            drop(self.table.complete(word, cancelled, 0));
        }
        let Some((_, resources, _)) = self.table.take(key) else { return Err(rest) };
        let refused = Refused { failure: Failure::Forked, resources: Box::new(resources) };
        Ok(payload::refuse::<K, P>(refused, rest))
    }
}
