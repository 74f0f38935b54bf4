//! Markdown.

use std::fmt::Write;

use crate::model::Specification;
use crate::print::HEADINGS;
use crate::raise::{self, Generation};

pub(super) fn render(spec: &Specification) -> String {
    let mut out = format!("# {}\n\n{}\n", escape(&spec.full_name()), escape(&spec.summary));
    block(&mut out, spec.long.as_deref());
    if let Some((_, contexts)) = raise::contexts(spec, Generation::Short) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n**May be called from:** {}", escape(&contexts));
    }
    if let Some(since) = &spec.since {
        let _ = writeln!(out, "\n**Since:** Linux {}", escape(since));
    }
    let sections = raise::statements(spec, Generation::Short);
    let ids = spec.statements();
    for (key, heading) in HEADINGS {
        let of: Vec<_> = sections.iter().zip(&ids).filter(|(s, _)| s.key == *key).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {heading}\n");
        for (section, statement) in of {
            let name = if section.header.is_empty() { &statement.id } else { &section.header };
            let text = spec.parameters.iter().find(|p| *key == "param" && p.name == *name);
            let text = text.and_then(|p| p.text.as_deref()).map(|t| format!(": {}", escape(t)));
            let _ = writeln!(out, "- **{}**{}", escape(name), text.unwrap_or_default());
            for field in &section.fields {
                let _ = writeln!(out, "  - {}: {}", escape(&field.key), escape(&field.value));
            }
        }
    }
    for section in &spec.unknown {
        let _ = writeln!(out, "\n## {}\n\n{}\n", escape(&section.key), escape(&section.header));
        for field in &section.fields {
            let _ = writeln!(out, "- {}: {}", escape(&field.key), escape(&field.value));
        }
    }
    if !spec.examples.is_empty() {
        out.push_str("\n## Examples\n\n");
        // Four spaces make code of it, whatever is in it.
        for example in &spec.examples {
            out.push_str(format!("    {example}").trim_end());
            out.push('\n');
        }
    }
    if spec.notes.is_some() {
        out.push_str("\n## Notes\n");
    }
    block(&mut out, spec.notes.as_deref());
    block(&mut out, spec.remarks.as_deref());
    out
}

fn block(out: &mut String, text: Option<&str>) {
    let Some(text) = text else { return };
    for part in text.split('\n') {
        let item = part.strip_prefix("- ");
        let line = item.map_or_else(|| escape(part), |item| format!("- {}", escape(item)));
        let _ = write!(out, "\n{line}");
    }
    out.push('\n');
}

/// The text with the characters that mean something escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let means = matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&');
        if means || index == 0 && matches!(c, '#' | '+' | '-' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
