//! Reads texts that were changed at random, and checks what must hold for any text.
//!
//!     cargo run --release -p safer-ring-spec --example fuzz -- --inputs 1000000
//!     cargo run --release -p safer-ring-spec --example fuzz -- --seconds 60 --seed 7 [FILE..]
//!
//! Files are added to the texts that are changed. Ends with 1 if an input made something fail; that input is printed.

#[path = "../tests/common/exercise.rs"]
mod exercise;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use exercise::{Random, corpus, mutated};

fn main() -> ExitCode {
    let mut inputs = None;
    let mut seconds = None;
    let mut seed = 1;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
        match argument.as_str() {
            "--inputs" => inputs = number(),
            "--seconds" => seconds = number(),
            "--seed" => seed = number().unwrap_or(1),
            file => match std::fs::read(file) {
                Ok(bytes) => files.push(bytes),
                Err(error) => {
                    eprintln!("{file}: {error}");
                    return ExitCode::from(2);
                }
            },
        }
    }
    if inputs.is_none() && seconds.is_none() {
        eprintln!("usage: fuzz [--inputs N] [--seconds N] [--seed N] [FILE..]");
        return ExitCode::from(2);
    }
    let corpus = corpus(&files);
    let mut random = Random::new(seed);
    let start = Instant::now();
    let limit = seconds.map(Duration::from_secs);
    let (mut done, mut failed, mut specs) = (0u64, 0u64, 0usize);
    while inputs.is_none_or(|inputs| done < inputs) && limit.is_none_or(|l| start.elapsed() < l) {
        let text = mutated(&corpus, &mut random);
        // All printers take most of the time: every eighth input is enough for them.
        let check = if done % 8 == 0 { exercise::exercise } else { exercise::quickly };
        match catch_unwind(|| check(&text)) {
            Ok(found) => specs += found,
            Err(_) => {
                failed += 1;
                eprintln!("seed {seed}, input {done}: {:?}", String::from_utf8_lossy(&text));
            }
        }
        done += 1;
        if failed == 5 {
            break;
        }
    }
    let time = start.elapsed().as_secs_f64();
    println!(
        "{done} inputs, {specs} specifications in them, {failed} failures, {time:.1} s, seed {seed}"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
