//! `MSG_WAITALL` on kernels that lose what it has moved.
//!
//! A receive or send for all of its bytes that is cancelled after some of them should say how many. Kernels from 5.19, and
//! stable ones that took its code, keep the count of the earlier tries, and forget it when a later one fails: the bytes are
//! taken from the socket, or sent, and the answer is `ECANCELED`. Linux 6.1 and the stable series after it are right.
//!
//! On a kernel that may not be, the flag does not reach it. A transfer of one buffer on a stream is made in steps here, each
//! an entry of its own, under a name that no operation of the table has; the table hears of the last. Messages with many
//! buffers and chains are not: messages end with what there is, and in a chain the flag is the kernel's, since a short
//! transfer has to break it.

use safer_ring_core::Op;
use safer_ring_sys::{Cqe, Errno, Sqe, opcode};

use super::prep::{POLLIN, poll_word};
use crate::backend::Submission;
use crate::payload::{DONTWAIT, ERRQUEUE, OOB, PEEK, WAITALL};

const POLLOUT: u32 = 4;
/// Makes of the name of an operation one that the table does not know: its tags use the bits below.
const STEP: u64 = 1 << 3;

/// Transfers on their way.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

#[derive(Debug)]
struct Step {
    /// The operation's name in the table.
    name: u64,
    /// For what is left.
    entry: Sqe,
    /// Bytes moved so far.
    done: i32,
    /// What the kernel has is a poll: the descriptor does not wait by itself.
    polls: bool,
    /// It is to end: a request to cancel it can arrive between two steps, and meet nobody.
    cancelled: bool,
}

/// What a completion leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The table is to hear of it.
    Tell(Cqe),
    /// The next step.
    Again(Sqe),
}

impl Steps {
    /// Changes the entry of an operation that asks for all of its bytes. `stream`: on a stream of bytes.
    pub(super) fn begin(
        &mut self,
        submission: &Submission,
        stream: impl Fn() -> bool,
        sqe: &mut Sqe,
    ) {
        let (Op::Recv { flags }
        | Op::Send { flags }
        | Op::RecvMsg { flags }
        | Op::SendMsg { flags }) = submission.op
        else {
            return;
        };
        if flags & WAITALL == 0 || submission.link || submission.poll_first.is_some() {
            return;
        }
        let special = OOB | PEEK | DONTWAIT | ERRQUEUE;
        let steps = matches!(submission.op, Op::Recv { .. } | Op::Send { .. })
            && flags & special == 0
            && stream();
        sqe.op_flags = flags & !WAITALL;
        if steps {
            let (name, entry) = (submission.user_data, *sqe);
            sqe.user_data = name ^ STEP;
            self.0.push(Step { name, entry, done: 0, polls: false, cancelled: false });
        }
    }

