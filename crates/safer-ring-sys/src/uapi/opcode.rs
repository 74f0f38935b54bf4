//! Request opcodes (`IORING_OP_*`), the value of [`Sqe::opcode`](super::sqe::Sqe::opcode).

macro_rules! opcodes {
    ($($name:ident = $value:literal, $major:literal $minor:literal, $text:literal;)*) => {
        $(#[doc = concat!($text, " Linux ", $major, ".", $minor, ".")]
        pub const $name: u8 = $value;)*

        /// The names in the order of their values, as the kernel has them after `IORING_OP_`.
        pub const NAMES: [&str; COUNT] = [$(stringify!($name)),*];

        /// First kernel (major, minor) of each opcode, in the order of their values.
        pub const SINCE: [(u8, u8); COUNT] = [$(($major, $minor)),*];

        const VALUES: [u8; COUNT] = [$($value),*];
    };
}

/// Number of opcodes known here: all of Linux 7.3.
pub const COUNT: usize = 65;

opcodes! {
    NOP = 0, 5 1, "Does nothing and completes.";
    READV = 1, 5 1, "`preadv2(2)`.";
    WRITEV = 2, 5 1, "`pwritev2(2)`.";
    FSYNC = 3, 5 1, "`fsync(2)` and `fdatasync(2)`.";
    READ_FIXED = 4, 5 1, "Read into a registered buffer.";
    WRITE_FIXED = 5, 5 1, "Write from a registered buffer.";
    POLL_ADD = 6, 5 1, "`poll(2)` on one descriptor.";
    POLL_REMOVE = 7, 5 1, "Removes or updates a poll.";
    SYNC_FILE_RANGE = 8, 5 2, "`sync_file_range(2)`.";
    SENDMSG = 9, 5 3, "`sendmsg(2)`.";
    RECVMSG = 10, 5 3, "`recvmsg(2)`.";
    TIMEOUT = 11, 5 4, "A timer, by time or by number of completions.";
    TIMEOUT_REMOVE = 12, 5 5, "Removes or updates a timer.";
    ACCEPT = 13, 5 5, "`accept4(2)`.";
    ASYNC_CANCEL = 14, 5 5, "Asks for the cancellation of other requests.";
    LINK_TIMEOUT = 15, 5 5, "A time limit for the request linked before it.";
    CONNECT = 16, 5 5, "`connect(2)`.";
    FALLOCATE = 17, 5 6, "`fallocate(2)`.";
    OPENAT = 18, 5 6, "`openat(2)`.";
    CLOSE = 19, 5 6, "`close(2)`, also of a registered file.";
    FILES_UPDATE = 20, 5 6, "Changes registered files.";
    STATX = 21, 5 6, "`statx(2)`.";
    READ = 22, 5 6, "`pread(2)`.";
    WRITE = 23, 5 6, "`pwrite(2)`.";
    FADVISE = 24, 5 6, "`posix_fadvise(2)`.";
    MADVISE = 25, 5 6, "`madvise(2)`.";
    SEND = 26, 5 6, "`send(2)`.";
    RECV = 27, 5 6, "`recv(2)`.";
    OPENAT2 = 28, 5 6, "`openat2(2)`.";
    EPOLL_CTL = 29, 5 6, "`epoll_ctl(2)`.";
    SPLICE = 30, 5 7, "`splice(2)`.";
    PROVIDE_BUFFERS = 31, 5 7, "Provides buffers one request at a time.";
    REMOVE_BUFFERS = 32, 5 7, "Takes provided buffers back.";
    TEE = 33, 5 8, "`tee(2)`.";
    SHUTDOWN = 34, 5 11, "`shutdown(2)`.";
    RENAMEAT = 35, 5 11, "`renameat2(2)`.";
    UNLINKAT = 36, 5 11, "`unlinkat(2)`.";
    MKDIRAT = 37, 5 15, "`mkdirat(2)`.";
    SYMLINKAT = 38, 5 15, "`symlinkat(2)`.";
    LINKAT = 39, 5 15, "`linkat(2)`.";
    MSG_RING = 40, 5 18, "Posts a completion, or sends a registered file, to another ring.";
    FSETXATTR = 41, 5 19, "`fsetxattr(2)`.";
    SETXATTR = 42, 5 19, "`setxattr(2)`.";
    FGETXATTR = 43, 5 19, "`fgetxattr(2)`.";
    GETXATTR = 44, 5 19, "`getxattr(2)`.";
    SOCKET = 45, 5 19, "`socket(2)`.";
    URING_CMD = 46, 5 19, "A command of the file's own driver.";
    SEND_ZC = 47, 6 0, "`send(2)` without a copy: two completions, the second a notification.";
    SENDMSG_ZC = 48, 6 1, "`sendmsg(2)` without a copy.";
    READ_MULTISHOT = 49, 6 7, "Reads into provided buffers until told to stop.";
    WAITID = 50, 6 7, "`waitid(2)`.";
    FUTEX_WAIT = 51, 6 7, "`futex(2)` wait.";
    FUTEX_WAKE = 52, 6 7, "`futex(2)` wake.";
    FUTEX_WAITV = 53, 6 7, "`futex_waitv(2)`.";
    FIXED_FD_INSTALL = 54, 6 8, "Makes a descriptor from a registered file.";
    FTRUNCATE = 55, 6 9, "`ftruncate(2)`.";
    BIND = 56, 6 11, "`bind(2)`.";
    LISTEN = 57, 6 11, "`listen(2)`.";
    RECV_ZC = 58, 6 15, "Receives without a copy into a registered area.";
    EPOLL_WAIT = 59, 6 15, "`epoll_wait(2)`.";
    READV_FIXED = 60, 6 15, "Vectored read into a registered buffer.";
    WRITEV_FIXED = 61, 6 15, "Vectored write from a registered buffer.";
    PIPE = 62, 6 16, "`pipe2(2)`.";
    NOP128 = 63, 6 19, "`NOP` as a 128-byte entry of a mixed ring.";
    URING_CMD128 = 64, 6 19, "`URING_CMD` as a 128-byte entry of a mixed ring.";
}

/// The name of an opcode as the kernel has it after `IORING_OP_`; `None` beyond [`COUNT`].
#[must_use]
pub fn name(opcode: u8) -> Option<&'static str> {
    NAMES.get(usize::from(opcode)).copied()
}

/// First kernel (major, minor) that knows an opcode; `None` beyond [`COUNT`].
#[must_use]
pub fn since(opcode: u8) -> Option<(u8, u8)> {
    SINCE.get(usize::from(opcode)).copied()
}

const _: () = {
    let (mut at, mut value) = (0, 0_u8);
    while at < COUNT {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        let listed = VALUES[at];
        assert!(listed == value, "opcodes are listed in order, without a gap");
        at += 1;
        value += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_values() {
        assert_eq!(name(NOP), Some("NOP"));
        assert_eq!(name(SENDMSG_ZC), Some("SENDMSG_ZC"));
        assert_eq!(name(URING_CMD128), Some("URING_CMD128"));
        assert_eq!(name(65), None);
        assert_eq!(since(RECV_ZC), Some((6, 15)));
        assert_eq!(since(SHUTDOWN), Some((5, 11)));
        assert_eq!(since(255), None);
    }
}
