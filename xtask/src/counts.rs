//! Numbers that may only go down, kept in small files that are read in reviews.
//!
//! The files hold `[section]` lines and `"key" = number` lines: the part of TOML this needs, read
//! strictly, so that a typing mistake is an error and never an entry that silently does nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Outcome;

/// What a section holds: a number for each key.
pub(crate) type Numbers = BTreeMap<String, usize>;

/// Sections by name; lines before the first section belong to the section with the empty name.
pub(crate) type Sections = BTreeMap<String, Numbers>;

/// Reads a file of numbers. `name` is used in messages.
pub(crate) fn parse(name: &str, text: &str) -> Outcome<Sections> {
    let mut sections = Sections::new();
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", index + 1);
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            current = section.trim().to_owned();
            if sections.insert(current.clone(), Numbers::new()).is_some() {
                return Err(format!("{at}: section [{current}] is there twice"));
            }
            continue;
        }
        let entry = line.split_once('=').and_then(|(key, value)| {
            let key = key.trim().strip_prefix('"')?.strip_suffix('"')?;
            Some((key.to_owned(), value.trim().parse::<usize>().ok()?))
        });
        let Some((key, value)) = entry else {
            return Err(format!("{at}: expected `\"key\" = number` or `[section]`: {line}"));
        };
        let numbers = sections.entry(current.clone()).or_default();
        if numbers.insert(key.clone(), value).is_some() {
            return Err(format!("{at}: \"{key}\" is there twice"));
        }
    }
    Ok(sections)
}

/// Writes what [`parse`] reads, under a comment.
pub(crate) fn render(comment: &str, sections: &Sections) -> String {
    let mut text = String::new();
    for line in comment.lines() {
        let _ = writeln!(text, "# {line}");
    }
    for (name, numbers) in sections {
        text.push('\n');
        if !name.is_empty() {
            let _ = writeln!(text, "[{name}]");
        }
        for (key, value) in numbers {
            let _ = writeln!(text, "\"{key}\" = {value}");
        }
    }
    text
}

/// Compares what is there with what is allowed: nothing above `limit` without an entry, no entry
/// exceeded, and no entry larger than needed. `file` holds the entries, `unit` names what is
/// counted.
pub(crate) fn judge(
    limit: usize,
    actual: &Numbers,
    allowed: &Numbers,
    file: &str,
    unit: &str,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (key, &count) in actual {
        match allowed.get(key) {
            Some(&entry) if count > entry => {
                findings.push(format!("{key}: {count} {unit}, and {file} allows {entry}"));
            }
            Some(_) if count <= limit => {
                findings.push(format!("{file}: remove \"{key}\": {count} {unit} need no entry"));
            }
            Some(&entry) if count < entry => {
                findings.push(format!("{file}: \"{key}\" = {entry}: lower it to {count}"));
            }
            None if count > limit => {
                findings.push(format!("{key}: {count} {unit}, the limit is {limit}"));
            }
            _ => {}
        }
    }
    for key in allowed.keys().filter(|key| !actual.contains_key(*key)) {
        findings.push(format!("{file}: remove \"{key}\": there is nothing of that name"));
    }
    findings
}

/// The entries after tightening: lowered to what is there, dropped where they are not needed, never
/// raised. With `add`, what has no entry yet gets one.
pub(crate) fn tighten(limit: usize, actual: &Numbers, allowed: &Numbers, add: bool) -> Numbers {
    let over = actual.iter().filter(|&(_, &count)| count > limit);
    over.filter_map(|(key, &count)| match allowed.get(key) {
        Some(&entry) => Some((key.clone(), entry.min(count))),
        None => add.then(|| (key.clone(), count)),
    })
    .collect()
}

/// Entries that are higher than they were in an older version of the file.
pub(crate) fn risen(now: &Sections, older: &Sections) -> Vec<String> {
    let mut findings = Vec::new();
    for (section, numbers) in now {
        for (key, &value) in numbers {
            let before = older.get(section).and_then(|numbers| numbers.get(key));
            if let Some(&before) = before.filter(|&&before| before < value) {
                findings.push(format!("\"{key}\" went up from {before} to {value}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(entries: &[(&str, usize)]) -> Numbers {
        entries.iter().map(|&(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sections = Sections::from([
            (String::new(), numbers(&[("a.rs", 3)])),
            ("functions".to_owned(), numbers(&[("b.rs::f", 80), ("b.rs::g", 71)])),
        ]);
        let text = render("one\ntwo", &sections);
        assert!(text.starts_with("# one\n# two\n"));
        assert_eq!(parse("file", &text).unwrap(), sections);
    }

    #[test]
    fn mistakes_in_the_file_are_errors_with_their_line() {
        for (text, line) in [
            ("a = 1", 1),
            ("\"a\" = x", 1),
            ("\n\"a\" 1", 2),
            ("\"a\" = 1\n\"a\" = 2", 2),
            ("[s]\n[s]", 2),
            ("\"a\" = -1", 1),
        ] {
            let error = parse("file", text).unwrap_err();
            assert!(error.starts_with(&format!("file:{line}:")), "{text:?}: {error}");
        }
    }

    #[test]
    fn each_direction_of_the_ratchet_is_found() {
        let actual = numbers(&[("exact", 9), ("fewer", 8), ("more", 12), ("new", 6), ("small", 5)]);
        let allowed =
            numbers(&[("exact", 9), ("fewer", 9), ("more", 9), ("small", 9), ("gone", 9)]);
        let findings = judge(5, &actual, &allowed, "r.toml", "lines");
        assert_eq!(
            findings,
            [
                "r.toml: \"fewer\" = 9: lower it to 8",
                "more: 12 lines, and r.toml allows 9",
                "new: 6 lines, the limit is 5",
                "r.toml: remove \"small\": 5 lines need no entry",
                "r.toml: remove \"gone\": there is nothing of that name",
            ]
        );
        assert!(judge(5, &numbers(&[("a", 5)]), &Numbers::new(), "r.toml", "lines").is_empty());
    }

    #[test]
    fn tightening_lowers_drops_and_adds_but_never_raises() {
        let actual = numbers(&[("fewer", 8), ("more", 12), ("new", 6), ("small", 5)]);
        let allowed = numbers(&[("fewer", 9), ("more", 9), ("small", 9), ("gone", 9)]);
        let kept = numbers(&[("fewer", 8), ("more", 9)]);
        assert_eq!(tighten(5, &actual, &allowed, false), kept);
        let with_new = numbers(&[("fewer", 8), ("more", 9), ("new", 6)]);
        assert_eq!(tighten(5, &actual, &allowed, true), with_new);
    }

    #[test]
    fn an_entry_that_went_up_is_found() {
        let older = Sections::from([("s".to_owned(), numbers(&[("a", 3), ("b", 3)]))]);
        let now = Sections::from([("s".to_owned(), numbers(&[("a", 4), ("b", 2), ("c", 9)]))]);
        assert_eq!(risen(&now, &older), ["\"a\" went up from 3 to 4"]);
    }
}
