//! Errors that say which rule was broken, and predictions of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use common::{Exec, direct_file, everywhere, file_with, must_fail, with_ring};
use safer_ring::aio::{Command, Context, SetupError};
use safer_ring::contract::{self, Call, Facts, IoSubmit, Iocb, Pointer};
use safer_ring::{Fd, IoBuf, Local, Mode, OpError, OwnedBuffer};

everywhere!(
    a_direct_transfer_that_is_not_aligned_says_which_number,
    a_descriptor_that_is_not_open_for_it_says_so,
    a_place_in_a_socket_says_that_there_is_none,
    what_has_no_rule_says_what_the_kernel_said,
    many_buffers_have_causes_too,
);

fn context<B: IoBuf>() -> Option<Context<B>> {
    match Context::new(4) {
        Ok(context) => Some(context),
        Err(SetupError::Unavailable { errno }) => {
            eprintln!("no AIO here ({errno:?}): skipped");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_refused_command_says_why_and_keeps_its_errno() {
    let Some(mut context) = context::<Vec<u8>>() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("written")).unwrap();
    let command = Command::read(&file, Vec::with_capacity(16), 0);
    let error = context.submit([command]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("bad file descriptor (EBADF, 9); "), "{text}");
    assert!(text.contains("a read needs a file that is open for reading"), "{text}");
    let causes = error.causes();
    assert_eq!(causes[0].rule.id, "io_submit/EBADF/not-readable");
    assert!(causes[0].shown && causes.iter().filter(|cause| cause.shown).count() == 1);
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(9));
}

#[test]
fn an_event_that_failed_says_why_and_keeps_its_errno() {
    let Some(mut context) = context::<Vec<u8>>() else { return };
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let fine = Command::read(&zero, Vec::with_capacity(16), 0).data(1);
    context.submit([Command::read(&socket, Vec::with_capacity(16), 512), fine]).unwrap();
    // The kernel has it, and it is not looked at again.
    drop(socket);
    for event in context.events(2, None).unwrap() {
        if event.data == 1 {
            assert!(event.result.is_ok() && event.causes().is_empty());
            continue;
        }
        assert_eq!(event.result.as_ref().unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        assert_eq!(event.causes()[0].rule.id, "io_submit/ESPIPE/socket-offset");
        assert!(event.causes().iter().all(|cause| !cause.rule.id.contains("reserved")));
    }
}

#[test]
fn a_misaligned_event_names_what_is_misaligned() {
    let Some(mut context) = context::<OwnedBuffer>() else { return };
    let file = direct_file::<Local>(8192);
    if !is_direct(&file) {
        return;
    }
    let buffer = OwnedBuffer::aligned_with_capacity(4096, 4096).unwrap();
    context.submit([Command::read(&file, buffer, 4104)]).unwrap();
    let event = context.events(1, None).unwrap().remove(0);
    assert_eq!(event.result.as_ref().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let causes = event.causes();
    assert_eq!(causes[0].rule.id, "io_submit/EINVAL/direct-offset");
    assert_eq!(causes[0].found, "of 512 bytes, and the offset is at +8");
    assert!(causes.iter().all(|cause| !cause.shown), "nothing is known of the descriptor");
}

#[test]
fn a_directory_has_no_reads_and_a_pipe_no_syncs() {
    let Some(mut context) = context::<Vec<u8>>() else { return };
    let directory = std::fs::File::open("/").unwrap();
    let error = context.submit([Command::read(&directory, Vec::with_capacity(16), 0)]).unwrap_err();
    assert!(error.to_string().contains("and a directory has none") || error.causes()[0].shown);
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = context.submit([Command::fsync(&reader)]).unwrap_err();
    assert_eq!(error.causes()[0].rule.id, "io_submit/EINVAL/fsync-unsupported", "{error}");
}

#[test]
fn what_was_predicted_of_a_command_is_what_it_gets() {
    let Some(mut context) = context::<Vec<u8>>() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("written")).unwrap();
    let (fildes, about) = contract::entry(&file);
    let place = Pointer::writable(0x10_0000);
    let iocb = Iocb { place, fildes, buf: place.address, nbytes: 16, ..Iocb::default() };
    let call = Call::IoSubmit(IoSubmit { nr: 1, array: place, iocbs: vec![iocb] });
    let mut facts = Facts { files: vec![(fildes, about)], ..contract::machine() };
    facts.context.alive = Some(true);
    facts.context.room = Some(4);
    let finding = contract::check(&call, &facts).expect("it is not open for reading");
    assert!(finding.is_certain(), "{finding:?}");
    let error = context.submit([Command::read(&file, Vec::with_capacity(16), 0)]).unwrap_err();
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(9));
    assert_eq!(finding.rule.errno, "EBADF");
}

/// The text and the rules of the causes of a failed operation; the number stays what it was.
fn told<T: std::fmt::Debug, B>(result: Result<T, OpError<B>>, errno: i32) -> (String, Vec<String>) {
    let error = result.expect_err("it must fail");
    let causes = error.causes();
    assert!(causes.iter().all(|cause| !cause.shown), "nothing is known of the descriptor");
    let ids = causes.iter().map(|cause| cause.rule.id.replacen("io_uring_enter/", "", 1));
    let told = (error.to_string(), ids.collect());
    let error = io::Error::from(error);
    assert_eq!((error.raw_os_error(), error.get_ref().is_none()), (Some(errno), true));
    told
}

/// Whether a file is open for direct I/O; says so if not.
fn is_direct<M: Mode>(file: &Fd<M>) -> bool {
    let direct = rustix::fs::fcntl_getfl(file).unwrap().contains(rustix::fs::OFlags::DIRECT);
    let has_rules = !common::lacks_direct_rules();
    if !direct || !has_rules {
        println!("skipped: no direct I/O on this file system, or in memory, where it has no rules");
    }
    direct && has_rules
}

fn a_direct_transfer_that_is_not_aligned_says_which_number<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file = direct_file(16_384);
        if !is_direct(&file) {
            return;
        }
        let buffer = || OwnedBuffer::aligned_with_capacity(4096, 4096).unwrap();
        let (text, causes) = told(ring.read_at_owned(&file, buffer(), 4104).await, libc::EINVAL);
        assert_eq!(
            text,
            "Invalid argument (os error 22); likely: direct I/O needs an aligned offset, of 512 bytes, and the offset is \
             at +8; use multiples of the block size (`stx_dio_offset_align` of statx(2))"
        );
        assert_eq!(causes[0], "EINVAL/direct-offset");
        let short = OwnedBuffer::aligned_with_capacity(1000, 4096).unwrap();
        let (text, causes) = told(ring.read_at_owned(&file, short, 0).await, libc::EINVAL);
        let begin = "Invalid argument (os error 22); likely: direct I/O needs an aligned length, of 512 bytes, and the \
                     length is at +488; ";
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(causes[0], "EINVAL/direct-length");
        assert_eq!(ring.read_at_owned(&file, buffer(), 4096).await.unwrap().0, 4096, "it goes on");
    });
}

