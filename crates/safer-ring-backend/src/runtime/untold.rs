//! Without tokio: no tasks of it, and no poller that tells them of sockets.

use std::os::fd::RawFd;
use std::task::{Poll, Waker};

#[derive(Clone, Copy, Debug)]
pub(crate) enum TaskId {}

#[derive(Debug)]
pub(crate) enum Arrived {}

pub(crate) enum Told {}

impl Told {
    pub(crate) fn all_taken(self) {
        match self {}
    }
}

pub(crate) fn task_of(_: &Waker) -> Option<TaskId> {
    None
}

impl Arrived {
    pub(crate) fn new(_: RawFd, task: TaskId) -> Option<Self> {
        match task {}
    }

    pub(crate) fn is_for(&mut self, task: TaskId) -> bool {
        match task {}
    }

    pub(crate) fn poll(&self, _: &Waker) -> Poll<Option<Told>> {
        match *self {}
    }
}
