//! The grammar itself. What is printed and read again is the same model.

use crate::model::{Section, Specification};
use crate::print::wrap::{prose, wrap};
use crate::raise::{self, Generation};

/// As a text of its own.
#[must_use]
pub fn text(spec: &Specification, generation: Generation) -> String {
    let mut out = format!("{} - {}", spec.full_name(), spec.summary);
    out.truncate(out.trim_end().len());
    out.push('\n');
    // All of them, so that the order stays.
    for p in &spec.parameters {
        out.push('@');
        line(&mut out, &p.name, p.text.as_deref().unwrap_or_default(), 2);
    }
    if let Some(kind) = raise::api_type(spec) {
        line(&mut out, "api-type", kind, 2);
    }
    if let Some(long) = &spec.long {
        out.push('\n');
        paragraphs(&mut out, "long-desc", long);
    }
    if let Some((key, value)) = raise::contexts(spec, generation) {
        out.push('\n');
        line(&mut out, key, &value, 2);
    }
    for section in raise::statements(spec, generation) {
        // What the line above has said may be all there is; but the second description must stay the second.
        let second = |s: &Section| s.key == section.key && s.header == section.header;
        let said = section.key == "param" && section.fields.is_empty();
        if !said || spec.unknown.iter().any(second) {
            whole(&mut out, &section);
        }
    }
    if !spec.examples.is_empty() {
        out.push_str("\nexamples:\n");
        for example in &spec.examples {
            let indented = format!("  {example}");
            out.push_str(indented.trim_end());
            out.push('\n');
        }
    }
    for (key, text) in [("notes", &spec.notes), ("remarks", &spec.remarks)] {
        if let Some(text) = text {
            out.push('\n');
            paragraphs(&mut out, key, text);
        }
    }
    if let Some(since) = &spec.since {
        out.push('\n');
        line(&mut out, "since-version", since, 2);
    }
    // Behind everything else: the second of what was given twice must stay the second.
    for section in &spec.unknown {
        whole(&mut out, section);
    }
    out
}

/// In a comment of C code. A `*/` inside of it would end it and is printed as `* /`.
#[must_use]
pub fn comment(spec: &Specification, generation: Generation) -> String {
    let mut out = String::from("/**\n");
    for line in text(spec, generation).lines() {
        out.push_str(if line.is_empty() { " *" } else { " * " });
        out.push_str(&line.replace("*/", "* /"));
        out.push('\n');
    }
    out.push_str(" */\n");
    out
}

/// A key and its value, wrapped.
fn line(out: &mut String, key: &str, value: &str, indent: usize) {
    out.push_str(key);
    out.push(':');
    if !value.is_empty() {
        out.push(' ');
        wrap(out, key.len() + 2, indent, value);
    }
    out.push('\n');
}

fn paragraphs(out: &mut String, key: &str, text: &str) {
    out.push_str(key);
    out.push(':');
    for (index, part) in prose(text).enumerate() {
        match (index, part.is_empty()) {
            (0, _) => {
                out.push(' ');
                wrap(out, key.len() + 2, 2, part);
            }
            (_, true) => {}
            (_, false) => {
                out.push_str("  ");
                wrap(out, 2, 2, part);
            }
        }
        out.push('\n');
    }
}

fn whole(out: &mut String, section: &Section) {
    out.push('\n');
    line(out, &section.key, &section.header, 4);
    for field in &section.fields {
        out.push_str("  ");
        line(out, &field.key, &field.value, 4);
    }
}
