//! A lane of names in a directory of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;

use safer_ring::{Mode, OpenOptions};

use crate::fate::{LONG, Met, meet};
use crate::run::{Lane, Verdict};
use crate::script::Act;

/// Runs the lane.
pub(crate) async fn run<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let dir = format!("/names{}", lane.number);
    let made = lane.ring.mkdir(&dir, 0o755).await;
    made.map_err(|error| lane.wrong(format_args!("mkdir: {error}")))?;
    let path = |name: u8| format!("{dir}/{name}");
    let mut there: BTreeSet<u8> = BTreeSet::new();
    for act in acts {
        match act {
            Act::Pause { us } | Act::Rest { us } => lane.pause(us).await?,
            Act::Create { name, fate } => {
                let options = OpenOptions::new().write(true).create(true);
                match meet(lane.ring.open(path(name), &options), fate).await {
                    Met::Ended(Ok(_)) => {
                        there.insert(name);
                    }
                    Met::Ended(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {}
                    Met::Ended(Err(error)) => {
                        return Err(lane.wrong(format_args!("an open: {error}")));
                    }
                    Met::Cancelled | Met::Unborn => {}
                    // It may be on its way still, for all that the cancellation can do: until it must have ended, and
                    // once more, to know.
                    Met::Dropped => {
                        lane.pause(LONG).await?;
                        let opened = lane.ring.open(path(name), &options).await;
                        opened.map_err(|error| lane.wrong(format_args!("an open: {error}")))?;
                        there.insert(name);
                    }
                }
            }
            Act::Rename { from, to } => {
                let done = lane.ring.rename(path(from), path(to), Default::default()).await;
                expect(&lane, "a rename", done, there.contains(&from))?;
                if there.remove(&from) {
                    there.insert(to);
                }
            }
            Act::Remove { name } => {
                let done = lane.ring.unlink(path(name)).await;
                expect(&lane, "an unlink", done, there.remove(&name))?;
            }
            _ => {}
        }
    }
    let names = lane.world.list(&dir).map_err(|error| lane.wrong(error))?;
    let expected: Vec<OsString> = there.iter().map(|name| name.to_string().into()).collect();
    if names == expected {
        Ok(())
    } else {
        Err(lane.wrong(format_args!("{names:?} are there, and {expected:?} should be")))
    }
}

fn expect<M: Mode>(lane: &Lane<M>, what: &str, done: io::Result<()>, works: bool) -> Verdict {
    match done {
        Ok(()) if works => Ok(()),
        Err(error) if !works && error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Err(lane.wrong(format_args!("{what}: {other:?}"))),
    }
}
