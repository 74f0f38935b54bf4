//! reStructuredText.

use std::fmt::Write;

use crate::model::Specification;
use crate::print::HEADINGS;
use crate::raise::{self, Generation};

pub(super) fn render(spec: &Specification) -> String {
    let mut out = String::new();
    heading(&mut out, &escape(&spec.full_name()), '=');
    if !spec.summary.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n{}", escape(&spec.summary));
    }
    block(&mut out, spec.long.as_deref());
    if let Some((_, contexts)) = raise::contexts(spec, Generation::Short) {
        let _ = writeln!(out, "\n:May be called from: {}", escape(&contexts));
    }
    if let Some(since) = &spec.since {
        let _ = writeln!(out, "\n:Since: Linux {}", escape(since));
    }
    let sections = raise::statements(spec, Generation::Short);
    let ids = spec.statements();
    for (key, title) in HEADINGS {
        let of: Vec<_> = sections.iter().zip(&ids).filter(|(s, _)| s.key == *key).collect();
        if of.is_empty() {
            continue;
        }
        out.push('\n');
        heading(&mut out, title, '-');
        for (section, statement) in of {
            let name = if section.header.is_empty() { &statement.id } else { &section.header };
            let _ = writeln!(out, "\n{}", escape(name));
            let text = spec.parameters.iter().find(|p| *key == "param" && p.name == *name);
            if let Some(text) = text.and_then(|p| p.text.as_deref()) {
                let _ = writeln!(out, "    {}\n", escape(text));
            }
            for field in &section.fields {
                let _ = writeln!(out, "    :{}: {}", field.key, escape(&field.value));
            }
            if section.fields.is_empty() {
                let _ = writeln!(out, "    :id: {}", escape(&statement.id));
            }
        }
    }
    for section in &spec.unknown {
        out.push('\n');
        heading(&mut out, &section.key, '-');
        let _ = writeln!(out, "\n{}", escape(&section.header));
        for field in &section.fields {
            let _ = writeln!(out, "\n:{}: {}", field.key, escape(&field.value));
        }
    }
    if !spec.examples.is_empty() {
        out.push('\n');
        heading(&mut out, "Examples", '-');
        out.push_str("\n.. code-block:: c\n\n");
        for example in &spec.examples {
            out.push_str(format!("    {example}").trim_end());
            out.push('\n');
        }
    }
    if spec.notes.is_some() {
        out.push('\n');
        heading(&mut out, "Notes", '-');
    }
    block(&mut out, spec.notes.as_deref());
    block(&mut out, spec.remarks.as_deref());
    out
}

fn heading(out: &mut String, title: &str, line: char) {
    let line: String = std::iter::repeat_n(line, title.chars().count().max(1)).collect();
    let _ = writeln!(out, "{title}\n{line}");
}

fn block(out: &mut String, text: Option<&str>) {
    let Some(text) = text else { return };
    let mut list = false;
    out.push('\n');
    for part in text.split('\n') {
        let item = part.strip_prefix("- ");
        if list != item.is_some() && !part.is_empty() {
            out.push('\n');
        }
        list = item.is_some();
        match item {
            Some(item) => out.push_str(&format!("- {}\n", escape(item))),
            None => out.push_str(&format!("{}\n", escape(part))),
        }
    }
}

/// The text with the characters that mean something escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let means = matches!(c, '\\' | '`' | '*' | '_' | '|' | '<' | '>');
        if means || index == 0 && matches!(c, ':' | '-' | '+' | '.' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
