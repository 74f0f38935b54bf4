//! Words that say a piece of work is not finished, and lines nobody can read.

/// A word, and what to do instead. `concat!` keeps this file free of them.
struct Banned {
    word: &'static str,
    any_case: bool,
    instead: &'static str,
}

const BANNED: &[Banned] = &[
    Banned { word: concat!("TO", "DO"), any_case: false, instead: "finish it or leave it out" },
    Banned { word: concat!("FIX", "ME"), any_case: false, instead: "mend it" },
    Banned {
        word: concat!("place", "holder"),
        any_case: true,
        instead: "finish it or leave it out",
    },
    Banned { word: concat!("for", " now"), any_case: true, instead: "say what holds and why" },
    Banned { word: concat!("db", "g!"), any_case: false, instead: "take it out" },
    Banned { word: concat!("to", "do!"), any_case: false, instead: "finish it or leave it out" },
    Banned { word: concat!("unimpl", "emented!"), any_case: false, instead: "return an error" },
    Banned {
        word: concat!("#[ig", "nore"),
        any_case: false,
        instead: "mend the test or take it out",
    },
];

const LINE_LIMIT: usize = 160;

/// Whether a file of the repository is looked at.
pub(super) fn is_checked(path: &str) -> bool {
    let checked = [".rs", ".md", ".toml", ".sh"];
    checked.iter().any(|ending| path.ends_with(ending)) || path.starts_with(".ci/")
}

/// Banned words in any text file, overlong lines in Rust.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        for banned in BANNED {
            if holds(line, banned) {
                findings.push(format!("{at}: \"{}\": {}", banned.word, banned.instead));
            }
        }
        let length = line.chars().count();
        if path.ends_with(".rs") && length > LINE_LIMIT {
            findings.push(format!("{at}: {length} characters, the limit is {LINE_LIMIT}"));
        }
    }
    findings
}

/// Whether a line holds a word, not as the end of a longer one. What ends in a letter must end
/// there too, except for a plural.
fn holds(line: &str, banned: &Banned) -> bool {
    let line = if banned.any_case { line.to_lowercase() } else { line.to_owned() };
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(banned.word).any(|(start, word)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + word.len()..).unwrap_or_default();
        let after = after.strip_prefix('s').unwrap_or(after).chars().next();
        let open_start = !word.starts_with(part_of_word);
        let open_end = !word.ends_with(part_of_word);
        (open_start || !before.is_some_and(part_of_word))
            && (open_end || !after.is_some_and(part_of_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_banned_word_is_found_with_its_line() {
        for banned in BANNED {
            let findings = check("docs/a.md", &format!("fine\nso {}) it is", banned.word));
            assert_eq!(findings.len(), 1, "{}: {findings:?}", banned.word);
            assert!(findings[0].starts_with("docs/a.md:2: "), "{}", findings[0]);
        }
        let loud = concat!("A Place", "holders' tale, just FOR", " NOW");
        assert_eq!(check("a.sh", loud).len(), 2);
    }

    #[test]
    fn longer_words_are_left_alone() {
        let text =
            concat!("for", " nowhere; sub", "to", "do!(); MASTO", "DON; dbg_macro = \"deny\"");
        assert_eq!(check("a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn long_lines_are_found_in_rust_only() {
        let line = "é".repeat(LINE_LIMIT + 1);
        assert_eq!(check("a.rs", &line), ["a.rs:1: 161 characters, the limit is 160"]);
        assert!(check("a.md", &line).is_empty());
        assert!(check("a.rs", &"é".repeat(LINE_LIMIT)).is_empty());
    }

    #[test]
    fn only_text_files_of_the_project_are_looked_at() {
        for path in ["a/b.rs", "README.md", "Cargo.toml", "x.sh", ".ci/run"] {
            assert!(is_checked(path), "{path}");
        }
        assert!(!is_checked("Cargo.lock") && !is_checked("LICENSE-MIT"));
    }
}
