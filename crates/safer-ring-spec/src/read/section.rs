//! From lines to sections: keys in the first column, sub-keys below them, and what continues them.
//!
//! A sub-key stands as far to the right as the first one of its section, or less; what stands further to the right, or
//! is no key, continues what is above it. So a word that is both a key and a sub-key (`constraint:`, `error:`) is told
//! apart by where it stands, and a colon in the middle of prose means nothing.

use crate::diagnostic::{Findings, Place};
use crate::grammar::{
    EXAMPLES, PROSE, is_parameter, is_sub_key, split_key, split_title, squeeze, sub_keys,
};
use crate::read::source::{Candidate, Line};

/// How far a tabulator goes.
const TAB: usize = 8;
/// How far the lines of examples stand to the right.
const EXAMPLE_INDENT: usize = 2;

/// A sub-key with its value.
#[derive(Clone, Debug)]
pub(crate) struct RawField {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: String,
}

/// A section with what is in it.
#[derive(Clone, Debug)]
pub(crate) struct RawSection {
    pub(crate) key: String,
    pub(crate) place: Place,
    /// What follows the key, with the lines that continue it; of prose, all of it.
    pub(crate) header: String,
    pub(crate) fields: Vec<RawField>,
    /// The lines of examples.
    pub(crate) lines: Vec<String>,
}

/// A candidate as sections.
#[derive(Debug)]
pub(crate) struct RawSpec {
    pub(crate) place: Place,
    /// The name of the title; empty where there is none.
    pub(crate) name: String,
    pub(crate) summary: String,
    /// `@name: text`, in order.
    pub(crate) mentions: Vec<RawField>,
    pub(crate) sections: Vec<RawSection>,
    /// Prose outside of sections.
    pub(crate) remarks: Vec<String>,
}

/// Reads the lines of a candidate. Of one without a title the name stays empty.
pub(crate) fn sections(candidate: &Candidate<'_>, findings: &mut Findings) -> RawSpec {
    let mut lines = candidate.lines.iter().skip_while(|line| line.text.trim().is_empty());
    let mut raw = RawSpec {
        place: Place::default(),
        name: String::new(),
        summary: String::new(),
        mentions: Vec::new(),
        sections: Vec::new(),
        remarks: Vec::new(),
    };
    let Some(title) = lines.next() else { return raw };
    raw.place = title.place;
    let (_, start, text) = indentation(title);
    raw.place = start;
    if let Some((name, summary)) = split_title(text) {
        name.clone_into(&mut raw.name);
        raw.summary = squeeze(summary);
    }
    let mut reader = Reader { raw, at: At::Title, findings };
    for line in lines {
        reader.line(line);
    }
    reader.raw
}

/// What a line that is no key continues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The title.
    Title,
    /// The last `@name`.
    Mention,
    /// The last section; the sub-keys of it stand this far to the right.
    Section { indent: Option<usize> },
    /// Nothing: an empty line came before. Of a section, what is indented still belongs to it.
    Nothing { section: Option<Option<usize>> },
    /// Prose outside of sections.
    Remarks,
}

struct Reader<'f> {
    raw: RawSpec,
    at: At,
    findings: &'f mut Findings,
}

