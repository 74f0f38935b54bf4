//! Linux AIO on the real kernel: each command, what is refused, and what the buffers are afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod common;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use common::{pattern, within_deadline};
use rustix::event::{EventfdFlags, eventfd};
use safer_ring::OwnedBuffer;
use safer_ring::aio::{
    Buffers, Command, Context, Error, Event, Priority, SetupError, poll_events, rwf,
};
use safer_ring::{IoBuf, sys::Errno};

const BLOCK: usize = 4096;

/// A context, or `None`, said aloud, where this machine has no AIO.
fn context<B: IoBuf>(capacity: u32) -> Option<Context<B>> {
    match Context::new(capacity) {
        Ok(context) => Some(context),
        Err(error @ SetupError::Unavailable { .. }) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A file of these bytes on a disk, without a name. With `O_DIRECT`, `None`, said aloud, where there is none.
fn file(bytes: &[u8], flags: i32) -> Option<File> {
    let named = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    named.as_file().write_all(bytes).unwrap();
    named.as_file().sync_all().unwrap();
    let mut options = File::options();
    match options.read(true).write(true).custom_flags(flags).open(named.path()) {
        Err(error) if flags == libc::O_DIRECT && error.raw_os_error() == Some(libc::EINVAL) => {
            eprintln!("SKIPPED: no direct I/O on this file system");
            None
        }
        opened => Some(opened.unwrap()),
    }
}

fn content(mut file: &File) -> Vec<u8> {
    use std::io::Seek as _;
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    all
}

/// The events of everything in flight, by the caller's numbers.
fn all<B: IoBuf>(context: &mut Context<B>) -> Vec<Event<B>> {
    let mut events = context.events(usize::MAX, None).unwrap();
    assert_eq!(context.in_flight(), 0);
    events.sort_by_key(|event| event.data);
    events
}

/// The one event that there is.
fn one<B: IoBuf>(context: &mut Context<B>) -> Event<B> {
    let mut events = all(context);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[track_caller]
fn failed<T>(result: io::Result<T>) -> i32 {
    result.map(drop).unwrap_err().raw_os_error().unwrap()
}

#[test]
fn reads_and_writes_give_their_buffers_back() {
    let Some(mut context) = context::<Vec<u8>>(8) else { return };
    let file = file(&pattern(3000), 0).unwrap();
    let tickets = context
        .submit([
            Command::read(&file, Vec::with_capacity(1000), 500).data(0),
            Command::read(&file, Vec::with_capacity(1000), 2500).data(1),
            Command::read(&file, Vec::with_capacity(1000), 3000).data(2),
            Command::read(&file, vec![9; 5], 1 << 40).data(3),
            Command::read(&file, Vec::new(), 0).data(4),
        ])
        .unwrap();
    let events = all(&mut context);
    let expected: [&[u8]; 5] = [&pattern(3000)[500..1500], &pattern(3000)[2500..], &[], &[], &[]];
    for (n, (event, expected)) in events.into_iter().zip(expected).enumerate() {
        assert_eq!(event.ticket, tickets[n]);
        assert_eq!(event.result.unwrap(), expected.len(), "of read {n}");
        let buffer = event.buffers.one().unwrap();
        assert_eq!(buffer, expected, "the length is what was read, in read {n}");
    }
    let long = vec![7; 2000];
    let address = long.as_ptr();
    context.submit([Command::write(&file, long, 2000)]).unwrap();
    let event = one(&mut context);
    assert_eq!(event.result.unwrap(), 2000);
    let buffer = event.buffers.one().unwrap();
    assert_eq!((buffer.as_ptr(), buffer.len()), (address, 2000), "the same memory");
    assert_eq!(content(&file), [&pattern(3000)[..2000], &[7; 2000]].concat());
    assert_eq!(context.unknown_events(), 0);
}

#[test]
fn direct_transfers_and_syncs_run_and_are_counted() {
    let Some(mut context) = context::<OwnedBuffer>(64) else { return };
    let Some(file) = file(&pattern(32 * BLOCK), libc::O_DIRECT) else { return };
    let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let aligned = || OwnedBuffer::aligned_with_capacity(BLOCK, BLOCK).unwrap();
    let offset = |n: u64| n * BLOCK as u64;
    let reads = (0..32).map(|n| Command::read(&file, aligned(), offset(n)).data(n).resfd(&counter));
    assert_eq!(context.submit(reads).unwrap().len(), 32);
    let events = all(&mut context);
    let count = || {
        let mut value = [0; 8];
        rustix::io::read(&counter, &mut value).map(|_| u64::from_ne_bytes(value))
    };
    assert_eq!(count(), Ok(32), "one for each event");
    let mut blocks = Vec::new();
    for event in events {
        assert_eq!(event.result.unwrap(), BLOCK);
        blocks.push(event.buffers.one().unwrap());
    }
    assert_eq!(
        blocks.iter().flat_map(|block| block.to_vec()).collect::<Vec<_>>(),
        pattern(32 * BLOCK)
    );

    // In the opposite order, and what has ended is on the disk.
    let writes = blocks.into_iter().zip((0..32).rev()).map(|(block, n)| {
        let flags = if n == 3 { rwf::DSYNC } else { 0 };
        Command::write(&file, block, offset(n)).flags(flags)
    });
    context.submit(writes).unwrap();
    assert!(all(&mut context).iter().all(|event| matches!(event.result, Ok(BLOCK))));
    context
        .submit([Command::fsync(&file).data(1).resfd(&counter), Command::fdatasync(&file)])
        .unwrap();
    let syncs = all(&mut context);
    assert!(
        syncs.iter().all(|event| matches!(event.result, Ok(0)) && event.buffers == Buffers::None)
    );
    assert_eq!(count(), Ok(1), "only those that asked for it");
    let mut reversed: Vec<u8> = Vec::new();
    for block in pattern(32 * BLOCK).chunks(BLOCK).rev() {
        reversed.extend(block);
    }
    let mut direct = aligned();
    direct.resize(0);
    context.submit([Command::read(&file, direct, offset(31))]).unwrap();
    let last = one(&mut context).buffers.one().unwrap();
    assert_eq!(&last[..], &pattern(32 * BLOCK)[..BLOCK]);
    assert_eq!(count(), Err(rustix::io::Errno::AGAIN));

    // Direct transfers that are not aligned are refused by the file system, with the event.
    if common::lacks_direct_rules() {
        return println!("skipped: files are in memory here, where direct I/O has no rules");
    }
    let odd = OwnedBuffer::aligned(BLOCK, BLOCK).unwrap();
    context.submit([Command::write(&file, odd, 7)]).unwrap();
    let event = one(&mut context);
    assert_eq!(failed(event.result), libc::EINVAL);
    assert_eq!(event.buffers.one().unwrap().len(), BLOCK);
}

#[test]
fn vectored_transfers_keep_the_order() {
    let Some(mut context) = context::<Vec<u8>>(8) else { return };
    let file = file(&[], 0).unwrap();
    let parts: Vec<Vec<u8>> = (1..100).map(|n| vec![n; usize::from(n)]).collect();
    let whole = parts.concat();
    context.submit([Command::write_vectored(&file, parts.clone(), 10)]).unwrap();
    let event = one(&mut context);
    assert_eq!(event.result.unwrap(), whole.len());
    assert_eq!(event.buffers.many().unwrap(), parts);
    assert_eq!(content(&file)[10..], whole);

    // Three buffers: one filled, one filled in part, one not reached.
    let last = 10 + whole.len() as u64 - 150;
    let room = || vec![Vec::with_capacity(100), Vec::with_capacity(100), vec![1, 2, 3]];
    context.submit([Command::read_vectored(&file, room(), last)]).unwrap();
    let event = one(&mut context);
    assert_eq!(event.result.unwrap(), 150);
    let end = &whole[whole.len() - 150..];
    assert_eq!(event.buffers.many().unwrap(), [&end[..100], &end[100..], &[]]);

    let many = vec![vec![1]; 1025];
    let refused = context.submit([Command::write_vectored(&file, many.clone(), 0)]).unwrap_err();
    assert_eq!(refused.error, Error::TooManyBuffers);
    let command = refused.rest.into_iter().next().unwrap();
    assert_eq!(command.into_buffers().many().unwrap(), many);
    context.submit([Command::write_vectored(&file, vec![vec![1]; 1024], 0)]).unwrap();
    assert_eq!(one(&mut context).result.unwrap(), 1024);
    context.submit([Command::write_vectored(&file, vec![], 0)]).unwrap();
    let event = one(&mut context);
    assert_eq!((event.result.unwrap(), event.buffers), (0, Buffers::Many(vec![])));
}

#[test]
fn what_is_refused_comes_back_in_order() {
    let Some(mut context) = context::<Vec<u8>>(8) else { return };
    let good = file(b"0123456789", 0).unwrap();
    let read_only = File::open("/dev/null").unwrap();
    let error = context
        .submit([
            Command::read(&good, vec![0; 4], 0).data(1),
            Command::read(&good, vec![0; 4], 4).data(2),
            Command::write(&read_only, vec![3; 30], 0).data(3),
            Command::write(&good, vec![4; 40], 0).data(4),
        ])
        .unwrap_err();
    assert_eq!((error.error, error.taken.len()), (Error::Os(Errno::BADF), 2));
    let mut rest = error.rest.into_iter();
    assert_eq!(rest.next().unwrap().into_buffers().one().unwrap(), [3; 30]);
    // What was not tried can be submitted.
    context.submit(rest).unwrap();
    let results: Vec<_> = all(&mut context)
        .into_iter()
        .map(|event| (event.data, event.result.unwrap(), event.buffers.one().unwrap()))
        .collect();
    let expected = [(1, 4, b"0123".to_vec()), (2, 4, b"4567".to_vec()), (4, 40, vec![4; 40])];
    assert_eq!(results, expected);
}

/// Submits one command that must be refused, and gives the reason; the buffer must be as it was.
#[track_caller]
fn refused(context: &mut Context<Vec<u8>>, command: Command<'_, Vec<u8>>) -> Error {
    let error = context.submit([command]).unwrap_err();
    assert!(error.taken.is_empty());
    for command in error.rest {
        if let Buffers::One(buffer) = command.into_buffers() {
            assert_eq!(buffer, [5; 50], "the buffer as it was");
        }
    }
    assert_eq!(context.in_flight(), 0);
    error.error
}

#[test]
fn each_refusal_says_why_and_gives_the_buffer_back() {
    let Some(mut context) = context::<Vec<u8>>(8) else { return };
    let file = file(&pattern(100), 0).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let buffer = || vec![5; 50];
    let read = |offset| Command::read(&file, buffer(), offset);
    let mut refuse = |command| refused(&mut context, command);
    assert_eq!(refuse(read(1 << 63)), Error::Offset);
    let past_the_end = refuse(Command::write(&file, buffer(), i64::MAX as u64));
    assert!(matches!(past_the_end, Error::Os(Errno::INVAL | Errno::OVERFLOW)), "{past_the_end}");
    assert_eq!(refuse(Command::read(&writer, buffer(), 0)), Error::Os(Errno::BADF));
    assert_eq!(refuse(Command::write(&reader, buffer(), 0)), Error::Os(Errno::BADF));
    let directory = File::open("/").unwrap();
    let of_directory = refuse(Command::read(&directory, buffer(), 0));
    assert!(matches!(of_directory, Error::Os(Errno::INVAL | Errno::ISDIR)), "{of_directory}");
    assert_eq!(refuse(read(0).resfd(&reader)), Error::Os(Errno::INVAL), "no eventfd");
    assert_eq!(refuse(read(0).flags(1 << 30)), Error::Os(Errno::OPNOTSUPP));
    assert_eq!(refuse(read(0).priority(Priority::BestEffort(8))), Error::Level);
    assert_eq!(refuse(Command::fsync(&file).flags(rwf::DSYNC)), Error::NoTransfer);
    assert_eq!(refuse(Command::poll(&reader, 1).priority(Priority::Idle)), Error::NoTransfer);
    assert_eq!(refuse(Command::fdatasync(&reader)), Error::Os(Errno::INVAL), "a pipe");
    assert_eq!(refuse(Command::poll(&file, 0)), Error::Os(Errno::INVAL), "nothing to wait for");
    let text = Error::Os(Errno::BADF).to_string();
    assert!(io::Error::from(Error::Os(Errno::BADF)).raw_os_error() == Some(libc::EBADF), "{text}");
}

#[test]
fn flags_and_priorities_reach_the_kernel() {
    let Some(mut context) = context::<Vec<u8>>(8) else { return };
    let file = file(b"begin", 0).unwrap();
    // Appends, although the offset is 0.
    context.submit([Command::write(&file, b"+end".to_vec(), 0).flags(rwf::APPEND)]).unwrap();
    assert_eq!(one(&mut context).result.unwrap(), 4);
    assert_eq!(content(&file), b"begin+end");

    let pipe = io::pipe().unwrap();
    // Nothing there: the one that must not wait says so.
    match context.submit([Command::read(&pipe.0, vec![5; 50], 0).flags(rwf::NOWAIT)]) {
        Ok(_) => {
            let event = one(&mut context);
            assert_eq!(failed(event.result), libc::EAGAIN);
            assert_eq!(event.buffers.one().unwrap(), [5; 50], "as it was");
        }
        Err(error) => {
            assert_eq!(error.error, Error::Os(Errno::OPNOTSUPP));
            println!("skipped: pipes of this kernel do not know RWF_NOWAIT");
        }
    }

    drop(pipe.0);
    context.submit([Command::write(&pipe.1, vec![5; 50], 0)]).unwrap();
    let event = one(&mut context);
    assert_eq!((failed(event.result), event.buffers.one()), (libc::EPIPE, Some(vec![5; 50])));

    let read = || Command::read(&file, Vec::with_capacity(5), 0);
    for priority in [Priority::Idle, Priority::BestEffort(0), Priority::BestEffort(7)] {
        context.submit([read().priority(priority)]).unwrap();
        assert_eq!(one(&mut context).buffers.one().unwrap(), b"begin");
    }
    // The one that needs a right: the kernel looks at it.
    match context.submit([read().priority(Priority::RealTime(3))]) {
        Ok(_) => assert_eq!(one(&mut context).buffers.one().unwrap(), b"begin"),
        Err(error) => assert_eq!(error.error, Error::Os(Errno::PERM)),
    }
}

#[test]
fn an_extending_direct_write_that_must_not_wait_changes_nothing() {
    let Some(mut context) = context::<OwnedBuffer>(8) else { return };
    let Some(file) = file(&pattern(BLOCK), libc::O_DIRECT) else { return };
    let block = OwnedBuffer::aligned(BLOCK, BLOCK).unwrap();
    let command = Command::write(&file, block, BLOCK as u64).flags(rwf::NOWAIT);
    let errno = match context.submit([command]) {
        Ok(_) => failed(one(&mut context).result),
        Err(error) => io::Error::from(error).raw_os_error().unwrap(),
    };
    assert!([libc::EAGAIN, libc::EOPNOTSUPP].contains(&errno), "{errno}");
    assert_eq!(file.metadata().unwrap().len(), BLOCK as u64);
}

#[test]
fn a_poll_ends_with_what_is_there_or_is_cancelled() {
    within_deadline(|| {
        let Some(mut context) = context::<Vec<u8>>(4) else { return };
        let (reader, mut writer) = io::pipe().unwrap();
        let poll = |events| Command::poll(&reader, events);
        let tickets = context.submit([poll(poll_events::IN).data(1)]).unwrap();
        assert!(context.events(1, Some(Duration::ZERO)).unwrap().is_empty());
        assert!(context.events(0, None).unwrap().is_empty());
        context.cancel(tickets[0]).unwrap();
        let event = one(&mut context);
        assert_eq!((event.ticket, failed(event.result)), (tickets[0], libc::ECANCELED));
        assert_eq!(context.cancel(tickets[0]), Err(Error::Ended));

        let tickets = context.submit([poll(poll_events::IN).data(2)]).unwrap();
        writer.write_all(b"x").unwrap();
        let event = one(&mut context);
        assert_eq!((event.data, event.result.unwrap()), (2, usize::from(poll_events::IN)));
        assert_eq!(context.cancel(tickets[0]), Err(Error::Ended));

        // The slot is used again: the old tickets do not name its new command.
        context.submit([Command::poll(&writer, poll_events::OUT)]).unwrap();
        assert_eq!(context.cancel(tickets[0]), Err(Error::Ended));
        assert_eq!(one(&mut context).result.unwrap(), usize::from(poll_events::OUT));

        let (idle, gone) = io::pipe().unwrap();
        context.submit([Command::poll(&idle, poll_events::IN)]).unwrap();
        drop(gone);
        assert_eq!(one(&mut context).result.unwrap(), usize::from(poll_events::HUP));

        // A read that has ended, or could not be cancelled if it had not.
        let null = File::open("/dev/null").unwrap();
        let tickets = context.submit([Command::read(&null, vec![5; 50], 0)]).unwrap();
        assert_eq!(context.cancel(tickets[0]), Err(Error::NotCancellable));
        assert_eq!(one(&mut context).result.unwrap(), 0);
    });
}

#[test]
fn a_descriptor_may_be_closed_once_its_command_is_submitted() {
    within_deadline(|| {
        let Some(mut context) = context::<Vec<u8>>(4) else { return };
        let counter = eventfd(0, EventfdFlags::empty()).unwrap();
        let copy = counter.try_clone().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        context.submit([Command::poll(&reader, poll_events::IN).resfd(&counter)]).unwrap();
        // The numbers are used again, by other files.
        drop((reader, counter));
        let _others: Vec<File> = (0..4).map(|_| File::open("/dev/null").unwrap()).collect();
        writer.write_all(b"x").unwrap();
        assert_eq!(one(&mut context).result.unwrap(), usize::from(poll_events::IN));
        let mut value = [0; 8];
        rustix::io::read(&copy, &mut value).unwrap();
        assert_eq!(u64::from_ne_bytes(value), 1);
    });
}

#[test]
fn a_full_context_gives_the_rest_back() {
    let Some(mut context) = context::<Vec<u8>>(3) else { return };
    let (reader, _writer) = io::pipe().unwrap();
    assert_eq!(context.capacity(), 3);
    let polls = |count| (0..count).map(|_| Command::poll(&reader, poll_events::IN));
    let taken = context.submit(polls(2)).unwrap();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let writes = (1..4).map(|n| Command::write(&null, vec![n; usize::from(n)], 0));
    let error = context.submit(writes).unwrap_err();
    assert_eq!((error.error, error.taken.len()), (Error::Full { capacity: 3 }, 1));
    let back = error.rest.into_iter().map(|command| command.into_buffers().one().unwrap());
    assert_eq!(back.collect::<Vec<_>>(), [vec![2; 2], vec![3; 3]]);
    assert_eq!(io::Error::from(error.error).kind(), io::ErrorKind::WouldBlock);
    // It has room again when an event has been fetched, not when the command has ended.
    assert_eq!(context.submit(polls(1)).unwrap_err().error, Error::Full { capacity: 3 });
    assert_eq!(context.events(1, None).unwrap()[0].result.as_ref().unwrap(), &1);
    context.submit(polls(1)).unwrap();
    for ticket in taken {
        context.cancel(ticket).unwrap();
    }
    assert_eq!(context.events(2, None).unwrap().len(), 2);
}

#[test]
fn each_of_many_commands_has_its_event() {
    let Some(mut context) = context::<Vec<u8>>(1000) else { return };
    let file = file(&pattern(5000), 0).unwrap();
    for round in 0..4 {
        let reads = (0..1000).map(|n| Command::read(&file, Vec::with_capacity(3), n).data(n));
        let tickets = context.submit(reads).unwrap();
        // Cached reads have ended when they are submitted, so not to wait gives all of them too.
        let mut events = context.events(if round % 2 == 0 { 1000 } else { 0 }, None).unwrap();
        events.sort_by_key(|event| event.data);
        assert_eq!(events.len(), 1000);
        for (n, event) in events.into_iter().enumerate() {
            assert_eq!(event.ticket, tickets[n]);
            assert_eq!(event.buffers.one().unwrap(), pattern(5000)[n..n + 3]);
        }
    }
}

#[test]
fn nothing_in_flight_is_not_waited_for() {
    within_deadline(|| {
        let Some(mut context) = context::<Vec<u8>>(2) else { return };
        assert!(context.events(1, None).unwrap().is_empty());
        assert!(context.events(7, Some(Duration::MAX)).unwrap().is_empty());
        assert!(context.submit([]).unwrap().is_empty());
        let null = File::open("/dev/null").unwrap();
        context.submit([Command::read(&null, vec![], 0)]).unwrap();
        // More than there can be: as many as are in flight.
        assert_eq!(context.events(7, Some(Duration::MAX)).unwrap().len(), 1);
    });
}

#[test]
fn a_transfer_that_is_too_long_is_cut_by_the_kernel() {
    let Some(mut context) = context::<Vec<u8>>(2) else { return };
    let null = File::options().write(true).open("/dev/null").unwrap();
    // 3 GiB that are never touched.
    let long = vec![0_u8; 3 << 30];
    let parts = vec![long];
    context.submit([Command::write_vectored(&null, parts, 0)]).unwrap();
    let event = one(&mut context);
    let cut = event.result.unwrap();
    assert_eq!(cut, 0x7fff_f000);
    let long = event.buffers.many().unwrap().remove(0);
    context.submit([Command::write(&null, long, 0)]).unwrap();
    let event = one(&mut context);
    assert_eq!((event.result.unwrap(), event.buffers.one().unwrap().len()), (cut, 3 << 30));
}

#[test]
fn buffers_that_the_kernel_only_reads_are_taken_too() {
    let Some(mut context) = context::<&'static str>(2) else { return };
    let file = file(&[], 0).unwrap();
    context.submit([Command::write_vectored(&file, vec!["a", "", "bc"], 0)]).unwrap();
    assert_eq!(one(&mut context).buffers.many().unwrap(), ["a", "", "bc"]);
    context.submit([Command::write(&file, "def", 3)]).unwrap();
    assert_eq!(one(&mut context).buffers.one().unwrap(), "def");
    assert_eq!(content(&file), b"abcdef");
}

#[test]
fn a_context_moves_between_threads_with_what_is_in_flight() {
    within_deadline(|| {
        let Some(mut context) = context::<Vec<u8>>(2) else { return };
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = OwnedFd::from(reader);
        let submitter = std::thread::spawn(move || {
            context.submit([Command::poll(&reader, poll_events::IN)]).unwrap();
            context
        });
        // The thread that has submitted is gone.
        let mut context = submitter.join().unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(one(&mut context).result.unwrap(), 1);
    });
}

#[test]
fn a_context_that_cannot_be_says_what_to_do() {
    for asked in [0, (1 << 22) + 1, u32::MAX] {
        let error = Context::<Vec<u8>>::new(asked).unwrap_err();
        assert_eq!(error, SetupError::Capacity { asked });
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
    let limit = std::fs::read_to_string("/proc/sys/fs/aio-max-nr").unwrap();
    let Ok(asked) = limit.trim().parse::<u32>().map(|limit| limit.saturating_add(1)) else {
        return;
    };
    if asked > 1 << 22 || context::<Vec<u8>>(1).is_none() {
        return eprintln!("SKIPPED: fs.aio-max-nr is {limit}");
    }
    // Above the limit of the machine in one go: nobody else's contexts are disturbed.
    let error = Context::<Vec<u8>>::new(asked).unwrap_err();
    assert!(
        matches!(error, SetupError::Exhausted { limit: Some(limit), .. } if limit + 1 == u64::from(asked))
    );
    assert_eq!(error.errno(), Some(Errno::AGAIN));
    let text = error.to_string();
    assert!(text.contains("sysctl fs.aio-max-nr") && text.contains(limit.trim()), "{text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::QuotaExceeded);
}
