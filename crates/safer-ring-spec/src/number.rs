//! Numbers as specifications write them: decimal, hexadecimal, or by the name of a constant.

/// Limits of C's types, on a machine with 64 bits, and of Linux.
const CONSTANTS: &[(&str, i128)] = &[
    ("CHAR_BIT", 8),
    ("SHRT_MAX", 32_767),
    ("USHRT_MAX", 65_535),
    ("INT_MIN", -2_147_483_648),
    ("INT_MAX", 2_147_483_647),
    ("UINT_MAX", 4_294_967_295),
    ("LONG_MIN", -9_223_372_036_854_775_808),
    ("LONG_MAX", 9_223_372_036_854_775_807),
    ("LLONG_MIN", -9_223_372_036_854_775_808),
    ("LLONG_MAX", 9_223_372_036_854_775_807),
    ("SSIZE_MAX", 9_223_372_036_854_775_807),
    ("ULONG_MAX", 18_446_744_073_709_551_615),
    ("SIZE_MAX", 18_446_744_073_709_551_615),
    ("S32_MIN", -2_147_483_648),
    ("S32_MAX", 2_147_483_647),
    ("U32_MAX", 4_294_967_295),
    ("S64_MAX", 9_223_372_036_854_775_807),
    ("U64_MAX", 18_446_744_073_709_551_615),
    ("PATH_MAX", 4096),
    ("UIO_MAXIOV", 1024),
    ("IOV_MAX", 1024),
];

/// Errors with their numbers, as most architectures of Linux have them.
const ERRORS: &[(&str, i128)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("ENOEXEC", 8),
    ("EBADF", 9),
    ("ECHILD", 10),
    ("EAGAIN", 11),
    ("EWOULDBLOCK", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("EPIPE", 32),
    ("ERANGE", 34),
    ("EDEADLK", 35),
    ("ENAMETOOLONG", 36),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENODATA", 61),
    ("ETIME", 62),
    ("EOVERFLOW", 75),
    ("EBADFD", 77),
    ("ENOTSOCK", 88),
    ("EDESTADDRREQ", 89),
    ("EMSGSIZE", 90),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("ENOTSUP", 95),
    ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("ENETUNREACH", 101),
    ("ECONNABORTED", 103),
    ("ECONNRESET", 104),
    ("ENOBUFS", 105),
    ("EISCONN", 106),
    ("ENOTCONN", 107),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EALREADY", 114),
    ("EINPROGRESS", 115),
    ("ESTALE", 116),
    ("EDQUOT", 122),
    ("ECANCELED", 125),
    ("EOWNERDEAD", 130),
];

/// Capabilities in the order of their numbers, without `CAP_`.
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The value of a number as a specification writes it; `None` if that takes more than is known here, as
/// `sizeof(struct iocb)` does. Names of limits count as on a machine with 64 bits.
#[must_use]
pub fn number(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    // What begins with a sign or an underscore is no number, although Rust reads some of it.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hexadecimal {
        Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
        None => match digits.parse::<u64>() {
            Ok(value) => i128::from(value),
            Err(_) => named(digits)?,
        },
    };
    Some(if negative { -value } else { value })
}

/// The number of an error, as most architectures have it; above 0.
#[must_use]
pub fn errno(name: &str) -> Option<i32> {
    let (_, number) = ERRORS.iter().find(|(known, _)| *known == name)?;
    i32::try_from(*number).ok()
}

/// The number of a capability.
#[must_use]
pub fn capability(name: &str) -> Option<u32> {
    let name = name.strip_prefix("CAP_")?;
    let place = CAPABILITIES.iter().position(|known| *known == name)?;
    u32::try_from(place).ok()
}

fn named(word: &str) -> Option<i128> {
    let mut all = CONSTANTS.iter().chain(ERRORS);
    all.find(|(name, _)| *name == word).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        let cases = [
            ("0", Some(0)),
            (" 4096 ", Some(4096)),
            ("-1", Some(-1)),
            ("0x7F", Some(127)),
            ("LONG_MAX", Some(i128::from(i64::MAX))),
            ("-EINPROGRESS", Some(-115)),
            ("ULONG_MAX", Some(i128::from(u64::MAX))),
            ("sizeof(struct iocb)", None),
            ("--1", None),
            ("0x-1", None),
            ("", None),
            ("-", None),
        ];
        for (text, value) in cases {
            assert_eq!(number(text), value, "{text}");
        }
        assert_eq!((errno("EINVAL"), errno("NONE")), (Some(22), None));
        assert_eq!((capability("CAP_SYS_NICE"), capability("CAP_BPF")), (Some(23), Some(39)));
    }
}
