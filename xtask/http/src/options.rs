//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
usage: cargo xtask http [options]

  --quick            about 20 seconds in all: for the checks, not for figures
  --seconds N        seconds of load for each server and route (default 12)
  --connections N    connections at a time (default 32)
  --aborts N         of a thousand requests, those in which the client goes away (default 50)
  --seed N           which ones, and how (default 1)
  --only TEXT        servers whose name has TEXT in it
  --route TEXT       routes whose name has TEXT in it: hello, file, 4 KiB, 256 KiB
  --json FILE        write the figures there, too
";

/// How to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    /// Time of one server with one route in one round.
    pub(crate) slice: Duration,
    pub(crate) connections: u64,
    pub(crate) aborts: u64,
    pub(crate) seed: u64,
    pub(crate) only: String,
    pub(crate) route: String,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 12,
            slice: Duration::from_secs(1),
            connections: 32,
            aborts: 50,
            seed: 1,
            only: String::new(),
            route: String::new(),
            json: None,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if word == "--quick" {
                (options.rounds, options.slice) = (3, Duration::from_millis(350));
                continue;
            }
            let value =
                *words.next().ok_or_else(|| format!("unknown, or without its value: {word}"))?;
            let number = || match value.parse::<u32>() {
                Ok(number) => Ok(u64::from(number)),
                Err(_) => Err(format!("{word}: not a number: {value}")),
            };
            match word {
                "--seconds" => options.rounds = usize::try_from(number()?.max(1)).unwrap_or(1),
                "--connections" => options.connections = number()?.max(1),
                "--aborts" => options.aborts = number()?.min(1000),
                "--seed" => options.seed = number()?,
                "--only" => value.clone_into(&mut options.only),
                "--route" => value.clone_into(&mut options.route),
                "--json" => options.json = Some(value.into()),
                _ => return Err(format!("unknown: {word}")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_heard() {
        let line =
            "--seconds 7 --connections 9 --aborts 11 --seed 13 --only axum --route hello --json f";
        let options = Options::parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        let expected = Options {
            rounds: 7,
            slice: Duration::from_secs(1),
            connections: 9,
            aborts: 11,
            seed: 13,
            only: "axum".into(),
            route: "hello".into(),
            json: Some("f".into()),
        };
        assert_eq!(options, expected);
        assert!(Options::parse(&["--quick"]).unwrap().slice < Duration::from_secs(1));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--fast", "--seconds", "--seconds x", "--seed -1"] {
            assert!(Options::parse(&line.split(' ').collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
