//! From bytes to decisions.

/// Reads decisions from an input. When it is at its end, each further one is zero.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// From its start.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number made of two bytes.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number made of four bytes.
    pub fn long(&mut self) -> u32 {
        u32::from(self.word()) | u32::from(self.word()) << 16
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = if limit <= 256 { usize::from(self.byte()) } else { usize::from(self.word()) };
        number.checked_rem(limit).unwrap_or(0)
    }

    /// One of them; `None` if there are none.
    pub fn one<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        let at = self.below(of.len());
        of.get(at)
    }

    /// Yes or no.
    pub fn flip(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_is_over_decides_for_zero() {
        let mut bytes = Bytes::new(&[7, 1, 2]);
        assert_eq!((bytes.below(5), bytes.word()), (2, 0x0201));
        assert!(bytes.is_empty());
        assert_eq!((bytes.byte(), bytes.long(), bytes.below(0), bytes.flip()), (0, 0, 0, false));
        assert_eq!(bytes.one::<u8>(&[]), None);
    }
}