fn a_descriptor_that_is_not_open_for_it_says_so<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let written = Fd::new(std::fs::File::create(&path).unwrap());
        let read = Fd::new(std::fs::File::open(&path).unwrap());
        let (text, causes) = told(ring.write_at_owned(&read, vec![1; 16], 0).await, libc::EBADF);
        assert_eq!(
            text,
            "Bad file descriptor (os error 9); likely: a write needs a file that is open for writing; open it with \
             O_WRONLY or O_RDWR"
        );
        assert_eq!(causes, ["EBADF/not-writable"]);
        let (text, causes) = told(ring.read_owned(&written, vec![0; 16]).await, libc::EBADF);
        assert!(text.ends_with("open it with O_RDONLY or O_RDWR"), "{text}");
        assert_eq!(causes, ["EBADF/not-readable"]);
        let place = Fd::new(std::fs::File::open(directory.path()).unwrap());
        let (text, _) = told(ring.read_at_owned(&place, vec![0; 16], 0).await, libc::EISDIR);
        let begin = "Is a directory (os error 21); likely: a directory cannot be read or written as a file; ";
        assert!(text.starts_with(begin), "{text}");
    });
}

fn a_place_in_a_socket_says_that_there_is_none<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = Fd::new(OwnedFd::from(socket));
        let (text, causes) =
            told(ring.read_at_owned(&socket, vec![0; 16], 5000).await, libc::ESPIPE);
        assert_eq!(
            text,
            "Illegal seek (os error 29); likely: a socket has no offsets: it takes 0, or -1 for the position; use 0, or \
             recv(2) and send(2)"
        );
        assert_eq!(causes, ["ESPIPE/socket-offset"]);
    });
}

fn what_has_no_rule_says_what_the_kernel_said<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let (socket, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(peer);
        let socket = Fd::new(OwnedFd::from(socket));
        let sent = ring.send(&socket, vec![1; 16]).await;
        assert_eq!(told(sent, libc::EPIPE), ("Broken pipe (os error 32)".to_owned(), Vec::new()));
        // Of an eventfd, whose numbers nobody aligns, no cause stands out.
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let counter = Fd::new(rustix::event::eventfd(1, flags).unwrap());
        let (text, _) = told(ring.read_owned(&counter, vec![0; 4]).await, libc::EINVAL);
        assert_eq!(text, "Invalid argument (os error 22)");
        // An error of one's own has no causes.
        assert!(OpError::new(io::ErrorKind::Other, ()).causes().is_empty());
        assert!(OpError::new(io::Error::from_raw_os_error(libc::EBADF), ()).causes().is_empty());
    });
}

fn many_buffers_have_causes_too<E: Exec>() {
    with_ring::<E>(8, async |ring| {
        let file: Fd<E::M> = file_with(b"content");
        let read_only = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let read_only = Fd::new(std::fs::File::open(read_only).unwrap());
        let written = ring.write_vectored_at(&read_only, vec![vec![1; 8], vec![2; 8]], 0).await;
        assert_eq!(told(written, libc::EBADF).1, ["EBADF/not-writable"]);
        let buffer = must_fail(ring.write_at_owned(&read_only, vec![7; 8], 0).await, libc::EBADF);
        assert_eq!(buffer, [7; 8], "the buffer comes back");
    });
}
