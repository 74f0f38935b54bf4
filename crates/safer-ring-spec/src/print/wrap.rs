//! Lines of a limited width.

use crate::grammar::split_key;

/// The width that is aimed at.
pub(super) const WIDTH: usize = 100;

/// Breaks a text into lines: the first has `first` columns taken already, the others are indented.
///
/// A line never begins with a word that the grammar would take for something else: a key, or a hyphen.
pub(super) fn wrap(out: &mut String, first: usize, indent: usize, text: &str) {
    let mut column = first;
    let mut begun = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        let stays = word == "-" || split_key(word).is_some();
        if !begun {
        } else if column + 1 + width > WIDTH && !stays {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        begun = true;
    }
}

/// The lines and paragraphs of prose: each line as it is to be wrapped, an empty one between paragraphs.
pub(super) fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_begins_with_a_key_or_a_hyphen() {
        let mut out = String::new();
        let long = "word ".repeat(19);
        wrap(&mut out, 0, 2, &format!("{long}error: - end"));
        assert_eq!(out, format!("{long}error: -\n  end"));
    }
}
