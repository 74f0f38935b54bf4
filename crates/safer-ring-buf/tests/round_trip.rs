//! Every accepted type goes out and comes back, with the length its table row promises.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use safer_ring_buf::{
    Acquire, AllocError, BufferPool, IoBuf, IoBufMut, Lease, MAX_BUFFERS, OwnedBuffer,
    PooledBuffer, Slice, Vectored, VectoredRest,
};
use support::{failed_read, fill, orphan, read, sent, shake, write};

/// Properties of a buffer that has a length: reads, failures and writes in turn.
fn growable<B: IoBufMut>(buffer: B, capacity: usize) {
    assert_eq!(buffer.capacity_mut(), capacity);
    let data: Vec<u8> = (1..=200).collect();
    let address = buffer.as_init().as_ptr();

    let (n, buffer) = read(buffer, &data[..5]);
    assert_eq!((n, buffer.as_init()), (5, &data[..5]), "the length is what was read");
    assert_eq!(buffer.as_init().as_ptr(), address, "the memory is the same");
    let (out, buffer) = write(buffer);
    assert_eq!(out, &data[..5], "what is written is what was read");
    let buffer = failed_read(buffer, &[9; 3]);
    assert_eq!(buffer.as_init(), [9, 9, 9, 4, 5], "a failure does not change the length");
    let (n, buffer) = read(buffer, &data);
    assert_eq!((n, buffer.as_init()), (capacity, &data[..capacity]), "up to the capacity");
    let (n, buffer) = read(buffer, &[]);
    assert_eq!((n, buffer.len_init()), (0, 0), "the end of a file leaves nothing");
    assert_eq!(buffer.capacity_mut(), capacity, "the capacity stays");

    // A kernel that reports more than it was given is not believed.
    let (lease, rest) = buffer.lend();
    fill(&lease, &data);
    // SAFETY: lease and rest come from one `lend`; all bytes of the capacity were just written.
    let mut buffer = unsafe { B::reclaim_filled(lease, rest, usize::MAX) };
    assert_eq!(buffer.len_init(), capacity);
    buffer.as_init_mut()[0] = 77;
    assert_eq!(buffer.as_init()[0], 77);
    orphan(buffer);
}

/// Properties of a buffer whose length is fixed.
fn fixed<B: IoBufMut>(buffer: B, capacity: usize) {
    assert_eq!((buffer.capacity_mut(), buffer.len_init()), (capacity, capacity));
    let before = buffer.as_init().to_vec();
    let (n, buffer) = read(buffer, &[1, 2, 3]);
    assert_eq!((n, buffer.len_init()), (3, capacity), "the length is unchanged");
    assert_eq!(&buffer.as_init()[..3], [1, 2, 3]);
    assert_eq!(&buffer.as_init()[3..], &before[3..]);
    let (out, mut buffer) = write(buffer);
    assert_eq!(out, buffer.as_init());
    buffer.as_init_mut()[0] = 77;
    let buffer = failed_read(buffer, &[4]);
    assert_eq!(buffer.as_init()[0], 4);
    orphan(buffer);
}

/// Properties of a buffer that the kernel only reads.
fn constant<B: IoBuf>(make: impl Fn() -> B, content: &[u8]) {
    let (lease, rest) = make().lend();
    assert_eq!(lease.capacity(), 0, "nothing may be written");
    assert_eq!(lease.init_len(), content.len());
    // SAFETY: lease and rest come from one `lend`.
    let buffer = unsafe { B::reclaim(lease, rest) };
    let (out, buffer) = write(buffer);
    assert_eq!(out, content);
    assert_eq!(buffer.as_init(), content);
    assert_eq!((buffer.len_init(), buffer.len_max()), (content.len(), content.len()));
    let (out, slice) = write(buffer.slice(1..));
    assert_eq!(out, &content[1..]);
    orphan(slice.into_inner());
}

#[test]
fn growable_buffers() {
    growable(OwnedBuffer::with_capacity(100), 100);
    growable(OwnedBuffer::new(100), 100);
    growable(OwnedBuffer::aligned(100, 4096).unwrap(), 100);
    growable(BufferPool::new(1, 100).take().unwrap(), 100);
    let vec = Vec::with_capacity(100);
    let capacity = vec.capacity();
    growable(vec, capacity);
}

