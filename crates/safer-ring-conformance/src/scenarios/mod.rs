//! The scenarios, by subject. Each file begins with its table.

mod drop_writes;
mod drops;
mod files;
mod life;
mod messages;
mod multishot;
mod names;
mod pipes;
mod queues;
mod raw;
mod setup;
mod sockets;
mod special;
mod streams;

use crate::scenario::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    let tables = [
        files::TABLE,
        names::TABLE,
        streams::TABLE,
        messages::TABLE,
        multishot::TABLE,
        sockets::TABLE,
        pipes::TABLE,
        special::TABLE,
        raw::TABLE,
        drops::TABLE,
        drop_writes::TABLE,
        queues::TABLE,
        life::TABLE,
        setup::TABLE,
    ];
    tables.concat()
}
