//! Links between the repository's own documents: the file is there, and so is the heading.

use std::collections::{BTreeMap, BTreeSet};

/// Checks the links of every document. `documents` holds each text by its path; `exists` tells
/// whether a path from the root is there.
pub(super) fn check(
    documents: &BTreeMap<String, String>,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in documents {
        for (line, link) in links(text) {
            let at = format!("{path}:{line}");
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { Some(path.clone()) } else { resolve(path, file) };
            let Some(target) = target.filter(|target| exists(target)) else {
                findings.push(format!("{at}: \"{link}\" leads to no file"));
                continue;
            };
            if let Some(text) = documents.get(&target).filter(|_| !heading.is_empty())
                && !headings(text).contains(heading)
            {
                findings.push(format!("{at}: \"{link}\": {target} has no such heading"));
            }
        }
    }
    findings
}

/// A link target relative to its document, as a path from the root; `None` when it leaves it.
fn resolve(document: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        parts.clear();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Lines of a document outside fenced code, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// Targets of `[text](target)` and `[name]: target`, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between back-quotes is code.
        let words: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for rest in words.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push((number, target_of(target)));
            }
        }
        if let Some((_, target)) = words.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            found.push((number, target_of(target)));
        }
    }
    found.retain(|(_, target)| !target.is_empty());
    found
}

/// A target without its title and angle brackets.
fn target_of(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// The fragment names of a document's headings, formed as forges form them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let name: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                _ => c.is_alphanumeric().then_some(c),
            })
            .collect();
        let times = seen.entry(name.clone()).or_default();
        names.insert(if *times == 0 { name } else { format!("{name}-{times}") });
        *times += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let documents: BTreeMap<String, String> =
            files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
        let others = ["src", "src/lib.rs"];
        check(&documents, &|path| documents.contains_key(path) || others.contains(&path))
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        let text = "# The `one` Title, again!\n# x\n# x\n[a](src/lib.rs) [b](docs/b.md#some-part \"t\") \
                    [c](https://x.y/z) [d](#the-one-title-again) [e](#x-1) [f](mailto:a@b.c) `[g](no)`\n\
                    ```\n[h](no.md)\n```\n[i]: docs/b.md\n![j](/src)\n";
        let files = [("README.md", text), ("docs/b.md", "## Some part\n[up](../README.md)")];
        assert_eq!(findings(&files), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](gone.md)\n[b](b.md#gone)\n[c](../../outside.md)\n[d]: gone.rs\n[e](#gone)";
        let found = findings(&[("docs/a.md", text), ("docs/b.md", "# Here")]);
        assert_eq!(
            found,
            [
                "docs/a.md:1: \"gone.md\" leads to no file",
                "docs/a.md:2: \"b.md#gone\": docs/b.md has no such heading",
                "docs/a.md:3: \"../../outside.md\" leads to no file",
                "docs/a.md:4: \"gone.rs\" leads to no file",
                "docs/a.md:5: \"#gone\": docs/a.md has no such heading",
            ]
        );
    }
}
