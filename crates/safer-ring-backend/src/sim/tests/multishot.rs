//! Multishot receives by hand.
//!
//! # Safety
//! The buffers that are lent are the test's, and live until it ends.
//!
//! Tests: pieces_come_in_order_and_each_in_the_buffer_that_was_lent_first
#![allow(unsafe_code, reason = "buffers by hand")]

use std::sync::Arc;

use super::*;
use crate::sim::kernel::Machine;
use crate::sim::multishot::Shelf;

const GROUP: u16 = 7;
const RECEIVE: Op = Op::RecvMulti { group: GROUP };
const MORE: u32 = 2;
const NOBUFS: i32 = -libc::ENOBUFS;
const CANCELED: i32 = -libc::ECANCELED;

/// A world with a pair of sockets, a ring, and buffers for it.
struct Stage {
    machine: Arc<Machine>,
    shelf: Shelf,
    ring: usize,
    near: RawFd,
    far: RawFd,
}

/// What a completion says: its result, whether more follow, and the buffer.
type Told = (i32, bool, Option<u16>);

impl Stage {
    fn new(config: &Config) -> Self {
        let machine = Arc::new(Machine::new(0, Kernel::new(config)));
        assert_eq!(machine.lock().add_ring(64), 0);
        let (near, far) = machine.lock().open_pair(1).unwrap();
        let shelf = Shelf::new(&machine, 0, GROUP);
        Self { machine, shelf, ring: 0, near, far }
    }

    /// Lends it; gives the place, for a look at what is there meanwhile.
    fn lend(&mut self, bid: u16, memory: &mut [u8]) -> *mut u8 {
        let (place, len) = (memory.as_mut_ptr(), u32::try_from(memory.len()).unwrap());
        // SAFETY: the memory is the test's.
        unsafe { self.shelf.push(place, len, bid) };
        self.shelf.publish();
        place
    }

    fn arm(&self, user_data: u64) {
        let receive = submission(user_data, RECEIVE, self.near, &mut []);
        // SAFETY: it lends nothing.
        unsafe { self.machine.lock().take(self.ring, &receive, None) };
        self.machine.lock().run();
    }

    fn send(&self, bytes: &[u8]) {
        let kernel = &mut self.machine.lock();
        let id = kernel.socket_of(self.far).unwrap().0;
        let sent = if kernel.is_message_socket(id) {
            kernel.send_message(id, bytes, None)
        } else {
            kernel.send_stream(id, bytes)
        };
        assert_eq!(sent, Some(Ok(bytes.len())));
        kernel.run();
    }

    /// What the receives have told.
    fn told(&self) -> Vec<Told> {
        let kernel = &mut self.machine.lock();
        let mut all = Vec::new();
        while let Some(cqe) = kernel.next_completion(self.ring) {
            all.push((cqe.res, cqe.flags & MORE != 0, cqe.buffer_id()));
        }
        all
    }

    fn findings(&self) -> Vec<String> {
        self.machine.lock().findings.clone()
    }
}

#[test]
fn pieces_come_in_order_and_each_in_the_buffer_that_was_lent_first() {
    let mut stage = Stage::new(&Config::calm(1));
    let (mut one, mut two, mut three) = (*b"12345", *b"67", *b"89");
    let first = stage.lend(4, &mut one);
    let second = stage.lend(2, &mut two);
    stage.lend(9, &mut three);
    stage.arm(1);
    stage.send(b"abc");
    // SAFETY: the test's own memory.
    assert_eq!(unsafe { first.read() }, 0xa5, "nothing is in it before it is named");
    assert_eq!(stage.told(), [(3, true, Some(4))]);
    // SAFETY: as above.
    assert_eq!(unsafe { second.read() }, 0xa5, "it is lent all the same");
    stage.send(b"defg");
    assert_eq!(stage.told(), [(2, true, Some(2)), (2, true, Some(9))]);
    assert_eq!((&one, &two, &three), (b"abc45", b"de", b"fg"), "and what was behind");
    assert!(stage.machine.lock().shutdown(stage.far, 1).is_ok());
    stage.machine.lock().run();
    assert_eq!(stage.told(), [(NOBUFS, false, None)], "the buffer comes before the look");
    stage.lend(4, &mut one);
    stage.arm(2);
    assert_eq!(stage.told(), [(0, false, None)], "the end takes no buffer");
    stage.arm(3);
    assert_eq!(stage.told(), [(0, false, None)]);
    assert_eq!(stage.findings(), [""; 0]);
}

