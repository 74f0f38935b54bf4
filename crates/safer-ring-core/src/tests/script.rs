//! Which events are possible in a state, and the walk over all scripts of a given length.

use std::collections::HashSet;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

use super::model::{Ask, Kind, Place};
use super::world::{Event, Res, World, guarded};
use crate::Limits;

/// What the scripts of one family are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alphabet {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) kinds: &'static [Kind],
    /// Whether operations may go to the kernel at once.
    pub(crate) at_once: bool,
    /// Members of a chain, 0 for no chains.
    pub(crate) chain: u16,
    /// What the members of chains do.
    pub(crate) links: &'static [Kind],
    pub(crate) deadlines: &'static [u64],
    /// Operations in one script.
    pub(crate) ops: usize,
    pub(crate) rooms: &'static [u32],
    pub(crate) results: &'static [Res],
    pub(crate) wakers: usize,
    pub(crate) cancel: bool,
    pub(crate) cancel_all: bool,
    pub(crate) group: bool,
    /// Completions of the driver's own that may be outstanding.
    pub(crate) internal: u32,
    /// Length of the longest script.
    pub(crate) length: usize,
}

impl Alphabet {
    /// The events that can happen now.
    pub(crate) fn events(&self, world: &World) -> Vec<Event> {
        let mut events = Vec::new();
        let model = &world.model;
        if model.ops.len() < self.ops {
            events.extend(self.kinds.iter().map(|kind| Event::Insert(*kind)));
            if self.at_once {
                events.extend(self.kinds.iter().map(|kind| Event::InsertNow(*kind)));
            }
            events.extend(self.deadlines.iter().map(|deadline| Event::Arm(*deadline)));
            if self.chain > 0 {
                events.extend(self.links.iter().map(|kind| Event::Link(*kind, self.chain)));
            }
        }
        events.extend(self.rooms.iter().map(|room| Event::Stage(*room)));
        for (op, record) in model.ops.iter().enumerate() {
            if record.in_kernel() {
                events.extend(self.results.iter().map(|res| Event::Complete(op, *res)));
            }
            if record.ask == Ask::Kernel {
                events.push(Event::Answer(op));
            }
            if !record.owner || !record.in_table() {
                continue;
            }
            events.extend((0..self.wakers).map(|name| Event::Poll(op, name)));
            events.push(Event::Orphan(op));
            if self.cancel {
                events.push(Event::Cancel(op));
            }
            if matches!(record.place, Place::Done { .. }) {
                events.push(Event::Take(op));
            } else if self.group && model.group.is_some() {
                events.push(Event::Join(op));
            }
        }
        if self.cancel_all {
            events.push(Event::CancelAll);
        }
        if !model.ready.is_empty() || !self.deadlines.is_empty() {
            events.extend([Event::Expire(0), Event::Expire(15), Event::Expire(u64::MAX)]);
        }
        if self.group {
            match model.group {
                None => events.push(Event::NewGroup),
                Some(_) => {
                    events.extend([Event::PollGroup(0), Event::PollGroup(2), Event::DropGroup]);
                }
            }
        }
        if model.internal < self.internal {
            events.push(Event::Expect);
        }
        if model.internal > 0 {
            events.push(Event::Internal);
        }
        events
    }
}

struct Step {
    event: Event,
    before: Option<Rc<Step>>,
}

fn told(step: Option<&Rc<Step>>) -> String {
    let mut events = Vec::new();
    let mut at = step;
    while let Some(step) = at {
        events.push(format!("{:?}", step.event));
        at = step.before.as_ref();
    }
    events.reverse();
    events.join(", ")
}

/// What the walk has covered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coverage {
    pub(crate) states: usize,
    pub(crate) steps: usize,
}

/// Runs every script of the family, shortest first. Scripts that lead to the same state are
/// continued once. `Err` has the first script on which table and model part.
pub(crate) fn walk(alphabet: &Alphabet) -> Result<Coverage, String> {
    let first = World::new(alphabet.limits);
    let mut seen = HashSet::from([first.fingerprint()]);
    let mut level = std::vec![(first, None::<Rc<Step>>)];
    let mut coverage = Coverage { states: 1, steps: 0 };
    for _ in 0..alphabet.length {
        let mut next = Vec::new();
        for (world, before) in level {
            for event in alphabet.events(&world) {
                let step = Rc::new(Step { event, before: before.clone() });
                let mut after = world.clone();
                coverage.steps += 1;
                let fresh = guarded(|| {
                    after.apply(event)?;
                    if !seen.insert(after.fingerprint()) {
                        // The numbers of a state reached before need not be the same.
                        return after.check_state().and(Err(String::new()));
                    }
                    after.check()
                });
                match fresh {
                    Ok(()) => next.push((after, Some(step))),
                    Err(text) if text.is_empty() => {}
                    Err(text) => {
                        let script = told(Some(&step));
                        return Err(format!("{}: [{script}]: {text}", alphabet.name));
                    }
                }
            }
        }
        coverage.states += next.len();
        level = next;
    }
    Ok(coverage)
}
