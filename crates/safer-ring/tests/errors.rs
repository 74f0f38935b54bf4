//! What errors and types show to a user.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::net::poll_once;
use common::{OnPollster, of_the_kernel, with_ring};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use safer_ring::fs::File;
use safer_ring::net::UnixStream;
use safer_ring::{OpError, Ring, SetupError, Shared, TransferError, WithoutBuffer as _, op};

#[test]
fn a_failed_unwrap_names_the_likely_cause() {
    with_ring::<OnPollster>(8, async |ring| {
        let directory = File::open(&ring, "/").await.unwrap();
        let failed = directory.read_at(vec![0; 8], 0).await.unwrap_err();
        let (shown, said) = (format!("{failed:?}"), failed.to_string());
        let (_, likely) = said.split_once("likely: ").expect("a directory is a known cause");
        assert!(shown.contains(likely), "{shown}");
        assert!(shown.contains("EISDIR") || shown.contains("code: 21"), "{shown}");
        // The number stays.
        assert_eq!(std::io::Error::from(failed).raw_os_error(), Some(libc::EISDIR));
    });
}

#[test]
fn a_failed_main_shows_the_advice_of_a_ring_that_cannot_be_made() {
    let error = Ring::new(0).unwrap_err();
    assert_eq!(format!("{error:?}"), format!("Entries({error})"));
    let report = safer_ring::detect().unwrap();
    assert_eq!(format!("{report:?}"), format!("Report({report})"));
    if let Err(error) = of_the_kernel().build() {
        assert!(matches!(error, SetupError::NoBackend { .. }));
        assert_eq!(format!("{error:?}"), format!("NoBackend({error})"));
        let io = std::io::Error::from(error.clone());
        assert!(format!("{io:?}").contains(&error.to_string()));
    }
}

#[derive(Debug)]
struct Own(std::io::ErrorKind);

impl From<std::io::Error> for Own {
    fn from(error: std::io::Error) -> Self {
        Self(error.kind())
    }
}

#[test]
fn errors_go_into_a_type_of_ones_own() {
    fn both(
        one: Result<usize, OpError<Vec<u8>>>,
        all: Result<Vec<u8>, TransferError<Vec<u8>>>,
    ) -> Result<usize, Own> {
        Ok(one.without_buffer()? + all.without_buffer()?.len())
    }
    let kind = std::io::ErrorKind::TimedOut;
    assert_eq!(both(Ok(1), Ok(vec![0; 2])).unwrap(), 3);
    assert_eq!(both(Err(OpError::new(kind, Vec::new())), Ok(Vec::new())).unwrap_err().0, kind);
    let failed = TransferError::new(kind, Vec::new(), 0);
    assert_eq!(both(Ok(1), Err(failed)).unwrap_err().0, kind);
}

#[test]
fn a_body_of_reads_is_boxed() {
    with_ring::<OnPollster>(8, async |ring| {
        let file = File::open(&ring, "/proc/self/exe").await.unwrap();
        // `boxed` wants a body that is `Send` and `Sync`.
        let chunks = stream::unfold((file, 0), |(file, at)| async move {
            let read = file.read_at(vec![0; 4], at).await;
            let frame = read.map(|(_, bytes)| hyper::body::Frame::data(bytes::Bytes::from(bytes)));
            (at < 8).then_some((frame.map_err(std::io::Error::from), (file, at + 4)))
        });
        let body = StreamBody::new(chunks).boxed();
        let all = body.collect().await.unwrap().to_bytes();
        assert_eq!((all.len(), &all[..4]), (8, &b"\x7fELF"[..]));
    });
}

#[test]
fn operations_have_names() {
    fn is_sync<T: Send + Sync>(_: &T) {}
    struct Held {
        receive: safer_ring::Operation<Shared, op::Read<Vec<u8>>>,
        send: safer_ring::Operation<Shared, op::Write<&'static str>>,
    }
    with_ring::<OnPollster>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let held = Held { receive: a.read(Vec::with_capacity(8)), send: b.write("named") };
        is_sync(&held);
        assert_eq!(held.send.await.unwrap().0, 5);
        assert_eq!(held.receive.await.unwrap().1, b"named");
    });
}

#[test]
fn ages_count_from_when_an_operation_begins_to_wait() {
    with_ring::<OnPollster>(8, async |ring| {
        let (a, b) = UnixStream::pair(&ring).unwrap();
        let told = |name: &str, since: Instant| {
            let all = ring.operations();
            let [one] = all.as_slice() else { panic!("{name}: {all:?}") };
            // A coarse clock ticks each 10 ms at most.
            let most = since.elapsed() + Duration::from_millis(20);
            assert!(one.age <= most, "{name}: {all:?}, not older than {most:?}");
        };
        // So long the ring looks at no clock.
        let pause = || std::thread::sleep(Duration::from_millis(200));
        pause();
        let since = Instant::now();
        let mut send = a.write_all(vec![1; 16 << 20]);
        assert!(poll_once(&mut send).is_pending());
        told("send", since);
        assert!(send.cancel().await.is_err());
        pause();
        let since = Instant::now();
        let mut receive = a.read(vec![0; 8]);
        assert!(poll_once(&mut receive).is_pending());
        told("receive", since);
        drop((receive, b));
    });
}