impl Reader<'_> {
    fn line(&mut self, line: &Line<'_>) {
        let (indent, start, text) = indentation(line);
        if text.is_empty() {
            self.blank();
        } else if indent == 0 {
            self.outer(start, text);
        } else {
            self.inner(indent, start, text);
        }
    }

    fn blank(&mut self) {
        if let Some(section) = self.open_section() {
            if PROSE.contains(&section.key.as_str()) {
                if !section.header.is_empty() && !section.header.ends_with("\n\n") {
                    section.header.push_str("\n\n");
                }
            } else if section.key == EXAMPLES && !section.lines.is_empty() {
                section.lines.push(String::new());
            }
        }
        self.at = match self.at {
            At::Section { indent } => At::Nothing { section: Some(indent) },
            At::Nothing { section } => At::Nothing { section },
            _ => At::Nothing { section: None },
        };
    }

    /// The section that an indented line would belong to.
    fn open_section(&mut self) -> Option<&mut RawSection> {
        match self.at {
            At::Section { .. } | At::Nothing { section: Some(_) } => self.raw.sections.last_mut(),
            _ => None,
        }
    }

    /// A line in the first column.
    fn outer(&mut self, place: Place, text: &str) {
        if let Some((name, rest)) = mention(text) {
            let value = squeeze(rest);
            self.raw.mentions.push(RawField { key: name.to_owned(), place, value });
            self.at = At::Mention;
        } else if let Some((key, rest)) = split_key(text) {
            self.open(place, key, rest.trim());
        } else {
            match self.at {
                At::Nothing { .. } => {
                    self.raw.remarks.push(squeeze(text));
                    self.at = At::Remarks;
                }
                _ => self.continues(text),
            }
        }
    }

    fn open(&mut self, place: Place, key: &str, rest: &str) {
        if sub_keys(key).is_none() {
            let message = format!("`{key}:` is not a key that is known; it is kept");
            self.findings.note(place, message, "");
        }
        let mut section = RawSection {
            key: key.to_owned(),
            place,
            header: String::new(),
            fields: Vec::new(),
            lines: Vec::new(),
        };
        if key == EXAMPLES {
            section.lines.extend((!rest.is_empty()).then(|| rest.to_owned()));
        } else {
            section.header = squeeze(rest);
        }
        self.raw.sections.push(section);
        self.at = At::Section { indent: None };
    }

    /// A line further to the right.
    fn inner(&mut self, indent: usize, place: Place, text: &str) {
        let edge = match self.at {
            At::Section { indent } | At::Nothing { section: Some(indent) } => indent,
            At::Nothing { section: None } => {
                self.raw.remarks.push(squeeze(text));
                self.at = At::Remarks;
                return;
            }
            At::Title | At::Mention | At::Remarks => return self.continues(text),
        };
        let Some(section) = self.raw.sections.last_mut() else { return };
        if PROSE.contains(&section.key.as_str()) {
            prose_line(&mut section.header, text);
        } else if section.key == EXAMPLES {
            let spaces = indent.saturating_sub(EXAMPLE_INDENT);
            section.lines.push(format!("{}{text}", " ".repeat(spaces)));
        } else if let Some((key, rest)) =
            split_key(text).filter(|_| edge.is_none_or(|edge| indent <= edge))
        {
            let known = sub_keys(&section.key).is_none() || is_sub_key(&section.key, key);
            if !known {
                let message =
                    format!("`{key}:` is not a known sub-key of `{}:`; it is kept", section.key);
                self.findings.note(place, message, "");
            }
            let value = squeeze(rest);
            section.fields.push(RawField { key: key.to_owned(), place, value });
            self.at = At::Section { indent: Some(edge.unwrap_or(indent)) };
            return;
        } else {
            continue_section(section, text);
        }
        self.at = At::Section { indent: edge };
    }

    /// A line that continues what is above it.
    fn continues(&mut self, text: &str) {
        match self.at {
            At::Title => join(&mut self.raw.summary, text),
            At::Mention => {
                if let Some(mention) = self.raw.mentions.last_mut() {
                    join(&mut mention.value, text);
                }
            }
            At::Remarks => {
                if let Some(last) = self.raw.remarks.last_mut() {
                    prose_line(last, text);
                }
            }
            At::Section { .. } | At::Nothing { .. } => {
                let Some(section) = self.raw.sections.last_mut() else { return };
                if PROSE.contains(&section.key.as_str()) {
                    prose_line(&mut section.header, text);
                } else if section.key == EXAMPLES {
                    section.lines.push(text.to_owned());
                } else {
                    continue_section(section, text);
                }
            }
        }
    }
}

