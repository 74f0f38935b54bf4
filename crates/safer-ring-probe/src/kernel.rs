//! Which kernel runs.

/// The release, as `uname -r`.
#[must_use]
pub fn release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// Its first two numbers; (0, 0) if they cannot be read.
#[must_use]
pub fn kernel() -> (u16, u16) {
    parse(&release()).unwrap_or_default()
}

fn parse(release: &str) -> Option<(u16, u16)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse("7.3-rc1"), Some((7, 3)));
        assert_eq!(parse("strange"), None);
    }
}