#[test]
fn a_receive_waits_without_buffers_once_it_has_begun() {
    let mut stage = Stage::new(&Config::calm(1));
    stage.arm(1);
    assert_eq!(stage.told(), [(NOBUFS, false, None)], "as long as none is lent it does not begin");
    let mut one = [0; 4];
    stage.lend(1, &mut one);
    for user_data in [2, 3] {
        stage.arm(user_data);
    }
    stage.send(b"1234");
    assert_eq!(stage.told(), [(4, true, Some(1))]);
    // The one that found nothing looks again when something is there, and so does the other.
    stage.send(b"5");
    assert_eq!(stage.told(), [(NOBUFS, false, None), (NOBUFS, false, None)]);
    stage.lend(1, &mut one);
    stage.arm(4);
    assert_eq!(stage.told(), [(1, true, Some(1))], "nothing is lost");
    assert_eq!(one[0], b'5');
    assert_eq!(stage.findings(), [""; 0]);
}

#[test]
fn a_lent_buffer_that_is_written_to_is_found() {
    for guilty in [false, true] {
        let mut stage = Stage::new(&Config::calm(1));
        let mut memory = [0; 8];
        let place = stage.lend(3, &mut memory);
        stage.arm(1);
        if guilty {
            // SAFETY: the test's own memory.
            unsafe { place.wrapping_add(7).write(1) };
        }
        stage.send(b"abc");
        assert_eq!(stage.told(), [(3, true, Some(3))]);
        assert_eq!(stage.findings().len(), usize::from(guilty), "{:?}", stage.findings());
    }
}

#[test]
fn a_buffer_that_is_lent_twice_is_found() {
    let mut stage = Stage::new(&Config::calm(1));
    let (mut one, mut other) = ([0; 8], [0; 8]);
    stage.lend(3, &mut one);
    stage.arm(1);
    stage.send(b"abc");
    assert_eq!(stage.told().len(), 1);
    stage.lend(3, &mut other);
    assert_eq!(stage.findings(), [""; 0], "it has come back in between");
    stage.send(b"def");
    // Picked, and no completion has named it.
    stage.lend(3, &mut one);
    assert_eq!(stage.findings(), ["buffer 3 of ring 0 is lent twice"]);
}

#[test]
fn an_armed_receive_that_outlives_its_ring_touches_its_buffers_all_the_same() {
    for guilty in [0, 1, 2] {
        let mut stage = Stage::new(&Config::calm(1));
        let (mut one, mut other) = ([0; 4], [0; 4]);
        let places = [stage.lend(1, &mut one), stage.lend(2, &mut other)];
        stage.arm(1);
        stage.send(b"abc");
        // The piece in the first one is due, and has not been told; the second one could still be picked.
        stage.machine.lock().end_ring(0);
        if let Some(place) = places.get(guilty) {
            // SAFETY: the test's own memory.
            unsafe { place.write(1) };
        }
        stage.machine.lock().go_to(u64::MAX / 2);
        stage.machine.lock().run();
        assert_eq!(stage.told(), [], "nobody hears of it");
        let found = stage.findings();
        assert_eq!(found.len(), usize::from(guilty < 2), "{found:?}");
        assert!(found.iter().all(|line| line.contains("outlived ring 0")), "{found:?}");
        if guilty == 2 {
            assert_eq!((&one, &other), (b"abc\0", &[0; 4]));
        }
        assert!(stage.machine.lock().in_flight().is_empty());
    }
}

#[test]
fn a_completion_that_does_not_fit_is_the_last_one_of_its_receive() {
    for (room, overflows, pieces) in [(2, 0, 2), (64, 1000, 1), (64, 0, 4)] {
        let mut stage = Stage::new(&Config { overflows, ..Config::calm(1) });
        assert_eq!(stage.machine.lock().add_ring(room), 1);
        (stage.ring, stage.shelf) = (1, Shelf::new(&stage.machine, 1, GROUP));
        let mut memory = [[0; 1]; 4];
        for (bid, buffer) in (0..).zip(&mut memory) {
            stage.lend(bid, buffer);
        }
        stage.arm(1);
        stage.send(b"abcd");
        let told = stage.told();
        assert_eq!(
            told.len(),
            if pieces == 4 { 4 } else { room.min(pieces) + usize::from(room == 2) }
        );
        let more = told.iter().filter(|(_, more, _)| *more).count();
        assert_eq!(more, if pieces == 4 { 4 } else { told.len() - 1 }, "{told:?}");
        // The rest has not been taken out of the socket.
        let left = 4 - told.len();
        stage.arm(2);
        assert!(stage.told().len() >= left.min(1), "{told:?}");
    }
}