/// Adds a line to the last sub-key of a section, or to its header.
fn continue_section(section: &mut RawSection, text: &str) {
    match section.fields.last_mut() {
        Some(field) => join(&mut field.value, text),
        None => join(&mut section.header, text),
    }
}

/// Adds a line to a value.
fn join(value: &mut String, text: &str) {
    let text = squeeze(text);
    if !value.is_empty() && !text.is_empty() {
        value.push(' ');
    }
    value.push_str(&text);
}

/// Adds a line to prose: a line that begins with a hyphen stands for itself.
fn prose_line(prose: &mut String, text: &str) {
    let text = squeeze(text);
    if prose.is_empty() || prose.ends_with("\n\n") {
    } else if text.starts_with("- ") {
        prose.push('\n');
    } else {
        prose.push(' ');
    }
    prose.push_str(&text);
}

/// `@name: text`.
fn mention(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix('@')?.split_once(':')?;
    is_parameter(name).then_some((name, rest))
}

/// How far to the right a line begins, where that is, and the line from there on.
fn indentation<'l>(line: &'l Line<'_>) -> (usize, Place, &'l str) {
    let mut width = 0usize;
    let mut columns = 0u32;
    let mut start = line.text.len();
    for (index, c) in line.text.char_indices() {
        match c {
            '\t' => width = (width / TAB + 1) * TAB,
            c if c.is_whitespace() => width += 1,
            _ => {
                start = index;
                break;
            }
        }
        columns = columns.saturating_add(1);
    }
    let text = line.text.get(start..).unwrap_or_default().trim_end();
    let column = line.place.column.saturating_add(columns);
    (width, Place { column, ..line.place }, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::source::{self, Form};

    fn read(text: &str) -> (RawSpec, Vec<String>) {
        let mut findings = Findings::new("t");
        let candidates = source::candidates(Form::Plain, text, &mut findings);
        let raw = sections(&candidates[0], &mut findings);
        (raw, findings.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sub_keys_are_told_from_prose_by_where_they_stand() {
        let (raw, findings) = read(
            "sys_f - F\nparam: a\n  constraint: first\n    error: not a key, further in\n  size: 8\nerror: E, c\n  \
             desc: d\n  more: kept\nconstraint: N\n",
        );
        let keys: Vec<&str> = raw.sections.iter().map(|s| s.key.as_str()).collect();
        assert_eq!(keys, ["param", "error", "constraint"]);
        assert_eq!(raw.sections[0].fields.len(), 2);
        assert_eq!(raw.sections[0].fields[0].value, "first error: not a key, further in");
        assert_eq!(raw.sections[1].fields[1].key, "more");
        assert_eq!(
            findings,
            ["t:8:3: note: `more:` is not a known sub-key of `error:`; it is kept"]
        );
    }

    #[test]
    fn prose_keeps_paragraphs_and_lists() {
        let (raw, _) =
            read("f - F\n  goes on\nlong-desc: One\n  two\n\n  - a\n    b\n  - c\n\n\n  end\n");
        assert_eq!(raw.summary, "F goes on");
        assert_eq!(raw.sections[0].header, "One two\n\n- a b\n- c\n\nend");
    }

    #[test]
    fn examples_keep_their_lines_and_indentation() {
        let (raw, _) = read("f - F\nexamples: one;\n  two {\n\n      three\n  }\n\nnotes: n\n");
        assert_eq!(raw.sections[0].lines, ["one;", "two {", "", "    three", "}", ""]);
    }

    #[test]
    fn mentions_and_remarks() {
        let (raw, findings) =
            read("f - F\n@a: first\n     more\n@b:\n\nFree prose\ngoes on\n\nzebra: x\n");
        let mentions: Vec<(&str, &str)> =
            raw.mentions.iter().map(|m| (m.key.as_str(), m.value.as_str())).collect();
        assert_eq!(mentions, [("a", "first more"), ("b", "")]);
        assert_eq!(raw.remarks, ["Free prose goes on"]);
        assert_eq!(findings, ["t:9:1: note: `zebra:` is not a key that is known; it is kept"]);
    }
}
