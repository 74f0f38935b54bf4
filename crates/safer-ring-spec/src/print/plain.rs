//! For a person at a terminal.

use std::fmt::Write;

use crate::model::Specification;
use crate::print::HEADINGS;
use crate::print::wrap::{prose, wrap};
use crate::raise::{self, Generation};

pub(super) fn render(spec: &Specification) -> String {
    let title = format!("{} - {}", spec.full_name(), spec.summary);
    let mut out = format!("{title}\n{}\n", "=".repeat(title.chars().count()));
    block(&mut out, spec.long.as_deref());
    if let Some((_, contexts)) = raise::contexts(spec, Generation::Short) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\nMay be called from: {contexts}");
    }
    if let Some(since) = &spec.since {
        let _ = writeln!(out, "\nSince Linux {since}");
    }
    let sections = raise::statements(spec, Generation::Short);
    let ids = spec.statements();
    for (key, heading) in HEADINGS {
        let of: Vec<_> = sections.iter().zip(&ids).filter(|(s, _)| s.key == *key).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{heading} ({})", of.len());
        for (section, statement) in of {
            out.push_str("  ");
            let name = if section.header.is_empty() { "-" } else { &section.header };
            wrap(&mut out, 2, 6, name);
            out.push('\n');
            let text = spec.parameters.iter().find(|p| *key == "param" && p.name == section.header);
            if let Some(text) = text.and_then(|p| p.text.as_deref()) {
                out.push_str("      ");
                wrap(&mut out, 6, 6, text);
                out.push('\n');
            }
            for field in section.fields.iter().filter(|field| field.key != "id") {
                let start = format!("      {}: ", field.key);
                out.push_str(&start);
                wrap(&mut out, start.len(), 8, &field.value);
                out.push('\n');
            }
            let _ = writeln!(out, "      [{}]", statement.id);
        }
    }
    for section in &spec.unknown {
        let _ = writeln!(out, "\n{}: {}", section.key, section.header);
        for field in &section.fields {
            let _ = writeln!(out, "      {}: {}", field.key, field.value);
        }
    }
    if !spec.examples.is_empty() {
        out.push_str("\nExamples\n");
        for example in &spec.examples {
            let _ = writeln!(out, "  {example}");
        }
    }
    block(&mut out, spec.notes.as_deref());
    block(&mut out, spec.remarks.as_deref());
    out
}

fn block(out: &mut String, text: Option<&str>) {
    let Some(text) = text else { return };
    out.push('\n');
    for part in prose(text) {
        wrap(out, 0, 0, part);
        out.push('\n');
    }
}
