//! A lane of connections: each that a client makes is accepted, once.

use safer_ring::sim::JoinHandle;
use safer_ring::{Fd, Mode, SocketKind};

use crate::fate::{Met, meet};
use crate::run::{Lane, Verdict};
use crate::script::{Act, Fate, Kind};
use crate::streams::place;

/// Starts the server and its clients.
pub(crate) async fn start<M: Mode>(
    lane: Lane<M>,
    acts: Vec<Act>,
) -> Result<Vec<JoinHandle<Verdict>>, String> {
    let listener = listen(&lane).await;
    let server = listener.map_err(|error| lane.wrong(format_args!("set-up: {error}")))?;
    let world = lane.world.clone();
    let clients = connect(lane.clone(), acts.clone());
    Ok(vec![world.spawn(clients), world.spawn(accept(lane, acts, server))])
}

async fn listen<M: Mode>(lane: &Lane<M>) -> std::io::Result<Fd<M>> {
    let at = place(lane, Kind::Accepts, "server")?;
    let server = lane.ring.socket(&at, SocketKind::Stream).await?;
    lane.ring.bind(&server, at).await?;
    lane.ring.listen(&server, 3).await?;
    Ok(server)
}

/// Each client says which it is, and goes.
async fn connect<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let mut number = 0;
    for act in acts {
        match act {
            Act::Pause { us } => lane.pause(us).await?,
            Act::Connect => {
                number += 1;
                let said = introduce(&lane, number).await;
                said.map_err(|error| lane.wrong(format_args!("client {number}: {error}")))?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn introduce<M: Mode>(lane: &Lane<M>, number: u8) -> std::io::Result<()> {
    let at = place(lane, Kind::Accepts, "server")?;
    let fd = lane.ring.socket(&at, SocketKind::Stream).await?;
    lane.ring.connect(&fd, at).await?;
    lane.ring.send(&fd, vec![number]).await?;
    Ok(())
}

async fn accept<M: Mode>(lane: Lane<M>, acts: Vec<Act>, server: Fd<M>) -> Verdict {
    let clients = acts.iter().filter(|act| matches!(act, Act::Connect)).count();
    let mut seen: Vec<u8> = Vec::new();
    for act in acts {
        match act {
            Act::Rest { us } => lane.pause(us).await?,
            // Beyond the last client there is nothing to await.
            Act::Accept { fate } if seen.len() < clients => {
                accept_one(&lane, &server, fate, &mut seen).await?;
            }
            _ => {}
        }
    }
    while seen.len() < clients {
        accept_one(&lane, &server, Fate::Await, &mut seen).await?;
    }
    let expected: Vec<u8> = (1..=u8::try_from(clients).unwrap_or(u8::MAX)).collect();
    if seen == expected {
        Ok(())
    } else {
        Err(lane.wrong(format_args!("clients {seen:?} came, and {expected:?} should have")))
    }
}

async fn accept_one<M: Mode>(
    lane: &Lane<M>,
    server: &Fd<M>,
    fate: Fate,
    seen: &mut Vec<u8>,
) -> Verdict {
    let fd = match meet(lane.ring.accept(server), fate).await {
        Met::Ended(Ok((fd, _))) => fd,
        Met::Ended(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => return Ok(()),
        Met::Ended(Err(error)) => return Err(lane.wrong(format_args!("an accept: {error}"))),
        Met::Cancelled | Met::Unborn | Met::Dropped => return Ok(()),
    };
    match lane.ring.recv(&fd, vec![0; 4]).await {
        Ok((1, name)) => {
            seen.extend(name.first());
            Ok(())
        }
        Ok((count, _)) => Err(lane.wrong(format_args!("a client said {count} bytes"))),
        Err(failed) => Err(lane.wrong(format_args!("a client's name: {}", failed.error))),
    }
}
