//! From the model to a text.

mod json;
mod kerneldoc;
mod markdown;
mod plain;
mod rst;
mod wrap;

use std::str::FromStr;

pub use json::{list as json_list, value as json_value};
pub use kerneldoc::{comment, text};

use crate::model::Specification;
use crate::raise::Generation;

/// How a specification is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    Plain,
    /// The shape of the kernel's own tool, with its numbers for words.
    Json,
    /// reStructuredText.
    Rst,
    /// Markdown.
    Markdown,
    /// The grammar itself, as [`parse`](crate::parse::parse) reads it.
    Spec,
    /// The grammar in a comment of C code.
    Comment,
}

impl Format {
    /// All formats, with the names by which they are asked for.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("plain", Self::Plain),
        ("json", Self::Json),
        ("rst", Self::Rst),
        ("markdown", Self::Markdown),
        ("spec", Self::Spec),
        ("comment", Self::Comment),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("`{word}` is no format: one of {}", names.join(", "))
        })
    }
}

/// Prints a specification.
#[must_use]
pub fn render(spec: &Specification, format: Format) -> String {
    match format {
        Format::Plain => plain::render(spec),
        Format::Json => json::render(spec),
        Format::Rst => rst::render(spec),
        Format::Markdown => markdown::render(spec),
        Format::Spec => text(spec, Generation::Short),
        Format::Comment => comment(spec, Generation::Short),
    }
}

/// The headings under which the statements stand: key, heading.
const HEADINGS: &[(&str, &str)] = &[
    ("param", "Parameters"),
    ("return", "Return value"),
    ("error", "Errors"),
    ("lock", "Locks"),
    ("signal", "Signals"),
    ("side-effect", "Side effects"),
    ("state-trans", "State transitions"),
    ("capability", "Capabilities"),
    ("constraint", "Constraints"),
];
