//! A file and chains: a write, a sync behind it, a read behind that, in one submission.

use safer_ring::{Fd, Mode, OpenOptions};

use crate::fate::{LONG, poll_some};
use crate::run::{Lane, Verdict, bytes};
use crate::script::{Act, Fate};

/// The file, and what must be in it; nothing where nobody knows how far a dropped chain has come.
struct Book<M: Mode> {
    lane: Lane<M>,
    fd: Fd<M>,
    bytes: Vec<Option<u8>>,
    writes: usize,
}

pub(crate) async fn run<M: Mode>(lane: Lane<M>, acts: Vec<Act>) -> Verdict {
    let options = OpenOptions::new().read(true).write(true).create(true);
    let fd = lane.ring.open(format!("/tmp/chains{}", lane.number), &options).await;
    let fd = fd.map_err(|error| lane.wrong(format_args!("open: {error}")))?;
    let mut book = Book { lane, fd, bytes: Vec::new(), writes: 0 };
    for act in acts {
        match act {
            Act::Pause { us } | Act::Rest { us } => book.lane.pause(us).await?,
            Act::Write { at, len, fate } => {
                book.chain(at % (book.bytes.len() + 1), len, fate).await?
            }
            _ => {}
        }
    }
    book.check().await
}

impl<M: Mode> Book<M> {
    fn put(&mut self, at: usize, data: &[u8], known: bool) {
        self.bytes.resize(self.bytes.len().max(at + data.len()), Some(0));
        for (place, byte) in self.bytes.iter_mut().skip(at).zip(data) {
            *place = known.then_some(*byte);
        }
    }

    /// Each member has succeeded in full, or those behind it have not run; and every buffer is the one that was lent.
    async fn chain(&mut self, at: usize, len: usize, fate: Fate) -> Verdict {
        self.writes += 1;
        let data = bytes(self.lane.number, at + self.writes * 7919, len);
        let offset = u64::try_from(at).unwrap_or(u64::MAX);
        let ring = &self.lane.ring;
        let write = ring.write_at_owned(&self.fd, data.clone(), offset);
        let read = ring.read_at_owned(&self.fd, vec![9; len], offset);
        let mut chain = write.then(ring.fsync(&self.fd)).then(read);
        let ended = match fate {
            Fate::Await | Fate::Limit(_) => Some(chain.await),
            Fate::Drop(polls) | Fate::Cancel(polls) => poll_some(&mut chain, polls).await,
        };
        let Some(((wrote, synced), read)) = ended else {
            // Its write may be on its way, and the others behind it.
            self.put(at, &data, false);
            return self.lane.pause(LONG).await;
        };
        let wrong = |what: &str| Err(self.lane.wrong(format_args!("a chain at {at}: {what}")));
        let written = match &wrote {
            Ok((count, back)) if *back == data && (1..=len).contains(count) => *count,
            Err(failed) if failed.buffer == data => 0,
            _ => return wrong("not the bytes that were lent"),
        };
        let whole = match &read {
            Ok((count, back)) => {
                if synced.is_err() || written < len {
                    return wrong("a read behind what has failed");
                }
                if *count == 0 || back.get(..*count) != data.get(..*count) {
                    return wrong("a read before its write");
                }
                true
            }
            Err(failed) if failed.buffer != vec![9; len] => {
                return wrong("a read that has not run");
            }
            Err(_) => false,
        };
        if written < len && synced.is_ok() {
            return wrong("a sync behind a short write");
        }
        self.lane.world.note(if whole { "a whole chain" } else { "a broken chain" });
        // Of a write that has failed some may be there.
        let put = if wrote.is_ok() { data.get(..written).unwrap_or_default() } else { &data[..] };
        self.put(at, put, wrote.is_ok());
        Ok(())
    }

    async fn check(&self) -> Verdict {
        let mut at = 0;
        while at < self.bytes.len() {
            let offset = u64::try_from(at).unwrap_or(u64::MAX);
            let read = self.lane.ring.read_at_owned(&self.fd, vec![0; 4096], offset).await;
            let (count, data) = read.map_err(|failed| self.lane.wrong(failed.error))?;
            let found = data.iter().take(count);
            if let Some(place) = found
                .zip(self.bytes.iter().skip(at))
                .position(|(found, known)| known.is_some_and(|known| known != *found))
            {
                return Err(self.lane.wrong(format_args!("byte {} is another one", at + place)));
            }
            if count == 0 {
                let lost = self.bytes.iter().skip(at).any(Option::is_some);
                return if lost { Err(self.lane.wrong("the file is too short")) } else { Ok(()) };
            }
            at += count;
        }
        Ok(())
    }
}
