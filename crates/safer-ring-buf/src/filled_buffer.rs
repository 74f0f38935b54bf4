//! What the buffers on the heap have in common: bytes at the start of memory of a fixed size.

/// The methods of a buffer whose field `filled` is a `Filled` over `$memory`.
macro_rules! filled_buffer {
    ($buffer:ident, $memory:ty) => {
        impl $buffer {
            #[inline]
            pub(crate) fn from_filled(filled: crate::memory::Filled<$memory>) -> Self {
                Self { filled }
            }

            #[inline]
            pub(crate) fn into_filled(self) -> crate::memory::Filled<$memory> {
                self.filled
            }

            /// Number of initialised bytes.
            #[inline]
            #[must_use]
            pub fn len(&self) -> usize {
                self.filled.bytes().len()
            }

            /// Whether no byte is initialised.
            #[inline]
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Number of bytes the buffer has room for; a read fills at most so many.
            #[inline]
            #[must_use]
            pub fn capacity(&self) -> usize {
                self.filled.capacity()
            }

            /// The alignment the memory was asked for with, in bytes. Its address may happen to be aligned better.
            #[inline]
            #[must_use]
            pub fn align(&self) -> usize {
                self.filled.align()
            }

            /// Sets the length to zero.
            #[inline]
            pub fn clear(&mut self) {
                self.filled.truncate(0);
            }

            /// Shortens the buffer to `len` bytes; does nothing if it is shorter.
            #[inline]
            pub fn truncate(&mut self, len: usize) {
                self.filled.truncate(len);
            }

            /// Sets the length to `len`, or to the capacity if that is less, and returns it. New bytes are zero.
            pub fn resize(&mut self, len: usize) -> usize {
                self.filled.resize(len)
            }

            /// Appends as many of `bytes` as there is room for, and returns how many that were.
            #[must_use = "bytes that do not fit are left out"]
            pub fn extend_from_slice(&mut self, bytes: &[u8]) -> usize {
                self.filled.extend_from_slice(bytes)
            }
        }

        impl std::ops::Deref for $buffer {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                self.filled.bytes()
            }
        }

        impl std::ops::DerefMut for $buffer {
            #[inline]
            fn deref_mut(&mut self) -> &mut [u8] {
                self.filled.bytes_mut()
            }
        }

        impl AsRef<[u8]> for $buffer {
            fn as_ref(&self) -> &[u8] {
                self
            }
        }

        impl AsMut<[u8]> for $buffer {
            fn as_mut(&mut self) -> &mut [u8] {
                self
            }
        }
    };
}
pub(crate) use filled_buffer;
