//! One Rust file, parsed: its text, its syntax tree, and which of its lines hold code.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{Span, TokenStream, TokenTree};

use crate::Outcome;

/// A parsed Rust file.
pub(crate) struct Source {
    /// The text as it is on disk.
    pub(crate) text: String,
    /// The syntax tree; its spans carry lines counted from 1.
    pub(crate) tree: syn::File,
    /// Lines that hold code: not blank, not only a comment.
    code_lines: BTreeSet<usize>,
}

impl Source {
    /// Parses a file; `path` is used in messages.
    ///
    /// # Errors
    /// The message names the line when the text is not Rust.
    pub(crate) fn parse(path: &str, text: &str) -> Outcome<Self> {
        let at = |span: Span, e: &dyn std::fmt::Display| {
            format!("{path}:{}: cannot parse: {e}", span.start().line)
        };
        let tree = syn::parse_file(text).map_err(|e| at(e.span(), &e))?;
        // A BOM or `#!` line is no token; syn has skipped them in the tree in the same way.
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tokens: TokenStream =
            body.parse().map_err(|e: proc_macro2::LexError| at(e.span(), &e))?;
        let mut code_lines = BTreeSet::new();
        mark_code(tokens, body, &mut code_lines);
        Ok(Self { text: text.to_owned(), tree, code_lines })
    }

    /// Number of lines that hold code.
    pub(crate) fn code_line_count(&self) -> usize {
        self.code_lines.len()
    }

    /// Number of lines that hold code within `lines`.
    pub(crate) fn code_lines_within(&self, lines: RangeInclusive<usize>) -> usize {
        self.code_lines.range(lines).count()
    }
}

/// Adds the lines of every token that is not a documentation comment. Other comments are no tokens.
fn mark_code(tokens: TokenStream, text: &str, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        if is_comment(token.span(), text) {
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines.insert(group.span_close().start().line);
                mark_code(group.stream(), text, lines);
            }
            other => lines.extend(other.span().start().line..=other.span().end().line),
        }
    }
}

/// Whether a token came from a documentation comment: the lexer turns `/// x` into `#[doc = " x"]`
/// and gives each of those tokens the span of the comment.
fn is_comment(span: Span, text: &str) -> bool {
    let rest = text.get(span.byte_range().start..).unwrap_or_default();
    rest.starts_with("//") || rest.starts_with("/*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        Source::parse("a.rs", text).unwrap().code_line_count()
    }

    #[test]
    fn comments_and_blank_lines_are_not_code() {
        assert_eq!(count("//! Docs.\n\n// why\n/* a\n b */\n/// Docs é.\nfn f() {}\n"), 1);
    }

    #[test]
    fn code_beside_a_comment_is_code() {
        assert_eq!(count("fn f() { // why\n    /* x */ g(); // y\n}\n"), 3);
    }

    #[test]
    fn comment_signs_in_strings_are_code() {
        assert_eq!(count("const A: &str = \"\n// no comment\n/* nor this\n\";\n"), 4);
        assert_eq!(count("const A: &str = r#\"// \"no\" \"#;\n"), 1);
    }

    #[test]
    fn lines_of_macro_bodies_are_code() {
        assert_eq!(count("m! {\n    a,\n\n    // why\n    b\n}\n"), 4);
    }

    #[test]
    fn a_division_is_not_a_comment() {
        assert_eq!(count("const A: u8 = 4\n    / 2;\n"), 2);
    }

    #[test]
    fn text_that_is_not_rust_is_an_error_with_its_line() {
        let error = Source::parse("a.rs", "fn f() {}\nfn g( {}\n").err().unwrap();
        assert!(error.starts_with("a.rs:2: cannot parse"), "{error}");
    }
}
