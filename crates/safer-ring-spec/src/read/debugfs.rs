//! What a kernel shows of a specification in `/sys/kernel/debug/kapi/specs/`, as sections.
//!
//! It is a text for people: headings with a count, and below them items and their properties, further to the right.

use crate::diagnostic::{Findings, Place};
use crate::grammar::{split_key, squeeze};
use crate::read::section::{RawField, RawSection, RawSpec};

/// The headings with a count: heading, key of the grammar.
const LISTS: &[(&str, &str)] = &[
    ("Parameters", "param"),
    ("Errors", "error"),
    ("Locks", "lock"),
    ("Additional constraints", "constraint"),
    ("Signal handling", "signal"),
    ("Side effects", "side-effect"),
    ("State transitions", "state-trans"),
    ("Capabilities", "capability"),
];

/// Properties under another name than in the grammar: key of the section, property, sub-key.
const PROPERTIES: &[(&str, &str, &str)] = &[
    ("param", "description", "desc"),
    ("return", "description", "desc"),
    ("signal", "description", "desc"),
    ("constraint", "expression", "expr"),
    ("constraints", "type", "constraint-type"),
    ("constraints", "valid_bits", "mask"),
    ("constraints", "description", "cdesc"),
    ("constraints", "alignment", "alignment"),
    ("constraints", "size", "size"),
];

/// Where a line belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    Prose,
    Examples,
    Return,
    List(&'static str),
}

/// A heading with a count that is being read.
struct Open {
    heading: &'static str,
    place: Place,
    announced: usize,
    found: usize,
}

/// Reads the text. Its first line is known to be the title of the form.
pub(crate) fn read(text: &str, findings: &mut Findings) -> RawSpec {
    let raw = RawSpec {
        place: Place { line: 1, column: 1 },
        name: String::new(),
        summary: String::new(),
        mentions: Vec::new(),
        sections: Vec::new(),
        remarks: Vec::new(),
    };
    let mut reader = Reader { raw, at: At::Head, open: None, limits: false, findings };
    for (line, text) in (1u32..).zip(text.lines()).skip(1) {
        let trimmed = text.trim_start();
        let indent = text.len() - trimmed.len();
        let column = u32::try_from(indent + 1).unwrap_or(u32::MAX);
        reader.line(Place { line, column }, indent, trimmed.trim_end());
    }
    reader.close();
    for section in &mut reader.raw.sections {
        bounds(section);
        for field in &mut section.fields {
            field.value = squeeze(&field.value);
        }
    }
    reader.raw
}

struct Reader<'f> {
    raw: RawSpec,
    at: At,
    open: Option<Open>,
    /// Inside of the constraints of a parameter.
    limits: bool,
    findings: &'f mut Findings,
}

