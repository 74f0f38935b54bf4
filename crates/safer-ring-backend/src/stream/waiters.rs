//! Who is to look at a stream again.

use std::task::Waker;

use super::Ticket;

/// By ticket. The first one lies in the stream itself: mostly there is one, and then what arrives for a connection that has
/// been quiet touches one piece of cold memory less.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// There if there is any.
    first: Option<(Ticket, Waker)>,
    more: Vec<(Ticket, Waker)>,
}

impl Waiters {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn find_mut(
        &mut self,
        mut is: impl FnMut(Ticket, &Waker) -> bool,
    ) -> Option<&mut Waker> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        all.find(|(ticket, waker)| is(*ticket, waker)).map(|(_, waker)| waker)
    }

    pub(super) fn push(&mut self, ticket: Ticket, waker: Waker) {
        if self.first.is_none() {
            self.first = Some((ticket, waker));
        } else {
            self.more.push((ticket, waker));
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waker> {
        if self.first.as_ref()?.0 == ticket {
            return self.pop();
        }
        let at = self.more.iter().position(|(other, _)| *other == ticket)?;
        Some(self.more.swap_remove(at).1)
    }

    /// Takes out the first.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Waker> {
        let first = std::mem::replace(&mut self.first, self.more.pop());
        first.map(|(_, waker)| waker)
    }
}
