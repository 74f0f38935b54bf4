//! `safer-ring spec explain`: why a system call has an error.

use std::fmt::Write as _;
use std::process::ExitCode;

use safer_ring::contract::{self, Cause, Place};

use super::{DIFFERS, ExplainArgs, arguments, coloured};

/// Prints the causes. The exit code is 1 if there is none.
pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode, String> {
    let errno = args.errno.to_uppercase();
    let rules = contract::rules(&args.call);
    if rules.is_empty() {
        return Err(format!(
            "{}: there are no rules of this call; there are those of {}",
            args.call,
            super::names()
        ));
    }
    let causes = if args.arguments.is_empty() {
        contract::causes(&args.call, &errno)
    } else {
        let (call, facts) = arguments::parse(&args.call, &args.arguments)?;
        if let Some(finding) = contract::check(&call, &facts)
            && finding.rule.errno != errno
        {
            super::print(&format!("with these arguments the first error is {finding}\n\n"))?;
        }
        contract::explain(&errno, &call, &facts)
    };
    if causes.is_empty() {
        let mut known: Vec<_> = rules.iter().map(|rule| rule.errno).collect();
        known.sort_unstable();
        known.dedup();
        super::print(&format!(
            "no rule of {} has {errno} with these arguments; it has rules for {}\n",
            args.call,
            known.join(", ")
        ))?;
        return Ok(ExitCode::from(DIFFERS));
    }
    super::print(&text(&causes))?;
    Ok(ExitCode::SUCCESS)
}

fn text(causes: &[Cause]) -> String {
    let mut text = String::new();
    for cause in causes {
        let mark = if cause.shown { coloured("this is it", 31) } else { coloured("possible", 33) };
        let place = match cause.rule.place {
            Place::Return => "",
            Place::Result => ", in the result of the operation",
        };
        let _ =
            writeln!(text, "{mark}: {cause}\n    {}{place}", cause.rule.statements().join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(call: &str, errno: &str, arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (call, facts) = arguments::parse(call, &arguments).unwrap();
        let causes = contract::explain(errno, &call, &facts);
        causes.iter().filter(|cause| cause.shown).map(ToString::to_string).collect()
    }

    #[test]
    fn the_cause_is_told_with_what_was_found() {
        let found = explained("io_submit", "EINVAL", &["reserved2=1"]);
        assert!(found[0].starts_with("EINVAL: aio_reserved2 must be 0, not 0x1"), "{found:?}");
        let arguments = ["fd=direct", "align=512", "buf=4104", "nbytes=4096"];
        let found = explained("io_submit", "EINVAL", &arguments);
        assert!(found[0].contains("of 512 bytes, and the buffer is at +8"), "{found:?}");
        let arguments = ["entries=128", "memlock=0", "ipc-lock=no", "kernel=6.18"];
        let found = explained("io_uring_setup", "ENOMEM", &arguments);
        assert!(found[0].contains("128 entries need 16 KiB, the limit is 0 KiB"), "{found:?}");
    }

    #[test]
    fn arguments_that_are_none_are_told() {
        let parse = |text: &str| arguments::parse("io_submit", &[text.to_owned()]).unwrap_err();
        assert!(parse("nonsense=1").contains("nonsense"));
        assert!(parse("nbytes").contains("KEY=VALUE"));
        assert!(parse("nbytes=many").contains("many"));
    }
}
