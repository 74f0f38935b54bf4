//! Rings whose completions have 32 bytes.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::net::{ended, unix_pair};
use common::{Exec, everywhere, with_built, with_ring};
use safer_ring::{
    BackendChoice, BackendKind, Builder, Mode, OwnedBuffer, RawOutput, Ring, RingOf, SetupError,
    Shared, sys,
};

everywhere!(
    a_raw_entry_gets_the_second_half,
    other_operations_are_the_same,
    a_dropped_raw_entry_leaves_nothing,
    entries_of_both_sizes_run_in_a_ring_of_large_ones,
    a_large_entry_is_refused_by_a_ring_of_small_ones,
);

fn wide() -> Builder<Shared> {
    let kernel = BackendChoice::Only(BackendKind::IoUring);
    Ring::builder().backend(kernel).entries(8).wide_completions(true)
}

/// Whether the kernel makes such rings; says so if not.
fn can_be_had() -> bool {
    match wide().build() {
        Ok(ring) => {
            assert!(ring.features().has_setup_flag(sys::setup::CQE32));
            true
        }
        Err(error) => {
            assert!(
                matches!(error, SetupError::Mode { .. } | SetupError::NoBackend { .. }),
                "{error}"
            );
            eprintln!("skipped: no ring with completions of 32 bytes: {error}");
            false
        }
    }
}

async fn filled<M: Mode>(ring: &RingOf<M>, words: [u64; 2]) -> RawOutput<&'static str> {
    let entry = sys::Sqe {
        opcode: sys::opcode::NOP,
        op_flags: sys::nop::CQE32,
        off: words[0],
        addr: words[1],
        ..sys::Sqe::default()
    };
    // SAFETY: a no-op, without memory or descriptor: the two words come back as they are.
    unsafe { ring.raw(entry, None, "kept") }.await
}

/// Whether a no-op can fill the second half, since 6.18.
async fn has_wide_nops<M: Mode>(ring: &RingOf<M>) -> bool {
    match filled(ring, [0; 2]).await.result {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            eprintln!("skipped: this kernel has no no-ops that fill a second half");
            false
        }
    }
}

fn a_raw_entry_gets_the_second_half<E: Exec>() {
    if !can_be_had() {
        return;
    }
    with_built::<E>(wide(), async |ring| {
        if !has_wide_nops(&ring).await {
            return;
        }
        for round in 1..100 {
            let output = filled(&ring, [round, u64::MAX - round]).await;
            assert_eq!(output.result.unwrap(), 0);
            assert_eq!(output.second_half, [round, u64::MAX - round]);
            assert_eq!((output.keep, output.earlier.len()), ("kept", 0));
        }
        // Many at a time, whose ends are taken in together.
        let entries = (1..100).map(|word| filled(&ring, [word, !word]));
        let outputs = futures_util::future::join_all(entries).await;
        for (output, word) in outputs.iter().zip(1..) {
            assert_eq!(output.second_half, [word, !word]);
        }
    });
    let narrow = Ring::builder().backend(BackendChoice::Only(BackendKind::IoUring)).entries(8);
    with_built::<E>(narrow, async |ring| {
        let output = filled(&ring, [1, 2]).await;
        assert_eq!(
            output.result.unwrap_err().raw_os_error(),
            Some(libc::EINVAL),
            "too large for the ring"
        );
        assert_eq!(output.second_half, [0; 2]);
    });
}

fn other_operations_are_the_same<E: Exec>() {
    if !can_be_had() {
        return;
    }
    with_built::<E>(wide(), async |ring| {
        let (reader, writer) = unix_pair();
        for _ in 0..20 {
            let receive = ring.recv(&reader, OwnedBuffer::new(16));
            let send = async {
                ring.timeout(Duration::from_millis(1)).await.unwrap();
                ring.send(&writer, b"bytes".to_vec()).await.unwrap()
            };
            let (received, (sent, _)) = futures_util::future::join(receive, send).await;
            let (count, buffer) = received.unwrap();
            assert_eq!((count, sent, &buffer[..]), (5, 5, &b"bytes"[..]));
        }
        for _ in 0..200 {
            ring.nop().await.unwrap();
        }
        assert_eq!(ring.snapshot().stale_completions, 0);
    });
}

fn a_dropped_raw_entry_leaves_nothing<E: Exec>() {
    if !can_be_had() {
        return;
    }
    with_built::<E>(wide(), async |ring| {
        if !has_wide_nops(&ring).await {
            return;
        }
        for round in 1..50 {
            let mut dropped = Box::pin(filled(&ring, [round, round]));
            let _ = futures_util::poll!(&mut dropped);
            drop(dropped);
            assert_eq!(filled(&ring, [!round, 0]).await.second_half, [!round, 0]);
        }
        ended(&ring).await;
    });
}

fn entries_of_both_sizes_run_in_a_ring_of_large_ones<E: Exec>() {
    if !can_be_had() {
        return;
    }
    for completions in [false, true] {
        with_built::<E>(wide().wide_completions(completions).wide_entries(true), async |ring| {
            assert!(ring.features().has_setup_flag(sys::setup::SQE128));
            assert!(ring.features().to_string().contains("SQE128"), "{}", ring.features());
            let (reader, writer) = unix_pair();
            // More than the ring has places, so that each place holds each kind.
            for round in 0..50_u8 {
                let sqe = sys::Sqe { opcode: sys::opcode::NOP, ..sys::Sqe::default() };
                let entry = sys::Sqe128 { sqe, cmd: [0xff; 64] };
                // SAFETY: a no-op, without memory or descriptor; it does not look at its second half.
                let large = unsafe { ring.raw_wide(entry, None, round) };
                // SAFETY: the same.
                let small = unsafe { ring.raw(sqe, None, round) };
                let send = ring.send(&writer, vec![round; 3]);
                let (large, small, sent) = futures_util::future::join3(large, small, send).await;
                assert_eq!((large.result.unwrap(), large.keep), (0, round));
                assert_eq!((small.result.unwrap(), small.keep), (0, round));
                assert_eq!(sent.unwrap().0, 3);
                assert_eq!(ring.recv(&reader, vec![0; 9]).await.unwrap().1, [round; 3]);
            }
            ended(&ring).await;
        });
    }
}

fn a_large_entry_is_refused_by_a_ring_of_small_ones<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        // SAFETY: a no-op, without memory or descriptor.
        let output = unsafe { ring.raw_wide(sys::Sqe128::default(), None, "kept") }.await;
        assert_eq!(output.result.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(output.keep, "kept");
    });
}

#[test]
fn the_fallback_has_no_such_completions() {
    let only = BackendChoice::Only(BackendKind::Fallback);
    let builder = || Ring::builder().backend(only);
    for builder in [builder().wide_completions(true), builder().wide_entries(true)] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, SetupError::Conflict { .. }), "{error}");
    }
}
