//! Error numbers of the kernel as a value: no allocation, no thread-local state.

use core::fmt;

/// An error number of the kernel, `errno(3)`. Never 0.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($name:ident = $libc:ident, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($libc), "`: ", $text, ".")]
            pub const $name: Errno = Errno(narrow(libc::$libc));)*

            /// The symbolic name, such as `"EAGAIN"`; `None` for a number without one here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($libc)),)*
                    _ => None,
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Errno::$name => $text,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errnos! {
    PERM = EPERM, "operation not permitted";
    NOENT = ENOENT, "no such file or directory";
    SRCH = ESRCH, "no such process";
    INTR = EINTR, "interrupted system call";
    IO = EIO, "input/output error";
    NXIO = ENXIO, "no such device or address";
    TOOBIG = E2BIG, "argument list too long";
    BADF = EBADF, "bad file descriptor";
    CHILD = ECHILD, "no child processes";
    AGAIN = EAGAIN, "resource temporarily unavailable";
    NOMEM = ENOMEM, "cannot allocate memory";
    ACCESS = EACCES, "permission denied";
    FAULT = EFAULT, "bad address";
    BUSY = EBUSY, "device or resource busy";
    EXIST = EEXIST, "file exists";
    XDEV = EXDEV, "invalid cross-device link";
    NODEV = ENODEV, "no such device";
    NOTDIR = ENOTDIR, "not a directory";
    ISDIR = EISDIR, "is a directory";
    INVAL = EINVAL, "invalid argument";
    NFILE = ENFILE, "too many open files in system";
    MFILE = EMFILE, "too many open files";
    NOTTY = ENOTTY, "inappropriate ioctl for device";
    TXTBSY = ETXTBSY, "text file busy";
    FBIG = EFBIG, "file too large";
    NOSPC = ENOSPC, "no space left on device";
    SPIPE = ESPIPE, "illegal seek";
    ROFS = EROFS, "read-only file system";
    MLINK = EMLINK, "too many links";
    PIPE = EPIPE, "broken pipe";
    DOM = EDOM, "numerical argument out of domain";
    RANGE = ERANGE, "numerical result out of range";
    DEADLK = EDEADLK, "resource deadlock avoided";
    NAMETOOLONG = ENAMETOOLONG, "file name too long";
    NOSYS = ENOSYS, "function not implemented";
    NOTEMPTY = ENOTEMPTY, "directory not empty";
    LOOP = ELOOP, "too many levels of symbolic links";
    NODATA = ENODATA, "no data available";
    TIME = ETIME, "timer expired";
    PROTO = EPROTO, "protocol error";
    BADMSG = EBADMSG, "bad message";
    OVERFLOW = EOVERFLOW, "value too large for defined data type";
    BADFD = EBADFD, "file descriptor in bad state";
    NOTSOCK = ENOTSOCK, "socket operation on non-socket";
    DESTADDRREQ = EDESTADDRREQ, "destination address required";
    MSGSIZE = EMSGSIZE, "message too long";
    PROTOTYPE = EPROTOTYPE, "protocol wrong type for socket";
    NOPROTOOPT = ENOPROTOOPT, "protocol not available";
    PROTONOSUPPORT = EPROTONOSUPPORT, "protocol not supported";
    OPNOTSUPP = EOPNOTSUPP, "operation not supported";
    AFNOSUPPORT = EAFNOSUPPORT, "address family not supported by protocol";
    ADDRINUSE = EADDRINUSE, "address already in use";
    ADDRNOTAVAIL = EADDRNOTAVAIL, "cannot assign requested address";
    NETDOWN = ENETDOWN, "network is down";
    NETUNREACH = ENETUNREACH, "network is unreachable";
    NETRESET = ENETRESET, "network dropped connection on reset";
    CONNABORTED = ECONNABORTED, "software caused connection abort";
    CONNRESET = ECONNRESET, "connection reset by peer";
    NOBUFS = ENOBUFS, "no buffer space available";
    ISCONN = EISCONN, "transport endpoint is already connected";
    NOTCONN = ENOTCONN, "transport endpoint is not connected";
    SHUTDOWN = ESHUTDOWN, "cannot send after transport endpoint shutdown";
    TIMEDOUT = ETIMEDOUT, "connection timed out";
    CONNREFUSED = ECONNREFUSED, "connection refused";
    HOSTDOWN = EHOSTDOWN, "host is down";
    HOSTUNREACH = EHOSTUNREACH, "no route to host";
    ALREADY = EALREADY, "operation already in progress";
    INPROGRESS = EINPROGRESS, "operation now in progress";
    STALE = ESTALE, "stale file handle";
    DQUOT = EDQUOT, "disk quota exceeded";
    CANCELED = ECANCELED, "operation canceled";
    OWNERDEAD = EOWNERDEAD, "owner died";
    NOTRECOVERABLE = ENOTRECOVERABLE, "state not recoverable";
    BADR = EBADR, "invalid request descriptor";
}

