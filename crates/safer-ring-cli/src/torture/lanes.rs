//! The lanes of a run: what works side by side.

use std::io;
use std::path::Path;
use std::sync::Arc;

use safer_ring::RingOf;

use super::host::Host;
use super::tally::Scenario;
use super::world::World;
use super::{accept, datagram, files, opens, stream};
use crate::data::Data;

/// Bytes of a data file: the smallest that there is.
const FILE: u64 = 1 << 20;

/// Work that goes on from the start of a run to its end.
pub(crate) enum Lane<M: Host> {
    Stream(stream::Lane<M>),
    Datagrams(datagram::Lane<M>),
    Accept(accept::Lane<M>),
    Files(files::Lane<M>),
    Opens(opens::Lane<M>),
}

impl<M: Host> Lane<M> {
    pub(crate) async fn run(self) {
        match self {
            Self::Stream(lane) => lane.run().await,
            Self::Datagrams(lane) => lane.run().await,
            Self::Accept(lane) => lane.run().await,
            Self::Files(lane) => lane.run().await,
            Self::Opens(lane) => lane.run().await,
        }
    }
}

/// What cannot be done on this machine, in words.
pub(crate) type Skipped = Vec<String>;

/// The lanes of the chosen scenarios.
///
/// # Errors
/// When sockets, files or threads cannot be made.
pub(crate) fn make<M: Host>(
    ring: &RingOf<M>,
    world: &Arc<World>,
    scenarios: &[Scenario],
    dir: Option<&Path>,
    skipped: &mut Skipped,
) -> io::Result<Vec<Lane<M>>> {
    let mut lanes = Vec::new();
    for scenario in scenarios {
        match scenario {
            Scenario::Tcp | Scenario::Pipes | Scenario::Unix => {
                for number in 0..2 {
                    let number = 10 * number + place(*scenario);
                    let lane = stream::Lane::new(ring, world, *scenario, number)?;
                    lanes.push(Lane::Stream(lane));
                }
            }
            Scenario::Accept => {
                for (number, tcp) in [(101, true), (102, false)] {
                    lanes.push(Lane::Accept(accept::Lane::new(ring, world, number, tcp)?));
                }
            }
            Scenario::Files | Scenario::Direct => {
                let direct = *scenario == Scenario::Direct;
                let data = Data::create(dir, FILE)?;
                match &data.direct {
                    Err(refusal) if direct => skipped.push(format!("direct: {refusal}")),
                    _ => {
                        let number = 200 + place(*scenario);
                        let lane = files::Lane::new(ring, world, &data, direct, number)?;
                        lanes.push(Lane::Files(lane));
                    }
                }
            }
            Scenario::Opens => lanes.push(Lane::Opens(opens::Lane::new(ring, world, 300)?)),
            Scenario::Udp => {}
        }
        if matches!(scenario, Scenario::Udp | Scenario::Unix) {
            let number = 400 + place(*scenario);
            let lane = datagram::Lane::new(ring, world, *scenario, number)?;
            lanes.push(Lane::Datagrams(lane));
        }
    }
    Ok(lanes)
}

fn place(scenario: Scenario) -> u64 {
    let at = Scenario::ALL.iter().position(|other| *other == scenario);
    crate::num::count(at.unwrap_or(0))
}
