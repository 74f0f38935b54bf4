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

use super::raw::{Files, Naming, RING, RawRing, slots};
use super::{Context, Family, Imp, Workload, lanes, raw_net};
use crate::bench::plan::{Kind, Scenario};

pub(crate) static RAW_REGISTERED: Imp = Imp {
    name: "raw-registered",
    what: "the same loop with registered files and registered buffers",
    family: Family::Raw,
    ring: Some(RING),
    absent_from,
    build: |scenario, context| match scenario.kind {
        Kind::Echo => raw_net::echo(scenario, context, true),
        Kind::Drop => raw_net::drop_race(scenario, true),
        _ => build(scenario, context),
    },
};

fn absent_from(scenario: &Scenario) -> Option<&'static str> {
    match scenario.kind {
        Kind::Nop => Some("a no-operation has neither file nor buffer to register"),
        _ if scenario.multi_thread => Some("it is the loop of one thread"),
        _ => None,
    }
}

fn build(scenario: &'static Scenario, context: &Context) -> io::Result<Box<dyn Workload>> {
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