impl Reader<'_> {
    fn line(&mut self, place: Place, indent: usize, text: &str) {
        if text.is_empty() {
            if matches!(self.at, At::Prose) {
                self.prose("\n\n");
            }
        } else if indent == 0 && self.heading(place, text) {
        } else {
            match self.at {
                At::Head => self.stray(place, text),
                At::Prose => self.prose(text),
                At::Examples => {
                    if let Some(section) = self.raw.sections.last_mut() {
                        section.lines.push(format!("{}{text}", " ".repeat(indent)));
                    }
                }
                At::Return => self.property(place, "return", text),
                At::List(key) if indent <= 2 => self.item(place, key, text),
                At::List(key) => {
                    let key = if indent >= 6 && self.limits { "constraints" } else { key };
                    self.property(place, key, text);
                }
            }
        }
    }

    /// A line in the first column; whether it is a heading.
    fn heading(&mut self, place: Place, text: &str) -> bool {
        if text.chars().all(|c| c == '=') {
            return true;
        }
        if let Some(list) = counted(text) {
            self.close();
            let ((heading, key), announced) = list;
            self.open = Some(Open { heading, place, announced, found: 0 });
            self.at = At::List(key);
            return true;
        }
        let Some((word, rest)) = text.split_once(':') else { return false };
        let rest = rest.trim();
        let at = match word {
            "Name" => {
                rest.clone_into(&mut self.raw.name);
                self.raw.place = place;
                At::Head
            }
            "Version" => At::Head,
            "Description" => {
                self.raw.summary = squeeze(rest);
                At::Head
            }
            "Long description" => {
                self.section(place, "long-desc", rest);
                At::Prose
            }
            "Context flags" => {
                self.section(place, "contexts", &squeeze(rest).replace(' ', ", "));
                At::Head
            }
            "Return value" => {
                self.section(place, "return", "");
                At::Return
            }
            "Examples" => {
                self.section(place, "examples", "");
                At::Examples
            }
            "Notes" => {
                self.section(place, "notes", "");
                At::Prose
            }
            "Since" => {
                self.section(place, "since-version", rest);
                At::Head
            }
            _ => return false,
        };
        self.close();
        self.at = at;
        true
    }

    fn stray(&mut self, place: Place, text: &str) {
        let message = format!("`{text}` belongs to nothing; it is passed over");
        self.findings.warning(place, message, "a heading such as `Errors (2):`");
    }

    fn section(&mut self, place: Place, key: &str, header: &str) {
        self.raw.sections.push(RawSection {
            key: key.to_owned(),
            place,
            header: squeeze(header),
            fields: Vec::new(),
            lines: Vec::new(),
        });
        self.limits = false;
    }

    fn prose(&mut self, text: &str) {
        let Some(section) = self.raw.sections.last_mut() else { return };
        let prose = &mut section.header;
        if text.trim().is_empty() {
            let paragraph = !prose.is_empty() && !prose.ends_with("\n\n");
            prose.push_str(if paragraph { "\n\n" } else { "" });
            return;
        }
        if !prose.is_empty() && !prose.ends_with('\n') {
            prose.push(if text.starts_with("- ") { '\n' } else { ' ' });
        }
        prose.push_str(&squeeze(text));
    }

    /// An item below a heading with a count.
    fn item(&mut self, place: Place, key: &'static str, text: &str) {
        if let Some(open) = &mut self.open {
            open.found += 1;
        }
        let text = squeeze(text);
        let (name, rest) = match key {
            // `[0] name:`, `SIGNAME (2):`, `CAP_NAME (23):`
            "param" => (text.split_once("] ").map_or(text.as_str(), |(_, name)| name), ""),
            "constraint" | "side-effect" => {
                let text = text.strip_prefix("- ").unwrap_or(&text);
                text.split_once(": ").unwrap_or((text, ""))
            }
            _ => text.split_once(": ").unwrap_or((&text, "")),
        };
        let name = name.strip_suffix(':').unwrap_or(name);
        let (bare, inside) = match name.strip_suffix(')').and_then(|name| name.rsplit_once(" (")) {
            Some((bare, inside)) if key != "param" => (bare, inside),
            _ => (name, ""),
        };
        let fields: Vec<(&str, String)> = match key {
            "lock" => vec![("type", inside.to_owned()), ("desc", rest.to_owned())],
            "side-effect" => {
                let (rest, reversible) = match rest.strip_suffix(" (reversible)") {
                    Some(rest) => (rest, "yes"),
                    None => (rest, "no"),
                };
                let fields = [("target", name), ("desc", rest), ("reversible", reversible)];
                fields.map(|(key, value)| (key, value.to_owned())).to_vec()
            }
            "state-trans" => {
                let (from, to) = rest.split_once(" -> ").unwrap_or((rest, ""));
                vec![("from", from.to_owned()), ("to", to.to_owned())]
            }
            "constraint" => vec![("desc", rest.to_owned())],
            _ => Vec::new(),
        };
        let header = match key {
            "error" if !rest.is_empty() => format!("{bare}, {rest}"),
            // The kernel does not show of what kind an effect is.
            "side-effect" => "modify_state".to_owned(),
            "constraint" | "state-trans" => name.to_owned(),
            _ => bare.to_owned(),
        };
        self.section(place, key, &header);
        let Some(section) = self.raw.sections.last_mut() else { return };
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        section.fields.extend(fields.map(|(key, value)| RawField {
            key: key.to_owned(),
            place,
            value,
        }));
    }

    /// A property of the last item.
    fn property(&mut self, place: Place, key: &str, text: &str) {
        let Some(section) = self.raw.sections.last_mut() else { return };
        if text == "constraints:" {
            self.limits = true;
            return;
        }
        // The kernel writes underscores where the grammar has hyphens.
        let parts = text
            .split_once(':')
            .filter(|(word, _)| split_key(&format!("{}:", word.replace('_', "-"))).is_some());
        let Some((word, rest)) = parts else {
            // A description that goes on, or that of a change of state, which has no name.
            let text = squeeze(text);
            match section.fields.last_mut() {
                Some(field) if key != "state-trans" || field.key == "desc" => {
                    field.value.push(' ');
                    field.value.push_str(&text);
                }
                _ => section.fields.push(RawField { key: "desc".to_owned(), place, value: text }),
            }
            return;
        };
        let known = PROPERTIES.iter().find(|(of, name, _)| *of == key && *name == word);
        let word = known.map_or_else(|| word.replace('_', "-"), |(_, _, key)| (*key).to_owned());
        let value = squeeze(rest);
        let value = match word.as_str() {
            // `int (unsigned int)`: the class, and the type of the code.
            "type" if key == "param" => value.split(" (").next().unwrap_or_default().to_owned(),
            "flags" | "direction" => value.replace(' ', ", "),
            _ => value,
        };
        if !value.is_empty() {
            section.fields.push(RawField { key: word, place, value });
        }
    }

    /// Compares what a heading announced with what was there.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.announced != open.found {
            let message =
                format!("`{}` announces {}, and has {}", open.heading, open.announced, open.found);
            self.findings.warning(open.place, message, &open.found.to_string());
        }
    }
}