/// Error numbers are small positive numbers (the kernel's limit is 4095).
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constant evaluation has no `TryFrom`; the assertion proves the range"
)]
const fn narrow(raw: i32) -> u16 {
    assert!(raw > 0 && raw <= 4095, "not an error number");
    raw as u16
}

impl Errno {
    /// The value of a result that the kernel encodes as a count, or as a negative error number:
    /// the `res` of a completion.
    ///
    /// # Errors
    /// The error number, if `res` is negative.
    #[inline]
    pub fn from_result(res: i32) -> Result<u32, Errno> {
        match u32::try_from(res) {
            Ok(value) => Ok(value),
            Err(_) => Err(Errno::of_negative(res)),
        }
    }

    /// Out of line, or its arithmetic is done for every success too.
    #[cold]
    #[inline(never)]
    pub(crate) fn of_negative(res: i32) -> Errno {
        Errno::from_positive(res.unsigned_abs())
    }

    /// The error with this number; `None` unless it is between 1 and 4095 (`MAX_ERRNO`).
    #[must_use]
    pub fn from_raw_os_error(raw: i32) -> Option<Errno> {
        u16::try_from(raw).ok().filter(|number| (1..=4095).contains(number)).map(Errno)
    }

    /// The number, positive as in `errno(3)`.
    #[inline]
    #[must_use]
    pub fn raw_os_error(self) -> i32 {
        i32::from(self.0)
    }

    /// The calling thread's `errno(3)`, as the last failed library call left it.
    #[must_use]
    pub fn last() -> Errno {
        let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Errno::from_positive(raw.unsigned_abs())
    }

    /// A number beyond what the kernel can produce saturates instead of becoming another error.
    #[inline]
    fn from_positive(number: u32) -> Errno {
        Errno(u16::try_from(number).unwrap_or(u16::MAX).max(1))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?}, {})", self.text(), self.0)
    }
}

impl core::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        std::io::Error::from_raw_os_error(errno.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_count_or_an_error() {
        assert_eq!(Errno::from_result(0), Ok(0));
        assert_eq!(Errno::from_result(i32::MAX), Ok(0x7fff_ffff));
        assert_eq!(Errno::from_result(-11), Err(Errno::AGAIN));
        assert_eq!(Errno::from_result(-125), Err(Errno::CANCELED));
        assert!(Errno::from_result(i32::MIN).is_err());
    }

    #[test]
    fn names_and_texts() {
        assert_eq!(format!("{:?}", Errno::TIME), "ETIME");
        assert_eq!(Errno::PERM.to_string(), "operation not permitted (EPERM, 1)");
        assert_eq!(Errno::from_raw_os_error(4000).map(Errno::name), Some(None));
        assert_eq!(format!("{:?}", Errno(4000)), "Errno(4000)");
        assert_eq!(Errno::from_raw_os_error(0), None);
        assert_eq!(Errno::from_raw_os_error(-1), None);
        assert_eq!(Errno::from_raw_os_error(4096), None);
    }

    #[test]
    fn becomes_the_same_io_error() {
        for raw in 1..=133 {
            let errno = Errno::from_raw_os_error(raw).unwrap();
            assert_eq!(errno.raw_os_error(), raw);
            assert_eq!(std::io::Error::from(errno).raw_os_error(), Some(raw));
        }
        assert_eq!(std::io::Error::from(Errno::AGAIN).kind(), std::io::ErrorKind::WouldBlock);
    }
}
