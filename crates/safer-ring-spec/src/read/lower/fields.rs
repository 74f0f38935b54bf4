//! The sub-keys of a section, taken one by one; what is left is kept as it was written.

use crate::diagnostic::{Findings, Place};
use crate::grammar::{is_sub_key, split_list};
use crate::model::{
    ApiKind, CapabilityAction, Common, ConstraintKind, Context, Effect, Field, LockKind, Parameter,
    ParameterFlag, ReturnCheck, SignalAction, SignalDirection, SignalTiming, Surface, ValueType,
};
use crate::read::lower::{call, filled, two, type_and_flags};
use crate::read::section::{RawField, RawSection};

/// A list of words of the grammar.
pub(super) trait WordList: Sized {
    /// Reads one.
    fn from_word(word: &str) -> Self;
    /// Whether it is on the list.
    fn on_list(&self) -> bool;
    /// The list, for a finding.
    fn list() -> String;
}

macro_rules! word_lists {
    ($($name:ident)*) => {
        $(impl WordList for $name {
            fn from_word(word: &str) -> Self {
                Self::read(word)
            }
            fn on_list(&self) -> bool {
                self.is_known()
            }
            fn list() -> String {
                let words: Vec<&str> = Self::KNOWN.iter().map(Self::short).collect();
                format!("one of {}", words.join(", "))
            }
        })*
    };
}

word_lists! {
    ApiKind CapabilityAction ConstraintKind Context Effect LockKind ParameterFlag ReturnCheck SignalAction
    SignalDirection SignalTiming Surface ValueType
}

/// Reads a word, with a finding if it is on no list.
fn word<T: WordList>(text: &str, place: Place, findings: &mut Findings) -> T {
    let word = T::from_word(text);
    if !word.on_list() {
        findings.warning(place, format!("`{text}` is not a word that is known here"), &T::list());
    }
    word
}

/// Reads words with commas or bars between them, each once.
pub(super) fn words<T: WordList + PartialEq>(
    text: &str,
    place: Place,
    findings: &mut Findings,
) -> Vec<T> {
    let mut read = Vec::new();
    for part in text.split([',', '|']).map(str::trim).filter(|part| !part.is_empty()) {
        let word = word(part, place, findings);
        if !read.contains(&word) {
            read.push(word);
        }
    }
    read
}

/// Two values, if both are there.
pub(super) fn pair(low: &str, high: &str) -> Option<(String, String)> {
    (!low.is_empty() && !high.is_empty()).then(|| (low.to_owned(), high.to_owned()))
}

/// The sub-keys of a section that were not taken yet.
pub(super) struct Fields<'f> {
    section: String,
    rest: Vec<RawField>,
    /// Taken, not understood, reported.
    kept: Vec<RawField>,
    findings: &'f mut Findings,
}

impl<'f> Fields<'f> {
    pub(super) fn new(section: &RawSection, findings: &'f mut Findings) -> Self {
        let (section, rest) = (section.key.clone(), section.fields.clone());
        Self { section, rest, kept: Vec::new(), findings }
    }

    /// Takes the first sub-key of one of these names.
    fn take(&mut self, keys: &[&str]) -> Option<RawField> {
        let index = self.rest.iter().position(|field| keys.contains(&field.key.as_str()))?;
        Some(self.rest.remove(index))
    }

    /// Keeps what could not be understood, with a finding.
    fn refuse(&mut self, field: RawField, expected: &str) {
        let message = format!("`{}: {}` cannot be understood; it is kept", field.key, field.value);
        self.findings.warning(field.place, message, expected);
        self.kept.push(field);
    }

    pub(super) fn text(&mut self, keys: &[&str]) -> Option<String> {
        self.take(keys).map(|field| field.value)
    }

    /// Text that says something. What says nothing is kept, so that it stays the first of its name.
    pub(super) fn filled(&mut self, keys: &[&str]) -> Option<String> {
        let field = self.take(keys)?;
        if field.value.is_empty() {
            self.refuse(field, "a value");
            return None;
        }
        Some(field.value)
    }

    pub(super) fn word<T: WordList>(&mut self, key: &str) -> Option<T> {
        let field = self.take(&[key])?;
        if field.value.is_empty() {
            self.refuse(field, &T::list());
            return None;
        }
        Some(word(&field.value, field.place, self.findings))
    }

    pub(super) fn words<T: WordList + PartialEq>(&mut self, key: &str) -> Vec<T> {
        let Some(field) = self.take(&[key]) else { return Vec::new() };
        let words = words(&field.value, field.place, self.findings);
        if words.is_empty() {
            self.refuse(field, &T::list());
        }
        words
    }

