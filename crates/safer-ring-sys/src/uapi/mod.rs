//! The kernel's structures and constants, with the names of the kernel minus their prefixes.
//!
//! A union of the kernel is one field here, named after its oldest member; the other meanings are in
//! the documentation of the field. Every structure is plain data: `Default` is all zero, which is
//! what the kernel wants in a field that an operation does not use.

pub mod aio;
pub mod bpf;
pub mod cqe;
pub mod flags;
pub mod opcode;
pub mod register;
pub mod setup;
pub mod sqe;
pub mod zcrx;

/// Size, alignment and field offsets of a structure, checked by the compiler.
macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal, { $($field:ident @ $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size, stringify!($type));
            assert!(core::mem::align_of::<$type>() == $align, stringify!($type));
            $(assert!(
                core::mem::offset_of!($type, $field) == $offset,
                concat!(stringify!($type), ".", stringify!($field))
            );)*
        };
    };
}
pub(crate) use layout;

/// A kernel's version as (major, minor), from the text that stands in the documentation.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn version(text: &str) -> (u8, u8) {
    let bytes = text.as_bytes();
    let (mut major, mut minor, mut at, mut after_dot) = (0_u8, 0_u8, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'.' if !after_dot => after_dot = true,
            digit @ b'0'..=b'9' if after_dot => minor = minor * 10 + (digit - b'0'),
            digit @ b'0'..=b'9' => major = major * 10 + (digit - b'0'),
            _ => panic!("a version is two numbers with a dot between them"),
        }
        at += 1;
    }
    assert!(major > 0 && after_dot, "a version is two numbers with a dot between them");
    (major, minor)
}

/// An address as the kernel's structures hold it. The provenance is exposed, because the kernel
/// gives the memory back through nothing but this number.
#[inline]
#[must_use]
pub fn address<T: ?Sized>(pointer: *const T) -> u64 {
    widen(pointer.cast::<()>().expose_provenance())
}

/// `usize` is 64 bits wide on every platform of this crate.
#[inline]
#[expect(clippy::as_conversions, reason = "lossless on 64 bits, the only width built; lib.rs")]
pub(crate) const fn widen(value: usize) -> u64 {
    value as u64
}

/// A ring index or a length of 32 bits as a `usize`, which is wider.
#[inline]
#[expect(clippy::as_conversions, reason = "lossless on 64 bits, the only width built; lib.rs")]
pub(crate) const fn index(value: u32) -> usize {
    value as usize
}

/// A structure's size as the kernel's structures hold it.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "the assertion proves that the size fits"
)]
pub(crate) const fn size_of_u32<T>() -> u32 {
    let size = core::mem::size_of::<T>();
    assert!(size <= 4096, "a structure of the kernel is small");
    size as u32
}
