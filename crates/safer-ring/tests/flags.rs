//! Flags of receives and sends with which the kernel would do something else with the memory.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::ErrorKind;

use common::net::{tcp_pair, unix_pair};
use common::{Exec, everywhere, with_ring};
use safer_ring::{BufferPool, Fd, Mode, OwnedBuffer, RingOf};

everywhere!(
    a_flag_with_which_tcp_counts_bytes_that_it_does_not_write_is_refused,
    a_flag_with_which_the_kernel_keeps_the_buffer_is_refused,
    the_flags_that_are_told_of_are_taken,
    room_for_control_data_beyond_all_memory_is_refused,
);

const MSG_DEVMEM: u32 = 0x200_0000;

fn tcp<M: Mode>() -> (Fd<M>, Fd<M>) {
    let (near, far) = tcp_pair();
    (Fd::new(near), Fd::new(far))
}

/// What a receive with these flags says, with the buffer that it was given.
async fn refusal<M: Mode>(ring: &RingOf<M>, fd: &Fd<M>, flags: u32) {
    let error = ring.recv_with(fd, b"kept".to_vec(), flags).await.unwrap_err();
    assert_eq!((error.kind(), &error.buffer[..]), (ErrorKind::InvalidInput, &b"kept"[..]));
    assert!(error.to_string().contains(&format!("{flags:#x}")), "{error}");
}

fn a_flag_with_which_tcp_counts_bytes_that_it_does_not_write_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = tcp();
        ring.send(&far, vec![7; 1000]).await.unwrap();
        // A buffer that somebody else had, and one that nobody has written to.
        let pool = BufferPool::new(1, 1000);
        let mut used = pool.take().unwrap();
        assert_eq!(used.extend_from_slice(b"secret of somebody else"), 23);
        drop(used);
        let flags = libc::MSG_TRUNC.cast_unsigned();
        let error = ring.recv_with(&near, pool.take().unwrap(), flags).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (ErrorKind::InvalidInput, 0));
        let fresh = OwnedBuffer::with_capacity(1000);
        let error = ring.recv_with(&near, fresh, flags).await.unwrap_err();
        assert_eq!((error.kind(), error.buffer.len()), (ErrorKind::InvalidInput, 0));
        refusal(&ring, &near, flags).await;
        refusal(&ring, &near, MSG_DEVMEM).await;
        // Nothing was taken.
        let flags = libc::MSG_WAITALL.cast_unsigned();
        assert_eq!(ring.recv_with(&near, vec![0; 1000], flags).await.unwrap().1, [7; 1000]);
    });
}

fn a_flag_with_which_the_kernel_keeps_the_buffer_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = tcp();
        let flags = libc::MSG_ZEROCOPY.cast_unsigned();
        let error = ring.send_with(&near, b"kept".to_vec(), flags).await.unwrap_err();
        assert_eq!((error.kind(), &error.buffer[..]), (ErrorKind::InvalidInput, &b"kept"[..]));
        assert!(error.to_string().contains("0x4000000"), "{error}");
        ring.send(&near, b"after".to_vec()).await.unwrap();
        assert_eq!(
            ring.recv(&far, vec![0; 9]).await.unwrap().1,
            b"after",
            "nothing was sent before"
        );
    });
}

fn the_flags_that_are_told_of_are_taken<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = tcp();
        let sends = [
            libc::MSG_MORE,
            libc::MSG_EOR,
            libc::MSG_DONTWAIT,
            libc::MSG_WAITALL,
            libc::MSG_CONFIRM,
            libc::MSG_DONTROUTE,
        ];
        for flags in sends.map(i32::cast_unsigned) {
            assert_eq!(ring.send_with(&near, vec![1; 3], flags).await.unwrap().0, 3, "{flags:#x}");
        }
        let (near, far) = (far, near);
        let receives = [libc::MSG_PEEK, libc::MSG_WAITALL, libc::MSG_WAITALL, libc::MSG_WAITALL];
        for flags in receives.map(i32::cast_unsigned) {
            let (count, buffer) = ring.recv_with(&near, vec![0; 3], flags).await.unwrap();
            assert_eq!((count, buffer), (3, vec![1; 3]), "{flags:#x}");
        }
        ring.send_with(&far, vec![2], libc::MSG_OOB.cast_unsigned()).await.unwrap();
        let urgent = async || ring.recv_with(&near, vec![0], libc::MSG_OOB.cast_unsigned()).await;
        // `EINVAL` and `EAGAIN` until it is there.
        while urgent().await.map_or(true, |(_, byte)| byte != [2]) {}
        let flags = libc::MSG_ERRQUEUE.cast_unsigned();
        let error = ring.recv_with(&near, vec![0; 3], flags).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "there is no error in the queue");
    });
}

fn room_for_control_data_beyond_all_memory_is_refused<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (near, far) = unix_pair();
        for room in [usize::MAX, isize::MAX.cast_unsigned(), (1 << 20) + 1] {
            let error = ring.recv_msg(&near, b"kept".to_vec(), room).await.unwrap_err();
            assert_eq!((error.kind(), &error.buffer[..]), (ErrorKind::InvalidInput, &b"kept"[..]));
        }
        ring.send(&far, b"sent".to_vec()).await.unwrap();
        assert_eq!(ring.recv_msg(&near, vec![0; 9], 1 << 20).await.unwrap().buffer, b"sent");
    });
}