    /// The flags of all lines that have some.
    pub(super) fn flags(&mut self, flags: &mut Vec<ParameterFlag>) {
        while let Some(field) = self.take(&["flags"]) {
            let more: Vec<ParameterFlag> = words(&field.value, field.place, self.findings);
            let new: Vec<_> = more.into_iter().filter(|flag| !flags.contains(flag)).collect();
            flags.extend(new);
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let field = self.take(&[key])?;
        match field.value.to_ascii_lowercase().as_str() {
            "yes" | "true" | "1" => Some(true),
            "no" | "false" | "0" => Some(false),
            _ => {
                self.refuse(field, "yes or no");
                None
            }
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        self.filled(&[key]).map(|list| split_list(&list)).unwrap_or_default()
    }

    pub(super) fn pair(&mut self, key: &str) -> Option<(String, String)> {
        let field = self.take(&[key])?;
        let pair = two(&field.value);
        if pair.is_none() {
            self.refuse(field, "the lowest and the highest value: `0, LONG_MAX`");
        }
        pair
    }

    /// `type` of a parameter.
    pub(super) fn type_and_flags(&mut self) -> (Option<ValueType>, Vec<ParameterFlag>) {
        let Some(field) = self.take(&["type"]) else { return (None, Vec::new()) };
        let (value_type, flags) = type_and_flags(&field.value);
        let Some(value_type) = value_type else {
            self.refuse(field, &ValueType::list());
            return (None, Vec::new());
        };
        if !value_type.is_known() {
            let message = format!("`{value_type}` is no type that is known");
            self.findings.warning(field.place, message, &ValueType::list());
        }
        (Some(value_type), words(&flags.join(","), field.place, self.findings))
    }

    /// `constraint-type`, which in the newer grammar may have its values with it.
    pub(super) fn constraint_type(&mut self, parameter: &mut Parameter) {
        let Some(field) = self.take(&["constraint-type"]) else { return };
        if field.value.is_empty() {
            return self.refuse(field, &ConstraintKind::list());
        }
        let (name, inside) = call(&field.value);
        let kind = ConstraintKind::read(name);
        match (&kind, inside) {
            (ConstraintKind::Range, Some(inside)) => {
                parameter.range = two(inside);
                if parameter.range.is_none() {
                    return self.refuse(field, "`range(lowest, highest)`");
                }
            }
            (ConstraintKind::Mask, Some(inside)) => {
                parameter.mask = filled(inside).map(str::to_owned)
            }
            (ConstraintKind::Enum, Some(inside)) => {
                parameter.values = filled(inside).map(split_list).unwrap_or_default();
            }
            (ConstraintKind::Alignment, Some(inside)) => {
                parameter.alignment = filled(inside).map(str::to_owned);
            }
            (ConstraintKind::Buffer, Some(inside)) => {
                parameter.size_param = filled(inside).map(str::to_owned);
            }
            (_, Some(_)) => return self.refuse(field, "range, mask, enum, alignment or buffer"),
            (kind, None) if !kind.is_known() => {
                let message = format!("`{name}` is no constraint that is known");
                self.findings.warning(field.place, message, &ConstraintKind::list());
            }
            _ => {}
        }
        parameter.constraint = Some(kind);
    }

    /// `arch-mask: x86 = BITS`, as often as it is there.
    pub(super) fn arch_masks(&mut self) -> Vec<(String, String)> {
        let mut masks = Vec::new();
        while let Some(field) = self.take(&["arch-mask"]) {
            let parts = field.value.split_once('=').and_then(|(a, b)| pair(a.trim(), b.trim()));
            match parts {
                Some(mask) => masks.push(mask),
                None => self.refuse(field, "an architecture and its bits: `x86 = MAP_32BIT`"),
            }
        }
        masks
    }

    /// What each statement can have. Everything that is left goes there.
    pub(super) fn common(mut self) -> Common {
        let mut common = Common {
            id: self.filled(&["id"]),
            since: self.text(&["since"]),
            until: self.text(&["until"]),
            disagrees: self.text(&["disagrees"]),
            untestable: self.text(&["untestable"]),
            covered_by: self.list("covered-by"),
            unknown: Vec::new(),
        };
        for field in &self.rest {
            if is_sub_key(&self.section, &field.key) {
                let message =
                    format!("`{}:` says what another line has said; it is kept", field.key);
                self.findings.warning(field.place, message, "each sub-key once");
            }
        }
        let left = self.kept.into_iter().chain(self.rest);
        common.unknown.extend(left.map(|field| Field { key: field.key, value: field.value }));
        common
    }
}
