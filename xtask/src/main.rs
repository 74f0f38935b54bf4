//! Tooling of the workspace: house rules as a program, proofs that need a build of their own, and
//! the generated audit of every unsafe site. Run it as `cargo xtask <command>`.
#![forbid(unsafe_code)]

mod asan;
mod built;
mod ci;
mod conformance;
mod containers;
mod counts;
mod elsewhere;
mod facts;
mod fallback;
mod fuzz;
mod http;
mod instr;
mod kernels;
mod loom;
mod miri;
mod msrv;
mod mutants;
mod nostd;
mod safety;
mod sim;
mod soak;
mod source;
mod spec;
mod tidy;
mod torture;
mod tsan;
mod vm;
mod workspace;

use std::process::ExitCode;

/// Result of a command: an error is a message for the person who ran it.
pub(crate) type Outcome<T = ()> = Result<T, String>;

const HELP: &str = "\
usage: cargo xtask <command>

  tidy [--fix]                 house rules; --fix lowers ratchets and lists new unsafe files
  badges                       how many scenarios, environments and planted mistakes there are, as
                               README.md has it
  safety [--check]             write SAFETY.md, or fail when it is not what would be written
  kernels [--check]            write docs/KERNELS.md, or fail when it is not what would be written
  no-std                       prove that safer-ring-core needs no standard library
  msrv                         check the declared minimum Rust version
  elsewhere                    the face crate for other systems: one message, that says what to do
  instr [--update | --bless]   user-space instructions per operation against the stored table;
                               --update stores lower and new rows, --bless stores every row
  fallback [WORDS]             the public tests with the fallback forced; WORDS are for the harness
  conformance [--badges]       every scenario in every environment of this machine; --badges: only
                               how many there are of what
  torture                      a minute of random drops, in release mode
  asan [--full | --torture]    the conformance suite, simulated worlds and the torture under the
                               address sanitizer; --full: every environment and 20,000 seeds
  tsan                         tests with threads, the conformance suite, wake-ups and the torture
                               under the thread sanitizer; needs the component rust-src
  miri                         the backend's tests in simulated worlds under Miri, where it is
                               installed
  soak [--full]                wake-ups across threads, in release mode; --full: ten million of
                               each kind, which takes minutes
  fuzz [TARGET] [options]      new inputs for the fuzz targets; --seconds N (60), --seed N, --keep:
                               what was found becomes the corpus
  loom                         what is concurrent, in every interleaving, under the model checker
  mutants [--some N | NAME]    known mistakes put into the code one by one: each must be found;
                               N: only so many, others for each commit; NAME: those called so
  sim --seed N | --seeds A..B  random programs in simulated worlds, in release mode; --steps N makes
                               them longer; a seed that fails is shown with as few steps as it can
  http [options]               HTTP load on the server examples and on plain tokio; --help lists
                               the options
  spec-fuzz [--seconds N]      the parser of specifications on texts that were changed at random
  vm numa                      tests of placement, in a virtual machine with two nodes, and of the
                               table of kernels
  vm [options]                 the tests and a short torture on kernels 5.10, 6.1, 6.12 and 7.3;
                               `vm --help` lists the options
  containers                   the programs inside podman, with and without root, and gVisor
  ci                           everything, in order, with the time of each step
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["tidy"] => tidy::run(false),
        ["tidy", "--fix"] => tidy::run(true),
        ["badges"] => tidy::badges(),
        ["safety"] => safety::run(false),
        ["safety", "--check"] => safety::run(true),
        ["kernels"] => kernels::run(false),
        ["kernels", "--check"] => kernels::run(true),
        ["no-std"] => nostd::run(),
        ["msrv"] => msrv::run(),
        ["elsewhere"] => elsewhere::run(),
        ["instr"] => instr::run(instr::Store::Nothing),
        ["instr", "--update"] => instr::run(instr::Store::Better),
        ["instr", "--bless"] => instr::run(instr::Store::Everything),
        ["tsan"] => tsan::run(),
        ["miri"] => miri::run(),
        ["fallback", words @ ..] => fallback::run(words),
        ["conformance"] => conformance::run(false),
        ["conformance", "--badges"] => conformance::run(true),
        ["torture"] => torture::run(),
        ["asan"] => asan::run(asan::Part::Short),
        ["asan", "--full"] => asan::run(asan::Part::Full),
        ["asan", "--torture"] => asan::run(asan::Part::Torture),
        ["soak"] => soak::run(soak::SHORT),
        ["soak", "--full"] => soak::run(soak::FULL),
        ["fuzz", options @ ..] => fuzz::command(options),
        ["loom"] => loom::run(),
        ["mutants", options @ ..] => mutants::command(options),
        ["http", options @ ..] => http::run(options),
        ["sim", options @ ..] => sim::run(options),
        ["spec-fuzz"] => spec::fuzz(spec::SECONDS),
        ["spec-fuzz", "--seconds", seconds] => spec::seconds(seconds).and_then(spec::fuzz),
        ["vm", "numa"] => vm::numa(false),
        ["vm", "numa", "--tested"] => vm::numa(true),
        ["vm", options @ ..] => vm::matrix(options),
        ["containers"] => containers::run(),
        // The part of it that runs in a container.
        ["inside"] => containers::inside::run(),
        ["ci"] => ci::run(),
        other => {
            eprint!("unknown command: {}\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
