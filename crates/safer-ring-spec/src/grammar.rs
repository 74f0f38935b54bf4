//! The keys of the grammar.

/// Keys of the first column that hold prose.
pub(crate) const PROSE: &[&str] = &["long-desc", "notes", "remarks"];
/// The key that holds examples, a line each.
pub(crate) const EXAMPLES: &str = "examples";

/// Keys that make a comment a specification, if it has a context as well.
pub(crate) const TELLING: &[&str] = &[
    "api-type",
    "param",
    "error",
    "capability",
    "signal",
    "lock",
    "state-trans",
    "constraint",
    "side-effect",
    "long-desc",
];

/// Keys of the first column, with their sub-keys.
pub(crate) const SECTIONS: &[(&str, &[&str])] = &[
    ("contexts", &[]),
    ("context-flags", &[]),
    ("since-version", &[]),
    ("param-count", &[]),
    ("api-type", &[]),
    ("long-desc", &[]),
    ("notes", &[]),
    ("remarks", &[]),
    ("examples", &[]),
    (
        "param",
        &[
            "type",
            "flags",
            "size",
            "constraint-type",
            "constraint",
            "cdesc",
            "range",
            "mask",
            "valid-mask",
            "valid-values",
            "alignment",
            "size-param",
            "struct-type",
            "arch-mask",
            "desc",
            "description",
        ],
    ),
    (
        "return",
        &["type", "check-type", "success", "success-range", "error-values", "desc", "description"],
    ),
    ("error", &["desc", "description", "condition", "where"]),
    (
        "lock",
        &[
            "type",
            "scope",
            "acquired",
            "released",
            "held-on-entry",
            "held-on-exit",
            "desc",
            "description",
        ],
    ),
    (
        "signal",
        &[
            "number",
            "direction",
            "action",
            "transform-to",
            "condition",
            "desc",
            "description",
            "errno",
            "error",
            "timing",
            "priority",
            "restartable",
            "interruptible",
            "target",
            "queue",
            "sa-flags",
            "sa-flags-required",
            "sa-flags-forbidden",
            "state-required",
            "state-forbidden",
        ],
    ),
    ("side-effect", &["target", "desc", "description", "condition", "reversible"]),
    ("state-trans", &["object", "from", "to", "condition", "desc", "description"]),
    ("capability", &["type", "allows", "without", "condition", "priority", "desc", "description"]),
    ("constraint", &["desc", "description", "expr"]),
];

/// Sub-keys that each statement can have: extensions of this crate.
pub(crate) const COMMON: &[&str] =
    &["id", "since", "until", "disagrees", "untestable", "covered-by"];

/// The sub-keys of masks of signals, in the order in which they are kept.
pub(crate) const SIGNAL_MASKS: &[&str] =
    &["sa-flags", "sa-flags-required", "sa-flags-forbidden", "state-required", "state-forbidden"];

/// How many there can be in the kernel's own structures.
pub(crate) const LIMITS: &[(&str, usize)] =
    &[("param", 16), ("error", 32), ("signal", 32), ("capability", 8)];

/// The sub-keys of a section; `None` for a key that is not known.
pub(crate) fn sub_keys(section: &str) -> Option<&'static [&'static str]> {
    SECTIONS.iter().find(|(key, _)| *key == section).map(|(_, keys)| *keys)
}

/// Whether a section has this sub-key.
pub(crate) fn is_sub_key(section: &str, key: &str) -> bool {
    sub_keys(section)
        .is_some_and(|keys| keys.contains(&key) || (!keys.is_empty() && COMMON.contains(&key)))
}

/// Splits a line that begins with a key: lower-case letters, digits and hyphens, a colon, and a space or the end.
pub(crate) fn split_key(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once(':')?;
    let mut letters = key.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_lowercase());
    let others = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    (first && others && ends).then_some((key, rest))
}

/// Splits the first line of a specification, `name - summary`; the name may have `()` behind it.
pub(crate) fn split_title(line: &str) -> Option<(&str, &str)> {
    let (name, summary) = match line.split_once(" - ") {
        Some(parts) => parts,
        None => (line.strip_suffix(" -")?, ""),
    };
    let name = name.trim_end();
    let name = name.strip_suffix("()").unwrap_or(name);
    is_name(name).then_some((name, summary))
}

/// Whether a word can be the name of a call.
pub(crate) fn is_name(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// Whether a word can be the name of a parameter.
pub(crate) fn is_parameter(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The text with each run of white space as one space.
pub(crate) fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !squeezed.is_empty() {
            squeezed.push(' ');
        }
        squeezed.push_str(word);
    }
    squeezed
}

/// Splits at the commas that are not inside of parentheses; the parts are trimmed.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_lower_case_and_end_in_a_colon() {
        assert_eq!(split_key("side-effect: a: b"), Some(("side-effect", " a: b")));
        assert_eq!(split_key("return:"), Some(("return", "")));
        for line in ["Return: 0", "see a:b", "a:b", "- key: x", ":", "", "3d: x"] {
            assert_eq!(split_key(line), None, "{line}");
        }
    }

    #[test]
    fn titles_have_a_name_and_a_dash() {
        assert_eq!(split_title("sys_read - Read"), Some(("sys_read", "Read")));
        assert_eq!(split_title("kmalloc() - a - b"), Some(("kmalloc", "a - b")));
        assert_eq!(split_title("name -"), Some(("name", "")));
        for line in ["two words - x", "param: a - b", "- x", "a-b", ""] {
            assert_eq!(split_title(line), None, "{line}");
        }
    }

    #[test]
    fn lists_are_split_outside_of_parentheses() {
        assert_eq!(split_list("0, f(a, b) , c"), ["0", "f(a, b)", "c"]);
        assert_eq!(split_list("a), b"), ["a)", "b"]);
        assert_eq!(split_list(""), [""]);
    }

    #[test]
    fn limits_and_masks_are_of_known_keys() {
        assert!(LIMITS.iter().all(|(key, _)| sub_keys(key).is_some()));
        assert!(SIGNAL_MASKS.iter().all(|key| is_sub_key("signal", key)));
        assert!(TELLING.iter().all(|key| sub_keys(key).is_some()));
    }
}
