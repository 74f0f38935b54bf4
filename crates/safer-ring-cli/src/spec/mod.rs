//! `safer-ring spec`: what the system calls of Linux AIO and io_uring promise, as specifications that can be read, tried on
//! the running kernel, compared, and asked for the cause of an error.

mod arguments;
mod check;
mod compare;
mod documents;
mod explain;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// Something is not as it should be: a contradiction, a difference, an error in a file.
const DIFFERS: u8 = 1;
/// It could not be done.
const FAILED: u8 = 2;

/// Arguments of `safer-ring spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    #[command(subcommand)]
    command: SpecCommand,
}

#[derive(Debug, Subcommand)]
enum SpecCommand {
    /// Try the statements of a specification on this kernel; exits with 1 if one is contradicted
    Check(CheckArgs),
    /// Compare the JSON reports of two kernels; exits with 1 if they differ
    Compare {
        /// The report of one kernel
        first: PathBuf,
        /// That of the other
        second: PathBuf,
    },
    /// Why a system call has an error, and what to do about it
    Explain(ExplainArgs),
    /// Print a specification, or with `all` the names of all
    Show {
        /// A system call, such as io_submit, or `all`
        name: String,
        /// In which form
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Read specifications from a C source, a text or a patch, and print what is in them or wrong with them
    Parse {
        /// The file
        file: PathBuf,
        /// In which form
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Compare two specifications: names of system calls, or files; exits with 1 if they differ
    Diff {
        /// One of them
        first: String,
        /// The other
        second: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The grammar itself
    Text,
    /// For a person at a terminal
    Plain,
    /// The shape of the kernel's own tool
    Json,
    /// reStructuredText
    Rst,
    /// Markdown
    Md,
    /// The grammar, in a comment of C
    Kerneldoc,
}

impl Format {
    fn of(self) -> safer_ring_spec::Format {
        match self {
            Format::Text => safer_ring_spec::Format::Spec,
            Format::Plain => safer_ring_spec::Format::Plain,
            Format::Json => safer_ring_spec::Format::Json,
            Format::Rst => safer_ring_spec::Format::Rst,
            Format::Md => safer_ring_spec::Format::Markdown,
            Format::Kerneldoc => safer_ring_spec::Format::Comment,
        }
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// A system call, or all
    #[arg(default_value = "all")]
    call: String,
    /// Print JSON, for `spec compare`
    #[arg(long)]
    json: bool,
    /// A directory on the file system to try; the one for temporary files by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print all statements, not those alone that do not hold
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A system call, such as io_submit
    call: String,
    /// The name of an error, such as EINVAL
    errno: String,
    /// An argument or a fact, such as nbytes=513 or fd=closed; without any, all causes are listed
    #[arg(long = "arg", value_name = "KEY=VALUE")]
    arguments: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &SpecArgs) -> ExitCode {
    let done = match &args.command {
        SpecCommand::Check(args) => check::run(args),
        SpecCommand::Compare { first, second } => compare::run(first, second),
        SpecCommand::Explain(args) => explain::run(args),
        SpecCommand::Show { name, format } => documents::show(name, *format),
        SpecCommand::Parse { file, format } => documents::parse(file, *format),
        SpecCommand::Diff { first, second } => documents::diff(first, second),
    };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("safer-ring: {message}");
            ExitCode::from(FAILED)
        }
    }
}

/// Writes to standard output. A reader that has gone away is no error.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Whether standard output is a screen that may have colours.
fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A word in a colour of ANSI, where there are any.
fn coloured(word: &str, colour: u8) -> String {
    if colours() { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// The names of all specifications.
fn names() -> String {
    let names = safer_ring_spec::shipped().into_iter().map(|specification| specification.name);
    names.collect::<Vec<_>>().join(", ")
}