#[test]
fn what_ends_a_receive_comes_behind_its_pieces() {
    for seed in 0..200 {
        // Every completion is late, some cancellations are not exact.
        let config = Config { late: 1000, late_cancels: 500, ..Config::calm(seed) };
        let mut stage = Stage::new(&config);
        let mut memory = [[0; 2]; 40];
        for (bid, buffer) in (0..).zip(&mut memory) {
            stage.lend(bid, buffer);
        }
        stage.arm(1);
        for bytes in [b"01234567", b"89abcdef", b"ghijklmn"] {
            stage.send(bytes);
        }
        stage.machine.lock().take_cancel(0, 99, 1);
        for ms in [0, 10, 20] {
            stage.machine.lock().go_to(ms * 1_000_000);
            stage.machine.lock().run();
        }
        let mut told = stage.told();
        // The answer to the cancellation, wherever it comes.
        let answer = [0, -libc::EALREADY];
        let is_answer = |told: &Told| answer.contains(&told.0) && told.2.is_none();
        assert_eq!(told.extract_if(.., |told| is_answer(told)).count(), 1);
        let (end, pieces) = told.split_last().unwrap();
        let ends = [(CANCELED, false, None), (-Errno::INTR.raw_os_error(), false, None)];
        assert!(ends.contains(end), "seed {seed}: {told:?}");
        assert!(pieces.iter().zip(0..).all(|(piece, bid)| *piece == (2, true, Some(bid))));
        assert_eq!(pieces.len(), 12);
        assert_eq!(memory[..12].concat(), b"0123456789abcdefghijklmn", "seed {seed}");
        assert_eq!(stage.findings(), [""; 0]);
    }
}

#[test]
fn a_receive_ends_unasked_with_a_piece_and_is_refused_buffers_as_often_as_it_is_to() {
    let ends = Config { multishot_ends: 1000, ..Config::calm(1) };
    let mut stage = Stage::new(&ends);
    let mut memory = [0; 4];
    stage.lend(1, &mut memory);
    stage.arm(1);
    stage.send(b"ab");
    assert_eq!(stage.told(), [(2, false, Some(1))]);
    let mut stage = Stage::new(&Config { no_buffers: 1000, ..Config::calm(1) });
    stage.lend(1, &mut memory);
    stage.arm(1);
    assert_eq!(stage.told(), [], "it is refused when there is something");
    stage.send(b"ab");
    assert_eq!(stage.told(), [(NOBUFS, false, None)]);
    stage.machine.lock().config.no_buffers = 0;
    stage.arm(2);
    assert_eq!(stage.told(), [(2, true, Some(1))], "and nothing is lost");
}

#[test]
fn what_is_no_socket_is_not_received_from() {
    let mut stage = Stage::new(&Config::calm(1));
    let mut memory = [0; 4];
    stage.lend(1, &mut memory);
    let (reader, _writer) = stage.machine.lock().open_pipe(0).unwrap();
    for (fd, errno) in [(reader, Errno::NOTSOCK), (-1, Errno::BADF)] {
        take(&mut stage.machine.lock(), &submission(1, RECEIVE, fd, &mut []));
        assert_eq!(stage.told(), [(-errno.raw_os_error(), false, None)]);
    }
    let other = Op::RecvMulti { group: GROUP + 1 };
    take(&mut stage.machine.lock(), &submission(1, other, stage.near, &mut []));
    assert_eq!(stage.told(), [(NOBUFS, false, None)], "there is no such group");
    let (near, far) = stage.machine.lock().open_pair(2).unwrap();
    (stage.near, stage.far) = (near, far);
    stage.arm(2);
    stage.send(b"more than that");
    assert_eq!(stage.told(), [(4, true, Some(1))], "a message is cut");
}
