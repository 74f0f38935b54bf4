//! Mistakes that a test can plant into the table, to see whether the tests would find them.

use std::cell::Cell;

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mistake {
            $($(#[$doc])* $name,)*
        }

        pub(crate) const ALL: &[Mistake] = &[$(Mistake::$name,)*];
    };
}

mistakes! {
    /// Asking for a cancellation frees the resources.
    FreedOnCancel,
    /// Losing the owner frees the resources.
    FreedOnOrphan,
    /// A completion is taken for the slot's present operation, whatever its generation.
    GenerationIgnored,
    /// A slot is used again under the same name.
    GenerationKept,
    /// A request to cancel is marked but lost when the ring is full.
    CancelLost,
    /// A request to cancel waits for room that only it could make.
    CancelWaitsForRoom,
    /// An operation that is put back forgets that its cancellation was asked.
    CancelLostOnRequeue,
    /// A slot is used again although the answer to its request to cancel is outstanding.
    CancelOutlivesSlot,
    /// The answer to a request to cancel does not count as a completion.
    CancelNotCounted,
    /// A request to cancel is staged between the members of a chain.
    CancelInsideChain,
    /// The first completion of several ends the operation.
    FinalOnMore,
    /// The notification that ends a send is given out as its result.
    NotificationTakenForResult,
    /// A completion that is not the last counts as the last.
    MoreCounted,
    /// A second completion of an operation is accepted while its result waits.
    DuplicateAccepted,
    /// A completion does not hand out the waker.
    WakerDropped,
    /// A second poll does not replace the waker of the first.
    FirstWakerKept,
    /// A group wakes its owner at the first member.
    GroupWakesEarly,
    /// Dropping the table frees what is in flight.
    DropFrees,
    /// Staging leaves the operation in the queue.
    StagedTwice,
    /// An operation that is withdrawn stays in the queue.
    LeftInQueue,
    /// A timer that is withdrawn stays armed.
    TimerLeftArmed,
    /// A chain is begun although not all of it fits.
    ChainSplit,
    /// A member of a chain is put back, where the kernel has ended the chain.
    ChainRequeued,
    /// The members of a chain that begins again are not linked any more.
    ChainUnlinked,
    /// The kernel is to link what is behind a member whose failure it does not see.
    ChainNotSplit,
    /// A chain begins again behind a member that has moved less than it had to.
    ShortGoesOn,
    /// A chain begins again without a member that has run although one in front of it was interrupted.
    OvertakenGoesOn,
    /// The result of the poll that goes first is given out as the operation's.
    PollTakenForResult,
    /// `-EINTR` and `-EAGAIN` reach the owner.
    InterruptionDelivered,
    /// An operation that goes to the kernel at once does not count as in flight.
    AtOnceNotCounted,
    /// An operation goes to the kernel at once although the ring is full.
    AtOnceIntoFullRing,
    /// An operation goes to the kernel at once although requests to cancel wait.
    AheadOfCancels,
    /// What is to finish is taken back from the queue when its owner leaves.
    TakenBackFromQueue,
    /// What is to be kept is cancelled when its owner leaves.
    KeptIsCancelled,
}

std::thread_local! {
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

pub(crate) fn planted(mistake: Mistake) -> bool {
    PLANTED.with(|planted| planted.get() == Some(mistake))
}

/// Plants a mistake in this thread for the duration of `body`.
pub(crate) fn with<T>(mistake: Option<Mistake>, body: impl FnOnce() -> T) -> T {
    PLANTED.with(|planted| planted.set(mistake));
    let result = body();
    PLANTED.with(|planted| planted.set(None));
    result
}