#[test]
fn fixed_buffers() {
    fixed(vec![7; 100].into_boxed_slice(), 100);
    fixed(Box::new([7_u8; 100]), 100);
}

#[test]
fn constant_buffers() {
    constant(|| String::from("hello"), b"hello");
    constant(|| "hello", b"hello");
    constant(|| b"hello", b"hello");
    constant(|| b"hello".as_slice(), b"hello");
    constant(|| Arc::<[u8]>::from(b"hello".as_slice()), b"hello");
    constant(|| Arc::new(b"hello".to_vec()), b"hello");
}

#[test]
fn shared_buffers_are_released() {
    let slice: Arc<[u8]> = Arc::from([1, 2, 3]);
    let (lease, ()) = Arc::clone(&slice).lend();
    assert_eq!(Arc::strong_count(&slice), 2);
    assert_eq!(lease.ptr().cast_const(), slice.as_ptr());
    drop(lease);
    assert_eq!(Arc::strong_count(&slice), 1);
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_buffers() {
    use bytes::{Bytes, BytesMut};

    growable(BytesMut::with_capacity(100), 100);
    // A part of a larger allocation: its neighbour must not change.
    let mut whole = BytesMut::with_capacity(128);
    whole.resize(128, 3);
    let tail = whole.split_off(100);
    growable(whole, 100);
    assert_eq!(&tail[..], [3; 28]);

    constant(|| Bytes::from_static(b"hello"), b"hello");
    constant(|| Bytes::from(b"hello".to_vec()), b"hello");
    constant(|| Bytes::from(b"_hello_".to_vec()).slice(1..6), b"hello");
    let shared = Bytes::from(vec![1; 64]);
    let (lease, ()) = shared.clone().lend();
    assert!(!shared.is_unique(), "the lease holds a reference");
    drop(lease);
    assert!(shared.is_unique(), "and gives it up");
}

#[test]
fn without_memory() {
    let lease = shake(Lease::empty());
    assert!(lease.ptr().is_null());
    assert_eq!((lease.init_len(), lease.capacity()), (0, 0));
    drop(lease);
    for buffer in [OwnedBuffer::default(), OwnedBuffer::new(0), OwnedBuffer::from(Vec::new())] {
        let (n, buffer) = read(buffer, &[1]);
        assert_eq!((n, buffer.len(), buffer.capacity()), (0, 0, 0));
    }
    let (n, vec) = read(Vec::new(), &[1]);
    assert_eq!((n, vec), (0, vec![]));
}

/// Counts how often it is dropped.
struct Counted {
    words: [u64; 20],
    drops: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn boxed_state_keeps_its_address_and_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let state = Box::new(Counted { words: [5; 20], drops: Arc::clone(&drops) });
    let address = std::ptr::from_ref(&*state);
    let lease = shake(Lease::from_box(state));
    assert_eq!(lease.ptr().cast_const().cast::<Counted>(), address);
    assert_eq!((lease.init_len(), lease.capacity()), (size_of::<Counted>(), size_of::<Counted>()));
    // SAFETY: the lease was made from a `Box<Counted>`.
    let state = unsafe { lease.into_box::<Counted>() };
    assert_eq!((state.words, drops.load(Ordering::SeqCst)), ([5; 20], 0));
    drop(shake(Lease::from_box(state)));
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn vectored_write_lists_every_buffer() {
    let buffers = vec![b"one".to_vec(), Vec::new(), b"three".to_vec()];
    assert_eq!(Vectored::total_init(&buffers), Some(8));
    let expected: Vec<_> = buffers.iter().map(|buffer| (buffer.as_ptr(), buffer.len())).collect();
    let (lease, count, rest) = Vectored::lend_for_write(buffers).unwrap();
    let lease = shake(lease);
    assert_eq!(count, 3);
    let listed: Vec<_> =
        iovecs(&lease, count).iter().map(|iovec| (iovec.base.cast_const(), iovec.len)).collect();
    assert_eq!(listed, expected);
    // SAFETY: lease and rest come from one call.
    let buffers = unsafe { Vectored::reclaim(lease, rest) };
    assert_eq!(buffers, [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
}

fn iovecs(lease: &Lease, count: u32) -> &[safer_ring_buf::IoVec] {
    assert_eq!(lease.init_len(), count as usize * size_of::<safer_ring_buf::IoVec>());
    // SAFETY: the lease of a list is an array of `count` entries that lives as long as it.
    unsafe { std::slice::from_raw_parts(lease.ptr().cast(), count as usize) }
}

/// Reads `data` into the list, as `readv(2)` does, and makes the list whole.
fn readv<B: IoBufMut>(buffers: Vec<B>, data: &[u8]) -> Vec<B> {
    let (lease, count, rest): (_, _, VectoredRest<B>) =
        Vectored::lend_for_read(buffers).ok().unwrap();
    let lease = shake(lease);
    let mut left = data;
    for iovec in iovecs(&lease, count) {
        let (here, later) = left.split_at(left.len().min(iovec.len));
        // SAFETY: the entry is the memory of a lent buffer, valid for writes of `len` bytes.
        unsafe { iovec.base.copy_from_nonoverlapping(here.as_ptr(), here.len()) };
        left = later;
    }
    let filled = data.len() - left.len();
    // SAFETY: lease and rest come from one call; `filled` bytes were written in order.
    unsafe { Vectored::reclaim_filled(lease, rest, filled) }
}

#[test]
fn vectored_read_fills_in_order() {
    let data: Vec<u8> = (0..=255).collect();
    for n in 0..=12 {
        let buffers: Vec<_> = [3, 0, 4, 5].map(OwnedBuffer::with_capacity).into();
        assert_eq!(Vectored::total_capacity(&buffers), Some(12));
        let buffers = readv(buffers, &data[..n]);
        let lengths: Vec<_> = buffers.iter().map(|buffer| buffer.len()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), n);
        assert_eq!(buffers.iter().flat_map(|b| b.to_vec()).collect::<Vec<_>>(), &data[..n]);
        let first = n.min(3);
        let third = (n - first).min(4);
        assert_eq!(lengths, [first, 0, third, n - first - third]);
    }
}

#[test]
fn vectored_read_into_slices() {
    let buffers = vec![OwnedBuffer::new(4).slice(2..), OwnedBuffer::new(4).slice(..1)];
    let buffers: Vec<_> = readv(buffers, &[1, 2, 3]).into_iter().map(Slice::into_inner).collect();
    assert_eq!(
        buffers,
        [OwnedBuffer::from([0, 0, 1, 2].as_slice()), [3, 0, 0, 0].as_slice().into()]
    );
}

#[test]
fn vectored_limits() {
    let most = vec![b"x".as_slice(); MAX_BUFFERS];
    let (lease, count, _) = Vectored::lend_for_write(most).unwrap();
    assert_eq!(count as usize, MAX_BUFFERS);
    drop(lease);
    let back = Vectored::lend_for_write(vec![b"x".as_slice(); MAX_BUFFERS + 1]).unwrap_err();
    assert_eq!(back.len(), MAX_BUFFERS + 1, "the list comes back");
    let back = Vectored::lend_for_read(vec![OwnedBuffer::new(1); MAX_BUFFERS + 1]).unwrap_err();
    assert_eq!(back.len(), MAX_BUFFERS + 1);
    let (lease, count, rest) = Vectored::<Vec<u8>>::lend_for_read(Vec::new()).unwrap();
    assert_eq!((count, lease.capacity()), (0, 0));
    // SAFETY: lease and rest come from one call.
    assert!(unsafe { Vectored::reclaim_filled(lease, rest, 9) }.is_empty());
}

#[test]
fn owned_buffer_has_the_habits_of_a_container() {
    let mut buffer = OwnedBuffer::new(8);
    assert_eq!((buffer.len(), buffer.capacity(), buffer.align()), (8, 8, 1));
    assert_eq!(buffer, [0; 8]);
    buffer.clear();
    assert!(buffer.is_empty());
    assert_eq!(buffer.extend_from_slice(b"hello"), 5);
    assert_eq!(buffer.extend_from_slice(b"world"), 3, "only what fits");
    assert_eq!(buffer, b"hellowor".as_slice());
    buffer.truncate(2);
    assert_eq!(buffer.resize(5), 5);
    assert_eq!(buffer, *b"he\0\0\0", "growth does not bring old bytes back");
    assert_eq!(buffer.resize(1), 1);
    assert_eq!(buffer.resize(usize::MAX), 8);
    buffer[7] = 9;
    let copy = buffer.clone();
    assert_eq!((&copy, copy.capacity()), (&buffer, 8));
    assert_ne!(copy.as_ptr(), buffer.as_ptr());
    assert_eq!(format!("{buffer:?}"), "OwnedBuffer { len: 8, capacity: 8, align: 1 }");
    assert_eq!(buffer.into_vec().unwrap(), b"h\0\0\0\0\0\0\x09");
    let vec = Vec::with_capacity(33);
    let capacity = vec.capacity();
    assert_eq!(OwnedBuffer::from(vec).capacity(), capacity);
}

#[test]
fn alignment() {
    for align in [1, 2, 64, 512, 4096, 1 << 21] {
        for size in [0, 1, 512, 5000] {
            let zeroed = OwnedBuffer::aligned(size, align).unwrap();
            let empty = OwnedBuffer::aligned_with_capacity(size, align).unwrap();
            assert_eq!((zeroed.as_ptr().addr() % align, empty.as_ptr().addr() % align), (0, 0));
            assert!(zeroed.iter().all(|&byte| byte == 0));
            assert_eq!((zeroed.len(), zeroed.capacity(), zeroed.align()), (size, size, align));
            assert_eq!((empty.len(), empty.capacity()), (0, size));
            assert_eq!(zeroed.clone().as_ptr().addr() % align, 0, "a copy is aligned, too");
            let (lease, ()) = empty.lend();
            assert_eq!(lease.ptr().addr() % align, 0);
        }
    }
    assert_eq!(OwnedBuffer::aligned(1, 3), Err(AllocError::Align));
    assert_eq!(OwnedBuffer::aligned(1, 0), Err(AllocError::Align));
    assert_eq!(OwnedBuffer::aligned(usize::MAX, 1), Err(AllocError::TooLarge));
    let huge = usize::MAX / 2 - 4095;
    assert_eq!(OwnedBuffer::aligned_with_capacity(huge, 4096), Err(AllocError::OutOfMemory));
    let error = std::io::Error::from(AllocError::Align);
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let aligned = OwnedBuffer::aligned(8, 8).unwrap().into_vec().unwrap_err();
    assert_eq!((aligned.len(), aligned.align()), (8, 8), "not a vector, but not lost");
}

#[test]
fn debug_output_shows_no_byte() {
    let mut buffer = BufferPool::new(1, 9).take().unwrap();
    assert_eq!(buffer.extend_from_slice(b"secret"), 6);
    let shown = [
        format!("{buffer:?}"),
        format!("{:?}", OwnedBuffer::from(b"secret".as_slice())),
        format!("{:?}", OwnedBuffer::from(b"secret".as_slice()).slice(..)),
    ];
    for text in shown {
        assert!(text.contains("len: 6"), "{text}");
        assert!(!text.contains("secret") && !text.contains("115"), "{text}");
    }
}

#[test]
fn everything_can_change_threads() {
    fn send<T: Send + 'static>() {}
    fn sync<T: Sync>() {}
    send::<Lease>();
    send::<Slice<Slice<Vec<u8>>>>();
    send::<VectoredRest<Slice<OwnedBuffer>>>();
    send::<OwnedBuffer>();
    send::<PooledBuffer>();
    send::<BufferPool>();
    send::<Acquire>();
    sync::<OwnedBuffer>();
    sync::<PooledBuffer>();
    sync::<BufferPool>();
    sync::<Slice<Vec<u8>>>();
    assert_eq!(size_of::<Lease>(), 64);
}

#[test]
fn a_lease_sends_what_its_buffer_shows() {
    let (lease, ()) = OwnedBuffer::from(b"abc".as_slice()).lend();
    assert_eq!(sent(&lease), b"abc");
    let addresses: HashSet<_> = (0..3).map(|_| OwnedBuffer::new(4).lend().0.ptr()).collect();
    assert!(!addresses.contains(&lease.ptr()), "memory of a live lease is not given out again");
}
