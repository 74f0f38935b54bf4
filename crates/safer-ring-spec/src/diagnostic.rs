//! What is wrong with a text, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text. Lines and columns are counted from 1, columns in characters.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look; everything was understood or kept.
    Note,
    /// Probably not what was meant; what was written is kept.
    Warning,
    /// Not a specification, or a part of it could not be understood.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The name of the text, as the caller gave it.
    pub file: String,
    /// Where it is.
    pub place: Place,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What was expected instead; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, severity, message, expected } = self;
        write!(f, "{file}:{}:{}: {severity}: {message}", place.line, place.column)?;
        if expected.is_empty() { Ok(()) } else { write!(f, "; expected {expected}") }
    }
}

/// Findings on their way into the list.
#[derive(Debug)]
pub(crate) struct Findings {
    file: String,
    list: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        place: Place,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (message, expected) = (message.into(), expected.into());
        self.list.push(Diagnostic { file: self.file.clone(), place, severity, message, expected });
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, expected: &str) {
        self.add(Severity::Error, place, message, expected);
    }

    pub(crate) fn warning(&mut self, place: Place, message: impl Into<String>, expected: &str) {
        self.add(Severity::Warning, place, message, expected);
    }

    pub(crate) fn note(&mut self, place: Place, message: impl Into<String>, expected: &str) {
        self.add(Severity::Note, place, message, expected);
    }

    /// The findings in the order of their places.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| finding.place);
        self.list
    }
}
