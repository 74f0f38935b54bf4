//! Errors that say which rule was broken, and predictions of them.

use safer_ring::aio::{Command, Context, SetupError};
use safer_ring::contract::{self, Call, Facts, IoSubmit, Iocb, Pointer};

fn context() -> Option<Context<Vec<u8>>> {
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
    let Some(mut context) = context() else { return };
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
fn a_directory_has_no_reads_and_a_pipe_no_syncs() {
    let Some(mut context) = context() else { return };
    let directory = std::fs::File::open("/").unwrap();
    let error = context.submit([Command::read(&directory, Vec::with_capacity(16), 0)]).unwrap_err();
    assert!(error.to_string().contains("and a directory has none") || error.causes()[0].shown);
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = context.submit([Command::fsync(&reader)]).unwrap_err();
    assert_eq!(error.causes()[0].rule.id, "io_submit/EINVAL/fsync-unsupported", "{error}");
}

#[test]
fn what_was_predicted_of_a_command_is_what_it_gets() {
    let Some(mut context) = context() else { return };
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
