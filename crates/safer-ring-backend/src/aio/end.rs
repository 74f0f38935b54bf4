//! How a context ends with commands in flight.

use std::mem::ManuallyDrop;
use std::thread;
use std::time::Duration;

use safer_ring_buf::IoBuf;
use safer_ring_sys::aio_cmd;

use super::context::Inner;

/// How long dropping a context waits for what is in flight.
const PATIENCE: Duration = Duration::from_millis(10);

impl<B: IoBuf> Inner<B> {
    /// Ends the context: at once if nothing is in flight, else after a wait, else on a thread.
    pub(super) fn end(mut self) {
        if !self.kernel.is_alive() {
            // Buffers and context are the parent's; its kernel may be writing to pages that are shared with it.
            std::mem::forget(self);
            return;
        }
        for key in self.slots.keys(aio_cmd::POLL) {
            // One that cannot be cancelled has ended.
            let _ = self.cancel(key);
        }
        // Whatever it says, what is still in flight is counted.
        let _ = self.fetch(self.slots.in_flight().saturating_add(self.ended.len()), Some(PATIENCE));
        if self.slots.in_flight() == 0 {
            return self.destroy();
        }
        // A closure that cannot be run is dropped: then everything is leaked.
        let rest = ManuallyDrop::new(self);
        let thread = thread::Builder::new().name("safer-ring-aio".into());
        let _ = thread.spawn(move || ManuallyDrop::into_inner(rest).destroy());
    }

    /// Waits for what is in flight, then frees the buffers.
    fn destroy(self) {
        let Inner { kernel, slots, ended, .. } = self;
        // A context that is not there any more (other code has destroyed it) tells nothing about what is in flight.
        let rest = ManuallyDrop::new(slots);
        if kernel.destroy().is_ok() {
            drop(ManuallyDrop::into_inner(rest));
        }
        drop(ended);
    }
}