/// A heading with a count: `Errors (8):`.
fn counted(text: &str) -> Option<((&'static str, &'static str), usize)> {
    let (heading, count) = text.strip_suffix("):")?.rsplit_once(" (")?;
    let list = LISTS.iter().find(|(known, _)| *known == heading)?;
    Some((*list, count.parse().ok()?))
}

/// Puts `min` and `max` of a parameter together, and what belongs to `success` of what is returned.
fn bounds(section: &mut RawSection) {
    let fields = &mut section.fields;
    if section.key == "param" {
        let take = |fields: &mut Vec<RawField>, names: [&str; 2]| {
            let index = fields.iter().position(|f| names.contains(&f.key.as_str()))?;
            Some(fields.remove(index))
        };
        let low = take(fields, ["min", "min-len"]);
        let high = take(fields, ["max", "max-len"]);
        if let (Some(low), Some(high)) = (low, high) {
            let value = format!("{}, {}", low.value, high.value);
            fields.push(RawField { key: "range".to_owned(), place: low.place, value });
        }
    } else if section.key == "return" {
        let Some(success) = fields.iter_mut().find(|f| f.key == "success") else { return };
        let (check, key, value) = match success.value.as_str() {
            "valid file descriptor (>= 0)" => ("fd", "success", ">= 0".to_owned()),
            "error check" => ("error_check", "", String::new()),
            "custom check" => ("custom", "", String::new()),
            other => match (other.strip_prefix("== "), other.strip_prefix('[')) {
                (Some(value), _) => ("exact", "success", value.to_owned()),
                (_, Some(range)) => {
                    ("range", "success-range", range.trim_end_matches(']').to_owned())
                }
                _ => return,
            },
        };
        let place = success.place;
        fields.retain(|f| f.key != "success");
        fields.push(RawField { key: "check-type".to_owned(), place, value: check.to_owned() });
        if !key.is_empty() {
            fields.push(RawField { key: key.to_owned(), place, value });
        }
    }
}

/// The names and summaries of `/sys/kernel/debug/kapi/list`.
#[must_use]
pub fn parse_list(text: &str) -> Vec<(String, String)> {
    let titles = text.lines().filter_map(crate::grammar::split_title);
    titles.map(|(name, summary)| (name.to_owned(), squeeze(summary))).collect()
}
