//! Which statements of the specifications a rule implements, where their names differ: one rule can stand for several causes
//! that a specification tells apart.

/// By the name of the rule.
pub(super) const OF: &[(&str, &[&str])] = &[
    (
        "io_cancel/EINVAL/ctx",
        &[
            "io_cancel/EINVAL/zero",
            "io_cancel/EINVAL/unmapped",
            "io_cancel/EINVAL/destroyed",
            "io_cancel/EINVAL/forked-child",
            "io_cancel/EINVAL/other-context",
        ],
    ),
    (
        "io_cancel/EINVAL/not-found",
        &[
            "io_cancel/EINVAL/never-submitted",
            "io_cancel/EINVAL/ended",
            "io_cancel/EINVAL/twice",
            "io_cancel/EINVAL/not-cancellable",
            "io_cancel/EINVAL/sync",
        ],
    ),
    (
        "io_destroy/EINVAL/ctx",
        &[
            "io_destroy/EINVAL/forked-child",
            "io_destroy/EINVAL/no-context",
            "io_destroy/EINVAL/twice",
            "io_destroy/EINVAL/unmapped",
            "io_destroy/EINVAL/zero",
        ],
    ),
    (
        "io_getevents/EINVAL/ctx",
        &[
            "io_getevents/EINVAL/zero",
            "io_getevents/EINVAL/unmapped",
            "io_getevents/EINVAL/destroyed",
            "io_getevents/EINVAL/destroyed-meanwhile",
            "io_getevents/EINVAL/forked-child",
        ],
    ),
    (
        "io_getevents/EINVAL/min-above-nr",
        &["io_getevents/EINVAL/min-above-nr", "io_getevents/EINVAL/nr-negative"],
    ),
    (
        "io_setup/EAGAIN/aio-max-nr",
        &["io_setup/EAGAIN/above-limit", "io_setup/EAGAIN/wraps-to-zero"],
    ),
    ("io_setup/EAGAIN/aio-nr", &["io_setup/EAGAIN/limit-used-up"]),
    ("io_setup/EFAULT/ctxp", &["io_setup/EFAULT/unreadable"]),
    ("io_setup/EFAULT/ctxp-read-only", &["io_setup/EFAULT/read-only"]),
    ("io_setup/EINVAL/ctx-not-zero", &["io_setup/EINVAL/handle-not-zero"]),
    ("io_setup/EINVAL/nr-too-many", &["io_setup/EINVAL/too-many"]),
    ("io_setup/EINVAL/nr-zero", &["io_setup/EINVAL/no-events"]),
    ("io_setup/ENOMEM/ring", &["io_setup/ENOMEM/no-memory"]),
    (
        "io_submit/EAGAIN/nowait",
        &[
            "io_submit/EAGAIN/nonblocking-pipe",
            "io_submit/EAGAIN/nowait-pipe",
            "io_submit/EAGAIN/nowait-socket",
        ],
    ),
    ("io_submit/EAGAIN/slots", &["io_submit/EAGAIN/no-slot"]),
    ("io_submit/EBADF/fildes", &["io_submit/EBADF/not-open", "io_submit/EBADF/path-only"]),
    ("io_submit/EFAULT/aio-key", &["io_submit/EFAULT/key"]),
    (
        "io_submit/EFAULT/buffer",
        &["io_submit/EFAULT/buffer-read-only", "io_submit/EFAULT/buffer-unmapped"],
    ),
    (
        "io_submit/EFAULT/buffer-range",
        &["io_submit/EFAULT/buffer-of-kernel", "io_submit/EFAULT/vector-of-kernel"],
    ),
    ("io_submit/EFAULT/iocbpp", &["io_submit/EFAULT/array"]),
    ("io_submit/EFAULT/iovec", &["io_submit/EFAULT/vectors"]),
    ("io_submit/EINVAL/append-conflict", &["io_submit/EINVAL/append-and-noappend"]),
    (
        "io_submit/EINVAL/ctx",
        &[
            "io_submit/EINVAL/context-destroyed",
            "io_submit/EINVAL/context-foreign",
            "io_submit/EINVAL/context-unmapped",
            "io_submit/EINVAL/context-zero",
            "io_submit/EINVAL/forked-child",
        ],
    ),
    (
        "io_submit/EINVAL/fsync-fields",
        &[
            "io_submit/EINVAL/fsync-buffer",
            "io_submit/EINVAL/fsync-length",
            "io_submit/EINVAL/fsync-offset",
            "io_submit/EINVAL/fsync-rw-flags",
        ],
    ),
    ("io_submit/EINVAL/fsync-unsupported", &["io_submit/EINVAL/fsync-none"]),
    ("io_submit/EINVAL/iovec-count", &["io_submit/EINVAL/too-many-vectors"]),
    ("io_submit/EINVAL/iovec-length", &["io_submit/EINVAL/vector-length"]),
    ("io_submit/EINVAL/no-operation", &["io_submit/EINVAL/no-read", "io_submit/EINVAL/no-write"]),
    (
        "io_submit/EINVAL/opcode",
        &["io_submit/EINVAL/opcode", "io_submit/EINVAL/noop", "io_submit/EINVAL/preadx"],
    ),
    (
        "io_submit/EINVAL/poll-fields",
        &[
            "io_submit/EINVAL/poll-length",
            "io_submit/EINVAL/poll-offset",
            "io_submit/EINVAL/poll-rw-flags",
        ],
    ),
    ("io_submit/EINVAL/resfd", &["io_submit/EINVAL/resfd-not-eventfd"]),
    ("io_submit/ENOMEM/allocation", &["io_submit/ENOMEM/no-memory"]),
    (
        "io_submit/EOPNOTSUPP/file",
        &["io_submit/EOPNOTSUPP/atomic-write", "io_submit/EOPNOTSUPP/dontcache"],
    ),
    (
        "io_submit/EOPNOTSUPP/nowait-unsupported",
        &[
            "io_submit/EOPNOTSUPP/nowait",
            "io_submit/EOPNOTSUPP/nowait-pipe",
            "io_submit/EOPNOTSUPP/nowait-socket",
        ],
    ),
    ("io_submit/EOPNOTSUPP/rw-flags-unknown", &["io_submit/EOPNOTSUPP/rw-flags"]),
    ("io_submit/EPERM/ioprio-rt", &["io_submit/EPERM/ioprio-realtime"]),
    ("io_uring_enter/EAGAIN/memory", &["io_uring_enter/EAGAIN/no-memory"]),
    ("io_uring_enter/EAGAIN/transfer-nowait", &["io_uring_enter/EAGAIN/nowait"]),
    ("io_uring_enter/EBADF/fd", &["io_uring_enter/EBADF/closed"]),
    ("io_uring_enter/EBADF/transfer-closed", &["io_uring_enter/EBADF/read"]),
    (
        "io_uring_enter/EEXIST/other-thread",
        &["io_uring_enter/EEXIST/submit", "io_uring_enter/EEXIST/wait"],
    ),
    ("io_uring_enter/EFAULT/buffer", &["io_uring_enter/EFAULT/read"]),
    (
        "io_uring_enter/EFAULT/ext-arg",
        &["io_uring_enter/EFAULT/argument", "io_uring_enter/EFAULT/timeout"],
    ),
    ("io_uring_enter/EFAULT/sigmask", &["io_uring_enter/EFAULT/mask"]),
    ("io_uring_enter/EINVAL/ext-arg-size", &["io_uring_enter/EINVAL/argument-size"]),
    ("io_uring_enter/EINVAL/flags-unknown", &["io_uring_enter/EINVAL/unknown-flag"]),
    ("io_uring_enter/EINVAL/registered-index", &["io_uring_enter/EINVAL/registered-ring"]),
    ("io_uring_enter/EINVAL/sigmask-size", &["io_uring_enter/EINVAL/mask-size"]),
    ("io_uring_enter/EISDIR/directory", &["io_uring_enter/EISDIR/read"]),
    ("io_uring_enter/EOPNOTSUPP/not-a-ring", &["io_uring_enter/EOPNOTSUPP/no-ring"]),
    (
        "io_uring_enter/EOPNOTSUPP/rw-flags",
        &["io_uring_enter/EOPNOTSUPP/nowait-pipe", "io_uring_enter/EOPNOTSUPP/rw-flags"],
    ),
    ("io_uring_register/EBADF/fd", &["io_uring_register/EBADF/closed"]),
    (
        "io_uring_register/EBADF/file",
        &[
            "io_uring_register/EBADF/files",
            "io_uring_register/EBADF/files-ring",
            "io_uring_register/EBADF/eventfd",
        ],
    ),
    (
        "io_uring_register/EBADFD/enabled",
        &["io_uring_register/EBADFD/enable", "io_uring_register/EBADFD/restrictions"],
    ),
    ("io_uring_register/EEXIST/group", &["io_uring_register/EEXIST/pbuf"]),
    (
        "io_uring_register/EFAULT/argument",
        &["io_uring_register/EFAULT/buffers-array", "io_uring_register/EFAULT/files-array"],
    ),
    (
        "io_uring_register/EFAULT/buffer",
        &[
            "io_uring_register/EFAULT/buffer-unmapped",
            "io_uring_register/EFAULT/buffer-empty",
            "io_uring_register/EFAULT/buffer-too-large",
        ],
    ),
    (
        "io_uring_register/EFAULT/null",
        &["io_uring_register/EFAULT/buffers-array", "io_uring_register/EFAULT/files-array"],
    ),
    ("io_uring_register/EINVAL/blind", &["io_uring_register/EINVAL/no-fd"]),
    (
        "io_uring_register/EINVAL/buffers-count",
        &["io_uring_register/EINVAL/no-buffers", "io_uring_register/EINVAL/too-many-buffers"],
    ),
    ("io_uring_register/EINVAL/eventfd-kind", &["io_uring_register/EINVAL/eventfd"]),
    ("io_uring_register/EINVAL/files-count", &["io_uring_register/EINVAL/no-files"]),
    (
        "io_uring_register/EINVAL/no-argument",
        &["io_uring_register/EINVAL/personality", "io_uring_register/EINVAL/unregister-buffers"],
    ),
    (
        "io_uring_register/EINVAL/personality",
        &[
            "io_uring_register/EINVAL/personality",
            "io_uring_register/EINVAL/unregister-personality",
        ],
    ),
    (
        "io_uring_register/EINVAL/probe-count",
        &[
            "io_uring_register/EINVAL/probe-count",
            "io_uring_register/EINVAL/probe-not-zero",
            "io_uring_register/EINVAL/probe-null",
        ],
    ),
    (
        "io_uring_register/EINVAL/reserved",
        &["io_uring_register/EINVAL/pbuf-reserved", "io_uring_register/EINVAL/sync-cancel"],
    ),
    ("io_uring_register/EINVAL/resize-defer", &["io_uring_register/EINVAL/resize"]),
    ("io_uring_register/EINVAL/ring-fds-count", &["io_uring_register/EINVAL/ring-fds"]),
    ("io_uring_register/EINVAL/workers", &["io_uring_register/EINVAL/max-workers"]),
    ("io_uring_register/EMFILE/files-count", &["io_uring_register/EMFILE/files"]),
    (
        "io_uring_register/ENOENT/unknown",
        &[
            "io_uring_register/ENOENT/pbuf-status",
            "io_uring_register/ENOENT/sync-cancel",
            "io_uring_register/ENOENT/unregister-pbuf",
        ],
    ),
    ("io_uring_register/ENOMEM/memlock", &["io_uring_register/ENOMEM/buffers"]),
    (
        "io_uring_register/ENXIO/buffers",
        &["io_uring_register/ENXIO/unregister-buffers", "io_uring_register/ENXIO/buffers-update"],
    ),
    ("io_uring_register/ENXIO/eventfd", &["io_uring_register/ENXIO/unregister-eventfd"]),
    (
        "io_uring_register/ENXIO/files",
        &["io_uring_register/ENXIO/files-update", "io_uring_register/ENXIO/unregister-files"],
    ),
    ("io_uring_register/EOPNOTSUPP/not-a-ring", &["io_uring_register/EOPNOTSUPP/no-ring"]),
    (
        "io_uring_setup/EINVAL/aff-without-sqpoll",
        &["io_uring_setup/EINVAL/affinity-without-thread"],
    ),
    ("io_uring_setup/EINVAL/attach", &["io_uring_setup/EINVAL/attach-to-no-ring"]),
    ("io_uring_setup/EINVAL/cq-below-sq", &["io_uring_setup/EINVAL/fewer-completions"]),
    ("io_uring_setup/EINVAL/cq-entries-too-many", &["io_uring_setup/EINVAL/too-many-completions"]),
    ("io_uring_setup/EINVAL/cq-entries-zero", &["io_uring_setup/EINVAL/no-completions"]),
    ("io_uring_setup/EINVAL/cqe-sizes", &["io_uring_setup/EINVAL/mixed-and-large-completions"]),
    (
        "io_uring_setup/EINVAL/defer-single-issuer",
        &["io_uring_setup/EINVAL/defer-without-single-issuer"],
    ),
    ("io_uring_setup/EINVAL/entries-too-many", &["io_uring_setup/EINVAL/too-many-entries"]),
    ("io_uring_setup/EINVAL/entries-zero", &["io_uring_setup/EINVAL/no-entries"]),
    ("io_uring_setup/EINVAL/flags-unknown", &["io_uring_setup/EINVAL/unknown-flag"]),
    ("io_uring_setup/EINVAL/hybrid-iopoll", &["io_uring_setup/EINVAL/hybrid-without-iopoll"]),
    (
        "io_uring_setup/EINVAL/registered-fd-only",
        &["io_uring_setup/EINVAL/registered-only-with-mmap"],
    ),
    (
        "io_uring_setup/EINVAL/rewind",
        &["io_uring_setup/EINVAL/rewind-and-sqpoll", "io_uring_setup/EINVAL/rewind-with-index"],
    ),
    ("io_uring_setup/EINVAL/sq-cpu", &["io_uring_setup/EINVAL/no-such-cpu"]),
    ("io_uring_setup/EINVAL/sqe-sizes", &["io_uring_setup/EINVAL/mixed-and-large-submissions"]),
    (
        "io_uring_setup/EINVAL/sqpoll-taskrun",
        &["io_uring_setup/EINVAL/sqpoll-and-coop", "io_uring_setup/EINVAL/sqpoll-and-defer"],
    ),
    ("io_uring_setup/EINVAL/taskrun-flag", &["io_uring_setup/EINVAL/taskrun-flag-alone"]),
    ("io_uring_setup/EMFILE/nofile", &["io_uring_setup/EMFILE/descriptors"]),
    ("io_uring_setup/ENOSYS/config", &["io_uring_setup/ENOSYS/not-built"]),
    ("io_uring_setup/ENXIO/attach", &["io_uring_setup/ENXIO/attach-to-nothing"]),
    (
        "io_uring_setup/EPERM/disabled",
        &["io_uring_setup/EPERM/disabled", "io_uring_setup/EPERM/filter"],
    ),
];
