//! What a probe expects, as data, and what it has seen.

use std::fmt;

use safer_ring_sys::Errno;

/// What came out of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The result of the call itself.
    Returned(Result<i64, Errno>),
    /// The result of the operation, in its event or completion.
    Event(Result<i64, Errno>),
    /// Something else that was looked at, and whether it is as the statement says.
    Seen(bool, String),
    /// It could not be tried, and why.
    Unavailable(String),
}

impl Observed {
    /// One line for the pipe from the child.
    pub(crate) fn encode(&self) -> String {
        let number = |result: &Result<i64, Errno>| match result {
            Ok(value) => format!("+{value}"),
            Err(errno) => format!("!{}", errno.raw_os_error()),
        };
        match self {
            Observed::Returned(result) => format!("R{}", number(result)),
            Observed::Event(result) => format!("E{}", number(result)),
            Observed::Seen(yes, text) => format!("{}{text}", if *yes { 'Y' } else { 'N' }),
            Observed::Unavailable(text) => format!("U{text}"),
        }
    }

    /// The opposite of [`Observed::encode`].
    pub(crate) fn decode(line: &str) -> Option<Observed> {
        let mut letters = line.chars();
        let kind = letters.next()?;
        let rest = letters.as_str();
        let number = || -> Option<Result<i64, Errno>> {
            match rest.split_at_checked(1)? {
                ("+", value) => Some(Ok(value.parse().ok()?)),
                ("!", errno) => Some(Err(Errno::from_raw_os_error(errno.parse().ok()?)?)),
                _ => None,
            }
        };
        Some(match kind {
            'R' => Observed::Returned(number()?),
            'E' => Observed::Event(number()?),
            'Y' => Observed::Seen(true, rest.to_owned()),
            'N' => Observed::Seen(false, rest.to_owned()),
            'U' => Observed::Unavailable(rest.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observed::Returned(Ok(value)) => write!(f, "the call gives {value}"),
            Observed::Returned(Err(errno)) => write!(f, "the call gives {errno:?}"),
            Observed::Event(Ok(value)) => write!(f, "the operation gives {value}"),
            Observed::Event(Err(errno)) => write!(f, "the operation gives {errno:?}"),
            Observed::Seen(_, text) | Observed::Unavailable(text) => f.write_str(text),
        }
    }
}

/// What a probe expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The call fails with the error of this name.
    Fails(&'static str),
    /// The call gives this number.
    Gives(i64),
    /// The call succeeds.
    Succeeds,
    /// The operation fails with the error of this name.
    EventFails(&'static str),
    /// The operation gives this number.
    EventGives(i64),
    /// What was looked at is as the statement says.
    Seen,
    /// What was looked at is not as the statement says.
    NotSeen,
    /// One of these, where the statement leaves it to the file system.
    OneOf(&'static [Expect]),
    /// None of these.
    NoneOf(&'static [Expect]),
}

impl Expect {
    /// Whether this is what was expected. What could not be tried is not.
    #[must_use]
    pub fn is_met_by(&self, observed: &Observed) -> bool {
        let named = |errno: &Errno, name: &str| errno.name() == Some(name);
        match (self, observed) {
            (Expect::OneOf(list), _) => list.iter().any(|expect| expect.is_met_by(observed)),
            (_, Observed::Unavailable(_)) => false,
            (Expect::NoneOf(list), _) => !list.iter().any(|expect| expect.is_met_by(observed)),
            (Expect::Fails(name), Observed::Returned(Err(errno)))
            | (Expect::EventFails(name), Observed::Event(Err(errno))) => named(errno, name),
            (Expect::Gives(number), Observed::Returned(Ok(value)))
            | (Expect::EventGives(number), Observed::Event(Ok(value))) => number == value,
            (Expect::Succeeds, Observed::Returned(Ok(_)))
            | (Expect::Seen, Observed::Seen(true, _))
            | (Expect::NotSeen, Observed::Seen(false, _)) => true,
            _ => false,
        }
    }

    /// An expectation that nothing meets which meets this one: for a test that a probe looks at all.
    #[must_use]
    pub fn inverted(&self) -> Expect {
        match self {
            Expect::Fails(_) => Expect::Succeeds,
            Expect::Gives(number) => Expect::Gives(number.wrapping_add(1)),
            Expect::Succeeds => Expect::Fails("EINVAL"),
            Expect::EventFails(_) => Expect::EventGives(0),
            Expect::EventGives(number) => Expect::EventGives(number.wrapping_add(1)),
            Expect::Seen => Expect::NotSeen,
            Expect::NotSeen => Expect::Seen,
            Expect::OneOf(list) => Expect::NoneOf(list),
            Expect::NoneOf(list) => Expect::OneOf(list),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, list: &[Expect]| {
            for (at, expect) in list.iter().enumerate() {
                write!(f, "{}{expect}", if at == 0 { "" } else { ", or " })?;
            }
            Ok(())
        };
        match self {
            Expect::Fails(name) => write!(f, "the call gives {name}"),
            Expect::Gives(number) => write!(f, "the call gives {number}"),
            Expect::Succeeds => f.write_str("the call succeeds"),
            Expect::EventFails(name) => write!(f, "the operation gives {name}"),
            Expect::EventGives(number) => write!(f, "the operation gives {number}"),
            Expect::Seen => f.write_str("it is so"),
            Expect::NotSeen => f.write_str("it is not so"),
            Expect::OneOf(all) => list(f, all),
            Expect::NoneOf(all) => {
                f.write_str("not that ")?;
                list(f, all)
            }
        }
    }
}
