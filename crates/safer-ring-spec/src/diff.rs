//! What two specifications say differently.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Section, Specification};
use crate::raise::{self, Generation};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Difference {
    /// A statement that only the second has.
    Added {
        /// Its id.
        id: String,
        /// What it says.
        text: String,
    },
    /// A statement that only the first has.
    Removed {
        /// Its id.
        id: String,
        /// What it says.
        text: String,
    },
    /// Something that both have and that is not the same.
    Changed {
        /// The id of the statement, or the name of the call.
        id: String,
        /// The sub-key or key.
        field: String,
        /// What the first says; nothing if it says nothing.
        before: Option<String>,
        /// What the second says.
        after: Option<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { id, text } => write!(f, "+ {id}: {text}"),
            Self::Removed { id, text } => write!(f, "- {id}: {text}"),
            Self::Changed { id, field, before, after } => {
                writeln!(f, "~ {id}: {field}")?;
                writeln!(f, "    - {}", before.as_deref().unwrap_or("(nothing)"))?;
                write!(f, "    + {}", after.as_deref().unwrap_or("(nothing)"))
            }
        }
    }
}

/// Compares two specifications, statement by statement.
///
/// Statements belong together if they have the same id; of specifications of two names, if what follows the name is the
/// same. Where statements stand makes no difference.
#[must_use]
pub fn diff(first: &Specification, second: &Specification) -> Vec<Difference> {
    let mut differences = Vec::new();
    let name = &first.name;
    let (old, new) = (head(first), head(second));
    fields(name, &old, &new, &mut differences);
    let (old, new) = (named(first), named(second));
    // An id that is given twice is compared in turn.
    let mut left: Vec<Option<&(String, Section)>> = new.iter().map(Some).collect();
    for (id, before) in &old {
        let same =
            |slot: &&mut Option<&(String, Section)>| slot.is_some_and(|(other, _)| other == id);
        match left.iter_mut().find(same).and_then(Option::take) {
            Some((_, after)) => {
                fields(&full(name, id), &of(before), &of(after), &mut differences);
            }
            None => {
                differences.push(Difference::Removed { id: full(name, id), text: text(before) });
            }
        }
    }
    for (id, after) in left.into_iter().flatten() {
        differences.push(Difference::Added { id: full(name, id), text: text(after) });
    }
    differences
}

/// The differences as lines.
#[must_use]
pub fn render(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("{difference}\n")).collect()
}

/// Keys with their values, some perhaps several times.
type Fields = Vec<(String, String)>;

/// What is said of the call as a whole.
fn head(spec: &Specification) -> Fields {
    let entry = |key: &str, value: &Option<String>| Some((key.to_owned(), value.clone()?));
    let mut fields =
        vec![("name".to_owned(), spec.full_name()), ("summary".to_owned(), spec.summary.clone())];
    let contexts = raise::contexts(spec, Generation::Short).map(|(_, value)| value);
    let examples = (!spec.examples.is_empty()).then(|| spec.examples.join("\n"));
    fields.extend(entry("contexts", &contexts));
    fields.extend(entry("since-version", &spec.since));
    fields.extend(entry("long-desc", &spec.long));
    fields.extend(entry("examples", &examples));
    fields.extend(entry("notes", &spec.notes));
    fields.extend(entry("remarks", &spec.remarks));
    for section in &spec.unknown {
        fields.push((section.key.clone(), text(section)));
    }
    fields
}

/// The statements with their ids, without the name of the call.
fn named(spec: &Specification) -> Vec<(String, Section)> {
    let prefix = format!("{}/", spec.name);
    let sections = raise::statements(spec, Generation::Short);
    let named = spec.statements().into_iter().zip(sections).map(|(statement, mut section)| {
        let parameter =
            spec.parameters.iter().find(|p| section.key == "param" && p.name == statement.name);
        if let Some(text) = parameter.and_then(|p| p.text.clone()) {
            section.fields.insert(0, crate::model::Field { key: "text".to_owned(), value: text });
        }
        let id = statement.id.strip_prefix(&prefix).unwrap_or(&statement.id).to_owned();
        (id, section)
    });
    named.collect()
}

fn full(name: &str, id: &str) -> String {
    format!("{name}/{id}")
}

/// The parts of a section. The id names the statement and is no part of what it says.
fn of(section: &Section) -> Fields {
    let mut fields = vec![(section.key.clone(), section.header.clone())];
    let said = section.fields.iter().filter(|field| field.key != "id");
    fields.extend(said.map(|field| (field.key.clone(), field.value.clone())));
    fields
}

/// A section in one line.
fn text(section: &Section) -> String {
    let mut text = section.header.clone();
    for field in section.fields.iter().filter(|field| field.key != "id") {
        text.push_str(if text.is_empty() { "" } else { "; " });
        text.push_str(&format!("{}: {}", field.key, field.value));
    }
    text
}

/// Compares keys one by one; the second of two equal keys is compared with the second.
fn fields(id: &str, old: &Fields, new: &Fields, differences: &mut Vec<Difference>) {
    let mut left: Vec<Option<&(String, String)>> = new.iter().map(Some).collect();
    let mut changed = |field: &str, before: Option<&String>, after: Option<&String>| {
        differences.push(Difference::Changed {
            id: id.to_owned(),
            field: field.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        });
    };
    for (key, before) in old {
        let same =
            |slot: &&mut Option<&(String, String)>| slot.is_some_and(|(other, _)| other == key);
        match left.iter_mut().find(same).and_then(Option::take) {
            Some((_, after)) if after == before => {}
            Some((_, after)) => changed(key, Some(before), Some(after)),
            None => changed(key, Some(before), None),
        }
    }
    for (key, after) in left.into_iter().flatten() {
        changed(key, None, Some(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn spec(text: &str) -> Specification {
        parse("t", text).specifications.remove(0).specification
    }

    #[test]
    fn statements_are_compared_by_what_they_are_about() {
        let a = spec(
            "sys_f - F\ncontexts: process\nerror: EINVAL, Bad\n  desc: one\nerror: EIO, Disk\nlock: l\n",
        );
        let b = spec(
            "sys_f - F\ncontexts: process\nerror: EPERM, New\nlock: l\nerror: EINVAL, Bad\n  desc: two\n",
        );
        let found = render(&diff(&a, &b));
        let expected = "~ f/EINVAL/Bad: desc\n    - one\n    + two\n- f/EIO/Disk: EIO, Disk\n+ f/EPERM/New: EPERM, New\n";
        assert_eq!(found, expected);
        assert!(diff(&a, &a).is_empty());
    }

    #[test]
    fn two_calls_are_compared_without_their_names() {
        let a = spec("sys_f - F\ncontexts: process\nerror: EINVAL, Bad\n");
        let b = spec("sys_g - F\ncontexts: process\nerror: EINVAL, Bad\nsince-version: 5.1\n");
        let fields: Vec<String> = diff(&a, &b)
            .into_iter()
            .map(|d| match d {
                Difference::Changed { field, .. } => field,
                other => other.to_string(),
            })
            .collect();
        assert_eq!(fields, ["name", "since-version"]);
    }

    #[test]
    fn differences_are_data() {
        let difference = Difference::Removed { id: "f/x".to_owned(), text: "y".to_owned() };
        let json = serde_json::to_string(&difference).unwrap();
        assert_eq!(json, r#"{"change":"removed","id":"f/x","text":"y"}"#);
    }
}
