//! A container runtime's own seccomp profile, with the three calls of io_uring allowed and nothing else changed.
//!
//! The profile is JSON as Docker, containerd, CRI-O and Podman read it: `linux.seccomp` of the OCI runtime specification
//! (config-linux.md), and the form of Docker and containers-common, which adds conditions (`includes`, `excludes`) and
//! once had one `name` in place of `names`.

mod edit;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// The system calls of io_uring. All three: with io_uring_setup(2) alone there is a ring that nothing can be submitted to.
pub(crate) const CALLS: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// Why there is no profile.
#[derive(Debug)]
pub(crate) enum ProfileError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not JSON.
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: serde_json::Error,
    },
    /// It is JSON, and not a seccomp profile.
    Shape(String),
    /// A rule leaves one of the calls to somebody else, so allowing it would undo a decision.
    Delegated {
        /// The call.
        call: &'static str,
        /// The action of its rule.
        action: String,
        /// Its place in `syscalls`.
        rule: usize,
    },
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Json { path, error } => write!(f, "{} is not JSON: {error}", path.display()),
            Self::Shape(reason) => write!(f, "not a seccomp profile: {reason}"),
            Self::Delegated { call, action, rule } => write!(
                f,
                "syscalls[{rule}] leaves {call} to {action}: whoever traces or supervises the container decides \
                 there; take the name out of that rule to have it allowed here"
            ),
        }
    }
}

impl std::error::Error for ProfileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::Json { error, .. } => Some(error),
            Self::Shape(_) | Self::Delegated { .. } => None,
        }
    }
}

/// The profile in `base` with io_uring allowed, as text. A profile that allows it already comes back byte by byte.
///
/// # Errors
/// The file cannot be read, is not JSON, is not a seccomp profile, or leaves one of the calls to a supervisor.
pub(crate) fn run(base: &Path) -> Result<String, ProfileError> {
    let text = std::fs::read_to_string(base)
        .map_err(|error| ProfileError::Read { path: base.to_owned(), error })?;
    // Some editors begin a file with a mark that JSON does not have.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut profile: Value = serde_json::from_str(text)
        .map_err(|error| ProfileError::Json { path: base.to_owned(), error })?;
    if edit::allow(as_profile(&mut profile)?)? {
        Ok(written_like(text, &profile))
    } else {
        Ok(text.to_owned())
    }
}

/// The object that a profile is, or what the file holds in its place.
fn as_profile(value: &mut Value) -> Result<&mut Map<String, Value>, ProfileError> {
    let shape = |reason: &str| Err(ProfileError::Shape(reason.to_owned()));
    let Value::Object(profile) = value else {
        return shape("the file holds no JSON object");
    };
    if profile.contains_key("defaultAction") {
        return Ok(profile);
    }
    if profile.get("linux").is_some_and(|linux| linux.get("seccomp").is_some()) {
        return shape(
            "this is a container's whole configuration; the profile in it is `jq .linux.seccomp FILE`",
        );
    }
    if profile.contains_key("apiVersion") {
        return shape("this is a Kubernetes object; the profile is a file of its own on the node");
    }
    shape("it has no \"defaultAction\"")
}

/// As text with the indentation and the last line break of `like`.
fn written_like(like: &str, profile: &Value) -> String {
    let end = if like.ends_with('\n') { "\n" } else { "" };
    let Some(indent) = indentation(like) else { return format!("{profile}{end}") };
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    let written = profile.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    // Neither can fail: the writer is memory, the keys are strings, and what is written is text.
    match (written, String::from_utf8(bytes)) {
        (Ok(()), Ok(text)) => format!("{text}{end}"),
        _ => format!("{profile:#}{end}"),
    }
}

/// The white space before the first key that stands on a line of its own; `None` if all is on one line.
fn indentation(text: &str) -> Option<&str> {
    let line = text.lines().skip(1).find(|line| !line.trim().is_empty())?;
    line.get(..line.len() - line.trim_start().len())
}

#[cfg(test)]
mod tests;
