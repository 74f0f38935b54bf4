//! What must hold for any text whatever: it is read without a panic, and what was read, printed and read again, is the
//! same. And a source of texts: those that come with the crate, changed at random.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is what this program is to find"
)]

use safer_ring_spec::{Format, Generation, Specification, diff, parse, parse_bytes, print, render};

/// Texts in each form that the parser knows.
pub(crate) const TEXTS: &[&str] = &[
    include_str!("../texts/older.c"),
    include_str!("../texts/newer.c"),
    include_str!("../texts/patch.mail"),
    include_str!("../texts/debugfs.txt"),
];

/// Keys that make a comment a specification.
const TELLING: &[&str] = &[
    "api-type:",
    "param:",
    "error:",
    "capability:",
    "signal:",
    "lock:",
    "state-trans:",
    "constraint:",
    "side-effect:",
    "long-desc:",
];

/// Reads a text, and checks what was read. Gives the number of specifications in it.
///
/// # Panics
/// If something does not hold.
pub(crate) fn exercise(bytes: &[u8]) -> usize {
    let document = parse_bytes("fuzz", bytes);
    for located in &document.specifications {
        let spec = &located.specification;
        for (_, format) in Format::ALL {
            assert!(!render(spec, *format).is_empty());
        }
        assert!(diff::diff(spec, spec).is_empty());
        again(spec, &[Generation::Short, Generation::Constants]);
    }
    quickly(bytes)
}

/// The same in less time: what was read is printed in one way only.
///
/// # Panics
/// If something does not hold.
pub(crate) fn quickly(bytes: &[u8]) -> usize {
    let document = parse_bytes("fuzz", bytes);
    assert!(!document.specifications.is_empty() || !document.diagnostics.is_empty());
    for diagnostic in &document.diagnostics {
        assert!(diagnostic.place.line > 0 && diagnostic.place.column > 0, "{diagnostic}");
    }
    for located in &document.specifications {
        let spec = &located.specification;
        assert!(spec.statements().iter().all(|s| located.places.contains_key(&s.id)));
        let text = print::text(spec, Generation::Short);
        assert_eq!(&the_only(&text), spec, "{text}");
    }
    document.specifications.len()
}

/// Prints a specification in these generations, as a text and as a comment, and reads it again.
pub(crate) fn again(spec: &Specification, generations: &[Generation]) {
    for &generation in generations {
        let text = print::text(spec, generation);
        assert_eq!(&the_only(&text), spec, "{generation:?}:\n{text}");
        if !text.contains("*/") {
            let comment = print::comment(spec, generation);
            let document = parse("again", &comment);
            // A comment is a specification only if it says from where the call may be made, and has another of these.
            if let Some(located) = document.specifications.first() {
                assert_eq!(&located.specification, spec, "{comment}");
            } else {
                let telling =
                    TELLING.iter().any(|key| text.lines().any(|line| line.starts_with(key)));
                assert!(spec.contexts.is_empty() || !telling, "{comment}");
            }
        }
    }
}

fn the_only(text: &str) -> Specification {
    let mut document = parse("again", text);
    assert_eq!(document.specifications.len(), 1, "{text}");
    document.specifications.remove(0).specification
}

/// Pieces that are put into texts.
const PIECES: &[&str] = &[
    "\n",
    "\n\n",
    "  ",
    "\t",
    " * ",
    "*/",
    "/**",
    "+",
    "-",
    " - ",
    ": ",
    ",",
    "(",
    ")",
    "|",
    "@x: y\n",
    "\u{0}",
    "\u{e9}",
    "error: EINVAL, x\n",
    "  desc: y\n",
    "param: p\n  type: fd, input\n",
    "constraint: a, b\n",
    "  constraint-type: range(0, f(1))\n",
    "  range: 1, 2\n",
    "lock: a, mutex\n",
    "state-trans: a, b, c, d\n",
    "capability: CAP_X, grant_permission, n\n",
    "side-effect: schedule, t, d\n",
    "examples: a\n    b\n",
    "contexts: process\n",
    "return: x\n",
    "notes: a\n\n  - b\n",
    "remarks:",
    "api-type: ioctl\n",
    "param-count: 2\n",
    "sys_x - y\n",
    "@@ -1 +1 @@\n",
    "Errors (2):\n",
    "Kernel API Specification\n",
    "yes",
    "\u{2028}",
    "\r",
    "=",
    "- ",
];

/// Numbers that look random, from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).unwrap();
        usize::try_from((self.0 >> 11) % limit).unwrap()
    }
}

/// A text of the corpus with some changes.
pub(crate) fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let source = &corpus[random.below(corpus.len())];
    // A part of it, so that an input is not read for long.
    let start = random.below(source.len());
    let start = source[..start].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let length = 1 + random.below(800);
    let mut text: Vec<u8> = source[start..].iter().take(length).copied().collect();
    if random.below(4) != 0 && start > 0 {
        let title = b"sys_fuzz - Title\ncontexts: process\n";
        text.splice(..0, title.iter().copied());
    }
    for _ in 0..1 + random.below(6) {
        change(&mut text, corpus, random);
    }
    text
}

fn change(text: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(text.len() + 1);
    let end = (at + random.below(40)).min(text.len());
    match random.below(6) {
        0 => drop(text.drain(at..end)),
        1 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
        2 => {
            let part: Vec<u8> = text[at..end].to_vec();
            text.splice(at..at, part);
        }
        3 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let part: Vec<u8> = other[from..].iter().take(random.below(80)).copied().collect();
            text.splice(at..at, part);
        }
        _ => {
            let piece = PIECES[random.below(PIECES.len())];
            // At the start of a line, a piece is more likely to mean something.
            let line = text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let at = if random.below(2) == 0 { line } else { at };
            text.splice(at..at, piece.bytes());
        }
    }
}

/// The texts that are changed: those above, those that come with the crate, and more, if there are.
pub(crate) fn corpus(more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let own = safer_ring_spec::shipped_texts().iter().map(|(_, text)| *text);
    let texts = TEXTS.iter().copied().chain(own).map(|text| text.as_bytes().to_vec());
    texts.chain(more.iter().cloned()).collect()
}
