//! What a timer descriptor says once: the clock was set (`TFD_TIMER_CANCEL_ON_SET` of timerfd_create(2)). It says so with
//! `ECANCELED`, with which the kernel also gives up what a thread that has ended was to work on; that is tried again.

use safer_ring_core::{CURSOR, Op, Tag, decode};

use super::Driver;
use crate::backend::Backend;
use crate::fd::Guard;
use crate::sim;

impl<K: Guard, B: Backend> Driver<K, B> {
    /// An operation comes back cancelled: where that may be the word of a timer descriptor, it is the result. Who waits for
    /// the clock is told of it once too often, perhaps, and never too seldom.
    #[cold]
    pub(super) fn believe_clock(&mut self, user_data: u64) {
        let Some((Tag::Operation, key)) = decode(user_data) else { return };
        let Some((op, resources)) = self.table.get(key) else { return };
        let reads =
            matches!(op, Op::Read { offset: CURSOR } | Op::ReadVectored { offset: CURSOR, .. });
        let fd = resources.fd.as_ref().map_or(-1, Guard::raw);
        if reads && fd >= 0 && !sim::is_simulated(fd) && is_cancelled_when_set(fd) {
            self.table.believe(key);
        }
    }
}

/// Whether a descriptor is a timer that was set with the flag. Without /proc, nobody can tell.
fn is_cancelled_when_set(fd: i32) -> bool {
    const CANCEL_ON_SET: u32 = 1 << 1;
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = about.lines().find_map(|line| line.strip_prefix("settime flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & CANCEL_ON_SET != 0)
}