    /// Changes the entry of a send, `begun` bytes of which were sent without the kernel's ring: it is for the rest.
    pub(super) fn begin_late(&mut self, begun: u32, sqe: &mut Sqe) {
        let sent = begun.min(sqe.len);
        let done = i32::try_from(sent).unwrap_or(i32::MAX);
        sqe.len -= sent;
        sqe.addr += u64::from(sent);
        let (name, entry) = (sqe.user_data, *sqe);
        sqe.user_data = name ^ STEP;
        self.0.push(Step { name, entry, done, polls: false, cancelled: false });
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name under which the kernel has an operation that is to be cancelled.
    pub(super) fn cancel(&mut self, name: u64) -> u64 {
        match self.0.iter_mut().find(|step| step.name == name) {
            Some(step) => {
                step.cancelled = true;
                name ^ STEP
            }
            None => name,
        }
    }

    /// The name in the table of an entry that the kernel never saw. What its earlier steps moved is with it no more: this
    /// happens where the ring fails for good.
    pub(super) fn retract(&mut self, user_data: u64) -> u64 {
        match self.0.iter().position(|step| step.name ^ STEP == user_data) {
            Some(at) => self.0.swap_remove(at).name,
            None => user_data,
        }
    }

    /// Looks at a completion that is not an ordinary one of the table.
    pub(super) fn resume(&mut self, cqe: Cqe) -> Next {
        let Some(at) = self.0.iter().position(|step| step.name ^ STEP == cqe.user_data) else {
            return Next::Tell(cqe);
        };
        match self.0.get_mut(at).and_then(|step| step.go_on(cqe.res)) {
            Some(sqe) => Next::Again(sqe),
            None => Next::Tell(self.end(at, cqe)),
        }
    }

    /// Ends a transfer whose next step found no room.
    pub(super) fn give_up(&mut self, sqe: &Sqe) -> Cqe {
        let nothing = Cqe { user_data: sqe.user_data, ..Cqe::default() };
        match self.0.iter().position(|step| step.name ^ STEP == sqe.user_data) {
            Some(at) => self.end(at, nothing),
            None => nothing,
        }
    }

    /// The completion for the table: what was moved, and the last answer only if nothing was.
    fn end(&mut self, at: usize, cqe: Cqe) -> Cqe {
        let Step { name, done, .. } = self.0.swap_remove(at);
        Cqe { user_data: name, res: if done > 0 { done } else { cqe.res }, ..cqe }
    }
}

impl Step {
    /// Takes the answer of a step in. `None` when it was the last.
    fn go_on(&mut self, res: i32) -> Option<Sqe> {
        let polled = std::mem::take(&mut self.polls);
        let again = Errno::AGAIN.raw_os_error();
        if res < 0 {
            // Before the first byte, the table knows better what to do.
            let waits = res == -again && self.done > 0 && !polled && !self.cancelled;
            return waits.then(|| self.poll());
        }
        if !polled {
            let moved = u32::try_from(res).unwrap_or(0).min(self.entry.len);
            self.done = self.done.saturating_add(res);
            self.entry.len -= moved;
            self.entry.addr += u64::from(moved);
            if moved == 0 || self.entry.len == 0 {
                return None;
            }
        }
        (!self.cancelled).then_some(Sqe { user_data: self.name ^ STEP, ..self.entry })
    }

