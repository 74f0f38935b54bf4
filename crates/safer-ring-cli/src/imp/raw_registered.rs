//! The raw loop with registered files and registered buffers: no reference counting of the file and no pinning of
//! pages per operation.
//!
//! # Safety
//! Registered memory stays pinned by the ring; it lives beside the ring in [`Files`], whose `Drop` quiesces the ring.
//! Pages that stay pinned a moment longer than the memory is mapped belong to nobody else.
//!
//! Tests: raw_loops_read_what_is_stored
#![allow(unsafe_code, reason = "registering buffers is a promise about memory")]

use std::io;
use std::os::fd::AsRawFd;

use safer_ring_sys::iovec;

use super::raw::{Files, Naming, RawRing, slots};
use super::{Context, Workload, lanes};
use crate::bench::plan::Scenario;

pub(super) fn build(
    scenario: &'static Scenario,
    context: &Context,
) -> io::Result<Box<dyn Workload>> {
    let target = context.file(scenario)?;
    let ring = RawRing::new(scenario.depth.next_power_of_two())?;
    let mut slots = slots(lanes(scenario), scenario.block);
    let areas: Vec<_> = slots
        .iter_mut()
        .map(|slot| {
            let (base, len) = slot.area();
            iovec { iov_base: base.cast(), iov_len: len }
        })
        .collect();
    // SAFETY: the buffers are owned by `slots`, which goes where the ring goes: into one `Files`, which lets nothing
    // go before every operation has completed.
    unsafe { ring.uring().register_buffers(&areas) }?;
    ring.uring().register_files(&[target.0.as_raw_fd()])?;
    Ok(Box::new(Files::new(ring, slots, &Naming::registered(scenario), scenario, target)))
}
