//! Slices against a model: plain ranges over plain bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod support;

use std::ops::Bound;

use proptest::prelude::*;
use safer_ring_buf::{IoBuf, IoBufMut, OwnedBuffer, Slice};
use support::{failed_read, read, write};

type Range = (Bound<usize>, Bound<usize>);

/// The whole buffer (`None`: not initialised), and the part of it the slice is.
#[derive(Clone, Debug)]
struct Model {
    memory: Vec<u8>,
    len: usize,
    begin: usize,
    end: Option<usize>,
}

impl Model {
    fn end(&self) -> usize {
        self.end.unwrap_or(self.memory.len())
    }

    fn visible(&self) -> &[u8] {
        &self.memory[self.begin..self.end().min(self.len)]
    }

    /// Numbers are added in 128 bits: nothing wraps here.
    fn slice(&self, range: Range) -> Option<Model> {
        let begin = match range.0 {
            Bound::Included(begin) => begin as u128,
            Bound::Excluded(before) => before as u128 + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.1 {
            Bound::Included(last) => Some(last as u128 + 1),
            Bound::Excluded(end) => Some(end as u128),
            Bound::Unbounded => None,
        };
        let room = (self.end() - self.begin) as u128;
        if begin > self.visible().len() as u128 || end.is_some_and(|end| end < begin || end > room)
        {
            return None;
        }
        let begin_abs = self.begin + begin as usize;
        let end_abs = end.map(|end| self.begin + end as usize).or(self.end);
        Some(Model { begin: begin_abs, end: end_abs, ..self.clone() })
    }

    fn read(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.end() - self.begin);
        self.memory[self.begin..self.begin + n].copy_from_slice(&data[..n]);
        self.len = self.len.max(self.begin + n);
        n
    }
}

fn check(slice: &impl IoBufMut, model: &Model) {
    assert_eq!(slice.as_init(), model.visible());
    assert_eq!(slice.len_init(), model.visible().len());
    assert_eq!(slice.capacity_mut(), model.end() - model.begin);
}

/// Everything one can do with a slice, then the whole buffer again.
fn exercise<B: IoBufMut>(slice: Slice<B>, mut model: Model, data: &[u8]) -> (B, Model) {
    check(&slice, &model);
    assert_eq!((slice.begin(), slice.end()), (model.begin, model.end()));
    let (out, slice) = write(slice);
    assert_eq!(out, model.visible());
    let (n, mut slice) = read(slice, data);
    assert_eq!(n, model.read(data));
    check(&slice, &model);
    assert_eq!(slice.as_init_mut(), model.visible());
    // A failed read may have changed bytes of the slice, and nothing else.
    let lost: Vec<u8> = data.iter().map(|byte| !byte).collect();
    let slice = failed_read(slice, &lost);
    let (len, begin) = (model.len, model.begin);
    let n = lost.len().min(model.end() - begin);
    model.memory[begin..begin + n].copy_from_slice(&lost[..n]);
    check(&slice, &model);
    assert_eq!(model.len, len);
    (slice.into_inner(), model)
}

fn bound() -> impl Strategy<Value = Bound<usize>> {
    let number = prop_oneof![12 => 0..40_usize, 1 => Just(usize::MAX), 1 => Just(usize::MAX - 1)];
    prop_oneof![
        3 => number.clone().prop_map(Bound::Included),
        3 => number.prop_map(Bound::Excluded),
        2 => Just(Bound::Unbounded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slices_match_the_model(
        capacity in 0..36_usize,
        len in 0..36_usize,
        ranges in prop::collection::vec((bound(), bound()), 1..4),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut base = OwnedBuffer::with_capacity(capacity);
        let content: Vec<u8> = (0..36).collect();
        let len = base.extend_from_slice(&content[..len]);
        let mut memory = content[..len].to_vec();
        memory.resize(capacity, 0);
        let whole = Model { memory, len, begin: 0, end: None };

        let mut flat = base.clone().slice(..);
        let mut model = whole.clone();
        for &range in &ranges {
            match (flat.try_slice(range), model.slice(range)) {
                (Ok(smaller), Some(next)) => (flat, model) = (smaller, next),
                (Err(same), None) => flat = same,
                (slice, expected) => panic!("{range:?}: {slice:?}, expected {expected:?}"),
            }
            check(&flat, &model);
        }
        let (back, model) = exercise(flat, model, &data);
        prop_assert_eq!(back.as_init(), &model.memory[..model.len]);

        // Two slices inside each other, as generic code makes them, are the same as one.
        let outer = base.slice(..);
        if let Some(first) = whole.slice(ranges[0]) {
            let outer = outer.slice(ranges[0]);
            if let Some(second) = ranges.get(1).and_then(|&range| first.slice(range)) {
                let nested: Slice<Slice<OwnedBuffer>> = IoBuf::slice(outer, ranges[1]);
                check(&nested, &second);
                let (out, nested) = write(nested);
                prop_assert_eq!(&out, second.visible());
                let mut second = second;
                let (n, nested) = read(nested, &data);
                prop_assert_eq!(n, second.read(&data));
                check(&nested, &second);
                let back = nested.into_inner().into_inner();
                prop_assert_eq!(back.as_init(), &second.memory[..second.len]);
            }
        }
    }
}

#[test]
fn a_read_into_a_slice_keeps_the_rest() {
    let mut buffer = OwnedBuffer::with_capacity(16);
    assert_eq!(buffer.extend_from_slice(b"header--"), 8);
    let (n, slice) = read(buffer.slice(6..), b"body");
    assert_eq!((n, &slice[..]), (4, b"body".as_slice()));
    let buffer = slice.into_inner();
    assert_eq!(buffer, *b"headerbody");
    let (n, slice) = read(buffer.slice(..2), b"HEAD");
    assert_eq!((n, &slice[..]), (2, b"HE".as_slice()));
    assert_eq!(slice.into_inner(), *b"HEaderbody", "shorter reads do not cut the buffer");
}

#[test]
fn a_write_of_a_slice_sends_the_initialised_part() {
    let mut buffer = Vec::with_capacity(16);
    buffer.extend_from_slice(b"0123456789");
    let (out, slice) = write(buffer.slice(8..12));
    assert_eq!(out, b"89");
    let (out, slice) = write(slice.into_inner().slice(2..=3));
    assert_eq!(out, b"23");
    assert_eq!(slice.get_ref(), b"0123456789");
}

#[test]
fn ranges_out_of_bounds_give_the_buffer_back() {
    let buffer = OwnedBuffer::with_capacity(8);
    let buffer = buffer.try_slice(1..).expect_err("begins behind the initialised part");
    let buffer = buffer.try_slice(..9).expect_err("ends behind the capacity");
    let buffer = buffer.try_slice(..=usize::MAX).expect_err("the end is no number");
    let after_all = (Bound::Excluded(usize::MAX), Bound::Unbounded);
    let buffer = buffer.try_slice(after_all).expect_err("the start is no number");
    assert!(buffer.try_slice(..8).is_ok());
    assert!("hello".try_slice(..6).is_err(), "what cannot be filled has no room behind its length");
}

#[test]
#[should_panic(expected = "out of bounds: its start may be at most 3, its end at most 3")]
fn slicing_out_of_bounds_panics_as_std_does() {
    let _ = String::from("abc").slice(2..4);
}

#[test]
#[should_panic(expected = "out of bounds: its start may be at most 1, its end at most 1")]
fn slicing_a_slice_out_of_bounds_panics() {
    let _ = String::from("abc").slice(2..).slice(..2);
}
