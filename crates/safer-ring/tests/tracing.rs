//! Events of the `tracing` crate: told outside of any lock, so a subscriber may use the ring.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use common::net::{poll_once, until};
use safer_ring::{Fd, Ring};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the text of each event, and uses a ring while it does so.
struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
    ring: Mutex<Option<Ring>>,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "safer_ring"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.heard.lock().unwrap().push(text.0);
        let ring = self.ring.lock().unwrap().clone();
        if let Some(ring) = ring {
            // Would wait for ever, were the lock of a kernel ring held.
            assert!(ring.snapshot().rings > 0);
            pollster::block_on(ring.nop()).unwrap();
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn events_are_told_outside_of_locks() {
    common::within_deadline(|| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ring = Ring::new(8).unwrap();
        let listener = Listener { heard: Arc::clone(&heard), ring: Mutex::new(Some(ring.clone())) };
        tracing::subscriber::set_global_default(listener).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(near);
        let mut receive = ring.recv(&near, vec![0; 10]);
        assert!(poll_once(&mut receive).is_pending());
        drop(receive);
        far.write_all(b"kept").unwrap();
        pollster::block_on(async {
            until(&ring, "it is told", || {
                let heard = heard.lock().unwrap();
                heard.iter().any(|text| text.contains("bytes=4") && text.contains("kept"))
            })
            .await;
            assert_eq!(ring.recv(&near, vec![0; 10]).await.unwrap().1, b"kept");
        });
        let _other = Ring::new(8).unwrap();
        let heard = heard.lock().unwrap();
        assert!(heard.iter().any(|text| text.contains("kernel ring opened")), "{heard:?}");
        let chosen = heard.iter().filter(|text| text.contains("backend chosen"));
        assert_eq!(chosen.count(), 1, "one for each ring that is made: {heard:?}");
    });
}