    fn poll(&mut self) -> Sqe {
        self.polls = true;
        let events = if self.entry.opcode == opcode::SEND { POLLOUT } else { POLLIN };
        Sqe {
            opcode: opcode::POLL_ADD,
            fd: self.entry.fd,
            op_flags: poll_word(events),
            user_data: self.name ^ STEP,
            ..Sqe::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: u64 = (7 << 32) | 0x21;

    #[test]
    fn a_send_that_was_begun_outside_of_the_ring_ends_as_a_whole() {
        let send =
            Sqe { opcode: opcode::SEND, addr: 100, len: 10, user_data: NAME, ..Sqe::default() };
        let mut steps = Steps::default();
        let mut rest = send;
        steps.begin_late(4, &mut rest);
        assert_eq!((rest.addr, rest.len, rest.user_data), (104, 6, NAME ^ STEP));
        assert_eq!(steps.cancel(NAME), NAME ^ STEP, "it is cancelled under its other name");
        let cqe = |res| Cqe { user_data: NAME ^ STEP, res, ..Cqe::default() };
        let told = |res| Next::Tell(Cqe { user_data: NAME, res, ..Cqe::default() });
        assert_eq!(steps.resume(cqe(6)), told(10));
        assert!(steps.is_empty());
        // One of which the rest fails has sent what it has sent.
        let mut rest = send;
        steps.begin_late(4, &mut rest);
        assert_eq!(steps.resume(cqe(-Errno::CONNRESET.raw_os_error())), told(4));
        assert!(steps.is_empty());
    }

    /// A receive of ten bytes at address 100.
    fn begun() -> (Steps, Sqe) {
        let mut sqe = Sqe {
            opcode: opcode::RECV,
            fd: 5,
            addr: 100,
            len: 10,
            op_flags: WAITALL,
            user_data: NAME,
            ..Sqe::default()
        };
        let mut steps = Steps::default();
        steps.begin(&submission(Op::Recv { flags: WAITALL }, false), || true, &mut sqe);
        (steps, sqe)
    }

    fn submission(op: Op, link: bool) -> Submission {
        Submission {
            user_data: NAME,
            op,
            fd: 5,
            other: -1,
            ptr: std::ptr::null_mut(),
            init: 0,
            capacity: 10,
            link,
            begun: 0,
            poll_first: None,
            class: None,
        }
    }

    fn answer(res: i32) -> Cqe {
        Cqe { user_data: NAME ^ STEP, res, ..Cqe::default() }
    }

    fn told(res: i32) -> Next {
        Next::Tell(Cqe { user_data: NAME, res, ..Cqe::default() })
    }

    #[test]
    fn a_transfer_goes_on_until_all_is_there() {
        let (mut steps, sqe) = begun();
        assert_eq!((sqe.op_flags, sqe.user_data), (0, NAME ^ STEP));
        let Next::Again(second) = steps.resume(answer(4)) else { panic!() };
        assert_eq!((second.addr, second.len, second.user_data), (104, 6, NAME ^ STEP));
        assert_eq!(steps.resume(answer(6)), told(10));
        assert!(steps.0.is_empty());
    }

    #[test]
    fn what_was_moved_is_told_however_it_ends() {
        for last in [0, -Errno::CANCELED.raw_os_error(), -Errno::CONNRESET.raw_os_error()] {
            let (mut steps, _) = begun();
            assert!(matches!(steps.resume(answer(4)), Next::Again(_)));
            assert_eq!(steps.resume(answer(last)), told(4));
            let (mut steps, _) = begun();
            assert_eq!(steps.resume(answer(last)), told(last), "nothing was moved");
        }
    }

    #[test]
    fn a_cancellation_between_two_steps_ends_it() {
        let (mut steps, _) = begun();
        assert_eq!(steps.cancel(NAME), NAME ^ STEP);
        assert_eq!(steps.resume(answer(4)), told(4));
        assert_eq!(steps.cancel(NAME), NAME, "it has ended");
    }

    #[test]
    fn a_descriptor_that_does_not_wait_is_polled_between_steps() {
        let again = -Errno::AGAIN.raw_os_error();
        let (mut steps, _) = begun();
        assert_eq!(steps.resume(answer(again)), told(again), "the table polls for the first byte");
        let (mut steps, _) = begun();
        assert!(matches!(steps.resume(answer(4)), Next::Again(_)));
        let Next::Again(poll) = steps.resume(answer(again)) else { panic!() };
        assert_eq!((poll.opcode, poll.op_flags), (opcode::POLL_ADD, poll_word(POLLIN)));
        let Next::Again(rest) = steps.resume(answer(1)) else { panic!() };
        assert_eq!((rest.addr, rest.len), (104, 6));
        assert_eq!(steps.give_up(&rest), Cqe { user_data: NAME, res: 4, ..Cqe::default() });
    }

    #[test]
    fn chains_keep_the_flag_and_messages_lose_it() {
        let flagged = Sqe { op_flags: WAITALL, user_data: NAME, ..Sqe::default() };
        let mut steps = Steps::default();
        let mut sqe = flagged;
        steps.begin(&submission(Op::Send { flags: WAITALL }, true), || true, &mut sqe);
        assert_eq!(sqe, flagged);
        for (op, stream) in
            [(Op::RecvMsg { flags: WAITALL }, true), (Op::Recv { flags: WAITALL }, false)]
        {
            let mut sqe = flagged;
            steps.begin(&submission(op, false), || stream, &mut sqe);
            assert_eq!((sqe.op_flags, sqe.user_data), (0, NAME));
        }
        assert!(steps.0.is_empty());
        assert_eq!(steps.retract(NAME), NAME);
        assert_eq!(steps.resume(answer(1)), Next::Tell(answer(1)), "not of ours");
    }
}
