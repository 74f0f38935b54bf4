//! The programs of the examples, which cargo puts beside the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// What an example is made of: its file or directory, and the module that some share.
fn sources(name: &str) -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let single = examples.join(format!("{name}.rs"));
    let mut all = if single.is_file() { vec![single] } else { within(&examples.join(name)) };
    assert!(!all.is_empty(), "there is no example {name}");
    let shares = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains("mod site;");
    if all.iter().any(shares) {
        all.extend(within(&examples.join("site")));
    }
    all
}

fn within(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}

/// The program of an example, which must be that of its sources as they are. `cargo test -p safer-ring` builds it before;
/// `cargo test --test NAME` alone does not.
pub(crate) fn program(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    let built = changed(&path);
    for source in sources(name) {
        let of_source = changed(&source);
        assert!(of_source.is_some(), "{} cannot be looked at", source.display());
        assert!(
            built >= of_source,
            "{} is missing or older than {}: cargo build -p safer-ring --examples, with the features of the tests",
            path.display(),
            source.display()
        );
    }
    Command::new(path)
}
