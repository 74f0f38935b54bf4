//! How long files and functions may be, in lines that hold code.

use crate::counts::Numbers;

use super::Sources;

const FILE_LIMIT: usize = 500;
const TEST_FILE_LIMIT: usize = 800;
const FUNCTION_LIMIT: usize = 70;

/// One rule with what was measured for it.
pub(super) struct Measured {
    /// Section of the ratchet file.
    pub(super) section: &'static str,
    /// Code lines that need no entry.
    pub(super) limit: usize,
    /// Code lines by file or by function.
    pub(super) actual: Numbers,
}

/// Measures every file, and every function that is not in a test file. A function that is there
/// twice under one name, for two targets, counts with its longer body.
pub(super) fn measure(sources: &Sources) -> [Measured; 3] {
    let mut files = Numbers::new();
    let mut test_files = Numbers::new();
    let mut functions = Numbers::new();
    for (path, (source, facts)) in sources {
        if is_test_file(path) {
            test_files.insert(path.clone(), source.code_line_count());
            continue;
        }
        files.insert(path.clone(), source.code_line_count());
        for function in &facts.functions {
            let longest = functions.entry(format!("{path}::{}", function.name)).or_default();
            *longest = function.code_lines.max(*longest);
        }
    }
    [
        Measured { section: "files", limit: FILE_LIMIT, actual: files },
        Measured { section: "functions", limit: FUNCTION_LIMIT, actual: functions },
        Measured { section: "test-files", limit: TEST_FILE_LIMIT, actual: test_files },
    ]
}

/// A file in a `tests` directory, or a module file called `tests.rs`.
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    #[test]
    fn files_and_functions_are_measured_and_test_files_have_their_own_rule() {
        let text = "fn f() {\n    g();\n}\n\n// why\nfn h() {}\n";
        let sources = planted(&[
            ("crates/a/src/lib.rs", text),
            ("crates/a/tests/t.rs", text),
            ("crates/a/src/tests.rs", text),
        ]);
        let [files, functions, tests] = measure(&sources);
        assert_eq!(files.actual, Numbers::from([("crates/a/src/lib.rs".to_owned(), 4)]));
        assert_eq!(tests.actual.len(), 2);
        let names: Vec<(&str, usize)> =
            functions.actual.iter().map(|(name, &lines)| (name.as_str(), lines)).collect();
        assert_eq!(names, [("crates/a/src/lib.rs::f", 3), ("crates/a/src/lib.rs::h", 1)]);
    }

    #[test]
    fn a_file_over_the_limit_is_found() {
        let body = "const A: u8 = 0;\n".repeat(FILE_LIMIT + 1);
        let [files, _, _] = measure(&planted(&[("crates/a/src/lib.rs", &body)]));
        let findings =
            crate::counts::judge(files.limit, &files.actual, &Numbers::new(), "r", "code lines");
        assert_eq!(findings, ["crates/a/src/lib.rs: 501 code lines, the limit is 500"]);
    }
}
